//! Clients that would lag too far behind.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use upshift_model::profile::{ClientLag, LAG};

use crate::judge::{self, Judge};
use crate::layout::Leg;
use crate::refusal::{Refusals, how_to_accept};
use crate::survey::{Survey, group_of};

pub(super) fn check(
    survey: &Survey<'_>,
    legs: &[Leg<'_>],
    judge: &mut Judge<'_, '_>,
    refusals: &mut Refusals,
) {
    let Some(rule) = &survey.profile.skew.clients else {
        return;
    };
    for (version, hosts) in clients(survey, rule, judge, refusals) {
        // Once clients lag too far behind at one hop, they do at all later ones.
        let trouble = legs.iter().enumerate().find_map(|(position, leg)| {
            let (known, reason) = match judge.judge(&rule.expect, names(&version, leg.to.as_str())) {
                Ok(true) => return None,
                Ok(false) => (
                    true,
                    format!("clients of {version} do not work with servers of {}", leg.to),
                ),
                Err(error) => (
                    false,
                    format!(
                        "whether clients of {version} work with servers of {} cannot be told: {error}",
                        leg.to
                    ),
                ),
            };
            Some((position, known, reason))
        });
        let Some((position, known, message)) = trouble else {
            continue;
        };
        let remedy = match position.checked_sub(1).map(|before| &legs[before].to) {
            None => rule.remedy.clone(),
            Some(before) => format!(
                "{}; or upgrade to {before} first, then the clients, and go on from there",
                rule.remedy
            ),
        };
        let hosts: Vec<Option<&str>> = match hosts.is_empty() {
            true => vec![None],
            false => hosts.iter().map(|host| Some(host.as_str())).collect(),
        };
        // What is known may be taken upon oneself; what is not cannot.
        let remedy = match known {
            true => format!("{remedy}; {}", how_to_accept(LAG)),
            false => remedy,
        };
        for host in hosts {
            if known && refusals.accepts(LAG, host, &message) {
                continue;
            }
            refusals.note(
                LAG,
                host,
                message.clone(),
                remedy.clone(),
                rule.source.link.clone(),
            );
        }
    }
}

fn names(client: &str, server: &str) -> Map<String, Value> {
    let names = [("client", client), ("server", server)];
    names
        .map(|(name, version)| (name.to_owned(), version.into()))
        .into_iter()
        .collect()
}

/// The versions of the clients that are known, with the hosts of the fleet that run them.
fn clients(
    survey: &Survey<'_>,
    rule: &ClientLag,
    judge: &mut Judge<'_, '_>,
    refusals: &mut Refusals,
) -> BTreeMap<String, Vec<String>> {
    let mut clients: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let group = group_of(survey.profile);
    for (name, host) in &survey.fleet.hosts {
        if host.groups.contains(group) && host.roles.contains("client") && !host.roles.contains("server") {
            let version = survey
                .facts
                .nodes
                .get(name)
                .and_then(|facts| facts.version.clone());
            if let Some(version) = version {
                clients.entry(version).or_default().push(name.clone());
            }
        }
    }
    for version in observed(survey, rule, judge, refusals) {
        clients.entry(version).or_default();
    }
    clients
}

/// What one server says of the clients that are connected.
fn observed(
    survey: &Survey<'_>,
    rule: &ClientLag,
    judge: &mut Judge<'_, '_>,
    refusals: &mut Refusals,
) -> Vec<String> {
    let Some(observed) = &rule.observed else {
        return Vec::new();
    };
    let seen = survey
        .servers
        .iter()
        .find_map(|server| Some((server, server.facts.probes.get(&observed.probe)?)));
    let Some((server, value)) = seen else {
        return Vec::new();
    };
    let mut names = Map::new();
    names.insert("value".to_owned(), value.clone());
    names.insert("node".to_owned(), judge::node(server));
    names.insert("places".to_owned(), json!(server.facts.places));
    match judge.value(&observed.expression, names) {
        Ok(Value::Array(versions)) => versions
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Ok(other) => {
            cannot_tell(
                survey,
                &format!("it yields {other}, which is not a list"),
                refusals,
            );
            Vec::new()
        }
        Err(error) => {
            cannot_tell(survey, &error, refusals);
            Vec::new()
        }
    }
}

fn cannot_tell(survey: &Survey<'_>, reason: &str, refusals: &mut Refusals) {
    refusals.add(
        "client-lag",
        format!("the versions of the connected clients cannot be read: {reason}"),
        format!(
            "check `skew.clients.observed` in the profile of {}",
            survey.profile.title
        ),
    );
}
