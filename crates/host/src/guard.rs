//! The record of a guard: armed, renewed, disarmed, fired.

use serde::{Deserialize, Serialize};
use upshift_model::Millis;
use upshift_model::action::{Action, GuardRecipe, GuardStatus};

use crate::deadline::{Clocks, Deadline};
use crate::orders::Place;

/// Which guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The run.
    pub run: String,
    /// Position of the hop.
    pub hop: u32,
}

/// A guard, as its host keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which.
    pub key: Key,
    /// Name of the fleet.
    pub fleet: String,
    /// What it does; nothing where it was disarmed before the order to arm it came.
    pub recipe: Option<GuardRecipe>,
    /// The place of the order that armed it.
    #[serde(default)]
    pub armed: Place,
    /// The place of the newest word that disarmed it: an order to arm that is not newer came too late.
    pub disarmed: Option<Place>,
    /// Until when it waits.
    pub deadline: Deadline,
    /// How far it is.
    pub state: State,
    /// Whether it has fired in this hop: orders forward are refused from then on, until an operator lets the hop go forward again.
    pub fired: bool,
    /// The newest order that was begun before it began to roll the host back: what is on record of that order and of older ones does not
    /// say any more how the host is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtook: Option<Place>,
}

/// How far a guard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its deadline.
    Armed,
    /// It rolls back the host.
    Firing,
    /// It has rolled back the host, and seen the proof.
    RolledBack,
    /// The point of no return had been crossed: it has changed nothing.
    StoodDown,
    /// It could not roll back the host.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was disarmed.
    Disarmed,
}

impl Record {
    /// The disarming that an order to arm at this place comes too late for.
    pub fn disarmed_since(&self, place: Place) -> Option<Place> {
        self.disarmed.filter(|disarmed| place <= *disarmed)
    }

    /// Whether a process has to care for it.
    pub fn stands(&self) -> bool {
        matches!(self.state, State::Armed | State::Firing)
    }

    /// What it says of itself.
    pub fn status(&self, now: &Clocks) -> GuardStatus {
        match &self.state {
            State::Armed => GuardStatus::Armed {
                remaining: self.deadline.remaining(now),
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

    /// How long it waits after an arming or renewal.
    fn patience(&self) -> Millis {
        self.recipe
            .as_ref()
            .map_or(Millis::ZERO, |recipe| recipe.lease.plus(recipe.stagger))
    }
}

/// Something that happens to a guard.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// An order arms it, or arms it again with a new deadline and recipe.
    Arm {
        /// Name of the fleet.
        fleet: &'a str,
        /// The place of the order.
        place: Place,
        /// What it does.
        recipe: &'a GuardRecipe,
    },
    /// The controller renews its lease.
    Renew,
    /// The controller disarms it.
    Disarm {
        /// Name of the fleet.
        fleet: &'a str,
        /// The place of the newest order that the controller had given.
        place: Place,
    },
    /// A controller that ends the run without its journal lets it roll its host back now.
    RollBack,
    /// Its process observes the clock.
    Woke,
    /// No order is being done and none begins: its rollback begins. The place is that of the newest order that was begun before.
    Overtakes(Place),
    /// It has fired, or stood down.
    Ended(State),
}

/// What the host has to do besides writing the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// A process must live that cares for the guard.
    StartProcess,
    /// The guard's process is no longer needed.
    EndProcess,
}

/// What comes of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// What the record becomes; none where it stays as it is.
    pub record: Option<Record>,
    /// What is to be done, once the record is written.
    pub effect: Effect,
}

/// Why a guard is not armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A rollback that would change guards.
    #[error("a guard cannot arm or disarm guards")]
    GuardOfGuards,
    /// It acts at this moment.
    #[error("the guard is rolling this host back just now")]
    Firing,
    /// A late order.
    #[error("the guard has been disarmed since this order was given")]
    DisarmedSince,
}

/// Decides what an event does to a guard's record.
///
/// Only what is on record counts: a renewal is taken for as long as the guard has not begun to fire, also where its deadline has passed.
/// Whoever changes the record first has decided, and the controller is told the state that came of it. A guard that has fired can
/// be armed again for the rollback that brings the rest of its host back; orders forward stay refused, until an order arms it that an
/// operator's word stands behind ([`GuardRecipe::again`]).
///
/// # Errors
/// Where an order to arm is refused.
pub fn decide(
    before: Option<&Record>,
    key: &Key,
    event: &Event<'_>,
    now: &Clocks,
) -> Result<Decided, Refusal> {
    let record = match event {
        Event::Arm { fleet, place, recipe } => Some(arm(before, key, fleet, *place, recipe, now)?),
        Event::Renew => before
            .filter(|record| record.state == State::Armed)
            .map(|record| Record {
                deadline: Deadline::after(record.patience(), now),
                ..record.clone()
            }),
        Event::Disarm { fleet, place } => match before {
            Some(record) => disarm(record, *place),
            None => Some(never_armed(key, fleet, *place, now)),
        },
        // One that was disarmed still holds its rollback, and one that has failed is tried again.
        Event::RollBack => before
            .filter(|record| record.recipe.is_some())
            .filter(|record| {
                matches!(
                    record.state,
                    State::Armed | State::Disarmed | State::Failed { .. }
                )
            })
            .map(|record| Record {
                state: State::Armed,
                deadline: Deadline::after(Millis::ZERO, now),
                ..record.clone()
            }),
        Event::Woke => before
            .filter(|record| record.state == State::Armed && record.deadline.remaining(now) == Millis::ZERO)
            .map(|record| Record {
                state: State::Firing,
                fired: true,
                ..record.clone()
            }),
        Event::Overtakes(place) => before
            .filter(|record| record.state == State::Firing)
            .map(|record| Record {
                overtook: Some(*place),
                ..record.clone()
            }),
        Event::Ended(state) => before.map(|record| Record {
            state: state.clone(),
            // One that stood down has changed nothing.
            fired: *state != State::StoodDown,
            ..record.clone()
        }),
    };
    let after = record.as_ref().or(before);
    let effect = match event {
        Event::Arm { .. } | Event::Renew | Event::RollBack if after.is_some_and(Record::stands) => {
            Effect::StartProcess
        }
        Event::Disarm { .. } if after.is_some_and(|record| record.state == State::Disarmed) => {
            Effect::EndProcess
        }
        _ => Effect::Nothing,
    };
    Ok(Decided { record, effect })
}

fn arm(
    before: Option<&Record>,
    key: &Key,
    fleet: &str,
    place: Place,
    recipe: &GuardRecipe,
    now: &Clocks,
) -> Result<Record, Refusal> {
    let guards = |action: &Action| matches!(action, Action::ArmGuard(_) | Action::DisarmGuard);
    if recipe.rollback.iter().any(guards) {
        return Err(Refusal::GuardOfGuards);
    }
    if before.is_some_and(|before| before.state == State::Firing) {
        return Err(Refusal::Firing);
    }
    if before.is_some_and(|before| before.disarmed_since(place).is_some()) {
        return Err(Refusal::DisarmedSince);
    }
    Ok(Record {
        key: key.clone(),
        fleet: fleet.to_owned(),
        recipe: Some(recipe.clone()),
        armed: place,
        disarmed: before.and_then(|before| before.disarmed),
        deadline: Deadline::after(recipe.lease.plus(recipe.stagger), now),
        state: State::Armed,
        fired: before.is_some_and(|before| before.fired) && !recipe.again,
        overtook: before.and_then(|before| before.overtook),
    })
}

/// Disarms a guard that stands, unless a newer order has armed it. One that fires cannot be disarmed.
fn disarm(record: &Record, place: Place) -> Option<Record> {
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

/// That it was disarmed is kept also where none stands: the order to arm it may still be on its way.
fn never_armed(key: &Key, fleet: &str, place: Place, now: &Clocks) -> Record {
    Record {
        key: key.clone(),
        fleet: fleet.to_owned(),
        recipe: None,
        armed: Place::default(),
        disarmed: Some(place),
        deadline: Deadline::after(Millis::ZERO, now),
        state: State::Disarmed,
        fired: false,
        overtook: None,
    }
}
