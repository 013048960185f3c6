//! Why no way leads from one version to another, and what to do about it.

use upshift_model::profile::BlockedEdge;
use upshift_model::version::Version;

use super::graph::{Rule, Rules};
use super::outline::{self, OutlineHop};
use super::{applies_to, conditions_hold, risked};
use crate::judge::{About, Judge};
use crate::packages;
use crate::refusal::{Refusals, how_to_accept};
use crate::survey::Survey;

/// Says why there is no way from `from` to `to` with what is at hand.
pub(super) fn no_way(
    survey: &Survey<'_>,
    rules: &Rules<'_>,
    judge: &mut Judge<'_, '_>,
    from: &Version,
    to: &Version,
    refusals: &mut Refusals,
) {
    let direct: Vec<&Rule<'_>> = rules
        .edges
        .iter()
        .filter(|rule| rule.from.contains(from) && rule.to.contains(to))
        .collect();
    let troubles = troubles(survey, judge, rules, &direct, from, to);
    for blocked in &troubles {
        refuse_blocked(survey, judge, blocked, from, to, refusals);
    }
    if !troubles.is_empty() {
        return;
    }
    let failed = direct
        .iter()
        .filter(|rule| refuse_conditions(survey, judge, rule, from, to, refusals))
        .count();
    let mut allowed = |edge: &_, a: &Version, b: &Version| {
        // Packages that are not at hand cannot be judged; their conditions are looked at once they are.
        !packages::has_package(survey, b.as_str()) || conditions_hold(survey, judge, edge, a, b)
    };
    match outline::between(survey.profile, rules, from, to, &mut allowed) {
        Some(hops) => refuse_missing(survey, &hops, from, to, refusals),
        None if failed == 0 => {
            // No edge leads there, and the profile may say why.
            let reasons = reasons_for_no_edge(survey, judge, from, to);
            for blocked in &reasons {
                refuse_blocked(survey, judge, blocked, from, to, refusals);
            }
            if reasons.is_empty() {
                refuse_unknown(survey, rules, from, to, refusals);
            }
        }
        None => {}
    }
}

/// The known troubles that stand on the target, or on the direct way to it.
fn troubles<'a>(
    survey: &Survey<'a>,
    judge: &mut Judge<'_, '_>,
    rules: &Rules<'_>,
    direct: &[&Rule<'_>],
    from: &Version,
    to: &Version,
) -> Vec<&'a BlockedEdge> {
    let into: Vec<&Rule<'_>> = rules.edges.iter().filter(|rule| rule.to.contains(to)).collect();
    let blocks = &survey.profile.blocked;
    blocks
        .iter()
        .filter(|blocked| {
            // What is about the target alone stands on every way that leads to it.
            let edges = if blocked.from.is_none() { &into[..] } else { direct };
            edges
                .iter()
                .any(|rule| applies_to(survey, judge, blocked, Some(rule.edge.strategy), from, to))
        })
        .collect()
}

/// The known troubles that say why nothing leads from one version to another, whatever the strategy.
fn reasons_for_no_edge<'a>(
    survey: &Survey<'a>,
    judge: &mut Judge<'_, '_>,
    from: &Version,
    to: &Version,
) -> Vec<&'a BlockedEdge> {
    let blocks = &survey.profile.blocked;
    blocks
        .iter()
        .filter(|blocked| applies_to(survey, judge, blocked, None, from, to))
        .collect()
}

fn refuse_blocked(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    blocked: &BlockedEdge,
    from: &Version,
    to: &Version,
    refusals: &mut Refusals,
) {
    let title = &survey.profile.title;
    let what = match blocked.from {
        None => format!("{title} {to} must not be reached"),
        Some(_) => format!("{title} must not go from {from} to {to}"),
    };
    let remedy = match &blocked.fixed_in {
        Some(version) => format!("ask for {version} or newer, which has it mended"),
        None => "ask for another version; none is known to have it mended".to_owned(),
    };
    let remedy = match blocked.acceptable {
        true => format!("{remedy}; {}", how_to_accept(&blocked.name)),
        false => remedy,
    };
    let message = format!("{what} ({}): {}", blocked.name, blocked.reason);
    let link = blocked.source.link.clone();
    match doubt(survey, judge, blocked, from, to) {
        None => refusals.add_linked("blocked", message, remedy, link),
        Some(error) => {
            let message = format!("{message}. Whether that is so here cannot be told: {error}");
            refusals.note_unknown("blocked", None, message, remedy, link);
        }
    }
}

/// Why it cannot be told whether a known trouble is there; nothing where it is seen to be on some server.
fn doubt(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    blocked: &BlockedEdge,
    from: &Version,
    to: &Version,
) -> Option<String> {
    let about = About {
        from: from.as_str(),
        to: to.as_str(),
    };
    let mut doubt = None;
    for server in &survey.servers {
        let verdicts: Vec<_> = blocked
            .when
            .iter()
            .map(|when| judge.server(when, server, about))
            .collect();
        if verdicts.iter().all(|verdict| *verdict == Ok(true)) {
            return None;
        }
        if !verdicts.contains(&Ok(false)) {
            doubt = doubt.or_else(|| verdicts.into_iter().find_map(Result::err));
        }
    }
    doubt
}

/// The conditions of a way that do not hold, and where; whether there are any.
fn refuse_conditions(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    rule: &Rule<'_>,
    from: &Version,
    to: &Version,
    refusals: &mut Refusals,
) -> bool {
    let about = About {
        from: from.as_str(),
        to: to.as_str(),
    };
    let word = crate::show::strategy_word(rule.edge.strategy);
    let mut any = false;
    for server in survey.servers.iter().filter(|server| server.version <= *from) {
        for condition in &rule.edge.when {
            let (known, reason) = match judge.server(&condition.expect, server, about) {
                Ok(true) => continue,
                Ok(false) => (true, judge.message(&condition.message, server, about)),
                Err(error) => (false, error),
            };
            let mut remedy = "meet the condition, or choose a version that another way leads to".to_owned();
            if let Some(risk) = &condition.risk {
                if risked(survey, condition) {
                    continue;
                }
                remedy = format!("{remedy}; {}", how_to_accept(risk));
            }
            any = true;
            let (host, link) = (Some(server.name), rule.edge.source.link.clone());
            if known {
                let message = format!("the {word} way from {from} to {to} is not open: {reason}");
                refusals.note("condition", host, message, remedy, link);
            } else {
                let message =
                    format!("whether the {word} way from {from} to {to} is open cannot be told: {reason}");
                refusals.note_unknown("condition", host, message, remedy, link);
            }
        }
    }
    any
}

/// There is a way, but not with the packages at hand.
fn refuse_missing(
    survey: &Survey<'_>,
    hops: &[OutlineHop],
    from: &Version,
    to: &Version,
    refusals: &mut Refusals,
) {
    let words: Vec<String> = hops.iter().map(OutlineHop::words).collect();
    let fetches = survey.profile.fetches_releases;
    let is_known =
        |version: &str| packages::has_package(survey, version) || (fetches && version == to.as_str());
    let missing: Vec<&str> = hops
        .iter()
        .zip(&words)
        .filter(|(hop, _)| hop.or_newer || !is_known(&hop.lowest))
        .map(|(_, words)| words.as_str())
        .collect();
    let count = crate::show::count(hops.len(), "hop");
    let known = if fetches { "named" } else { "at hand" };
    refusals.add(
        "missing-package",
        format!(
            "{} goes from {from} to {to} in {count}, by way of {}; not every release that this takes is {known}",
            survey.profile.title,
            words.join(" → ")
        ),
        match fetches {
            false => format!("fetch a package of each of these, and give them with `--packages`: {}", missing.join(", ")),
            true => format!("name the version that you want of each of these with `--via`: {}", missing.join(", ")),
        },
    );
}

/// The profile knows no way at all.
fn refuse_unknown(
    survey: &Survey<'_>,
    rules: &Rules<'_>,
    from: &Version,
    to: &Version,
    refusals: &mut Refusals,
) {
    let title = &survey.profile.title;
    let out = rules.edges.iter().any(|rule| rule.from.contains(from));
    let into = rules.edges.iter().any(|rule| rule.to.contains(to));
    let (message, ranges) = match (out, into) {
        (false, _) => {
            let ranges = listed(rules.edges.iter().map(|rule| rule.edge.from.as_str()));
            (
                format!("no known way leads out of {title} {from}"),
                format!("ways lead out of {ranges}: get there as the vendor's documentation says"),
            )
        }
        (true, false) => {
            let ranges = listed(rules.edges.iter().map(|rule| rule.edge.to.as_str()));
            (
                format!("no known way leads to {title} {to}"),
                format!("ways lead to {ranges}: choose one of these versions"),
            )
        }
        (true, true) => {
            let next = rules.edges.iter().filter(|rule| rule.from.contains(from));
            let ranges = listed(next.map(|rule| rule.edge.to.as_str()));
            let message = format!("no known way leads from {title} {from} to {to}");
            (
                message,
                format!("from {from} ways lead to {ranges}: choose one of these versions"),
            )
        }
    };
    refusals.add(
        "no-path",
        format!("{message}; what is not known to work is not tried"),
        format!("{ranges}, or ask the vendor and add the path to the profile with its source"),
    );
}

/// Each text once, in the order of the profile.
fn listed<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for text in texts {
        if !unique.contains(&text) {
            unique.push(text);
        }
    }
    unique.join(", ")
}
