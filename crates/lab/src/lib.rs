//! Clusters to upgrade, for the demonstration and for the end-to-end tests: real etcd fetched through the ordinary package
//! clients, a small replicated key-value server of our own, a client that counts what was acknowledged and what is lost,
//! and several hosts with real sshd on one machine.
//!
//! Nothing here is used when Upshift upgrades a cluster of its users.

pub mod balancer;
pub mod cleanup;
pub mod client;
pub mod cluster;
pub mod fetch;
pub mod http;
pub mod load;
pub mod nats;
pub mod overlay;
pub mod package;
pub mod ports;
pub mod processes;
pub mod releases;
pub mod server;
pub mod testbed;
