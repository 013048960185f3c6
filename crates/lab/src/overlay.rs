//! A root file system of its own on top of this machine's: what is written in it is written nowhere else. Packages are installed
//! and removed in it with the machine's real package manager and a database of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cleanup::Cleanup;
use crate::fetch::Unavailable;
use crate::processes::{self, RunError};

const LIMIT: Duration = Duration::from_secs(20);

/// Unmounts everything below `$WHAT`, the deepest first, after the processes that run from there have ended.
const UNMOUNT: &str = r#"
for entry in /proc/[0-9]*; do
  case "$(readlink "$entry/root" 2>/dev/null)" in "$WHAT"/*) kill -9 "${entry#/proc/}" 2>/dev/null ;; esac
done
sleep 0.2
awk -v what="$WHAT" 'index($2, what) == 1 { print $2 }' /proc/mounts | sort -r | while read -r at; do umount -l "$at"; done
rmdir "$WHAT" 2>/dev/null
true
"#;

/// A mounted root. It is gone, with all processes in it, when it is dropped.
pub struct Overlay {
    base: PathBuf,
    // Last: it is told that all is clean after it is.
    _cleanup: Cleanup,
}

impl Overlay {
    /// Mounts a root, in a directory of its own under that for temporary files. The directory is never removed with what is in it:
    /// while something is still mounted there, that would be this machine's devices.
    ///
    /// # Errors
    /// Where this user may not mount, or the kernel has no such file system.
    pub fn mount() -> Result<Self, Unavailable> {
        let failed = |reason: String| Unavailable::new("a root file system of its own", reason);
        let io = |error: io::Error| failed(error.to_string());
        if !rustix::process::geteuid().is_root() {
            return Err(failed("only the superuser can mount one".to_owned()));
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = std::env::temp_dir().canonicalize().map_err(io)?;
        let base = temporary.join(format!("upshift-root-{}-{number}", std::process::id()));
        fs::create_dir(&base).map_err(io)?;
        let overlay = Overlay {
            _cleanup: Cleanup::new(UNMOUNT, &base).map_err(io)?,
            base,
        };
        overlay.mount_all().map_err(failed)?;
        Ok(overlay)
    }

    fn mount_all(&self) -> Result<(), String> {
        let base = self.base.display();
        // The upper layer must not lie in the lower one.
        mount(&["-t", "tmpfs", "-o", "size=2g", "tmpfs", &base.to_string()])?;
        for directory in ["upper", "work", "root"] {
            fs::create_dir(self.base.join(directory)).map_err(|error| error.to_string())?;
        }
        let root = self.root().display().to_string();
        let options = format!("lowerdir=/,upperdir={base}/upper,workdir={base}/work");
        mount(&["-t", "overlay", "-o", &options, "overlay", &root])?;
        for directory in ["proc", "dev", "dev/pts"] {
            mount(&["--bind", &format!("/{directory}"), &format!("{root}/{directory}")])?;
        }
        Ok(())
    }

    /// The root directory, as it is seen from outside.
    pub fn root(&self) -> PathBuf {
        self.base.join("root")
    }

    /// Unpacks a Debian package into it, without a word to dpkg's database. Links to directories stay (`/bin`, say).
    ///
    /// # Errors
    /// Where it is no package.
    pub fn unpack(&self, deb: &Path) -> Result<(), RunError> {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "dpkg-deb --fsys-tarfile \"$1\" | tar --extract --keep-directory-symlink --directory \"$2\"",
                "sh",
            ])
            .arg(deb)
            .arg(self.root());
        processes::run(&mut command, LIMIT).map(|_| ())
    }

    /// A command that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.root()).arg(program).current_dir("/");
        command
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let mut command = Command::new("sh");
        command.args(["-c", UNMOUNT]).env("WHAT", &self.base);
        // Best effort: what stays is of this machine's memory only.
        let _ = processes::run(&mut command, LIMIT);
    }
}

fn mount(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("mount");
    command.args(arguments);
    processes::run(&mut command, LIMIT)
        .map(|_| ())
        .map_err(|error| error.to_string())
}
