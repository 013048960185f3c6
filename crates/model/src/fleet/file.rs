//! The shape of our own fleet file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Acceptance;

/// A fleet file.
///
/// ```
/// let text = r#"
/// name: production
/// defaults:                       # for every host that does not say otherwise
///   transport:
///     ssh: { user: admin, key_file: ~/.ssh/production }
///   sudo: true
/// products:                       # the servers of each product; no other host is ever touched
///   etcd:
///     hosts: ["node[1:3]"]
///     vars: { data_directory: /var/lib/etcd }
/// groups:                         # further groups, for variables that several hosts share
///   hall_b:
///     hosts: [node3]
///     vars: { proxy: "http://proxy-b:3128" }
/// hosts:
///   node1: { address: 10.0.0.1, labels: { rack: a } }
///   node2: { address: 10.0.0.2, labels: { rack: b } }
///   node3:
///     address: 10.0.0.3
///     labels: { rack: c }
///     roles: [server]
///     transport:
///       ssh: { port: 2222 }
///     state_directory: /srv/upshift
///     vars: { data_directory: /srv/etcd }
///   lab: { transport: local }     # in no product: known, but never touched
/// "#;
/// let fleet = upshift_model::fleet::Fleet::from_text("fleet.yaml", text, &Default::default()).unwrap();
/// assert_eq!(fleet.servers("etcd").count(), 3);
/// assert_eq!(fleet.hosts["node3"].variables["data_directory"], "/srv/etcd");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetFile {
    /// Name of the fleet: letters, digits, `.`, `-` and `_`. One run per name at a time.
    pub name: String,
    /// What holds for every host that does not say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// The servers of each product, by the product's short name. A host in no product is never touched.
    #[serde(default)]
    pub products: BTreeMap<String, GroupEntry>,
    /// Further groups of hosts, by name.
    #[serde(default)]
    pub groups: BTreeMap<String, GroupEntry>,
    /// The hosts, by name. A name may have ranges: `node[01:12]`, `db-[a:c]`, `node[1:9:2]`.
    pub hosts: BTreeMap<String, HostEntry>,
    /// Risks that the fleet's operators take upon themselves in every upgrade; see `upshift accept`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<Acceptance>,
    /// Public keys (minisign, base64) that packages must be signed with, beside those of the product's profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package_keys: Vec<String>,
}

/// What holds for every host that does not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// How hosts are reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportEntry>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Variables for templates and places.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// The agent's state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<String>,
    /// Whether the agent runs under `sudo`.
    #[serde(default)]
    pub sudo: bool,
}

/// The hosts of a product or of another group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    /// Names of hosts, with ranges where they help: `node[1:3]`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Variables of these hosts. They override the defaults; a host's own variables override them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
}

/// One host, or all hosts of a range.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// Name or address that ssh is given; the host's name where absent. Templates know it as the variable `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How the host is reached; ssh where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportEntry>,
    /// Groups and products of the host, besides those that list it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What the host is for its products; a server where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// Free labels: failure domain, site, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Variables for templates and places.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// The agent's state directory; `/var/lib/upshift` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<String>,
    /// Whether the agent runs under `sudo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<bool>,
}

/// What a host is for a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the product.
    Server,
    /// Uses the product: its version may lag.
    Client,
    /// Stands before the servers.
    LoadBalancer,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 3] = [Role::Server, Role::Client, Role::LoadBalancer];

    /// The name as it is written in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Client => "client",
            Role::LoadBalancer => "load_balancer",
        }
    }
}

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransportEntry {
    /// This machine.
    Local,
    /// The user's own ssh.
    Ssh(SshEntry),
    /// Any command whose standard input and output reach a shell on the host, such as `["ip", "netns", "exec", "h1", "sh"]`.
    Command(Vec<String>),
}

/// Options for ssh; what is absent is taken from `defaults`, then left to the user's own ssh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshEntry {
    /// Port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// User.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Private key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Further arguments for ssh, such as `["-J", "jump"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<String>>,
}
