//! What Upshift knows, as types: versions, package names, product profiles, fleets, facts, and the vocabulary of
//! actions and probes that a host understands. Parsing and lint live here too. Nothing in this crate does I/O.

pub mod action;
pub mod balancer;
pub mod diagnostic;
pub mod duration;
pub mod erlang;
pub mod expr;
pub mod facts;
pub mod fleet;
pub mod installation;
pub mod package;
pub mod probe;
pub mod profile;
pub mod release;
pub mod runs;
pub mod secret;
pub mod snapshot;
pub mod template;
pub mod version;

pub use duration::Millis;
