//! The profile's own checks.

use std::collections::BTreeMap;

use upshift_model::profile::{Check, Strategy};
use upshift_model::version::{Range, Version};

use super::causes;
use crate::judge::{About, Judge};
use crate::layout::Leg;
use crate::refusal::{Reason, Refusals, how_to_accept};
use crate::survey::{Server, Survey};

/// A hop, as far as checks care. Where no way was found there is only the wish.
struct Subject<'x> {
    from: Option<&'x Version>,
    to: Option<&'x Version>,
    strategy: Option<Strategy>,
}

pub(super) fn check<'s, 'a>(
    survey: &'s Survey<'a>,
    legs: &[Leg<'_>],
    judge: &mut Judge<'s, 'a>,
    refusals: &mut Refusals,
    warnings: &mut Vec<String>,
) {
    let wish = Version::parse(survey.scheme(), &survey.request.to).ok();
    let running: Vec<Version> = survey.running().into_iter().cloned().collect();
    let subjects: Vec<Subject<'_>> = match legs {
        [] => vec![Subject {
            from: running.first(),
            to: wish.as_ref(),
            strategy: None,
        }],
        legs => legs
            .iter()
            .map(|leg| Subject {
                from: Some(&leg.from),
                to: Some(&leg.to),
                strategy: Some(leg.edge.strategy),
            })
            .collect(),
    };
    // Of servers that cannot be seen nothing can be told, and nothing of the cluster as a whole.
    let unseen = match survey.is_complete() {
        true => Vec::new(),
        false => refusals.with_codes(&UNSEEN),
    };
    let mut checking = Checking {
        survey,
        judge,
        refusals,
        warnings,
        roots: Roots::default(),
    };
    let moving = survey.request.move_services;
    for check in survey
        .profile
        .checks
        .iter()
        .filter(|check| !(moving && check.moved_services))
    {
        for subject in subjects.iter().filter(|subject| applies(survey, check, subject)) {
            let text = |version: Option<&Version>| version.map(ToString::to_string).unwrap_or_default();
            let (from, to) = (text(subject.from), text(subject.to));
            if !in_range(survey, &check.from, running.first()) {
                // It is about a version that does not run yet, which may not even have what the check looks at.
                checking.warnings.push(format!(
                    "the check `{}` of the hop from {from} to {to} cannot be made before {from} runs; `upshift check` makes it then",
                    check.name
                ));
                continue;
            }
            unseen
                .iter()
                .filter(|_| !check.advice)
                .for_each(|reason| checking.refusals.hide(reason, &check.name));
            let about = About { from: &from, to: &to };
            match (check.cluster, unseen.is_empty()) {
                (true, true) => checking.one(check, None, about),
                (true, false) => {}
                (false, _) => {
                    for server in &survey.servers {
                        checking.one(check, Some(server), about);
                    }
                }
            }
        }
    }
}

/// What keeps a server, or all of them, from being seen.
const UNSEEN: [&str; 4] = ["unreachable", "not-running", "unknown-version", "no-servers"];

/// For a check that does not hold, or cannot be told, the reason that stands for it: on a server, or (`None`) for the cluster.
#[derive(Default)]
struct Roots(BTreeMap<(String, Option<String>), Reason>);

impl Roots {
    fn insert(&mut self, check: &Check, server: Option<&Server<'_>>, reason: Reason) {
        let server = server.map(|server| server.name.to_owned());
        self.0.insert((check.name.clone(), server), reason);
    }

    /// The reason because of which a check cannot be told: one of those that it needs, on this server or for the cluster. What is
    /// said of the cluster needs every server.
    fn of(&self, check: &Check, server: Option<&Server<'_>>) -> Option<&Reason> {
        let same = |found: &Option<String>| match (found, server) {
            (None, _) | (_, None) => true,
            (Some(found), Some(server)) => found == server.name,
        };
        check.needs.iter().find_map(|needed| {
            let found = self.0.iter();
            let mut found = found.filter(|((name, on), _)| name == needed && same(on));
            found.next().map(|(_, reason)| reason)
        })
    }
}

struct Checking<'c, 's, 'a> {
    survey: &'s Survey<'a>,
    judge: &'c mut Judge<'s, 'a>,
    refusals: &'c mut Refusals,
    warnings: &'c mut Vec<String>,
    roots: Roots,
}

impl Checking<'_, '_, '_> {
    /// Makes a check of one server, or of the cluster: it holds, does not hold, or cannot be told.
    fn one(&mut self, check: &Check, server: Option<&Server<'_>>, about: About<'_>) {
        if let Some(root) = self.roots.of(check, server).cloned() {
            if !check.advice {
                self.refusals.hide(&root, &check.name);
            }
            self.roots.insert(check, server, root);
            return;
        }
        let verdict = match server {
            Some(server) => self.judge.server(&check.expect, server, about),
            None => self.judge.cluster(&check.expect, about),
        };
        match verdict {
            Ok(true) => {}
            Ok(false) => {
                let filled = |text: &str| match server {
                    Some(server) => self.judge.message(text, server, about),
                    None => self.judge.cluster_message(text, about),
                };
                let (message, remedy) = (filled(&check.message), filled(&check.remedy));
                self.fails(check, server, message, &remedy);
            }
            Err(error) => self.unknown(check, server, &error),
        }
    }

    fn fails(&mut self, check: &Check, server: Option<&Server<'_>>, message: String, remedy: &str) {
        if check.advice {
            self.warnings.push(message);
            return;
        }
        let host = server.map(|server| server.name);
        if check.acceptable && self.refusals.accepts(&check.name, host, &message) {
            return;
        }
        let code = format!("check:{}", check.name);
        let reason = self
            .refusals
            .note(&code, host, message, self::remedy(check, remedy), link(check));
        self.roots.insert(check, server, reason);
    }

    /// A condition that cannot be computed is neither true nor false. What stands in the way is told once, for all that it hides.
    fn unknown(&mut self, check: &Check, server: Option<&Server<'_>>, error: &str) {
        let host = server.map(|server| server.name);
        let message = format!("whether `{}` holds cannot be told: {error}", check.name);
        if check.advice {
            self.warnings.push(match host {
                Some(host) => format!("{host}: {message}"),
                None => message,
            });
            return;
        }
        if check.acceptable && self.refusals.accepts(&check.name, host, &message) {
            return;
        }
        let servers: Vec<&Server<'_>> = match server {
            Some(server) => vec![server],
            None => self.survey.servers.iter().collect(),
        };
        let causes: Vec<Reason> = servers
            .into_iter()
            .flat_map(|server| causes::of(self.survey, &check.expect, server, self.refusals))
            .collect();
        for cause in &causes {
            self.refusals.hide(cause, &check.name);
        }
        let reason = causes.into_iter().next().unwrap_or_else(|| {
            let code = format!("check:{}", check.name);
            let remedy = "look at what the check reads there; where that is as it should be, mend the check in the profile";
            self.refusals
                .note_unknown(&code, host, message, remedy.to_owned(), link(check))
        });
        self.roots.insert(check, server, reason);
    }
}

fn remedy(check: &Check, remedy: &str) -> String {
    match check.acceptable {
        true => format!("{remedy}; {}", how_to_accept(&check.name)),
        false => remedy.to_owned(),
    }
}

fn applies(survey: &Survey<'_>, check: &Check, subject: &Subject<'_>) -> bool {
    let strategy = check.strategies.is_empty()
        || subject
            .strategy
            .is_some_and(|strategy| check.strategies.contains(&strategy));
    strategy && in_range(survey, &check.from, subject.from) && in_range(survey, &check.to, subject.to)
}

/// Whether a version is in a range; every one is where there is no range, and none is known to be where there is no version.
fn in_range(survey: &Survey<'_>, range: &Option<String>, version: Option<&Version>) -> bool {
    match (range, version) {
        (None, _) => true,
        (Some(range), Some(version)) => {
            Range::parse(survey.scheme(), range).is_ok_and(|range| range.contains(version))
        }
        (Some(_), None) => false,
    }
}

fn link(check: &Check) -> Option<String> {
    check.source.as_ref().and_then(|source| source.link.clone())
}
