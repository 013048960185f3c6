//! A host's disk: everything that survives the agent, the guard's process and a reboot.

use std::collections::BTreeMap;

use upshift_host::guard::{self, Key};
use upshift_host::orders::Ledger;
use upshift_model::action::Report;
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
    /// What is on record of the orders of each run.
    pub ledgers: BTreeMap<String, Ledger<Report>>,
    /// Greatest fencing token seen.
    pub token: u64,
    /// The guards.
    pub guards: BTreeMap<Key, guard::Record>,
    /// No byte more can be written.
    pub full: bool,
}

/// Bytes of a host's file system.
pub const DISK_TOTAL: u64 = 100_000_000_000;

impl Disk {
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
