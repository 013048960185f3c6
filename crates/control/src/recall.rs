//! Runs from their journals: for those who look on, and for what history says of versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use upshift_run::{Outcome, State, replay};
use upshift_store::{Store, StoreError};

/// The state of a run as its journal has it. The time is that of the last event.
///
/// # Errors
/// Where there is no such run, or the store cannot be read.
pub fn recall(store: &Store, run: &str) -> Result<State, StoreError> {
    let plan = Arc::new(store.plan(run)?);
    let events = store.events(run, 1)?.into_iter().map(|recorded| recorded.event);
    Ok(replay(State::new(plan, run.to_owned()), events))
}

/// Versions of a product that runs on a fleet rolled back from, with the latest run that did. A later run that stayed on a version takes it
/// off the list.
///
/// # Errors
/// Where the store cannot be read.
pub fn rolled_back_versions(
    store: &Store,
    fleet: &str,
    product: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut rolled_back = BTreeMap::new();
    let runs = store.runs(Some(fleet))?.into_iter().rev();
    for record in runs.filter(|record| record.product == product) {
        match &record.outcome {
            Some(Outcome::RolledBack { to, .. }) => {
                let plan = store.plan(&record.id)?;
                let left = plan.hops.iter().find(|hop| hop.from == *to);
                if let Some(hop) = left {
                    rolled_back.insert(hop.to.clone(), record.id);
                }
            }
            Some(Outcome::Upgraded | Outcome::Finalized) => {
                for hop in &store.plan(&record.id)?.hops {
                    rolled_back.remove(&hop.to);
                }
            }
            _ => {}
        }
    }
    Ok(rolled_back)
}
