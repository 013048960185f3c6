//! Why a check cannot be told: what it reads on a server and that is not there.

use crate::checks::hosts;
use crate::judge::Needed;
use crate::refusal::{Reason, Refusals};
use crate::survey::{Server, Survey};

/// The causes on one server, each noted once whatever depends on it. None where everything that the text reads was observed.
pub(super) fn of(
    survey: &Survey<'_>,
    text: &str,
    server: &Server<'_>,
    refusals: &mut Refusals,
) -> Vec<Reason> {
    let mut causes = places(survey, text, server, refusals);
    if causes.is_empty() {
        causes = probes(text, server, refusals);
    }
    causes
}

/// Places that were not found. Probes that use them fail for no other reason.
fn places(survey: &Survey<'_>, text: &str, server: &Server<'_>, refusals: &mut Refusals) -> Vec<Reason> {
    let needed = Needed::by(text);
    let probes = survey.profile.probes.iter();
    let asked: Vec<String> = probes
        .filter(|(name, _)| needed.sees(name))
        .filter_map(|(_, probe)| serde_json::to_string(probe).ok())
        .collect();
    let texts = || asked.iter().map(String::as_str).chain([text]);
    let missing = survey
        .profile
        .places
        .iter()
        .filter(|(name, _)| !server.facts.places.contains_key(*name))
        .filter(|(name, _)| texts().any(|text| names_place(text, name)));
    missing
        .map(|(name, place)| hosts::missing_place(name, place, server, refusals))
        .collect()
}

/// Whether a text has `places.NAME`.
fn names_place(text: &str, name: &str) -> bool {
    text.match_indices("places.").any(|(at, word)| {
        let rest = &text[at + word.len()..];
        rest.strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// Probes that failed, whose command failed, or whose server answered with an error.
fn probes(text: &str, server: &Server<'_>, refusals: &mut Refusals) -> Vec<Reason> {
    let needed = Needed::by(text);
    let seen = server.facts.probes.iter();
    let mut failures: Vec<String> = seen
        .filter(|(name, _)| needed.sees(name))
        .filter_map(|(name, value)| failure(name, value))
        .collect();
    failures.sort();
    failures.dedup();
    failures
        .into_iter()
        .map(|reason| {
            refusals.note_unknown(
                "probe-failed",
                Some(server.name),
                format!("cannot be observed: {reason}"),
                "mend that first, then check again".to_owned(),
                None,
            )
        })
        .collect()
}

/// What went wrong with a probe, in one line.
fn failure(name: &str, value: &serde_json::Value) -> Option<String> {
    if let Some(reason) = value.get("error").and_then(|error| error.as_str()) {
        return Some(reason.to_owned());
    }
    if let Some(exit) = value.get("exit").and_then(serde_json::Value::as_i64) {
        let said = value.get("stderr").and_then(|said| said.as_str()).unwrap_or("");
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        return (exit != 0).then(|| match last {
            Some(last) => format!("the command of the probe `{name}` ended with status {exit}: {last}"),
            None => format!("the command of the probe `{name}` ended with status {exit}"),
        });
    }
    let status = value.get("status").and_then(serde_json::Value::as_u64)?;
    (status >= 400).then(|| format!("the server answered the probe `{name}` with HTTP status {status}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_is_not_taken_for_another_whose_name_begins_alike() {
        assert!(names_place("{{ places.ca }}/x", "ca"));
        assert!(!names_place("places.ca_file", "ca"));
        assert!(names_place("places.ca_file + places.ca", "ca"));
    }

    #[test]
    fn a_failure_is_told_in_one_line() {
        for (value, expected) in [
            (json!({"error": "timed out"}), Some("timed out")),
            (
                json!({"exit": 1, "value": null, "stderr": "{\"level\":\"warn\"}\nError: deadline\n"}),
                Some("the command of the probe `p` ended with status 1: Error: deadline"),
            ),
            (json!({"exit": 0, "value": 1}), None),
            (
                json!({"status": 503, "value": null}),
                Some("the server answered the probe `p` with HTTP status 503"),
            ),
            (json!({"status": 200, "value": {}}), None),
            (json!({"exists": false}), None),
        ] {
            assert_eq!(failure("p", &value).as_deref(), expected, "{value}");
        }
    }
}
