//! Which variables of the fleet a plan uses.
//!
//! A plan is written to files, journals and tickets, and a fleet's variables may be anything, passwords included. So a plan holds
//! only those that its templates and expressions name.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// The variables of `node` and `balancer` that are named somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    names: BTreeSet<String>,
    /// Something looks at `node` as a whole, so that any may be used.
    whole: bool,
}

impl Used {
    /// Notes what a part of a plan uses.
    pub fn note<T: Serialize>(&mut self, part: &T) {
        match serde_json::to_value(part) {
            Ok(value) => self.walk(&value, false),
            // What cannot be looked at may use anything.
            Err(_) => self.whole = true,
        }
    }

    /// Whether a variable is used.
    pub fn has(&self, name: &str) -> bool {
        self.whole || self.names.contains(name)
    }

    fn walk(&mut self, value: &Value, expression: bool) {
        match value {
            Value::String(text) if expression => self.read(text),
            Value::String(text) => {
                for inside in templates(text) {
                    self.read(inside);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, expression)),
            Value::Object(members) => {
                for (name, value) in members {
                    self.walk(
                        value,
                        expression || matches!(name.as_str(), "expect" | "progress" | "bindings"),
                    );
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Reads an expression, or the inside of a template.
    fn read(&mut self, text: &str) {
        self.read_members(text, "node");
        self.read_members(text, "balancer");
    }

    fn read_members(&mut self, text: &str, owner: &str) {
        let in_name = |c: char| c.is_alphanumeric() || c == '_';
        for (at, _) in text.match_indices(owner) {
            let after = &text[at + owner.len()..];
            let part_of_word = text[..at].ends_with(|c| in_name(c) || c == '.') || after.starts_with(in_name);
            if part_of_word {
                continue;
            }
            let member = after.strip_prefix('.').unwrap_or_default();
            let end = member.find(|c| !in_name(c)).unwrap_or(member.len());
            let (name, rest) = member.split_at(end);
            if name.is_empty() || rest.starts_with('(') {
                self.whole = true;
            } else {
                self.names.insert(name.to_owned());
            }
        }
    }
}

/// The insides of the templates in a text.
fn templates(text: &str) -> impl Iterator<Item = &str> {
    let between = |open: &'static str, close: &'static str| {
        text.split(open)
            .skip(1)
            .map(move |piece| piece.split(close).next().unwrap_or_default())
    };
    between("{{", "}}").chain(between("{%", "%}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn used(part: Value) -> Used {
        let mut used = Used::default();
        used.note(&part);
        used
    }

    #[test]
    fn only_what_templates_and_expressions_name_is_used() {
        let used = used(json!({
            "title": "drain the node",
            "argv": ["--unit={{ node.unit | default('') }}", "{% if node.loud %}-v{% endif %}"],
            "proof": [{"expect": "value.node == 1 && node.rank > 2 && nodes.size() > 1"}],
        }));
        for name in ["unit", "loud", "rank"] {
            assert!(used.has(name), "{name}");
        }
        assert!(!used.has("password") && !used.has("size"));
    }

    #[test]
    fn who_looks_at_the_whole_may_use_anything() {
        for text in [
            "node['password']",
            "has(node) && true",
            "size(node) == 2",
            "node.all(n, true)",
        ] {
            assert!(used(json!({"expect": text})).has("password"), "{text}");
        }
    }
}
