//! Performs what the engine decides: talks to agents, keeps the journal, shows progress. Decides nothing itself.
//!
//! [`gather()`] observes a fleet, [`Runner`] carries a run: it appends every event to the journal, hands it to the engine,
//! and performs the effects. [`recall()`] shows a run from its journal.

mod clock;
mod gather;
mod hosts;
mod known;
mod recall;
mod releases;
mod runner;
mod snapshots;
pub mod takeover;

pub mod progress;

pub use gather::{Gathered, PATIENCE as FIRST_ANSWER, ask_each, gather};
pub use hosts::Hosts;
pub use known::{KnownRuns, known_runs};
pub use progress::Progress;
pub use recall::{recall, rolled_back_versions};
pub use releases::{ReleaseError, ReleaseHost};
pub use runner::{Artifacts, ControlError, Ended, Handle, Runner, Setup};
pub use snapshots::SnapshotHost;
