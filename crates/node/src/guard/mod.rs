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
use upshift_model::runs::HostGuard;
use upshift_wire::protocol::GuardCall;

use crate::actions::Request;
use crate::durable::Lock;
use crate::error::{NodeError, Result};
use crate::layout::Layout;
use crate::records::{self, Place};

pub use keeper::keep;
use record::{Deadline, Key, Record, State};

/// Arms the guard of a hop, or arms it again with a new deadline and recipe.
pub fn arm(request: &Request<'_>, recipe: &GuardRecipe) -> Result<serde_json::Value> {
    let layout = &request.host.layout;
    if recipe
        .rollback
        .iter()
        .any(|action| matches!(action, Action::ArmGuard(_) | Action::DisarmGuard))
    {
        return Err(NodeError::refused("a guard cannot arm or disarm guards"));
    }
    let key = Key {
        run: request.run.to_owned(),
        hop: request.hop,
    };
    let deadline = Deadline::after(recipe.lease.plus(recipe.stagger));
    record::change(layout, &key, |before| {
        if before.is_some_and(|before| before.state == State::Firing) {
            return Err(NodeError::refused("the guard is rolling this host back just now"));
        }
        let disarmed = before.and_then(|before| before.disarmed);
        if before.is_some_and(|before| before.disarmed_since(request.place).is_some()) {
            return Err(NodeError::Transient(
                "the guard has been disarmed since this order was given".to_owned(),
            ));
        }
        Ok(Some(Record {
            key: key.clone(),
            fleet: request.fleet.to_owned(),
            recipe: Some(recipe.clone()),
            armed: request.place,
            disarmed,
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

/// The disarming of a hop's guard that an order to arm it at this place comes too late for.
pub fn disarmed_since(layout: &Layout, run: &str, hop: u32, place: Place) -> Result<Option<Place>> {
    let key = Key {
        run: run.to_owned(),
        hop,
    };
    Ok(record::read(layout, &key)?.and_then(|record| record.disarmed_since(place)))
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
                deadline: Deadline::after(record.patience()),
                ..record.clone()
            }))
    })?;
    if after.as_ref().is_some_and(Record::stands) {
        keeper::ensure(layout, &key)?;
    }
    Ok(status_of(after.as_ref()))
}

/// Lets a guard fire at once, for a controller that ends the run without its journal. One that was disarmed still holds its
/// rollback, and one that has failed is tried again; one that has rolled back or stood down stays as it is.
pub fn roll_back(layout: &Layout, call: &GuardCall) -> Result<GuardStatus> {
    let key = Key {
        run: call.run.clone(),
        hop: call.hop,
    };
    let after = record::change(layout, &key, |before| {
        Ok(before
            .filter(|record| record.recipe.is_some())
            .filter(|record| {
                matches!(
                    record.state,
                    State::Armed | State::Disarmed | State::Failed { .. }
                )
            })
            .map(|record| Record {
                state: State::Armed,
                deadline: Deadline::after(Millis::ZERO),
                ..record.clone()
            }))
    })?;
    if after.as_ref().is_some_and(Record::stands) {
        keeper::ensure(layout, &key)?;
    }
    Ok(status_of(after.as_ref()))
}

/// All guards that this host has records of: run, fleet, and what each says of itself.
pub fn known(layout: &Layout) -> Result<Vec<(String, String, HostGuard)>> {
    let guard = |record: Record| {
        let told = HostGuard {
            hop: record.key.hop,
            status: status_of(Some(&record)),
            can_roll_back: record.recipe.is_some(),
        };
        (record.key.run, record.fleet, told)
    };
    Ok(record::all(layout)?.into_iter().map(guard).collect())
}

/// Disarms a guard for the controller.
pub fn disarm_for(layout: &Layout, call: &GuardCall, sequence: u64) -> Result<GuardStatus> {
    fence(layout, call)?;
    let key = Key {
        run: call.run.clone(),
        hop: call.hop,
    };
    let place = Place {
        token: call.token,
        sequence,
    };
    match disarm(layout, &key, &call.fleet, place) {
        // Where a record finds no room, an order to arm finds none either.
        Err(error) if error.is_full() && record::read(layout, &key)?.is_none() => Ok(GuardStatus::Absent),
        status => status,
    }
}

/// Disarms the guard of an order's hop.
pub fn disarm_on_order(request: &Request<'_>) -> Result<GuardStatus> {
    let key = Key {
        run: request.run.to_owned(),
        hop: request.hop,
    };
    disarm(&request.host.layout, &key, request.fleet, request.place)
}

/// Disarms a guard that stands, unless a newer order has armed it; what it says of itself then. One that fires cannot be
/// disarmed. That it was disarmed is kept also where none stands: the order to arm it may still be on its way.
fn disarm(layout: &Layout, key: &Key, fleet: &str, place: Place) -> Result<GuardStatus> {
    let after = record::change(layout, key, |before| {
        Ok(match before {
            None => Some(Record {
                key: key.clone(),
                fleet: fleet.to_owned(),
                recipe: None,
                armed: Place::default(),
                disarmed: Some(place),
                deadline: Deadline::after(Millis::ZERO),
                state: State::Disarmed,
                fired: false,
            }),
            Some(record) => disarmed(record, place),
        })
    })?;
    if after
        .as_ref()
        .is_some_and(|record| record.state == State::Disarmed)
    {
        unit::remove(layout, key)?;
    }
    Ok(status_of(after.as_ref()))
}

/// What a record becomes that is disarmed from this place; nothing where it stays as it is.
fn disarmed(record: &Record, place: Place) -> Option<Record> {
    if place < record.armed || record.disarmed >= Some(place) && record.state != State::Armed {
        return None;
    }
    Some(Record {
        state: match &record.state {
            State::Armed => State::Disarmed,
            other => other.clone(),
        },
        disarmed: record.disarmed.max(Some(place)),
        ..record.clone()
    })
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
        State::RolledBack => GuardStatus::RolledBack,
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
