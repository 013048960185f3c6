//! By the end of its window a switch is finished or rolled back, by the controller or by the guards: in the shortest window that the
//! planner accepts, with faults that take the controller or a server away from the others, at every third step of the hop.

use upshift_model::Millis;
use upshift_model::profile::Strategy;
use upshift_sim::exhaustive::{Boundary, Case, Kind, boundaries};
use upshift_sim::fault::Moment;
use upshift_sim::scenario;
use upshift_sim::trace::Level;
use upshift_sim::world::World;

/// What the profile of the simulated product needs: 20 s and 10 s for the way forward, a lease of 60 s, 10 s and 20 s for rolling back.
const SHORTEST: Millis = Millis::seconds(120);

/// The first server of the plan's order, which pauses and resumes service for all.
const FIRST: usize = 1;

/// Runs one case to its end; what breaks the promise, if anything does.
fn judge(boundary: Boundary, kind: Kind) -> Option<String> {
    let mut profile = scenario::profile();
    profile.window.limit = SHORTEST;
    let case = Case {
        strategy: Strategy::Switch,
        boundary,
        kind,
    };
    let mut world = case.scenario().world(&profile, Level::Silent);
    let window = &world.plan.hops[0].windows[0];
    assert_eq!(window.nodes[0].0 as usize, FIRST);
    assert_eq!(window.limit.plus(window.reserve), SHORTEST);
    let mut disturbed: Option<(u64, u64)> = None;
    while world.now < 300_000 {
        world.advance();
        if is_disturbed(&world) {
            disturbed = Some((disturbed.map_or(world.now, |(since, _)| since), world.now));
        }
    }
    let versions: Vec<_> = (0..world.hosts.len())
        .map(|host| world.truth(host).loaded)
        .collect();
    let mixed = versions.iter().any(|version| *version != versions[0]);
    let (since, last) = disturbed?;
    // The one case that guards alone cannot decide: the decision to stay was under way.
    if mixed && !world.in_doubt() {
        return Some(format!("mixed in the end: {versions:?}"));
    }
    (last - since > SHORTEST.0).then(|| format!("service is disturbed from {since} to {last}"))
}

/// Whether service is paused or a server is down. One that is only cut off from the others does not count: the cut is no doing of ours.
fn is_disturbed(world: &World) -> bool {
    world.balancer.paused || (0..world.hosts.len()).any(|host| world.truth(host).loaded.is_none())
}

#[test]
fn a_switch_ends_within_the_shortest_window_that_is_accepted() {
    let profile = scenario::profile();
    let kinds = [
        Kind::ControllerGoneForGood(Moment::HalfPerformed),
        Kind::ControllerGoneForGood(Moment::AfterPerforming),
        Kind::ControllerPartition,
        Kind::LongPartition,
        Kind::NewNeverHealthy,
    ];
    let cases: Vec<(Boundary, Kind)> = boundaries(Strategy::Switch, &profile)
        .into_iter()
        .step_by(3)
        .flat_map(|boundary| kinds.map(|kind| (boundary, kind)))
        // What is done once for the cluster is done on this server: service stays paused while it is cut off.
        .filter(|(boundary, kind)| !(boundary.host == FIRST && *kind == Kind::LongPartition))
        .collect();
    assert!(cases.len() > 100, "{}", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(boundary, kind)| {
            judge(*boundary, *kind).map(|what| format!("{boundary:?} {kind:?}: {what}"))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}
