//! What operators say: pause, resume, abort, rollback, finalize.

use serde_json::{Value, json};
use upshift_model::action::Report;
use upshift_run::{EventKind, OperatorCommand, Outcome, Pause};

use crate::puppet::{BACK, Builder, FORWARD, Puppet, held, rolled_back, seconds, without};

#[test]
fn a_pause_never_takes_hold_inside_a_window() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"drain"));
    puppet.operator(OperatorCommand::Pause);
    assert_eq!(puppet.state.view().pause, Pause::Asked);
    puppet.until(|puppet| puppet.now >= seconds(200));
    assert_eq!(puppet.orders_to("h1"), FORWARD, "the window is finished");
    assert_eq!(puppet.orders_to("h2"), ["unpack"], "and no other is opened");
    assert_eq!(puppet.state.view().pause, Pause::Reached);
    assert!(puppet.renewed >= 5, "the guard is renewed while paused");
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

#[test]
fn a_pause_lets_what_was_begun_be_finished() {
    let mut puppet = without(Builder::rolling(), "settled@h2");
    puppet
        .start()
        .until(|puppet| puppet.asked.iter().any(|(probe, _)| probe == "settled@h2"));
    puppet.operator(OperatorCommand::Pause);
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.until(|puppet| puppet.state.view().pause == Pause::Reached);
    assert_eq!(
        puppet.orders_to("h2"),
        FORWARD,
        "the look before the window was begun, so it is gone through"
    );
    assert_eq!(puppet.orders_to("h3"), ["unpack"]);
}

#[test]
fn what_is_under_way_when_an_operator_rolls_back_is_given_up() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| (title != "stop").then_some(Report::Done { output: Value::Null }));
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"stop"));
    puppet.operator(OperatorCommand::Abort).run();
    rolled_back(&puppet);
    let times = puppet.state.times();
    let stop = times
        .iter()
        .find(|time| time.title == "stop" && time.host == "h1")
        .expect("it was begun");
    assert_eq!(stop.stage, "failed");
    assert!(stop.ended.is_some());
    let order = puppet
        .sent
        .iter()
        .find(|order| order.step == stop.id)
        .expect("sent");
    let (step, attempt) = (order.step, order.attempt);
    puppet.tell(EventKind::Reported {
        step,
        attempt,
        report: Report::Done { output: Value::Null },
    });
    assert_eq!(
        puppet.state.times(),
        times,
        "what is heard of it afterwards changes nothing"
    );
}

#[test]
fn abort_rolls_back_from_inside_a_window_and_refuses_where_nothing_was_changed() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h2").contains(&"stop"));
    puppet.operator(OperatorCommand::Abort).run();
    assert!(rolled_back(&puppet).contains("ada asked"));
    assert!(puppet.orders_to("h1").ends_with(&BACK));
    assert!(
        puppet.orders_to("h2").ends_with(&["stop back", "undrain"]),
        "its binaries had not been switched yet"
    );

    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().operator(OperatorCommand::Abort);
    assert!(matches!(puppet.outcome(), Outcome::Refused { .. }));
}

#[test]
fn between_windows_a_cluster_that_cannot_bear_the_next_one_holds() {
    let mut puppet = without(Builder::rolling(), "settled@h2");
    puppet.start().run();
    assert!(held(&puppet).contains("waiting for settled"));
    assert_eq!(
        puppet.disarmed,
        ["h1"],
        "nothing moves while the operator decides"
    );
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    let arms = puppet
        .orders_to("h1")
        .iter()
        .filter(|title| **title == "arm guard")
        .count();
    assert_eq!(arms, 2, "the guard of the finished host stands again");
}

#[test]
fn a_hold_can_be_ended_by_rolling_back() {
    let mut puppet = without(Builder::rolling(), "settled@h2");
    puppet.start().run();
    held(&puppet);
    puppet.operator(OperatorCommand::Abort).run();
    rolled_back(&puppet);
    assert!(puppet.orders_to("h1").ends_with(&BACK));
}

#[test]
fn a_finished_run_can_be_rolled_back_until_it_is_finalized() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().run();
    puppet.operator(OperatorCommand::Rollback).run();
    rolled_back(&puppet);
    for host in ["h1", "h2", "h3"] {
        assert!(puppet.orders_to(host).ends_with(&BACK), "{host}");
    }

    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().run();
    puppet.operator(OperatorCommand::Finalize).run();
    assert_eq!(puppet.outcome(), Outcome::Finalized);
    assert!(puppet.orders_to("h1").ends_with(&["clean"]));
    puppet.operator(OperatorCommand::Rollback).run();
    assert_eq!(puppet.outcome(), Outcome::Finalized, "finalized is final");
}

#[test]
fn who_pauses_and_leaves_gets_a_run_that_rests_without_guards() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"drain"));
    puppet.operator(OperatorCommand::PauseAndLeave).run();
    assert_eq!(held(&puppet), "paused, as ada asked");
    assert!(puppet.state.rests_paused());
    assert_eq!(puppet.orders_to("h1"), FORWARD, "the window is finished");
    assert_eq!(puppet.orders_to("h2"), ["unpack"], "and no other is opened");
    assert_eq!(puppet.disarmed, ["h1"], "nobody renews it any more");
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert!(!puppet.state.rests_paused());
}

#[test]
fn before_any_guard_stands_a_pause_is_just_one() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().operator(OperatorCommand::PauseAndLeave);
    puppet.until(|puppet| puppet.state.view().pause == Pause::Reached);
    assert_eq!(puppet.state.view().pause, Pause::Reached);
    assert_eq!(puppet.state.outcome(), None);
}

fn as_is() -> OperatorCommand {
    OperatorCommand::EndAsIs {
        reason: "h2 is replaced tomorrow".to_owned(),
    }
}

#[test]
fn a_rollback_that_is_stuck_can_be_ended_as_it_is() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.on_order = Box::new(|order, title| {
        let stuck = title == "switch back" && order.node.0 == 1;
        Some(match stuck {
            true => Report::Failed {
                reason: "disk full".to_owned(),
            },
            false => Report::Done { output: Value::Null },
        })
    });
    puppet.start().run();
    let Outcome::Held { remedies, .. } = puppet.outcome() else {
        panic!("{:?}", puppet.outcome())
    };
    assert!(
        remedies
            .iter()
            .any(|remedy| remedy.contains("upshift end --as-is")),
        "{remedies:?}"
    );
    let orders = puppet.orders.len();
    puppet.operator(as_is()).run();
    let Outcome::EndedAsIs { reason } = puppet.outcome() else {
        panic!("{:?}", puppet.outcome())
    };
    assert_eq!(reason, "ada ended it as it was: h2 is replaced tomorrow");
    for command in [
        OperatorCommand::Resume,
        OperatorCommand::Rollback,
        OperatorCommand::Finalize,
    ] {
        puppet.operator(command).run();
    }
    assert_eq!(puppet.orders.len(), orders, "nothing more is done");
    assert!(matches!(puppet.outcome(), Outcome::EndedAsIs { .. }));
}

#[test]
fn only_what_is_held_can_be_ended_as_it_is_and_not_under_a_guard() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().run();
    puppet.operator(as_is()).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);

    let mut puppet = without(Builder::rolling(), "settled@h2");
    puppet.on_disarm = Box::new(|_, _| None);
    puppet.start().run();
    assert!(held(&puppet).contains("may still act"));
    puppet.operator(as_is()).run();
    held(&puppet);
    assert!(puppet.state.refusal().unwrap().contains("a guard may still act"));
}
