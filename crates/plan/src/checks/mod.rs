//! What must hold before anything is changed, beside the way itself.

mod capacity;
mod causes;
mod clients;
mod hosts;
mod newest;
mod profile;

pub(crate) use hosts::needs;

use crate::judge::Judge;
use crate::layout::Leg;
use crate::packages::Assignment;
use crate::refusal::Refusals;
use crate::survey::Survey;

/// All checks, whatever else is wrong.
pub(crate) fn all<'s, 'a>(
    survey: &'s Survey<'a>,
    legs: &[Leg<'_>],
    packages: &[Assignment<'_>],
    judge: &mut Judge<'s, 'a>,
    refusals: &mut Refusals,
    warnings: &mut Vec<String>,
) {
    request(survey, legs, refusals);
    accepted(survey, warnings);
    hosts::places(survey, refusals);
    hosts::clocks(survey, warnings);
    hosts::replaced_programs(survey, warnings);
    hosts::disk(survey, packages, refusals);
    capacity::check(survey, legs, judge, refusals);
    clients::check(survey, legs, judge, refusals);
    newest::check(survey, legs, warnings);
    profile::check(survey, legs, judge, refusals, warnings);
}

/// The checks that need no target.
pub(crate) fn without_target<'s, 'a>(
    survey: &'s Survey<'a>,
    judge: &mut Judge<'s, 'a>,
    refusals: &mut Refusals,
    warnings: &mut Vec<String>,
) {
    hosts::places(survey, refusals);
    hosts::clocks(survey, warnings);
    hosts::replaced_programs(survey, warnings);
    profile::check(survey, &[], judge, refusals, warnings);
}

/// Whether what was asked for makes sense for this fleet.
fn request(survey: &Survey<'_>, legs: &[Leg<'_>], refusals: &mut Refusals) {
    let title = &survey.profile.title;
    let partly = &survey.profile.verbs_missing_for;
    let goes_there = legs.iter().any(|leg| partly.contains(&leg.edge.strategy));
    let missing = survey.profile.verbs_missing.is_some() && (partly.is_empty() || goes_there);
    if survey.profile.verbs.is_empty() || missing {
        let reason = survey
            .profile
            .verbs_missing
            .as_deref()
            .unwrap_or("it has no verbs");
        let way: Vec<String> = legs
            .iter()
            .map(|leg| format!("{} ({})", leg.to, crate::show::strategy_word(leg.edge.strategy)))
            .collect();
        let way = if way.is_empty() {
            String::new()
        } else {
            format!("; the way would be {}", way.join(" → "))
        };
        refusals.add(
            "no-verbs",
            format!("the profile of {title} cannot carry out an upgrade yet: {reason}{way}"),
            "follow the vendor's documentation by hand, or add the verbs to a profile of your own",
        );
    }
    if let Some(canary) = &survey.request.canary
        && !survey.has_server(canary)
    {
        let names: Vec<&str> = survey.servers.iter().take(5).map(|server| server.name).collect();
        refusals.add(
            "unknown-canary",
            format!("`{canary}` is not a server of {title} that could be upgraded first"),
            format!("name one of the servers, such as {}", names.join(", ")),
        );
    }
    if survey.request.again {
        return;
    }
    for leg in legs {
        if let Some(run) = survey.facts.rolled_back.get(leg.to.as_str()) {
            refusals.add(
                "rolled-back-before",
                format!("the run {run} reached {} and rolled back from it", leg.to),
                format!("find out why with `upshift show {run}`; to try it again, say `--again`"),
            );
        }
    }
}

/// Names that are accepted and mean nothing: a mistake of the operator's that would go unseen.
fn accepted(survey: &Survey<'_>, warnings: &mut Vec<String>) {
    let profile = survey.profile;
    for acceptance in &survey.request.accepted {
        if !profile.calls_acceptable(&acceptance.name) {
            warnings.push(format!(
                "`{}` is accepted, and the profile of {} calls no such thing acceptable",
                acceptance.name, profile.title
            ));
        }
    }
}
