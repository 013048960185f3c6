//! Clearing away what a demo has started: by process id, and only what is a descendant of this process or has to do with
//! the demo's own directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use upshift_lab::processes;

const UNITS: &str = "/etc/systemd/system";

/// Ends every process of the demo, and removes guards that systemd keeps.
pub fn everything(directory: &Path) {
    remove_units(directory);
    // What is killed may have started something a moment before; orphans become our children.
    let gone = processes::poll(Duration::from_secs(10), || {
        reap();
        let left: Vec<u32> = descendants()
            .into_iter()
            .chain(processes::under(directory))
            .collect();
        for pid in &left {
            processes::signal(*pid, Signal::KILL);
        }
        left.iter().all(|pid| !processes::runs(*pid))
    });
    reap();
    if !gone {
        eprintln!(
            "some processes of the demo do not end: {:?}",
            processes::under(directory)
        );
    }
}

/// Takes note of children that have ended.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// All processes below this one.
fn descendants() -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![own()];
    while let Some(pid) = open.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        open.extend(&below);
        found.extend(below);
    }
    found
}

fn own() -> u32 {
    Pid::as_raw(Some(rustix::process::getpid())).unsigned_abs()
}

/// The parent of a process: the second word after the name, which stands in brackets and may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Where systemd is the init system and we are root, guards are units; those of this demo name its directory.
fn remove_units(directory: &Path) {
    let Some(directory) = directory.to_str() else {
        return;
    };
    let mut removed = false;
    for entry in std::fs::read_dir(UNITS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name.starts_with("upshift-guard-")
            && std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(directory));
        if ours {
            systemctl(&["disable", "--now", "--", &name]);
            // Where it cannot be removed, the next boot finds a unit whose program is gone.
            let _ = std::fs::remove_file(entry.path());
            removed = true;
        }
    }
    if removed {
        systemctl(&["daemon-reload"]);
    }
}

fn systemctl(arguments: &[&str]) {
    // Best effort: the processes are ended one by one afterwards.
    let _ = Command::new("systemctl").args(arguments).output();
}
