//! Inventories and variable files in YAML.

use serde_json::{Map, Value};

use super::{Content, Inventory, Mention, Variable, Variables, scalar};
use crate::diagnostic::{self, Entry, Kind, Node};
use crate::fleet::names;
use crate::fleet::report::{SourceId, Sources};
use crate::fleet::secrets::VAULT_MARK;

/// Tags that Ansible gives a meaning.
const TAGS: [&str; 2] = ["!vault", "!unsafe"];

const GROUP_KEYS: [&str; 3] = ["hosts", "children", "vars"];

/// Reads an inventory in YAML, or what `ansible-inventory --list` prints. What is wrong is noted in `sources`; `None` where
/// nothing can be made of it.
pub(super) fn read(
    sources: &mut Sources,
    source: SourceId,
    text: &str,
    inventory: &mut Inventory,
) -> Option<()> {
    let tree = tree(sources, source, text)?;
    if let Some(plugin) = tree.entries().iter().find(|entry| entry.key == "plugin") {
        sources.error(
            source.at(plugin.key_range.clone()),
            "this inventory is made by a plugin of Ansible",
            "run `ansible-inventory --list --yaml` and give Upshift what it prints",
        );
        return None;
    }
    let Kind::Map(entries) = &tree.kind else {
        let fix = "write groups as keys, as in `all:`, and `hosts:` below them";
        sources.error(
            source.at(tree.range.clone()),
            "an inventory is a mapping of groups",
            fix,
        );
        return None;
    };
    let mut reader = Reader {
        sources,
        source,
        inventory,
        listed: tree.get("_meta").is_some(),
    };
    for entry in entries {
        match entry.key.as_str() {
            "_meta" => reader.host_variables(&entry.value),
            name => reader.group(name, &entry.value, 0),
        }
    }
    Some(())
}

/// Reads a file of `group_vars` or `host_vars`; `None` where nothing can be made of it.
pub(super) fn read_variables(sources: &mut Sources, source: SourceId, text: &str) -> Option<Variables> {
    let says_something = |line: &str| !line.is_empty() && !line.starts_with('#') && !is_marker(line);
    if !text.lines().map(str::trim).any(says_something) {
        return Some(Variables::new());
    }
    let tree = tree(sources, source, text)?;
    match &tree.kind {
        Kind::Map(_) => Some(variables(source, &tree)),
        _ if tree.is_null() => Some(Variables::new()),
        _ => {
            let fix = "write `key: value` lines";
            sources.error(
                source.at(tree.range.clone()),
                "a file of variables is a mapping",
                fix,
            );
            None
        }
    }
}

/// The line that begins or ends a document, with or without a comment.
fn is_marker(line: &str) -> bool {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    rest.is_some_and(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with('#'))
}

fn tree(sources: &mut Sources, source: SourceId, text: &str) -> Option<Node> {
    let mut mistakes = Vec::new();
    let tree = diagnostic::read_tree(text, &TAGS, &mut mistakes);
    let sound = mistakes.is_empty();
    sources.mistakes(source, mistakes);
    tree.filter(|_| sound).map(merged)
}

/// The tree with its merge keys (`<<`) resolved: what a mapping says itself counts, then the mappings that it merges, the
/// last of several before the earlier ones, as Ansible has it.
fn merged(node: Node) -> Node {
    let kind = match node.kind {
        Kind::List(items) => Kind::List(items.into_iter().map(merged).collect()),
        Kind::Map(entries) => {
            let (merges, mut own): (Vec<Entry>, Vec<Entry>) = entries
                .into_iter()
                .map(|entry| Entry {
                    value: merged(entry.value),
                    ..entry
                })
                .partition(|entry| {
                    entry.key == "<<" && matches!(entry.value.kind, Kind::Map(_) | Kind::List(_))
                });
            for merge in merges {
                let more = match merge.value.kind {
                    Kind::Map(entries) => entries,
                    Kind::List(items) => items.iter().rev().flat_map(Node::entries).cloned().collect(),
                    Kind::Scalar { .. } => Vec::new(),
                };
                for entry in more {
                    if own.iter().all(|known| known.key != entry.key) {
                        own.push(entry);
                    }
                }
            }
            Kind::Map(own)
        }
        scalar => scalar,
    };
    Node { kind, ..node }
}

#[derive(Clone, Copy)]
enum Listed {
    Hosts,
    Children,
}

/// No inventory that somebody writes has groups nested deeper.
const DEEPEST: usize = 64;

struct Reader<'s> {
    sources: &'s mut Sources,
    source: SourceId,
    inventory: &'s mut Inventory,
    /// Whether this is what `ansible-inventory --list` prints: groups have lists of hosts and of children, and the variables
    /// of all hosts stand under `_meta`.
    listed: bool,
}

impl Reader<'_> {
    /// `_meta: { hostvars: { … } }`
    fn host_variables(&mut self, meta: &Node) {
        for entry in meta.get("hostvars").map_or(&[][..], Node::entries) {
            let found = Mention {
                port: None,
                variables: variables(self.source, &entry.value),
            };
            // In no group but the one that holds all hosts, until a group lists it.
            self.inventory.add_host("all", &entry.key, &found);
        }
    }

    /// An element of a list of hosts or of children.
    fn listed(&mut self, group: &str, items: &[Node], kind: Listed) {
        for item in items {
            let Some(name) = item.text() else {
                self.error(item, "this is not a name", "write a text");
                continue;
            };
            let place = self.source.at(item.range.clone());
            match kind {
                Listed::Children => {
                    self.inventory.group(name);
                    self.inventory
                        .group(group)
                        .children
                        .insert(name.to_owned(), place);
                }
                Listed::Hosts => {
                    let found = Mention {
                        port: None,
                        variables: Variables::new(),
                    };
                    self.inventory.add_host(group, name, &found);
                }
            }
        }
    }

    fn error(&mut self, node: &Node, message: &str, fix: &str) {
        self.sources
            .error(self.source.at(node.range.clone()), message, fix);
    }

    fn group(&mut self, name: &str, node: &Node, depth: usize) {
        self.inventory.group(name);
        if node.is_null() {
            return;
        }
        let Kind::Map(entries) = &node.kind else {
            return self.error(
                node,
                "a group is a mapping",
                "write `hosts:`, `children:` or `vars:` below it",
            );
        };
        if depth > DEEPEST {
            return self.error(
                node,
                "groups are nested too deeply",
                "name the group at the top level instead",
            );
        }
        for entry in entries {
            match entry.key.as_str() {
                _ if entry.value.is_null() && GROUP_KEYS.contains(&entry.key.as_str()) => {}
                "hosts" => self.hosts(name, &entry.value),
                "children" => self.children(name, &entry.value, depth),
                "vars" => self.vars(name, &entry.value),
                _ => self.unknown_key(entry),
            }
        }
    }

    fn unknown_key(&mut self, entry: &Entry) {
        let fix = match diagnostic::nearest(&entry.key, GROUP_KEYS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "a group has `hosts`, `children` and `vars`; put groups below `children` and variables below `vars`".to_owned(),
        };
        let place = self.source.at(entry.key_range.clone());
        self.sources
            .error(place, format!("unknown key `{}` in a group", entry.key), fix);
    }

    fn vars(&mut self, name: &str, node: &Node) {
        let Kind::Map(_) = &node.kind else {
            return self.error(
                node,
                "variables are a mapping",
                "write `key: value` lines below `vars:`",
            );
        };
        let found = variables(self.source, node);
        self.inventory.group(name).variables.extend(found);
    }

    fn children(&mut self, name: &str, node: &Node, depth: usize) {
        match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    let place = self.source.at(entry.key_range.clone());
                    self.inventory
                        .group(name)
                        .children
                        .insert(entry.key.clone(), place);
                    self.group(&entry.key, &entry.value, depth + 1);
                }
            }
            Kind::List(items) if self.listed => self.listed(name, items, Listed::Children),
            Kind::Scalar { text, .. } => {
                let place = self.source.at(node.range.clone());
                self.inventory.group(text);
                self.inventory.group(name).children.insert(text.clone(), place);
            }
            Kind::List(_) => self.error(
                node,
                "children are a mapping of groups",
                "write each group as a key: `web:` instead of `- web`",
            ),
        }
    }

    fn hosts(&mut self, group: &str, node: &Node) {
        match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    self.host(group, entry);
                }
            }
            Kind::Scalar { text, .. } => self.add(group, text, node, &Variables::new()),
            Kind::List(items) if self.listed => self.listed(group, items, Listed::Hosts),
            Kind::List(_) => self.error(
                node,
                "hosts are a mapping",
                "write each host as a key: `node1:` instead of `- node1`",
            ),
        }
    }

    fn host(&mut self, group: &str, entry: &Entry) {
        let found = match &entry.value.kind {
            Kind::Map(_) => variables(self.source, &entry.value),
            _ if entry.value.is_null() => Variables::new(),
            _ => {
                let fix = "write its variables below it: `ansible_host: 10.0.0.1`";
                return self.error(&entry.value, "a host's variables are a mapping", fix);
            }
        };
        let key = Node {
            range: entry.key_range.clone(),
            ..entry.value.clone()
        };
        self.add(group, &entry.key, &key, &found);
    }

    fn add(&mut self, group: &str, pattern: &str, written: &Node, variables: &Variables) {
        let (pattern, port) = names::split_port(pattern);
        let names = match names::expand(pattern) {
            Ok(names) => names,
            Err(error) => return self.error(written, &error.message, &error.fix),
        };
        let place = self.source.at(written.range.clone());
        let found = Mention {
            port: port.map(|port| Variable {
                content: Content::Plain(scalar::value(port)),
                place: place.clone(),
            }),
            variables: variables.clone(),
        };
        for name in names {
            self.inventory.add_host(group, &name, &found);
        }
    }
}

/// The variables that a mapping sets.
fn variables(source: SourceId, node: &Node) -> Variables {
    let variables = node.entries().iter().map(|entry| {
        let place = source.at(entry.key_range.start..entry.value.range.end.max(entry.key_range.end));
        let content = value(&entry.value).map_or(Content::Encrypted, Content::Plain);
        (entry.key.clone(), Variable { content, place })
    });
    variables.collect()
}

/// The value of a node as Ansible reads it; `None` where some of it is encrypted.
fn value(node: &Node) -> Option<Value> {
    match &node.kind {
        Kind::List(items) => items.iter().map(value).collect::<Option<_>>().map(Value::Array),
        // As `ansible-inventory` prints values that are encrypted, or that are no templates.
        Kind::Map(entries) if matches!(entries.as_slice(), [only] if only.key == "__ansible_vault") => None,
        Kind::Map(entries) if matches!(entries.as_slice(), [only] if only.key == "__ansible_unsafe") => {
            entries.first().and_then(|only| value(&only.value))
        }
        Kind::Map(entries) => {
            let entries = entries
                .iter()
                .map(|entry| Some((entry.key.clone(), value(&entry.value)?)));
            entries.collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        Kind::Scalar { text, .. } if text.trim_start().starts_with(VAULT_MARK) => None,
        Kind::Scalar { text, plain: true } => Some(scalar::value(text)),
        Kind::Scalar { text, plain: false } => Some(Value::String(text.clone())),
    }
}
