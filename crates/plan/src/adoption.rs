//! Taking servers over that were installed without Upshift.
//!
//! A server can be switched back only to a release of the host's store. So what runs is put there first: sent, unpacked, and
//! the store's link pointed at it. What runs is left alone; that the service starts through the link is for the operator to see to.

use std::collections::BTreeMap;

use upshift_model::facts::{Facts, ReleaseStatus};
use upshift_model::fleet::Fleet;
use upshift_model::profile::Profile;

use crate::fingerprint;
use crate::layout::prepare;
use crate::packages::{self, Assignment};
use crate::refusal::Refusals;
use crate::survey::{Server, Survey};
use crate::types::{Estimate, NodeIndex, PLAN_FORMAT, Plan, Refusal, Request};
use crate::variables::Used;

/// Makes a plan that puts the running release of every server into its store. It has nothing but preparation, and no step at all
/// where every store has it already. Of the request only the packages count.
///
/// # Errors
/// All the reasons why there is no plan, sorted: servers that cannot be reached or do not run, packages that are not at hand,
/// stores whose link points at another release.
pub fn adoption(
    profile: &Profile,
    fleet_name: &str,
    fleet: &Fleet,
    facts: &Facts,
    request: &Request,
) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = Refusals::of(request);
    let survey = Survey::take(profile, fleet_name, fleet, facts, request, &mut refusals);
    let mut wanting: BTreeMap<String, Vec<NodeIndex>> = BTreeMap::new();
    for server in &survey.servers {
        match current(server) {
            Some(current) if *current == server.version.to_string() => {}
            Some(other) => refusals.add_host(
                "other-release",
                server.name,
                format!(
                    "{} runs, and the release store's link points at {other}",
                    server.version
                ),
                "restart the server through the link, or remove the link",
            ),
            None => wanting
                .entry(server.version.to_string())
                .or_default()
                .push(server.index),
        }
    }
    let assignments: Vec<Assignment<'_>> = wanting
        .iter()
        .map(|(version, servers)| at_hand(&survey, version, servers, &mut refusals))
        .collect();
    if !refusals.is_empty() {
        return Err(refusals.into_sorted());
    }
    let (prepare, recipes) = prepare::adoption(&survey, &assignments);
    let oldest = survey
        .running()
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut plan = Plan {
        format: PLAN_FORMAT,
        product: profile.product.clone(),
        title: profile.title.clone(),
        scheme: profile.versions.scheme,
        fleet: fleet_name.to_owned(),
        request: Request {
            to: oldest,
            prepare_only: true,
            ..request.clone()
        },
        facts: fingerprint::of_facts(profile, fleet, facts),
        fingerprint: String::new(),
        nodes: survey
            .servers
            .iter()
            .map(|server| crate::node(&survey, server, &[], &Used::default()))
            .collect(),
        balancers: Vec::new(),
        recipes,
        prepare,
        hops: Vec::new(),
        proof: Vec::new(),
        finalize: Vec::new(),
        finalize_notes: Vec::new(),
        estimate: Estimate::default(),
        warnings: Vec::new(),
        risks: Vec::new(),
        config_changes: Vec::new(),
        notices: Vec::new(),
    };
    plan.fingerprint = plan.compute_fingerprint();
    Ok(plan)
}

/// The release that the store's link points at.
fn current<'a>(server: &Server<'a>) -> Option<&'a String> {
    let releases = &server.facts.host.releases;
    releases
        .iter()
        .find(|(_, status)| **status == ReleaseStatus::Permanent)
        .map(|(version, _)| version)
}

fn at_hand<'a>(
    survey: &Survey<'a>,
    version: &str,
    servers: &[NodeIndex],
    refusals: &mut Refusals,
) -> Assignment<'a> {
    if !packages::has_package(survey, version) {
        refusals.add(
            "missing-package",
            format!(
                "there is no package of {version}, which runs on {}",
                crate::show::count(servers.len(), "server")
            ),
            format!("put the package of {version} for these hosts beside the others (--packages)"),
        );
    }
    packages::assign(survey, version, servers, refusals)
}
