//! What is done in each slot of a strategy, and the observations that show that it worked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Strategy;
use crate::Millis;
use crate::action::Action;

/// A slot of a strategy: the moment at which a verb is done. The planner knows the order of the slots for each strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// Before the windows: build what must be built, on every server.
    Prepare,
    /// Before each hop's windows: take and prove snapshots.
    Protect,
    /// Before each window, and before a completed window is rolled back: the cluster can bear the loss of these servers.
    Gate,
    /// Take the server out of service.
    Drain,
    /// Move leadership away.
    HandOver,
    /// Stop the service for everybody (`switch`, `rebuild`), before any server stops.
    Pause,
    /// In the window, service paused, servers still up: the final snapshot of `rebuild`.
    FinalSnapshot,
    /// Stop the server. Default: stop the profile's service; proven by its process.
    Stop,
    /// First in the window, while the server still serves: copy the configuration aside. Default: the profile's `config.carry`
    /// places.
    Save,
    /// The server has stopped: copy data aside that can only be copied then.
    BackUp,
    /// Switch the binaries. Default: the release store's link.
    Switch,
    /// Install in the running process (`hot`).
    Install,
    /// Make the installed release permanent (`hot`), after the decision to stay.
    MakePermanent,
    /// Bring the configuration to the new version. Default: the profile's `config` rules.
    MigrateConfig,
    /// Point the data directory at a new, empty one (`rebuild`).
    FreshData,
    /// Restore the snapshot before the start (`rebuild`).
    Restore,
    /// Start the server. Default: start the profile's service; proven by the version of its process.
    Start,
    /// Load the snapshot into the started server (`rebuild`).
    Load,
    /// The server is a member again.
    Rejoin,
    /// The server has caught up: the data has recovered.
    Recover,
    /// The whole cluster serves on the new version (`switch`, `rebuild`, `hot`).
    Verify,
    /// Take up service for everybody again.
    Resume,
    /// Take the server back into service.
    Undrain,
    /// Between two hops: background work of the last hop has ended.
    Settle,
    /// Rollback of `hot`: install the old release, or restart into the permanent one.
    Uninstall,
    /// Rollback of `rebuild`: point back at the old data directory.
    OldData,
    /// A rollback past the point of no return, before any server is touched: have the product itself make way for the old version.
    BeginDowngrade,
    /// A rollback past the point of no return, once every server runs the old version: the product's own downgrade has ended.
    EndDowngrade,
    /// The separate, explicit step after which rolling back needs a snapshot.
    Finalize,
}

/// The schema of [`super::Profile::verbs`]: derived schemas of maps say nothing about their keys.
pub(super) fn verbs_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let slot = generator.subschema_for::<Slot>();
    let verbs = generator.subschema_for::<Vec<Verb>>();
    schemars::json_schema!({ "type": "object", "propertyNames": slot, "additionalProperties": verbs })
}

/// One thing done, with the observation that shows that it worked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verb {
    /// What an operator reads while it is done, such as `move the leader away`.
    pub title: String,
    /// On which servers.
    #[serde(default)]
    pub on: On,
    /// On which host it is done.
    #[serde(default, skip_serializing_if = "Via::is_node")]
    pub via: Via,
    /// On which way: forward, in a rollback, or on both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<VerbWay>,
    /// Done only where this holds; otherwise the step is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_if: Option<Proof>,
    /// Values computed from the observation of `only_if`, for templates (`{{ let.name }}`): expressions.
    #[serde(default, rename = "let", skip_serializing_if = "BTreeMap::is_empty")]
    pub bindings: BTreeMap<String, String>,
    /// What is done; nothing where absent (the verb is a proof alone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// What must be observed, all of it.
    pub proof: Vec<Proof>,
    /// What shows that the proof is waited for in vain, such as that a program has ended which was to bring it about: the step
    /// then fails at once, with its `waiting`. Observed while the proof is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails_on: Option<Proof>,
    /// Time for action and proof together; progress extends it.
    #[serde(default = "default_within")]
    pub within: Millis,
    /// What happens where the proof does not hold in time.
    #[serde(default, skip_serializing_if = "Otherwise::is_fail")]
    pub otherwise: Otherwise,
    /// How often the action is tried again after a failure that may pass.
    #[serde(default)]
    pub retry: Retry,
    /// Hops that it applies to, by the version that the hop leads to; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Hops that it applies to, by the version that the hop leads out of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only for hops of these strategies; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<Strategy>,
    /// Only where no repository keeps the profile's snapshots, because restic is not at hand: what stands in for them then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_repository: bool,
}

fn default_within() -> Millis {
    Millis::seconds(60)
}

/// On which way a verb is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerbWay {
    /// On the way to the new version only.
    Forward,
    /// In a rollback only.
    Back,
}

/// On which servers a verb is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// On every server that the group is about: all of them, or those of the window.
    #[default]
    Each,
    /// On one server, for the whole cluster: the first of the plan's order.
    One,
    /// On one server outside the window, where there is one.
    OneOther,
}

/// On which host a verb about a server is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// On the server itself.
    #[default]
    Node,
    /// On every load balancer of the product's group in the fleet, one after the other; nothing is done where there is none. `node` is
    /// still the server, `balancer` the load balancer's host.
    LoadBalancers,
}

impl Via {
    /// Whether it is the server itself.
    pub fn is_node(&self) -> bool {
        *self == Via::Node
    }
}

/// What happens where a proof does not hold in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    /// The step has failed.
    #[default]
    Fail,
    /// The run goes on: for waits that are a courtesy, such as for clients to leave. Only for verbs without an action.
    GoOn,
}

impl Otherwise {
    /// Whether the step has failed.
    pub fn is_fail(&self) -> bool {
        *self == Otherwise::Fail
    }
}

/// The observation that shows that something holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// What is observed: a named probe of the profile.
    pub probe: String,
    /// On which servers it is observed.
    #[serde(default)]
    pub at: At,
    /// Expression over `value`, `values` (by host, what has been observed in the same round), `node`, `places`, `from`, `to`, `before`
    /// (the value of the same probe when the plan was made), `befores` (the same of all servers, by host), `output` (what the action returned).
    pub expect: String,
    /// What an operator reads while it does not hold: what is being waited for. A template over the same names.
    pub waiting: String,
    /// How often in a row it must hold.
    #[serde(default = "once")]
    pub stable: u32,
    /// Time between two looks.
    #[serde(default = "default_every")]
    pub every: Millis,
    /// Expression that yields a number which grows while the wait makes progress; growth extends the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

fn once() -> u32 {
    1
}

fn default_every() -> Millis {
    Millis(500)
}

/// On which servers a proof is observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// On the server of the step.
    #[default]
    Node,
    /// On every server; the expression must hold for each.
    All,
    /// On every server but those of the window.
    Others,
    /// On the load balancer that the verb is done on; see [`Via::LoadBalancers`].
    LoadBalancer,
}

/// How often something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The most attempts, the first included.
    #[serde(default = "three")]
    pub attempts: u32,
    /// Wait before the second attempt; doubled before each further one.
    #[serde(default = "default_pause")]
    pub pause: Millis,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: three(),
            pause: default_pause(),
        }
    }
}

fn three() -> u32 {
    3
}

fn default_pause() -> Millis {
    Millis(500)
}
