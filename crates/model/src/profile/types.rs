//! The shape of a profile file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BlockedEdge, Capacity, Check, ClientUpgrades, Config, GuardRules, LoadBalancers, Newest, NoReturn,
    Notice, PathEdge, Skew, Slot, Soak, Strategy, Verb, WindowRules,
};
use crate::action::Service;
use crate::probe::Probe;
use crate::release::ReleaseHandler;
use crate::snapshot::SnapshotRule;
use crate::version::Scheme;

/// Name of the probe that every profile has without saying so: the process of [`Profile::service`], asked for its version
/// as [`Versions`] says.
pub const PROCESS_PROBE: &str = "process";

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
    /// Public keys (minisign, base64) of the vendor: packages must be signed with one of them, or with one of the fleet's. A package
    /// `NAME` has its signature beside it, as `NAME.minisig`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package_keys: Vec<String>,
    /// Whether the product's own verbs fetch releases. A package is then used where one is at hand, and no plan is refused because there is
    /// none; the versions between two hops are those that the operator names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fetches_releases: bool,
    /// How the product is started and stopped; templates are filled in per host.
    pub service: Service,
    /// The product's own tool that keeps releases; where absent, Upshift's release store does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_handler: Option<ReleaseHandler>,
    /// Where things live on a host: for each name, the sources tried in order.
    #[serde(default)]
    pub places: BTreeMap<String, Place>,
    /// Legal ways between versions.
    pub paths: Vec<PathEdge>,
    /// Versions and ways that are known to be bad, by name.
    #[serde(default)]
    pub blocked: Vec<BlockedEdge>,
    /// The newest known release of each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Newest>,
    /// Which versions may run side by side, and how far clients may lag.
    #[serde(default)]
    pub skew: Skew,
    /// Another profile, by which the clients of this product are upgraded (`upshift upgrade --clients`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientUpgrades>,
    /// Where this profile is about clients: the group of the fleet, most often named like the product, whose hosts with the role `client` it
    /// upgrades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients_of: Option<String>,
    /// What those who use the servers will notice of a hop: sentences that stand in the plan, to be sent to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// How many servers may be down at once.
    #[serde(default)]
    pub capacity: Capacity,
    /// How servers are taken out of load balancers.
    #[serde(default)]
    pub load_balancers: LoadBalancers,
    /// Named observations, used by checks, proofs and facts. `process` is there without being written: the service's process.
    #[serde(default)]
    pub probes: BTreeMap<String, Probe>,
    /// Expression over one host's facts that holds for the server to be upgraded last (a leader).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<FactExpression>,
    /// Snapshots: what each holds, how it is taken, and what proves that it restores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotRule>,
    /// Conditions that must hold before anything is changed.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What is done, by the slot of the strategy that it fills; see [`Slot`].
    #[serde(default)]
    #[schemars(schema_with = "super::verbs::verbs_schema")]
    pub verbs: BTreeMap<Slot, Vec<Verb>>,
    /// Why the profile has no verbs (yet), in a sentence for operators. Such a profile answers which paths are legal, which
    /// are blocked and which checks fail; the planner shows the path and refuses to make a plan that could be executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbs_missing: Option<String>,
    /// The strategies whose verbs are missing; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs_missing_for: Vec<Strategy>,
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
    /// What a host's own guard goes by when no controller renews its lease.
    #[serde(default, skip_serializing_if = "GuardRules::is_empty")]
    pub guard: GuardRules,
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
    /// Known reasons why no version is found on a host; the first that holds is what the operator reads instead of "not running".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
}

/// Why the product is not found on a host although it may run there, such as in a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Name of the refusal.
    pub name: String,
    /// Expression over `probes`, `places` and `node` that holds where this is the reason.
    pub holds: String,
    /// What an operator reads; a template over the same names.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
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
    /// File name with named parts in braces and optional parts in brackets, such as
    /// `emqx[-{edition}]-{version}-otp{otp}-{os}-{arch}.zip`.
    pub pattern: String,
    /// The versions that are packed so; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Values that stand for an optional part that is not there, such as `edition: ce`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub defaults: BTreeMap<String, String>,
    /// Further named parts, read out of a file inside the package. A part is absent where the file is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inside: BTreeMap<String, InsidePart>,
    /// How many leading directories of the archive are dropped when it is unpacked.
    #[serde(default)]
    pub strip: u32,
}

/// A named part of a release that its package's name does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InsidePart {
    /// The file's path inside the package: a template over the named parts of the package's name, such as
    /// `emqx/releases/{{ version }}/relup`.
    pub file: String,
    /// Regular expression; the part's value is the first group of every match, each once, in order, joined with commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Expression over `value`, the file's first Erlang term (see [`crate::erlang`]), that yields a list of texts; the part's value is
    /// those, joined with commas. One of `pattern` and `erlang` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erlang: Option<String>,
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
    /// Regular expression whose first group is the value; what a source yields and this does not match is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Whether the product's data lies there: what clients have written, and what a rollback would take from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<bool>,
    /// The directory that a relative path is meant from, a template such as `{{ places.root }}`: products write paths into their
    /// configuration that count from where they are installed. Without it, what a source yields stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_to: Option<String>,
    /// Whether it holds a secret, such as a password. Its value never leaves the host: everything else is told only that it is set, so
    /// that no plan, journal or record holds it. It can be asked for with `has(…)`, and goes into no command.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
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
    /// A switch on the command line of the running process, such as `--enable-v2`: `true` where it stands alone, else its value.
    Flag(String),
    /// Regular expression: the names, never the values, of those command-line options of the running process that match, with
    /// commas between them. Nothing where none does.
    Options(String),
    /// A key of a configuration file.
    ConfigKey(ConfigKey),
    /// The systemd unit whose main process runs the program of this name, as the process's cgroup and systemd say.
    Unit(String),
    /// The package manager that installed the package of this name: `dpkg` or `rpm`.
    Package(String),
    /// The names of the service's processes that run on the host, joined with this text: what must run again after a start.
    Processes(String),
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
    /// The key, as `key: value`, `key = value` or `key=value` lines have it. In a YAML file, `a.b` is the key `b` below `a`.
    pub key: String,
}

impl ConfigKey {
    /// The value of a nested key of a YAML (or JSON) document, as text. Nothing where there is none, or it is no single value.
    pub fn nested_in(&self, text: &str) -> Option<String> {
        let document: serde_json::Value = serde_saphyr::from_str(text).ok()?;
        let value = self
            .key
            .split('.')
            .try_fold(&document, |value, key| value.get(key))?;
        match value {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Some(value.to_string()),
            _ => None,
        }
    }
}
