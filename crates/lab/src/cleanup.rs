//! Cleaning up after a process that could not do so itself: it was killed, or ended by Ctrl-C.
//!
//! A shell waits on a pipe for the end of its owner, and then does what the owner's `Drop` would have done. Where the owner
//! lives to clean up itself, it says so and the shell just ends.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::processes;

/// Somebody who cleans up when this value is gone and has not been told otherwise.
pub struct Cleanup {
    shell: Child,
}

/// Kills what has `$WHAT` in its command line or runs a program below it, then removes it if it is a directory.
const PROCESSES: &str = r#"
for entry in /proc/[0-9]*; do
  pid=${entry#/proc/}
  [ "$pid" = "$$" ] && continue
  if tr '\0' '\n' <"$entry/cmdline" 2>/dev/null | grep -qF -- "$WHAT" ||
     case "$(readlink "$entry/exe" 2>/dev/null)" in "$WHAT"/*) true ;; *) false ;; esac
  then kill -9 "$pid" 2>/dev/null; fi
done
[ -d "$WHAT" ] && { sleep 0.2; rm -rf -- "$WHAT"; }
true
"#;

impl Cleanup {
    /// Watches over the processes that have to do with a directory, and over the directory.
    ///
    /// # Errors
    /// Where no shell can be started.
    pub fn of_directory(directory: &Path) -> io::Result<Self> {
        Cleanup::new(PROCESSES, directory)
    }

    /// Runs a script with a text in `$WHAT` when this process ends.
    ///
    /// # Errors
    /// Where no shell can be started.
    pub fn new(script: &str, what: &Path) -> io::Result<Self> {
        let whole = format!("read -r word; [ \"$word\" = done ] && exit 0\n{script}");
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", &whole])
            .env("WHAT", what)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let shell = processes::spawn(&mut command)?;
        Ok(Cleanup { shell })
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_a_killed_owner_leaves_is_cleaned_up() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let program = home.join("sleep");
        processes::while_nobody_forks(|| std::fs::copy("/bin/sleep", &program)).unwrap();
        let mut child = processes::spawn(Command::new(&program).arg("60")).unwrap();
        let mut cleanup = Cleanup::of_directory(&home).unwrap();
        // The pipe closes without a word, as it does when the owner is killed.
        drop(cleanup.shell.stdin.take());
        assert!(processes::wait(&mut child, Duration::from_secs(60)).is_some());
        assert!(processes::poll(Duration::from_secs(60), || !home.exists()));
    }

    #[test]
    fn an_owner_that_cleans_up_itself_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        drop(Cleanup::of_directory(directory.path()).unwrap());
        assert!(directory.path().exists());
    }
}
