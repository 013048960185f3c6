//! Programs that are run to their end within a bounded time, and processes that end with their owner.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Why a program did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It is not installed.
    #[error("`{0}` is not installed")]
    Missing(String),
    /// It could not be started.
    #[error("`{program}` could not be started: {reason}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        reason: std::io::Error,
    },
    /// It took too long and was killed, with all that it had started.
    #[error("`{program}` did not end within {seconds} s")]
    TimedOut {
        /// The program.
        program: String,
        /// The time that it had.
        seconds: u64,
    },
    /// It ended with another exit status than 0.
    #[error("`{program}` ended with {status}: {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The first and last lines that it wrote to its standard error.
        stderr: String,
    },
}

/// Held to write while programs are written that are started afterwards, and to read while a process is forked.
static FORKS: RwLock<()> = RwLock::new(());

/// Does something while no thread of this process forks: a process that is forked meanwhile holds what is being written open for a
/// moment, and a program that is open for writing cannot be started ("text file busy"). It must not start a process itself.
pub fn while_nobody_forks<T>(work: impl FnOnce() -> T) -> T {
    let _writing = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Starts a process; see [`while_nobody_forks`].
///
/// # Errors
/// Where it cannot be started.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let _forking = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Runs a program to its end within a time, as a process group of its own, which is killed when the time is over.
///
/// # Errors
/// Where it is not installed, takes too long, or ends with another status than 0.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output, RunError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = spawn(command).map_err(|reason| match reason.kind() {
        std::io::ErrorKind::NotFound => RunError::Missing(program.clone()),
        _ => RunError::Start {
            program: program.clone(),
            reason,
        },
    })?;
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let Some(status) = wait(&mut child, limit) else {
        kill_group(&mut child);
        return Err(RunError::TimedOut {
            program,
            seconds: limit.as_secs(),
        });
    };
    let output = Output {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    };
    if status.success() {
        Ok(output)
    } else {
        Err(RunError::Failed {
            program,
            status,
            stderr: tail(&output.stderr),
        })
    }
}

/// Waits for a process to end, for a bounded time.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Polls a condition until it holds or the time is over; says whether it held.
pub fn poll(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Kills a child that leads a process group, with the whole group, and waits for it.
pub fn kill_group(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

/// Sends a signal to a process. One that has ended is no error.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether a process runs: it exists and is not a zombie.
pub fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
            Some(!matches!(state, 'Z' | 'X'))
        })
        .unwrap_or(false)
}

/// The processes that a process has started and that have not ended.
pub fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|pids| {
            pids.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// The processes whose command line or working directory or executable lies under a directory. For cleaning up: a
/// cluster's members are found this way even if somebody else has restarted them.
pub fn under(directory: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id();
    let needle = directory.as_os_str().as_encoded_bytes();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && mentions(*pid, needle))
        .collect()
}

fn mentions(pid: u32, needle: &[u8]) -> bool {
    let root = format!("/proc/{pid}");
    let command_line = std::fs::read(format!("{root}/cmdline")).unwrap_or_default();
    let executable = std::fs::read_link(format!("{root}/exe")).unwrap_or_default();
    contains(&command_line, needle) || contains(executable.as_os_str().as_encoded_bytes(), needle)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

/// Ends every process that has to do with a directory (see [`under`]): asked first, killed after the patience.
pub fn end_under(directory: &Path, patience: Duration) {
    for pid in under(directory) {
        signal(pid, Signal::TERM);
    }
    if !poll(patience, || under(directory).iter().all(|pid| !runs(*pid))) {
        for pid in under(directory) {
            signal(pid, Signal::KILL);
        }
        poll(Duration::from_secs(2), || {
            under(directory).iter().all(|pid| !runs(*pid))
        });
    }
}

fn reader<R: Read + Send + 'static>(source: Option<R>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            let _ = source.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    // What happened stands first in a stack trace, and last in most other texts.
    match lines.len() {
        0..=6 => lines.join(" · "),
        more => format!(
            "{} · … · {}",
            lines[..3].join(" · "),
            lines[more - 3..].join(" · ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("sleep");
        std::os::unix::fs::symlink("/bin/sleep", &mark).unwrap();
        let script = format!("{} 61 & {} 62; true", mark.display(), mark.display());
        let began = Instant::now();
        let error = run(
            Command::new("sh").args(["-c", &script]),
            Duration::from_millis(300),
        )
        .unwrap_err();
        assert!(matches!(error, RunError::TimedOut { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(poll(Duration::from_secs(2), || under(directory.path())
            .iter()
            .all(|pid| !runs(*pid))));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-here"), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program-here` is not installed");
    }

    #[test]
    fn a_failure_carries_the_last_lines() {
        let error = run(
            Command::new("sh").args(["-c", "echo one >&2; echo two >&2; exit 3"]),
            Duration::from_secs(5),
        )
        .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("one · two") && text.contains('3'), "{text}");
    }

    #[test]
    fn nobody_forks_while_programs_are_written() {
        let (sender, started) = std::sync::mpsc::channel();
        while_nobody_forks(|| {
            thread::spawn(move || {
                let _ = sender.send(run(&mut Command::new("true"), Duration::from_secs(10)).is_ok());
            });
            let early = started.recv_timeout(Duration::from_millis(100));
            assert!(early.is_err(), "a process was started meanwhile");
        });
        assert_eq!(started.recv_timeout(Duration::from_secs(10)), Ok(true));
    }

    #[test]
    fn processes_of_a_directory_are_ended() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("sleep");
        std::os::unix::fs::symlink("/bin/sleep", &link).unwrap();
        let mut child = Command::new(&link).arg("60").spawn().unwrap();
        assert!(poll(Duration::from_secs(5), || under(directory.path()) == [child.id()]));
        end_under(directory.path(), Duration::from_secs(5));
        assert!(wait(&mut child, Duration::from_secs(2)).is_some());
    }
}
