//! Processes: which one is meant, whether it still is, and its end.
//!
//! A process is named by its number, the moment it started and the boot of the host, because numbers are used again.

pub mod command;
pub mod identity;
pub mod service;
pub mod supervised;
pub mod systemd;
pub mod unit_file;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{Context, NodeError, Result};

/// Ticks of `/proc/PID/stat` in a second: fixed by Linux for programs.
const TICKS: u64 = 100;

/// A process, named so that no other one is ever meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since boot.
    pub started: u64,
    /// The boot of the host.
    pub boot: String,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    state: u8,
    group: u32,
    session: u32,
    threads: u64,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name of the program stands in parentheses and may hold anything, so fields are counted after the last one.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text
            .get(text.rfind(')')? + 1..)?
            .split_ascii_whitespace()
            .collect();
        Some(Stat {
            state: *fields.first()?.as_bytes().first()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            threads: fields.get(17)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// A dead process that nobody has waited for yet is no process. A main thread may end before the others do.
    fn lives(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x') || self.threads > 1
    }
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid).filter(Stat::lives)?;
        Some(ProcessId {
            pid,
            started: stat.started,
            boot: clock::boot_id().to_owned(),
        })
    }

    /// Whether it still runs.
    pub fn lives(&self) -> bool {
        ProcessId::of(self.pid).as_ref() == Some(self)
    }

    /// Milliseconds since it started.
    pub fn uptime(&self) -> u64 {
        clock::since_boot().saturating_sub(self.started * 1000 / TICKS)
    }

    /// A handle that means this process for good; nothing where it has ended.
    fn handle(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(pid(self.pid)?, PidfdFlags::empty()).ok()?;
        // Only after the handle is open can the number not go to somebody else.
        self.lives().then_some(handle)
    }

    /// Sends a signal; one that has ended gets none.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(handle) = self.handle() else {
            return Ok(());
        };
        match pidfd_send_signal(&handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).context(|| format!("cannot signal process {}", self.pid)),
        }
    }

    /// Waits for its end; false where it still runs after `patience`.
    pub fn wait_for_end(&self, patience: Duration) -> bool {
        let Some(handle) = self.handle() else { return true };
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if readable(&handle, left) || !self.lives() {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }

    /// Whether it was started since the host has booted.
    pub fn of_this_boot(&self) -> bool {
        self.boot == clock::boot_id()
    }

    /// The path of its executable as the kernel knows it; also where the file was removed or replaced since.
    pub fn executable(&self) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        let bytes = path.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
    }

    /// Whether the file at [`ProcessId::executable`] is no longer the one that runs; nothing where that cannot be told.
    pub fn executable_replaced(&self) -> Option<bool> {
        let runs = fs::metadata(format!("/proc/{}/exe", self.pid)).ok()?;
        // As the process sees it: it may have a root directory of its own.
        let path = self.executable()?;
        let below = path.strip_prefix("/").unwrap_or(&path);
        match fs::metadata(PathBuf::from(format!("/proc/{}/root", self.pid)).join(below)) {
            Ok(now) => Some((now.dev(), now.ino()) != (runs.dev(), runs.ino())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(true),
            Err(_) => None,
        }
    }

    /// Its arguments, the program's name first.
    pub fn arguments(&self) -> Vec<String> {
        arguments(self.pid)
    }

    /// Its environment when it started.
    pub fn environment(&self) -> BTreeMap<String, String> {
        words(self.pid, "environ")
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Waits until a descriptor can be read; for a process handle that is its end.
fn readable(handle: &impl AsFd, patience: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    let mut entries = [PollFd::new(handle, PollFlags::IN)];
    matches!(poll(&mut entries, Some(&timeout)), Ok(count) if count > 0)
}

/// A number as the kernel's own type.
pub fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Numbers of all processes.
pub fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Arguments of the process with this number; none where it has ended, or is a thread of the kernel.
pub fn arguments(pid: u32) -> Vec<String> {
    words(pid, "cmdline")
}

fn words(pid: u32, file: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Living processes of a process group or session that did not start before `since`.
pub fn members(group_or_session: u32, since: u64) -> Vec<ProcessId> {
    let member = |pid: u32| {
        let stat = Stat::of(pid).filter(Stat::lives)?;
        let belongs = stat.group == group_or_session || stat.session == group_or_session;
        (belongs && stat.started >= since).then(|| ProcessId {
            pid,
            started: stat.started,
            boot: clock::boot_id().to_owned(),
        })
    };
    all().into_iter().filter_map(member).collect()
}

/// The session of a living process.
pub fn session(process: &ProcessId) -> Option<u32> {
    process
        .lives()
        .then(|| Stat::of(process.pid))
        .flatten()
        .map(|stat| stat.session)
}

/// A signal by its name, `TERM` or `SIGTERM`.
pub fn signal_named(name: &str) -> Result<Signal> {
    match name.strip_prefix("SIG").unwrap_or(name) {
        "TERM" => Ok(Signal::TERM),
        "INT" => Ok(Signal::INT),
        "QUIT" => Ok(Signal::QUIT),
        "HUP" => Ok(Signal::HUP),
        "USR1" => Ok(Signal::USR1),
        "USR2" => Ok(Signal::USR2),
        "KILL" => Ok(Signal::KILL),
        other => Err(NodeError::refused(format!(
            "`{other}` is no signal that stops a process; write TERM, INT, QUIT, HUP, USR1, USR2 or KILL"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let text = "77 (a) b (c) S 1 70 60 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 3 0 12345 1 2 3";
        assert_eq!(
            Stat::parse(text),
            Some(Stat {
                state: b'S',
                group: 70,
                session: 60,
                threads: 3,
                started: 12345
            })
        );
        assert_eq!(Stat::parse("nonsense"), None);
    }

    #[test]
    fn a_program_that_was_replaced_or_removed_on_disk_is_noticed() {
        struct Ended(std::process::Child);
        impl Drop for Ended {
            fn drop(&mut self) {
                // Best effort: it ends by itself, too.
                let _ = self.0.kill().and_then(|()| self.0.wait());
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("server");
        fs::copy("/bin/sleep", &program).unwrap();
        // Another test that starts a program at this moment holds the file open for writing until it has done so.
        let deadline = Instant::now() + Duration::from_secs(10);
        let child = loop {
            match std::process::Command::new(&program).arg("60").spawn() {
                Ok(child) => break Ended(child),
                Err(error) => assert!(
                    error.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline,
                    "{error}"
                ),
            }
        };
        let process = ProcessId::of(child.0.id()).unwrap();
        assert_eq!(process.executable_replaced(), Some(false));
        fs::rename(&program, directory.path().join("moved")).unwrap();
        assert_eq!(
            process.executable_replaced(),
            Some(false),
            "it is the same file by another name"
        );
        fs::copy("/bin/sleep", &program).unwrap();
        fs::remove_file(directory.path().join("moved")).unwrap();
        assert_eq!(process.executable_replaced(), Some(true), "removed");
        drop(child);
        assert_eq!(process.executable_replaced(), None, "it has ended");
    }

    #[test]
    fn this_process_lives_and_another_start_is_another_process() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.lives());
        assert!(
            !ProcessId {
                started: own.started + 1,
                ..own.clone()
            }
            .lives()
        );
        assert!(
            !ProcessId {
                boot: "another".to_owned(),
                ..own.clone()
            }
            .lives()
        );
        assert_eq!(own.executable(), std::env::current_exe().ok());
        assert!(!own.wait_for_end(Duration::from_millis(1)));
        assert!(
            ProcessId {
                started: own.started + 1,
                ..own
            }
            .wait_for_end(Duration::from_secs(60))
        );
    }

    #[test]
    fn a_dead_child_that_nobody_waited_for_is_no_process() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = child.id();
        if let Some(process) = ProcessId::of(id) {
            assert!(process.wait_for_end(Duration::from_secs(10)));
        }
        assert_eq!(ProcessId::of(id), None);
        child.wait().unwrap();
    }
}
