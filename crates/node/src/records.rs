//! What the host remembers of orders: the newest token of each fleet, the attempt in progress, and how attempts ended.
//!
//! An attempt is written down before it is begun and after it has ended. One that was begun and has not ended belongs to the
//! agent that holds the lock on orders; where nobody holds it, that agent is dead.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use upshift_model::action::Report;
use upshift_wire::protocol::ExecuteOrder;

use crate::clock;
use crate::durable::{self, Lock};
use crate::error::Result;
use crate::layout::Layout;

/// One attempt at one step of one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The run.
    pub run: String,
    /// Number of the step.
    pub step: u32,
    /// Which attempt.
    pub attempt: u32,
}

impl Attempt {
    /// The attempt that an order asks for.
    pub fn of(order: &ExecuteOrder) -> Self {
        Attempt {
            run: order.run.clone(),
            step: order.step,
            attempt: order.attempt,
        }
    }

    /// The mark in the environment of its processes; state directories differ where several agents share a host.
    pub fn mark(&self, layout: &Layout) -> String {
        format!(
            "{}:{}/{}/{}",
            layout.root().display(),
            self.run,
            self.step,
            self.attempt
        )
    }

    fn path(&self, layout: &Layout) -> Result<PathBuf> {
        Ok(layout
            .run(&self.run)?
            .join(format!("{}-{}.json", self.step, self.attempt)))
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ended {
    report: Report,
    /// What was done, in a word.
    action: String,
    /// Milliseconds since 1970.
    ended: u64,
}

/// The report of an attempt that has ended.
pub fn report(layout: &Layout, attempt: &Attempt) -> Result<Option<Report>> {
    Ok(durable::read_json::<Ended>(&attempt.path(layout)?)?.map(|ended| ended.report))
}

/// Writes down how an attempt ended.
pub fn ended(layout: &Layout, attempt: &Attempt, action: &str, report: &Report) -> Result<()> {
    let ended = Ended {
        report: report.clone(),
        action: action.to_owned(),
        ended: clock::wall(),
    };
    durable::write_json(&attempt.path(layout)?, &ended)
}

/// The attempt that was begun last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Which.
    pub attempt: Attempt,
    /// What is done, in a word.
    pub action: String,
    /// The session of the agent that does it.
    pub session: u32,
    /// The boot of the host.
    pub boot: String,
    /// When the processes of the attempt must have ended, in milliseconds since boot.
    pub until: u64,
}

/// The place of a run's newest order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Fencing token.
    pub token: u64,
    /// Number among the orders of the run with this token.
    pub sequence: u64,
}

/// What is remembered of orders, besides how they ended. Read and written only while orders are locked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The attempt that was begun last.
    pub begun: Option<Begun>,
    /// The newest order of each run.
    pub runs: BTreeMap<String, Place>,
}

fn host_path(layout: &Layout) -> PathBuf {
    layout.records().join("host.json")
}

/// Reads what is remembered.
pub fn host(layout: &Layout) -> Result<HostRecord> {
    Ok(durable::read_json(&host_path(layout))?.unwrap_or_default())
}

/// Writes down that an attempt is begun.
pub fn begun(layout: &Layout, record: &HostRecord) -> Result<()> {
    if let Some(begun) = &record.begun {
        crate::layout::make_directory(&layout.run(&begun.attempt.run)?, 0o700)?;
    }
    durable::write_json(&host_path(layout), record)
}

/// Raises the newest token of a fleet to this one. The token that was seen, where it is newer.
pub fn fence(layout: &Layout, fleet: &str, token: u64) -> Result<Option<u64>> {
    let path = layout.records().join("fences.json");
    let _lock = Lock::take(&layout.records_lock())?;
    let mut fences: BTreeMap<String, u64> = durable::read_json(&path)?.unwrap_or_default();
    match fences.get(fleet) {
        Some(seen) if *seen > token => Ok(Some(*seen)),
        Some(seen) if *seen == token => Ok(None),
        _ => {
            fences.insert(fleet.to_owned(), token);
            durable::write_json(&path, &fences)?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_only_rises_and_each_fleet_has_its_own() {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        assert_eq!(fence(&layout, "a", 3).unwrap(), None);
        assert_eq!(fence(&layout, "a", 3).unwrap(), None);
        assert_eq!(fence(&layout, "a", 2).unwrap(), Some(3));
        assert_eq!(fence(&layout, "b", 1).unwrap(), None);
        assert_eq!(fence(&layout, "a", 4).unwrap(), None);
        assert_eq!(
            fence(&Layout::open(state.path()).unwrap(), "a", 3).unwrap(),
            Some(4)
        );
    }
}
