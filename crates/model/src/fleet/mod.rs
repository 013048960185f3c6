//! Fleets: the hosts, with address, roles and labels; our own YAML ([`FleetFile`]), and Ansible inventories read as they
//! are (INI and YAML).

mod ansible;
mod conflicts;
mod detect;
mod file;
mod files;
mod names;
mod own;
mod report;
mod secrets;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use report::Sources;

pub use conflicts::SameHost;
pub use file::{FleetFile, GroupEntry, HostEntry, Role, SshEntry, TransportEntry};
pub use files::InventoryFiles;
pub use secrets::mask as mask_secrets;

/// What is wrong with a fleet file or an inventory, with its place and what to write instead. Values that look like
/// secrets are masked in the lines that it shows.
pub type FleetError = Diagnostic;

/// The hosts of a fleet, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// Name of the fleet; one run per name at a time.
    pub name: String,
    /// The hosts, by name.
    pub hosts: BTreeMap<String, Host>,
    /// Risks that the fleet's operators take upon themselves in every upgrade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Acceptance>,
    /// Public keys (minisign, base64) that packages must be signed with, beside those of the product's profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package_keys: Vec<String>,
}

/// A risk that an operator takes upon themselves, by its name in the profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// Name of a check, a blocked way or a condition that the profile calls acceptable, or `capacity`.
    pub name: String,
    /// Why it is taken.
    pub reason: String,
    /// The last day on which it counts, as in `2027-01-31` (UTC); for good where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Acceptance {
    /// Whether it counts on a day, written as YYYY-MM-DD. Such days order as their texts do.
    pub fn counts_on(&self, day: &str) -> bool {
        self.until.as_deref().is_none_or(|until| day <= until)
    }
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
    /// Variables that an inventory has for the host and that are not among `variables`, each with the reason: encrypted
    /// with ansible-vault, a password, or a Jinja expression that only Ansible can compute.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub withheld: BTreeMap<String, String>,
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
    /// The inventory reaches the host in a way that Upshift cannot. That matters only where the host is needed: inventories
    /// list switches and containers beside servers.
    Unusable(UnusableTransport),
}

/// Why a host cannot be reached although the inventory knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnusableTransport {
    /// What stands in the way, and in which line of which file.
    pub reason: String,
    /// What to write instead.
    pub remedy: String,
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

/// The JSON Schema of fleet files, for editors; docs/schema/fleet.json is a copy.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(FleetFile).to_value()
}

/// The agent's state directory on hosts for which the fleet names none.
pub const DEFAULT_STATE_DIRECTORY: &str = "/var/lib/upshift";

/// A file of an Ansible inventory; nothing where it is a program.
fn part<'a>(
    sources: &mut Sources,
    format: detect::Format,
    source: report::SourceId,
    text: &'a str,
) -> Option<ansible::Part<'a>> {
    let syntax = match format {
        detect::Format::AnsibleIni => ansible::Syntax::Ini,
        detect::Format::AnsibleYaml | detect::Format::Own => ansible::Syntax::Yaml,
        detect::Format::Script => {
            sources.error(
                source.at(0..0),
                "this is a program that prints an inventory, not an inventory",
                "run `ansible-inventory --list --yaml` and give Upshift what it prints",
            );
            return None;
        }
    };
    Some(ansible::Part { source, syntax, text })
}

impl Fleet {
    /// Reads a fleet file or an Ansible inventory; which of them it is, is told from its name and its contents.
    ///
    /// `file_name` is the path as the user gave it; it stands in errors and names the fleet where nothing else does.
    /// `files` are the files beside it that an inventory also draws on; see [`InventoryFiles`]. On failure everything
    /// that is wrong is reported at once.
    pub fn from_text(file_name: &str, text: &str, files: &InventoryFiles) -> Result<Fleet, Vec<FleetError>> {
        let mut sources = Sources::new(file_name, text);
        let source = sources.main_id();
        let fleet = match detect::format(file_name, text) {
            detect::Format::Own => own::read(&mut sources, text),
            format => part(&mut sources, format, source, text)
                .and_then(|part| ansible::read(&mut sources, &[part], files)),
        };
        sources.finish(fleet)
    }

    /// Reads an Ansible inventory that is spread over the files of a directory, as Ansible does: one after the other, in the
    /// order of their names, those of directories in it included.
    ///
    /// `directory` is the path as the user gave it. `texts` are the files by their path relative to it, without those for
    /// which [`InventoryFiles::is_part`] does not hold; `files` are those of its `group_vars` and `host_vars`.
    pub fn from_directory(
        directory: &str,
        texts: &[(String, String)],
        files: &InventoryFiles,
    ) -> Result<Fleet, Vec<FleetError>> {
        let mut sources = Sources::of_directory(directory);
        let mut texts: Vec<&(String, String)> = texts.iter().collect();
        texts.sort_by_key(|(path, _)| path.split('/').collect::<Vec<_>>());
        let mut parts = Vec::new();
        for (path, text) in texts {
            if text.trim().is_empty() {
                continue;
            }
            let name = format!("{}/{path}", directory.trim_end_matches('/'));
            let source = sources.add(&name, text);
            let format = match detect::format(&name, text) {
                detect::Format::Own => detect::Format::AnsibleYaml,
                format => format,
            };
            parts.extend(part(&mut sources, format, source, text));
        }
        let fleet = ansible::read(&mut sources, &parts, files);
        sources.finish(fleet)
    }

    /// Two hosts of a product's group that are one and the same, with how they are reached: what was done to the one would
    /// be done to the other. Outside of the group inventories often know a machine under several names.
    pub fn same_host_twice(&self, group: &str) -> Vec<SameHost> {
        conflicts::same_host_twice(self, group)
    }

    /// The load balancers in front of a product: hosts in its group with the role `load_balancer`.
    pub fn load_balancers<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a String, &'a Host)> {
        self.hosts
            .iter()
            .filter(move |(_, host)| host.groups.contains(group) && host.roles.contains("load_balancer"))
    }

    /// The clients of a product: hosts in its group with the role `client` that are not servers as well.
    pub fn clients<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a String, &'a Host)> {
        self.hosts
            .iter()
            .filter(move |(_, host)| host.groups.contains(group))
            .filter(|(_, host)| host.roles.contains("client") && !host.roles.contains("server"))
    }

    /// The clients of a product as a fleet of their own, in which they are what is upgraded: all of them are in the group `own`, and no
    /// other host is there.
    pub fn of_clients(&self, group: &str, own: &str) -> Fleet {
        let hosts = self.clients(group).map(|(name, host)| {
            let host = Host {
                groups: [own.to_owned()].into(),
                roles: BTreeSet::new(),
                ..host.clone()
            };
            (name.clone(), host)
        });
        Fleet {
            hosts: hosts.collect(),
            ..self.clone()
        }
    }

    /// The servers of a product: hosts in its group whose roles are empty or hold `server`. Hosts outside are never touched.
    pub fn servers<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a String, &'a Host)> {
        self.hosts
            .iter()
            .filter(move |(_, host)| host.groups.contains(group))
            .filter(|(_, host)| host.roles.is_empty() || host.roles.contains("server"))
    }
}
