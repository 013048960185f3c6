//! As whom a process runs, so that what is started in its place runs as nobody else.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

use super::ProcessId;
use crate::error::{Context, Result};

/// What of an environment says whose it is.
const WHOSE: [&str; 3] = ["HOME", "USER", "LOGNAME"];

/// A user with groups, and what programs look for to know whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Number of the user.
    pub user: u32,
    /// Number of the primary group.
    pub group: u32,
    /// Numbers of all groups.
    pub groups: Vec<u32>,
    /// `HOME` and the like.
    pub environment: BTreeMap<String, String>,
}

impl Identity {
    /// That of a process; nothing where it has ended, or belongs to somebody who cannot be looked at.
    pub fn of(process: &ProcessId) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).ok()?;
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).ok()?;
        let (user, group, groups) = parse(&status)?;
        let identity = Identity {
            user,
            group,
            groups,
            environment: whose(&environment),
        };
        // The number may have gone to somebody else meanwhile.
        process.lives().then_some(identity)
    }

    /// Whether this process would have to become somebody else, and can.
    pub fn is_to_be_taken_on(&self) -> bool {
        geteuid().is_root() && self.user != 0
    }

    /// Becomes that user, for good. Only for a process with one thread, which is about to become another program.
    ///
    /// # Errors
    /// Where the kernel does not allow it.
    pub fn take_on(&self) -> Result<()> {
        let what = || format!("cannot become user {}", self.user);
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        let groups: Vec<Gid> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        set_thread_groups(&groups).context(what)?;
        set_thread_res_gid(group, group, group).context(what)?;
        set_thread_res_uid(user, user, user).context(what)
    }
}

/// The effective user and group, and all groups, of `/proc/PID/status`.
fn parse(status: &str) -> Option<(u32, u32, Vec<u32>)> {
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let effective = |name: &str| line(name)?.split_ascii_whitespace().nth(1)?.parse().ok();
    let groups = line("Groups:")?.split_ascii_whitespace();
    Some((
        effective("Uid:")?,
        effective("Gid:")?,
        groups.filter_map(|group| group.parse().ok()).collect(),
    ))
}

fn whose(environment: &[u8]) -> BTreeMap<String, String> {
    let entries = environment.split(|byte| *byte == 0);
    entries
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .filter(|(name, _)| WHOSE.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_user_counts() {
        let status =
            "Name:\tetcd\nUid:\t0\t997\t997\t997\nGid:\t0\t990\t990\t990\nFDSize:\t64\nGroups:\t990 4 \n";
        assert_eq!(parse(status), Some((997, 990, vec![990, 4])));
        let none = "Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\t \n";
        assert_eq!(parse(none), Some((1, 1, vec![])));
        assert_eq!(parse("Name:\tetcd\n"), None);
    }

    #[test]
    fn of_an_environment_only_whose_it_is_is_kept() {
        let found = whose(b"PATH=/bin\0HOME=/var/lib/etcd\0SECRET=x\0USER=etcd\0");
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["HOME", "USER"]);
    }
}
