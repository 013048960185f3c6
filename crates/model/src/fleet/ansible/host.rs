//! From a host's variables to a host of the fleet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::connection;
use super::render::{self, Rendered};
use super::{Content, Variables};
use crate::diagnostic;
use crate::fleet::names;
use crate::fleet::report::{Place, Sources};
use crate::fleet::secrets::is_ansible_password;
use crate::fleet::{Host, Role, Transport, UnusableTransport};

const ENCRYPTED: &str = "encrypted with ansible-vault";
const PASSWORD: &str = "a password";
const PRIVATE_KEY: &str = "a private key";
const OPEN: &str = "a Jinja expression that only Ansible can compute";

/// Variables that hold a private key itself, the strongest first.
pub(super) const PRIVATE_KEYS: [&str; 2] = ["ansible_ssh_private_key", "ansible_private_key"];

/// Variables that hold the address, the strongest first.
pub(super) const HOST: [&str; 2] = ["ansible_ssh_host", "ansible_host"];

/// Variables that Upshift gives a meaning.
const OWN_VARIABLES: [&str; 6] = [
    "upshift_command",
    "upshift_fleet",
    "upshift_labels",
    "upshift_roles",
    "upshift_state_directory",
    "upshift_sudo",
];

/// A host's variables, ready to be asked for.
pub(super) struct Settings<'s> {
    pub sources: &'s mut Sources,
    values: BTreeMap<String, Value>,
    withheld: BTreeMap<String, String>,
    places: BTreeMap<String, Place>,
    /// Why the host cannot be reached, the first reason found.
    unusable: Option<UnusableTransport>,
}

/// Reads a host from all its variables. What is wrong is noted in `sources`.
pub(super) fn read(
    sources: &mut Sources,
    name: &str,
    groups: BTreeSet<String>,
    variables: Variables,
) -> Host {
    let mut settings = Settings::new(sources, name, &groups, variables);
    settings.refuse_unknown_names();
    let mut transport = connection::transport(&mut settings, name);
    let sudo = connection::sudo(&mut settings);
    let roles = settings.roles();
    let labels = settings.labels();
    let state_directory = settings.state_directory();
    let address = settings.text(&HOST).unwrap_or_else(|| name.to_owned());
    let address = names::split_user(&address).1.to_owned();
    let Settings {
        mut values,
        withheld,
        unusable,
        ..
    } = settings;
    if let Some(unusable) = unusable {
        transport = Transport::Unusable(unusable);
    }
    values.retain(|key, _| !OWN_VARIABLES.contains(&key.as_str()) && key != "ansible_group_priority");
    values
        .entry("address".to_owned())
        .or_insert(Value::String(address));
    Host {
        groups,
        roles,
        labels,
        variables: values,
        withheld,
        transport,
        state_directory,
        sudo,
    }
}

impl<'s> Settings<'s> {
    fn new(sources: &'s mut Sources, name: &str, groups: &BTreeSet<String>, variables: Variables) -> Self {
        let mut plain = BTreeMap::new();
        let mut withheld = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (key, variable) in variables {
            match variable.content {
                Content::Encrypted => {
                    withheld.insert(key.clone(), ENCRYPTED.to_owned());
                }
                Content::Plain(_) if is_ansible_password(&key) => {
                    withheld.insert(key.clone(), PASSWORD.to_owned());
                }
                Content::Plain(_) if PRIVATE_KEYS.contains(&key.as_str()) => {
                    withheld.insert(key.clone(), PRIVATE_KEY.to_owned());
                }
                Content::Plain(value) => {
                    plain.insert(key.clone(), value);
                }
            }
            places.insert(key, variable.place);
        }
        let names = render::Names {
            host: name,
            groups,
            withheld: &withheld,
            // The path of a file stands for all the names in it.
            sealed: withheld.keys().any(|key| key.contains('/')),
        };
        let Rendered { values, open } = render::render(&names, plain);
        withheld.extend(open.into_iter().map(|key| (key, OPEN.to_owned())));
        Settings {
            sources,
            values,
            withheld,
            places,
            unusable: None,
        }
    }

    /// Whether a variable is set to anything, readable or not.
    pub fn is_set(&self, key: &str) -> bool {
        self.withheld.contains_key(key) || self.values.get(key).is_some_and(|value| !value.is_null())
    }

    pub fn error(&mut self, key: &str, message: impl Into<String>, fix: impl Into<String>) {
        let place = self
            .places
            .get(key)
            .cloned()
            .unwrap_or_else(|| self.sources.main(0..0));
        self.sources.error(place, message, fix);
    }

    /// Notes that the host cannot be reached. Only where it is needed does that matter.
    pub fn unusable(&mut self, key: &str, reason: impl Into<String>, remedy: &str) {
        if self.unusable.is_none() {
            let place = self
                .places
                .get(key)
                .map(|place| self.sources.name_and_line(place));
            let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
            let reason = reason.into() + &place;
            self.unusable = Some(UnusableTransport {
                reason,
                remedy: remedy.to_owned(),
            });
        }
    }

    /// The first of several names that is set, with its value. Where one is set but withheld, going on without it could reach
    /// another host than the one that is meant; Ansible goes to no host of which one of them cannot be computed, either.
    pub fn value(&mut self, keys: &[&'static str]) -> Option<(&'static str, Value)> {
        let withheld = keys.iter().find_map(|key| Some((*key, self.withheld.get(*key)?)));
        if let Some((key, reason)) = withheld {
            let reason = format!("`{key}` is {reason}, and Upshift needs it");
            let remedy = "write its value in the open, or set what it stands for in your ssh configuration";
            self.unusable(key, reason, remedy);
            return None;
        }
        for key in keys {
            match self.values.get(*key) {
                None | Some(Value::Null) => {}
                Some(value) => return Some((key, value.clone())),
            }
        }
        None
    }

    /// The text of the first of several names that is set; numbers are texts, too.
    pub fn text(&mut self, keys: &[&'static str]) -> Option<String> {
        match self.value(keys)? {
            (_, Value::String(text)) => Some(text),
            (_, Value::Number(number)) => Some(number.to_string()),
            (key, _) => {
                self.error(key, format!("`{key}` must be a text"), "write one value");
                None
            }
        }
    }

    /// A switch, as Ansible reads them.
    pub fn switch(&mut self, keys: &[&'static str]) -> Option<bool> {
        let (key, value) = self.value(keys)?;
        let text = match value {
            Value::Bool(value) => return Some(value),
            Value::String(text) => text.to_lowercase(),
            other => other.to_string(),
        };
        match text.trim() {
            "yes" | "on" | "1" | "true" | "t" | "y" | "1.0" => Some(true),
            "no" | "off" | "0" | "false" | "f" | "n" | "0.0" | "" => Some(false),
            _ => {
                self.error(
                    key,
                    format!("`{key}` must be true or false"),
                    "write `true` or `false`",
                );
                None
            }
        }
    }

    fn refuse_unknown_names(&mut self) {
        let unknown: Vec<String> = (self.places.keys())
            .filter(|key| key.starts_with("upshift_") && !OWN_VARIABLES.contains(&key.as_str()))
            .cloned()
            .collect();
        for key in unknown {
            let fix = match diagnostic::nearest(&key, OWN_VARIABLES) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("Upshift knows {}", OWN_VARIABLES.join(", ")),
            };
            self.error(&key, format!("unknown variable `{key}`"), fix);
        }
    }

    fn roles(&mut self) -> BTreeSet<String> {
        let texts: Vec<String> = match self.value(&["upshift_roles"]) {
            None => return BTreeSet::new(),
            Some((_, Value::String(text))) => text
                .split(',')
                .map(|role| role.trim().to_owned())
                .filter(|role| !role.is_empty())
                .collect(),
            Some((_, Value::Array(items))) => items.iter().map(plain_text).collect(),
            Some((_, other)) => vec![plain_text(&other)],
        };
        let known = Role::ALL.map(Role::as_str);
        for role in texts.iter().filter(|role| !known.contains(&role.as_str())) {
            let fix = diagnostic::instead(role, known.into_iter());
            self.error("upshift_roles", format!("`{role}` is not a role"), fix);
        }
        texts.into_iter().collect()
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        match self.value(&["upshift_labels"]) {
            None => BTreeMap::new(),
            Some((_, Value::Object(labels))) => labels
                .iter()
                .map(|(key, value)| (key.clone(), plain_text(value)))
                .collect(),
            Some(_) => {
                let fix = "write `upshift_labels: { rack: a }`, or in INI upshift_labels=\"{'rack': 'a'}\"";
                self.error("upshift_labels", "labels are a mapping", fix);
                BTreeMap::new()
            }
        }
    }

    fn state_directory(&mut self) -> Option<String> {
        let directory = self.text(&["upshift_state_directory"])?;
        if !directory.starts_with('/') || directory.split('/').any(|name| name == "..") {
            let fix = "write a path that begins with `/` and has no `..`";
            self.error(
                "upshift_state_directory",
                "the state directory must be an absolute path",
                fix,
            );
        }
        Some(directory)
    }
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
