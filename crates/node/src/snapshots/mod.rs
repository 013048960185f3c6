//! Snapshots on a host: taken into a repository of restic's format, proven by a restore, listed, verified, put back, forgotten.
//!
//! restic keeps the repository; whether a snapshot counts is decided in [`upshift_host::snapshot`] from what was observed here. A kill at
//! any moment leaves a repository that verifies: restic names a snapshot last, and a snapshot without a record does not count.

mod catalogue;
mod prove;
mod restic;
mod restore;
mod survey;
mod take;

use serde_json::{Value, json};
use upshift_model::Millis;
use upshift_model::snapshot::{SnapshotAnswer, SnapshotCall, SnapshotRecord, TakeSnapshot};
use upshift_wire::protocol::SnapshotOrder;

use crate::durable::Lock;
use crate::error::{NodeError, Result};
use crate::host::Host;
use crate::layout::Layout;
use crate::records;
use restic::Restic;

pub use restic::find as find_restic;

/// Marks the programs that are run for a call outside of runs.
const MARK: &str = "snapshots";
/// The most time for one call of restic outside of an order.
const LIMIT: Millis = Millis::seconds(4 * 3600);

/// Does what is asked, outside of runs. One call at a time.
///
/// # Errors
/// Where it was not done, or a younger controller has been here.
pub fn call(host: &Host, order: &SnapshotOrder) -> Result<SnapshotAnswer> {
    let layout = &host.layout;
    let token = match order.call {
        SnapshotCall::List => None,
        _ => Some(
            order
                .token
                .ok_or_else(|| NodeError::refused("snapshots are changed only by who holds the fleet"))?,
        ),
    };
    if let Some(token) = token
        && let Some(newer) = records::fence(layout, &order.fleet, token)?
    {
        return Err(NodeError::refused(format!(
            "another controller has taken over (its token is {newer}); this one changes nothing any more"
        )));
    }
    let _lock = alone(layout)?;
    let mut answer = SnapshotAnswer::default();
    if let SnapshotCall::Take(take) = &order.call {
        answer.snapshots = vec![take::take(host, take, MARK)?];
    }
    let restic = Restic::open(layout, &order.repository, MARK, LIMIT)?;
    answer.repository = restic.location().to_owned();
    answer.password = restic.password();
    match &order.call {
        SnapshotCall::Take(_) => {}
        SnapshotCall::List => answer.snapshots = catalogue::all(layout, &restic, &order.host)?,
        SnapshotCall::Verify { id } => answer.snapshots = vec![verify(host, &restic, id)?],
        SnapshotCall::Check => {
            answer.lines = vec![match restic.exists()? {
                true => {
                    restic.check()?;
                    format!("everything in {} was read", restic.location())
                }
                false => format!("there is no repository {} yet", restic.location()),
            }];
        }
        SnapshotCall::Restore(restore) => {
            let listed = catalogue::the_one(&restic, &restore.id)?;
            let record = of(layout, &restic, &order.host, &listed.id)?;
            restore::offered(host, &record, restore)?;
            let manifest = catalogue::manifest(layout, &restic, &listed)?;
            answer.lines = restore::restore(host, &restic, &manifest, &record, restore)?;
            answer.snapshots = vec![record];
        }
        SnapshotCall::Forget { ids } => {
            restic.forget(ids)?;
            for id in ids {
                catalogue::remove(layout, id)?;
            }
            answer.lines = vec![format!("{} removed", ids.len())];
        }
    }
    Ok(answer)
}

fn alone(layout: &Layout) -> Result<Lock> {
    let directory = layout.snapshots();
    crate::layout::make_directory(&directory, 0o700)?;
    Lock::take(&directory.join("lock"))
}

fn of(layout: &Layout, restic: &Restic, host: &str, id: &str) -> Result<SnapshotRecord> {
    let mut records = catalogue::all(layout, restic, host)?.into_iter();
    records
        .find(|record| record.id == id)
        .ok_or_else(|| NodeError::refused(format!("the snapshot {id} is none of this host")))
}

fn verify(host: &Host, restic: &Restic, id: &str) -> Result<SnapshotRecord> {
    let listed = catalogue::the_one(restic, id)?;
    let manifest = match catalogue::manifest(&host.layout, restic, &listed) {
        Ok(manifest) => manifest,
        Err(error) if error.is_full() => return Err(error),
        Err(error) => return not_readable(host, &listed.id, error),
    };
    let mut record = manifest.record(&listed);
    prove::prove(host, restic, &manifest, &mut record)?;
    catalogue::write(&host.layout, &record)?;
    Ok(record)
}

/// A snapshot that cannot even say what it holds: what was known of it no longer counts.
fn not_readable(host: &Host, id: &str, error: NodeError) -> Result<SnapshotRecord> {
    let known = catalogue::known(&host.layout)?;
    let Some(mut record) = known.into_iter().find(|record| record.id == id) else {
        return Err(error);
    };
    record.proven_at = None;
    record.reasons = vec![error.to_string()];
    catalogue::write(&host.layout, &record)?;
    Ok(record)
}

/// Takes a snapshot for a run. One that the run has taken and that counts is not taken again.
///
/// # Errors
/// Where none was taken, or the one that was taken does not count.
pub fn take(host: &Host, order: &TakeSnapshot, mark: &str) -> Result<Value> {
    let _lock = alone(&host.layout)?;
    let record = match of_run(&host.layout, &order.labels.run, &order.labels.name)? {
        Some(record) if record.proven() => record,
        _ => take::take(host, order, mark)?,
    };
    match record.proven() {
        true => Ok(seen(Some(&record))),
        false => Err(NodeError::refused(format!(
            "the snapshot `{}` does not count: {}",
            order.labels.name,
            record.reasons.join("; ")
        ))),
    }
}

/// What a run's snapshot of a name is.
///
/// # Errors
/// Where the records cannot be read.
pub fn probe(host: &Host, run: &str, name: &str) -> Result<Value> {
    Ok(seen(of_run(&host.layout, run, name)?.as_ref()))
}

fn of_run(layout: &Layout, run: &str, name: &str) -> Result<Option<SnapshotRecord>> {
    let mut records = catalogue::known(layout)?.into_iter().rev();
    Ok(records.find(|record| record.labels.run == run && record.labels.name == name))
}

fn seen(record: Option<&SnapshotRecord>) -> Value {
    match record {
        None => {
            json!({ "exists": false, "proven": false, "id": null, "version": null, "files": 0, "bytes": 0, "reason": null })
        }
        Some(record) => json!({
            "exists": true,
            "proven": record.proven(),
            "id": record.id,
            "version": record.labels.version,
            "files": record.files,
            "bytes": record.bytes,
            "reason": (!record.reasons.is_empty()).then(|| record.reasons.join("; ")),
        }),
    }
}
