//! Load balancers: what they are told about a server, and what they say of it.
//!
//! A server is left as it was found: what HAProxy said of it before the first order of a run is kept by the agent that gave the
//! order, and `as_found` brings exactly that back. Orders never take a server that was found out of service back into it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Millis;

/// Changes what an HAProxy does with servers, through its runtime socket (`stats socket … level admin`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaproxyOrder {
    /// The runtime socket: the path of a Unix socket, or `address:port`, as seen from the host that gives the order.
    pub socket: String,
    /// Which servers; see [`HaproxyProbe::servers`].
    pub servers: String,
    /// What becomes of them.
    pub state: HaproxyState,
    /// Whether HAProxy then ends the sessions that they still have: their clients come back through it to other servers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_sessions: bool,
}

/// What an HAProxy is to do with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HaproxyState {
    /// No new connections; those that are there stay. A server that is in maintenance stays in it.
    Drain,
    /// No connections, not even for sessions that are bound to the server; no health checks.
    Maintenance,
    /// As it was before the run's first order about it. Nothing is changed where there was none.
    AsFound,
}

/// What an HAProxy says of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaproxyProbe {
    /// The runtime socket: the path of a Unix socket, or `address:port`, as seen from the host that asks.
    pub socket: String,
    /// Servers as HAProxy names them, `backend/server`, separated by commas or spaces; `*/server` is that server of every backend
    /// that has one. Names that HAProxy does not know are an error.
    pub servers: String,
}

/// A call that changes something: of a load balancer's interface, for instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpOrder {
    /// Where to.
    pub url: String,
    /// The method.
    #[serde(default = "default_method")]
    pub method: String,
    /// Request headers. Secrets belong into `authorization_file`: what stands here is journaled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What is sent. Nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Statuses that count as done beside 2xx, such as 404 for what is to be removed. Of the others, 408, 429 and 5xx may pass; the
    /// rest are failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<u16>,
    /// Time after which the call counts as failed.
    #[serde(default = "default_timeout")]
    pub timeout: Millis,
    /// File on the host with the value of the header `Authorization`, so that no secret is in a profile, a plan or a journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_file: Option<String>,
    /// File with the certificate authorities to trust, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// File with the client's certificate, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// File with the client's key, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

fn default_method() -> String {
    "POST".to_owned()
}

fn default_timeout() -> Millis {
    Millis::seconds(10)
}
