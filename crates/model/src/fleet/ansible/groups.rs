//! Groups of groups, and which variable overrides which.
//!
//! From the weakest to the strongest, as Ansible documents it: variables of `all` in the inventory, of the other groups in
//! the inventory, `group_vars/all`, `group_vars/*`, variables of the host in the inventory, `host_vars/*`. Among groups a
//! child overrides its parents; groups of one depth go by `ansible_group_priority` and then by name, later ones winning.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Content, Inventory, Variable, Variables, yaml};
use crate::fleet::InventoryFiles;
use crate::fleet::report::{Place, Sources};
use crate::fleet::secrets::VAULT_MARK;

/// Which groups a host is in, the weakest first.
pub(super) struct Hierarchy {
    members: BTreeMap<String, Vec<String>>,
}

impl Hierarchy {
    /// `None` where a group is a member of itself.
    pub fn of(inventory: &Inventory, sources: &mut Sources) -> Option<Hierarchy> {
        let depths = Depths::of(inventory, sources)?;
        let parents = parents(inventory);
        let mut members: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (name, group) in &inventory.groups {
            for host in &group.hosts {
                add_with_parents(name, &parents, members.entry(host.clone()).or_default());
            }
        }
        let members = inventory.hosts.keys().map(|host| {
            let mut groups = members.remove(host).unwrap_or_default();
            groups.remove("all");
            // A host is ungrouped exactly where it is in no other group, whatever the inventory says.
            groups.remove("ungrouped");
            if groups.is_empty() {
                groups.insert("ungrouped");
            }
            let mut groups: Vec<String> = groups.into_iter().map(str::to_owned).collect();
            groups.sort_by_key(|name| (depths.of_group(name), priority(inventory, name), name.clone()));
            (host.clone(), groups)
        });
        Some(Hierarchy {
            members: members.collect(),
        })
    }

    /// The groups of a host: those that list it and all that these are members of, but not `all` and `ungrouped`, which say
    /// nothing about it.
    pub fn groups_of(&self, host: &str) -> BTreeSet<String> {
        self.members(host)
            .iter()
            .filter(|name| *name != "ungrouped")
            .cloned()
            .collect()
    }

    fn members(&self, host: &str) -> &[String] {
        self.members.get(host).map_or(&[], Vec::as_slice)
    }

    /// The variables of a host.
    pub fn variables(&self, inventory: &Inventory, files: &FileVariables, host: &str) -> Variables {
        let groups = || std::iter::once("all").chain(self.members(host).iter().map(String::as_str));
        let inline = groups()
            .filter_map(|name| inventory.groups.get(name))
            .map(|group| &group.variables);
        let in_files = groups().filter_map(|name| files.of_group(name));
        let own = inventory.hosts.get(host).map(|host| &host.variables);
        let own_file = files.hosts.get(host);
        let mut variables = Variables::new();
        for layer in inline.chain(in_files).chain(own).chain(own_file) {
            variables.extend(
                layer
                    .iter()
                    .map(|(key, variable)| (key.clone(), variable.clone())),
            );
        }
        variables
    }
}

fn parents(inventory: &Inventory) -> BTreeMap<&str, Vec<&str>> {
    let mut parents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, group) in &inventory.groups {
        for child in group.children.keys() {
            parents.entry(child).or_default().push(name);
        }
    }
    parents
}

fn add_with_parents<'a>(
    group: &'a str,
    parents: &BTreeMap<&'a str, Vec<&'a str>>,
    found: &mut BTreeSet<&'a str>,
) {
    let mut waiting = vec![group];
    while let Some(group) = waiting.pop() {
        if found.insert(group) {
            waiting.extend(parents.get(group).into_iter().flatten());
        }
    }
}

fn priority(inventory: &Inventory, group: &str) -> i64 {
    let variable = inventory
        .groups
        .get(group)
        .and_then(|group| group.variables.get("ansible_group_priority"));
    match variable.map(|variable| &variable.content) {
        Some(Content::Plain(Value::Number(number))) => number.as_i64().unwrap_or(1),
        Some(Content::Plain(Value::String(text))) => text.parse().unwrap_or(1),
        _ => 1,
    }
}

/// How far each group lies below `all`, by the longest way.
struct Depths {
    depths: BTreeMap<String, usize>,
}

impl Depths {
    fn of(inventory: &Inventory, sources: &mut Sources) -> Option<Depths> {
        let parents = parents(inventory);
        let mut open: BTreeMap<&str, usize> = inventory
            .groups
            .keys()
            .map(|name| (name.as_str(), parents.get(name.as_str()).map_or(0, Vec::len)))
            .collect();
        let mut ready: Vec<&str> = open
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(name, _)| *name)
            .collect();
        let mut depths: BTreeMap<String, usize> = BTreeMap::new();
        while let Some(name) = ready.pop() {
            let above = parents
                .get(name)
                .into_iter()
                .flatten()
                .filter_map(|parent| depths.get(*parent))
                .max();
            let depth = if name == "all" {
                0
            } else {
                above.map_or(1, |above| above + 1)
            };
            depths.insert(name.to_owned(), depth);
            open.remove(name);
            for child in inventory
                .groups
                .get(name)
                .into_iter()
                .flat_map(|group| group.children.keys())
            {
                if let Some(count) = open.get_mut(child.as_str()) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(child);
                    }
                }
            }
        }
        if open.is_empty() {
            return Some(Depths { depths });
        }
        report_circle(inventory, &open.keys().copied().collect(), sources);
        None
    }

    fn of_group(&self, name: &str) -> usize {
        self.depths.get(name).copied().unwrap_or(1)
    }
}

/// Among groups that could not be brought into an order, follows children until one comes again.
fn report_circle(inventory: &Inventory, left: &BTreeSet<&str>, sources: &mut Sources) {
    let mut way: Vec<(&str, &Place)> = Vec::new();
    // Every group that is left has a parent that is left; going up never ends, so some group comes again.
    let mut current = left.first().copied();
    while let Some(name) = current {
        let above = inventory.groups.iter().find_map(|(parent, group)| {
            let place = group
                .children
                .get(name)
                .filter(|_| left.contains(parent.as_str()))?;
            Some((parent.as_str(), place))
        });
        let Some((parent, place)) = above else { return };
        way.push((name, place));
        if let Some(start) = way.iter().position(|(earlier, _)| *earlier == parent) {
            let names: Vec<&str> = way[start..].iter().map(|(name, _)| *name).collect();
            let circle = names.join("`, which is a child of `");
            let message =
                format!("`{circle}`, which is a child of `{parent}`: a group cannot be a member of itself");
            sources.error(way[start].1.clone(), message, "take one of these children out");
            return;
        }
        current = Some(parent);
    }
}

/// Variables from `group_vars` and `host_vars`.
pub(super) struct FileVariables {
    groups: BTreeMap<String, Variables>,
    hosts: BTreeMap<String, Variables>,
}

impl FileVariables {
    /// Reads the files of all groups and hosts of the inventory.
    pub fn read(inventory: &Inventory, sources: &mut Sources, files: &InventoryFiles) -> FileVariables {
        let directory = match sources.main_name().rsplit_once('/') {
            _ if sources.is_directory() => format!("{}/", sources.main_name().trim_end_matches('/')),
            Some((directory, _)) => format!("{directory}/"),
            None => String::new(),
        };
        let mut read = |kind: &str, name: &String| {
            let mut variables = Variables::new();
            for (path, text) in files.of(kind, name) {
                let source = sources.add(&format!("{directory}{path}"), text);
                // A file that is encrypted as a whole hides even the names of its variables; its path stands for them.
                if text.trim_start().starts_with(VAULT_MARK) {
                    let variable = Variable {
                        content: Content::Encrypted,
                        place: source.at(0..0),
                    };
                    variables.insert(path.to_owned(), variable);
                    continue;
                }
                variables.extend(yaml::read_variables(sources, source, text).unwrap_or_default());
            }
            (name.clone(), variables)
        };
        let built_in = ["all".to_owned(), "ungrouped".to_owned()];
        let names: BTreeSet<&String> = inventory.groups.keys().chain(&built_in).collect();
        let groups = names.into_iter().map(|name| read("group_vars", name)).collect();
        let hosts = inventory
            .hosts
            .keys()
            .map(|name| read("host_vars", name))
            .collect();
        FileVariables { groups, hosts }
    }

    pub fn of_group(&self, name: &str) -> Option<&Variables> {
        self.groups.get(name)
    }
}
