//! What a host decides, as pure functions: whether an order is done, repeated or refused, and what its guard does next.
//!
//! The agent (`upshift-node`) performs the decisions on files and processes; the simulator performs the same ones in memory.
//! This crate does no I/O: moments, records and what was observed reach it as arguments.

pub mod deadline;
pub mod fire;
pub mod guard;
pub mod orders;
pub mod snapshot;

pub use deadline::{Clocks, Deadline};
pub use orders::Place;
