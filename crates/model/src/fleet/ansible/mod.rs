//! Ansible inventories, read as they are: INI and YAML, with the `group_vars` and `host_vars` beside them.
//!
//! Followed are Ansible's own rules for ranges, groups of groups, and which variable overrides which. Not followed, and
//! refused or withheld with a reason: what only Ansible can compute (`lookup`, plugins, encrypted values).

mod connection;
mod groups;
mod host;
mod ini;
mod literal;
mod render;
mod scalar;
mod words;
mod yaml;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::report::{Place, SourceId, Sources};
use super::{Fleet, InventoryFiles};

/// How an inventory is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Ini,
    Yaml,
}

/// Groups and hosts as they are written.
#[derive(Default)]
struct Inventory {
    groups: BTreeMap<String, Group>,
    hosts: BTreeMap<String, InventoryHost>,
}

#[derive(Default)]
struct Group {
    /// Hosts that are listed in the group itself.
    hosts: BTreeSet<String>,
    /// Groups that are members of it, with the place that says so.
    children: BTreeMap<String, Place>,
    variables: Variables,
}

struct InventoryHost {
    variables: Variables,
}

type Variables = BTreeMap<String, Variable>;

/// The value of a variable, with the place where it was set.
#[derive(Clone, Debug)]
struct Variable {
    content: Content,
    place: Place,
}

#[derive(Clone, Debug)]
enum Content {
    Plain(Value),
    /// Encrypted with ansible-vault, as a whole or in some part.
    Encrypted,
}

/// What is said where a host is named.
struct Mention {
    port: Option<Variable>,
    variables: Variables,
}

impl Inventory {
    fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    /// Puts a host into a group. A port behind the name counts where the host is new, and yields to `ansible_port`.
    fn add_host(&mut self, group: &str, name: &str, found: &Mention) {
        self.group(group).hosts.insert(name.to_owned());
        let host = self.hosts.entry(name.to_owned()).or_insert_with(|| {
            let port = found.port.clone();
            InventoryHost {
                variables: port
                    .map(|port| ("ansible_port".to_owned(), port))
                    .into_iter()
                    .collect(),
            }
        });
        host.variables.extend(found.variables.clone());
    }
}

/// One of the files that an inventory is written in.
pub(super) struct Part<'a> {
    pub source: SourceId,
    pub syntax: Syntax,
    pub text: &'a str,
}

/// Reads an inventory. What is wrong is noted in `sources`. The parts are read in their order, as Ansible reads the files of
/// a directory: what a later one says of a host or a group overrides what an earlier one said.
pub(super) fn read(sources: &mut Sources, parts: &[Part<'_>], files: &InventoryFiles) -> Option<Fleet> {
    let mut inventory = Inventory::default();
    for part in parts {
        match part.syntax {
            Syntax::Ini => ini::read(sources, part.source, part.text, &mut inventory),
            Syntax::Yaml => yaml::read(sources, part.source, part.text, &mut inventory)?,
        }
    }
    if inventory.hosts.is_empty() && sources.is_sound() {
        sources.error(
            sources.main(0..0),
            "this inventory names no host",
            "write the hosts into it, or name another inventory with --fleet",
        );
        return None;
    }
    let hierarchy = groups::Hierarchy::of(&inventory, sources)?;
    let from_files = groups::FileVariables::read(&inventory, sources, files);
    let mut fleet = Fleet {
        name: fleet_name(sources, &inventory, &from_files),
        hosts: BTreeMap::new(),
        accepted: Vec::new(),
        package_keys: Vec::new(),
    };
    for name in inventory.hosts.keys() {
        let variables = hierarchy.variables(&inventory, &from_files, name);
        let members = hierarchy.groups_of(name);
        fleet
            .hosts
            .insert(name.clone(), host::read(sources, name, members, variables));
    }
    Some(fleet)
}

/// The variable `upshift_fleet` of all hosts, or what the file's name says: `production` for `production.ini` and for
/// `production/hosts`.
fn fleet_name(sources: &Sources, inventory: &Inventory, files: &groups::FileVariables) -> String {
    let inline = inventory
        .groups
        .get("all")
        .and_then(|all| all.variables.get("upshift_fleet"));
    let variable = files
        .of_group("all")
        .and_then(|all| all.get("upshift_fleet"))
        .or(inline);
    if let Some(Variable {
        content: Content::Plain(Value::String(name)),
        ..
    }) = variable
    {
        return name.clone();
    }
    let mut names = sources
        .main_name()
        .rsplit('/')
        .filter(|name| !["", ".", ".."].contains(name));
    let file = names.next().unwrap_or("fleet");
    let stem = file
        .split_once('.')
        .map_or(file, |(stem, _)| if stem.is_empty() { file } else { stem });
    match stem {
        "hosts" | "inventory" => names.next().unwrap_or(stem).to_owned(),
        stem => stem.to_owned(),
    }
}
