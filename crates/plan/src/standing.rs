//! How a cluster stands, whatever version it is to reach.

use upshift_model::facts::Facts;
use upshift_model::fleet::Fleet;
use upshift_model::profile::Profile;

use crate::checks;
use crate::judge::Judge;
use crate::refusal::Refusals;
use crate::survey::Survey;
use crate::types::{Refusal, Request};

/// What is wrong with a cluster, whatever version it is to reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What would stand in the way of any upgrade, sorted: servers that cannot be reached or do not run, places that were not
    /// found, checks that hold for no hop in particular.
    pub troubles: Vec<Refusal>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Looks at a cluster without a target. The same input gives the same answer.
pub fn standing(profile: &Profile, fleet: &Fleet, facts: &Facts) -> Standing {
    let request = Request::default();
    let mut refusals = Refusals::default();
    let mut warnings = Vec::new();
    let survey = Survey::take(profile, &fleet.name, fleet, facts, &request, &mut refusals);
    let mut judge = Judge::new(&survey);
    checks::without_target(&survey, &mut judge, &mut refusals, &mut warnings);
    Standing {
        troubles: refusals.into_sorted(),
        warnings,
    }
}
