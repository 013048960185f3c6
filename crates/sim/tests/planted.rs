//! A simulator that cannot fail proves nothing: each of these plants a bug, and some promise must be seen broken.

use upshift_model::profile::Strategy;
use upshift_sim::fault::{Fault, Moment, When};
use upshift_sim::product::Behaviour;
use upshift_sim::sabotage::Sabotage;
use upshift_sim::scenario::Scenario;
use upshift_sim::trace::Level;

fn broken(scenario: Scenario, sabotage: Sabotage) -> Vec<u8> {
    let (promises, trace) = promises_broken(scenario, sabotage);
    assert!(!promises.is_empty(), "the bug was not noticed:\n{trace}");
    promises
}

fn promises_broken(mut scenario: Scenario, sabotage: Sabotage) -> (Vec<u8>, String) {
    let sound = scenario.run(Level::Silent);
    assert_eq!(sound.violations, [], "without the bug every promise is kept");
    scenario.sabotage = sabotage;
    let summary = scenario.run(Level::Story);
    let promises = summary.violations.iter().map(|violation| violation.promise);
    (promises.collect(), summary.trace.to_string())
}

/// Whether a promise is seen broken where the fault strikes at one of these moments: which one it must be depends on how long
/// steps take.
fn broken_at_some_moment(scenario: &Scenario, fault: &Fault, sabotage: &Sabotage, promise: u8) -> bool {
    (15_000..20_000).step_by(100).any(|moment| {
        let scenario = scenario.clone().with(When::At(moment), fault.clone());
        promises_broken(scenario, sabotage.clone()).0.contains(&promise)
    })
}

fn rolling() -> Scenario {
    Scenario::of(Strategy::Rolling)
}

#[test]
fn promise_1_notices_a_release_that_was_not_unpacked() {
    let sabotage = Sabotage {
        unpack_nothing: true,
        ..Sabotage::default()
    };
    assert!(broken(rolling(), sabotage).contains(&1));
}

#[test]
fn promise_2_notices_a_version_read_from_the_link() {
    let lie = rolling().with(When::At(17_900), Fault::VerbLies(1));
    let sabotage = Sabotage {
        read_the_link: true,
        ..Sabotage::default()
    };
    assert!(broken(lie, sabotage).contains(&2));
}

#[test]
fn promise_3_notices_a_lost_write() {
    let sabotage = Sabotage {
        careless_commits: true,
        ..Sabotage::default()
    };
    let scenario = rolling().with(When::At(12_000), Fault::ServerDies(0, Some(5_000)));
    assert!(broken(scenario, sabotage).contains(&3));
}

#[test]
fn promise_4_notices_an_action_done_twice() {
    let sabotage = Sabotage {
        run_twice: true,
        ..Sabotage::default()
    };
    let scenario = rolling().with(When::Journal(0), Fault::Noise(0, 30, 0));
    assert!(broken(scenario, sabotage).contains(&4));
}

#[test]
fn promise_4_notices_a_record_that_the_journal_loses() {
    let sabotage = Sabotage {
        forget_in_replay: true,
        ..Sabotage::default()
    };
    assert!(broken(rolling(), sabotage).contains(&4));
}

#[test]
fn promise_5_notices_a_host_that_obeys_an_old_controller() {
    let sabotage = Sabotage {
        ignore_fencing: true,
        ..Sabotage::default()
    };
    let fork = Fault::SecondController { fork: true };
    assert!(broken_at_some_moment(&rolling(), &fork, &sabotage, 5));
}

#[test]
fn promise_6_notices_a_gate_that_sees_nothing() {
    let sabotage = Sabotage {
        blind_gate: true,
        ..Sabotage::default()
    };
    let scenario = Scenario {
        servers: 5,
        ..rolling()
    }
    .with(When::At(16_200), Fault::ServerDies(4, None));
    assert!(broken(scenario, sabotage).contains(&6));
}

#[test]
fn promise_7_notices_a_false_success() {
    let sabotage = Sabotage {
        claim_success: true,
        ..Sabotage::default()
    };
    let bad = Fault::Misbehaves(Some(2), "1.1.1".to_owned(), Behaviour::NeverHealthy);
    assert!(broken(rolling().with(When::Journal(0), bad), sabotage).contains(&7));
}

#[test]
fn promise_7_notices_a_revert_that_is_dropped() {
    let sabotage = Sabotage {
        forget_reverts: true,
        ..Sabotage::default()
    };
    let bad = Fault::Misbehaves(Some(2), "1.1.1".to_owned(), Behaviour::NeverHealthy);
    assert!(broken(rolling().with(When::Journal(0), bad), sabotage).contains(&7));
}

#[test]
fn promise_8_notices_a_server_left_drained() {
    let lie = rolling();
    let sabotage = Sabotage {
        sticky_drain: true,
        ..Sabotage::default()
    };
    let broken = broken(lie, sabotage);
    assert!(broken.contains(&8) || broken.contains(&2), "{broken:?}");
}

#[test]
fn guards_that_sleep_are_noticed() {
    let sabotage = Sabotage {
        guards_sleep: true,
        ..Sabotage::default()
    };
    let gone = Fault::ControllerKilled(Moment::AfterPerforming, None);
    assert!(broken_at_some_moment(
        &Scenario::of(Strategy::Switch),
        &gone,
        &sabotage,
        3
    ));
}
