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

use super::conflicts::{Scope, refuse_shared_agents};
use super::report::{Place, Sources};
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
    place: Place,
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

impl Inventory {
    fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    fn host(&mut self, name: &str, place: &Place) -> &mut InventoryHost {
        let host = || InventoryHost {
            place: place.clone(),
            variables: Variables::new(),
        };
        self.hosts.entry(name.to_owned()).or_insert_with(host)
    }
}

/// Reads an inventory. What is wrong is noted in `sources`.
pub(super) fn read(
    sources: &mut Sources,
    syntax: Syntax,
    text: &str,
    files: &InventoryFiles,
) -> Option<Fleet> {
    let inventory = match syntax {
        Syntax::Ini => ini::read(sources, text),
        Syntax::Yaml => yaml::read(sources, text)?,
    };
    let hierarchy = groups::Hierarchy::of(&inventory, sources)?;
    let from_files = groups::FileVariables::read(&inventory, sources, files);
    let mut fleet = Fleet {
        name: fleet_name(sources, &inventory, &from_files),
        hosts: BTreeMap::new(),
        accepted: Vec::new(),
    };
    for name in inventory.hosts.keys() {
        let variables = hierarchy.variables(&inventory, &from_files, name);
        let members = hierarchy.groups_of(name);
        fleet
            .hosts
            .insert(name.clone(), host::read(sources, name, members, variables));
    }
    let places = inventory
        .hosts
        .into_iter()
        .map(|(name, host)| (name, host.place))
        .collect();
    // A host whose connection could not be read looks like this machine.
    if sources.is_sound() {
        refuse_shared_agents(sources, &fleet, &places, Scope::WithinGroups);
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
