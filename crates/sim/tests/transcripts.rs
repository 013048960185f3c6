//! Whole runs as a reader can follow them: what happened when, on which host.

use upshift_model::profile::Strategy;
use upshift_run::OperatorCommand;
use upshift_sim::controller::outcome_words;
use upshift_sim::fault::{Fault, Moment, When};
use upshift_sim::product::Behaviour;
use upshift_sim::scenario::{Scenario, Summary};
use upshift_sim::trace::Level;

/// The transcript, with how it ended; every promise must have been kept.
fn story(scenario: &Scenario) -> String {
    let summary: Summary = scenario.run(Level::Story);
    assert_eq!(summary.violations, [], "{}", summary.trace);
    let end = summary
        .outcome
        .as_ref()
        .map_or_else(|| "nobody came back".to_owned(), outcome_words);
    let version = summary.version.unwrap_or_else(|| "different versions".to_owned());
    format!(
        "{}\nIn the end: {end}\nEvery host points at {version}.\n",
        summary.trace
    )
}

fn bad(host: Option<usize>, version: &str, behaviour: Behaviour) -> Fault {
    Fault::Misbehaves(host, version.to_owned(), behaviour)
}

const START: When = When::Journal(0);

#[test]
fn rolling_good() {
    insta::assert_snapshot!(story(&Scenario::of(Strategy::Rolling)));
}

#[test]
fn rolling_with_a_bad_second_node() {
    let scenario =
        Scenario::of(Strategy::Rolling).with(START, bad(Some(2), "1.1.1", Behaviour::NeverHealthy));
    let story = story(&scenario);
    assert!(story.contains("Every host points at 1.1.0."));
    insta::assert_snapshot!(story);
}

#[test]
fn switch_good() {
    insta::assert_snapshot!(story(&Scenario::of(Strategy::Switch)));
}

#[test]
fn switch_with_the_controller_lost_in_the_window() {
    let lost = Fault::ControllerKilled(Moment::AfterPerforming, None);
    let story = story(&Scenario::of(Strategy::Switch).with(When::At(18_300), lost));
    assert!(story.contains("Every host points at 1.1.0."));
    insta::assert_snapshot!(story);
}

#[test]
fn rebuild_good() {
    insta::assert_snapshot!(story(&Scenario::of(Strategy::Rebuild)));
}

#[test]
fn rebuild_whose_restore_count_is_short() {
    let story = story(&Scenario::of(Strategy::Rebuild).with(START, Fault::RestoreShort));
    assert!(story.contains("Every host points at 2.0.0."));
    insta::assert_snapshot!(story);
}

#[test]
fn hot_good() {
    insta::assert_snapshot!(story(&Scenario::of(Strategy::Hot)));
}

#[test]
fn hot_with_a_failing_code_change() {
    let broken = bad(Some(2), "1.0.1", Behaviour::BrokenCodeChange);
    let story = story(&Scenario::of(Strategy::Hot).with(START, broken));
    assert!(story.contains("Every host points at 1.0.0."));
    insta::assert_snapshot!(story);
}

#[test]
fn two_controllers() {
    let story = story(
        &Scenario::of(Strategy::Rolling).with(When::At(17_500), Fault::SecondController { fork: true }),
    );
    assert!(story.contains("superseded by the controller with token 2"));
    insta::assert_snapshot!(story);
}

#[test]
fn point_of_no_return_with_consent() {
    // The new version turns out bad after the point of no return: nothing rolls back over it.
    let late = bad(Some(0), "1.1.0", Behaviour::CrashesAfter(15_000));
    let story = story(&Scenario::between("1.0.0", "1.1.0").with(START, late));
    assert!(story.contains("point of no return"));
    insta::assert_snapshot!(story);
}

#[test]
fn point_of_no_return_without_consent() {
    let scenario = Scenario {
        consent: false,
        ..Scenario::between("1.0.0", "1.1.0")
    };
    let story = story(&scenario);
    assert!(story.contains("that was not confirmed") && story.contains("Every host points at 1.0.0."));
    insta::assert_snapshot!(story);
}

#[test]
fn point_of_no_return_with_consent_given_when_asked() {
    let yes = Fault::Operator(OperatorCommand::Consent);
    let scenario = Scenario {
        consent: false,
        ..Scenario::between("1.0.0", "1.1.0")
    };
    let story = story(&scenario.with(When::At(40_000), yes));
    assert!(story.contains("Every host points at 1.1.0."));
    insta::assert_snapshot!(story);
}

#[test]
fn agent_killed_in_the_middle_of_a_step() {
    let story = story(&Scenario::of(Strategy::Rolling).with(When::At(17_500), Fault::AgentKilled(1)));
    assert!(story.contains("interrupted"));
    insta::assert_snapshot!(story);
}

#[test]
fn guard_fires_while_partitioned_and_the_controller_returns() {
    let cut = Fault::ControllersCutOff(110_000);
    let story = story(&Scenario::of(Strategy::Rolling).with(When::At(21_000), cut));
    insta::assert_snapshot!(story);
}

#[test]
fn slow_recovery_extends_the_deadline() {
    let slow = bad(Some(1), "1.1.1", Behaviour::SlowRecovery(20));
    let story = story(&Scenario::of(Strategy::Rolling).with(START, slow));
    assert!(story.contains("Every host points at 1.1.1."));
    insta::assert_snapshot!(story);
}

#[test]
fn unrelated_server_dies_during_a_window() {
    let dies = Fault::ServerDies(0, None);
    insta::assert_snapshot!(story(
        &Scenario::of(Strategy::Rolling).with(When::At(18_100), dies)
    ));
}

#[test]
fn old_version_no_longer_starts() {
    let scenario = Scenario::of(Strategy::Rolling)
        .with(START, bad(Some(1), "1.1.1", Behaviour::NeverHealthy))
        .with(START, bad(Some(1), "1.1.0", Behaviour::DoesNotStart));
    let story = story(&scenario);
    assert!(story.contains("held:"));
    insta::assert_snapshot!(story);
}

#[test]
fn a_stuck_rollback_goes_forward_again() {
    let scenario = Scenario::of(Strategy::Rolling)
        .with(START, bad(Some(1), "1.1.1", Behaviour::NeverHealthy))
        .with(START, bad(Some(1), "1.1.0", Behaviour::DoesNotStart))
        .with(When::At(100_000), bad(Some(1), "1.1.1", Behaviour::Good))
        .with(When::At(110_000), Fault::Operator(OperatorCommand::ResumeForward));
    let story = story(&scenario);
    assert!(story.contains("Every host points at 1.1.1."));
    insta::assert_snapshot!(story);
}

#[test]
fn what_a_guard_could_not_bring_back_goes_forward_again() {
    // The controller is gone until the guard of the server has fired, and failed.
    let scenario = Scenario::of(Strategy::Rolling)
        .with(START, bad(Some(1), "1.1.1", Behaviour::NeverHealthy))
        .with(START, bad(Some(1), "1.1.0", Behaviour::DoesNotStart))
        .with(When::At(30_000), Fault::ControllersCutOff(300_000))
        .with(When::At(340_000), Fault::Operator(OperatorCommand::Resume))
        .with(When::At(350_000), bad(Some(1), "1.1.1", Behaviour::Good))
        .with(When::At(352_000), Fault::Operator(OperatorCommand::ResumeForward));
    let story = story(&scenario);
    assert!(story.contains("guard") && story.contains("Every host points at 1.1.1."));
    insta::assert_snapshot!(story);
}
