//! Guards: renewed, fired, disarmed, in doubt.

use serde_json::{Value, json};
use upshift_model::action::{Action, GuardStatus, Report, RestorePaths};
use upshift_model::probe::ProbeFailure;
use upshift_plan::NodeIndex;
use upshift_run::OperatorCommand;

use crate::puppet::{BACK, Builder, FORWARD, Puppet, held, rolled_back, seconds, without};

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
            GuardStatus::RolledBack
        } else {
            GuardStatus::Armed {
                remaining: seconds(90),
            }
        })
    });
    puppet.start().run();
    assert!(rolled_back(&puppet).contains("guard of h1 has fired"));
    assert!(puppet.orders_to("h2").ends_with(&BACK));
    // h1 serves again, and is not disturbed a second time; that it was brought back is seen.
    assert_eq!(puppet.orders_to("h1"), FORWARD);
    for seen in ["switch back@h1", "undrain@h1"] {
        assert!(
            puppet.asked.iter().any(|(probe, _)| probe == seen),
            "{seen}: {:?}",
            puppet.asked
        );
    }
}

/// What a guard says that it has done is looked at: where it is not so, it is done.
#[test]
fn what_a_guard_has_not_done_is_done_in_the_rollback() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.on_guard = Box::new(|host, _| (host == "h1").then_some(GuardStatus::RolledBack));
    let mut held_back = true;
    puppet.on_probe = Box::new(move |probe, _| {
        let not_yet = probe == "switch back@h1" && std::mem::take(&mut held_back);
        Some(Ok(json!({"ok": !not_yet && probe != "recovered@h2"})))
    });
    puppet.start().run();
    rolled_back(&puppet);
    assert_eq!(puppet.orders_to("h1").last(), Some(&"switch back"));
}

/// A server that its guard has started has written to its data since: what was saved is not laid over that, whatever it looks like.
#[test]
fn nothing_is_put_back_below_a_server_that_its_guard_has_started() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    for recipe in &mut std::sync::Arc::make_mut(&mut puppet.plan).recipes {
        if recipe.title == "switch back" {
            let name = "data-before-1.1.0".to_owned();
            recipe.action = Some(Action::Restore(RestorePaths { name }));
        }
    }
    puppet.state = upshift_run::State::new(puppet.plan.clone(), "run-1".to_owned());
    puppet.on_guard = Box::new(|host, _| (host == "h1").then_some(GuardStatus::RolledBack));
    puppet.on_probe = Box::new(|probe, _| {
        Some(Ok(
            json!({"ok": !["switch back@h1", "recovered@h2"].contains(&probe)}),
        ))
    });
    puppet.start().run();
    rolled_back(&puppet);
    assert_eq!(puppet.orders_to("h1"), FORWARD);
    assert!(puppet.orders_to("h2").contains(&"restore"));
}

/// The server was seen to be stopped, then the controller died, and the guard started it: what follows is for a server that is stopped.
#[test]
fn what_was_proven_before_a_guard_fired_is_done_again_before_what_follows() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"switch"));
    puppet.on_order =
        Box::new(|_, title| (title != "switch back").then_some(Report::Done { output: Value::Null }));
    puppet.operator(OperatorCommand::Abort);
    puppet
        .until(|puppet| puppet.orders_to("h1").contains(&"switch back"))
        .crash();
    let before = puppet.orders_to("h1").len();
    puppet.now = seconds(300);
    puppet.on_order = Box::new(|_, _| Some(Report::Done { output: Value::Null }));
    puppet.on_guard = Box::new(|_, _| {
        Some(GuardStatus::Failed {
            reason: "it started, and did not serve in time".to_owned(),
        })
    });
    puppet.start_as(2).run();
    rolled_back(&puppet);
    let since = puppet.orders_to("h1")[before..].to_vec();
    let stop = since.iter().position(|title| *title == "stop back");
    let last = since.iter().rposition(|title| *title == "switch back");
    assert!(stop.is_some() && stop < last, "{since:?}");
}

/// A guard that could not roll its host back has done nothing that could be relied on.
#[test]
fn a_guard_that_failed_is_followed_by_the_whole_rollback() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.on_guard = Box::new(|host, _| {
        (host == "h1").then(|| GuardStatus::Failed {
            reason: "it does not start".to_owned(),
        })
    });
    puppet.start().run();
    rolled_back(&puppet);
    assert!(puppet.orders_to("h1").ends_with(&BACK));
}

/// The host may be busy with its guard, which does the same.
#[test]
fn a_rollback_waits_until_the_hosts_own_guard_would_have_gone_it() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order =
        Box::new(|_, title| (title != "stop back").then_some(Report::Done { output: Value::Null }));
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"stop"));
    puppet.operator(OperatorCommand::Abort).run();
    assert!(held(&puppet).contains("the rollback is stuck"));
    let given_up = puppet
        .state
        .times()
        .into_iter()
        .find(|time| time.title == "stop back");
    assert_eq!(
        given_up.and_then(|time| time.ended),
        Some(seconds(150)),
        "the guard's ninety seconds, and the step's sixty"
    );
}

/// The report that the server was stopped came before the guard started it again: the rollback must not wait for that to change.
#[test]
fn what_was_reported_before_the_guard_fired_is_ordered_again_in_a_rollback() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"stop"));
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": probe != "stop back@h1"}))));
    puppet.operator(OperatorCommand::Abort);
    let in_the_middle = |puppet: &Puppet| puppet.asked.iter().any(|(probe, _)| probe == "stop back@h1");
    puppet.until(in_the_middle).crash();
    puppet.now = seconds(300);
    puppet.on_guard = Box::new(|_, _| {
        Some(GuardStatus::Failed {
            reason: "late".to_owned(),
        })
    });
    let orders = puppet.orders.len();
    puppet.start_as(2).until(|puppet| puppet.orders.len() > orders);
    assert_eq!(puppet.orders_to("h1").last(), Some(&"stop back"), "a new attempt");
    assert_eq!(puppet.orders.last().map(|order| order.2), Some(2));
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.run();
    rolled_back(&puppet);
    let stops = puppet
        .orders_to("h1")
        .iter()
        .filter(|title| **title == "stop back")
        .count();
    assert_eq!(stops, 2, "once is enough");
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
    assert!(rolled_back(&puppet).contains("guard of h1 has fired"));
}

#[test]
fn what_a_host_shows_after_its_guard_has_fired_proves_no_step_forward() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(match probe {
            "recovered@h2" => Err(ProbeFailure::GuardFired),
            _ => Ok(json!({"ok": true})),
        })
    });
    puppet.start().until(|puppet| puppet.state.rolling_back());
    // Known from that answer, without waiting for the next renewal.
    assert!(puppet.now < seconds(5), "{:?}", puppet.now);
    puppet.run();
    assert!(rolled_back(&puppet).contains("guard of h2 has fired"));
    // Asked of those hosts alone whose guard stands, and in no rollback.
    assert!(puppet.guarded.contains(&("recovered@h1".to_owned(), 0)));
    assert!(puppet.guarded.iter().all(|(probe, _)| !probe.contains("back@")));
    assert!(!puppet.guarded.iter().any(|(probe, _)| probe.ends_with("@h3")));
}

#[test]
fn a_host_that_is_silent_past_its_guards_deadline_counts_as_rolled_back() {
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
    puppet.start().until(|puppet| puppet.state.rolling_back());
    assert_eq!(puppet.now, seconds(90));
    puppet.run();
    assert!(rolled_back(&puppet).contains("past its guard's deadline"));
}

#[test]
fn a_guard_that_fires_between_decision_and_disarming_takes_everything_back() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_disarm = Box::new(|host, _| {
        Some(if host == "h2" {
            GuardStatus::RolledBack
        } else {
            GuardStatus::Disarmed
        })
    });
    puppet.start().run();
    assert!(rolled_back(&puppet).contains("h2 fired before it was disarmed"));
    assert_eq!(puppet.decisions.len(), 2);
    for host in ["h1", "h3"] {
        assert!(puppet.orders_to(host).ends_with(&BACK), "{host}");
    }
    assert_eq!(puppet.orders_to("h2"), FORWARD, "its guard has done it");
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

/// The disk of the host may be full, and nothing was done there that a guard would have to take back.
#[test]
fn a_guard_that_cannot_be_armed_does_not_bar_the_rollback() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|order, title| {
        Some(if order.node == NodeIndex(1) && title == "arm guard" {
            Report::Failed {
                reason: "no space left on device".to_owned(),
            }
        } else {
            Report::Done { output: Value::Null }
        })
    });
    puppet.start().run();
    assert!(rolled_back(&puppet).contains("no space left"));
    assert!(puppet.orders_to("h1").ends_with(&BACK));
    assert_eq!(
        puppet.orders_to("h2"),
        ["unpack", "arm guard"],
        "it is not asked again"
    );
}

#[test]
fn a_controller_that_slept_says_so_before_it_speaks_of_hosts() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h2").contains(&"switch"));
    puppet.now = puppet.now.plus(seconds(200));
    puppet.on_guard = Box::new(|_, _| Some(GuardStatus::RolledBack));
    puppet.run();
    let reason = rolled_back(&puppet);
    let (slept, guard) = (
        reason.find("this controller did not run for"),
        reason.find("guard's deadline"),
    );
    assert!(slept.is_some() && slept < guard, "{reason}");
}
