//! What the host remembers of orders: the newest token of each fleet, the attempt in progress, and how attempts ended.
//!
//! An attempt is written down before it is begun and after it has ended. One that was begun and has not ended belongs to the
//! agent that holds the lock on orders; where nobody holds it, that agent is dead.

pub mod known;
mod log;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use upshift_wire::protocol::ExecuteOrder;

use crate::durable::{self, Lock};
use crate::error::{Context, Result};
use crate::in_place;
use crate::layout::Layout;

pub use log::RunLog;
pub use upshift_host::Place;

/// One attempt at one step of one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// The run.
    pub run: String,
    /// Number of the step.
    pub step: u32,
    /// Which attempt.
    pub attempt: u32,
}

/// The place of an order.
pub fn place_of(order: &ExecuteOrder) -> Place {
    Place {
        token: order.token,
        sequence: order.sequence,
    }
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
}

/// What is written down when an attempt is begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// What is done, in a word.
    pub action: String,
    /// The session of the agent that does it.
    pub session: u32,
    /// The boot of the host.
    pub boot: String,
    /// When the processes of the attempt must have ended, in milliseconds since boot.
    pub until: u64,
}

fn last_run_path(layout: &Layout) -> PathBuf {
    layout.records().join("last-run")
}

/// The run that has begun the last attempt on this host.
pub fn last_run(layout: &Layout) -> Result<Option<String>> {
    let path = last_run_path(layout);
    match fs::read_to_string(&path) {
        Ok(run) => Ok(Some(run)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes down which run begins an attempt now. The last one's attempts must all have ended.
pub fn set_last_run(layout: &Layout, run: &str) -> Result<()> {
    if last_run(layout)?.as_deref() == Some(run) {
        return Ok(());
    }
    durable::write(&last_run_path(layout), run.as_bytes())
}

/// Raises the newest token of a fleet to this one. The token that was seen, where it is newer.
pub fn fence(layout: &Layout, fleet: &str, token: u64) -> Result<Option<u64>> {
    let path = layout.records().join("fences");
    let _lock = Lock::take(&layout.records_lock())?;
    let mut fences: BTreeMap<String, u64> = in_place::read(&path)?.unwrap_or_default();
    match fences.get(fleet) {
        Some(seen) if *seen > token => Ok(Some(*seen)),
        Some(seen) if *seen == token => Ok(None),
        _ => {
            fences.insert(fleet.to_owned(), token);
            in_place::write(&path, &fences)?;
            Ok(None)
        }
    }
}

/// The newest token of each fleet.
pub fn tokens(layout: &Layout) -> Result<BTreeMap<String, u64>> {
    Ok(in_place::read(&layout.records().join("fences"))?.unwrap_or_default())
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
