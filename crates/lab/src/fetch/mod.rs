//! Real servers and tools through the ordinary package clients of this machine.
//!
//! Everything is kept in a cache outside the source tree (see [`Cache`]), with pinned checksums where the contents are
//! known beforehand. What is fetched, and how large it is, is said before it is fetched. What cannot be had gives an
//! [`Unavailable`] with the reason, so that a test can be skipped by name and the demonstration can take something else.

mod alluxio;
mod apt;
mod cache;
mod erlang;
mod etcd;
mod haproxy;
mod ignite;
mod python;
mod restic;
mod rpm;
mod tools;

use std::fmt;

pub use alluxio::{Alluxio, alluxio};
pub use cache::Cache;
pub use erlang::{OTP, erlang, erlang_programs};
pub use etcd::{Etcd, EtcdSource, etcd, etcd_blocked, etcd_offers};
pub use haproxy::{Haproxy, haproxy};
pub use ignite::ignite;
pub use python::{PythonTool, nats, python_tool};
pub use restic::restic;
pub use rpm::rpm;
pub use tools::{HostTool, host_tool};

/// Where words about what is being fetched go.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Something that cannot be had on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be had: {reason}")]
pub struct Unavailable {
    /// What.
    pub what: String,
    /// Why not, in a sentence without its full stop.
    pub reason: String,
}

impl Unavailable {
    /// Says that something cannot be had, and why.
    pub fn new(what: impl Into<String>, reason: impl fmt::Display) -> Self {
        Unavailable {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

/// A size in the words of people: `14.0 MB`.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
