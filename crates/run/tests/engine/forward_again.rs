//! Going forward again from a rollback that is held.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};
use upshift_model::action::{Action, GuardStatus, Report};
use upshift_model::profile::{Slot, Strategy};
use upshift_plan::{Group, StepKind};
use upshift_run::{OperatorCommand, Outcome};

use crate::back::{asks_the_others_where_it_serves, observed_after_a_rollback};
use crate::puppet::{BACK, Builder, FORWARD, Puppet, held, rolled_back};

/// Whether the new version is bad, and whether the old one cannot be switched to on h2.
#[derive(Clone, Default)]
struct Faults {
    bad: Rc<Cell<bool>>,
    stuck: Rc<Cell<bool>>,
}

/// A run that is held in its rollback: the new version does not recover on h2, and the old one cannot be switched to there.
fn stuck(plan: Builder) -> (Puppet, Faults) {
    let (puppet, faults) = faulty(plan);
    let mut puppet = puppet;
    puppet.start().run();
    assert!(held(&puppet).contains("the rollback is stuck"));
    (puppet, faults)
}

fn faulty(plan: Builder) -> (Puppet, Faults) {
    let faults = Faults::default();
    faults.bad.set(true);
    faults.stuck.set(true);
    let mut puppet = Puppet::new(plan.plan);
    let seen = faults.clone();
    puppet.on_probe = Box::new(move |probe, _| {
        let bad = probe == "recovered@h2" && seen.bad.get();
        Some(Ok(json!({"ok": !bad && !probe.starts_with("crossed@")})))
    });
    let seen = faults.clone();
    puppet.on_order = Box::new(move |order, title| {
        let stuck = title == "switch back" && order.node.0 == 1 && seen.stuck.get();
        Some(match stuck {
            true => Report::Failed {
                reason: "the release is gone".to_owned(),
            },
            false => Report::Done { output: Value::Null },
        })
    });
    (puppet, faults)
}

fn remedies(puppet: &Puppet) -> Vec<String> {
    match puppet.outcome() {
        Outcome::Held { remedies, .. } => remedies,
        other => panic!("{other:?}"),
    }
}

/// What was ordered of a host after so many orders.
fn since(puppet: &Puppet, host: &str, before: usize) -> Vec<String> {
    let orders = puppet.orders.iter().skip(before);
    orders
        .filter(|(of, ..)| of == host)
        .map(|(_, title, _)| title.clone())
        .collect()
}

#[test]
fn a_stuck_rollback_goes_forward_again_with_the_server_that_it_is_stuck_at() {
    let (mut puppet, faults) = stuck(Builder::rolling());
    let forward = remedies(&puppet)
        .into_iter()
        .find(|remedy| remedy.contains("resume --forward"));
    assert!(
        forward.is_some_and(|remedy| remedy.contains("2.0.0") && remedy.contains("h2, one after the other"))
    );
    faults.bad.set(false);
    let before = puppet.orders.len();
    puppet.operator(OperatorCommand::ResumeForward).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert_eq!(
        since(&puppet, "h1", before),
        ["arm guard"],
        "it keeps the new version, behind a guard"
    );
    assert_eq!(since(&puppet, "h2", before), FORWARD[1..]);
    assert_eq!(since(&puppet, "h3", before), FORWARD[1..]);
    let arms = puppet
        .sent
        .iter()
        .skip(before)
        .filter_map(|order| match &order.action {
            Action::ArmGuard(guard) => Some(guard.again),
            _ => None,
        });
    assert_eq!(
        arms.collect::<Vec<_>>(),
        [true; 3],
        "the hosts are told that an operator has said so"
    );
    assert!(
        puppet
            .state
            .view()
            .nodes
            .iter()
            .all(|node| node.version == "2.0.0")
    );
}

#[test]
fn forward_again_that_fails_is_rolled_back_again() {
    let (mut puppet, faults) = stuck(Builder::rolling());
    faults.stuck.set(false);
    let before = puppet.orders.len();
    puppet.operator(OperatorCommand::ResumeForward).run();
    rolled_back(&puppet);
    assert_eq!(since(&puppet, "h2", before), [&FORWARD[1..], &BACK[..]].concat());
    assert_eq!(since(&puppet, "h1", before)[1..], BACK);
}

#[test]
fn servers_that_were_rolled_back_are_upgraded_again_from_their_gates_on() {
    let (mut puppet, faults) = faulty(observed_after_a_rollback());
    faults.stuck.set(false);
    let seen = faults.clone();
    puppet.on_probe = Box::new(move |probe, _| {
        let bad = ["recovered@h2", "old@h3"].contains(&probe) && seen.bad.get();
        Some(Ok(json!({"ok": !bad && !probe.starts_with("crossed@")})))
    });
    puppet.start().run();
    assert!(held(&puppet).contains("not every server is proven"));
    faults.bad.set(false);
    let (before, asked) = (puppet.orders.len(), puppet.asked.len());
    puppet.operator(OperatorCommand::ResumeForward).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    for host in ["h1", "h2", "h3"] {
        assert_eq!(since(&puppet, host, before), FORWARD[1..], "{host}");
        let gate = format!("settled@{host}");
        assert!(puppet.asked.iter().skip(asked).any(|(probe, _)| *probe == gate));
    }
}

#[test]
fn what_was_never_done_again_is_not_undone() {
    let (mut puppet, faults) = faulty(observed_after_a_rollback());
    faults.stuck.set(false);
    let seen = faults.clone();
    puppet.on_probe = Box::new(move |probe, _| {
        let bad = ["recovered@h2", "old@h3"].contains(&probe) && seen.bad.get();
        Some(Ok(json!({"ok": !bad && !probe.starts_with("crossed@")})))
    });
    puppet.start().run();
    faults.bad.set(false);
    // The first window fails before anything is stopped.
    puppet.on_order = Box::new(|_, title| {
        Some(match title {
            "drain" => Report::Failed {
                reason: "no".to_owned(),
            },
            _ => Report::Done { output: Value::Null },
        })
    });
    let before = puppet.orders.len();
    puppet.operator(OperatorCommand::ResumeForward).run();
    rolled_back(&puppet);
    assert_eq!(since(&puppet, "h1", before), ["arm guard", "drain", "undrain"]);
    assert_eq!(since(&puppet, "h2", before), Vec::<String>::new());
}

#[test]
fn what_was_saved_of_a_server_that_is_half_rolled_back_is_not_saved_again() {
    let mut plan = Builder::rolling();
    let switch = plan.recipe_mut("switch").clone();
    let save = plan.add(upshift_plan::Recipe {
        kind: StepKind::Do(Slot::Save),
        title: "save".to_owned(),
        action: Some(Action::Switch(upshift_model::action::SwitchRelease {
            release: "save".to_owned(),
        })),
        ..switch
    });
    for window in 0..3u32 {
        let step = plan.step(upshift_plan::NodeIndex(window), save, vec![]);
        plan.plan.hops[0].windows[window as usize]
            .forward
            .insert(1, Group { steps: vec![step] });
    }
    let (mut puppet, faults) = stuck(plan);
    faults.bad.set(false);
    let before = puppet.orders.len();
    puppet.operator(OperatorCommand::ResumeForward).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert!(!since(&puppet, "h2", before).contains(&"save".to_owned()));
    assert!(since(&puppet, "h3", before).contains(&"save".to_owned()));
}

#[test]
fn a_server_that_its_guard_has_rolled_back_is_upgraded_again() {
    let (mut puppet, faults) = faulty(Builder::rolling());
    puppet.on_guard = Box::new(|host, _| {
        Some(match host {
            "h1" => GuardStatus::RolledBack,
            _ => GuardStatus::Armed {
                remaining: crate::puppet::seconds(90),
            },
        })
    });
    puppet.start().run();
    assert!(held(&puppet).contains("the rollback is stuck"));
    faults.bad.set(false);
    puppet.on_guard = Box::new(|_, _| {
        Some(GuardStatus::Armed {
            remaining: crate::puppet::seconds(90),
        })
    });
    let before = puppet.orders.len();
    puppet.operator(OperatorCommand::ResumeForward).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert_eq!(since(&puppet, "h1", before), FORWARD[1..]);
}

#[test]
fn where_going_forward_again_cannot_be_it_is_refused_and_not_offered() {
    let refused = |puppet: &mut Puppet, what: &str| {
        let orders = puppet.orders.len();
        let outcome = puppet.outcome();
        puppet.operator(OperatorCommand::ResumeForward).run();
        let reason = puppet
            .state
            .refusal()
            .unwrap_or_else(|| panic!("not refused: {what}"));
        assert!(reason.contains(what), "{reason}");
        assert_eq!((puppet.orders.len(), puppet.outcome()), (orders, outcome));
    };
    let mut upgraded = Puppet::new(Builder::rolling().plan);
    upgraded.start().run();
    refused(&mut upgraded, "not held in a rollback");

    let mut switch = Builder::rolling();
    switch.plan.hops[0].strategy = Strategy::Switch;
    let (mut puppet, _) = stuck(switch);
    assert!(
        !remedies(&puppet)
            .iter()
            .any(|remedy| remedy.contains("--forward"))
    );
    refused(&mut puppet, "only rolling upgrades");

    let (mut puppet, _) = stuck(Builder::rolling());
    puppet.on_order = Box::new(|order, title| {
        Some(match title == "switch back" && order.node.0 == 0 {
            true => Report::Failed {
                reason: "the release is gone".to_owned(),
            },
            false => Report::Done { output: Value::Null },
        })
    });
    puppet.operator(OperatorCommand::RollbackAllAtOnce).run();
    assert!(
        !remedies(&puppet)
            .iter()
            .any(|remedy| remedy.contains("--forward"))
    );
    refused(&mut puppet, "several servers are half rolled back (h1, h2)");

    let (mut puppet, _) = faulty(Builder::rolling());
    puppet.on_disarm = Box::new(|_, _| None);
    puppet.start().run();
    refused(&mut puppet, "a guard may still act");
}

#[test]
fn a_server_that_does_not_serve_is_not_made_to_leave_service() {
    for serves in [true, false] {
        let (mut puppet, faults) = stuck(asks_the_others_where_it_serves());
        faults.bad.set(false);
        puppet.on_probe = Box::new(move |probe, _| Some(Ok(json!({"ok": serves || probe != "serves@h2"}))));
        let before = puppet.orders.len();
        puppet.operator(OperatorCommand::ResumeForward).run();
        assert_eq!(puppet.outcome(), Outcome::Upgraded);
        let left = since(&puppet, "h2", before).contains(&"drain".to_owned());
        assert_eq!(left, serves);
        assert!(since(&puppet, "h3", before).contains(&"drain".to_owned()));
    }
}
