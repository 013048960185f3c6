//! Where systemd is the init system, a guard is a unit, so that it comes back after a reboot by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use upshift_host::guard::{Key, Record};

use super::keeper::arguments;
use super::record;
use crate::error::{Context, Result};
use crate::layout::{Layout, make_directory};
use crate::process::systemd;
use crate::{detach, digest, durable};

const UNITS: &str = "/etc/systemd/system";

/// Name of the unit: state directories differ where several agents share a host.
fn name(layout: &Layout, key: &Key) -> Result<String> {
    let state = digest::of_bytes(layout.root().as_os_str().as_encoded_bytes());
    Ok(format!(
        "upshift-guard-{}-{}.service",
        record::name(key)?,
        &state[..8]
    ))
}

fn path(layout: &Layout, key: &Key) -> Result<PathBuf> {
    Ok(Path::new(UNITS).join(name(layout, key)?))
}

/// Starts the guard as a unit; false where there is no systemd, or the agent's user may not make units.
pub fn start(layout: &Layout, key: &Key) -> Result<bool> {
    if !systemd::runs() || !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    let program = keep_program(layout)?;
    let text = text(layout, key, &program);
    if durable::write(&path(layout, key)?, text.as_bytes()).is_err() {
        return Ok(false);
    }
    let name = name(layout, key)?;
    systemd::systemctl(&["daemon-reload"])?;
    systemd::systemctl(&["enable", "--", &name])?;
    systemd::systemctl(&["restart", "--no-block", "--", &name])?;
    Ok(true)
}

/// A program that is there after a reboot: the agent's own where it lies in the state directory, else a copy.
fn keep_program(layout: &Layout) -> Result<PathBuf> {
    let own = fs::read_link("/proc/self/exe").context(|| "cannot find the agent's own program")?;
    if own.starts_with(layout.root()) && own.exists() {
        return Ok(own);
    }
    let digest =
        digest::of_file(Path::new("/proc/self/exe")).context(|| "cannot read the agent's own program")?;
    let program = copies(layout).join(digest);
    if !program.exists() {
        make_directory(&copies(layout), 0o755)?;
        let temporary = durable::temporary_beside(&program);
        fs::copy("/proc/self/exe", &temporary)
            .and_then(|_| fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::File::open(&temporary)?.sync_all())
            .and_then(|()| fs::rename(&temporary, &program))
            .context(|| format!("cannot keep the agent as {}", program.display()))?;
        durable::sync_parent(&program)?;
    }
    Ok(program)
}

fn copies(layout: &Layout) -> PathBuf {
    layout.root().join("guard-program")
}

fn text(layout: &Layout, key: &Key, program: &Path) -> String {
    let mut words = vec![program.display().to_string()];
    if detach::is_subcommand() {
        words.push("node".to_owned());
    }
    words.extend(
        arguments(layout.root(), key)
            .iter()
            .map(|word| word.display().to_string()),
    );
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    // Services that the guard starts again must not end with it, hence KillMode.
    format!(
        "[Unit]\nDescription=Upshift: rolls this host back if run {} is lost\n\n\
         [Service]\nType=exec\nExecStart={}\nRestart=on-failure\nRestartSec=1\nKillMode=process\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        key.run,
        words.join(" ")
    )
}

/// A word as units quote it.
fn quoted(word: &str) -> String {
    let escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    format!("\"{escaped}\"")
}

/// Removes the unit, where there is one. Whoever calls this may be that unit's own process, so it is not stopped: a guard that
/// finds its record settled ends by itself.
pub fn remove(layout: &Layout, key: &Key) -> Result<()> {
    let path = path(layout, key)?;
    if !path.exists() {
        return Ok(());
    }
    let disabled = systemd::systemctl(&["disable", "--", &name(layout, key)?]);
    if path.exists() {
        disabled?;
        durable::remove(&path)?;
    }
    systemd::systemctl(&["daemon-reload"])?;
    let standing = record::all(layout)?.iter().any(Record::stands);
    if !standing {
        // Best effort: a copy of the agent that nobody needs any more; a process that still runs it goes on.
        let _ = fs::remove_dir_all(copies(layout));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_unit_are_quoted() {
        assert_eq!(
            quoted("/var/lib/100% \"x\" $HOME\\"),
            "\"/var/lib/100%% \\\"x\\\" $$HOME\\\\\""
        );
    }

    #[test]
    fn a_unit_runs_the_guard_of_its_run() {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        let key = Key {
            run: "r7".to_owned(),
            hop: 1,
        };
        let text = text(&layout, &key, Path::new("/var/lib/upshift/agent/abc"));
        let expected = format!(
            "ExecStart=\"/var/lib/upshift/agent/abc\" \"guard\" \"--state\" \"{}\" \"--run\" \"r7\" \"--hop\" \"1\"\n",
            layout.root().display()
        );
        assert!(text.contains(&expected), "{text}");
        assert!(name(&layout, &key).unwrap().starts_with("upshift-guard-r7.1-"));
    }
}
