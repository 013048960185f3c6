//! Jinja expressions in variables, as far as they need nothing but other variables.
//!
//! A variable that could not be computed is not one that is undefined: `default()` must not replace it. So a text is computed
//! only when every name in it is known, or is one that nothing could set.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::template;

/// Names that Ansible has for every host although no file sets them, besides all that begin with `ansible_`. What they hold is
/// known to Ansible alone.
const PROVIDED: [&str; 16] = [
    "environment",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "lookup",
    "now",
    "omit",
    "play_hosts",
    "playbook_dir",
    "q",
    "query",
    "role_name",
    "role_path",
    "undef",
    "vars",
];

/// Variables after their expressions have been computed.
pub(super) struct Rendered {
    pub values: BTreeMap<String, Value>,
    /// Variables that could not be computed.
    pub open: BTreeSet<String>,
}

/// What a host's variables are, besides their values.
pub(super) struct Names<'a> {
    /// The host.
    pub host: &'a str,
    /// Its groups.
    pub groups: &'a BTreeSet<String>,
    /// Variables that are set, and that Upshift cannot read: they are not undefined.
    pub withheld: &'a BTreeMap<String, String>,
    /// Whether a file of variables is encrypted as a whole. Then any name may be set in it, and none is undefined.
    pub sealed: bool,
}

/// Computes what can be computed: a value may use other variables, which may do so in turn, and the names that Ansible adds
/// for every host. A lookup, or a variable that is not there, leaves the value open.
pub(super) fn render(names: &Names<'_>, variables: BTreeMap<String, Value>) -> Rendered {
    let (mut open, plain): (BTreeMap<_, _>, BTreeMap<_, _>) = variables
        .into_iter()
        .partition(|(_, value)| has_expression(value));
    let short = names.host.split('.').next().unwrap_or(names.host);
    let groups: Vec<Value> = names
        .groups
        .iter()
        .map(|group| Value::String(group.clone()))
        .collect();
    let mut known: Map<String, Value> = plain.into_iter().collect();
    let magic = [
        ("inventory_hostname", Value::String(names.host.to_owned())),
        ("inventory_hostname_short", Value::String(short.to_owned())),
        ("group_names", Value::Array(groups)),
    ];
    for (key, value) in &magic {
        known.insert((*key).to_owned(), value.clone());
    }
    // Every round computes at least one variable or is the last one.
    loop {
        let context = Value::Object(known);
        let unknown = |name: &str| open.contains_key(name) || names.unknown(name);
        let computed: Vec<(String, Value)> = open
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), computed(value, &context, &unknown)?)))
            .collect();
        known = match context {
            Value::Object(known) => known,
            _ => Map::new(),
        };
        if computed.is_empty() {
            break;
        }
        for (key, value) in computed {
            open.remove(&key);
            known.insert(key, value);
        }
    }
    for (key, _) in &magic {
        known.remove(*key);
    }
    Rendered {
        values: known.into_iter().collect(),
        open: open.into_keys().collect(),
    }
}

impl Names<'_> {
    /// Whether a name that has no value here may still have one.
    fn unknown(&self, name: &str) -> bool {
        self.sealed
            || self.withheld.contains_key(name)
            || name.starts_with("ansible_")
            || PROVIDED.contains(&name)
    }
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(entries) => entries.values().any(has_expression),
        _ => false,
    }
}

/// A value with all its expressions computed; `None` where one of them needs what is not known.
fn computed(value: &Value, context: &Value, unknown: &dyn Fn(&str) -> bool) -> Option<Value> {
    match value {
        Value::String(text) if has_expression(value) => computed_text(text, context, unknown),
        Value::Array(items) => items
            .iter()
            .map(|item| computed(item, context, unknown))
            .collect::<Option<_>>()
            .map(Value::Array),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, entry)| Some((key.clone(), computed(entry, context, unknown)?)))
            .collect::<Option<_>>()
            .map(Value::Object),
        plain => Some(plain.clone()),
    }
}

fn computed_text(text: &str, context: &Value, unknown: &dyn Fn(&str) -> bool) -> Option<Value> {
    // Comments are no expressions; what Ansible's own empty values become is decided by Ansible.
    if text.contains("{#") || words(text).any(|word| ["none", "None", "omit"].contains(&word)) {
        return None;
    }
    let used = template::names(text).ok()?;
    let undecided = |name: &String| {
        let root = name.split(['.', '[']).next().unwrap_or(name);
        context.get(root).is_none() && unknown(root)
    };
    if used.iter().any(undecided) {
        return None;
    }
    // As in Ansible, an expression alone keeps the type of what it yields.
    if let Some(value) = alone(text).and_then(|name| at(context, name)) {
        return Some(value.clone());
    }
    // Python writes these values in another way, and so in what Ansible makes of the text.
    if used.iter().filter_map(|name| at(context, name)).any(is_foreign) {
        return None;
    }
    let written = template::render_text(text, context).ok()?;
    // A truth value that an expression yields stays one, in every version of Ansible.
    match (is_one_expression(text), written.as_str()) {
        (true, "True") => Some(Value::Bool(true)),
        (true, "False") => Some(Value::Bool(false)),
        _ => Some(Value::String(written)),
    }
}

/// Whether a text is one expression, with nothing beside it.
fn is_one_expression(text: &str) -> bool {
    let inside = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inside.is_some_and(|inside| ["{{", "}}", "{%"].iter().all(|mark| !inside.contains(mark)))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The name in `{{ name }}`, where nothing else stands in the text.
fn alone(text: &str) -> Option<&str> {
    let name = text.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    name.split('.').all(plain).then_some(name)
}

/// The value at a dotted name.
fn at<'v>(context: &'v Value, name: &str) -> Option<&'v Value> {
    name.split('.').try_fold(context, |value, part| value.get(part))
}

fn is_foreign(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Null => true,
        Value::Number(number) => !number.is_i64() && !number.is_u64(),
        Value::String(_) => false,
        Value::Array(items) => items.iter().any(is_foreign),
        Value::Object(entries) => entries.values().any(is_foreign),
    }
}
