//! The product's rules for capacity, configuration, soaking, windows and the point of no return.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Proof, Source};
use crate::Millis;

/// How servers are taken out of load balancers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancers {
    /// Whether HAProxy ends the sessions that a server still has once the fleet's patience is over, while the server still serves: for
    /// products whose clients have something on a server (a session, say) that another server can take over only from one that runs.
    /// Otherwise they end when the server stops.
    #[serde(default)]
    pub end_sessions: bool,
}

/// How many servers may be down at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// The most servers down at once.
    #[serde(default = "one")]
    pub max_unavailable: u32,
    /// Whether a majority of the servers must stay up.
    #[serde(default)]
    pub quorum: bool,
    /// The fewest servers that a cluster must have for a rolling hop.
    #[serde(default = "one")]
    pub min_servers: u32,
    /// Label that names a host's failure domain; two domains are never disturbed in one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity {
            max_unavailable: 1,
            quorum: false,
            min_servers: 1,
            failure_domain: None,
        }
    }
}

fn one() -> u32 {
    1
}

/// What happens to configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Places that are saved before the switch and put back byte for byte by a rollback.
    #[serde(default)]
    pub carry: Vec<String>,
    /// Changes made for the new version.
    #[serde(default)]
    pub migrate: Vec<ConfigMigration>,
}

/// A change of configuration for some hops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigMigration {
    /// Hops that it applies to, by the version that the hop leads to; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Hops that it applies to, by the version that the hop leads out of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The file (a template).
    pub file: String,
    /// Keys whose lines are removed.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Keys whose lines are turned into comments.
    #[serde(default)]
    pub comment: Vec<String>,
    /// Keys that get a value (templates).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Why; written above each line that is turned into a comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Merges the new release's default into the file, before keys are taken out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<ConfigMerge>,
    /// Where the rule comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// The two defaults that a three-way merge needs beside the operator's file; templates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigMerge {
    /// The default of the old release.
    pub base: String,
    /// The default of the new release.
    pub new: String,
}

/// What is watched while soaking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Soak {
    /// How long the last batch of a hop is watched.
    #[serde(default = "default_soak", rename = "for")]
    pub duration: Millis,
    /// How long each earlier batch is watched.
    #[serde(default)]
    pub between: Millis,
    /// How long a fault must last before it counts.
    #[serde(default = "default_lasting")]
    pub lasting: Millis,
    /// What must keep holding.
    #[serde(default)]
    pub watch: Vec<Proof>,
}

impl Default for Soak {
    fn default() -> Self {
        Soak {
            duration: default_soak(),
            between: Millis::ZERO,
            lasting: default_lasting(),
            watch: Vec::new(),
        }
    }
}

fn default_soak() -> Millis {
    Millis::seconds(30)
}

fn default_lasting() -> Millis {
    Millis::seconds(10)
}

/// The moment after which the old version cannot come back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoReturn {
    /// What happens, in the operator's words.
    pub description: String,
    /// The rollback after it.
    pub rollback: String,
    /// The product's own rollback over it, in the operator's words: no write is lost by it. What it does is said by the verbs
    /// `begin_downgrade` and `end_downgrade`; hops that these are not for have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_rollback: Option<OwnRollback>,
    /// Hops that have it, by the version they lead to; all where absent. Hops whose versions differ only in patch level
    /// never have one unless `patch` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether hops between patch levels of one minor have it, too.
    #[serde(default)]
    pub patch: bool,
    /// Name of the probe that shows whether it has been crossed.
    pub probe: String,
    /// Expression that holds once it has been crossed.
    pub crossed: String,
    /// Whether any window of the hop may lead over it, from the first one on; otherwise only the last does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_window: bool,
    /// Where the claim comes from.
    pub source: Source,
}

/// A rollback over the point of no return that the product itself offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnRollback {
    /// What happens, in the operator's words.
    pub description: String,
    /// How it is given up where it is stuck, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<String>,
    /// Where the claim comes from.
    pub source: Source,
}

/// What a host's own guard goes by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardRules {
    /// What a guard that has fired waits for before it takes down a server that still serves: that the others can do without it, as
    /// far as this server can see. Observed on the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_until: Option<Proof>,
}

impl GuardRules {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.wait_until.is_none()
    }
}

/// Times and limits of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowRules {
    /// The longest that a window may disturb service before it is rolled back.
    #[serde(default = "default_limit")]
    pub limit: Millis,
    /// How long a guard waits for a renewal before it rolls its host back.
    #[serde(default = "default_lease")]
    pub lease: Millis,
    /// Time that one host needs to roll itself back; guards fire this far apart.
    #[serde(default = "default_slot")]
    pub slot: Millis,
    /// How long a service may take to end when asked; then it is killed.
    #[serde(default = "default_patience")]
    pub patience: Millis,
    /// The window's expected length where nothing was measured yet; for the plan's estimate.
    #[serde(default = "default_estimate")]
    pub estimate: Millis,
}

impl Default for WindowRules {
    fn default() -> Self {
        WindowRules {
            limit: default_limit(),
            lease: default_lease(),
            slot: default_slot(),
            patience: default_patience(),
            estimate: default_estimate(),
        }
    }
}

fn default_limit() -> Millis {
    Millis::seconds(600)
}

fn default_lease() -> Millis {
    Millis::seconds(300)
}

fn default_slot() -> Millis {
    Millis::seconds(60)
}

fn default_patience() -> Millis {
    Millis::seconds(60)
}

fn default_estimate() -> Millis {
    Millis::seconds(30)
}
