//! The clients of a product: which there are, which version they must run, and in which order they get there.
//!
//! Clients keep their version when the servers are upgraded. They follow later, each straight to the version of the servers, whatever
//! it ran before; so clients of several versions are taken version by version, in a run of its own each.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};
use upshift_model::facts::Facts;
use upshift_model::fleet::{Acceptance, Fleet};
use upshift_model::profile::{CLIENT, ClientLag, Profile};
use upshift_model::version::Version;

use crate::judge::{self, Judge};
use crate::refusal::Refusals;
use crate::survey::{Survey, group_of};
use crate::types::{Refusal, Request};

/// A client of the servers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Client {
    /// Its name, as the servers say it or as the fleet has it. Some servers tell versions alone.
    pub name: Option<String>,
    /// The version that it runs; nothing where that is not known.
    pub version: Option<String>,
}

/// The clients that are known, sorted, each once; and why those that are connected cannot be told, where they cannot.
pub(crate) fn known(survey: &Survey<'_>, judge: &mut Judge<'_, '_>) -> (BTreeSet<Client>, Option<String>) {
    let Some(rule) = &survey.profile.skew.clients else {
        return (BTreeSet::new(), None);
    };
    let (mut clients, trouble) = match observed(survey, rule, judge) {
        Ok(seen) => (seen, None),
        Err(reason) => (BTreeSet::new(), Some(reason)),
    };
    for (name, _) in survey.fleet.clients(group_of(survey.profile)) {
        let facts = survey.facts.nodes.get(name);
        let version = facts.and_then(|facts| facts.version.clone());
        let seen = clients.iter().any(|client| client.name.as_ref() == Some(name));
        // Servers that say who is connected say so of all: a client of the fleet that is not among them is not connected.
        if !seen && (version.is_some() || rule.observed.is_none()) {
            clients.insert(Client {
                name: Some(name.clone()),
                version,
            });
        }
    }
    (clients, trouble)
}

/// What one server says of the clients that are connected.
fn observed(
    survey: &Survey<'_>,
    rule: &ClientLag,
    judge: &mut Judge<'_, '_>,
) -> Result<BTreeSet<Client>, String> {
    let Some(observed) = &rule.observed else {
        return Ok(BTreeSet::new());
    };
    let seen = survey
        .servers
        .iter()
        .find_map(|server| Some((server, server.facts.probes.get(&observed.probe)?)));
    let Some((server, value)) = seen else {
        return Ok(BTreeSet::new());
    };
    let mut names = Map::new();
    names.insert("value".to_owned(), value.clone());
    names.insert("node".to_owned(), judge::node(server));
    names.insert("places".to_owned(), json!(server.facts.places));
    match judge.value(&observed.expression, names)? {
        Value::Array(listed) => listed.iter().map(client).collect(),
        other => Err(format!("it yields {other}, which is not a list")),
    }
}

fn client(listed: &Value) -> Result<Client, String> {
    let text = |key: &str| listed.get(key).and_then(Value::as_str).map(str::to_owned);
    let (name, version) = match listed.as_str() {
        Some(version) => (None, Some(version.to_owned())),
        None => (text("name"), text("version")),
    };
    if name.is_none() && version.is_none() {
        return Err(format!(
            "it lists {listed}, which is neither a version nor a map with `name` and `version`"
        ));
    }
    Ok(Client { name, version })
}

/// The clients that are known, for people to see; the text says why those that are connected cannot be told.
///
/// # Errors
/// Where the servers do not say who is connected, with the reason.
pub fn clients(profile: &Profile, fleet: &Fleet, facts: &Facts) -> Result<Vec<Client>, String> {
    let request = Request::default();
    let mut aside = Refusals::default();
    let survey = Survey::take(profile, &fleet.name, fleet, facts, &request, &mut aside);
    let mut judge = Judge::new(&survey);
    match known(&survey, &mut judge) {
        (_, Some(reason)) => Err(reason),
        (clients, None) => Ok(clients.into_iter().collect()),
    }
}

/// The version that the clients must run to match the servers. Nothing where the profile has no upgrades of clients.
///
/// # Errors
/// The servers that cannot be asked; that they run several versions, or that their version cannot be told.
pub fn client_target(
    profile: &Profile,
    fleet: &Fleet,
    facts: &Facts,
) -> Result<Option<String>, Vec<Refusal>> {
    let Some(rule) = profile.clients.as_ref().map(|clients| &clients.version) else {
        return Ok(None);
    };
    let request = Request::default();
    let mut refusals = Refusals::default();
    let survey = Survey::take(profile, &fleet.name, fleet, facts, &request, &mut refusals);
    let mut judge = Judge::new(&survey);
    let mut versions: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for server in &survey.servers {
        let mut names = Map::new();
        let value = server.facts.probes.get(&rule.probe).cloned();
        names.insert("value".to_owned(), value.unwrap_or_default());
        names.insert("node".to_owned(), judge::node(server));
        names.insert("places".to_owned(), json!(server.facts.places));
        match judge.value(&rule.expression, names) {
            Ok(Value::String(version)) if !version.is_empty() => {
                versions.entry(version).or_default().push(server.name);
            }
            other => {
                let reason = other.map_or_else(|error| error, |value| format!("it yields {value}"));
                refusals.note_unknown(
                    "version-unknown",
                    Some(server.name),
                    format!("which version the clients must run cannot be told: {reason}"),
                    "see that the server answers, then again".to_owned(),
                    None,
                );
            }
        }
    }
    if versions.len() > 1 {
        let each: Vec<String> = versions
            .iter()
            .map(|(version, servers)| format!("{version} on {}", servers.join(", ")))
            .collect();
        refusals.add(
            "mixed-versions",
            format!(
                "the servers run several versions ({}), and clients follow them",
                each.join("; ")
            ),
            "bring all servers to one version first; see `upshift status`",
        );
    }
    match versions.into_keys().next() {
        Some(version) if refusals.is_empty() => Ok(Some(version)),
        _ => Err(refusals.into_sorted()),
    }
}

/// The clients that are still to be upgraded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRounds {
    /// Names of the hosts, version by version, the oldest first. Clients whose version is not known are in the first one, so that the
    /// planner refuses them by name.
    pub rounds: Vec<BTreeSet<String>>,
    /// Clients that an operator has left out by name, with the reason.
    pub left_out: Vec<(String, Acceptance)>,
}

/// Which clients are to be upgraded to `target`, in which order. `fleet` is that of the clients ([`Fleet::of_clients`]), `profile` their own.
pub fn client_rounds(
    profile: &Profile,
    fleet: &Fleet,
    facts: &Facts,
    target: &str,
    accepted: &[Acceptance],
) -> ClientRounds {
    let scheme = profile.versions.scheme;
    let target = Version::parse(scheme, target).ok();
    let mut found = ClientRounds::default();
    let mut unknown = BTreeSet::new();
    let mut by_version: BTreeMap<Version, BTreeSet<String>> = BTreeMap::new();
    for (name, _) in fleet.servers(group_of(profile)) {
        let left_out = |accepted: &&Acceptance| accepted.name.strip_prefix(CLIENT) == Some(name);
        if let Some(acceptance) = accepted.iter().find(left_out) {
            found.left_out.push((name.clone(), acceptance.clone()));
            continue;
        }
        let version = facts.nodes.get(name).and_then(|facts| facts.version.as_deref());
        match version.and_then(|version| Version::parse(scheme, version).ok()) {
            None => {
                unknown.insert(name.clone());
            }
            Some(version) if Some(&version) == target.as_ref() => {}
            Some(version) => {
                by_version.entry(version).or_default().insert(name.clone());
            }
        }
    }
    found.rounds = by_version.into_values().collect();
    match found.rounds.first_mut() {
        Some(first) => first.append(&mut unknown),
        None if unknown.is_empty() => {}
        None => found.rounds.push(unknown),
    }
    found
}
