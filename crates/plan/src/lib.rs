//! The planner: facts, profile and request in; an immutable plan out, or all the reasons why not. Pure.
//!
//! [`plan`] does it all: it looks at the servers (`survey`), finds the way ([`path`]), checks everything that must hold
//! (`checks`) and lays the way out as groups of steps (`layout`). Reasons against are collected, never returned one by one.
//! [`show`] renders plans and refusals for people.

mod adoption;
mod changes;
mod checks;
mod clients;
mod estimate;
pub mod fingerprint;
pub mod foreign;
mod judge;
mod layout;
mod merges;
mod moving;
mod needs;
mod notices;
mod order;
mod packages;
pub mod path;
mod refusal;
pub mod render;
pub mod show;
pub mod snapshots;
mod standing;
mod survey;
pub mod takeover;
pub mod testing;
pub mod types;
mod valid;
mod variables;

use std::collections::BTreeSet;

use upshift_model::facts::Facts;
use upshift_model::fleet::{Fleet, Host};
use upshift_model::profile::{Profile, Strategy};

pub use adoption::adoption;
pub use clients::{Client, ClientRounds, client_rounds, client_target, clients};
pub use fingerprint::verify_unchanged;
pub use merges::{MergeAt, Previewed, merges, previewed};
pub use moving::moving;
pub use needs::{needs, remarks, unmet};
pub use packages::fits_host;
pub use render::{Names, context, render_action, render_probe, scope};
pub use standing::{Standing, standing};
pub use types::*;

use judge::Judge;
use layout::{Layout, Leg};
use refusal::Refusals;
use survey::{Server, Survey};
use variables::Used;

/// Makes a plan: the same input gives the same plan, byte for byte.
///
/// # Errors
/// All the reasons why there is no plan, sorted, each with what to do about it.
pub fn plan(
    profile: &Profile,
    fleet_name: &str,
    fleet: &Fleet,
    facts: &Facts,
    request: &Request,
) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = Refusals::of(request);
    let mut warnings = Vec::new();
    let survey = Survey::take(profile, fleet_name, fleet, facts, request, &mut refusals);
    packages::check(&survey, &mut refusals);
    let mut judge = Judge::new(&survey);
    let legs = path::find(&survey, &mut judge, &mut refusals).unwrap_or_default();
    path::missing_packages(&survey, &legs, &mut refusals);
    path::note_risks(&survey, &mut judge, &legs, &mut refusals);
    let milder = path::passed_over(&survey, &mut judge, &legs);
    let packages = packages::for_path(&survey, &legs, &mut refusals);
    checks::all(
        &survey,
        &legs,
        &packages,
        &mut judge,
        &mut refusals,
        &mut warnings,
    );
    let layout = layout::lay_out(&survey, &legs, &packages, &mut refusals);
    if !refusals.is_empty() {
        // Who cannot have the way that is left may want the one that disturbs nobody.
        for passed in milder
            .into_iter()
            .filter(|passed| passed.strategy == Strategy::Hot)
        {
            refusals.add(
                "condition",
                passed.words,
                "meet that condition, and no server is taken out of service",
            );
        }
        return Err(refusals.into_sorted());
    }
    warnings.extend(milder.into_iter().map(|passed| passed.words));
    warnings.extend(warnings_of(&legs, &layout));
    warnings.extend(snapshots::remarks(&survey, &legs));
    let notices = notices::of(profile, &legs, &layout.hops);
    Ok(assemble(&survey, &packages, layout, refusals, warnings, notices))
}

/// The plan of what was laid out.
fn assemble(
    survey: &Survey<'_>,
    packages: &[packages::Assignment<'_>],
    layout: Layout,
    refusals: Refusals,
    warnings: Vec<String>,
    notices: Vec<String>,
) -> Plan {
    let profile = survey.profile;
    let estimate = estimate::of(survey, packages, &layout.hops, &layout.recipes);
    let mut plan = Plan {
        format: PLAN_FORMAT,
        product: profile.product.clone(),
        title: profile.title.clone(),
        scheme: profile.versions.scheme,
        fleet: survey.fleet_name.to_owned(),
        request: survey.request.clone(),
        facts: fingerprint::of_facts(profile, survey.fleet, survey.facts),
        fingerprint: String::new(),
        nodes: nodes(survey, &layout),
        balancers: balancers(survey, &layout),
        recipes: layout.recipes,
        prepare: layout.prepare,
        hops: layout.hops,
        proof: layout.proof,
        finalize: layout.finalize,
        finalize_notes: layout.finalize_notes,
        estimate,
        warnings,
        risks: refusals.risks(),
        config_changes: Vec::new(),
        notices,
    };
    plan.fingerprint = plan.compute_fingerprint();
    plan
}

/// What an operator should know and that stops nothing.
fn warnings_of(legs: &[Leg<'_>], layout: &Layout) -> Vec<String> {
    let mut warnings = Vec::new();
    for (leg, hop) in legs.iter().zip(&layout.hops) {
        if let Some(note) = &leg.edge.note {
            warnings.push(format!("{} to {}: {note}", leg.from, leg.to));
        }
        if let Some(point) = &hop.no_return {
            warnings.push(format!(
                "{} to {} has a point of no return: {}",
                hop.from, hop.to, point.description
            ));
        }
        let balancers: Vec<&str> = balancers_of(layout).into_iter().collect();
        if hop.strategy == Strategy::Rolling && !balancers.is_empty() {
            warnings.push(format!(
                "{} to {}: where the controller is lost, guards bring servers back to {} and cannot put them back into {}; `upshift resume` does",
                hop.from,
                hop.to,
                hop.from,
                balancers.join(", ")
            ));
        }
        let declared = hop
            .no_return
            .as_ref()
            .is_some_and(|point| point.crossed.observed().is_some());
        if hop.strategy == Strategy::Rebuild && declared {
            warnings.push(format!(
                "{} to {} is a rebuild: what is written after service is taken up again is lost by rolling back",
                hop.from, hop.to
            ));
        }
    }
    warnings
}

/// The plan's servers.
fn nodes(survey: &Survey<'_>, layout: &Layout) -> Vec<PlanNode> {
    let asked = probes_before(layout);
    let used = variables_used(layout);
    survey
        .servers
        .iter()
        .map(|server| node(survey, server, &asked, &used))
        .collect()
}

/// Names of the load balancers that some recipe is done on.
fn balancers_of(layout: &Layout) -> BTreeSet<&str> {
    let recipes = layout.recipes.iter();
    recipes.filter_map(|recipe| recipe.balancer.as_deref()).collect()
}

/// The plan's load balancers: those that some recipe is done on.
fn balancers(survey: &Survey<'_>, layout: &Layout) -> Vec<PlanBalancer> {
    let used = variables_used(layout);
    let on = balancers_of(layout);
    let variables = |host: &Host| {
        let used = host.variables.iter().filter(|(name, _)| used.has(name));
        used.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    survey
        .balancers()
        .filter(|(name, _)| on.contains(name.as_str()))
        .map(|(name, host)| PlanBalancer {
            name: name.clone(),
            variables: variables(host),
        })
        .collect()
}

fn node(survey: &Survey<'_>, server: &Server<'_>, asked: &[String], used: &Used) -> PlanNode {
    let variables = server.host.variables.iter().filter(|(name, _)| used.has(name));
    let before = asked
        .iter()
        .filter_map(|name| Some((name.clone(), server.facts.probes.get(name)?.clone())));
    PlanNode {
        name: server.name.to_owned(),
        version: server.version.to_string(),
        leader: server.facts.leader,
        failure_domain: order::domain(survey, server).map(str::to_owned),
        state_directory: server.facts.host.state_directory.clone(),
        places: server.facts.places.clone(),
        variables: variables
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        stamp: NodeStamp {
            os: server.facts.host.os.clone(),
            arch: server.facts.host.arch.clone(),
            variant: server.facts.variant.clone(),
            config_digests: server.facts.config_digests.clone(),
        },
        before: before.collect(),
    }
}

/// The variables of the fleet that something in the plan names.
fn variables_used(layout: &Layout) -> Used {
    let mut used = Used::default();
    layout.recipes.iter().for_each(|recipe| used.note(recipe));
    for hop in &layout.hops {
        used.note(&hop.soak);
        used.note(&hop.no_return);
    }
    used
}

/// Names of the probes whose value at planning time some proof asks for.
fn probes_before(layout: &Layout) -> Vec<String> {
    let asks = |expression: &str| {
        ["before", "befores"]
            .iter()
            .any(|name| layout::guard::uses(expression, name))
    };
    let conditions = layout.recipes.iter().filter_map(|recipe| {
        let proof = recipe.only_if.as_ref()?;
        let asked = asks(&proof.expect) || recipe.bindings.values().any(|binding| asks(binding));
        asked.then_some(proof)
    });
    let proofs = layout
        .recipes
        .iter()
        .flat_map(|recipe| recipe.proof.iter().chain(&recipe.fails_on));
    let watched = layout.hops.iter().flat_map(|hop| &hop.soak.watch);
    let asking = proofs.chain(watched).filter(|proof| asks(&proof.expect));
    let mut names: Vec<String> = conditions.chain(asking).map(|proof| proof.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}
