//! Fleets: the hosts, with address, roles and labels; our own YAML, and Ansible inventories read as they are.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The hosts of a fleet, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// Name of the fleet; one run per name at a time.
    pub name: String,
    /// The hosts, by name.
    pub hosts: BTreeMap<String, Host>,
}

/// One host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Groups that the host is a member of; a product's servers are those in the product's group.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// What the host is for a product: `server`, `client`, `load_balancer`.
    #[serde(default)]
    pub roles: BTreeSet<String>,
    /// Free labels: failure domain, site, …
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Variables for templates and places.
    #[serde(default)]
    pub variables: BTreeMap<String, serde_json::Value>,
    /// How the host is reached.
    pub transport: Transport,
    /// The agent's state directory; `/var/lib/upshift` where absent.
    #[serde(default)]
    pub state_directory: Option<String>,
    /// Whether the agent runs under `sudo`.
    #[serde(default)]
    pub sudo: bool,
}

/// How a host is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// This machine.
    #[default]
    Local,
    /// The user's own ssh.
    Ssh(SshTransport),
    /// Any command whose standard input and output reach a shell on the host, such as `["ip", "netns", "exec", "h1", "sh"]`.
    Command(Vec<String>),
}

/// Options for ssh; what is absent is left to the user's own ssh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshTransport {
    /// Host name or address as ssh is given it.
    pub host: String,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
}

impl Fleet {
    /// The servers of a product: hosts in its group whose roles are empty or hold `server`. Hosts outside are never touched.
    pub fn servers<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a String, &'a Host)> {
        self.hosts
            .iter()
            .filter(move |(_, host)| host.groups.contains(group))
            .filter(|(_, host)| host.roles.is_empty() || host.roles.contains("server"))
    }
}
