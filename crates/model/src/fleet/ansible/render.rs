//! Jinja expressions in variables, as far as they need nothing but other variables.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::template;

/// Variables after their expressions have been computed.
pub(super) struct Rendered {
    pub values: BTreeMap<String, Value>,
    /// Variables that could not be computed.
    pub open: BTreeSet<String>,
}

/// Computes what can be computed: a value may use other variables, which may do so in turn, and the names that Ansible adds
/// for every host. A lookup, or a variable that is not there, leaves the value open.
pub(super) fn render(name: &str, groups: &BTreeSet<String>, variables: BTreeMap<String, Value>) -> Rendered {
    let (mut open, plain): (BTreeMap<_, _>, BTreeMap<_, _>) = variables
        .into_iter()
        .partition(|(_, value)| has_expression(value));
    let short = name.split('.').next().unwrap_or(name);
    let groups: Vec<Value> = groups.iter().map(|group| Value::String(group.clone())).collect();
    let mut known: Map<String, Value> = plain.into_iter().collect();
    let magic = [
        ("inventory_hostname", Value::String(name.to_owned())),
        ("inventory_hostname_short", Value::String(short.to_owned())),
        ("group_names", Value::Array(groups)),
    ];
    for (key, value) in &magic {
        known.insert((*key).to_owned(), value.clone());
    }
    // Every round computes at least one variable or is the last one.
    loop {
        let context = Value::Object(known);
        let computed: Vec<(String, Value)> = open
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), template::render(value, &context).ok()?)))
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

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{") || text.contains("{%"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(entries) => entries.values().any(has_expression),
        _ => false,
    }
}
