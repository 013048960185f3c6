//! What the host keeps of each snapshot beside the repository: its record, and what it was seen to hold.
//!
//! The second lies in the snapshot itself, too, so that a repository is enough to prove a snapshot anew.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use upshift_host::snapshot::{Entry, EntryKind};
use upshift_model::snapshot::{SnapshotRecord, TakeSnapshot};

use super::restic::{Listed, Restic, durable_remove};
use super::survey;
use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::inventory::{self, Item, Kind};
use crate::layout::{Layout, component, make_directory};

/// What was taken, and how it is proven.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// What was asked for.
    pub order: TakeSnapshot,
    /// When, in milliseconds since 1970.
    pub taken_at: u64,
    /// The paths that it holds, but for this manifest.
    pub roots: Vec<PathBuf>,
    /// What they held.
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// The record of a snapshot that holds this; it does not count yet.
    pub fn record(&self, listed: &Listed) -> SnapshotRecord {
        let sizes = self.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::File { size, .. } => Some(size),
            _ => None,
        });
        SnapshotRecord {
            id: listed.id.clone(),
            tree: listed.tree.clone(),
            labels: self.order.labels.clone(),
            taken_at: self.taken_at,
            paths: self
                .roots
                .iter()
                .map(|root| root.to_string_lossy().into_owned())
                .collect(),
            files: sizes.clone().count() as u64,
            bytes: sizes.sum(),
            sha256: self.sha256(),
            proven_at: None,
            reasons: Vec::new(),
        }
    }

    fn sha256(&self) -> String {
        let items = self.entries.iter().map(|entry| Item {
            name: entry.path.clone(),
            kind: match &entry.kind {
                EntryKind::Directory => Kind::Directory,
                EntryKind::File { size, sha256, .. } => Kind::File {
                    size: *size,
                    sha256: sha256.clone(),
                },
                EntryKind::Link { target } => Kind::Link {
                    target: target.clone(),
                },
            },
            mode: entry.mode,
            owner: entry.owner,
            changed: entry.changed,
        });
        inventory::digest(&items.collect::<Vec<_>>())
    }
}

/// Where the manifest of a snapshot lies while it is taken, and in the snapshot.
pub fn manifest_file(layout: &Layout, name: &str) -> Result<PathBuf> {
    let directory = layout.snapshots().join("manifest");
    make_directory(&directory, 0o700)?;
    Ok(directory.join(format!("{}.json", component(name)?)))
}

fn record_file(layout: &Layout, id: &str) -> Result<PathBuf> {
    let directory = layout.snapshots().join("records");
    make_directory(&directory, 0o700)?;
    Ok(directory.join(format!("{}.json", component(id)?)))
}

/// Writes a record down.
pub fn write(layout: &Layout, record: &SnapshotRecord) -> Result<()> {
    durable::write_json(&record_file(layout, &record.id)?, record)
}

/// Removes a record.
pub fn remove(layout: &Layout, id: &str) -> Result<()> {
    durable::remove(&record_file(layout, id)?)
}

/// The records that the host has, oldest first, without asking the repository.
pub fn known(layout: &Layout) -> Result<Vec<SnapshotRecord>> {
    let directory = layout.snapshots().join("records");
    let mut records = Vec::new();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(records),
        Err(error) => return Err(error).context(|| format!("cannot read {}", directory.display())),
    };
    for entry in entries.flatten() {
        let json = entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "json");
        if json && let Some(record) = durable::read_json::<SnapshotRecord>(&entry.path())? {
            records.push(record);
        }
    }
    records.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
    Ok(records)
}

/// The snapshots that the repository has, each with its record. One whose record is lost, or is about something else, does not count.
pub fn all(layout: &Layout, restic: &Restic, host: &str) -> Result<Vec<SnapshotRecord>> {
    let mut records = known(layout)?;
    let mut found = Vec::new();
    for listed in restic.list(Some(host))? {
        let own = records
            .iter()
            .position(|record| record.id == listed.id && record.tree == listed.tree);
        let record = match own {
            Some(position) => records.swap_remove(position),
            None => {
                let record = manifest(layout, restic, &listed)?.record(&listed);
                write(layout, &record)?;
                record
            }
        };
        found.push(record);
    }
    found.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
    Ok(found)
}

/// What a snapshot says that it holds.
pub fn manifest(layout: &Layout, restic: &Restic, listed: &Listed) -> Result<Manifest> {
    let own = |path: &&String| path.contains("/backups/manifest/");
    let path = listed.paths.iter().find(own).ok_or_else(|| {
        NodeError::refused(format!(
            "the snapshot {} has no manifest: Upshift did not take it",
            listed.id
        ))
    })?;
    let scratch = layout.snapshots().join("tmp");
    restic.dump(&listed.id, path, &scratch)?;
    let scratch = scratch.join("dump");
    let read = durable::read_json(&survey::restored(&scratch, path.as_ref()));
    durable_remove(&scratch)?;
    read?.ok_or_else(|| NodeError::refused(format!("the snapshot {} has lost its manifest", listed.id)))
}

/// The one snapshot that an id, or the beginning of one, means.
pub fn the_one(restic: &Restic, id: &str) -> Result<Listed> {
    let mut meant: Vec<Listed> = restic
        .list(None)?
        .into_iter()
        .filter(|listed| !id.is_empty() && listed.id.starts_with(id))
        .collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(NodeError::refused(format!(
            "there is no snapshot {id} in the repository {}; `upshift snapshots list` names them",
            restic.location()
        ))),
        (Some(_), false) => Err(NodeError::refused(format!(
            "several snapshots begin with {id}; write more of the one that is meant"
        ))),
    }
}
