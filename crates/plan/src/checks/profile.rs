//! The profile's own checks.

use upshift_model::profile::{Check, Strategy};
use upshift_model::version::{Range, Version};

use crate::judge::{About, Judge, Needed};
use crate::layout::Leg;
use crate::refusal::Refusals;
use crate::survey::Survey;

/// A hop, as far as checks care. Where no way was found there is only the wish.
struct Subject<'x> {
    from: Option<&'x Version>,
    to: Option<&'x Version>,
    strategy: Option<Strategy>,
}

pub(super) fn check(
    survey: &Survey<'_>,
    legs: &[Leg<'_>],
    judge: &mut Judge<'_, '_>,
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
    for check in &survey.profile.checks {
        let skipped = survey.request.skip_checks.contains(&check.name);
        for subject in subjects.iter().filter(|subject| applies(survey, check, subject)) {
            if skipped {
                warnings.push(format!(
                    "the check `{}` was skipped at the operator's wish",
                    check.name
                ));
                break;
            }
            let text = |version: Option<&Version>| version.map(ToString::to_string).unwrap_or_default();
            let (from, to) = (text(subject.from), text(subject.to));
            let about = About { from: &from, to: &to };
            if check.cluster && !survey.is_complete() {
                continue;
            }
            if !in_range(survey, &check.from, running.first()) {
                // It is about a version that does not run yet, which may not even have what the check looks at.
                warnings.push(format!(
                    "the check `{}` of the hop from {from} to {to} cannot be made before {from} runs; `upshift check` makes it then",
                    check.name
                ));
                continue;
            }
            if check.advice {
                advise(survey, check, judge, about, warnings);
            } else if check.cluster {
                whole(survey, check, judge, about, refusals);
            } else {
                each(survey, check, judge, about, refusals);
            }
        }
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

/// Why a check cannot be judged: a probe that it uses could not be asked. Said once for all checks, since it is one thing to mend.
fn cannot_look(survey: &Survey<'_>, check: &Check, server: Option<&str>, refusals: &mut Refusals) -> bool {
    let mut found = false;
    let needed = Needed::by(&check.expect);
    let asked = survey
        .servers
        .iter()
        .filter(|one| server.is_none_or(|name| name == one.name));
    for one in asked {
        let reasons = one
            .facts
            .probes
            .iter()
            .filter(|(name, _)| needed.sees(name))
            .filter_map(|(_, value)| value.get("error")?.as_str());
        for reason in reasons {
            found = true;
            refusals.note(
                "probe-failed",
                Some(one.name),
                format!("{} cannot be looked at: {reason}", one.name),
                "mend that; the checks that depend on it could not be judged".to_owned(),
                None,
            );
        }
    }
    found
}

fn whole(
    survey: &Survey<'_>,
    check: &Check,
    judge: &mut Judge<'_, '_>,
    about: About<'_>,
    refusals: &mut Refusals,
) {
    let message = match judge.cluster(&check.expect, about) {
        Ok(true) => return,
        Ok(false) => judge.cluster_message(&check.message, about),
        Err(_) if cannot_look(survey, check, None, refusals) => return,
        Err(error) => format!("{}: {error}", check.message),
    };
    refusals.note(
        &format!("check:{}", check.name),
        None,
        message,
        check.remedy.clone(),
        link(check),
    );
}

/// What does not hold is said with the plan. A condition that cannot be computed is passed over: nothing depends on it.
fn advise(
    survey: &Survey<'_>,
    check: &Check,
    judge: &mut Judge<'_, '_>,
    about: About<'_>,
    warnings: &mut Vec<String>,
) {
    if check.cluster {
        if judge.cluster(&check.expect, about) == Ok(false) {
            warnings.push(judge.cluster_message(&check.message, about));
        }
        return;
    }
    for server in &survey.servers {
        if judge.server(&check.expect, server, about) == Ok(false) {
            warnings.push(judge.message(&check.message, server, about));
        }
    }
}

fn each(
    survey: &Survey<'_>,
    check: &Check,
    judge: &mut Judge<'_, '_>,
    about: About<'_>,
    refusals: &mut Refusals,
) {
    for server in &survey.servers {
        let message = match judge.server(&check.expect, server, about) {
            Ok(true) => continue,
            Ok(false) => judge.message(&check.message, server, about),
            Err(_) if cannot_look(survey, check, Some(server.name), refusals) => continue,
            Err(error) => format!("{}: {error}", judge.message(&check.message, server, about)),
        };
        let code = format!("check:{}", check.name);
        refusals.note(
            &code,
            Some(server.name),
            message,
            check.remedy.clone(),
            link(check),
        );
    }
}
