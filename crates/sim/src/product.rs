//! The simulated product, a small replicated ledger: what its releases read, write and speak, and how they misbehave.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Name of the command that operates it.
pub const TOOL: &str = "ledgerctl";
/// Its configuration file.
pub const CONFIG_FILE: &str = "/etc/ledger/ledger.conf";
/// Link to its data directory.
pub const DATA_LINK: &str = "/srv/ledger/data";
/// Data directory that the link points at before any upgrade.
pub const FIRST_DATA_DIRECTORY: &str = "/srv/ledger/data-original";
/// Configuration before any upgrade; `legacy_mode` is a key that releases from 2.0 on refuse to start with.
pub const FIRST_CONFIG: &str =
    "# kept by hand\nname = {name}\nport=7000\nlegacy_mode = on\n\ntimeout: 30s   # slow disks\n";

/// What a release declares.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// Formats of data directories that it reads; it refuses to start on others.
    pub reads: RangeInclusive<u32>,
    /// Format of a directory once the release may write its own.
    pub writes: u32,
    /// Versions of the protocol between servers that it speaks.
    pub wire: RangeInclusive<u32>,
    /// The cluster version that it raises by itself once every member supports it: the point of no return.
    pub raises_to: Option<&'static str>,
    /// Key of the configuration without which it does not start.
    pub needs_key: Option<&'static str>,
    /// Key of the configuration with which it does not start.
    pub rejects_key: Option<&'static str>,
    /// Milliseconds between its start and its being up.
    pub start_time: u64,
}

/// How a release misbehaves on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// It does not.
    #[default]
    Good,
    /// It runs and never becomes healthy.
    NeverHealthy,
    /// It ends by itself so many milliseconds after it became healthy.
    CrashesAfter(u64),
    /// It needs so many times as long to catch up.
    SlowRecovery(u64),
    /// It needs so many milliseconds to start.
    SlowStart(u64),
    /// It does not end when asked to.
    IgnoresTerm,
    /// It drops the newest write that others wait for when it starts.
    LosesData,
    /// It says that it is another version than it is.
    LiesAboutVersion,
    /// It ends at once when started.
    DoesNotStart,
    /// It wipes the user accounts when it starts before another server of its version is up.
    WipesAccounts,
    /// Installed in a running process it works only half, and reports so.
    BrokenCodeChange,
}

/// What the release with this version declares. Minor versions differ in what they read, write and speak; patch levels
/// do not.
pub fn release(version: &str) -> Release {
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    let (reads, writes, wire, raises_to) = match minor {
        "1.0" => (1..=1, 1, 1..=1, None),
        // Speaks both protocols, so that it can join a cluster of 1.0 in a rolling upgrade.
        "1.1" => (1..=2, 2, 1..=2, Some("1.1.0")),
        // Speaks a protocol of its own: all servers must change in one window.
        "2.0" => (1..=3, 2, 3..=3, None),
        // Cannot read the old directories at all: they must be rebuilt from a snapshot.
        _ => (4..=4, 4, 4..=4, None),
    };
    let modern = matches!(minor, "2.0" | "3.0");
    Release {
        version: version.to_owned(),
        reads,
        writes,
        wire,
        raises_to,
        needs_key: (!modern).then_some("legacy_mode"),
        rejects_key: modern.then_some("legacy_mode"),
        start_time: 1_500,
    }
}

/// How releases misbehave: everywhere, or on one host only.
#[derive(Clone, Debug, Default)]
pub struct Behaviours {
    everywhere: BTreeMap<String, Behaviour>,
    on_host: BTreeMap<(usize, String), Behaviour>,
}

impl Behaviours {
    /// Lets a release misbehave on one host, or on all.
    pub fn set(&mut self, host: Option<usize>, version: &str, behaviour: Behaviour) {
        match host {
            Some(host) => self.on_host.insert((host, version.to_owned()), behaviour),
            None => self.everywhere.insert(version.to_owned(), behaviour),
        };
    }

    /// How a release behaves on a host.
    pub fn of(&self, host: usize, version: &str) -> Behaviour {
        if self.on_host.is_empty() && self.everywhere.is_empty() {
            return Behaviour::Good;
        }
        let here = self.on_host.get(&(host, version.to_owned()));
        here.or_else(|| self.everywhere.get(version))
            .copied()
            .unwrap_or_default()
    }
}

/// Whether a configuration has a line for a key that is not commented out.
pub fn has_key(config: &str, key: &str) -> bool {
    config.lines().any(|line| is_line_of(line, key))
}

/// Whether a line of a configuration sets a key.
pub fn is_line_of(line: &str, key: &str) -> bool {
    line.trim_start()
        .strip_prefix(key)
        .is_some_and(|rest| rest.trim_start().starts_with(['=', ':']))
}
