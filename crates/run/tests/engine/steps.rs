//! One step: attempts, proofs, conditions, and reports that are lost or late.

use serde_json::{Value, json};
use upshift_model::Millis;
use upshift_model::action::Report;
use upshift_model::probe::ProbeFailure;
use upshift_model::profile::At;
use upshift_plan::StepId;
use upshift_run::{EventKind, Outcome};

use crate::puppet::{Builder, FORWARD, Puppet, held, proof, rolled_back, seconds, without};

#[test]
fn failures_that_may_pass_are_tried_again_with_growing_pauses() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|order, title| {
        Some(match (title, order.attempt) {
            ("stop", 1 | 2) => Report::Transient {
                reason: "busy".to_owned(),
            },
            _ => Report::Done { output: Value::Null },
        })
    });
    puppet.start().until(|puppet| puppet.orders.len() == 7);
    assert_eq!(
        puppet
            .orders_to("h1")
            .iter()
            .filter(|title| **title == "stop")
            .count(),
        2
    );
    let second = puppet.now;
    puppet.until(|puppet| puppet.orders_to("h1").contains(&"switch"));
    assert_eq!((second, puppet.now), (seconds(1), seconds(3)));
    puppet.run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

#[test]
fn after_the_last_attempt_the_window_is_rolled_back() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| {
        Some(match title {
            "stop" => Report::Transient {
                reason: "busy".to_owned(),
            },
            _ => Report::Done { output: Value::Null },
        })
    });
    puppet.start().run();
    assert!(rolled_back(&puppet).contains("busy"));
    assert_eq!(
        puppet
            .orders_to("h1")
            .iter()
            .filter(|title| **title == "stop")
            .count(),
        3
    );
}

#[test]
fn exit_zero_is_not_believed() {
    let mut puppet = without(Builder::rolling(), "stop@h1");
    puppet.start().run();
    assert!(rolled_back(&puppet).contains("waiting for stop"));
    assert!(!puppet.orders_to("h1").contains(&"switch"));
    assert_eq!(puppet.now, seconds(60), "its time is the step's deadline");
}

#[test]
fn a_proof_must_hold_in_a_row_and_one_blip_starts_it_again() {
    let mut plan = Builder::rolling();
    plan.recipe_mut("recover").proof = vec![proof("recovered", At::All, 3)];
    let mut puppet = Puppet::new(plan.plan);
    let mut looks = 0;
    puppet.on_probe = Box::new(move |probe, _| {
        if probe == "recovered@h3" {
            looks += 1;
            if looks == 2 {
                return Some(Err(ProbeFailure::Failed("429".to_owned())));
            }
        }
        Some(Ok(json!({"ok": true})))
    });
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h2").contains(&"drain"));
    assert_eq!(puppet.now, Millis(2000), "five looks, half a second apart");
    assert_eq!(puppet.state.outcome(), None);
}

#[test]
fn progress_extends_a_deadline_and_waiting_does_not() {
    for (grows_until, expected_end) in [(150, 205), (0, 60)] {
        let mut plan = Builder::rolling();
        plan.recipe_mut("recover").proof[0].progress = Some("value.applied".to_owned());
        let mut puppet = Puppet::new(plan.plan);
        puppet.on_probe = Box::new(move |probe, now| {
            let applied = now.0.min(seconds(grows_until).0) / 5000;
            Some(Ok(json!({"ok": probe != "recovered@h1", "applied": applied})))
        });
        puppet.start().until(|puppet| puppet.state.rolling_back());
        let end = puppet.now.0 / 1000;
        assert!(
            (expected_end..=expected_end + 6).contains(&end),
            "{end} s, not about {expected_end} s"
        );
    }
}

#[test]
fn progress_without_end_does_not_extend_a_deadline_without_end() {
    let mut plan = Builder::rolling();
    plan.recipe_mut("recover").proof[0].progress = Some("value.applied".to_owned());
    plan.plan.hops[0].windows[0].limit = seconds(10);
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe =
        Box::new(|probe, now| Some(Ok(json!({"ok": probe != "recovered@h1", "applied": now.0}))));
    puppet.start().until(|puppet| puppet.state.rolling_back());
    let end = puppet.now.0 / 1000;
    assert!(
        (600..=606).contains(&end),
        "{end} s, not ten times the minute that the recipe gives"
    );
}

#[test]
fn a_proof_knows_which_servers_leave() {
    let mut plan = Builder::rolling();
    let gate = plan.recipe_mut("gate");
    gate.proof[0].at = At::All;
    gate.proof[0].expect = "node.name in leaving ? value.ok : size(leaving) == 1".to_owned();
    let mut puppet = without(plan, "settled@h2");
    puppet.start().run();
    assert_eq!(
        puppet.orders_to("h1"),
        FORWARD,
        "h2 is not asked for anything as long as it stays"
    );
    assert_eq!(puppet.orders_to("h2"), ["unpack"]);
    held(&puppet);
}

#[test]
fn a_step_that_does_not_apply_is_skipped_and_what_it_saw_fills_the_order() {
    let mut plan = Builder::rolling();
    let drain = plan.recipe_mut("drain");
    drain.only_if = Some(proof("leads", At::Node, 1));
    drain
        .bindings
        .insert("other".to_owned(), "value.other + '!'".to_owned());
    drain.action = Some(upshift_model::action::Action::Switch(
        upshift_model::action::SwitchRelease {
            release: "to {{ let.other }}".to_owned(),
        },
    ));
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| {
        let leads = probe == "leads@h2";
        Some(Ok(
            json!({"ok": leads || !probe.starts_with("leads@"), "other": "h3"}),
        ))
    });
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert_eq!(puppet.orders_to("h1"), ["unpack", "arm guard", "stop", "switch"]);
    assert_eq!(
        puppet.orders_to("h2"),
        ["unpack", "arm guard", "to h3!", "stop", "switch"]
    );
}

#[test]
fn what_was_seen_before_and_what_others_show_fills_the_order_too() {
    let mut plan = Builder::rolling();
    for node in &mut plan.plan.nodes {
        node.before.insert(
            "leads".to_owned(),
            json!({ "mark": format!("mark of {}", node.name) }),
        );
    }
    let drain = plan.recipe_mut("drain");
    drain.only_if = Some(proof("leads", At::All, 1));
    for (name, text) in [
        ("own", "before.mark"),
        (
            "heir",
            "befores[min(befores.filter(name, name != node.name))].mark",
        ),
        ("all", "string(values.size()) + values['h3'].at"),
    ] {
        drain.bindings.insert(name.to_owned(), text.to_owned());
    }
    drain.action = Some(upshift_model::action::Action::Switch(
        upshift_model::action::SwitchRelease {
            release: "{{ let.own }}, {{ let.heir }}, {{ let.all }}".to_owned(),
        },
    ));
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": true, "at": format!(" at {probe}")}))));
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert_eq!(puppet.orders_to("h1")[2], "mark of h1, mark of h2, 3 at leads@h3");
    assert_eq!(puppet.orders_to("h2")[2], "mark of h2, mark of h1, 3 at leads@h3");
}

#[test]
fn a_condition_that_cannot_be_seen_is_not_skipped() {
    let mut plan = Builder::rolling();
    plan.recipe_mut("drain").only_if = Some(proof("leads", At::Node, 1));
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(if probe.starts_with("leads@") {
            Err(ProbeFailure::Failed("broken".to_owned()))
        } else {
            Ok(json!({"ok": true}))
        })
    });
    puppet.start().run();
    assert!(rolled_back(&puppet).contains("broken"));
}

#[test]
fn lost_reports_and_lost_answers_are_asked_for_again() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    let (mut orders, mut probes) = (0, 0);
    puppet.on_order = Box::new(move |_, title| {
        orders += i32::from(title == "stop");
        (title != "stop" || orders > 1).then_some(Report::Done { output: Value::Null })
    });
    puppet.on_probe = Box::new(move |probe, _| {
        probes += i32::from(probe == "switch@h1");
        (probe != "switch@h1" || probes > 1).then_some(Ok(json!({"ok": true})))
    });
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    let stops: Vec<u32> = puppet
        .orders
        .iter()
        .filter(|(host, title, _)| host == "h1" && title == "stop")
        .map(|(.., attempt)| *attempt)
        .collect();
    assert_eq!(stops, [1, 1], "the same attempt, asked for again");
}

#[test]
fn a_late_report_of_an_older_attempt_is_ignored() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|order, title| match (title, order.attempt) {
        ("stop", 1) => Some(Report::Transient {
            reason: "busy".to_owned(),
        }),
        ("stop", 2) => None,
        _ => Some(Report::Done { output: Value::Null }),
    });
    puppet.start().until(|puppet| {
        puppet
            .orders
            .iter()
            .any(|(_, title, attempt)| title == "stop" && *attempt == 2)
    });
    let step = puppet.sent.last().map(|order| order.step).unwrap();
    puppet.tell(EventKind::Reported {
        step,
        attempt: 1,
        report: Report::Done { output: Value::Null },
    });
    assert!(
        puppet
            .state
            .view()
            .why
            .iter()
            .any(|why| why.what.starts_with("stop")),
        "still waiting for the second"
    );
    puppet.tell(EventKind::Reported {
        step: StepId(9999),
        attempt: 1,
        report: Report::Interrupted,
    });
}

#[test]
fn an_interrupted_step_that_was_done_is_not_done_again() {
    for (done, expected) in [(true, 1), (false, 2)] {
        let mut puppet = Puppet::new(Builder::rolling().plan);
        let mut second = false;
        puppet.on_order = Box::new(move |order, title| {
            Some(if title == "stop" && order.attempt == 1 {
                Report::Interrupted
            } else {
                Report::Done { output: Value::Null }
            })
        });
        puppet.on_probe = Box::new(move |probe, _| {
            let ok = probe != "stop@h1" || done || second;
            second |= probe == "stop@h1";
            Some(Ok(json!({"ok": ok})))
        });
        puppet.start().run();
        assert_eq!(puppet.outcome(), Outcome::Upgraded);
        let stops = puppet
            .orders_to("h1")
            .iter()
            .filter(|title| **title == "stop")
            .count();
        assert_eq!(stops, expected);
    }
}

#[test]
fn a_stale_order_is_given_again_under_a_new_number() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    let mut fenced = false;
    puppet.on_order = Box::new(move |order, title| {
        Some(if title == "stop" && !fenced {
            fenced = true;
            Report::Fenced { token: order.token }
        } else {
            Report::Done { output: Value::Null }
        })
    });
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

/// A process that has ended is reported once the question is asked; `ended` is when it ends.
fn with_a_process(ends_at: Millis, attempts: u32) -> Puppet {
    let mut builder = Builder::rolling();
    for title in ["switch", "recover"] {
        let recipe = builder.recipe_mut(title);
        recipe.retry.attempts = attempts;
        recipe.fails_on = Some(upshift_plan::PlanProof {
            waiting: "its process has ended".to_owned(),
            ..proof("ended", At::Node, 2)
        });
    }
    let mut puppet = Puppet::new(builder.plan);
    puppet.on_probe = Box::new(move |probe, now| {
        Some(Ok(match probe {
            "ended@h1" => json!({"ok": now >= ends_at, "log": ["FATAL bad flag"]}),
            "recovered@h1" | "switch@h1" => json!({"ok": false}),
            other => json!({"ok": !other.starts_with("ended@")}),
        }))
    });
    puppet
}

#[test]
fn a_step_whose_process_has_ended_fails_at_once_with_its_last_lines() {
    let mut puppet = with_a_process(seconds(2), 1);
    puppet.start().run();
    let reason = rolled_back(&puppet);
    assert!(
        reason.contains("its process has ended (h1 shows FATAL bad flag"),
        "{reason}"
    );
    assert!(
        puppet.now < seconds(30),
        "it was not waited for until the time was over: {:?}",
        puppet.now
    );
}

#[test]
fn an_action_whose_process_has_ended_is_tried_again_while_it_has_attempts() {
    let mut puppet = with_a_process(Millis::ZERO, 3);
    puppet.start().run();
    let orders = puppet.orders_to("h1");
    assert_eq!(orders.iter().filter(|title| **title == "switch").count(), 3);
    assert!(rolled_back(&puppet).contains("its process has ended"));
}

/// A vendor's command that runs by itself is not begun twice because the agent was killed while it began it.
#[test]
fn an_interrupted_action_whose_process_still_runs_is_not_ordered_again() {
    let mut puppet = with_a_process(seconds(20), 1);
    puppet.on_order = Box::new(|order, title| {
        Some(match (title, order.node) {
            ("switch", upshift_plan::NodeIndex(0)) => Report::Interrupted,
            _ => Report::Done { output: Value::Null },
        })
    });
    puppet.start().run();
    let orders = puppet.orders_to("h1");
    assert_eq!(orders.iter().filter(|title| **title == "switch").count(), 1);
    assert!(rolled_back(&puppet).contains("its process has ended"));
    assert!(puppet.now >= seconds(20), "not before it had ended");
}

/// What may be begun again is, also where nothing can say that it is waited for in vain: a server that a command starts, for instance.
#[test]
fn an_interrupted_action_that_may_be_begun_again_is_ordered_again() {
    let mut puppet = with_a_process(seconds(200), 3);
    let mut interrupted = false;
    puppet.on_order = Box::new(move |order, title| {
        let first = title == "switch" && order.node == upshift_plan::NodeIndex(0);
        Some(match first && !std::mem::replace(&mut interrupted, first) {
            true => Report::Interrupted,
            false => Report::Done { output: Value::Null },
        })
    });
    puppet.start().until(|puppet| {
        puppet
            .orders_to("h1")
            .iter()
            .filter(|title| **title == "switch")
            .count()
            == 2
    });
    assert!(puppet.now < seconds(20), "{:?}", puppet.now);
}

#[test]
fn one_observation_alone_does_not_say_that_a_process_has_ended() {
    let mut puppet = with_a_process(Millis::ZERO, 1);
    let mut asked = 0;
    puppet.on_probe = Box::new(move |probe, _| {
        asked += u32::from(probe == "ended@h1");
        // Every second one: never twice in a row.
        let ended = probe == "ended@h1" && asked % 2 == 1;
        let proven = !probe.starts_with("ended@") && probe != "switch@h1";
        Some(Ok(json!({"ok": ended || proven})))
    });
    puppet.start().run();
    let reason = rolled_back(&puppet);
    assert!(reason.contains("waiting for switch"), "{reason}");
    assert_eq!(puppet.now, seconds(60), "its time is the step's deadline");
}
