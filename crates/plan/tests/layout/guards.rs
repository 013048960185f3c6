//! Guards: what a server does alone, and when.

use upshift_model::Millis;
use upshift_model::action::{Action, GuardRecipe};
use upshift_model::profile::{On, Slot, Strategy, Verb};
use upshift_plan::{NodeIndex, StepKind, testing};

use crate::common::{all, armed, plan_of, planned, recipe, steps, words};

#[test]
fn guards_stand_before_anything_is_disturbed() {
    for plan in all() {
        for window in plan.hops.iter().flat_map(|hop| &hop.windows) {
            let armed: Vec<NodeIndex> = window.forward[0].steps.iter().map(|step| step.node).collect();
            assert_eq!(armed, window.nodes);
            for groups in [&window.forward[..1], &window.rearm] {
                assert!(steps(groups).all(|step| recipe(&plan, step).kind == StepKind::Arm));
            }
            assert_eq!(window.rearm.len(), 1);
        }
    }
}

#[test]
fn guards_of_a_rolling_hop_fire_one_after_the_other_last_upgraded_first() {
    let plan = planned("1.0.0", "1.1.0");
    let guards: Vec<GuardRecipe> = plan.hops[0]
        .windows
        .iter()
        .map(|window| armed(&plan, 0, &window.forward[0].steps[0]))
        .collect();
    let stagger: Vec<u64> = guards.iter().map(|guard| guard.stagger.0 / 1000).collect();
    assert_eq!(stagger, [60, 30, 0]);
    for guard in &guards {
        assert_eq!(
            words(&guard.rollback),
            ["stop", "switch", "restore", "start", "command"]
        );
        assert_eq!(guard.lease, Millis::seconds(60));
        assert_eq!(guard.scope["want"], "1.0.0");
        assert_eq!(guard.stand_down_if, None);
        let serving = &guard.serving_if.as_ref().unwrap().expect;
        assert!(
            serving.contains("value.value.version == from") && serving.contains("value.value.version == to")
        );
        assert!(guard.wait_until.is_some());
        assert!(guard.proof.len() >= 2);
    }
}

#[test]
fn guards_of_one_window_fire_together_and_one_takes_up_service_again() {
    for (plan, rollback) in [
        (
            planned("1.1.0", "2.0.0"),
            ["stop", "switch", "restore", "start"].to_vec(),
        ),
        (
            planned("2.0.0", "3.0.0"),
            ["stop", "switch", "relink", "restore", "start"].to_vec(),
        ),
    ] {
        let first = plan.hops[0].windows[0].nodes[0];
        for step in &plan.hops[0].windows[0].forward[0].steps {
            let guard = armed(&plan, 0, step);
            assert_eq!((guard.stagger, &guard.wait_until), (Millis::ZERO, &None));
            let mut expected = rollback.clone();
            if step.node == first {
                expected.push("command");
            }
            assert_eq!(words(&guard.rollback), expected);
        }
    }
}

#[test]
fn guards_of_a_hot_hop_install_the_old_release() {
    let plan = planned("1.0.0", "1.0.1");
    let steps = &plan.hops[0].windows[0].forward[0].steps;
    let guards: Vec<GuardRecipe> = steps.iter().map(|step| armed(&plan, 0, step)).collect();
    let stagger: Vec<u64> = guards.iter().map(|guard| guard.stagger.0 / 1000).collect();
    assert_eq!(stagger, [60, 30, 0]);
    for guard in guards {
        let Action::Command(command) = &guard.rollback[0] else {
            panic!("{:?}", guard.rollback)
        };
        assert_eq!(command.argv, ["ledgerctl", "install", "1.0.0"]);
    }
}

#[test]
fn a_hot_release_without_uninstall_is_left_by_a_restart() {
    let mut profile = testing::profile();
    profile.verbs.remove(&Slot::Uninstall);
    let request = testing::request("1.0.1", &[]);
    let plan = plan_of(&profile, &testing::facts(3, "1.0.0"), &request).unwrap();
    let rollback = &plan.hops[0].windows[0].rollback;
    let titles: Vec<&str> = rollback
        .iter()
        .map(|group| recipe(&plan, &group.steps[0]).title.as_str())
        .collect();
    assert_eq!(
        titles[..2],
        [
            "stop Ledger, to restart it into the permanent release",
            "start Ledger 1.0.0 again"
        ]
    );
    assert_eq!(rollback.len(), 3 * 2 + 1);
    let guard = armed(&plan, 0, &plan.hops[0].windows[0].forward[0].steps[0]);
    assert_eq!(words(&guard.rollback), ["stop", "start"]);
}

#[test]
fn a_guard_uses_nothing_that_must_be_observed_first() {
    let condition = testing::profile().verbs[&Slot::HandOver][0].only_if.clone();
    type Change<'c> = &'c dyn Fn(&mut Verb);
    let with_condition: Change = &|verb| verb.only_if = condition.clone();
    let with_binding: Change = &|verb| {
        let leads = ("leader".to_owned(), "value.value.leader".to_owned());
        verb.bindings.extend([leads]);
    };
    for change in [with_condition, with_binding] {
        let mut profile = testing::profile();
        for slot in [Slot::Gate, Slot::Rejoin, Slot::Undrain] {
            let verbs = profile.verbs.get_mut(&slot).unwrap();
            let mut first = verbs[0].clone();
            change(&mut first);
            first.proof[0].expect = "conditional".to_owned();
            verbs.insert(0, first);
        }
        let request = testing::request("1.1.0", &[]);
        let plan = plan_of(&profile, &testing::facts(3, "1.0.0"), &request).unwrap();
        let guard = armed(&plan, 0, &plan.hops[0].windows[0].forward[0].steps[0]);
        assert!(!serde_json::to_string(&guard).unwrap().contains("conditional"));
        assert_eq!(
            words(&guard.rollback),
            ["stop", "switch", "restore", "start", "command"]
        );
        assert!(guard.serving_if.is_some() && guard.wait_until.is_some());
    }
}

#[test]
fn what_serves_is_taken_for_the_old_version_only_where_its_version_is_seen() {
    // A verb of the profile's own that starts the server, and sees that something serves.
    let mut profile = testing::profile();
    let mut start = profile.verbs[&Slot::Drain][0].clone();
    start.action = Some(Action::Start(profile.service.clone()));
    start.proof[0].expect = "value.serves".to_owned();
    profile.verbs.insert(Slot::Start, vec![start]);
    let request = testing::request("2.0.0", &[]);
    let plan = plan_of(&profile, &testing::facts(3, "1.1.0"), &request).unwrap();
    let guard = armed(&plan, 0, &plan.hops[0].windows[0].forward[0].steps[0]);
    let expects: Vec<&str> = guard.proof.iter().map(|check| check.expect.as_str()).collect();
    assert!(
        expects.iter().any(|expect| expect.contains("value.serves")),
        "{expects:?}"
    );
    assert!(
        expects.iter().any(|expect| expect.ends_with("== want")),
        "{expects:?}"
    );
}

#[test]
fn no_guard_puts_back_what_all_servers_share() {
    let mut profile = testing::profile();
    let mut old_data = profile.verbs[&Slot::Drain][0].clone();
    // Another command than any that a guard does.
    old_data.action = profile.verbs[&Slot::HandOver][0].action.clone();
    old_data.title = "put the shared data back".to_owned();
    old_data.strategies = vec![Strategy::Switch];
    old_data.on = On::One;
    profile.verbs.insert(Slot::OldData, vec![old_data]);
    let request = testing::request("2.0.0", &[]);
    let plan = plan_of(&profile, &testing::facts(3, "1.1.0"), &request).unwrap();
    let shared = plan
        .recipes
        .iter()
        .find(|recipe| recipe.title == "put the shared data back");
    let action = shared
        .and_then(|recipe| recipe.action.clone())
        .expect("an action");
    for step in &plan.hops[0].windows[0].forward[0].steps {
        assert!(!armed(&plan, 0, step).rollback.contains(&action));
    }
}
