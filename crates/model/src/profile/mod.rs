//! Product profiles: everything Upshift knows about one product, as data.
//!
//! The types hold the shape of a profile file; [`parse`] reads one and reports every mistake of its shape at once with its
//! place in the text; [`lint`] finds what is well-formed and still wrong. docs/profiles.md tells how to write one.

mod clients;
mod lint;
mod paths;
mod rules;
mod shipped;
mod types;
mod verbs;

pub use clients::*;
pub use paths::*;
pub use rules::*;
pub use shipped::shipped;
pub use types::*;
pub use verbs::*;

use std::collections::BTreeSet;

use crate::diagnostic::{self, Diagnostic};

/// Reads a profile.
///
/// # Errors
/// Every mistake of its shape, in the order of the text: unknown and missing keys, wrong types, unknown words, keys that
/// stand twice. What is well-formed and still wrong is found by [`lint`].
pub fn parse(file_name: &str, text: &str) -> Result<Profile, Vec<Diagnostic>> {
    diagnostic::read(file_name, text)
}

/// Everything that is wrong with a profile: the mistakes of its shape or, where it has none, those of its meaning, in the
/// order of the text. Warnings are among them; see [`Diagnostic::severity`].
pub fn lint(file_name: &str, text: &str) -> Vec<Diagnostic> {
    let mistakes = match diagnostic::read_with_tree::<Profile>(text) {
        Ok((profile, tree)) => lint::lint(&profile, &tree, text),
        Err(mistakes) => mistakes,
    };
    diagnostic::diagnostics(file_name, text, mistakes)
}

/// The risk of a rolling upgrade that leaves too few servers, which any profile's operators may take.
pub const OUTAGE: &str = "capacity";

/// The risk of clients that are too old for the new servers, which operators of any profile with a rule for clients may take.
pub const LAG: &str = "client-lag";

/// Begins the names of the risks of single clients: `client:NAME` leaves one client out, whatever version it runs or does not say.
pub const CLIENT: &str = "client:";

impl Profile {
    /// Whether an operator may take something upon themselves: one of [`Profile::risks`], or one client by its name.
    pub fn calls_acceptable(&self, name: &str) -> bool {
        let has_clients = self.skew.clients.is_some() || self.clients.is_some() || self.clients_of.is_some();
        let client = name.strip_prefix(CLIENT).is_some_and(|client| !client.is_empty());
        self.risks().contains(name) || (client && has_clients)
    }

    /// Names of what an operator may take upon themselves: checks, blocked ways and conditions that are called acceptable,
    /// [`OUTAGE`], and [`LAG`] where there is a rule for clients.
    pub fn risks(&self) -> BTreeSet<&str> {
        let checks = self.checks.iter().filter(|check| check.acceptable);
        let blocked = self.blocked.iter().filter(|blocked| blocked.acceptable);
        let conditions = self.paths.iter().flat_map(|path| &path.when);
        checks
            .map(|check| check.name.as_str())
            .chain(blocked.map(|blocked| blocked.name.as_str()))
            .chain(conditions.filter_map(|condition| condition.risk.as_deref()))
            .chain([OUTAGE])
            .chain(self.skew.clients.is_some().then_some(LAG))
            .collect()
    }
}

/// The JSON Schema of profile files, for editors; docs/schema/profile.json is a copy.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Profile).to_value();
    without_links(&mut schema);
    schema
}

/// Descriptions come from doc comments, whose links mean nothing to an editor.
fn without_links(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::String(text) => *text = text.replace("[`", "`").replace("`]", "`"),
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_links),
        serde_json::Value::Object(entries) => entries.values_mut().for_each(without_links),
        _ => {}
    }
}
