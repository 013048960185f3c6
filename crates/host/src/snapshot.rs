//! What a host decides about snapshots: whether one counts, whom it may be offered, where it may be put back, whether there is room, and
//! which ones are kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use upshift_model::snapshot::SnapshotRecord;
use upshift_model::version::{Range, Version};

/// How many differences are told one by one.
const TOLD: usize = 5;
/// Part of a file system that stays free: one in so many bytes …
const RESERVE: u64 = 20;
/// … and no more than this.
const MOST_RESERVE: u64 = 1_000_000_000;

/// One name that a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its absolute path where it was taken.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions, set-user, set-group and sticky bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// When it was changed: seconds and nanoseconds since 1970.
    pub changed: (i64, i64),
    /// Digest of each extended attribute.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The first path of the snapshot that is the same file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked: Option<String>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// In bytes.
        size: u64,
        /// Digest of its contents.
        sha256: String,
        /// Whether it has holes: it takes fewer bytes on disk than it holds.
        sparse: bool,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        target: String,
    },
}

impl EntryKind {
    fn word(&self) -> &'static str {
        match self {
            EntryKind::Directory => "a directory",
            EntryKind::File { .. } => "a file",
            EntryKind::Link { .. } => "a link",
        }
    }
}

/// How what was restored differs from what was taken, in sentences; nothing where it is the same. Both are sorted by path.
pub fn differences(taken: &[Entry], restored: &[Entry]) -> Vec<String> {
    let by_path = |entries: &[Entry]| -> BTreeMap<String, Entry> {
        let named = entries.iter().map(|entry| (entry.path.clone(), entry.clone()));
        named.collect()
    };
    let (before, after) = (by_path(taken), by_path(restored));
    let missing = before.keys().filter(|path| !after.contains_key(*path));
    let mut found: Vec<String> = missing.map(|path| format!("{path} is missing")).collect();
    let added = after.keys().filter(|path| !before.contains_key(*path));
    found.extend(added.map(|path| format!("{path} was not taken, and is there")));
    for (path, was) in &before {
        if let Some(words) = after.get(path).and_then(|is| difference(was, is)) {
            found.push(format!("{path} {words}"));
        }
    }
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

fn difference(was: &Entry, is: &Entry) -> Option<String> {
    let words = match (&was.kind, &is.kind) {
        (
            EntryKind::File { size, sha256, .. },
            EntryKind::File {
                size: other_size,
                sha256: other,
                ..
            },
        ) => {
            if size != other_size {
                Some(format!("has {other_size} bytes, and {size} were taken"))
            } else {
                (sha256 != other).then(|| "does not hold what was taken".to_owned())
            }
        }
        (EntryKind::Link { target }, EntryKind::Link { target: other }) => {
            (target != other).then(|| format!("leads to {other}, and led to {target}"))
        }
        (EntryKind::Directory, EntryKind::Directory) => None,
        (was, is) => Some(format!("is {}, and was {}", is.word(), was.word())),
    };
    // Nobody can choose the mode of a link.
    let link = matches!(was.kind, EntryKind::Link { .. });
    words
        .or_else(|| {
            (was.mode != is.mode && !link)
                .then(|| format!("has the mode {:o}, and had {:o}", is.mode, was.mode))
        })
        .or_else(|| {
            let owner = |entry: &Entry| format!("{}:{}", entry.owner.0, entry.owner.1);
            (was.owner != is.owner)
                .then(|| format!("belongs to {}, and belonged to {}", owner(is), owner(was)))
        })
        .or_else(|| (was.changed != is.changed).then(|| "has another time of change".to_owned()))
        .or_else(|| (was.attributes != is.attributes).then(|| "has other extended attributes".to_owned()))
        .or_else(|| (was.linked != is.linked).then(|| "is not linked as it was".to_owned()))
}

/// Bytes that something needs on a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The file system, by where it is mounted.
    pub mount: String,
    /// What is written there.
    pub bytes: u64,
    /// What may still be written there.
    pub free: u64,
    /// Its size.
    pub total: u64,
}

/// There is not enough room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} needs {needed} bytes on the file system {mount}, and {free} are free, of which {reserve} stay free"
)]
pub struct NoRoom {
    /// What needs it.
    pub what: String,
    /// The file system.
    pub mount: String,
    /// Bytes that are needed.
    pub needed: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that stay free.
    pub reserve: u64,
}

/// Whether there is room for all of these; those on one file system add up.
///
/// # Errors
/// The first file system that has too little.
pub fn room(what: &str, needs: &[Need]) -> Result<(), NoRoom> {
    let mounts: BTreeSet<&str> = needs.iter().map(|need| need.mount.as_str()).collect();
    for mount in mounts {
        let here = || needs.iter().filter(|need| need.mount == mount);
        let needed = here().fold(0_u64, |sum, need| sum.saturating_add(need.bytes));
        let free = here().map(|need| need.free).min().unwrap_or(0);
        let reserve = here().map(|need| need.total).max().unwrap_or(0) / RESERVE;
        let reserve = reserve.min(MOST_RESERVE);
        if needed.saturating_add(reserve) > free {
            return Err(NoRoom {
                what: what.to_owned(),
                mount: mount.to_owned(),
                needed,
                free,
                reserve,
            });
        }
    }
    Ok(())
}

/// Why a snapshot is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOffered {
    /// It does not count.
    #[error("it is not proven to restore: {0}")]
    NotProven(String),
    /// It is in a format that the version cannot read.
    #[error(
        "it holds data of {of} (format {format}), which versions {readable_by} read, and {version} is none of them"
    )]
    Unreadable {
        /// The version that it was taken of.
        of: String,
        /// Version of its format.
        format: String,
        /// The versions that read it.
        readable_by: String,
        /// The version that was to read it.
        version: String,
    },
    /// Nobody knows which version is to read it.
    #[error("it is not known which version is to read it")]
    VersionUnknown,
    /// Its labels make no sense.
    #[error("its label is not to be understood: {0}")]
    BadLabel(String),
}

/// Whether a snapshot may be used by a version.
///
/// # Errors
/// Why not.
pub fn offer(record: &SnapshotRecord, version: Option<&str>) -> Result<(), NotOffered> {
    counts(record)?;
    let version = version.ok_or(NotOffered::VersionUnknown)?;
    readable(record, version)
}

/// Whether a snapshot counts.
///
/// # Errors
/// Why not.
pub fn counts(record: &SnapshotRecord) -> Result<(), NotOffered> {
    if record.proven() {
        return Ok(());
    }
    let why = match record.reasons.is_empty() {
        true => "nobody has tried".to_owned(),
        false => record.reasons.join("; "),
    };
    Err(NotOffered::NotProven(why))
}

/// Whether a version can read a snapshot.
///
/// # Errors
/// Why not.
pub fn readable(record: &SnapshotRecord, version: &str) -> Result<(), NotOffered> {
    let labels = &record.labels;
    let bad = |error: String| NotOffered::BadLabel(error);
    let parse = |text: &str| Version::parse(labels.scheme, text).map_err(|error| bad(error.to_string()));
    let reader = parse(version)?;
    let reads = match labels.readable_by.is_empty() {
        true => parse(&labels.version)?.same_minor(&reader),
        false => Range::parse(labels.scheme, &labels.readable_by)
            .map_err(|error| bad(error.to_string()))?
            .contains(&reader),
    };
    match reads || labels.version == version {
        true => Ok(()),
        false => Err(NotOffered::Unreadable {
            of: labels.version.clone(),
            format: labels.format.clone(),
            readable_by: match labels.readable_by.is_empty() {
                true => "of the same minor version".to_owned(),
                false => labels.readable_by.clone(),
            },
            version: version.to_owned(),
        }),
    }
}

/// What lies where something is to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// An empty directory.
    Empty,
    /// Something.
    Filled,
}

/// Why nothing is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Occupied {
    /// Something lies there.
    #[error("something lies there, and nothing is overwritten; --move-aside keeps it under another name")]
    Filled,
    /// The service runs.
    #[error(
        "the service runs, and its files are not changed under it; stop it first, or restore elsewhere with --to"
    )]
    Running,
}

/// Whether something may be put back, and whether what lies there is moved aside first.
///
/// # Errors
/// Why not.
pub fn place(found: Found, move_aside: bool, running: bool) -> Result<bool, Occupied> {
    match (found, move_aside, running) {
        (_, _, true) => Err(Occupied::Running),
        (Found::Filled, false, _) => Err(Occupied::Filled),
        (Found::Filled, true, _) => Ok(true),
        (Found::Absent | Found::Empty, _, _) => Ok(false),
    }
}

/// Which snapshots are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many of each name, the newest.
    pub last: u32,
    /// All that are younger, in milliseconds.
    pub within: u64,
}

/// The ids of those that are not kept. The newest proven one of each name, and of each version of the product, always is; and one that
/// is not proven never takes the place of one that is.
pub fn forgotten(records: &[SnapshotRecord], keep: Keep, now: u64) -> Vec<String> {
    let mut newest_first: Vec<&SnapshotRecord> = records.iter().collect();
    newest_first.sort_by(|a, b| (b.taken_at, &b.id).cmp(&(a.taken_at, &a.id)));
    let (mut of_name, mut of_version) = (BTreeMap::new(), BTreeSet::new());
    let mut forgotten = Vec::new();
    for record in newest_first {
        let labels = &record.labels;
        let name = (&labels.fleet, &labels.host, &labels.product, &labels.name);
        let young = now.saturating_sub(record.taken_at) < keep.within;
        let kept = if record.proven() {
            let count = of_name.entry(name).or_insert(0_u32);
            *count += 1;
            let last_of_version = of_version.insert((name, &labels.version));
            *count <= keep.last || last_of_version
        } else {
            false
        };
        if !(kept || young) {
            forgotten.push(record.id.clone());
        }
    }
    forgotten
}
