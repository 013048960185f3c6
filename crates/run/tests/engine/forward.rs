//! The way forward: what is done in which order, and what is refused.

use upshift_model::action::Report;
use upshift_plan::NodeIndex;
use upshift_run::{Decision, Direction, OperatorCommand, Outcome};

use crate::puppet::{Builder, FORWARD, Puppet, rolled_back, seconds, without};

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
