//! Reading our own fleet file.

use std::collections::{BTreeMap, BTreeSet};

use super::conflicts::refuse_shared_agents;
use super::file::{Defaults, FleetFile, GroupEntry, HostEntry, SshEntry, TransportEntry};
use super::names;
use super::report::{Place, Sources};
use super::{Fleet, Host, SshTransport, Transport};
use crate::diagnostic::{self, Node};

/// Reads a fleet file. What is wrong is noted in `sources`.
pub(super) fn read(sources: &mut Sources, text: &str) -> Option<Fleet> {
    let (file, tree) = match diagnostic::read_with_tree::<FleetFile>(text) {
        Ok(read) => read,
        Err(mistakes) => {
            sources.mistakes(sources.main_id(), mistakes);
            return None;
        }
    };
    let mut reader = Reader {
        sources,
        file: &file,
        tree: &tree,
        hosts: BTreeMap::new(),
    };
    reader.name();
    reader.defaults();
    reader.hosts();
    reader.groups();
    Some(reader.fleet())
}

struct Reader<'a, 's> {
    sources: &'s mut Sources,
    file: &'a FleetFile,
    tree: &'a Node,
    hosts: BTreeMap<String, Found<'a>>,
}

/// A host as far as it is known.
struct Found<'a> {
    entry: &'a HostEntry,
    place: Place,
    /// Its groups, and the variables that they set.
    groups: BTreeSet<&'a str>,
}

/// The node at the end of a way of keys.
fn at<'n>(tree: &'n Node, keys: &[&str]) -> Option<&'n Node> {
    keys.iter().try_fold(tree, |node, key| node.get(key))
}

impl<'a> Reader<'a, '_> {
    /// The place of the value at the end of a way of keys.
    fn place(&self, keys: &[&str]) -> Place {
        self.sources
            .main(at(self.tree, keys).map_or(0..0, |node| node.range.clone()))
    }

    fn name(&mut self) {
        let name = &self.file.name;
        let odd = name
            .chars()
            .any(|c| !c.is_ascii_alphanumeric() && !"._-".contains(c));
        if odd || name.is_empty() || name.starts_with('.') {
            let place = self.place(&["name"]);
            let message = format!("`{name}` cannot be the name of a fleet");
            self.sources
                .error(place, message, "use letters, digits, `-`, `_` and, inside, `.`");
        }
    }

    fn defaults(&mut self) {
        let Defaults {
            transport,
            state_directory,
            ..
        } = &self.file.defaults;
        self.transport(transport.as_ref(), &["defaults", "transport"]);
        self.state_directory(state_directory.as_deref(), &["defaults", "state_directory"]);
    }

    fn hosts(&mut self) {
        let entries = at(self.tree, &["hosts"]).map(Node::entries).unwrap_or_default();
        for written in entries {
            let Some((key, entry)) = self.file.hosts.get_key_value(&written.key) else {
                continue;
            };
            self.transport(entry.transport.as_ref(), &["hosts", key, "transport"]);
            self.state_directory(
                entry.state_directory.as_deref(),
                &["hosts", key, "state_directory"],
            );
            self.refuse_unused_address(key, entry);
            let place = self.sources.main(written.key_range.clone());
            for name in self.expand(key, &place) {
                let found = Found {
                    entry,
                    place: place.clone(),
                    groups: BTreeSet::new(),
                };
                if let Some(first) = self.hosts.insert(name.clone(), found) {
                    let line = self.sources.name_and_line(&first.place);
                    let message = format!("the host `{name}` is there twice, first in {line}");
                    self.sources.error(place.clone(), message, "keep one of the two");
                }
            }
        }
    }

    fn expand(&mut self, pattern: &str, place: &Place) -> Vec<String> {
        names::expand(pattern).unwrap_or_else(|error| {
            self.sources.error(place.clone(), error.message, error.fix);
            Vec::new()
        })
    }

    fn transport(&mut self, transport: Option<&TransportEntry>, keys: &[&str]) {
        if let Some(TransportEntry::Command(arguments)) = transport
            && arguments.iter().all(|argument| argument.is_empty())
        {
            let place = self.place(keys);
            self.sources.error(
                place,
                "the command is empty",
                "write it as in `command: [docker, exec, -i, n1, sh]`",
            );
        }
    }

    fn state_directory(&mut self, directory: Option<&str>, keys: &[&str]) {
        let fix = match directory {
            Some(directory) if !directory.starts_with('/') => "write a path that begins with `/`",
            Some(directory) if directory.split('/').any(|name| name == "..") => "write a path without `..`",
            _ => return,
        };
        let place = self.place(keys);
        self.sources
            .error(place, "the state directory must be an absolute path", fix);
    }

    fn refuse_unused_address(&mut self, key: &str, entry: &HostEntry) {
        if entry
            .address
            .as_deref()
            .is_some_and(|address| address.trim().is_empty() || address.starts_with('-'))
        {
            let place = self.place(&["hosts", key, "address"]);
            self.sources.error(
                place,
                "this is not an address",
                "write a name or an address that ssh can reach",
            );
        }
    }

    /// Puts hosts into the groups that list them, and into those that they list.
    fn groups(&mut self) {
        let file = self.file;
        for (section, groups) in [("products", &file.products), ("groups", &file.groups)] {
            for (group, entry) in groups {
                if section == "groups" && file.products.contains_key(group) {
                    let place = self.place(&[section, group]);
                    let message = format!("`{group}` is a product and a group");
                    self.sources.error(place, message, "keep it under `products`");
                }
                for (index, pattern) in entry.hosts.iter().enumerate() {
                    let items = at(self.tree, &[section, group, "hosts"])
                        .map(Node::items)
                        .unwrap_or_default();
                    let place = self
                        .sources
                        .main(items.get(index).map_or(0..0, |item| item.range.clone()));
                    for name in self.expand(pattern, &place) {
                        self.join(group, &name, place.clone());
                    }
                }
            }
        }
        let known: BTreeSet<&'a str> = file
            .products
            .keys()
            .chain(file.groups.keys())
            .map(String::as_str)
            .collect();
        for (key, entry) in &file.hosts {
            for (index, group) in entry.groups.iter().enumerate() {
                if !known.contains(group.as_str()) {
                    let items = at(self.tree, &["hosts", key, "groups"])
                        .map(Node::items)
                        .unwrap_or_default();
                    let place = self
                        .sources
                        .main(items.get(index).map_or(0..0, |item| item.range.clone()));
                    let fix = match diagnostic::nearest(group, known.iter().copied()) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("add `{group}: {{}}` under `products` or `groups`"),
                    };
                    self.sources
                        .error(place, format!("there is no group `{group}`"), fix);
                }
            }
        }
        for found in self.hosts.values_mut() {
            found.groups.extend(found.entry.groups.iter().map(String::as_str));
        }
    }

    fn join(&mut self, group: &'a str, name: &str, place: Place) {
        match self.hosts.get_mut(name) {
            Some(found) => {
                found.groups.insert(group);
            }
            None => {
                let fix = match diagnostic::nearest(name, self.hosts.keys().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("add `{name}` under `hosts`"),
                };
                self.sources
                    .error(place, format!("there is no host `{name}`"), fix);
            }
        }
    }

    fn group(&self, name: &str) -> Option<(&'static str, &'a GroupEntry)> {
        let product = self.file.products.get(name).map(|group| ("products", group));
        product.or_else(|| self.file.groups.get(name).map(|group| ("groups", group)))
    }

    fn fleet(mut self) -> Fleet {
        let names: Vec<String> = self.hosts.keys().cloned().collect();
        let hosts = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.host(&name)?)))
            .collect();
        let fleet = Fleet {
            name: self.file.name.clone(),
            hosts,
            accepted: self.file.accept.clone(),
            package_keys: self.file.package_keys.clone(),
        };
        let places = self
            .hosts
            .iter()
            .map(|(name, found)| (name.clone(), found.place.clone()))
            .collect();
        refuse_shared_agents(self.sources, &fleet, &places, self.file.products.keys());
        fleet
    }

    fn host(&mut self, name: &str) -> Option<Host> {
        let Found { entry, groups, .. } = self.hosts.get(name)?;
        let (entry, groups) = (*entry, groups.clone());
        let defaults = &self.file.defaults;
        let mut variables = defaults.vars.clone();
        variables.extend(self.group_variables(name, entry, &groups));
        variables.extend(entry.vars.clone());
        let address = entry.address.clone().unwrap_or_else(|| name.to_owned());
        variables
            .entry("address".to_owned())
            .or_insert_with(|| names::split_user(&address).1.into());
        let mut labels = defaults.labels.clone();
        labels.extend(entry.labels.clone());
        Some(Host {
            groups: groups.into_iter().map(str::to_owned).collect(),
            roles: entry.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            labels,
            variables,
            withheld: BTreeMap::new(),
            transport: transport(address, entry.transport.as_ref(), defaults.transport.as_ref()),
            state_directory: entry
                .state_directory
                .clone()
                .or_else(|| defaults.state_directory.clone()),
            sudo: entry.sudo.unwrap_or(defaults.sudo),
        })
    }

    /// The variables of a host's groups. Two groups must not disagree, unless the host itself decides.
    fn group_variables(
        &mut self,
        name: &str,
        entry: &HostEntry,
        groups: &BTreeSet<&'a str>,
    ) -> BTreeMap<String, serde_json::Value> {
        let mut variables: BTreeMap<&String, (&serde_json::Value, &str)> = BTreeMap::new();
        for group in groups {
            let Some((section, found)) = self.group(group) else {
                continue;
            };
            for (key, value) in &found.vars {
                let Some((other, first)) = variables.insert(key, (value, group)) else {
                    continue;
                };
                if other != value && !entry.vars.contains_key(key) {
                    let place = self.place(&[section, group, "vars", key]);
                    let message =
                        format!("`{name}` is in `{first}` and in `{group}`, which differ in `{key}`");
                    let fix = format!("set `{key}` under `vars` of the host `{name}`, or in one group only");
                    self.sources.error(place, message, fix);
                }
            }
        }
        variables
            .into_iter()
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect()
    }
}

fn transport(address: String, own: Option<&TransportEntry>, default: Option<&TransportEntry>) -> Transport {
    match own.or(default) {
        Some(TransportEntry::Local) => Transport::Local,
        Some(TransportEntry::Command(arguments)) => Transport::Command(arguments.clone()),
        None => ssh(address, &SshEntry::default(), None),
        Some(TransportEntry::Ssh(entry)) => {
            let default = match default {
                Some(TransportEntry::Ssh(default)) => Some(default),
                _ => None,
            };
            ssh(address, entry, default)
        }
    }
}

fn ssh(host: String, own: &SshEntry, default: Option<&SshEntry>) -> Transport {
    let nothing = SshEntry::default();
    let default = default.unwrap_or(&nothing);
    let (user, host) = names::split_user(&host);
    Transport::Ssh(SshTransport {
        host: host.to_owned(),
        port: own.port.or(default.port),
        user: (own.user.clone())
            .or_else(|| user.map(str::to_owned))
            .or_else(|| default.user.clone()),
        key_file: own.key_file.clone().or_else(|| default.key_file.clone()),
        arguments: own
            .arguments
            .clone()
            .or_else(|| default.arguments.clone())
            .unwrap_or_default(),
    })
}
