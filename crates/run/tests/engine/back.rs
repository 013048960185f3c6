//! What is taken back, in which order, and when.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};
use upshift_model::action::Report;
use upshift_model::probe::ProbeFailure;
use upshift_model::profile::{At, Slot};
use upshift_plan::StepKind;
use upshift_run::{OperatorCommand, Outcome};

use crate::puppet::{BACK, Builder, FORWARD, Puppet, held, proof, recipe, rolled_back, seconds, without};

#[test]
fn a_bad_second_host_is_rolled_back_first_then_the_first_one_and_the_third_is_never_touched() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.start().run();
    let reason = rolled_back(&puppet);
    assert!(
        reason.contains("h2") && reason.contains("waiting for recovered"),
        "{reason}"
    );
    assert_eq!(puppet.orders_to("h3"), ["unpack"]);
    assert_eq!(puppet.orders_to("h1"), [&FORWARD[..], &BACK[..]].concat());
    let back: Vec<&str> = puppet
        .orders
        .iter()
        .filter(|(_, title, _)| BACK.contains(&title.as_str()))
        .map(|(host, ..)| host.as_str())
        .collect();
    assert_eq!(back, ["h2", "h2", "h2", "h1", "h1", "h1"]);
    assert_eq!(puppet.disarmed, ["h2", "h1"]);
    let view = puppet.state.view();
    assert!(view.nodes.iter().all(|node| node.version == "1.0.0"), "{view:?}");
}

#[test]
fn only_what_was_begun_is_undone() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| {
        Some(match title {
            "drain" => Report::Failed {
                reason: "no".to_owned(),
            },
            _ => Report::Done { output: Value::Null },
        })
    });
    puppet.start().run();
    rolled_back(&puppet);
    assert_eq!(
        puppet.orders_to("h1"),
        ["unpack", "arm guard", "drain", "undrain"]
    );
}

/// The gate of the rollback asks for the other servers, where the server itself serves.
pub fn asks_the_others_where_it_serves() -> Builder {
    let mut plan = Builder::rolling();
    let mut gate = plan.recipe_mut("gate").clone();
    gate.only_if = Some(proof("serves", At::Node, 1));
    gate.proof = vec![proof("others", At::Node, 1)];
    let gate = plan.add(gate);
    let windows = &mut plan.plan.hops[0].windows;
    for step in windows
        .iter_mut()
        .flat_map(|window| &mut window.rollback_gate)
        .flat_map(|group| &mut group.steps)
    {
        step.recipe = gate;
    }
    plan
}

#[test]
fn a_server_that_nobody_answers_for_is_brought_back_without_waiting_for_the_others() {
    let plan = asks_the_others_where_it_serves();
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(if probe.starts_with("serves@") {
            Err(ProbeFailure::Failed("connection refused".to_owned()))
        } else {
            Ok(json!({"ok": !probe.starts_with("others@") && probe != "recovered@h2"}))
        })
    });
    puppet.start().run();
    assert!(rolled_back(&puppet).contains("h2"));
    assert_eq!(puppet.orders_to("h1"), [&FORWARD[..], &BACK[..]].concat());
    let looks = puppet.asked.iter().filter(|(probe, _)| probe == "serves@h1");
    assert_eq!(looks.count(), 5, "one look alone may have been a blip");
}

#[test]
fn a_lasting_fault_while_soaking_rolls_back_and_a_blip_does_not() {
    for (length, good) in [(3, true), (30, false)] {
        let mut puppet = Puppet::new(Builder::rolling().plan);
        puppet.on_probe = Box::new(move |probe, now| {
            let bad = probe == "watched@h2" && now >= seconds(5) && now < seconds(5 + length);
            Some(Ok(json!({"ok": !bad})))
        });
        puppet.start().run();
        if good {
            assert_eq!(puppet.outcome(), Outcome::Upgraded);
        } else {
            let reason = rolled_back(&puppet);
            assert!(reason.contains("while watching: waiting for watched"), "{reason}");
            let rearmed = puppet
                .orders_to("h1")
                .iter()
                .filter(|title| **title == "arm guard")
                .count();
            assert_eq!(rearmed, 2, "guards stand again before anything is taken back");
        }
    }
}

/// A host that is busy answers late or not at all, and what took long is asked less often afterwards.
#[test]
fn one_observation_while_soaking_that_is_not_answered_is_a_blip_and_many_are_not() {
    for (unanswered, good) in [(1, true), (usize::MAX, false)] {
        let mut puppet = Puppet::new(Builder::rolling().plan);
        let mut left = unanswered;
        puppet.on_probe = Box::new(move |probe, now| {
            if probe == "watched@h2" && now >= seconds(5) && left > 0 {
                left -= 1;
                return None;
            }
            Some(Ok(json!({"ok": true})))
        });
        puppet.start().run();
        if good {
            assert_eq!(puppet.outcome(), Outcome::Upgraded);
        } else {
            let reason = rolled_back(&puppet);
            assert!(reason.contains("while watching: waiting for watched"), "{reason}");
        }
    }
}

#[test]
fn a_window_that_is_open_too_long_is_rolled_back() {
    let mut plan = Builder::rolling();
    plan.recipe_mut("recover").within = seconds(1000);
    let mut puppet = without(plan, "recovered@h1");
    puppet.start().until(|puppet| puppet.state.rolling_back());
    assert!(puppet.state.rolling_back() && puppet.state.outcome().is_none());
    assert_eq!((puppet.now, puppet.state.now()), (seconds(300), seconds(300)));
    puppet.run();
    let reason = rolled_back(&puppet);
    assert!(
        reason.contains("open for 300.0 s, longer than it may be")
            && reason.contains("waiting for recovered"),
        "{reason}"
    );
}

#[test]
fn a_rollback_that_is_stuck_holds_and_never_loops() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(Ok(
            json!({"ok": probe != "recovered@h2" && probe != "switch back@h2"}),
        ))
    });
    puppet.start().run();
    let reason = held(&puppet);
    assert!(
        reason.contains("the rollback is stuck") && reason.contains("h2"),
        "{reason}"
    );
    let tries = puppet
        .orders_to("h2")
        .iter()
        .filter(|title| **title == "switch back")
        .count();
    assert_eq!(tries, 1);
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.operator(OperatorCommand::Resume).run();
    rolled_back(&puppet);
    assert!(puppet.orders_to("h1").ends_with(&BACK));
}

/// All servers serve on the new version, and while they are watched all of them fail: none can bear the loss of another.
fn all_fail_while_watched() -> Puppet {
    let mut plan = Builder::rolling();
    plan.recipe_mut("switch back").kind = StepKind::Undo(Slot::Start);
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, now| {
        let dark = now >= seconds(5) && (probe.starts_with("watched@") || probe.starts_with("settled@"));
        Some(Ok(json!({ "ok": !dark })))
    });
    puppet.start().run();
    puppet
}

#[test]
fn a_cluster_that_serves_nobody_any_more_is_taken_back_at_once_when_an_operator_says_so() {
    let mut puppet = all_fail_while_watched();
    let Outcome::Held { remedies, .. } = puppet.outcome() else {
        panic!("{:?}", puppet.outcome());
    };
    assert!(
        remedies
            .iter()
            .any(|remedy| remedy.contains("`upshift rollback --all-at-once`")),
        "{remedies:?}"
    );
    let before = puppet.orders.len();
    puppet.operator(OperatorCommand::RollbackAllAtOnce).run();
    rolled_back(&puppet);
    let orders: Vec<(&str, &str)> = puppet.orders[before..]
        .iter()
        .filter(|(_, title, _)| BACK.contains(&title.as_str()))
        .map(|(host, title, _)| (host.as_str(), title.as_str()))
        .collect();
    let [stop, switch, undrain] = BACK;
    let hosts = ["h3", "h2", "h1"];
    let started = hosts.iter().flat_map(|host| [(*host, stop), (*host, switch)]);
    let returned = hosts.iter().map(|host| (*host, undrain));
    assert_eq!(orders, started.chain(returned).collect::<Vec<_>>());
}

#[test]
fn all_at_once_waits_for_no_other_server_also_where_one_serves() {
    let mut plan = asks_the_others_where_it_serves();
    plan.recipe_mut("switch back").kind = StepKind::Undo(Slot::Start);
    let again = plan.plan.hops[0].windows[1].rollback_gate[0].clone();
    let recipe = again.steps[0].recipe;
    let step = plan.step(upshift_plan::NodeIndex(1), recipe, vec![]);
    let group = upshift_plan::Group { steps: vec![step] };
    plan.plan.hops[0].windows[1].rollback.insert(0, group);
    let mut puppet = Puppet::new(plan.plan);
    // The second server fails, serves again on the old version, and none of the others does.
    puppet.on_probe = Box::new(|probe, _| {
        Some(Ok(
            json!({"ok": probe != "recovered@h2" && !probe.starts_with("others@")}),
        ))
    });
    puppet.start().run();
    assert!(held(&puppet).contains("the rollback is stuck"));
    let before = puppet.asked.len();
    puppet.operator(OperatorCommand::RollbackAllAtOnce).run();
    rolled_back(&puppet);
    let mut asked = puppet.asked[before..].iter();
    assert!(asked.all(|(probe, _)| !probe.starts_with("others@")));
}

#[test]
fn who_waits_for_nobody_is_not_told_to_roll_back_at_once() {
    // One server alone is left to be taken back.
    let mut plan = Builder::rolling();
    plan.plan.hops[0].windows.truncate(1);
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(Ok(
            json!({"ok": probe != "recovered@h1" && probe != "switch back@h1"}),
        ))
    });
    puppet.start().run();
    let Outcome::Held { remedies, .. } = puppet.outcome() else {
        panic!("{:?}", puppet.outcome());
    };
    assert!(
        !remedies.iter().any(|remedy| remedy.contains("--all-at-once")),
        "{remedies:?}"
    );
    // What is stuck although it waits for nobody is not mended by asking for it once more.
    let mut puppet = all_fail_while_watched();
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": probe != "switch back@h2"}))));
    puppet.operator(OperatorCommand::RollbackAllAtOnce).run();
    let Outcome::Held { remedies, .. } = puppet.outcome() else {
        panic!("{:?}", puppet.outcome());
    };
    assert!(
        !remedies.iter().any(|remedy| remedy.contains("--all-at-once")),
        "{remedies:?}"
    );
}

#[test]
fn all_at_once_is_for_a_rollback_that_is_stuck() {
    let switches = |puppet: &Puppet| -> Vec<(String, String)> {
        let orders = puppet.orders.iter();
        orders
            .filter(|(_, title, _)| BACK.contains(&title.as_str()))
            .map(|(host, title, _)| (host.clone(), title.clone()))
            .collect()
    };
    let one_by_one = |puppet: &Puppet| {
        let hosts: Vec<String> = switches(puppet).into_iter().map(|(host, _)| host).collect();
        assert_eq!(hosts, ["h3", "h3", "h3", "h2", "h2", "h2", "h1", "h1", "h1"]);
    };
    let plan = || {
        let mut plan = Builder::rolling();
        plan.recipe_mut("switch back").kind = StepKind::Undo(Slot::Start);
        plan.plan
    };
    // The run has ended well: the servers are spared.
    let mut puppet = Puppet::new(plan());
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    puppet.operator(OperatorCommand::RollbackAllAtOnce).run();
    rolled_back(&puppet);
    one_by_one(&puppet);
    // Said while the rollback goes on by itself, it changes nothing, and is not kept for later.
    let mut puppet = Puppet::new(plan());
    puppet.start().run();
    puppet.operator(OperatorCommand::Rollback);
    puppet.until(|puppet| switches(puppet).len() == 1);
    puppet.operator(OperatorCommand::RollbackAllAtOnce).run();
    rolled_back(&puppet);
    one_by_one(&puppet);
}

#[test]
fn in_a_rollback_the_gate_is_asked_again_of_completed_windows_before_they_stop() {
    let mut plan = Builder::rolling();
    let gate = plan.recipe_mut("gate").clone();
    let again = plan.add(upshift_plan::Recipe {
        title: "gate again".to_owned(),
        kind: StepKind::Undo(Slot::Gate),
        proof: vec![proof("again", At::Node, 1)],
        ..gate
    });
    for window in 0..3 {
        let step = plan.step(upshift_plan::NodeIndex(window), again, vec![]);
        let back = &mut plan.plan.hops[0].windows[window as usize].rollback;
        back.insert(0, upshift_plan::Group { steps: vec![step] });
    }
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(Ok(
            json!({"ok": probe != "recovered@h2" && !probe.starts_with("again@")}),
        ))
    });
    puppet.start().run();
    assert!(held(&puppet).contains("waiting for again"));
    assert!(
        puppet.orders_to("h2").ends_with(&BACK),
        "the window that failed waits for nothing"
    );
    assert_eq!(
        puppet.orders_to("h1"),
        FORWARD,
        "the one that serves is not stopped"
    );
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": !probe.starts_with("crossed@")}))));
    puppet.operator(OperatorCommand::Resume).run();
    rolled_back(&puppet);
}

/// A plan whose rollback ends with an observation of every server.
pub fn observed_after_a_rollback() -> Builder {
    let mut plan = Builder::rolling();
    let observe = plan.add(recipe(
        StepKind::Undo(Slot::Verify),
        "runs the old one",
        None,
        "old",
    ));
    plan.plan.hops[0].rolled_back = vec![plan.group_all(observe)];
    plan
}

#[test]
fn rolled_back_is_said_only_after_every_server_was_observed() {
    let mut puppet = without(observed_after_a_rollback(), "recovered@h2");
    puppet.start().run();
    rolled_back(&puppet);
    let last: Vec<&str> = puppet
        .asked
        .iter()
        .rev()
        .take(3)
        .map(|(probe, _)| probe.as_str())
        .collect();
    assert_eq!(last, ["old@h3", "old@h2", "old@h1"]);
    assert_eq!(puppet.orders_to("h3"), ["unpack"]);
}

#[test]
fn a_server_that_was_never_touched_and_is_down_is_told_and_observed_again_on_resume() {
    let mut puppet = Puppet::new(observed_after_a_rollback().plan);
    let down = Rc::new(Cell::new(true));
    let seen = down.clone();
    puppet.on_probe = Box::new(move |probe, _| {
        let ok = match probe {
            "recovered@h2" => false,
            "old@h3" => !seen.get(),
            _ => !probe.starts_with("crossed@"),
        };
        Some(Ok(json!({"ok": ok})))
    });
    puppet.start().run();
    let reason = held(&puppet);
    assert!(
        reason.contains("rolled back, but not every server is proven") && reason.contains("h3"),
        "{reason}"
    );
    // No guard is left, and what was rolled back is not done once more.
    let orders = puppet.orders.len();
    puppet.operator(OperatorCommand::Resume).run();
    assert!(held(&puppet).contains("h3"));
    down.set(false);
    puppet.operator(OperatorCommand::Resume).run();
    rolled_back(&puppet);
    assert_eq!(puppet.orders.len(), orders);
}
