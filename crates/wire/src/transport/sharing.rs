//! One login for the commands of a minute: ssh connections that later commands go through, as ssh itself offers it (`ControlMaster`
//! and `ControlPersist` in ssh_config(5)).
//!
//! Whoever has said how ssh shares connections is left alone: in `~/.ssh/config`, or among the arguments of the fleet file.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;
use upshift_model::fleet::SshTransport;

/// How long a connection stands after its last command; Ansible's default, too.
const PERSIST: &str = "ControlPersist=60";
/// The longest path of a socket's directory. A Unix socket's path has at most 107 bytes (unix(7)); a name and the 17 characters that
/// ssh appends while it makes the socket must fit, too.
const LONGEST_DIRECTORY: usize = 107 - 17 - 1 - NAME;
/// Length of a socket's name.
const NAME: usize = 24;
/// How long ssh may take to read its configuration, which may ask programs (`Match exec`).
const CONFIGURATION_LIMIT: Duration = Duration::from_secs(5);

/// Where the sockets of shared connections lie.
#[derive(Clone, Debug)]
pub struct Sharing {
    directory: Arc<Path>,
}

/// The shared connection to one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    socket: PathBuf,
}

impl Sharing {
    /// Sockets in the directory `ssh` below this one, which is made when it is needed. `None` where ssh could not be told of it: its
    /// path is too long, or has characters that mean something in ssh's configuration.
    pub fn below(directory: &Path) -> Option<Self> {
        let directory = std::path::absolute(directory).ok()?.join("ssh");
        let text = directory.to_str()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@,:".contains(c);
        if text.len() > LONGEST_DIRECTORY || !text.chars().all(plain) {
            return None;
        }
        Some(Sharing {
            directory: directory.into(),
        })
    }

    /// Makes the directory, for nobody but the user.
    fn make(&self) -> std::io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
    }

    /// The shared connection of a destination, given as ssh's arguments. `None` where the user has ssh share connections in a way of
    /// their own, or has it share none; or where the sockets' directory cannot be made.
    ///
    /// The socket's name is a digest of everything that ssh makes of the destination, so a connection is never used for another user,
    /// address, key or jump host than ssh would use now.
    pub(super) async fn shared(&self, ssh: &SshTransport, arguments: &[String]) -> Option<Shared> {
        if ssh.arguments.iter().any(|argument| is_about_sharing(argument)) {
            return None;
        }
        let asked = Command::new("ssh")
            .arg("-G")
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        // Where this fails, so will the login, and says why.
        let output = tokio::time::timeout(CONFIGURATION_LIMIT, asked)
            .await
            .ok()?
            .ok()?;
        if !output.status.success() || says_where_to_share(&output.stdout) {
            return None;
        }
        self.make().ok()?;
        let digest = Sha256::digest(&output.stdout);
        let mut name = String::with_capacity(NAME);
        for byte in digest.iter().take(NAME / 2) {
            // Writing to a string does not fail.
            let _always_ok = write!(name, "{byte:02x}");
        }
        Some(Shared {
            socket: self.directory.join(name),
        })
    }
}

impl Shared {
    /// Whether a connection seems to stand.
    pub(super) fn stands(&self) -> bool {
        self.socket.exists()
    }

    /// Has nobody use this connection again; who uses it is not disturbed.
    pub(super) fn forget(&self) {
        // Where it is gone already, that is what was wanted.
        let _gone = std::fs::remove_file(&self.socket);
    }

    /// Options for ssh: to go through the connection, or to make it.
    pub(super) fn options(&self) -> [String; 3] {
        [
            "ControlMaster=auto".to_owned(),
            PERSIST.to_owned(),
            format!("ControlPath={}", self.socket.display()),
        ]
    }
}

/// Whether an argument for ssh says how connections are shared.
fn is_about_sharing(argument: &str) -> bool {
    let lower = argument.to_ascii_lowercase();
    lower.contains("controlpath")
        || lower.contains("controlmaster")
        || argument.starts_with("-S")
        || argument.starts_with("-M")
}

/// Whether ssh's configuration, as `ssh -G` prints it, names a socket.
fn says_where_to_share(configuration: &[u8]) -> bool {
    configuration
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(b"controlpath "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_lie_in_a_directory_of_the_users_own_that_ssh_can_be_told_of() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let sharing = Sharing::below(directory.path()).unwrap();
        sharing.make().unwrap();
        let made = directory.path().join("ssh");
        assert_eq!(*sharing.directory, *made);
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for unusable in ["with space", "50%", "a\"b", &"long".repeat(30)] {
            assert!(
                Sharing::below(&directory.path().join(unusable)).is_none(),
                "{unusable}"
            );
        }
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        Sharing::below(&file).unwrap().make().unwrap_err();
    }

    #[test]
    fn what_the_user_says_of_sharing_is_known() {
        let about = [
            "ControlPath=none",
            "-oControlPath=/x",
            "controlmaster=no",
            "-S",
            "-Snone",
            "-M",
        ];
        for argument in about {
            assert!(is_about_sharing(argument), "{argument}");
        }
        for argument in ["-J", "jump", "-o", "ProxyJump=a", "-F", "/home/me/ssh_config"] {
            assert!(!is_about_sharing(argument), "{argument}");
        }
        assert!(says_where_to_share(b"controlmaster auto\ncontrolpath /x/%C\n"));
        assert!(!says_where_to_share(b"controlmaster false\ncontrolpersist no\n"));
    }
}
