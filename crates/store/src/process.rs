//! Telling whether a process still lives, and is the same one.

use std::fs;

/// What identifies a running process for as long as the machine runs, and beyond: boot, process id, start time.
/// Empty where the system does not say.
pub(crate) fn identity(pid: u32) -> String {
    let Some(start) = start_time(pid) else {
        return String::new();
    };
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{}:{pid}:{start}", boot.trim())
}

/// Whether the process of that identity has ended for certain. `false` where the system does not say.
pub(crate) fn has_ended(pid: u32, known: &str) -> bool {
    !known.is_empty() && fs::metadata("/proc/self/stat").is_ok() && identity(pid) != known
}

/// Start time in ticks since boot; none for a process that is not there, or has ended and waits to be reaped.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses included.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    // The state is field 3, the start time field 22.
    fields.nth(22 - 4)?.parse().ok()
}

/// Name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_another_of_its_number_does_not() {
        let pid = std::process::id();
        let known = identity(pid);
        assert!(!has_ended(pid, &known));
        assert!(has_ended(pid, &format!("{known}1")));
    }

    #[test]
    fn a_process_that_ended_has_ended_reaped_or_not() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let known = identity(child.id());
        assert!(!has_ended(child.id(), &known));
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !has_ended(child.id(), &known) {
            assert!(
                std::time::Instant::now() < deadline,
                "a killed process counts as alive before it is reaped"
            );
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(has_ended(child.id(), &known));
    }
}
