//! The shape of a profile file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Millis;
use crate::action::{Action, Service};
use crate::probe::Probe;
use crate::version::Scheme;

/// A product profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Short name of the product, as typed on the command line: `etcd`.
    pub product: String,
    /// Name of the product as its vendor writes it.
    pub title: String,
    /// The group of an Ansible inventory, or the product of a fleet file, whose hosts are servers of this product.
    /// The product's short name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How versions look and order, and how the running one is read.
    pub versions: Versions,
    /// Patterns of package names, tried in order.
    pub packages: Vec<PackageRule>,
    /// How the product is started and stopped; templates are filled in per host.
    pub service: Service,
    /// Where things live on a host: for each name, the sources tried in order.
    #[serde(default)]
    pub places: BTreeMap<String, Place>,
    /// Legal ways between versions.
    pub paths: Vec<PathEdge>,
    /// Versions and ways that are known to be bad, by name.
    #[serde(default)]
    pub blocked: Vec<BlockedEdge>,
    /// Which versions may run side by side, and how far clients may lag.
    #[serde(default)]
    pub skew: Skew,
    /// How many servers may be down at once.
    #[serde(default)]
    pub capacity: Capacity,
    /// Named observations, used by checks, proofs and facts.
    #[serde(default)]
    pub probes: BTreeMap<String, Probe>,
    /// Expression over one host's facts that holds for the server to be upgraded last (a leader).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<FactExpression>,
    /// Conditions that must hold before anything is changed.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What is done, by the slot of the strategy that it fills; see [`Slot`].
    #[serde(default)]
    pub verbs: BTreeMap<Slot, Vec<Verb>>,
    /// What happens to configuration.
    #[serde(default)]
    pub config: Config,
    /// What is watched while soaking.
    #[serde(default)]
    pub soak: Soak,
    /// The moment after which the old version cannot come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_of_no_return: Option<NoReturn>,
    /// Times and limits of a window.
    #[serde(default)]
    pub window: WindowRules,
    /// Disk space that a release needs on each host, as a multiple of its package's size.
    #[serde(default = "default_disk_factor")]
    pub disk_factor: u64,
}

fn default_disk_factor() -> u64 {
    4
}

/// How versions look, and how the running one is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// How versions look and order.
    pub scheme: Scheme,
    /// How the running version is read: an expression over the value of a probe.
    pub running: FactExpression,
    /// Arguments that make the product's executable print its version.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Regular expression whose first group is the version in that output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

/// An expression over the value of a named probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactExpression {
    /// Name of the probe.
    pub probe: String,
    /// Expression over `value`, `node`, `places`.
    pub expression: String,
}

/// One pattern of package names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageRule {
    /// The pattern; see [`crate::package`]. Such as `emqx[-{edition}]-{version}-otp{otp}-{os}-{arch}.zip`.
    pub pattern: String,
    /// The versions that are packed so; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Values that stand for an optional part that is not there, such as `edition: ce`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub defaults: BTreeMap<String, String>,
    /// How many leading directories of the archive are dropped when it is unpacked.
    #[serde(default)]
    pub strip: u32,
}

/// Where something lives on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// What it is, in words.
    pub description: String,
    /// Sources, tried in order; the first that yields something wins.
    pub sources: Vec<PlaceSource>,
    /// Whether a host on which no source yields anything is refused.
    #[serde(default)]
    pub required: bool,
}

/// One source of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlaceSource {
    /// A variable of the host in the fleet file or inventory.
    Variable(String),
    /// An environment variable of the running process.
    Environment(String),
    /// A command-line option of the running process, such as `--data-dir`.
    Argument(String),
    /// A key of a configuration file.
    ConfigKey(ConfigKey),
    /// A path that exists.
    Exists(String),
    /// A fixed value (a template).
    Default(String),
}

/// A key of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigKey {
    /// The file; a template, which may use places found before.
    pub file: String,
    /// The key, as `key: value`, `key = value` or `key=value` lines have it.
    pub key: String,
}

/// How a hop is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// In the running process; nothing restarts.
    Hot,
    /// One server or batch after the other.
    Rolling,
    /// All servers in one window.
    Switch,
    /// All servers in one window, into new data directories restored from a snapshot.
    Rebuild,
}

/// Where a claim comes from: a vendor's document, a bug report, an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What it is.
    pub title: String,
    /// Where it can be read, if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// A legal way from some versions to others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathEdge {
    /// Range of versions that the way leads out of; see [`crate::version::Range`].
    pub from: String,
    /// Range of versions that it leads to.
    pub to: String,
    /// How the hop is done.
    pub strategy: Strategy,
    /// Conditions over each server's facts (`node`, `places`, `from`, `to`, `variant`, `target`), all of which must hold.
    #[serde(default)]
    pub when: Vec<Condition>,
    /// Where the claim comes from.
    pub source: Source,
    /// Whether the target must be a newer patch of the same minor, newer than the source, …: `from < to` is always demanded.
    #[serde(default)]
    pub note: Option<String>,
}

/// A condition with the sentence that an operator reads where it does not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Expression; see [`crate::expr`].
    pub expect: String,
    /// What an operator reads where it does not hold; a template.
    pub message: String,
}

/// A version that must not be reached, or a way that must not be taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockedEdge {
    /// Name of the trouble, such as `etcd-data-inconsistency`.
    pub name: String,
    /// Versions that the way leads out of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Versions that the way leads to; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Conditions over each server's facts; the edge is blocked only where all hold on some server.
    #[serde(default)]
    pub when: Vec<String>,
    /// What goes wrong.
    pub reason: String,
    /// Where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The version that has it mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
}

/// Which versions may run side by side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Skew {
    /// Expression over `a` and `b` (two versions): may servers of these run in one cluster?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<String>,
    /// Rule for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientLag>,
}

/// How far clients may lag behind servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientLag {
    /// Expression over `client` and `server` (versions): does this client work with this server?
    pub expect: String,
    /// What to do about clients for which it does not hold.
    pub remedy: String,
    /// Where the rule comes from.
    pub source: Source,
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
        Capacity { max_unavailable: 1, quorum: false, min_servers: 1, failure_domain: None }
    }
}

fn one() -> u32 {
    1
}

/// A condition that must hold before anything is changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Name, for `--skip` and reports.
    pub name: String,
    /// Expression over one server's facts, or over `nodes` (a map of all) where `cluster` is set.
    pub expect: String,
    /// What an operator reads where it does not hold; a template over the same names.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Hops that it applies to, by the version that the hop leads to; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Hops that it applies to, by the version that the hop leads out of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only for hops of these strategies; all where empty.
    #[serde(default)]
    pub strategies: Vec<Strategy>,
    /// Whether the expression is about the whole cluster.
    #[serde(default)]
    pub cluster: bool,
    /// Where the rule comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// A slot of a strategy: the moment at which a verb is done. The planner knows the order of the slots for each strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// Before the windows: build what must be built, on every server.
    Prepare,
    /// Before each hop's windows: take and prove snapshots.
    Protect,
    /// Before each window, and before a completed window is reverted: the cluster can bear the loss of these servers.
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
    /// Copy configuration and data aside. Default: the profile's `config.carry` places.
    Save,
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
    /// Revert of `hot`: install the old release, or restart into the permanent one.
    Uninstall,
    /// Revert of `rebuild`: point back at the old data directory.
    OldData,
    /// The separate, explicit step after which going back needs a snapshot.
    Finalize,
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
    /// Time for action and proof together; progress extends it.
    #[serde(default = "default_within")]
    pub within: Millis,
    /// How often the action is tried again after a failure that may pass.
    #[serde(default)]
    pub retry: Retry,
    /// Hops that it applies to, by the version that the hop leads to; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Hops that it applies to, by the version that the hop leads out of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

fn default_within() -> Millis {
    Millis::seconds(60)
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
    /// (the value of the same probe when the plan was made), `output` (what the action returned).
    pub expect: String,
    /// What an operator reads while it does not hold: what is being waited for. A template over the same names.
    pub waiting: String,
    /// How often in a row it must hold.
    #[serde(default = "one")]
    pub stable: u32,
    /// Time between two looks.
    #[serde(default = "default_every")]
    pub every: Millis,
    /// Expression that yields a number which grows while the wait makes progress; growth extends the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
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
        Retry { attempts: three(), pause: default_pause() }
    }
}

fn three() -> u32 {
    3
}

fn default_pause() -> Millis {
    Millis(500)
}

/// What happens to configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Places that are saved before the switch and put back byte for byte by a revert.
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
    /// Where the rule comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
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
        Soak { duration: default_soak(), between: Millis::ZERO, lasting: default_lasting(), watch: Vec::new() }
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
    /// The way back after it.
    pub way_back: String,
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
    /// Where the claim comes from.
    pub source: Source,
}

/// Times and limits of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowRules {
    /// The longest that a window may disturb service before it is reverted.
    #[serde(default = "default_limit")]
    pub limit: Millis,
    /// How long a guard waits for a renewal before it reverts its host.
    #[serde(default = "default_lease")]
    pub lease: Millis,
    /// Time that one host needs to revert itself; guards fire this far apart.
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
