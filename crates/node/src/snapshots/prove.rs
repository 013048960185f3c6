//! Whether a snapshot counts: it is restored, compared with what was taken, and read by the product's own reader.

use std::path::Path;

use upshift_host::snapshot::{Entry, Need, differences, room};
use upshift_model::expr::{self, Scope};
use upshift_model::snapshot::{SnapshotCheck, SnapshotRecord, TakeSnapshot};

use super::catalogue::Manifest;
use super::restic::{Restic, durable_remove};
use super::survey;
use crate::clock;
use crate::error::{Context, NodeError, Result, is_full};
use crate::failpoint;
use crate::filesystem;
use crate::host::Host;
use crate::layout::{component, make_directory};
use crate::probes;

/// What a file system has to take in.
pub fn need(path: &Path, bytes: u64) -> Result<Need> {
    let space = filesystem::space(path)?;
    Ok(Need {
        mount: filesystem::mount_point(path).to_string_lossy().into_owned(),
        bytes,
        free: space.free,
        total: space.total,
    })
}

/// Refuses where there is no room.
pub fn require(what: &str, needs: &[Need]) -> Result<()> {
    room(what, needs).map_err(|error| NodeError::Full(error.to_string()))
}

/// Bytes of what a snapshot holds.
pub fn size(entries: &[Entry]) -> u64 {
    let sizes = entries.iter().map(|entry| match entry.kind {
        upshift_host::snapshot::EntryKind::File { size, .. } => size.max(1),
        _ => 1,
    });
    sizes.fold(0, |sum, size| {
        sum.saturating_add(size.div_ceil(4096).saturating_mul(4096))
    })
}

/// Tries a snapshot; the record says what came of it. Nothing stays of the trial.
///
/// # Errors
/// Where it could not be tried: no room, or the host itself failed.
pub fn prove(host: &Host, restic: &Restic, manifest: &Manifest, record: &mut SnapshotRecord) -> Result<()> {
    let trial = host
        .layout
        .snapshots()
        .join("trial")
        .join(component(&manifest.order.labels.name)?);
    durable_remove(&trial)?;
    require(
        "the trial restore of a snapshot",
        &[need(&trial, size(&manifest.entries))?],
    )?;
    make_directory(&trial, 0o700)?;
    let outcome = tried(host, restic, manifest, record, &trial);
    let removed = durable_remove(&trial);
    record.reasons = outcome?;
    record.proven_at = record.reasons.is_empty().then(clock::wall);
    removed
}

fn tried(
    host: &Host,
    restic: &Restic,
    manifest: &Manifest,
    record: &SnapshotRecord,
    trial: &Path,
) -> Result<Vec<String>> {
    match restic.restore(&record.id, None, trial) {
        Err(error) if error.is_full() => return Err(error),
        Err(error) => return Ok(vec![error.to_string()]),
        Ok(()) => {}
    }
    failpoint::hit("snapshot-restored");
    let differing = compare(manifest, trial)?;
    if !differing.is_empty() {
        return Ok(differing);
    }
    Ok(failed(host, &manifest.order, &manifest.order.proof))
}

/// How what was restored into a directory differs from what was taken.
pub fn compare(manifest: &Manifest, below: &Path) -> Result<Vec<String>> {
    let full = |error: std::io::Error| match is_full(&error) {
        true => filesystem::full(below, "restoring a snapshot", 0),
        false => NodeError::Io {
            what: format!("cannot look through {}", below.display()),
            source: error,
        },
    };
    survey::make_sparse(&manifest.entries, below).map_err(full)?;
    let restored = survey::survey(&manifest.roots, Some(below))
        .context(|| format!("cannot look through {}", below.display()))?;
    Ok(differences(&manifest.entries, &restored))
}

/// What does not hold of some checks, in sentences. What cannot be observed does not hold, and says why.
pub fn failed(host: &Host, order: &TakeSnapshot, checks: &[SnapshotCheck]) -> Vec<String> {
    let mut failed = Vec::new();
    for check in checks {
        let words = match probes::observe(host, None, &check.probe) {
            Err(failure) => format!("{}: {}", check.otherwise, failure.reason()),
            Ok(value) => {
                let names = serde_json::Value::Object(order.scope.clone());
                let mut scope = Scope::from_value(order.labels.scheme, names);
                scope.set("version", order.labels.version.clone().into());
                let said = value
                    .get("stderr")
                    .and_then(|text| text.as_str())
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                scope.set("value", value);
                match expr::holds(&check.expect, &scope) {
                    Ok(true) => continue,
                    Ok(false) if said.is_empty() => check.otherwise.clone(),
                    Ok(false) => format!("{}: {said}", check.otherwise),
                    Err(error) => format!("{}: {error}", check.otherwise),
                }
            }
        };
        failed.push(words);
    }
    failed
}
