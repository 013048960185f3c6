//! What a host knows of the runs that changed it, whichever controller's journal they are in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::GuardStatus;

/// What a controller writes down on each host that its run changes, before the first order and again at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNote {
    /// The run.
    pub run: String,
    /// Name of the fleet, the scope of fencing tokens.
    pub fleet: String,
    /// Short name of the product.
    pub product: String,
    /// Fencing token of the controller that wrote this.
    pub token: u64,
    /// Who began it: `ann@desk`.
    pub by: String,
    /// When it began, milliseconds since 1970 by that controller's clock.
    pub began_ms: u64,
    /// The version before and after each hop, in order. Empty where nothing that runs is changed.
    pub hops: Vec<(String, String)>,
    /// How far it is.
    pub state: RunState,
}

/// How far a run is, as its controllers wrote it down on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It has not ended.
    Open,
    /// It is held: an operator must decide.
    Held {
        /// Why.
        reason: String,
    },
    /// It has ended.
    Ended {
        /// How, in words: `rolled back to 3.4.23`.
        outcome: String,
        /// Whether servers run another version than before it.
        changed: bool,
    },
    /// It was ended from the hosts' records by a controller that does not have its journal. No order of it is taken any more.
    Closed {
        /// How, in words.
        outcome: String,
        /// Who did that.
        by: String,
        /// When, milliseconds since 1970.
        at_ms: u64,
        /// Whether servers run another version than before it.
        changed: bool,
    },
}

impl RunNote {
    /// Whether it has neither ended nor been closed.
    pub fn is_open(&self) -> bool {
        matches!(self.state, RunState::Open | RunState::Held { .. })
    }
}

/// A guard, as its host's records have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostGuard {
    /// Position of its hop.
    pub hop: u32,
    /// What it says of itself.
    pub status: GuardStatus,
    /// Whether the record holds a rollback.
    pub can_roll_back: bool,
}

impl HostGuard {
    /// Whether it may still act by itself.
    pub fn stands(&self) -> bool {
        matches!(self.status, GuardStatus::Armed { .. } | GuardStatus::Firing)
    }
}

/// What a host knows of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRun {
    /// The run.
    pub run: String,
    /// Name of the fleet.
    pub fleet: String,
    /// What its controllers wrote down; nothing where they were of a version that wrote none.
    pub note: Option<RunNote>,
    /// Its guards.
    pub guards: Vec<HostGuard>,
}

impl HostRun {
    /// Whether one of its guards may still act by itself.
    pub fn guard_stands(&self) -> bool {
        self.guards.iter().any(HostGuard::stands)
    }

    /// Whether it has not ended as far as this host knows.
    pub fn is_open(&self) -> bool {
        self.note.as_ref().is_some_and(RunNote::is_open) || self.guard_stands()
    }
}

/// What a host knows of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRuns {
    /// The newest fencing token of each fleet.
    pub tokens: BTreeMap<String, u64>,
    /// The runs, by their names.
    pub runs: Vec<HostRun>,
}
