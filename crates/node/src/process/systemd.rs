//! Services that systemd runs, through `systemctl`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use upshift_model::Millis;
use upshift_model::action::{Command, OutputFormat};

use super::ProcessId;
use super::command::{Ended, Keep, run};
use super::supervised::{Stopped, end};
use crate::error::{NodeError, Result};
use crate::output;
use crate::process::service::LastEnd;

/// How long systemd may take to begin a start or a stop.
const BEGIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// Whether systemd is the init system.
pub fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Runs `systemctl`, and yields its output.
///
/// # Errors
/// Where it fails; with what it says.
pub fn systemctl(arguments: &[&str]) -> Result<String> {
    let mut argv = vec!["systemctl".to_owned(), "--no-ask-password".to_owned()];
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let command = Command {
        argv,
        env: BTreeMap::new(),
        directory: None,
        timeout: Millis::seconds(90),
        exit: BTreeMap::new(),
        output: OutputFormat::Text,
    };
    let finished = run(&command, None, Keep::Memory)?;
    if finished.ended != Ended::Status(0) {
        return Err(NodeError::refused(format!(
            "systemctl {} failed: {}",
            arguments.join(" "),
            finished.stderr
        )));
    }
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

/// What systemd says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Unit {
    loaded: bool,
    active: String,
    pid: u32,
    reload: bool,
    /// Whether its main process has ended since the host booted.
    ended: bool,
}

fn unit(name: &str) -> Result<Unit> {
    let text = systemctl(&[
        "show",
        "--property=LoadState,ActiveState,MainPID,NeedDaemonReload,ExecMainExitTimestampMonotonic",
        "--",
        name,
    ])?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Unit {
    let mut unit = Unit::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "LoadState" => unit.loaded = value == "loaded",
            "ActiveState" => value.clone_into(&mut unit.active),
            "MainPID" => unit.pid = value.parse().unwrap_or(0),
            // Microseconds since the host booted; 0 where none has ended.
            "ExecMainExitTimestampMonotonic" => unit.ended = value.parse().unwrap_or(0_u64) > 0,
            "NeedDaemonReload" => unit.reload = value == "yes",
            _ => {}
        }
    }
    unit
}

/// The main process of a unit.
pub fn find(name: &str) -> Result<Option<ProcessId>> {
    let unit = unit(name)?;
    Ok(Some(unit.pid).filter(|pid| *pid != 0).and_then(ProcessId::of))
}

/// What became of the main process of a unit: it has ended for good where systemd has given it up.
pub fn end_of_last(name: &str) -> Result<LastEnd> {
    let unit = unit(name)?;
    let ended = match unit.active.as_str() {
        "failed" => true,
        "inactive" => unit.ended,
        // Starting, stopping, or between two tries of its own.
        _ => false,
    };
    let log = if ended { journal(name) } else { Vec::new() };
    Ok(LastEnd {
        ended: Some(ended),
        log,
    })
}

/// The last lines of a unit's journal; none where it cannot be read.
fn journal(name: &str) -> Vec<String> {
    let lines = output::LINES.to_string();
    let words = [
        "journalctl",
        "--no-pager",
        "--output=cat",
        "--boot",
        "--lines",
        &lines,
        "--unit",
        name,
    ];
    let command = Command {
        argv: words.map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        directory: None,
        timeout: Millis::seconds(5),
        exit: BTreeMap::new(),
        output: OutputFormat::Text,
    };
    match run(&command, None, Keep::Memory) {
        Ok(finished) if finished.ended == Ended::Status(0) => {
            output::last_of(&String::from_utf8_lossy(&finished.stdout))
        }
        _ => Vec::new(),
    }
}

/// The one unit whose main process runs a program of this name. What runs in a login's session, or as the child of another program of
/// a unit, is nothing that the unit could restart.
pub fn unit_of(program: &str) -> Option<String> {
    if !runs() {
        return None;
    }
    let runs_it = |process: &ProcessId| {
        let executable = process.executable();
        executable.is_some_and(|path| path.file_name().is_some_and(|name| name == program))
    };
    let mut units = super::all()
        .into_iter()
        .filter_map(ProcessId::of)
        .filter(runs_it)
        .filter_map(|process| {
            let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).ok()?;
            let name = service_in(&cgroup)?.to_owned();
            (unit(&name).ok()?.pid == process.pid).then_some(name)
        });
    let found = units.next()?;
    // Where there are several, none of them is known to be the one.
    units.next().is_none().then_some(found)
}

/// The service that `/proc/PID/cgroup` names, where it names one of the system's.
fn service_in(cgroup: &str) -> Option<&str> {
    cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter(|path| !path.contains("/user.slice/") && !path.starts_with("/user.slice"))
        .filter_map(|path| path.rsplit('/').find(|name| name.ends_with(".service")))
        .next()
}

/// Starts a unit; it has begun when it has a main process, or is active without one.
pub fn start(name: &str) -> Result<Option<ProcessId>> {
    let before = unit(name)?;
    if !before.loaded {
        return Err(NodeError::refused(format!("systemd knows no unit {name}")));
    }
    if before.reload {
        systemctl(&["daemon-reload"])?;
    }
    if before.active == "failed" {
        systemctl(&["reset-failed", "--", name])?;
    }
    systemctl(&["start", "--no-block", "--", name])?;
    let deadline = Instant::now() + BEGIN;
    loop {
        let now = unit(name)?;
        let process = Some(now.pid).filter(|pid| *pid != 0).and_then(ProcessId::of);
        match now.active.as_str() {
            "active" => return Ok(process),
            "activating" if process.is_some() => return Ok(process),
            "failed" => {
                return Err(NodeError::Transient(format!(
                    "systemd says that {name} has failed to start{}",
                    output::quoted(&journal(name))
                )));
            }
            state if Instant::now() > deadline => {
                return Err(NodeError::Transient(format!("{name} is still {state} after 60s")));
            }
            _ => std::thread::sleep(LOOK),
        }
    }
}

/// Stops a unit, and kills what is left of it after `patience`.
pub fn stop(name: &str, process: Option<&ProcessId>, patience: Duration) -> Result<Stopped> {
    systemctl(&["stop", "--no-block", "--", name])?;
    let deadline = Instant::now() + patience;
    let ended = || -> Result<bool> {
        let unit = unit(name)?;
        Ok(matches!(unit.active.as_str(), "inactive" | "failed") && unit.pid == 0)
    };
    let mut killed = false;
    while !ended()? {
        if Instant::now() > deadline + BEGIN {
            return Err(NodeError::Transient(format!(
                "systemd does not stop {name}, though it was killed"
            )));
        }
        if Instant::now() > deadline && !killed {
            killed = true;
            systemctl(&["kill", "--signal=KILL", "--", name])?;
        }
        std::thread::sleep(LOOK);
    }
    if let Some(process) = process {
        killed |= end(process, Duration::ZERO)?.killed;
    }
    Ok(Stopped { killed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_read_off_the_cgroup() {
        for (cgroup, expected) in [
            ("0::/system.slice/etcd.service\n", Some("etcd.service")),
            (
                "0::/system.slice/system-etcd.slice/etcd@a.service\n",
                Some("etcd@a.service"),
            ),
            (
                "12:pids:/system.slice/etcd.service\n1:name=systemd:/system.slice/etcd.service\n",
                Some("etcd.service"),
            ),
            (
                "0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n",
                None,
            ),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("0::/\n", None),
        ] {
            assert_eq!(service_in(cgroup), expected, "{cgroup}");
        }
    }

    #[test]
    fn properties_of_a_unit_are_read() {
        let text = "MainPID=4711\nLoadState=loaded\nActiveState=active\nNeedDaemonReload=yes\nOther=1\n";
        assert_eq!(
            parse(text),
            Unit {
                loaded: true,
                active: "active".to_owned(),
                pid: 4711,
                reload: true,
                ended: false,
            }
        );
        assert_eq!(parse(""), Unit::default());
        for (text, ended) in [("0", false), ("81234567", true), ("", false)] {
            let text = format!("ActiveState=inactive\nExecMainExitTimestampMonotonic={text}\n");
            assert_eq!(parse(&text).ended, ended);
        }
    }
}
