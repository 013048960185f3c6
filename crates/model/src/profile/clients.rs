//! Clients: by which profile they are upgraded, and what they are told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FactExpression, Strategy};

/// How the clients of a product are upgraded: by a profile of their own, with the servers' version as the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientUpgrades {
    /// Name of the product of the clients' profile, which says `clients_of`.
    pub product: String,
    /// The version that clients must run to match the servers: an expression over the value of a probe, evaluated on every server. It is
    /// compared with the version of each client.
    pub version: FactExpression,
}

/// What those who use the servers will notice of a hop, to be sent to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// The sentences: what is noticed, when and for how long. A template over `from`, `to`, `expected` and `at_most` (the time that one window
    /// of the hop disturbs service, as text) and `windows` (how many there are).
    pub text: String,
    /// Only for hops of these strategies; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<Strategy>,
    /// Hops that it applies to, by the version that the hop leads out of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Hops that it applies to, by the version that the hop leads to; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}
