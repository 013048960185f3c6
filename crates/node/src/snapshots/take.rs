//! Taking a snapshot: what the product's own command writes, and files as they are; then it is proven.

use std::path::{Path, PathBuf};

use upshift_model::snapshot::{SnapshotRecord, TakeSnapshot};

use super::catalogue::{self, Manifest};
use super::prove::{failed, need, prove, require, size};
use super::restic::{Restic, durable_remove};
use super::survey;
use crate::clock;
use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::failpoint;
use crate::filesystem;
use crate::host::Host;
use crate::layout::{Layout, component, make_directory};
use crate::process::command::{self, Keep};

/// The directory that a backup command writes into.
pub fn output(layout: &Layout, name: &str) -> Result<PathBuf> {
    Ok(layout.snapshots().join("output").join(component(name)?))
}

/// Takes a snapshot and proves it. What was written on the way does not stay, whatever comes of it.
///
/// # Errors
/// Where none was taken. One that was taken and does not count is no error: its record says why.
pub fn take(host: &Host, order: &TakeSnapshot, mark: &str) -> Result<SnapshotRecord> {
    let output = output(&host.layout, &order.labels.name)?;
    durable_remove(&output)?;
    let taken = take_into(host, order, mark, &output);
    let removed = durable_remove(&output);
    let record = taken?;
    removed.map(|()| record)
}

fn take_into(host: &Host, order: &TakeSnapshot, mark: &str, output: &Path) -> Result<SnapshotRecord> {
    let layout = &host.layout;
    let restic = Restic::open(layout, &order.repository, mark, order.within)?;
    restic.version()?;
    let mut roots = roots(layout, &order.paths)?;
    let used = filesystem::usage(roots.iter().map(PathBuf::as_path))?;
    if let Err(short) = room(layout, &restic, used.bytes) {
        // What was written of a snapshot that failed may be what takes the room.
        if !restic.exists()? || restic.sweep().is_err() {
            return Err(short);
        }
        room(layout, &restic, used.bytes)?;
    }
    failpoint::hit("snapshot-room");
    restic.ensure()?;
    holds(host, order, "before")?;
    if let Some(command) = &order.command {
        make_directory(output, 0o700)?;
        command::perform(command, mark, Keep::Memory)?;
        roots.push(output.to_owned());
    }
    if roots.is_empty() {
        return Err(NodeError::refused(format!(
            "there is nothing to take for `{}`: none of its paths exists",
            order.labels.name
        )));
    }
    let cannot = || format!("cannot take `{}`", order.labels.name);
    let manifest = Manifest {
        order: order.clone(),
        taken_at: clock::wall(),
        entries: survey::survey(&roots, None).context(cannot)?,
        roots,
    };
    room(layout, &restic, size(&manifest.entries))?;
    let file = catalogue::manifest_file(layout, &order.labels.name)?;
    durable::write_json(&file, &manifest)?;
    let mut paths = manifest.roots.clone();
    paths.push(file);
    let id = restic
        .backup(&order.labels.host, &order.labels.name, &paths)
        .inspect_err(|_| {
            // Best effort: on a full disk even this may fail, and is done again where room is short.
            let _ = restic.sweep();
        })?;
    failpoint::hit("snapshot-taken");
    let listed = catalogue::the_one(&restic, &id)?;
    // Migrated meanwhile: it would be offered to a version that cannot read it.
    if let Err(error) = holds(host, order, "after") {
        restic.forget(std::slice::from_ref(&listed.id))?;
        return Err(error);
    }
    let mut record = manifest.record(&listed);
    catalogue::write(layout, &record)?;
    failpoint::hit("snapshot-recorded");
    prove(host, &restic, &manifest, &mut record)?;
    catalogue::write(layout, &record)?;
    Ok(record)
}

/// Room for the repository's copy and for the trial restore.
fn room(layout: &Layout, restic: &Restic, bytes: u64) -> Result<()> {
    let mut needs = vec![need(&layout.snapshots(), bytes)?];
    if let Some(directory) = restic.directory() {
        needs.push(need(directory, bytes)?);
    }
    require("a snapshot and its trial restore", &needs)
}

/// That the data is of the version that the snapshot will say.
fn holds(host: &Host, order: &TakeSnapshot, when: &str) -> Result<()> {
    let failed = failed(host, order, &order.state);
    match failed.is_empty() {
        true => Ok(()),
        false => Err(NodeError::refused(format!(
            "no snapshot `{}` of {} {}: {} ({when} it was taken)",
            order.labels.name,
            order.labels.product,
            order.labels.version,
            failed.join("; ")
        ))),
    }
}

/// The paths that exist: absolute, plain, and none that holds the agent's own directory.
fn roots(layout: &Layout, paths: &[String]) -> Result<Vec<PathBuf>> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for text in paths.iter().filter(|text| !text.is_empty()) {
        let path = PathBuf::from(text);
        let plain = path.is_absolute() && !path.components().any(|part| part.as_os_str() == "..");
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !plain || layout.root().starts_with(&path) || layout.root().starts_with(&real) {
            return Err(NodeError::refused(format!(
                "`{text}` cannot be taken: only absolute paths can, and none that holds the agent's own directory"
            )));
        }
        // A link's target is what an operator means.
        let target = path.is_symlink().then_some(real);
        for path in [Some(path), target].into_iter().flatten() {
            let exists = path.symlink_metadata().is_ok();
            if exists && !roots.iter().any(|root| path.starts_with(root)) {
                roots.retain(|root| !root.starts_with(&path));
                roots.push(path);
            }
        }
    }
    Ok(roots)
}
