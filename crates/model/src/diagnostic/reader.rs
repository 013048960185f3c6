//! Reads a tree beside the JSON Schema of the type that it shall become.

use regex::Regex;
use serde_json::{Map, Value};

use super::tree::{Entry, Kind, Node};
use super::{Mistake, instead};

/// Walks a tree and the schema of its type together; see [`Reader::read`].
pub(super) struct Reader<'a> {
    root: &'a Value,
    text: &'a str,
    mistakes: &'a mut Vec<Mistake>,
}

/// One way to write an externally tagged enum.
struct Variant<'a> {
    name: &'a str,
    description: &'a str,
    /// The schema of what stands under the name; nothing does where absent.
    content: Option<&'a Value>,
}

impl<'a> Reader<'a> {
    pub fn new(root: &'a Value, text: &'a str, mistakes: &'a mut Vec<Mistake>) -> Self {
        Reader { root, text, mistakes }
    }

    /// The tree as JSON. Mistakes are noted, and what is mistaken becomes null; the rest is read on.
    pub fn read(&mut self, node: &Node) -> Value {
        self.value(self.root, node)
    }

    fn value(&mut self, schema: &'a Value, node: &Node) -> Value {
        let schema = self.resolve(schema);
        if let Some(variants) = self.variants(schema) {
            return self.choice(&variants, node);
        }
        match kind_of(schema) {
            Some("object") => self.object(schema, node),
            Some("array") => self.list(schema, node),
            Some("string") => self.string(schema, node),
            Some("integer" | "number") => self.number(schema, node),
            Some("boolean") => self.boolean(node),
            _ => untyped(node),
        }
    }

    /// Follows references, and drops the null of an optional value: a key that has no value is a mistake, not an absent key.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(schema, |target| self.resolve(target));
        }
        let real = schema["anyOf"]
            .as_array()
            .map(|options| options.iter().filter(|one| one["type"] != "null"));
        match real.map(|mut real| (real.next(), real.next())) {
            Some((Some(only), None)) => self.resolve(only),
            _ => schema,
        }
    }

    /// The ways to write an enum, where the schema is one.
    fn variants(&self, schema: &'a Value) -> Option<Vec<Variant<'a>>> {
        if let Some(names) = schema["enum"].as_array() {
            let variant = |name: &'a Value| {
                Some(Variant {
                    name: name.as_str()?,
                    description: "",
                    content: None,
                })
            };
            return names.iter().map(variant).collect();
        }
        let mut variants = Vec::new();
        for one in schema["oneOf"].as_array()? {
            let description = one["description"].as_str().unwrap_or_default();
            if let Some(name) = one["const"].as_str() {
                variants.push(Variant {
                    name,
                    description,
                    content: None,
                });
            } else if let Some(names) = one["enum"].as_array() {
                let name = |name: &'a Value| {
                    Some(Variant {
                        name: name.as_str()?,
                        description,
                        content: None,
                    })
                };
                variants.extend(names.iter().filter_map(name));
            } else {
                let (name, content) = one["properties"].as_object()?.iter().next()?;
                variants.push(Variant {
                    name,
                    description,
                    content: Some(content),
                });
            }
        }
        Some(variants)
    }

    fn choice(&mut self, variants: &[Variant<'a>], node: &Node) -> Value {
        match &node.kind {
            Kind::Scalar { .. } if node.is_null() => self.missing_value(node),
            Kind::Scalar { text, .. } => match variants.iter().find(|variant| variant.name == text) {
                Some(Variant { content: None, .. }) => Value::String(text.clone()),
                Some(_) => self.mistake(
                    node,
                    format!("`{text}` needs a value"),
                    format!("write `{text}: …`"),
                ),
                None => self.unknown_choice(variants, node, text),
            },
            Kind::Map(entries) => self.choice_with_content(variants, node, entries),
            Kind::List(_) => {
                let names = list(variants.iter().map(|variant| variant.name));
                self.mistake(
                    node,
                    "one value is expected here, not a list".to_owned(),
                    format!("write one of {names}"),
                )
            }
        }
    }

    fn choice_with_content(&mut self, variants: &[Variant<'a>], node: &Node, entries: &[Entry]) -> Value {
        let Some(entry) = entries.first() else {
            let names = list(variants.iter().map(|variant| variant.name));
            return self.mistake(
                node,
                "nothing is chosen here".to_owned(),
                format!("write one of {names}"),
            );
        };
        for more in &entries[1..] {
            let message = format!(
                "`{}` stands beside `{}`; only one may be chosen",
                more.key, entry.key
            );
            let fix = match variants.iter().any(|variant| variant.name == more.key) {
                true => "write each in an entry of its own",
                false => "a key that belongs to the choice is indented deeper",
            };
            self.mistakes
                .push(Mistake::error(more.key_range.clone(), message, fix));
        }
        let key = Node {
            range: entry.key_range.clone(),
            kind: Kind::Scalar {
                text: entry.key.clone(),
                plain: true,
            },
        };
        match variants.iter().find(|variant| variant.name == entry.key) {
            Some(Variant {
                content: Some(content),
                ..
            }) => {
                let content = self.value(content, &entry.value);
                Value::Object(Map::from_iter([(entry.key.clone(), content)]))
            }
            Some(Variant { name, .. }) => self.mistake(
                &key,
                format!("`{name}` takes no value"),
                format!("write `{name}` alone"),
            ),
            None => self.unknown_choice(variants, &key, &entry.key),
        }
    }

    fn unknown_choice(&mut self, variants: &[Variant<'a>], node: &Node, text: &str) -> Value {
        let fix = instead(text, variants.iter().map(|variant| variant.name));
        let meant = super::nearest(text, variants.iter().map(|variant| variant.name));
        let hint = variants
            .iter()
            .find(|variant| Some(variant.name) == meant)
            .map(|variant| sentence(variant.description));
        let fix = match hint {
            Some(hint) if !hint.is_empty() => format!("{fix} ({hint})"),
            _ => fix,
        };
        self.mistake(
            node,
            format!("`{text}` is none of the values that may stand here"),
            fix,
        )
    }

    fn object(&mut self, schema: &'a Value, node: &Node) -> Value {
        let Kind::Map(entries) = &node.kind else {
            return self.wrong_type(
                node,
                "keys with values",
                "write `key: value` lines, indented below this key",
            );
        };
        match schema["properties"].as_object() {
            Some(properties) => self.fields(schema, properties, node, entries),
            None => self.map(schema, entries),
        }
    }

    fn fields(
        &mut self,
        schema: &'a Value,
        properties: &'a Map<String, Value>,
        node: &Node,
        entries: &[Entry],
    ) -> Value {
        let mut fields = Map::new();
        for entry in entries {
            match properties.get(&entry.key) {
                Some(property) => {
                    fields.insert(entry.key.clone(), self.value(property, &entry.value));
                }
                None => {
                    let free = properties
                        .keys()
                        .map(String::as_str)
                        .filter(|name| entries.iter().all(|entry| entry.key != *name));
                    let known = properties.keys().map(String::as_str);
                    let fix = match super::nearest(&entry.key, free) {
                        Some(name) => format!("did you mean `{name}`?"),
                        None => format!("the keys known here are {}", list(known)),
                    };
                    self.mistakes.push(Mistake::error(
                        entry.key_range.clone(),
                        format!("unknown key `{}`", entry.key),
                        fix,
                    ));
                }
            }
        }
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !fields.contains_key(name) {
                let meaning = sentence(properties[name]["description"].as_str().unwrap_or_default());
                let at = entries
                    .first()
                    .map_or(node.range.clone(), |first| first.key_range.clone());
                let fix = format!(
                    "add `{name}: …`{}{meaning}",
                    if meaning.is_empty() { "" } else { ": " }
                );
                self.mistakes.push(Mistake::error(
                    at,
                    format!("the key `{name}` is missing here"),
                    fix,
                ));
            }
        }
        Value::Object(fields)
    }

    /// A mapping whose keys are free, or free within a set or a pattern.
    fn map(&mut self, schema: &'a Value, entries: &[Entry]) -> Value {
        let names = self.variants(self.resolve(&schema["propertyNames"]));
        let patterned = schema["patternProperties"]
            .as_object()
            .and_then(|patterns| patterns.iter().next());
        let mut fields = Map::new();
        for entry in entries {
            let unknown = match (&names, patterned) {
                (Some(names), _) => (!names.iter().any(|name| name.name == entry.key))
                    .then(|| instead(&entry.key, names.iter().map(|name| name.name))),
                (None, Some((pattern, _))) => {
                    (!matches(pattern, &entry.key)).then(|| "write a number".to_owned())
                }
                (None, None) => None,
            };
            if let Some(fix) = unknown {
                let message = format!("`{}` may not be a key here", entry.key);
                self.mistakes
                    .push(Mistake::error(entry.key_range.clone(), message, fix));
                continue;
            }
            let content = patterned.map_or(&schema["additionalProperties"], |(_, content)| content);
            fields.insert(entry.key.clone(), self.value(content, &entry.value));
        }
        Value::Object(fields)
    }

    fn list(&mut self, schema: &'a Value, node: &Node) -> Value {
        match &node.kind {
            Kind::List(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.value(&schema["items"], item))
                    .collect(),
            ),
            _ => self.wrong_type(
                node,
                "a list",
                "write each element on a line of its own, with `- ` before it",
            ),
        }
    }

    fn string(&mut self, schema: &Value, node: &Node) -> Value {
        let Kind::Scalar { text, .. } = &node.kind else {
            let template = self.text[node.range.clone()].starts_with("{{");
            let fix = if template {
                "a text that begins with `{{` must stand in quotes"
            } else {
                "write one text"
            };
            return self.wrong_type(node, "a text", fix);
        };
        if node.is_null() {
            return self.missing_value(node);
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && !matches(pattern, text)
        {
            let what = schema["title"].as_str().unwrap_or("value").to_lowercase();
            let fix = schema["description"].as_str().unwrap_or(pattern).to_owned();
            return self.mistake(node, format!("`{text}` is not a {what}"), fix);
        }
        Value::String(text.clone())
    }

    fn number(&mut self, schema: &Value, node: &Node) -> Value {
        let whole = kind_of(schema) == Some("integer");
        let value = match &node.kind {
            Kind::Scalar { text, plain: true } => {
                serde_json::from_str::<Value>(text).ok().filter(Value::is_number)
            }
            _ => None,
        };
        let Some(value) = value.filter(|value| !whole || value.is_i64() || value.is_u64()) else {
            return self.wrong_type(
                node,
                if whole { "a whole number" } else { "a number" },
                "write digits, without quotes",
            );
        };
        let (least, most) = limits(schema);
        if value
            .as_f64()
            .is_some_and(|number| number < least || number > most)
        {
            return self.mistake(
                node,
                format!("{value} is out of range"),
                format!("write a number from {least} to {most}"),
            );
        }
        value
    }

    fn boolean(&mut self, node: &Node) -> Value {
        let fix = match &node.kind {
            Kind::Scalar { text, plain: true } => match text.as_str() {
                "true" => return Value::Bool(true),
                "false" => return Value::Bool(false),
                text if ["yes", "on", "y", "true"].contains(&text.to_lowercase().as_str()) => "write `true`",
                text if ["no", "off", "n", "false"].contains(&text.to_lowercase().as_str()) => {
                    "write `false`"
                }
                _ => "write `true` or `false`",
            },
            _ => "write `true` or `false`, without quotes",
        };
        self.wrong_type(node, "`true` or `false`", fix)
    }

    fn mistake(&mut self, node: &Node, message: String, fix: String) -> Value {
        self.mistakes
            .push(Mistake::error(node.range.clone(), message, fix));
        Value::Null
    }

    fn missing_value(&mut self, node: &Node) -> Value {
        self.mistake(
            node,
            "this key has no value".to_owned(),
            "write one, or leave the key out".to_owned(),
        )
    }

    fn wrong_type(&mut self, node: &Node, expected: &str, fix: &str) -> Value {
        if node.is_null() {
            return self.missing_value(node);
        }
        let found = match &node.kind {
            Kind::Scalar { text, plain } => {
                let quote = if *plain { "`" } else { "\"" };
                format!("{quote}{text}{quote}")
            }
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping of keys".to_owned(),
        };
        self.mistake(
            node,
            format!("expected {expected}, found {found}"),
            fix.to_owned(),
        )
    }
}

/// The one type of a schema, null aside.
fn kind_of(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null"),
        _ => None,
    }
}

/// The least and the greatest number that a schema allows.
fn limits(schema: &Value) -> (f64, f64) {
    let (least, most) = match schema["format"].as_str() {
        Some("uint8") => (0.0, f64::from(u8::MAX)),
        Some("uint16") => (0.0, f64::from(u16::MAX)),
        Some("uint32") => (0.0, f64::from(u32::MAX)),
        Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
        Some("uint" | "uint64") => (0.0, u64::MAX as f64),
        _ => (f64::MIN, f64::MAX),
    };
    let at = |key: &str, otherwise: f64| schema[key].as_f64().unwrap_or(otherwise);
    (at("minimum", least).max(least), at("maximum", most).min(most))
}

/// A value of which nothing is known, read by YAML's own rules.
fn untyped(node: &Node) -> Value {
    match &node.kind {
        Kind::List(items) => Value::Array(items.iter().map(untyped).collect()),
        Kind::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), untyped(&entry.value)))
            .collect(),
        Kind::Scalar { .. } if node.is_null() => Value::Null,
        Kind::Scalar { text, plain: true } => match serde_json::from_str(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
            _ => Value::String(text.clone()),
        },
        Kind::Scalar { text, .. } => Value::String(text.clone()),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// The first sentence of a description.
fn sentence(description: &str) -> String {
    let line = description
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .replace('\n', " ");
    let end = line.find(". ").unwrap_or(line.len());
    line[..end].trim_end_matches('.').to_owned()
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
