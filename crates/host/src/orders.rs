//! Orders: fenced, done one at a time on a host, each attempt at most once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use upshift_model::action::Report;
use upshift_model::probe::{Observation, ProbeFailure};

use crate::guard;

/// A place among the orders of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Fencing token.
    pub token: u64,
    /// Number among the orders of the run with this token.
    pub sequence: u64,
}

/// What a host has on record of the orders of one run. `R` is how a report is kept: as it is, or as the text that it is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger<R> {
    attempts: BTreeMap<(u32, u32), Attempt<R>>,
    newest: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Attempt<R> {
    begun: Place,
    report: Option<R>,
}

impl<R> Default for Ledger<R> {
    fn default() -> Self {
        Ledger {
            attempts: BTreeMap::new(),
            newest: Place::default(),
        }
    }
}

impl<R> Ledger<R> {
    /// An attempt, as step and number, was begun for the order at this place.
    pub fn begin(&mut self, attempt: (u32, u32), place: Place) {
        self.newest = self.newest.max(place);
        let begun = Attempt {
            begun: place,
            report: None,
        };
        self.attempts.insert(attempt, begun);
    }

    /// An attempt has ended.
    pub fn end(&mut self, attempt: (u32, u32), report: R) {
        if let Some(known) = self.attempts.get_mut(&attempt) {
            known.report = Some(report);
        }
    }

    /// The place of the newest order that was begun.
    pub fn newest(&self) -> Place {
        self.newest
    }
}

/// An order, as far as it matters for whether it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Step, and number of the attempt at it.
    pub attempt: (u32, u32),
    /// Its place.
    pub place: Place,
    /// Whether it leads to the new version.
    pub forward: bool,
    /// Whether it arms the guard.
    pub arms: bool,
    /// Whether it arms the guard for a hop that an operator lets go forward again; see [`upshift_model::action::GuardRecipe::again`].
    pub again: bool,
}

/// What becomes of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission<'a, R> {
    /// It is done.
    Perform,
    /// It was done before: this was the report.
    Repeat(&'a R),
    /// It is not done: this is the report.
    Answer(Report),
}

/// What an observation says of the way forward: nothing once the guard of the hop has fired, since what runs now is what the guard has
/// started. `guard` is read after the observation was made.
pub fn of_way_forward(guard: Option<&guard::Record>, seen: Observation) -> Observation {
    match guard {
        Some(guard) if guard.fired => Err(ProbeFailure::GuardFired),
        _ => seen,
    }
}

/// Decides on an order. Asked only while nothing else is done on the host, so an attempt that was begun and has not ended belongs
/// to an agent that has died.
///
/// `fence` is the newest token that the host has seen of the fleet; `guard` is the guard of the order's hop.
///
/// What was recorded before the guard overtook the controllers does not say any more how the host is: such an attempt is reported as
/// interrupted, so that its proof is observed and, where that does not hold, a new attempt is made. On the way forward it is refused as
/// everything else.
pub fn admit<'a, R>(
    ledger: &'a Ledger<R>,
    fence: u64,
    guard: Option<&guard::Record>,
    asked: &Asked,
) -> Admission<'a, R> {
    if asked.place.token < fence {
        return Admission::Answer(Report::Fenced { token: fence });
    }
    let fired = guard.is_some_and(|guard| guard.fired);
    let overtaken = guard.and_then(|guard| guard.overtook);
    if let Some(known) = ledger.attempts.get(&asked.attempt) {
        let void = overtaken.is_some_and(|overtaken| known.begun <= overtaken);
        return match (&known.report, void) {
            (_, true) if asked.forward && fired => Admission::Answer(Report::GuardFired),
            (Some(report), false) => Admission::Repeat(report),
            _ => Admission::Answer(Report::Interrupted),
        };
    }
    if asked.place < ledger.newest {
        return Admission::Answer(Report::Fenced {
            token: ledger.newest.token,
        });
    }
    if asked.forward && fired && !(asked.arms && asked.again) {
        return Admission::Answer(Report::GuardFired);
    }
    let disarmed = guard.and_then(|guard| guard.disarmed_since(asked.place));
    if let (true, Some(disarmed)) = (asked.arms, disarmed) {
        return Admission::Answer(Report::Fenced {
            token: disarmed.token,
        });
    }
    Admission::Perform
}
