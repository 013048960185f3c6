//! Putting a snapshot back: beside its place first, compared with what was taken, and only then under its name.

use std::fs;
use std::path::{Path, PathBuf};

use upshift_host::snapshot::{Found, counts, offer, place, readable};
use upshift_model::snapshot::{RestoreSnapshot, SnapshotRecord};

use super::catalogue::Manifest;
use super::prove::{compare, need, require, size};
use super::restic::{Restic, durable_remove};
use super::survey;
use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::failpoint;
use crate::host::Host;
use crate::process::service;
use crate::store;

/// One path that is put back.
struct Move {
    /// Where the restored copy lies.
    from: PathBuf,
    /// Where it goes.
    to: PathBuf,
    /// Where what lies there goes first.
    aside: Option<PathBuf>,
}

/// Puts a snapshot back that is [`offered`]; what was done, in sentences.
///
/// # Errors
/// Where it was not; then nothing lies elsewhere than before, but for what the sentence names.
pub fn restore(
    host: &Host,
    restic: &Restic,
    manifest: &Manifest,
    record: &SnapshotRecord,
    order: &RestoreSnapshot,
) -> Result<Vec<String>> {
    let short = record.id.get(..8).unwrap_or(&record.id);
    let moves = moves(host, manifest, order, short)?;
    let stage = stage(&moves, short)?;
    durable_remove(&stage)?;
    require(
        "restoring the snapshot",
        &[need(&stage, size(&manifest.entries))?],
    )?;
    let put_back = staged(restic, manifest, record, &stage).and_then(|()| exchange(&stage, &moves));
    let removed = durable_remove(&stage);
    let lines = put_back?;
    removed.map(|()| lines)
}

/// Whether a snapshot may be used for this.
///
/// # Errors
/// Why not.
pub fn offered(host: &Host, record: &SnapshotRecord, order: &RestoreSnapshot) -> Result<()> {
    let in_place = order.to.is_none();
    let current = match &order.version {
        Some(version) => Some(version.clone()),
        None if in_place => store::current(&host.layout)?,
        None => None,
    };
    let offered = match (&current, in_place) {
        (None, false) => counts(record),
        (Some(version), false) => counts(record).and_then(|()| readable(record, version)),
        (version, true) => offer(record, version.as_deref()),
    };
    offered.map_err(|why| NodeError::refused(format!("the snapshot {} is not restored: {why}", record.id)))
}

fn moves(host: &Host, manifest: &Manifest, order: &RestoreSnapshot, short: &str) -> Result<Vec<Move>> {
    let running = match (&order.service, &order.to) {
        (Some(service), None) => service::find(&host.layout, service)?.is_some(),
        _ => false,
    };
    let written = |root: &PathBuf| root.starts_with(host.layout.snapshots());
    if order.to.is_none() && manifest.roots.iter().any(written) {
        return Err(NodeError::refused(
            "it holds what the product's own backup command wrote, which has no place of its own: restore it into a directory with --to, and \
             give it to the product's own restore",
        ));
    }
    let targets: Vec<(PathBuf, PathBuf)> = match &order.to {
        Some(to) => vec![(PathBuf::new(), PathBuf::from(to))],
        None => manifest
            .roots
            .iter()
            .map(|root| (root.clone(), root.clone()))
            .collect(),
    };
    let mut moves = Vec::new();
    for (from, to) in targets {
        if !to.is_absolute() || to == Path::new("/") || host.layout.root().starts_with(&to) {
            return Err(NodeError::refused(format!(
                "nothing is restored to `{}`: name an absolute path",
                to.display()
            )));
        }
        let aside = place(found(&to)?, order.move_aside, running)
            .map_err(|why| NodeError::refused(format!("{} is not restored: {why}", to.display())))?;
        moves.push(Move {
            from,
            aside: aside.then(|| free_name(&to, short)),
            to,
        });
    }
    Ok(moves)
}

fn found(path: &Path) -> Result<Found> {
    let what = || format!("cannot look at {}", path.display());
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Found::Absent),
        Err(error) => Err(error).context(what),
        Ok(metadata) if metadata.is_dir() => {
            let empty = fs::read_dir(path).context(what)?.next().is_none();
            Ok(if empty { Found::Empty } else { Found::Filled })
        }
        Ok(_) => Ok(Found::Filled),
    }
}

/// A name beside a path that is not taken.
fn free_name(path: &Path, short: &str) -> PathBuf {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let names = (0_u32..).map(|number| match number {
        0 => format!("{name}.before-{short}"),
        _ => format!("{name}.before-{short}-{number}"),
    });
    let mut paths = names.map(|name| path.with_file_name(name));
    paths
        .find(|path| path.symlink_metadata().is_err())
        .unwrap_or_else(|| durable::temporary_beside(path))
}

/// Beside the first place, so that putting back is a rename.
fn stage(moves: &[Move], short: &str) -> Result<PathBuf> {
    let first = moves
        .first()
        .and_then(|first| first.to.parent())
        .ok_or_else(|| NodeError::refused("the snapshot holds nothing"))?;
    fs::create_dir_all(first).context(|| format!("cannot make {}", first.display()))?;
    Ok(first.join(format!(".upshift-restoring-{short}")))
}

fn staged(restic: &Restic, manifest: &Manifest, record: &SnapshotRecord, stage: &Path) -> Result<()> {
    crate::layout::make_directory(stage, 0o700)?;
    restic.restore(&record.id, None, stage)?;
    failpoint::hit("restore-staged");
    let differing = compare(manifest, stage)?;
    match differing.is_empty() {
        true => Ok(()),
        false => Err(NodeError::refused(format!(
            "the snapshot {} is not restored, for what came out of the repository is not what was taken: {}; nothing was changed",
            record.id,
            differing.join("; ")
        ))),
    }
}

fn exchange(stage: &Path, moves: &[Move]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for each in moves {
        let from = match each.from.as_os_str().is_empty() {
            true => stage.to_owned(),
            false => survey::restored(stage, &each.from),
        };
        let what = || format!("cannot put {} in its place", each.to.display());
        if let Some(aside) = &each.aside {
            fs::rename(&each.to, aside).context(what)?;
            lines.push(format!(
                "{} was moved aside to {}",
                each.to.display(),
                aside.display()
            ));
            failpoint::hit("restore-aside");
        } else if each.to.is_dir() {
            fs::remove_dir(&each.to).context(what)?;
        }
        if let Err(error) = fs::rename(&from, &each.to) {
            // Best effort: what lay there gets its name again.
            if let Some(aside) = &each.aside {
                let _ = fs::rename(aside, &each.to);
            }
            return Err(error).context(what);
        }
        durable::sync_parent(&each.to)?;
        lines.push(format!("{} was restored", each.to.display()));
    }
    Ok(lines)
}
