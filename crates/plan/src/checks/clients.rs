//! Clients that would lag too far behind, or of which that is not known.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use upshift_model::profile::{CLIENT, LAG};

use crate::clients::known;
use crate::judge::Judge;
use crate::layout::Leg;
use crate::refusal::{Refusals, how_to_accept};
use crate::survey::Survey;

pub(super) fn check(
    survey: &Survey<'_>,
    legs: &[Leg<'_>],
    judge: &mut Judge<'_, '_>,
    refusals: &mut Refusals,
) {
    let Some(rule) = &survey.profile.skew.clients else {
        return;
    };
    let (clients, trouble) = known(survey, judge);
    if let Some(reason) = trouble {
        cannot_tell(survey, &reason, refusals);
    }
    let mut by_version: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
    for client in clients {
        match client.version {
            Some(version) => {
                by_version.entry(version).or_default().insert(client.name);
            }
            None => unknown(client.name.as_deref(), refusals),
        }
    }
    for (version, names) in by_version {
        let Some(trouble) = trouble_with(&version, &rule.expect, legs, judge) else {
            continue;
        };
        let mut remedy = match trouble.position.checked_sub(1).map(|before| &legs[before].to) {
            None => rule.remedy.clone(),
            Some(before) => format!(
                "{}; or upgrade to {before} first, then the clients, and go on from there",
                rule.remedy
            ),
        };
        // What is known may be taken upon oneself; what is not cannot.
        if trouble.known {
            remedy = format!("{remedy}; {}", how_to_accept(LAG));
        }
        if names.iter().any(Option::is_some) {
            remedy = format!("{remedy}; to leave one client out: {}", leave_out("NAME"));
        }
        for name in names {
            let name = name.as_deref();
            if is_left_out(name, &trouble.message, refusals)
                || (trouble.known && refusals.accepts(LAG, name, &trouble.message))
            {
                continue;
            }
            let (message, remedy) = (trouble.message.clone(), remedy.clone());
            refusals.note(LAG, name, message, remedy, rule.source.link.clone());
        }
    }
}

/// What is wrong with the clients of one version, at the first hop at which it is: once clients lag too far behind, they do at all later ones.
struct Trouble {
    position: usize,
    /// Whether that they do not work is known, or it cannot be told.
    known: bool,
    message: String,
}

fn trouble_with(version: &str, rule: &str, legs: &[Leg<'_>], judge: &mut Judge<'_, '_>) -> Option<Trouble> {
    legs.iter().enumerate().find_map(|(position, leg)| {
        let server = &leg.to;
        let (known, message) = match judge.judge(rule, names(version, server.as_str())) {
            Ok(true) => return None,
            Ok(false) => (
                true,
                format!("clients of {version} do not work with servers of {server}"),
            ),
            Err(error) => (
                false,
                format!("whether clients of {version} work with servers of {server} cannot be told: {error}"),
            ),
        };
        Some(Trouble {
            position,
            known,
            message,
        })
    })
}

/// A client of which no version is known may be any version.
fn unknown(name: Option<&str>, refusals: &mut Refusals) {
    let message = "which version this client runs is not known, nor whether it works with the new servers";
    if is_left_out(name, message, refusals) {
        return;
    }
    let remedy = format!(
        "find out which version it runs; to leave it out: {}",
        leave_out(name.unwrap_or("NAME"))
    );
    refusals.note_unknown(LAG, name, message.to_owned(), remedy, None);
}

/// Whether an operator has left this one client out.
fn is_left_out(name: Option<&str>, found: &str, refusals: &mut Refusals) -> bool {
    name.is_some_and(|name| refusals.accepts(&format!("{CLIENT}{name}"), Some(name), found))
}

fn leave_out(name: &str) -> String {
    format!("`upshift accept {CLIENT}{name} --reason \"…\"`")
}

fn names(client: &str, server: &str) -> Map<String, Value> {
    let names = [("client", client), ("server", server)];
    names
        .map(|(name, version)| (name.to_owned(), version.into()))
        .into_iter()
        .collect()
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
