//! Expressions over facts: conditions of paths, checks, rules for clients.
//!
//! A fleet of ten thousand servers has few servers that differ in what an expression looks at, so each expression is computed
//! once per distinct input.

mod needed;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use upshift_model::expr::{Expression, Scope};
use upshift_model::template;

pub(crate) use needed::Needed;

use crate::packages;
use crate::survey::{Server, Survey};

/// The names of a server's facts that an expression may use, beside `from` and `to`.
const NAMES: [&str; 9] = [
    "node", "name", "places", "variant", "target", "probes", "host", "version", "leader",
];

/// Which way an expression is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'x> {
    pub from: &'x str,
    pub to: &'x str,
}

/// What an expression says of a server; the text says why it could not be computed.
pub(crate) type Verdict = Result<bool, String>;

/// Computes expressions over facts.
pub(crate) struct Judge<'s, 'a> {
    survey: &'s Survey<'a>,
    expressions: BTreeMap<String, Result<(Expression, Vec<String>), String>>,
    verdicts: BTreeMap<(String, String), Verdict>,
}

impl<'s, 'a> Judge<'s, 'a> {
    pub fn new(survey: &'s Survey<'a>) -> Self {
        Judge {
            survey,
            expressions: BTreeMap::new(),
            verdicts: BTreeMap::new(),
        }
    }

    /// What an expression says of one server.
    pub fn server(&mut self, text: &str, server: &Server<'_>, about: About<'_>) -> Verdict {
        let (_, names) = self.expression(text)?;
        let names = names.clone();
        let facts = self.facts(server, about, |name| names.iter().any(|used| used == name));
        self.judge(text, facts)
    }

    /// What an expression says of the whole cluster, of which it sees `nodes`, `from` and `to`.
    pub fn cluster(&mut self, text: &str, about: About<'_>) -> Verdict {
        let names = Value::Object(self.cluster_names(text, about));
        let scheme = self.survey.scheme();
        let (expression, _) = self.expression(text)?;
        expression
            .holds(&Scope::from_value(scheme, names))
            .map_err(|error| error.to_string())
    }

    /// What an expression says of names that the caller gives.
    pub fn judge(&mut self, text: &str, names: Map<String, Value>) -> Verdict {
        let names = Value::Object(names);
        let key = (text.to_owned(), names.to_string());
        if let Some(verdict) = self.verdicts.get(&key) {
            return verdict.clone();
        }
        let scheme = self.survey.scheme();
        let (expression, _) = self.expression(text)?;
        let verdict = expression
            .holds(&Scope::from_value(scheme, names))
            .map_err(|error| error.to_string());
        self.verdicts.insert(key, verdict.clone());
        verdict
    }

    /// The value of an expression over names that the caller gives.
    pub fn value(&mut self, text: &str, names: Map<String, Value>) -> Result<Value, String> {
        let scheme = self.survey.scheme();
        let (expression, _) = self.expression(text)?;
        expression
            .value(&Scope::from_value(scheme, Value::Object(names)))
            .map_err(|error| error.to_string())
    }

    /// A message about one server, with its templates filled in.
    pub fn message(&self, text: &str, server: &Server<'_>, about: About<'_>) -> String {
        self.fill(text, || self.facts(server, about, |_| true))
    }

    /// A message about the whole cluster.
    pub fn cluster_message(&self, text: &str, about: About<'_>) -> String {
        self.fill(text, || self.cluster_names(text, about))
    }

    fn fill(&self, text: &str, names: impl FnOnce() -> Map<String, Value>) -> String {
        if !text.contains("{{") && !text.contains("{%") {
            return text.to_owned();
        }
        // A message that cannot be filled in is still better than none.
        template::render_text(text, &Value::Object(names())).unwrap_or_else(|_| text.to_owned())
    }

    fn expression(&mut self, text: &str) -> Result<&(Expression, Vec<String>), String> {
        let entry = self.expressions.entry(text.to_owned()).or_insert_with(|| {
            let expression = Expression::parse(text).map_err(|error| error.to_string())?;
            let names = expression.references();
            Ok((expression, names))
        });
        entry.as_ref().map_err(Clone::clone)
    }

    /// What a text about the whole cluster may use. Of each server only what the text mentions: for ten thousand servers the rest would
    /// be most of the memory that planning takes.
    fn cluster_names(&self, text: &str, about: About<'_>) -> Map<String, Value> {
        let wanted = |name: &str| name == "name" || text.contains(name);
        let needed = Needed::by(text);
        let nodes: Vec<Value> = self
            .survey
            .servers
            .iter()
            .map(|server| {
                let mut facts = self.facts(server, about, wanted);
                if let Some(probes) = facts.get_mut("probes") {
                    needed.keep(probes);
                }
                Value::Object(facts)
            })
            .collect();
        let mut names = Map::new();
        names.insert("nodes".to_owned(), Value::Array(nodes));
        names.insert("from".to_owned(), json!(about.from));
        names.insert("to".to_owned(), json!(about.to));
        names
    }

    fn facts(
        &self,
        server: &Server<'_>,
        about: About<'_>,
        wanted: impl Fn(&str) -> bool,
    ) -> Map<String, Value> {
        let mut names = Map::new();
        for name in NAMES.into_iter().filter(|name| wanted(name)) {
            names.insert(name.to_owned(), self.fact(server, about, name));
        }
        names.insert("from".to_owned(), json!(about.from));
        names.insert("to".to_owned(), json!(about.to));
        names
    }

    fn fact(&self, server: &Server<'_>, about: About<'_>, name: &str) -> Value {
        match name {
            "node" => node(server),
            "name" => json!(server.name),
            "places" => json!(server.facts.places),
            "variant" => json!(server.facts.variant),
            "target" => self.target(server, about.to),
            "probes" => json!(server.facts.probes),
            "host" => json!(server.facts.host),
            "version" => json!(server.version.as_str()),
            "leader" => json!(server.facts.leader),
            _ => Value::Null,
        }
    }

    /// The named parts of the package that the server would get, and its size in bytes.
    fn target(&self, server: &Server<'_>, version: &str) -> Value {
        let package = packages::for_server(self.survey, version, server);
        let mut parts = json!(
            package
                .map(|artifact| artifact.variant.clone())
                .unwrap_or_default()
        );
        if let Value::Object(parts) = &mut parts {
            parts.insert("version".to_owned(), json!(version));
            if let Some(artifact) = package {
                parts.insert("size".to_owned(), json!(artifact.size));
            }
        }
        parts
    }
}

/// `node` of templates and expressions: the variables of the fleet, and the name.
pub(crate) fn node(server: &Server<'_>) -> Value {
    let mut node: Map<String, Value> = server
        .host
        .variables
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    node.insert("name".to_owned(), json!(server.name));
    Value::Object(node)
}
