//! The engine, one behaviour at a time.

mod puppet;

use puppet::{Builder, Puppet, proof, seconds};
use serde_json::{Value, json};
use upshift_model::Millis;
use upshift_model::action::{GuardStatus, Report};
use upshift_model::probe::ProbeFailure;
use upshift_model::profile::At;
use upshift_plan::{NodeIndex, StepId};
use upshift_run::{Decision, Direction, EventKind, OperatorCommand, Outcome, Pause};

const FORWARD: [&str; 5] = ["unpack", "arm guard", "drain", "stop", "switch"];
const BACK: [&str; 3] = ["stop back", "switch back", "undrain"];

fn reverted(puppet: &Puppet) -> String {
    match puppet.outcome() {
        Outcome::Reverted { to, reason } => {
            assert_eq!(to, "1.0.0");
            reason
        }
        other => panic!("not reverted: {other:?}"),
    }
}

fn held(puppet: &Puppet) -> String {
    match puppet.outcome() {
        Outcome::Held { reason, remedies } => {
            assert!(!remedies.is_empty());
            reason
        }
        other => panic!("not held: {other:?}"),
    }
}

/// A puppet whose probe of that name does not hold.
fn without(plan: Builder, name: &'static str) -> Puppet {
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe =
        Box::new(move |probe, _| Some(Ok(json!({"ok": probe != name && !probe.starts_with("crossed@")}))));
    puppet
}

#[test]
fn a_good_run_goes_host_by_host_and_disarms_every_guard_after_the_decision() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    for host in ["h1", "h2", "h3"] {
        assert_eq!(puppet.orders_to(host), FORWARD);
    }
    let hosts: Vec<&str> = puppet
        .orders
        .iter()
        .skip(3)
        .map(|(host, ..)| host.as_str())
        .collect();
    assert!(hosts.is_sorted(), "one window after the other: {hosts:?}");
    assert_eq!(puppet.decisions, [Decision::Stay { hop: 0 }]);
    assert_eq!(puppet.disarmed, ["h1", "h2", "h3"]);
    assert!(puppet.now >= seconds(20), "soaked");
    let view = puppet.state.view();
    assert_eq!((view.phase.as_str(), view.progress), ("upgraded", (21, 21)));
    assert!(view.nodes.iter().all(|node| node.version == "2.0.0" && node.done));
}

#[test]
fn sequences_grow_and_orders_say_where_they_lead() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.start().run();
    reverted(&puppet);
    assert!(puppet.sent.is_sorted_by(|a, b| a.sequence < b.sequence));
    let back = puppet
        .sent
        .iter()
        .filter(|order| order.direction == Direction::Back)
        .count();
    assert_eq!(back, 6, "three steps on two hosts");
}

#[test]
fn a_bad_second_host_is_reverted_first_then_the_first_one_and_the_third_is_never_touched() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.start().run();
    let reason = reverted(&puppet);
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
    reverted(&puppet);
    assert_eq!(
        puppet.orders_to("h1"),
        ["unpack", "arm guard", "drain", "undrain"]
    );
}

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
fn after_the_last_attempt_the_window_is_reverted() {
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
    assert!(reverted(&puppet).contains("busy"));
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
    assert!(reverted(&puppet).contains("waiting for stop"));
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
        puppet.start().until(|puppet| puppet.state.going_back());
        let end = puppet.now.0 / 1000;
        assert!(
            (expected_end..=expected_end + 6).contains(&end),
            "{end} s, not about {expected_end} s"
        );
    }
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
    assert!(reverted(&puppet).contains("broken"));
}

#[test]
fn a_server_that_nobody_answers_for_is_brought_back_without_waiting_for_the_others() {
    let mut plan = Builder::rolling();
    let mut gate = plan.recipe_mut("gate").clone();
    gate.only_if = Some(proof("serves", At::Node, 1));
    gate.proof = vec![proof("others", At::Node, 1)];
    let gate = plan.add(gate);
    let windows = &mut plan.plan.hops[0].windows;
    for step in windows
        .iter_mut()
        .flat_map(|window| &mut window.revert_gate)
        .flat_map(|group| &mut group.steps)
    {
        step.recipe = gate;
    }
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(if probe.starts_with("serves@") {
            Err(ProbeFailure::Failed("connection refused".to_owned()))
        } else {
            Ok(json!({"ok": !probe.starts_with("others@") && probe != "recovered@h2"}))
        })
    });
    puppet.start().run();
    assert!(reverted(&puppet).contains("h2"));
    assert_eq!(puppet.orders_to("h1"), [&FORWARD[..], &BACK[..]].concat());
}

#[test]
fn a_refusal_before_any_window_changes_nothing() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, _| {
        Some(Report::Failed {
            reason: "disk full".to_owned(),
        })
    });
    puppet.start().run();
    assert!(matches!(puppet.outcome(), Outcome::Refused { reason } if reason.contains("disk full")));
    assert!(puppet.orders.iter().all(|(_, title, _)| title == "unpack"));
    assert_eq!(puppet.decisions, []);
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
fn a_controller_that_dies_anywhere_is_resumed_without_doing_anything_twice() {
    let mut whole = Puppet::new(Builder::rolling().plan);
    whole.start().run();
    for crash in 1..whole.journal.len() {
        let mut puppet = Puppet::new(Builder::rolling().plan);
        puppet.start().until(|puppet| puppet.journal.len() == crash);
        puppet.crash().start_as(2).run();
        assert_eq!(puppet.outcome(), Outcome::Upgraded, "crash after event {crash}");
        for host in ["h1", "h2", "h3"] {
            let mut orders = puppet.orders_to(host);
            orders.dedup();
            assert_eq!(orders, FORWARD, "crash after event {crash}");
        }
        assert!(
            puppet.orders.iter().all(|(.., attempt)| *attempt == 1),
            "crash after event {crash}"
        );
    }
}

#[test]
fn a_younger_controller_is_obeyed_and_an_older_one_rests() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| {
        Some(if title == "stop" {
            Report::Fenced { token: 7 }
        } else {
            Report::Done { output: Value::Null }
        })
    });
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Superseded { token: 7 });
    let orders = puppet.orders.len();
    puppet.tell(EventKind::Woke);
    assert_eq!(
        puppet.orders.len(),
        orders,
        "a superseded controller orders nothing"
    );

    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start_as(3).tell(EventKind::Superseded { token: 2 });
    assert_eq!(puppet.state.outcome(), None);
    puppet.tell(EventKind::Superseded { token: 4 });
    assert_eq!(puppet.outcome(), Outcome::Superseded { token: 4 });
    puppet.start_as(5).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

#[test]
fn guards_are_renewed_three_times_a_lease() {
    let mut puppet = without(Builder::rolling(), "recovered@h1");
    puppet.start().until(|puppet| puppet.now >= seconds(59));
    assert_eq!(puppet.renewed, 1, "after thirty seconds of ninety");
}

#[test]
fn a_guard_that_fired_takes_the_whole_hop_back() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.on_guard = Box::new(|host, _| {
        Some(if host == "h1" {
            GuardStatus::Reverted
        } else {
            GuardStatus::Armed {
                remaining: seconds(90),
            }
        })
    });
    puppet.start().run();
    assert!(reverted(&puppet).contains("guard of h1 has fired"));
    assert!(puppet.orders_to("h1").ends_with(&BACK) && puppet.orders_to("h2").ends_with(&BACK));
}

#[test]
fn a_host_that_says_its_guard_fired_takes_no_order_forward() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| {
        Some(if title == "stop" {
            Report::GuardFired
        } else {
            Report::Done { output: Value::Null }
        })
    });
    puppet.start().run();
    assert!(reverted(&puppet).contains("guard of h1 has fired"));
}

#[test]
fn a_host_that_is_silent_past_its_guards_deadline_counts_as_gone_back() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    for recipe in &mut std::sync::Arc::make_mut(&mut puppet.plan).recipes {
        recipe.within = seconds(200);
    }
    let plan = puppet.plan.clone();
    puppet.state = upshift_run::State::new(plan, "run-1".to_owned());
    puppet.on_guard = Box::new(|host, _| {
        (host != "h1").then_some(GuardStatus::Armed {
            remaining: seconds(90),
        })
    });
    puppet.start().until(|puppet| puppet.state.going_back());
    assert_eq!(puppet.now, seconds(90));
    puppet.run();
    assert!(reverted(&puppet).contains("past its guard's deadline"));
}

#[test]
fn a_new_controller_asks_the_guards_before_it_goes_on() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h2").contains(&"drain"));
    puppet.crash();
    puppet.now = seconds(100);
    puppet.on_guard = Box::new(|_, _| None);
    puppet.start_as(2);
    let orders = puppet.orders.len();
    puppet.until(|puppet| puppet.now >= seconds(115));
    assert!(
        puppet.orders[orders..]
            .iter()
            .all(|(_, title, _)| title == "drain"),
        "nothing new before the guards answer"
    );
    puppet.on_guard = Box::new(|_, _| Some(GuardStatus::Reverted));
    puppet.run();
    reverted(&puppet);
}

#[test]
fn a_guard_that_fires_between_decision_and_disarming_takes_everything_back() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_disarm = Box::new(|host, _| {
        Some(if host == "h2" {
            GuardStatus::Reverted
        } else {
            GuardStatus::Disarmed
        })
    });
    puppet.start().run();
    assert!(reverted(&puppet).contains("h2 fired before it was disarmed"));
    assert_eq!(puppet.decisions.len(), 2);
    for host in ["h1", "h2", "h3"] {
        assert!(puppet.orders_to(host).ends_with(&BACK), "{host}");
    }
}

#[test]
fn a_host_that_is_lost_after_the_decision_is_in_doubt_and_an_operator_is_asked() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_disarm = Box::new(|host, _| (host != "h2").then_some(GuardStatus::Disarmed));
    puppet
        .start()
        .until(|puppet| puppet.state.view().in_doubt && puppet.disarmed.len() == 2);
    assert!(
        puppet
            .state
            .view()
            .why
            .iter()
            .any(|why| why.what.contains("in doubt") && why.host.as_deref() == Some("h2"))
    );
    puppet.run();
    assert!(held(&puppet).contains("in doubt"));
}

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
fn abort_goes_back_from_inside_a_window_and_refuses_where_nothing_was_changed() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h2").contains(&"stop"));
    puppet.operator(OperatorCommand::Abort).run();
    assert!(reverted(&puppet).contains("ada asked"));
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
fn a_lasting_fault_while_soaking_reverts_and_a_blip_does_not() {
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
            let reason = reverted(&puppet);
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
fn a_hold_can_be_ended_by_going_back() {
    let mut puppet = without(Builder::rolling(), "settled@h2");
    puppet.start().run();
    held(&puppet);
    puppet.operator(OperatorCommand::Abort).run();
    reverted(&puppet);
    assert!(puppet.orders_to("h1").ends_with(&BACK));
}

#[test]
fn a_way_back_that_is_stuck_holds_and_never_loops() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(Ok(
            json!({"ok": probe != "recovered@h2" && probe != "switch back@h2"}),
        ))
    });
    puppet.start().run();
    let reason = held(&puppet);
    assert!(
        reason.contains("the way back is stuck") && reason.contains("h2"),
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
    reverted(&puppet);
    assert!(puppet.orders_to("h1").ends_with(&BACK));
}

#[test]
fn a_window_that_is_open_too_long_is_reverted() {
    let mut plan = Builder::rolling();
    plan.recipe_mut("recover").within = seconds(1000);
    let mut puppet = without(plan, "recovered@h1");
    puppet.start().until(|puppet| puppet.state.going_back());
    assert_eq!(puppet.now, seconds(300));
    puppet.run();
    assert!(reverted(&puppet).contains("longer than it may be"));
}

#[test]
fn the_point_of_no_return_needs_a_yes_before_any_window() {
    let mut puppet = Puppet::new(Builder::rolling().no_return().plan);
    puppet.start().run();
    assert!(held(&puppet).contains("point of no return"));
    assert_eq!(puppet.orders_to("h1"), ["unpack"]);
    puppet.operator(OperatorCommand::Consent).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);

    let mut puppet = Puppet::new(Builder::rolling().no_return().plan);
    puppet.start().operator(OperatorCommand::Abort);
    assert!(
        matches!(puppet.outcome(), Outcome::Refused { .. }),
        "no is an answer, too"
    );
}

#[test]
fn what_was_said_beforehand_is_a_yes() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

#[test]
fn past_the_point_of_no_return_nothing_is_taken_back() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": !probe.starts_with("watched@")}))));
    puppet.start().run();
    let reason = held(&puppet);
    assert!(
        reason.contains("has been crossed") && reason.contains("the format rises"),
        "{reason}"
    );
    assert!(
        puppet
            .orders
            .iter()
            .all(|(_, title, _)| !BACK.contains(&title.as_str()))
    );
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(
        puppet.outcome(),
        Outcome::Upgraded,
        "forward is the only way left"
    );
}

#[test]
fn before_the_window_that_crosses_it_nobody_asks() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    let asked = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = asked.clone();
    puppet.on_probe = Box::new(move |probe, _| {
        count.set(count.get() + u32::from(probe.starts_with("crossed@")));
        Some(Ok(json!({"ok": probe != "recovered@h2"})))
    });
    puppet.start().run();
    reverted(&puppet);
    assert_eq!(asked.get(), 0);
}

#[test]
fn where_nobody_can_tell_whether_it_was_crossed_an_operator_is_asked() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(if probe.starts_with("crossed@") {
            Err(ProbeFailure::Unreachable("gone".to_owned()))
        } else {
            Ok(json!({"ok": probe != "recovered@h3"}))
        })
    });
    puppet.start().run();
    assert!(held(&puppet).contains("no server can tell"));
    assert!(
        puppet
            .orders
            .iter()
            .all(|(_, title, _)| !BACK.contains(&title.as_str()))
    );
}

#[test]
fn a_finished_run_can_be_reverted_until_it_is_finalized() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().run();
    puppet.operator(OperatorCommand::Revert).run();
    reverted(&puppet);
    for host in ["h1", "h2", "h3"] {
        assert!(puppet.orders_to(host).ends_with(&BACK), "{host}");
    }

    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().run();
    puppet.operator(OperatorCommand::Finalize).run();
    assert_eq!(puppet.outcome(), Outcome::Finalized);
    assert!(puppet.orders_to("h1").ends_with(&["clean"]));
    puppet.operator(OperatorCommand::Revert).run();
    assert_eq!(puppet.outcome(), Outcome::Finalized, "finalized is final");
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

#[test]
fn times_tell_what_was_done_where() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.start().run();
    let times = puppet.state.times();
    assert!(times.is_sorted_by_key(|time| time.id));
    let failed: Vec<_> = times.iter().filter(|time| time.stage == "failed").collect();
    assert_eq!(
        (failed.len(), failed[0].host.as_str(), failed[0].title.as_str()),
        (1, "h2", "recover")
    );
    assert_eq!(
        failed[0].ended.map(|end| end.minus(failed[0].began)),
        Some(seconds(60))
    );
    assert_eq!(puppet.plan.node(NodeIndex(1)).name, "h2");
}

#[test]
fn preparing_alone_touches_nothing_that_runs() {
    let mut plan = Builder::rolling();
    plan.plan.request.prepare_only = true;
    let mut puppet = Puppet::new(plan.plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Prepared);
    assert!(puppet.orders.iter().all(|(_, title, _)| title == "unpack"));
    puppet.operator(OperatorCommand::Abort).run();
    assert_eq!(
        puppet.outcome(),
        Outcome::Prepared,
        "there is nothing to go back from"
    );
}
