//! A simulator that cannot fail proves nothing: each of these plants a bug, and some promise must be seen broken.

use upshift_model::profile::Strategy;
use upshift_sim::fault::{Fault, Moment, When};
use upshift_sim::planted::PlantedFaults;
use upshift_sim::product::Behaviour;
use upshift_sim::random;
use upshift_sim::scenario::{self, Scenario};
use upshift_sim::trace::Level;

fn broken(scenario: Scenario, planted: PlantedFaults) -> Vec<u8> {
    let (promises, trace) = promises_broken(scenario, planted);
    assert!(!promises.is_empty(), "the bug was not noticed:\n{trace}");
    promises
}

fn promises_broken(mut scenario: Scenario, planted: PlantedFaults) -> (Vec<u8>, String) {
    let sound = scenario.run(Level::Silent);
    assert_eq!(sound.violations, [], "without the bug every promise is kept");
    scenario.planted = planted;
    let summary = scenario.run(Level::Story);
    let promises = summary.violations.iter().map(|violation| violation.promise);
    (promises.collect(), summary.trace.to_string())
}

/// Whether a promise is seen broken where the fault strikes at one of these moments: which one it must be depends on how long
/// steps take.
fn broken_at_some_moment(scenario: &Scenario, fault: &Fault, planted: &PlantedFaults, promise: u8) -> bool {
    (15_000..20_000).step_by(100).any(|moment| {
        let scenario = scenario.clone().with(When::At(moment), fault.clone());
        promises_broken(scenario, planted.clone()).0.contains(&promise)
    })
}

fn rolling() -> Scenario {
    Scenario::of(Strategy::Rolling)
}

#[test]
fn promise_1_notices_a_release_that_was_not_unpacked() {
    let planted = PlantedFaults {
        unpack_nothing: true,
        ..PlantedFaults::default()
    };
    assert!(broken(rolling(), planted).contains(&1));
}

#[test]
fn promise_2_notices_a_version_read_from_the_link() {
    let lie = rolling().with(When::At(17_900), Fault::VerbLies(1));
    let planted = PlantedFaults {
        read_the_link: true,
        ..PlantedFaults::default()
    };
    assert!(broken(lie, planted).contains(&2));
}

#[test]
fn promise_3_notices_a_lost_write() {
    let planted = PlantedFaults {
        careless_commits: true,
        ..PlantedFaults::default()
    };
    let scenario = rolling().with(When::At(12_000), Fault::ServerDies(0, Some(5_000)));
    assert!(broken(scenario, planted).contains(&3));
}

#[test]
fn promise_4_notices_an_action_done_twice() {
    let planted = PlantedFaults {
        run_twice: true,
        ..PlantedFaults::default()
    };
    let scenario = rolling().with(When::Journal(0), Fault::Noise(0, 30, 0));
    assert!(broken(scenario, planted).contains(&4));
}

#[test]
fn promise_4_notices_a_record_that_the_journal_loses() {
    let planted = PlantedFaults {
        forget_in_replay: true,
        ..PlantedFaults::default()
    };
    assert!(broken(rolling(), planted).contains(&4));
}

#[test]
fn promise_5_notices_a_host_that_obeys_an_old_controller() {
    let planted = PlantedFaults {
        ignore_fencing: true,
        ..PlantedFaults::default()
    };
    let fork = Fault::SecondController { fork: true };
    assert!(broken_at_some_moment(&rolling(), &fork, &planted, 5));
}

#[test]
fn promise_6_notices_a_gate_that_sees_nothing() {
    let planted = PlantedFaults {
        blind_gate: true,
        ..PlantedFaults::default()
    };
    let scenario = Scenario {
        servers: 5,
        ..rolling()
    }
    .with(When::At(16_200), Fault::ServerDies(4, None));
    assert!(broken(scenario, planted).contains(&6));
}

#[test]
fn promise_7_notices_a_false_success() {
    let planted = PlantedFaults {
        claim_success: true,
        ..PlantedFaults::default()
    };
    let bad = Fault::Misbehaves(Some(2), "1.1.1".to_owned(), Behaviour::NeverHealthy);
    assert!(broken(rolling().with(When::Journal(0), bad), planted).contains(&7));
}

#[test]
fn promise_7_notices_a_rollback_that_is_dropped() {
    let planted = PlantedFaults {
        forget_rollbacks: true,
        ..PlantedFaults::default()
    };
    let bad = Fault::Misbehaves(Some(2), "1.1.1".to_owned(), Behaviour::NeverHealthy);
    assert!(broken(rolling().with(When::Journal(0), bad), planted).contains(&7));
}

#[test]
fn promise_8_notices_a_server_left_drained() {
    let lie = rolling();
    let planted = PlantedFaults {
        sticky_drain: true,
        ..PlantedFaults::default()
    };
    let broken = broken(lie, planted);
    assert!(broken.contains(&8) || broken.contains(&2), "{broken:?}");
}

#[test]
fn guards_that_sleep_are_noticed() {
    let planted = PlantedFaults {
        guards_sleep: true,
        ..PlantedFaults::default()
    };
    let gone = Fault::ControllerKilled(Moment::AfterPerforming, None);
    assert!(broken_at_some_moment(
        &Scenario::of(Strategy::Switch),
        &gone,
        &planted,
        3
    ));
}

/// Whether the seeds that every test command runs notice a planted fault: the first one that does.
fn noticed_by_seeds(planted: &PlantedFaults) -> u64 {
    let profile = scenario::profile();
    let notices = |seed: &u64| {
        let mut draw = random::draw(*seed);
        draw.scenario.planted = planted.clone();
        draw.scenario.check_replay = false;
        let summary = draw.scenario.run_with(&profile, Level::Silent);
        !summary.violations.is_empty()
    };
    let seed = (0..200).find(notices);
    seed.unwrap_or_else(|| panic!("no seed notices {planted:?}"))
}

macro_rules! noticed {
    ($($name:ident: $fault:ident;)*) => {$(
        #[test]
        fn $name() {
            noticed_by_seeds(&PlantedFaults {
                $fault: true,
                ..PlantedFaults::default()
            });
        }
    )*};
}

noticed! {
    seeds_notice_waits_that_are_skipped: skip_waiting;
    seeds_notice_gates_that_are_ignored: ignore_gates;
    seeds_notice_exit_codes_that_are_trusted: trust_exit_codes;
    seeds_notice_guards_that_are_disarmed_early: disarm_early;
    seeds_notice_guards_that_are_not_asked: ask_no_guard;
    seeds_notice_two_servers_stopped: stop_two;
    seeds_notice_a_rollback_that_does_not_undrain: forget_undrain;
    seeds_notice_a_token_that_is_ignored: ignore_fencing;
    seeds_notice_guards_that_fire_twice: guards_fire_twice;
}
