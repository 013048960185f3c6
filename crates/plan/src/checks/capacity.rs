//! How many servers may be down at once, and which versions may meet.

use upshift_model::profile::{OUTAGE, Strategy};

use crate::judge::Judge;
use crate::layout::Leg;
use crate::order;
use crate::path::may_mix;
use crate::refusal::{Refusals, how_to_accept};
use crate::show;
use crate::survey::Survey;

pub(super) fn check(
    survey: &Survey<'_>,
    legs: &[Leg<'_>],
    judge: &mut Judge<'_, '_>,
    refusals: &mut Refusals,
) {
    batch(survey, refusals);
    let one_by_one: Vec<&Leg<'_>> = legs
        .iter()
        .filter(|leg| matches!(leg.edge.strategy, Strategy::Rolling | Strategy::Hot))
        .collect();
    for leg in &one_by_one {
        if survey.profile.skew.servers.is_some()
            && let Err(reason) = may_mix(survey, judge, &leg.from, &leg.to)
        {
            refusals.add(
                "skew",
                format!(
                    "on the way servers of {} and {} run side by side, {reason}",
                    leg.from, leg.to
                ),
                "go through a version in between with `--via`, or correct `skew` in the profile",
            );
        }
    }
    let rolling = one_by_one
        .iter()
        .any(|leg| leg.edge.strategy == Strategy::Rolling);
    if rolling {
        spare(survey, refusals);
    }
}

/// An operator may ask for smaller batches than the profile allows, never for larger ones.
fn batch(survey: &Survey<'_>, refusals: &mut Refusals) {
    let most = survey.profile.capacity.max_unavailable;
    match survey.request.batch {
        Some(0) => refusals.add(
            "capacity",
            "a batch of no servers was asked for",
            "ask for a batch of 1 or more",
        ),
        Some(batch) if batch > most => refusals.add(
            "capacity",
            format!("a batch of {batch} was asked for; no more than {most} may be down at once"),
            format!("ask for a batch of {most} or fewer"),
        ),
        _ => {}
    }
}

/// Whether the cluster can spare a batch.
fn spare(survey: &Survey<'_>, refusals: &mut Refusals) {
    let capacity = &survey.profile.capacity;
    let servers = survey.total as u32;
    if servers < capacity.min_servers {
        let message = format!(
            "{} has {}, and a rolling upgrade takes at least {}",
            survey.fleet_name,
            show::count(servers as usize, "server"),
            capacity.min_servers
        );
        let missing = capacity.min_servers - servers;
        let remedy = format!("add {}", show::count(missing as usize, "server"));
        outage(message, &remedy, refusals);
    }
    let down = order::batch_size(survey).min(servers);
    let majority = servers / 2 + 1;
    if capacity.quorum && servers > 0 && servers - down < majority {
        let message = format!(
            "with {down} of {} down no majority is left ({majority} must stay up)",
            show::count(servers as usize, "server")
        );
        let remedy = match servers - majority {
            0 => "add servers".to_owned(),
            most => format!("ask for a batch of {most} or fewer"),
        };
        outage(message, &remedy, refusals);
    }
}

/// An outage may be accepted, under the name of `capacity`.
fn outage(message: String, remedy: &str, refusals: &mut Refusals) {
    if !refusals.accepts(OUTAGE, None, &message) {
        let remedy = format!("{remedy}; {}", how_to_accept(OUTAGE));
        refusals.add("capacity", message, remedy);
    }
}
