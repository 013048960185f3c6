//! Plans of `ledger`, and how tests read them.

use std::collections::BTreeMap;

use upshift_model::action::{Action, GuardRecipe};
use upshift_model::facts::Facts;
use upshift_model::profile::Profile;
use upshift_plan::{Group, Plan, Recipe, Refusal, Request, Step, plan, render_action, testing};

/// The plan for a fleet of as many servers as there are facts of.
pub fn plan_of(profile: &Profile, facts: &Facts, request: &Request) -> Result<Plan, Vec<Refusal>> {
    let fleet = testing::fleet(facts.nodes.len());
    plan(profile, "test", &fleet, facts, request)
}

/// The plan for so many servers that run a version.
pub fn try_plan(from: &str, request: &Request, servers: usize) -> Result<Plan, Vec<Refusal>> {
    plan_of(&testing::profile(), &testing::facts(servers, from), request)
}

/// The plan for three servers, with the package of the version in between at hand.
pub fn planned(from: &str, to: &str) -> Plan {
    try_plan(from, &testing::request(to, &["1.1.0"]), 3).unwrap_or_else(|refusals| panic!("{refusals:#?}"))
}

/// One plan per strategy.
pub fn all() -> [Plan; 4] {
    [
        planned("1.0.0", "1.0.1"),
        planned("1.0.0", "1.1.0"),
        planned("1.1.0", "2.0.0"),
        planned("2.0.0", "3.0.0"),
    ]
}

/// The steps of some groups.
pub fn steps(groups: &[Group]) -> impl Iterator<Item = &Step> {
    groups.iter().flat_map(|group| &group.steps)
}

/// The recipe of a step.
pub fn recipe<'p>(plan: &'p Plan, step: &Step) -> &'p Recipe {
    plan.recipe(step.recipe)
}

/// Every group of a plan in the order in which it is read.
pub fn groups(plan: &Plan) -> Vec<&Group> {
    let mut all: Vec<&Group> = plan.prepare.iter().collect();
    for hop in &plan.hops {
        all.extend(&hop.protect);
        for window in &hop.windows {
            for part in [
                &window.gate,
                &window.forward,
                &window.rollback_gate,
                &window.rearm,
                &window.rollback,
            ] {
                all.extend(part);
            }
        }
        all.extend(&hop.stay);
        all.extend(&hop.settle);
        all.extend(&hop.rolled_back);
    }
    all.extend(&plan.proof);
    all.extend(&plan.finalize);
    all
}

/// The guard that a step arms, filled in.
pub fn armed(plan: &Plan, hop: u32, step: &Step) -> GuardRecipe {
    let recipe = recipe(plan, step);
    match render_action(plan, step.node, recipe, &BTreeMap::new(), "run-1", hop) {
        Ok(Some(Action::ArmGuard(guard))) => *guard,
        other => panic!("{other:?}"),
    }
}

/// What actions do, in a word each.
pub fn words(actions: &[Action]) -> Vec<&'static str> {
    actions.iter().map(Action::word).collect()
}
