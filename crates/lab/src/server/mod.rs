//! The lab server: a small replicated key-value server, made to be upgraded.
//!
//! Three or more members keep one log by majority: a leader is elected by terms, a write is acknowledged when it is durable on
//! a majority, and a member that was away recovers from the leader before it serves. Like real servers it has a version, a
//! cluster version that rises when every member runs the new one, and a data format that changes then: afterwards an older
//! release refuses to start. Releases differ only in the [`Manifest`] beside the executable, which can also tell one to
//! misbehave. Used by tests and by the demonstration where no real server can be had.

mod api;
mod commands;
mod config;
mod core;
mod election;
mod log;
mod manifest;
mod replication;
mod wire;

pub use commands::main;
pub use config::Config;
pub use manifest::{MANIFEST, Manifest, Misbehaviour};
