//! A host's disk: everything that survives the agent, the guard's process and a reboot.

use std::collections::BTreeMap;

use upshift_model::Millis;
use upshift_model::action::{GuardRecipe, GuardStatus, Report};
use upshift_model::facts::ReleaseStatus;

use crate::data::{DataDirectory, Snapshot};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// Text.
    Text(String),
    /// A link.
    Link(String),
    /// A data directory of the product.
    Data(DataDirectory),
    /// A snapshot of a data directory.
    Snapshot(Snapshot),
}

/// What `save` copied aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The copies; absent paths are remembered as absent.
    pub files: BTreeMap<String, Option<File>>,
    /// Whether all were copied: an unfinished copy is a temporary file, not a copy.
    pub finished: bool,
}

/// The agent's record of one attempt at a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Written before the action.
    Started,
    /// Written after it.
    Finished(Report),
}

/// Where a guard stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardPhase {
    /// Waiting for a renewal or its deadline.
    Armed,
    /// Its deadline has passed; it waits until the host may be taken down.
    Waiting,
    /// Doing the rollback.
    Firing,
    /// The rollback is done; its proof is being waited for.
    Proving,
    /// Over, with what it says of itself.
    Over(GuardStatus),
}

/// Which guard: its run and its hop.
pub type GuardKey = (String, u32);

/// A guard's record.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardRecord {
    /// What it does.
    pub recipe: GuardRecipe,
    /// Token and sequence of the order that armed it.
    pub armed: (u64, u64),
    /// Where it stands.
    pub phase: GuardPhase,
    /// Deadline on the monotonic clock of the boot below.
    pub deadline: u64,
    /// The boot.
    pub boot: u32,
    /// Deadline on the wall clock, for when the boot has changed.
    pub wall_deadline: i64,
}

impl GuardRecord {
    /// Whether it has fired: the host takes no order forward for its hop any more.
    pub fn has_fired(&self) -> bool {
        match &self.phase {
            GuardPhase::Armed => false,
            GuardPhase::Waiting | GuardPhase::Firing | GuardPhase::Proving => true,
            GuardPhase::Over(status) => {
                matches!(
                    status,
                    GuardStatus::RolledBack | GuardStatus::Failed { .. } | GuardStatus::Firing
                )
            }
        }
    }

    /// What it says of itself.
    pub fn status(&self, monotonic: u64) -> GuardStatus {
        match &self.phase {
            GuardPhase::Armed => GuardStatus::Armed {
                remaining: Millis(self.deadline.saturating_sub(monotonic)),
            },
            GuardPhase::Waiting | GuardPhase::Firing | GuardPhase::Proving => GuardStatus::Firing,
            GuardPhase::Over(status) => status.clone(),
        }
    }
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Files by path.
    pub files: BTreeMap<String, File>,
    /// Digests of distributed packages.
    pub packages: BTreeMap<String, String>,
    /// Unpacked releases.
    pub releases: BTreeMap<String, ReleaseStatus>,
    /// What the link `current` points at.
    pub current: String,
    /// What was copied aside, by run and name.
    pub saved: BTreeMap<(String, String), Saved>,
    /// Records by run, step and attempt.
    pub records: BTreeMap<(String, u32, u32), Record>,
    /// Greatest fencing token seen.
    pub token: u64,
    /// Greatest sequence seen, by run, with the token that it came with.
    pub sequence: BTreeMap<String, (u64, u64)>,
    /// Guards by run and hop.
    pub guards: BTreeMap<GuardKey, GuardRecord>,
    /// The newest disarming of each guard, as token and sequence, whether a guard stood or not.
    pub disarmed: BTreeMap<GuardKey, (u64, u64)>,
    /// No byte more can be written.
    pub full: bool,
}

/// Bytes of a host's file system.
pub const DISK_TOTAL: u64 = 100_000_000_000;

impl Disk {
    /// Whether a guard was disarmed by a word that is as new as this place, or newer.
    pub fn is_disarmed_since(&self, key: &GuardKey, place: (u64, u64)) -> bool {
        self.disarmed.get(key).is_some_and(|disarmed| place <= *disarmed)
    }

    /// The path with links on the way replaced.
    pub fn resolve(&self, path: &str) -> String {
        if let Some(File::Link(target)) = self.files.get(path) {
            return target.clone();
        }
        path.to_owned()
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.files.get(path) {
            Some(File::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The data directory at a path or behind a link.
    pub fn data(&self, path: &str) -> Option<&DataDirectory> {
        match self.files.get(&self.resolve(path)) {
            Some(File::Data(data)) => Some(data),
            _ => None,
        }
    }

    /// The data directory at a path or behind a link, to be written in.
    pub fn data_mut(&mut self, path: &str) -> Option<&mut DataDirectory> {
        let path = self.resolve(path);
        match self.files.get_mut(&path) {
            Some(File::Data(data)) => Some(data),
            _ => None,
        }
    }

    /// Free bytes.
    pub fn free(&self) -> u64 {
        if self.full { 0 } else { DISK_TOTAL / 2 }
    }
}

/// A short digest of a file; the simulation needs equality, not secrecy.
pub fn digest(file: &File) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in format!("{file:?}").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}
