//! The process of a service, read from the process itself.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

use regex::Regex;
use serde_json::{Value, json};
use upshift_model::Millis;
use upshift_model::action::{Command, OutputFormat};
use upshift_model::probe::ProcessProbe;

use crate::error::{Context, NodeError, Result};
use crate::layout::Layout;
use crate::process::command::{Keep, run};
use crate::process::{ProcessId, service};

/// How long an executable may take to say its version.
const PATIENCE: Millis = Millis(20_000);

pub fn look(layout: &Layout, probe: &ProcessProbe) -> Result<Value> {
    let Some(process) = service::find(layout, &probe.service)? else {
        let end = service::end_of_last(layout, &probe.service)?;
        return Ok(json!({
            "running": false, "pid": null, "exe": null, "replaced": null, "release": null, "uptime_ms": null, "version": null, "names": [],
            "ended": end.ended, "log": end.log,
        }));
    };
    let version = version(&process, probe)?;
    let all = service::all(layout, &probe.service)?;
    Ok(json!({
        "running": true,
        "pid": process.pid,
        "exe": process.executable(),
        "replaced": any_replaced(&all),
        "release": common_release(layout, &all),
        "uptime_ms": process.uptime(),
        "version": version,
        "names": all.iter().map(|(name, _)| name).filter(|name| !name.is_empty()).collect::<Vec<_>>(),
    }))
}

/// Whether the program of one of them was replaced; nothing where that cannot be told.
fn any_replaced(all: &[(String, ProcessId)]) -> Option<bool> {
    let replaced: Vec<Option<bool>> = all
        .iter()
        .map(|(_, process)| process.executable_replaced())
        .collect();
    if replaced.contains(&Some(true)) {
        return Some(true);
    }
    (!replaced.is_empty() && !replaced.contains(&None)).then_some(false)
}

/// The release that all of these processes run.
fn common_release(layout: &Layout, all: &[(String, ProcessId)]) -> Option<String> {
    let mut releases = all.iter().map(|(_, process)| service::release(layout, process));
    let first = releases.next()??;
    releases
        .all(|release| release.as_ref() == Some(&first))
        .then_some(first)
}

/// An executable file as it was when it was asked, with what it was asked.
type Asked = (u64, u64, i64, i64, Vec<String>, Option<String>);

/// What executables have said: a proof looks twice a second, and the same file says the same again.
static SAID: Mutex<BTreeMap<Asked, Option<String>>> = Mutex::new(BTreeMap::new());

/// What the process's own executable prints as its version, also where the file was removed or replaced since.
fn version(process: &ProcessId, probe: &ProcessProbe) -> Result<Option<String>> {
    if probe.version_arguments.is_empty() {
        return Ok(None);
    }
    let own = format!("/proc/{}/exe", process.pid);
    let metadata = Path::new(&own)
        .metadata()
        .context(|| format!("cannot read {own}"))?;
    let asked = (
        metadata.dev(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        probe.version_arguments.clone(),
        probe.version_pattern.clone(),
    );
    let said = |asked: &Asked| SAID.lock().ok().and_then(|said| said.get(asked).cloned());
    if let Some(version) = said(&asked) {
        return Ok(version);
    }
    let command = Command {
        argv: [own]
            .into_iter()
            .chain(probe.version_arguments.iter().cloned())
            .collect(),
        env: BTreeMap::new(),
        directory: Some("/".to_owned()),
        timeout: PATIENCE,
        exit: BTreeMap::new(),
        output: OutputFormat::Text,
    };
    let finished = run(&command, None, Keep::Memory)?;
    let text = format!(
        "{}\n{}",
        String::from_utf8_lossy(&finished.stdout),
        finished.stderr
    );
    let version = extract(&text, probe.version_pattern.as_deref())?;
    if let (Some(_), Ok(mut said)) = (&version, SAID.lock()) {
        said.insert(asked, version.clone());
    }
    Ok(version)
}

/// The first group of the pattern, or the whole match; without a pattern, the first line that is not empty.
fn extract(text: &str, pattern: Option<&str>) -> Result<Option<String>> {
    let Some(pattern) = pattern else {
        return Ok(text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map(str::to_owned));
    };
    let regex = Regex::new(pattern).map_err(|error| NodeError::refused(error.to_string()))?;
    let found = regex
        .captures(text)
        .and_then(|found| found.get(1).or_else(|| found.get(0)));
    Ok(found.map(|found| found.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_group() {
        let text = "etcd Version: 3.5.16\nGit SHA: abc\n";
        assert_eq!(
            extract(text, Some(r"Version: (\S+)")).unwrap().as_deref(),
            Some("3.5.16")
        );
        assert_eq!(extract(text, Some(r"\d+\.\d+")).unwrap().as_deref(), Some("3.5"));
        assert_eq!(extract("\n 1.2\n", None).unwrap().as_deref(), Some("1.2"));
        assert_eq!(extract(text, Some("nothing (x)")).unwrap(), None);
        assert!(extract(text, Some("(")).is_err());
    }
}
