//! The host's own dead-man's switch.
//!
//! A guard is a record on disk and a process of its own. The record says until when it waits and what it does then. The
//! process holds a lock for as long as it lives, so that there is never more than one for a record, and anybody can see
//! whether there is one. An agent that finds a standing record without a process starts one.

mod fire;
mod keeper;
mod record;
mod unit;

use upshift_model::Millis;
use upshift_model::action::{Action, GuardRecipe, GuardStatus};
use upshift_wire::protocol::GuardCall;

use crate::actions::Errand;
use crate::durable::Lock;
use crate::error::{NodeError, Result};
use crate::layout::Layout;
use crate::records;

pub use keeper::keep;
use record::{Deadline, Key, Record, State};

/// Arms the guard of a hop, or arms it again with a new deadline and recipe.
pub fn arm(errand: &Errand<'_>, recipe: &GuardRecipe) -> Result<serde_json::Value> {
    let layout = &errand.host.layout;
    if recipe
        .revert
        .iter()
        .any(|action| matches!(action, Action::ArmGuard(_) | Action::DisarmGuard))
    {
        return Err(NodeError::refused("a guard cannot arm or disarm guards"));
    }
    let key = Key {
        run: errand.run.to_owned(),
        hop: errand.hop,
    };
    let deadline = Deadline::after(recipe.lease.plus(recipe.stagger));
    record::change(layout, &key, |before| {
        if before.is_some_and(|before| before.state == State::Firing) {
            return Err(NodeError::refused("the guard is reverting this host just now"));
        }
        Ok(Some(Record {
            key: key.clone(),
            fleet: errand.fleet.to_owned(),
            recipe: recipe.clone(),
            deadline: deadline.clone(),
            state: State::Armed,
            fired: before.is_some_and(|before| before.fired),
        }))
    })?;
    keeper::ensure(layout, &key)?;
    Ok(serde_json::json!({ "remaining_ms": deadline.remaining().0 }))
}

/// Whether the guard of a hop has fired, or is firing. One that stood down has changed nothing.
pub fn has_fired(layout: &Layout, run: &str, hop: u32) -> Result<bool> {
    let key = Key {
        run: run.to_owned(),
        hop,
    };
    Ok(record::read(layout, &key)?.is_some_and(|record| record.fired))
}

/// Renews the lease of a guard.
pub fn renew(layout: &Layout, call: &GuardCall) -> Result<GuardStatus> {
    fence(layout, call)?;
    let key = Key {
        run: call.run.clone(),
        hop: call.hop,
    };
    let after = record::change(layout, &key, |before| {
        Ok(before
            .filter(|record| record.state == State::Armed)
            .map(|record| Record {
                deadline: Deadline::after(record.recipe.lease.plus(record.recipe.stagger)),
                ..record.clone()
            }))
    })?;
    if after.as_ref().is_some_and(Record::stands) {
        keeper::ensure(layout, &key)?;
    }
    Ok(status_of(after.as_ref()))
}

/// Disarms a guard for the controller.
pub fn disarm_for(layout: &Layout, call: &GuardCall) -> Result<GuardStatus> {
    fence(layout, call)?;
    disarm(layout, &call.run, call.hop)
}

/// Disarms a guard that stands; what it says of itself then. One that fires cannot be disarmed.
pub fn disarm(layout: &Layout, run: &str, hop: u32) -> Result<GuardStatus> {
    let key = Key {
        run: run.to_owned(),
        hop,
    };
    let after = record::change(layout, &key, |before| {
        Ok(before
            .filter(|record| record.state == State::Armed)
            .map(|record| Record {
                state: State::Disarmed,
                ..record.clone()
            }))
    })?;
    if after
        .as_ref()
        .is_some_and(|record| record.state == State::Disarmed)
    {
        unit::remove(layout, &key)?;
    }
    Ok(status_of(after.as_ref()))
}

fn fence(layout: &Layout, call: &GuardCall) -> Result<()> {
    match records::fence(layout, &call.fleet, call.token)? {
        None => Ok(()),
        Some(seen) => Err(NodeError::refused(format!(
            "this host has seen a younger controller of {} (token {seen}, this one has {})",
            call.fleet, call.token
        ))),
    }
}

/// What the guard of the latest hop of a run says of itself.
pub fn status(layout: &Layout, run: &str) -> Result<GuardStatus> {
    let latest = record::all(layout)?
        .into_iter()
        .filter(|record| record.key.run == run)
        .max_by_key(|record| record.key.hop);
    Ok(status_of(latest.as_ref()))
}

fn status_of(record: Option<&Record>) -> GuardStatus {
    let Some(record) = record else {
        return GuardStatus::Absent;
    };
    match &record.state {
        State::Armed => GuardStatus::Armed {
            remaining: record.deadline.remaining(),
        },
        State::Firing => GuardStatus::Firing,
        State::Reverted => GuardStatus::Reverted,
        State::StoodDown => GuardStatus::StoodDown,
        State::Failed { reason } => GuardStatus::Failed {
            reason: reason.clone(),
        },
        State::Disarmed => GuardStatus::Disarmed,
    }
}

/// Starts a process for every guard that stands without one: after a reboot, or where somebody has killed it.
pub fn ensure_all(layout: &Layout) -> Result<()> {
    for record in record::all(layout)?.iter().filter(|record| record.stands()) {
        keeper::ensure(layout, &record.key)?;
    }
    Ok(())
}

/// Whether a guard's process lives.
fn lives(layout: &Layout, key: &Key) -> Result<bool> {
    Lock::is_held(&record::life_path(layout, key)?)
}

/// The longest that a guard sleeps before it reads its record again.
const LOOK: Millis = Millis(500);
