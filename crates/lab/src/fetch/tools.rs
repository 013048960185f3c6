//! Programs of this machine's own distribution that the testbed needs. Installing them takes the superuser.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Cache, Say, Unavailable};
use crate::processes;

/// A program of the distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostTool {
    /// `sshd`.
    Sshd,
    /// `sudo`.
    Sudo,
    /// `ip`.
    Ip,
}

impl HostTool {
    fn program(self) -> &'static str {
        match self {
            HostTool::Sshd => "sshd",
            HostTool::Sudo => "sudo",
            HostTool::Ip => "ip",
        }
    }

    fn package(self) -> &'static str {
        match self {
            HostTool::Sshd => "openssh-server",
            HostTool::Sudo => "sudo",
            HostTool::Ip => "iproute2",
        }
    }
}

const LIMIT: Duration = Duration::from_secs(180);

/// Finds a program, installing its package where the superuser asks; gives its path.
///
/// # Errors
/// Where it is not there and cannot be installed.
pub fn host_tool(cache: &Cache, tool: HostTool, say: Say<'_>) -> Result<PathBuf, Unavailable> {
    let failed = |reason: String| Unavailable::new(tool.program(), reason);
    let _lock = cache
        .lock("apt-install")
        .map_err(|error| failed(error.to_string()))?;
    if let Some(found) = find(tool.program()) {
        return Ok(found);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(failed(format!(
            "it is not installed (package {}), and only the superuser can install it",
            tool.package()
        )));
    }
    say(&format!("installing {} with apt-get: about 2 MB", tool.package()));
    install(tool.package()).map_err(failed)?;
    find(tool.program()).ok_or_else(|| failed(format!("the package {} left no such program", tool.package())))
}

fn install(package: &str) -> Result<(), String> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args([
                "-q",
                "-y",
                "-o",
                "Acquire::Retries=2",
                "-o",
                "DPkg::Lock::Timeout=60",
            ])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Nothing is started: the testbed runs an sshd of its own in each network namespace.
            .env("RUNLEVEL", "1");
        processes::run(&mut command, LIMIT)
    };
    if apt(&["install", "--no-install-recommends", package]).is_ok() {
        return Ok(());
    }
    apt(&["update"]).map_err(|error| error.to_string())?;
    apt(&["install", "--no-install-recommends", package])
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Looks a program up in `PATH` and where distributions keep those of the superuser.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
