//! Plans of more than one hop.

use serde_json::json;
use upshift_model::profile::Slot;
use upshift_plan::{Plan, StepKind};
use upshift_run::{Decision, OperatorCommand, Outcome};

use crate::puppet::{BACK, Builder, FORWARD, Puppet, held, recipe, without};

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

fn two_hops() -> Builder {
    Builder::rolling().second_hop()
}

/// A puppet that is upgraded, by both hops.
fn upgraded(plan: Plan) -> Puppet {
    let mut puppet = Puppet::new(plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    puppet
}

/// Fails unless every server is told to be on a version.
#[track_caller]
fn expect_all(puppet: &Puppet, version: &str) {
    let view = puppet.state.view();
    assert!(view.nodes.iter().all(|node| node.version == version), "{view:?}");
}

fn times_back(puppet: &Puppet, host: &str) -> usize {
    let orders = puppet.orders_to(host);
    orders.iter().filter(|title| **title == BACK[1]).count()
}

#[test]
fn hop_after_hop_each_with_a_decision_of_its_own() {
    let puppet = upgraded(two_hops().plan);
    for host in HOSTS {
        assert_eq!(
            puppet.orders_to(host),
            [&FORWARD[..], &["protect"], &FORWARD[1..]].concat()
        );
    }
    assert_eq!(
        puppet.decisions,
        [Decision::Stay { hop: 0 }, Decision::Stay { hop: 1 }]
    );
    expect_all(&puppet, "3.0.0");
}

#[test]
fn between_two_hops_the_cluster_is_left_on_the_version_that_it_reached() {
    let mut puppet = without(two_hops(), "protected@h2");
    puppet.start().run();
    let reason = held(&puppet);
    assert!(
        reason.contains("between two hops, every server on 2.0.0"),
        "{reason}"
    );
    assert!(HOSTS.iter().all(|host| times_back(&puppet, host) == 0));
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

/// Every hop is rolled back on its own: from between two hops the one that was made, and where that cannot be, nothing is changed.
#[test]
fn between_two_hops_a_run_is_rolled_back_where_the_hop_that_was_made_can_be() {
    let mut puppet = without(two_hops(), "protected@h2");
    puppet.start().run();
    held(&puppet);
    let remedies = |puppet: &Puppet| match puppet.outcome() {
        Outcome::Held { remedies, .. } => remedies.join("\n"),
        other => panic!("not held: {other:?}"),
    };
    assert!(remedies(&puppet).contains("to roll back: `upshift rollback`"));
    puppet.operator(OperatorCommand::Rollback).run();
    assert!(matches!(puppet.outcome(), Outcome::RolledBack { to, .. } if to == "1.0.0"));
    expect_all(&puppet, "1.0.0");

    let mut plan = two_hops().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": probe != "protected@h2"}))));
    puppet.start().run();
    held(&puppet);
    assert!(
        remedies(&puppet).contains("a rollback from here is refused once the point of no return"),
        "{}",
        remedies(&puppet)
    );
    puppet.operator(OperatorCommand::Rollback).run();
    held(&puppet);
    assert!(puppet.state.refusal().unwrap().contains("the format rises"));
    assert!(HOSTS.iter().all(|host| times_back(&puppet, host) == 0));
    expect_all(&puppet, "2.0.0");
}

/// One server ran out of time and the run was held; the others, which waited beside it, get their time anew, too.
#[test]
fn what_waited_beside_a_failure_is_given_its_time_again() {
    let mut puppet = Puppet::new(two_hops().plan);
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": !probe.starts_with("protected@")}))));
    puppet.start().run();
    assert!(held(&puppet).contains("h1"));
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

#[test]
fn before_the_first_hop_there_is_nothing_to_hold() {
    let mut plan = two_hops();
    plan.plan.hops[0].protect = plan.plan.hops[1].protect.drain(..).collect();
    let mut puppet = without(plan, "protected@h2");
    puppet.start().run();
    assert!(matches!(puppet.outcome(), Outcome::Refused { .. }));
    assert!(
        puppet
            .orders
            .iter()
            .all(|(_, title, _)| title == "unpack" || title == "protect")
    );
}

#[test]
fn a_fault_in_the_second_hop_takes_that_hop_back_and_no_other() {
    let mut puppet = Puppet::new(two_hops().plan);
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet
        .start()
        .until(|puppet| puppet.decisions.contains(&Decision::Stay { hop: 0 }));
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": probe != "recovered@h2"}))));
    puppet.run();
    match puppet.outcome() {
        Outcome::RolledBack { to, reason } => {
            assert_eq!(to, "2.0.0");
            assert!(reason.contains("h2"), "{reason}");
        }
        other => panic!("not rolled back: {other:?}"),
    }
    assert_eq!(HOSTS.map(|host| times_back(&puppet, host)), [1, 1, 0]);
    expect_all(&puppet, "2.0.0");
}

#[test]
fn an_upgrade_over_two_hops_is_rolled_back_hop_by_hop() {
    let mut puppet = upgraded(two_hops().plan);
    puppet.operator(OperatorCommand::Rollback).run();
    assert!(matches!(puppet.outcome(), Outcome::RolledBack { to, .. } if to == "1.0.0"));
    assert_eq!(HOSTS.map(|host| times_back(&puppet, host)), [2, 2, 2]);
    expect_all(&puppet, "1.0.0");
}

#[test]
fn of_a_rollback_over_two_hops_the_last_one_ends_with_the_observation() {
    let mut plan = two_hops();
    for (hop, probe) in [(0, "first"), (1, "second")] {
        let observe = plan.add(recipe(StepKind::Undo(Slot::Verify), "observe", None, probe));
        plan.plan.hops[hop].rolled_back = vec![plan.group_all(observe)];
    }
    let mut puppet = upgraded(plan.plan);
    puppet.operator(OperatorCommand::Rollback).run();
    assert!(matches!(puppet.outcome(), Outcome::RolledBack { to, .. } if to == "1.0.0"));
    let asked = |name: &str| {
        puppet
            .asked
            .iter()
            .filter(|(probe, _)| probe.starts_with(name))
            .count()
    };
    assert_eq!((asked("first@"), asked("second@")), (3, 0));
}
