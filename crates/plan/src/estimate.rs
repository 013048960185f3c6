//! Time and disk that a plan needs.

use upshift_model::Millis;
use upshift_model::profile::Strategy;

use crate::checks;
use crate::packages::Assignment;
use crate::survey::Survey;
use crate::types::{Estimate, Group, Hop, Recipe};

/// Adds up what the plan's parts take.
pub(crate) fn of(
    survey: &Survey<'_>,
    packages: &[Assignment<'_>],
    hops: &[Hop],
    recipes: &[Recipe],
) -> Estimate {
    let window = survey.profile.window.estimate;
    let mut estimate = Estimate::default();
    for hop in hops {
        let disturbing = !matches!(hop.strategy, Strategy::Hot);
        if disturbing {
            estimate.disturbed_per_node = estimate.disturbed_per_node.plus(window);
        }
        estimate.duration = estimate.duration.plus(hop.soak.duration);
        estimate.at_most = estimate.at_most.plus(hop.soak.duration);
        for part in [&hop.protect, &hop.stay, &hop.settle] {
            estimate.at_most = estimate.at_most.plus(longest(part, recipes));
        }
        for the_window in &hop.windows {
            estimate.duration = estimate.duration.plus(window).plus(the_window.soak);
            let gate = longest(&the_window.gate, recipes);
            estimate.at_most = estimate
                .at_most
                .plus(gate)
                .plus(the_window.limit)
                .plus(the_window.reserve)
                .plus(the_window.soak);
        }
    }
    for need in checks::needs(survey, packages).into_values() {
        estimate.download_per_node = estimate.download_per_node.max(need.download);
        estimate.disk_per_node = estimate.disk_per_node.max(need.disk);
    }
    estimate
}

/// The longest that some groups may take, progress left aside. All steps of a group run side by side.
fn longest(groups: &[Group], recipes: &[Recipe]) -> Millis {
    let of_group = |group: &Group| {
        let times = group
            .steps
            .iter()
            .map(|step| recipes[step.recipe.0 as usize].within);
        times.max().unwrap_or(Millis::ZERO)
    };
    groups.iter().map(of_group).fold(Millis::ZERO, Millis::plus)
}
