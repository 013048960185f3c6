//! An ordinary user of the hosts, who may become the superuser.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::run;

/// A user that is removed when dropped.
pub(super) struct User {
    name: String,
    rule: PathBuf,
}

impl User {
    /// Makes a user with a home below a directory.
    pub fn new(tag: &str, directory: &Path) -> Result<Self, String> {
        let name = format!("{tag}u");
        let user = User {
            rule: PathBuf::from(format!("/etc/sudoers.d/{name}")),
            name,
        };
        // `*` is no password, but, unlike `!`, it does not lock the account.
        run(Command::new("useradd")
            .args([
                "--create-home",
                "--shell",
                "/bin/sh",
                "--password",
                "*",
                "--home-dir",
            ])
            .arg(directory.join("home"))
            .arg(&user.name))?;
        fs::write(&user.rule, format!("{} ALL=(ALL) NOPASSWD: ALL\n", user.name))
            .and_then(|()| fs::set_permissions(&user.rule, fs::Permissions::from_mode(0o440)))
            .map_err(|error| error.to_string())?;
        Ok(user)
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.rule);
        let _ = run(Command::new("userdel").args(["--force"]).arg(&self.name));
    }
}
