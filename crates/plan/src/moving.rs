//! Moving services over to the release store: the version stays, and each server is restarted from its store, one batch after the other,
//! behind the same gates, guards and proofs as in a rolling hop.

use upshift_model::action::Service;
use upshift_model::facts::{Facts, ReleaseStatus};
use upshift_model::fleet::Fleet;
use upshift_model::profile::{PROCESS_PROBE, PathEdge, Profile, Source, Strategy};
use upshift_model::version::Version;

use crate::checks;
use crate::judge::Judge;
use crate::layout::{self, Leg};
use crate::refusal::Refusals;
use crate::survey::{Server, Survey};
use crate::types::{Plan, Refusal, Request};

/// Makes a plan that restarts the service of every server that is not started from its store yet. None where all are. Of the request
/// only the times and the accepted risks count.
///
/// # Errors
/// All the reasons why there is no plan, sorted: what stands in the way of any rolling restart, stores that do not hold what runs, services
/// that the profile's own commands start.
pub fn moving(
    profile: &Profile,
    fleet_name: &str,
    fleet: &Fleet,
    facts: &Facts,
    request: &Request,
) -> Result<Option<Plan>, Vec<Refusal>> {
    let mut refusals = Refusals::of(request);
    let running = one_version(profile, fleet_name, fleet, facts, request, &mut refusals);
    let request = Request {
        to: running.as_ref().map(ToString::to_string).unwrap_or_default(),
        move_services: true,
        prepare_only: false,
        via: Vec::new(),
        artifacts: Vec::new(),
        verified: Default::default(),
        ..request.clone()
    };
    let survey = Survey::take(profile, fleet_name, fleet, facts, &request, &mut refusals);
    let Some(version) = running else {
        return Err(refusals.into_sorted());
    };
    if !matches!(profile.service, Service::Supervised(_)) {
        refusals.add(
            "not-movable",
            format!(
                "the service of {} is started by {}",
                profile.title,
                match &profile.service {
                    Service::Commands(_) => "the product's own commands",
                    _ => "a unit that the profile names",
                }
            ),
            "let it start the program below STATE/store/current by hand, and restart one server after the other; `upshift check` says when that is done",
        );
    }
    let servers: Vec<_> = survey
        .servers
        .iter()
        .filter(|server| !from_store(server))
        .map(|server| server.index)
        .collect();
    for server in survey.servers.iter().filter(|server| !in_store(server)) {
        refusals.add_host(
            "not-adopted",
            server.name,
            format!(
                "the release store's link does not point at {}, which runs",
                server.version
            ),
            "put it there: `upshift adopt`",
        );
    }
    let text = version.to_string();
    let edge = PathEdge {
        from: text.clone(),
        to: text,
        strategy: Strategy::Rolling,
        when: Vec::new(),
        source: Source {
            title: "the same version, started from the release store".to_owned(),
            link: None,
        },
        note: None,
    };
    let leg = Leg {
        from: version.clone(),
        to: version,
        edge: &edge,
        servers,
    };
    if leg.servers.is_empty() && refusals.is_empty() {
        return Ok(None);
    }
    let legs = [leg];
    let mut warnings = Vec::new();
    let mut judge = Judge::new(&survey);
    checks::all(&survey, &legs, &[], &mut judge, &mut refusals, &mut warnings);
    let layout = layout::lay_out(&survey, &legs, &[], &mut refusals);
    if !refusals.is_empty() {
        return Err(refusals.into_sorted());
    }
    Ok(Some(crate::assemble(
        &survey,
        &[],
        layout,
        refusals,
        warnings,
        Vec::new(),
    )))
}

/// The one version that runs on all servers.
fn one_version(
    profile: &Profile,
    fleet_name: &str,
    fleet: &Fleet,
    facts: &Facts,
    request: &Request,
    refusals: &mut Refusals,
) -> Option<Version> {
    // What stands in the way of seeing the servers is told by the survey that the plan is made from.
    let mut told_later = Refusals::of(request);
    let survey = Survey::take(profile, fleet_name, fleet, facts, request, &mut told_later);
    match survey.running()[..] {
        [] => None,
        [version] => Some(version.clone()),
        [oldest, .., newest] => {
            refusals.add(
                "mixed-versions",
                format!("the servers run several versions, from {oldest} to {newest}"),
                "bring all of them to one version first",
            );
            None
        }
    }
}

/// Whether the process runs a release of the store. What is not known is not taken for that: the server is restarted.
fn from_store(server: &Server<'_>) -> bool {
    let process = server.facts.probes.get(PROCESS_PROBE);
    process.is_some_and(|process| process["release"].is_string())
}

/// Whether the store's link points at what runs.
fn in_store(server: &Server<'_>) -> bool {
    let releases = &server.facts.host.releases;
    releases.get(server.version.as_str()) == Some(&ReleaseStatus::Permanent)
}
