//! What happens on one host: facts, processes, the release store, saved files, and the guard.
//!
//! One agent process per host and session speaks the protocol of [`upshift_wire::protocol`] on its standard input and
//! output. Everything that must outlive it is in files under the state directory (see [`layout`]), each written so that it is
//! either old or new after a crash. The guard is a process of its own, with the same files.

mod actions;
mod archive;
pub mod cli;
mod clock;
mod code;
mod detach;
mod digest;
mod durable;
mod error;
mod failpoint;
mod filesystem;
mod guard;
mod haproxy;
mod host;
mod http;
mod in_place;
mod installation;
mod inventory;
pub mod layout;
mod locate;
mod orders;
mod output;
mod packages;
mod probes;
mod process;
mod records;
mod releases;
mod saved;
mod serve;
mod snapshots;
mod store;
