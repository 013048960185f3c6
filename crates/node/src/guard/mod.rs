//! The host's own dead-man's switch.
//!
//! A guard is a record on disk and a process of its own. The record says until when it waits and what it does then. The
//! process holds a lock for as long as it lives, so that there is never more than one for a record, and anybody can see
//! whether there is one. An agent that finds a standing record without a process starts one.

mod fire;
mod keeper;
mod record;
mod unit;

use upshift_host::guard::{Effect, Event, Key, Record};
use upshift_model::Millis;
use upshift_model::action::{GuardRecipe, GuardStatus};
use upshift_model::runs::HostGuard;
use upshift_wire::protocol::GuardCall;

use crate::actions::Request;
use crate::clock;
use crate::durable::Lock;
use crate::error::{NodeError, Result};
use crate::layout::Layout;
use crate::records::{self, Place};

pub use keeper::keep;

/// Arms the guard of a hop, or arms it again with a new deadline and recipe.
pub fn arm(request: &Request<'_>, recipe: &GuardRecipe) -> Result<serde_json::Value> {
    let event = Event::Arm {
        fleet: request.fleet,
        place: request.place,
        recipe,
    };
    let after = happen(&request.host.layout, &key(request.run, request.hop), &event)?;
    let remaining = after.map_or(Millis::ZERO, |record| record.deadline.remaining(&clock::now()));
    Ok(serde_json::json!({ "remaining_ms": remaining.0 }))
}

/// The guard of a hop.
pub fn of(layout: &Layout, run: &str, hop: u32) -> Result<Option<Record>> {
    record::read(layout, &key(run, hop))
}

fn key(run: &str, hop: u32) -> Key {
    Key {
        run: run.to_owned(),
        hop,
    }
}

/// Lets something happen to a guard: its record, then what follows. The record afterwards.
fn happen(layout: &Layout, key: &Key, event: &Event<'_>) -> Result<Option<Record>> {
    let (after, effect) = record::decide(layout, key, event)?;
    match effect {
        Effect::Nothing => {}
        Effect::StartProcess => keeper::ensure(layout, key)?,
        Effect::EndProcess => unit::remove(layout, key)?,
    }
    Ok(after)
}

/// Renews the lease of a guard.
pub fn renew(layout: &Layout, call: &GuardCall) -> Result<GuardStatus> {
    fence(layout, call)?;
    let after = happen(layout, &key(&call.run, call.hop), &Event::Renew)?;
    Ok(status_of(after.as_ref()))
}

/// Lets a guard fire at once, for a controller that ends the run without its journal. One that was disarmed still holds its
/// rollback, and one that has failed is tried again; one that has rolled back or stood down stays as it is.
pub fn roll_back(layout: &Layout, call: &GuardCall) -> Result<GuardStatus> {
    fence(layout, call)?;
    let after = happen(layout, &key(&call.run, call.hop), &Event::RollBack)?;
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
    let key = key(&call.run, call.hop);
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
    let key = key(request.run, request.hop);
    disarm(&request.host.layout, &key, request.fleet, request.place)
}

fn disarm(layout: &Layout, key: &Key, fleet: &str, place: Place) -> Result<GuardStatus> {
    let after = happen(layout, key, &Event::Disarm { fleet, place })?;
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

/// What the guard of a run says of itself: the one that stands or, where none does, that of the latest hop. A rollback over several hops
/// arms the guards of earlier hops again.
pub fn status(layout: &Layout, run: &str) -> Result<GuardStatus> {
    let latest = record::all(layout)?
        .into_iter()
        .filter(|record| record.key.run == run)
        .max_by_key(|record| (record.stands(), record.key.hop));
    Ok(status_of(latest.as_ref()))
}

fn status_of(record: Option<&Record>) -> GuardStatus {
    record.map_or(GuardStatus::Absent, |record| record.status(&clock::now()))
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
