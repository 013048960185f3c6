//! Each strategy: its slots in order, and the rollback of each.

use std::collections::{BTreeMap, BTreeSet};

use upshift_model::Millis;
use upshift_model::profile::{At, Slot, Strategy};
use upshift_plan::{
    Crossed, Group, Plan, Recipe, Step, StepId, StepKind, Window, plan, render_action, testing,
};

use crate::common::{all, armed, groups, plan_of, planned, recipe, steps};

fn kinds(plan: &Plan, groups: &[Group]) -> Vec<StepKind> {
    groups
        .iter()
        .map(|group| plan.recipe(group.steps[0].recipe).kind)
        .collect()
}

fn slots(plan: &Plan, groups: &[Group]) -> Vec<Slot> {
    let slots = kinds(plan, groups).into_iter().map(|kind| match kind {
        StepKind::Do(slot) | StepKind::Undo(slot) => slot,
        StepKind::Arm => Slot::Gate,
        other => panic!("{other:?}"),
    });
    slots.collect()
}

#[test]
fn each_strategy_has_its_slots_in_order() {
    use Slot::*;
    let [hot, rolling, switch, rebuild] = all();
    let window = |plan: &Plan| plan.hops[0].windows[0].clone();
    let forward = |plan: &Plan| slots(plan, &window(plan).forward);
    let back = |plan: &Plan| slots(plan, &window(plan).rollback);
    assert_eq!(hot.hops[0].strategy, Strategy::Hot);
    // The first is the arming; the gate is asked again right before what disturbs first, of each server and of the cluster.
    assert_eq!(
        forward(&hot),
        [Gate, Gate, Gate, Install, Install, Install, Verify]
    );
    assert_eq!(back(&hot), [Uninstall, Uninstall, Uninstall, Verify]);
    // One per batch, and the last look.
    assert_eq!(slots(&hot, &hot.hops[0].stay), [MakePermanent; 4]);
    assert_eq!(rolling.hops[0].strategy, Strategy::Rolling);
    assert_eq!(
        forward(&rolling),
        [
            Gate, Save, Gate, Drain, HandOver, Gate, Stop, Switch, Start, Rejoin, Recover, Undrain
        ]
    );
    assert_eq!(
        back(&rolling),
        [
            Drain,
            Gate,
            Stop,
            Switch,
            MigrateConfig,
            Start,
            Rejoin,
            Recover,
            Undrain
        ]
    );
    assert_eq!(switch.hops[0].strategy, Strategy::Switch);
    assert_eq!(
        forward(&switch),
        [
            Gate,
            Save,
            Gate,
            Gate,
            Pause,
            Stop,
            Switch,
            MigrateConfig,
            Start,
            Verify,
            Resume
        ]
    );
    assert_eq!(
        back(&switch),
        [Pause, Stop, Switch, MigrateConfig, Start, Verify, Resume]
    );
    assert_eq!(rebuild.hops[0].strategy, Strategy::Rebuild);
    assert_eq!(
        forward(&rebuild),
        [
            Gate,
            Save,
            Gate,
            Gate,
            Pause,
            FinalSnapshot,
            Stop,
            Switch,
            FreshData,
            MigrateConfig,
            Start,
            Load,
            Verify,
            Resume
        ]
    );
    assert_eq!(
        back(&rebuild),
        [Pause, Stop, Switch, OldData, MigrateConfig, Start, Verify, Resume]
    );
}

#[test]
fn every_step_that_changes_something_has_its_rollback() {
    /// What needs none: guards are disarmed, any server may lead, copies are removed by finalize.
    const NONE_NEEDED: [Slot; 4] = [Slot::HandOver, Slot::Save, Slot::BackUp, Slot::FinalSnapshot];
    for plan in all() {
        for window in plan.hops.iter().flat_map(|hop| &hop.windows) {
            let undone: BTreeSet<StepId> = steps(&window.rollback)
                .flat_map(|step| &step.undoes)
                .copied()
                .collect();
            for step in steps(&window.forward) {
                let recipe = recipe(&plan, step);
                let StepKind::Do(slot) = recipe.kind else { continue };
                if recipe.action.is_some() && !NONE_NEEDED.contains(&slot) {
                    assert!(undone.contains(&step.id), "{:?} {slot:?}", plan.hops[0].strategy);
                }
            }
        }
    }
}

#[test]
fn every_step_on_the_rollback_says_what_makes_it_necessary() {
    for plan in all() {
        for window in plan.hops.iter().flat_map(|hop| &hop.windows) {
            let forward: BTreeMap<StepId, &Step> =
                steps(&window.forward).map(|step| (step.id, step)).collect();
            for step in steps(&window.rollback) {
                assert!(!step.undoes.is_empty());
                for undone in &step.undoes {
                    assert!(forward.contains_key(undone), "a step of another window is undone");
                    let arm = recipe(&plan, forward[undone]).kind == StepKind::Arm;
                    assert!(!arm && *undone < step.id);
                }
            }
            let others = [
                &window.gate,
                &window.forward,
                &window.rollback_gate,
                &window.rearm,
            ];
            assert!(
                others
                    .iter()
                    .all(|groups| steps(groups).all(|step| step.undoes.is_empty()))
            );
        }
    }
}

/// The slots whose steps make a rollback necessary, for a slot of the rollback on one server of the window.
fn undone_slots(plan: &Plan, window: &Window, slot: Slot) -> BTreeSet<Slot> {
    let forward: BTreeMap<StepId, &Step> = steps(&window.forward).map(|step| (step.id, step)).collect();
    steps(&window.rollback)
        .filter(|step| recipe(plan, step).kind == StepKind::Undo(slot))
        .flat_map(|step| &step.undoes)
        .map(|id| match recipe(plan, forward[id]).kind {
            StepKind::Do(slot) => slot,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_server_that_never_stopped_is_not_started_again() {
    let plan = planned("1.0.0", "1.1.0");
    let window = &plan.hops[0].windows[0];
    let undone = |slot| undone_slots(&plan, window, slot);
    assert!(undone(Slot::Start).contains(&Slot::Stop));
    for slot in [
        Slot::Stop,
        Slot::Switch,
        Slot::Start,
        Slot::MigrateConfig,
        Slot::Rejoin,
    ] {
        assert!(!undone(slot).contains(&Slot::Drain), "{slot:?}");
        assert!(!undone(slot).contains(&Slot::HandOver), "{slot:?}");
    }
    assert_eq!(undone(Slot::Switch), [Slot::Switch].into());
    // A server that was stopped and not switched yet has nothing to stop: the old version may be up still.
    assert_eq!(undone(Slot::Stop), [Slot::Switch, Slot::Start].into());
    assert!(undone(Slot::Undrain).contains(&Slot::Drain));
    // A server that takes no clients yet need not be drained again.
    assert_eq!(undone(Slot::Drain), [Slot::Undrain].into());
}

#[test]
fn the_rollback_leads_to_the_old_version() {
    for plan in all() {
        let (from, to) = (plan.hops[0].from.clone(), plan.hops[0].to.clone());
        for window in plan.hops.iter().flat_map(|hop| &hop.windows) {
            for step in steps(&window.rollback).chain(steps(&window.rollback_gate)) {
                let recipe = recipe(&plan, step);
                assert!(matches!(recipe.kind, StepKind::Undo(_)));
                assert_eq!((&recipe.from, &recipe.to, &recipe.want), (&from, &to, &from));
            }
            for step in steps(&window.forward).filter(|step| recipe(&plan, step).kind != StepKind::Arm) {
                assert_eq!(recipe(&plan, step).want, to);
            }
        }
    }
}

#[test]
fn every_step_has_a_proof_and_a_limit() {
    for plan in all() {
        for step in groups(&plan).into_iter().flat_map(|group| &group.steps) {
            let recipe = recipe(&plan, step);
            assert!(!recipe.proof.is_empty(), "{}", recipe.title);
            assert!(recipe.within > Millis::ZERO, "{}", recipe.title);
        }
    }
}

#[test]
fn the_running_version_is_read_from_the_process() {
    let plan = planned("1.0.0", "1.1.0");
    let starts: Vec<&Recipe> = plan
        .recipes
        .iter()
        .filter(|recipe| {
            matches!(
                recipe.kind,
                StepKind::Do(Slot::Start) | StepKind::Undo(Slot::Start)
            )
        })
        .collect();
    assert_eq!(starts.len(), 2);
    for recipe in starts {
        let proof = &recipe.proof[0];
        assert!(matches!(proof.probe, upshift_model::probe::Probe::Process(_)));
        assert_eq!(
            proof.expect,
            "value.running && value.release == want && value.version == want"
        );
    }
}

#[test]
fn a_point_of_no_return_belongs_to_the_last_window() {
    let plan = planned("1.1.0", "1.2.0");
    let hop = &plan.hops[0];
    let point = hop.no_return.as_ref().unwrap();
    assert_eq!(point.window, 2);
    let crossed = point.crossed.observed().unwrap();
    assert_eq!(crossed.expect, "value.value.cluster_version == to");
    for window in &hop.windows {
        let guard = armed(&plan, 0, &window.forward[0].steps[0]);
        assert_eq!(guard.stand_down_if.unwrap().expect, crossed.expect);
    }
    assert!(planned("1.0.0", "1.1.0").hops[0].no_return.is_none());
    let mut profile = testing::profile();
    profile.point_of_no_return.as_mut().unwrap().to = None;
    let patch = testing::request("1.1.2", &[]);
    let facts = testing::facts(3, "1.1.0");
    let patched = |profile: &_| plan_of(profile, &facts, &patch).unwrap();
    assert!(
        patched(&profile).hops[0].no_return.is_none(),
        "patch levels have none"
    );
    profile.point_of_no_return.as_mut().unwrap().patch = true;
    assert!(
        patched(&profile).hops[0].no_return.is_some(),
        "unless the profile says so"
    );
}

#[test]
fn a_rebuild_has_a_point_of_no_return_where_service_is_taken_up_again() {
    let plan = planned("2.0.0", "3.0.0");
    let hop = &plan.hops[0];
    let resumed: Vec<StepId> = steps(&hop.windows[0].forward)
        .filter(|step| recipe(&plan, step).kind == StepKind::Do(Slot::Resume))
        .map(|step| step.id)
        .collect();
    assert_eq!(resumed.len(), 1);
    let point = hop.no_return.as_ref().unwrap();
    assert_eq!((point.window, &point.crossed), (0, &Crossed::Begun(resumed)));
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("loses those writes")),
        "{:?}",
        plan.warnings
    );
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[test]
fn every_action_can_be_filled_in_for_every_server() {
    for plan in all() {
        for step in groups(&plan).into_iter().flat_map(|group| &group.steps) {
            let recipe = recipe(&plan, step);
            let action = render_action(&plan, step.node, recipe, &BTreeMap::new(), "run-1", 0)
                .unwrap_or_else(|error| panic!("{}: {error}", recipe.title));
            assert!(
                !serde_json::to_string(&action).unwrap().contains("{{"),
                "{}",
                recipe.title
            );
            for proof in &recipe.proof {
                let names = upshift_plan::Names::of_recipe(recipe, "run-1", 0);
                let probe = upshift_plan::render_probe(&plan, step.node, &proof.probe, &names).unwrap();
                assert!(
                    !serde_json::to_string(&probe).unwrap().contains("{{"),
                    "{}",
                    recipe.title
                );
            }
        }
    }
}

#[test]
fn a_check_for_the_whole_run_is_part_of_every_gate() {
    let mut profile = testing::profile();
    let mut check = profile.checks[0].clone();
    check.name = "all_there".to_owned();
    check.expect = "probes.status.value.members == 3".to_owned();
    check.throughout = true;
    (check.cluster, check.advice) = (false, false);
    (check.from, check.to) = (None, None);
    check.strategies.clear();
    profile.checks = vec![check];
    let plan = plan(
        &profile,
        "test",
        &testing::fleet(3),
        &testing::facts(3, "1.0.0"),
        &testing::request("1.1.0", &[]),
    );
    let plan = plan.unwrap_or_else(|refusals| panic!("{refusals:#?}"));
    let window = &plan.hops[0].windows[0];
    for (groups, times) in [
        (&window.gate, 1),
        (&window.forward, 2),
        (&window.rollback_gate, 1),
        (&window.rollback, 1),
    ] {
        let asked: Vec<_> = steps(groups)
            .filter(|step| {
                recipe(&plan, step)
                    .title
                    .ends_with("the check `all_there` still holds")
            })
            .map(|step| recipe(&plan, step).proof[0].clone())
            .collect();
        assert_eq!(asked.len(), times);
        for proof in asked {
            assert_eq!(
                (proof.at, proof.expect.as_str()),
                (At::Others, "value.value.members == 3")
            );
        }
    }
}
