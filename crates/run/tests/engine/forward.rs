//! The way forward: what is done in which order, and what is refused.

use serde_json::json;
use upshift_model::action::Report;
use upshift_model::profile::{At, Slot};
use upshift_plan::{Group, NodeIndex, Recipe, StepKind};
use upshift_run::{Decision, Direction, OperatorCommand, Outcome};

use crate::puppet::{BACK, Builder, FORWARD, Puppet, held, proof, recipe, rolled_back, seconds, without};

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
    assert_eq!(puppet.rested, 1, "that it has ended is said once");
    let proven: Vec<u32> = puppet.state.proven().map(|id| id.0).collect();
    assert_eq!(proven.len(), 21, "every step of the way forward: {proven:?}");
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
    rolled_back(&puppet);
    assert!(puppet.sent.is_sorted_by(|a, b| a.sequence < b.sequence));
    let back = puppet
        .sent
        .iter()
        .filter(|order| order.direction == Direction::Back)
        .count();
    assert_eq!(back, 6, "three steps on two hosts");
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
fn watching_takes_as_long_as_the_plan_says_also_where_nothing_is_watched() {
    for (duration, watched) in [(0, false), (0, true), (20, false), (20, true)] {
        let mut plan = Builder::rolling();
        plan.plan.hops[0].soak.duration = seconds(duration);
        if !watched {
            plan.plan.hops[0].soak.watch.clear();
        }
        let mut puppet = Puppet::new(plan.plan);
        puppet.start().run();
        assert_eq!(puppet.outcome(), Outcome::Upgraded);
        assert_eq!(puppet.now, seconds(duration));
        let asked = puppet
            .asked
            .iter()
            .any(|(probe, _)| probe.starts_with("watched@"));
        assert_eq!(asked, watched && duration > 0);
    }
}

#[test]
fn between_windows_it_is_watched_for_as_long_as_the_plan_says() {
    let mut plan = Builder::rolling();
    for window in &mut plan.plan.hops[0].windows {
        window.soak = seconds(7);
    }
    let mut puppet = Puppet::new(plan.plan);
    let mut opened = Vec::new();
    puppet.start().until(|puppet| {
        if puppet.orders.last().is_some_and(|(_, title, _)| title == "drain")
            && opened.last() != Some(&puppet.now)
        {
            opened.push(puppet.now);
        }
        false
    });
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert_eq!(opened, [seconds(0), seconds(7), seconds(14)]);
}

#[test]
fn a_plan_without_hops_is_prepared_and_ends() {
    // What puts running versions into the stores is such a plan.
    let mut plan = Builder::rolling();
    plan.plan.request.prepare_only = true;
    plan.plan.hops.clear();
    plan.plan.finalize.clear();
    let mut puppet = Puppet::new(plan.plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Prepared);
    for host in ["h1", "h2", "h3"] {
        assert_eq!(puppet.orders_to(host), ["unpack"]);
    }
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
        "there is nothing to roll back from"
    );
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

/// A plan whose last act is to see what every server runs.
fn proven_at_the_end() -> Builder {
    let mut plan = Builder::rolling();
    let look = plan.add(recipe(StepKind::Do(Slot::Verify), "prove", None, "proven"));
    plan.plan.proof = vec![plan.group_all(look)];
    plan
}

#[test]
fn upgraded_is_said_only_after_every_server_was_observed() {
    let mut puppet = Puppet::new(proven_at_the_end().plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    let last: Vec<&str> = puppet
        .asked
        .iter()
        .rev()
        .take(3)
        .map(|(probe, _)| probe.as_str())
        .collect();
    assert_eq!(last, ["proven@h3", "proven@h2", "proven@h1"]);

    let mut puppet = without(proven_at_the_end(), "proven@h3");
    puppet.start().run();
    let reason = held(&puppet);
    assert!(
        reason.contains("not every server is proven") && reason.contains("h3"),
        "{reason}"
    );
    puppet.operator(OperatorCommand::Rollback).run();
    rolled_back(&puppet);
}

/// A plan that asks the gate again right before each stop.
fn asked_again() -> Builder {
    let mut plan = Builder::rolling();
    let gate = plan.recipe_mut("gate").clone();
    let again = plan.add(Recipe {
        title: "gate again".to_owned(),
        proof: vec![proof("again", At::Node, 1)],
        ..gate
    });
    for window in 0..3 {
        let step = plan.step(NodeIndex(window), again, vec![]);
        let forward = &mut plan.plan.hops[0].windows[window as usize].forward;
        forward.insert(2, Group { steps: vec![step] });
    }
    plan
}

#[test]
fn a_gate_that_does_not_hold_any_more_keeps_the_server_up() {
    let mut puppet = without(asked_again(), "again@h2");
    puppet.start().run();
    assert!(held(&puppet).contains("waiting for again"));
    assert_eq!(puppet.orders_to("h2"), ["unpack", "arm guard", "drain"]);
    assert!(
        !puppet
            .orders
            .iter()
            .any(|(_, title, _)| BACK.contains(&title.as_str()))
    );
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);

    // Nothing runs the new version yet: what was begun is undone, and nobody is asked.
    let mut puppet = without(asked_again(), "again@h1");
    puppet.start().run();
    rolled_back(&puppet);
    assert_eq!(
        puppet.orders_to("h1"),
        ["unpack", "arm guard", "drain", "undrain"]
    );
}
