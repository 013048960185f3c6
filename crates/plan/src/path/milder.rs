//! The ways that would disturb less than the one that is taken, and why they are not open.

use upshift_model::profile::{PathEdge, Strategy};
use upshift_model::version::Version;

use super::graph::Rules;
use super::{applies_to, risked};
use crate::judge::{About, Judge};
use crate::layout::Leg;
use crate::refusal::Refusals;
use crate::show::strategy_word;
use crate::survey::Survey;

/// A milder way that is not open.
#[derive(Clone, Debug)]
pub(crate) struct PassedOver {
    /// Its strategy.
    pub strategy: Strategy,
    /// Why not, in a sentence.
    pub words: String,
}

/// For each hop, the milder strategies that the profile knows for it, each with the first reason why it cannot be had here.
pub(crate) fn passed_over(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    legs: &[Leg<'_>],
) -> Vec<PassedOver> {
    // Mistakes in the profile's ranges were told when the way was looked for.
    let rules = Rules::read(survey.profile, &mut Refusals::default());
    let mut said = Vec::new();
    for leg in legs {
        let mut milder: Vec<&PathEdge> = rules
            .edges
            .iter()
            .filter(|rule| rule.from.contains(&leg.from) && rule.to.contains(&leg.to))
            .map(|rule| rule.edge)
            .filter(|edge| edge.strategy < leg.edge.strategy)
            .collect();
        milder.sort_by_key(|edge| edge.strategy);
        for edge in milder {
            if let Some(reason) = closed_by(survey, judge, edge, &leg.from, &leg.to) {
                let words = format!(
                    "{} to {} is done {}, because the {} way is not open: {reason}",
                    leg.from,
                    leg.to,
                    strategy_word(leg.edge.strategy),
                    strategy_word(edge.strategy)
                );
                said.push(PassedOver {
                    strategy: edge.strategy,
                    words,
                });
            }
        }
    }
    said
}

/// Why an edge cannot be taken.
fn closed_by(
    survey: &Survey<'_>,
    judge: &mut Judge<'_, '_>,
    edge: &PathEdge,
    from: &Version,
    to: &Version,
) -> Option<String> {
    let about = About {
        from: from.as_str(),
        to: to.as_str(),
    };
    let profile = survey.profile;
    for blocked in &profile.blocked {
        if applies_to(survey, judge, blocked, Some(edge.strategy), from, to) {
            return Some(format!("{} ({})", blocked.reason, blocked.name));
        }
    }
    for server in survey.servers.iter().filter(|server| server.version <= *from) {
        for condition in edge.when.iter().filter(|condition| !risked(survey, condition)) {
            match judge.server(&condition.expect, server, about) {
                Ok(true) => {}
                Ok(false) => {
                    let message = judge.message(&condition.message, server, about);
                    return Some(format!("{}: {message}", server.name));
                }
                Err(error) => return Some(format!("{}: {error}", server.name)),
            }
        }
    }
    None
}
