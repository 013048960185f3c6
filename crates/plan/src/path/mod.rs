//! The legal way from the running versions to the target.

mod explain;
mod graph;
mod milder;
mod outline;

use upshift_model::profile::{PathEdge, Strategy};
use upshift_model::version::{Range, Version};

pub(crate) use milder::passed_over;
pub use outline::{OutlineHop, outline};

use crate::judge::{About, Judge, Verdict};
use crate::layout::Leg;
use crate::packages;
use crate::refusal::Refusals;
use crate::survey::Survey;
use graph::{Hop, Rules};

/// The hops from what runs to what was asked for, or nothing where reasons against it were found.
pub(crate) fn find<'a>(
    survey: &Survey<'a>,
    judge: &mut Judge<'_, 'a>,
    refusals: &mut Refusals,
) -> Option<Vec<Leg<'a>>> {
    let rules = Rules::read(survey.profile, refusals);
    let target = target(survey, refusals)?;
    let running: Vec<Version> = survey.running().into_iter().cloned().collect();
    let (oldest, others) = running.split_first()?;
    if running.iter().all(|version| version.precedence(&target).is_eq()) {
        refusals.add(
            "already-there",
            format!("all servers run {target} already"),
            "nothing needs to be done; ask for another version if that is not what you want",
        );
        return None;
    }
    if !ahead(survey, &target, refusals) || !side_by_side(survey, &running, judge, refusals) {
        return None;
    }
    let mut pins = pins(survey, oldest, &target, refusals)?;
    pins.extend(others.iter().cloned());
    pins.push(target.clone());
    pins.sort();
    pins.dedup();
    let known = known_versions(survey, &target);
    let mut hops = Vec::new();
    let mut at = oldest.clone();
    for pin in pins {
        let mut allowed =
            |edge: &PathEdge, from: &Version, to: &Version| conditions_hold(survey, judge, edge, from, to);
        match graph::shortest(&rules, &known, &at, &pin, &mut allowed) {
            Some(found) => hops.extend(found),
            None => {
                explain::no_way(survey, &rules, judge, &at, &pin, refusals);
                return None;
            }
        }
        at = pin;
    }
    Some(hops.into_iter().map(|hop| leg(survey, hop)).collect())
}

fn leg<'a>(survey: &Survey<'a>, hop: Hop<'a>) -> Leg<'a> {
    let takes_part = |version: &Version| version <= &hop.from;
    let servers = survey.servers.iter().filter(|server| takes_part(&server.version));
    Leg {
        servers: servers.map(|server| server.index).collect(),
        from: hop.from,
        to: hop.to,
        edge: hop.edge,
    }
}

fn target(survey: &Survey<'_>, refusals: &mut Refusals) -> Option<Version> {
    Version::parse(survey.scheme(), &survey.request.to)
        .map_err(|error| {
            let at_hand = survey
                .request
                .artifacts
                .iter()
                .map(|artifact| artifact.version.as_str());
            let running = survey.servers.iter().map(|server| server.version.as_str());
            let mut readable = at_hand
                .chain(running)
                .filter(|text| Version::parse(survey.scheme(), text).is_ok());
            let remedy = match readable.next() {
                Some(example) => format!("write the version as its package does, such as {example}"),
                None => "write the version as the vendor does".to_owned(),
            };
            refusals.add(
                "unknown-version",
                format!("the requested version cannot be read: {error}"),
                remedy,
            );
        })
        .ok()
}

/// The versions that hops may end at: of packages at hand, asked for by the operator, running, and the target.
fn known_versions(survey: &Survey<'_>, target: &Version) -> Vec<Version> {
    let at_hand = survey
        .request
        .artifacts
        .iter()
        .map(|artifact| artifact.version.as_str());
    let named = at_hand.chain(survey.request.via.iter().map(String::as_str));
    let parsed = named.filter_map(|text| Version::parse(survey.scheme(), text).ok());
    let running = survey.running().into_iter().cloned();
    let mut all: Vec<Version> = parsed.chain(running).chain([target.clone()]).collect();
    all.sort();
    all.dedup();
    all
}

/// Whether no server is ahead of the target.
fn ahead(survey: &Survey<'_>, target: &Version, refusals: &mut Refusals) -> bool {
    let mut fine = true;
    for server in &survey.servers {
        if server.version.precedence(target).is_gt() {
            fine = false;
            refusals.add_host(
                "downgrade",
                server.name,
                format!("the server runs {}, which is newer than {target}", server.version),
                "upgrades only lead to newer versions; `upshift rollback` takes a run back as long as it is not finalized",
            );
        }
    }
    fine
}

/// Whether the running versions may run side by side.
fn side_by_side(
    survey: &Survey<'_>,
    running: &[Version],
    judge: &mut Judge<'_, '_>,
    refusals: &mut Refusals,
) -> bool {
    let mut fine = true;
    for (position, a) in running.iter().enumerate() {
        for b in &running[position + 1..] {
            if let Err(reason) = may_mix(survey, judge, a, b) {
                fine = false;
                let names: Vec<&str> = survey
                    .servers
                    .iter()
                    .filter(|server| server.version == *a || server.version == *b)
                    .map(|server| server.name)
                    .collect();
                for name in names {
                    refusals.add_host(
                        "mixed-versions",
                        name,
                        format!("servers run {a} and {b} side by side, {reason}"),
                        format!("bring all servers to {b} (or back to {a}) first, as the vendor's documentation says"),
                    );
                }
            }
        }
    }
    fine
}

/// Whether the profile says that servers of two versions may run in one cluster; the text says why not.
pub(crate) fn may_mix(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    a: &Version,
    b: &Version,
) -> Result<(), String> {
    let Some(rule) = &survey.profile.skew.servers else {
        return Err(format!(
            "and the profile of {} does not say that they may",
            survey.profile.title
        ));
    };
    let mut verdict = |a: &Version, b: &Version| -> Verdict {
        let names = [("a", a), ("b", b)].map(|(name, version)| (name.to_owned(), version.as_str().into()));
        judge.judge(rule, names.into_iter().collect())
    };
    // The rule may be written for either order of the two.
    match (verdict(a, b), verdict(b, a)) {
        (Ok(true), _) | (_, Ok(true)) => Ok(()),
        (Err(error), _) | (_, Err(error)) => Err(format!("and whether they may cannot be told: {error}")),
        (Ok(false), Ok(false)) => Err(format!("which {} does not support", survey.profile.title)),
    }
}

/// The versions that the operator wants to go through.
fn pins(survey: &Survey<'_>, from: &Version, to: &Version, refusals: &mut Refusals) -> Option<Vec<Version>> {
    let mut pins = Vec::new();
    let mut fine = true;
    for text in &survey.request.via {
        match Version::parse(survey.scheme(), text) {
            Ok(version) if from < &version && &version < to => pins.push(version),
            Ok(version) => {
                fine = false;
                refusals.add(
                    "bad-via",
                    format!("the way from {from} to {to} cannot go through {version}, which does not lie between them"),
                    "leave it out, or name a version in between",
                );
            }
            Err(error) => {
                fine = false;
                let message = format!("the version to go through cannot be read: {error}");
                refusals.add(
                    "unknown-version",
                    message,
                    "write the version as its package does",
                );
            }
        }
    }
    fine.then_some(pins)
}

/// Whether the conditions of an edge hold on every server that would take it.
fn conditions_hold(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    edge: &PathEdge,
    from: &Version,
    to: &Version,
) -> bool {
    let about = About {
        from: from.as_str(),
        to: to.as_str(),
    };
    let open = survey
        .profile
        .blocked
        .iter()
        .all(|blocked| !applies_to(survey, judge, blocked, Some(edge.strategy), from, to));
    let servers = survey.servers.iter().filter(|server| server.version <= *from);
    open && servers.into_iter().all(|server| {
        edge.when.iter().all(|condition| {
            judge.server(&condition.expect, server, about) == Ok(true) || risked(survey, condition)
        })
    })
}

fn accepted(survey: &Survey<'_>, name: &str) -> bool {
    survey
        .request
        .accepted
        .iter()
        .any(|accepted| accepted.name == name)
}

/// Whether the operator takes a known trouble upon themselves.
fn taken(survey: &Survey<'_>, blocked: &upshift_model::profile::BlockedEdge) -> bool {
    blocked.acceptable && accepted(survey, &blocked.name)
}

/// Whether the operator takes it upon themselves that a condition does not hold.
fn risked(survey: &Survey<'_>, condition: &upshift_model::profile::Condition) -> bool {
    condition
        .risk
        .as_deref()
        .is_some_and(|name| accepted(survey, name))
}

/// Notes the risks that are taken on the way that was found.
pub(crate) fn note_risks(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    legs: &[Leg<'_>],
    refusals: &mut Refusals,
) {
    for leg in legs {
        let about = About {
            from: leg.from.as_str(),
            to: leg.to.as_str(),
        };
        for blocked in survey
            .profile
            .blocked
            .iter()
            .filter(|blocked| taken(survey, blocked))
        {
            let open = upshift_model::profile::BlockedEdge {
                acceptable: false,
                ..blocked.clone()
            };
            if applies_to(survey, judge, &open, Some(leg.edge.strategy), &leg.from, &leg.to) {
                refusals.accepts(&blocked.name, None, &blocked.reason);
            }
        }
        let servers = || survey.servers.iter().filter(|server| server.version <= leg.from);
        for condition in &leg.edge.when {
            let Some(name) = condition.risk.as_deref().filter(|name| accepted(survey, name)) else {
                continue;
            };
            for server in servers() {
                match judge.server(&condition.expect, server, about) {
                    Ok(true) => {}
                    Ok(false) => {
                        let found = judge.message(&condition.message, server, about);
                        refusals.accepts(name, Some(server.name), &found);
                    }
                    Err(error) => {
                        let found = format!("whether it holds cannot be told: {error}");
                        refusals.accepts(name, Some(server.name), &found);
                    }
                }
            }
        }
    }
}

/// Whether a known trouble stands on a way: its ranges and strategies fit, and its conditions hold on some server. Without a
/// strategy only troubles are meant that stand on every one.
fn applies_to(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    blocked: &upshift_model::profile::BlockedEdge,
    strategy: Option<Strategy>,
    from: &Version,
    to: &Version,
) -> bool {
    let scheme = survey.scheme();
    let fits = |range: &Option<String>, version: &Version| match range {
        None => true,
        Some(text) => Range::parse(scheme, text).is_ok_and(|range| range.contains(version)),
    };
    if !fits(&blocked.from, from) || !fits(&blocked.to, to) || taken(survey, blocked) {
        return false;
    }
    let every = blocked.strategies.is_empty();
    if !every && strategy.is_none_or(|strategy| !blocked.strategies.contains(&strategy)) {
        return false;
    }
    let about = About {
        from: from.as_str(),
        to: to.as_str(),
    };
    blocked.when.is_empty()
        || survey.servers.iter().any(|server| {
            // Where a condition cannot be computed, the trouble is taken to be there: unknown is not allowed.
            blocked
                .when
                .iter()
                .all(|when| judge.server(when, server, about).unwrap_or(true))
        })
}

/// The packages that the hops need and that are not at hand.
pub(crate) fn missing_packages(survey: &Survey<'_>, legs: &[Leg<'_>], refusals: &mut Refusals) {
    if survey.profile.packages.is_empty() || survey.profile.fetches_releases {
        return;
    }
    for leg in legs {
        if !packages::has_package(survey, leg.to.as_str()) {
            refusals.add(
                "missing-package",
                format!("no package of {} {} is at hand", survey.profile.title, leg.to),
                format!("fetch the package of {} and give it with `--packages`", leg.to),
            );
        }
    }
}
