//! A cluster of the double of EMQX: real Erlang nodes with a real release handler, behind commands that answer as EMQX's do; see
//! `e2e/doubles/emqx/README.md`.

mod balanced;
mod clients;
mod cluster;
mod installed;
mod node;
mod packages;
mod sessions;

pub use balanced::behind;
pub use clients::{Client, Clients, Load, TlsClient, lost};
pub use cluster::{Cluster, Installation};
pub use installed::{Manager, PURGED, PackagedHost};
pub use node::{Answer, NOBODY, Node};
pub use packages::{cached, copy_packages, package};
pub use sessions::Kept;
