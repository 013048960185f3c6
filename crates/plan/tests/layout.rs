//! What a plan is made of, strategy by strategy.

use std::collections::{BTreeMap, BTreeSet};

use upshift_model::Millis;
use upshift_model::action::{Action, GuardRecipe};
use upshift_model::facts::{Facts, ReleaseStatus};
use upshift_model::profile::{Slot, Strategy};
use upshift_plan::{
    Group, NodeIndex, Plan, Recipe, Refusal, Request, Step, StepId, StepKind, Window, plan, render_action,
    testing,
};

fn try_plan(from: &str, request: &Request, servers: usize) -> Result<Plan, Vec<Refusal>> {
    plan(
        &testing::profile(),
        "test",
        &testing::fleet(servers),
        &testing::facts(servers, from),
        request,
    )
}

fn planned(from: &str, to: &str) -> Plan {
    try_plan(from, &testing::request(to, &["1.1.0"]), 3).unwrap_or_else(|refusals| panic!("{refusals:#?}"))
}

/// One plan per strategy.
fn all() -> [Plan; 4] {
    [
        planned("1.0.0", "1.0.1"),
        planned("1.0.0", "1.1.0"),
        planned("1.1.0", "2.0.0"),
        planned("2.0.0", "3.0.0"),
    ]
}

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

fn steps(groups: &[Group]) -> impl Iterator<Item = &Step> {
    groups.iter().flat_map(|group| &group.steps)
}

fn recipe<'p>(plan: &'p Plan, step: &Step) -> &'p Recipe {
    plan.recipe(step.recipe)
}

/// Every group of a plan in the order in which it is read.
fn groups(plan: &Plan) -> Vec<&Group> {
    let mut all: Vec<&Group> = plan.prepare.iter().collect();
    for hop in &plan.hops {
        all.extend(&hop.protect);
        for window in &hop.windows {
            for part in [
                &window.gate,
                &window.forward,
                &window.revert_gate,
                &window.rearm,
                &window.revert,
            ] {
                all.extend(part);
            }
        }
        all.extend(&hop.stay);
        all.extend(&hop.settle);
    }
    all.extend(&plan.finalize);
    all
}

#[test]
fn each_strategy_has_its_slots_in_order() {
    use Slot::*;
    let [hot, rolling, switch, rebuild] = all();
    let window = |plan: &Plan| plan.hops[0].windows[0].clone();
    let forward = |plan: &Plan| slots(plan, &window(plan).forward);
    let back = |plan: &Plan| slots(plan, &window(plan).revert);
    assert_eq!(hot.hops[0].strategy, Strategy::Hot);
    assert_eq!(forward(&hot), [Gate, Install, Install, Install, Verify]);
    assert_eq!(back(&hot), [Uninstall, Uninstall, Uninstall, Verify]);
    // One per batch, and the last look.
    assert_eq!(slots(&hot, &hot.hops[0].stay), [MakePermanent; 4]);
    assert_eq!(rolling.hops[0].strategy, Strategy::Rolling);
    assert_eq!(
        forward(&rolling),
        [
            Gate, Drain, HandOver, Stop, Save, Switch, Start, Rejoin, Recover, Undrain
        ]
    );
    assert_eq!(
        back(&rolling),
        [
            Drain,
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
            Pause,
            Stop,
            Save,
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
            Pause,
            FinalSnapshot,
            Stop,
            Save,
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
fn every_step_that_changes_something_has_its_way_back() {
    /// What needs none: guards are disarmed, any server may lead, copies are removed by finalize.
    const NONE_NEEDED: [Slot; 3] = [Slot::HandOver, Slot::Save, Slot::FinalSnapshot];
    for plan in all() {
        for window in plan.hops.iter().flat_map(|hop| &hop.windows) {
            let undone: BTreeSet<StepId> = steps(&window.revert)
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
fn every_step_on_the_way_back_says_what_makes_it_necessary() {
    for plan in all() {
        for window in plan.hops.iter().flat_map(|hop| &hop.windows) {
            let forward: BTreeMap<StepId, &Step> =
                steps(&window.forward).map(|step| (step.id, step)).collect();
            for step in steps(&window.revert) {
                assert!(!step.undoes.is_empty());
                for undone in &step.undoes {
                    assert!(forward.contains_key(undone), "a step of another window is undone");
                    let arm = recipe(&plan, forward[undone]).kind == StepKind::Arm;
                    assert!(!arm && *undone < step.id);
                }
            }
            let others = [&window.gate, &window.forward, &window.revert_gate, &window.rearm];
            assert!(
                others
                    .iter()
                    .all(|groups| steps(groups).all(|step| step.undoes.is_empty()))
            );
        }
    }
}

/// The slots whose steps make a way back necessary, for a slot of the way back on one server of the window.
fn undone_slots(plan: &Plan, window: &Window, slot: Slot) -> BTreeSet<Slot> {
    let forward: BTreeMap<StepId, &Step> = steps(&window.forward).map(|step| (step.id, step)).collect();
    steps(&window.revert)
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
fn the_way_back_leads_to_the_old_version() {
    for plan in all() {
        let (from, to) = (plan.hops[0].from.clone(), plan.hops[0].to.clone());
        for window in plan.hops.iter().flat_map(|hop| &hop.windows) {
            for step in steps(&window.revert).chain(steps(&window.revert_gate)) {
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

fn armed(plan: &Plan, hop: u32, step: &Step) -> GuardRecipe {
    let recipe = recipe(plan, step);
    match render_action(plan, step.node, recipe, &BTreeMap::new(), "run-1", hop) {
        Ok(Some(Action::ArmGuard(guard))) => *guard,
        other => panic!("{other:?}"),
    }
}

fn words(actions: &[Action]) -> Vec<&'static str> {
    actions.iter().map(Action::word).collect()
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
            words(&guard.revert),
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
    for (plan, way_back) in [
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
            let mut expected = way_back.clone();
            if step.node == first {
                expected.push("command");
            }
            assert_eq!(words(&guard.revert), expected);
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
        let Action::Command(command) = &guard.revert[0] else {
            panic!("{:?}", guard.revert)
        };
        assert_eq!(command.argv, ["ledgerctl", "install", "1.0.0"]);
    }
}

#[test]
fn a_hot_release_without_uninstall_is_left_by_a_restart() {
    let mut profile = testing::profile();
    profile.verbs.remove(&Slot::Uninstall);
    let request = testing::request("1.0.1", &[]);
    let plan = plan(
        &profile,
        "test",
        &testing::fleet(3),
        &testing::facts(3, "1.0.0"),
        &request,
    )
    .unwrap();
    let revert = &plan.hops[0].windows[0].revert;
    let titles: Vec<&str> = revert
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
    assert_eq!(revert.len(), 3 * 2 + 1);
    let guard = armed(&plan, 0, &plan.hops[0].windows[0].forward[0].steps[0]);
    assert_eq!(words(&guard.revert), ["stop", "start"]);
}

#[test]
fn a_point_of_no_return_belongs_to_the_last_window() {
    let plan = planned("1.1.0", "1.2.0");
    let hop = &plan.hops[0];
    let point = hop.no_return.as_ref().unwrap();
    assert_eq!(point.window, 2);
    assert_eq!(point.crossed.expect, "value.value.cluster_version == to");
    for window in &hop.windows {
        let guard = armed(&plan, 0, &window.forward[0].steps[0]);
        assert_eq!(guard.stand_down_if.unwrap().expect, point.crossed.expect);
    }
    assert!(planned("1.0.0", "1.1.0").hops[0].no_return.is_none());
    let mut profile = testing::profile();
    profile.point_of_no_return.as_mut().unwrap().to = None;
    let patch = testing::request("1.1.2", &[]);
    let facts = testing::facts(3, "1.1.0");
    let patched =
        |profile: &_| upshift_plan::plan(profile, "test", &testing::fleet(3), &facts, &patch).unwrap();
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
fn everything_is_prepared_before_anything_is_changed() {
    let plan = try_plan("1.0.0", &testing::request("1.2.0", &["1.1.0"]), 3).unwrap();
    let prepared: Vec<(StepKind, &str)> = plan
        .prepare
        .iter()
        .map(|group| recipe(&plan, &group.steps[0]))
        .map(|recipe| (recipe.kind, recipe.to.as_str()))
        .collect();
    let (distribute, unpack) = (StepKind::Distribute, StepKind::Unpack);
    assert_eq!(
        prepared,
        [
            (distribute, "1.1.0"),
            (unpack, "1.1.0"),
            (distribute, "1.2.0"),
            (unpack, "1.2.0")
        ]
    );
    assert!(plan.prepare.iter().all(|group| group.steps.len() == 3));
    let unpacked = plan.recipes.iter().find_map(|recipe| match &recipe.action {
        Some(Action::Unpack(release)) => Some(release.strip),
        _ => None,
    });
    assert_eq!(unpacked, Some(1));
    assert_eq!(plan.estimate.download_per_node, 40_000_000);
    assert_eq!(plan.estimate.disk_per_node, 160_000_000);
}

#[test]
fn what_a_host_has_already_needs_no_disk_and_no_sending() {
    let mut facts = testing::facts(3, "1.0.0");
    for node in facts.nodes.values_mut() {
        node.host.cached.push(testing::artifact("1.1.0").sha256);
        let unpacked = upshift_model::facts::ReleaseStatus::Unpacked;
        node.host.releases.insert("1.1.0".to_owned(), unpacked);
        node.host.disk_free = 0;
    }
    let request = testing::request("1.1.0", &[]);
    let plan = plan(&testing::profile(), "test", &testing::fleet(3), &facts, &request).unwrap();
    assert_eq!(
        (plan.estimate.download_per_node, plan.estimate.disk_per_node),
        (0, 0)
    );
}

#[test]
fn the_running_release_is_unpacked_where_a_revert_would_miss_it() {
    let mut facts = testing::facts(3, "1.0.0");
    facts.nodes.get_mut("n00002").unwrap().host.releases.clear();
    let request = testing::request("1.1.0", &["1.0.0"]);
    let plan = plan(&testing::profile(), "test", &testing::fleet(3), &facts, &request).unwrap();
    let old: Vec<&str> = steps(&plan.prepare)
        .filter(|step| recipe(&plan, step).to == "1.0.0")
        .map(|step| plan.node(step.node).name.as_str())
        .collect();
    assert_eq!(old, ["n00002", "n00002"]);
}

#[test]
fn packages_go_to_the_hosts_that_they_are_built_for() {
    let mut facts = testing::facts(3, "1.0.0");
    let third = facts.nodes.get_mut("n00003").unwrap();
    third.host.arch = "arm64".to_owned();
    third.variant.insert("arch".to_owned(), "arm64".to_owned());
    let mut request = testing::request("1.1.0", &[]);
    let mut other = testing::artifact("1.1.0");
    other.file_name = "ledger-1.1.0-debian12-aarch64.tar.gz".to_owned();
    other.variant.insert("arch".to_owned(), "aarch64".to_owned());
    other.sha256 = "a".repeat(64);
    request.artifacts.push(other);
    let plan = plan(&testing::profile(), "test", &testing::fleet(3), &facts, &request).unwrap();
    assert_eq!(plan.prepare.len(), 2);
    let files: Vec<&str> = plan.prepare[0]
        .steps
        .iter()
        .map(|step| match &recipe(&plan, step).action {
            Some(Action::Distribute(artifact)) => artifact.file_name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let (amd, arm) = (
        "ledger-1.1.0-debian12-amd64.tar.gz",
        "ledger-1.1.0-debian12-aarch64.tar.gz",
    );
    assert_eq!(files, [amd, amd, arm]);
}

#[test]
fn configuration_that_a_hop_edits_is_saved_and_put_back() {
    let plan = planned("1.1.0", "2.0.0");
    let saved = plan.recipes.iter().find_map(|recipe| match &recipe.action {
        Some(Action::Save(save)) => Some(save.clone()),
        _ => None,
    });
    let saved = saved.unwrap();
    // The file that is edited is the place that is carried over: it is saved once.
    assert_eq!(
        (saved.name.as_str(), saved.paths.len()),
        ("config-before-2.0.0", 1)
    );
    let restored = plan.recipes.iter().any(|recipe| match &recipe.action {
        Some(Action::Restore(restore)) => {
            restore.name == saved.name && recipe.proof[0].expect.contains("identical")
        }
        _ => false,
    });
    assert!(restored);
}

#[test]
fn the_canary_comes_first_and_leaders_last() {
    let names = |request: &Request| -> Vec<String> {
        let plan = try_plan("1.0.0", request, 5).unwrap();
        let windows = plan.hops[0].windows.iter().flat_map(|window| &window.nodes);
        windows.map(|node| plan.node(*node).name.clone()).collect()
    };
    let mut request = testing::request("1.1.0", &[]);
    assert_eq!(
        names(&request),
        ["n00004", "n00002", "n00005", "n00003", "n00001"]
    );
    request.canary = Some("n00003".to_owned());
    assert_eq!(
        names(&request),
        ["n00003", "n00004", "n00002", "n00005", "n00001"]
    );
    request.canary = Some("n00001".to_owned());
    assert_eq!(names(&request)[0], "n00001");
}

#[test]
fn an_operator_sets_times() {
    let mut request = testing::request("1.1.0", &[]);
    request.timing.limit = Some(Millis::seconds(11));
    request.timing.lease = Some(Millis::seconds(12));
    request.timing.slot = Some(Millis::seconds(13));
    request.timing.soak = Some(Millis::seconds(14));
    request.timing.between = Some(Millis::seconds(15));
    request.timing.within = Some(Millis::seconds(16));
    let plan = try_plan("1.0.0", &request, 3).unwrap();
    let hop = &plan.hops[0];
    assert_eq!(hop.soak.duration, Millis::seconds(14));
    let soaks: Vec<Millis> = hop.windows.iter().map(|window| window.soak).collect();
    assert_eq!(soaks, [Millis::seconds(15), Millis::seconds(15), Millis::ZERO]);
    assert!(
        hop.windows
            .iter()
            .all(|window| window.limit == Millis::seconds(11))
    );
    assert!(
        hop.windows
            .iter()
            .all(|window| window.lease == Millis::seconds(12))
    );
    assert_eq!(
        armed(&plan, 0, &hop.windows[0].forward[0].steps[0]).lease,
        Millis::seconds(12)
    );
    assert_eq!(hop.guard_offsets[&hop.windows[0].nodes[0]], Millis::seconds(26));
    assert!(
        plan.recipes
            .iter()
            .all(|recipe| recipe.within <= Millis::seconds(16))
    );
}

#[test]
fn finalize_removes_what_was_kept() {
    let plan = try_plan("1.0.0", &testing::request("1.2.0", &["1.1.0"]), 3).unwrap();
    let done: Vec<&str> = plan
        .finalize
        .iter()
        .filter_map(|group| recipe(&plan, &group.steps[0]).action.as_ref())
        .map(Action::word)
        .collect();
    assert_eq!(
        done,
        [
            "remove release",
            "remove saved files",
            "remove release",
            "remove saved files"
        ]
    );
    assert_eq!(plan.finalize_notes.len(), 4);
    let hot = planned("1.0.0", "1.0.1");
    assert!(
        hot.finalize.is_empty(),
        "nothing was saved, and the release store is not used"
    );
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
fn a_profile_that_cannot_rebuild_is_refused() {
    let mut profile = testing::profile();
    profile.verbs.remove(&Slot::OldData);
    profile.verbs.remove(&Slot::Load);
    let request = testing::request("3.0.0", &[]);
    let refusals = plan(
        &profile,
        "test",
        &testing::fleet(3),
        &testing::facts(3, "2.0.0"),
        &request,
    )
    .unwrap_err();
    let codes: Vec<&str> = refusals.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(codes, ["no-verbs", "no-verbs"]);
}

#[test]
fn a_profile_without_verbs_shows_the_way_and_is_refused() {
    let mut profile = testing::profile();
    profile.verbs_missing = Some("they come later".to_owned());
    let request = testing::request("1.2.0", &["1.1.0"]);
    let refusals = plan(
        &profile,
        "test",
        &testing::fleet(3),
        &testing::facts(3, "1.0.0"),
        &request,
    )
    .unwrap_err();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].code, "no-verbs");
    assert!(refusals[0].message.contains("they come later"));
    assert!(
        refusals[0].message.contains("1.1.0 (rolling) → 1.2.0 (rolling)"),
        "{refusals:?}"
    );
}

#[test]
fn checks_may_be_skipped_at_the_operators_wish() {
    let mut facts = testing::facts(3, "1.0.0");
    facts
        .nodes
        .get_mut("n00002")
        .unwrap()
        .probes
        .get_mut("status")
        .unwrap()["value"]["healthy"] = false.into();
    let mut request = testing::request("1.1.0", &[]);
    let attempt = |request: &Request| plan(&testing::profile(), "test", &testing::fleet(3), &facts, request);
    let refusals = attempt(&request).unwrap_err();
    assert_eq!(
        (refusals[0].code.as_str(), &refusals[0].hosts[..]),
        ("check:healthy", &["n00002".to_owned()][..])
    );
    request.skip_checks = vec!["healthy".to_owned()];
    let plan = attempt(&request).unwrap();
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("`healthy` was skipped")),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn an_outage_may_be_accepted() {
    let mut request = testing::request("1.1.0", &[]);
    assert!(try_plan("1.0.0", &request, 1).is_err());
    request.skip_checks = vec!["capacity".to_owned()];
    assert_eq!(try_plan("1.0.0", &request, 1).unwrap().hops[0].windows.len(), 1);
}

#[test]
fn clocks_that_disagree_are_worth_a_warning() {
    let mut facts = testing::facts(3, "1.0.0");
    facts.nodes.get_mut("n00002").unwrap().host.clock_offset_ms = -61_000;
    facts.nodes.get_mut("n00003").unwrap().host.clock_offset_ms = 60_000;
    let request = testing::request("1.1.0", &[]);
    let plan = plan(&testing::profile(), "test", &testing::fleet(3), &facts, &request).unwrap();
    assert_eq!(plan.warnings.len(), 1);
    assert!(
        plan.warnings[0].contains("n00002 is 61 s behind"),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn a_version_that_was_reverted_is_tried_again_only_when_asked() {
    let mut facts = testing::facts(3, "1.0.0");
    facts.reverted.insert("1.1.0".to_owned(), "run-7".to_owned());
    let mut request = testing::request("1.1.0", &[]);
    let attempt = |request: &Request| plan(&testing::profile(), "test", &testing::fleet(3), &facts, request);
    assert_eq!(attempt(&request).unwrap_err()[0].code, "reverted-before");
    request.again = true;
    assert!(attempt(&request).is_ok());
}

#[test]
fn values_from_planning_time_are_kept_where_a_proof_asks_for_them() {
    let mut profile = testing::profile();
    profile.soak.watch[0].expect = "value.value.applied >= before.value.applied".to_owned();
    let request = testing::request("1.1.0", &[]);
    let plan = plan(
        &profile,
        "test",
        &testing::fleet(3),
        &testing::facts(3, "1.0.0"),
        &request,
    )
    .unwrap();
    assert_eq!(plan.nodes[0].before["status"]["value"]["applied"], 100);
    assert!(planned("1.0.0", "1.1.0").nodes[0].before.is_empty());
}

#[test]
fn a_plan_holds_no_variables_that_it_does_not_use() {
    let mut fleet = testing::fleet(3);
    for host in fleet.hosts.values_mut() {
        host.variables
            .insert("ansible_become_password".to_owned(), "secret".into());
        host.variables.insert("zone_url".to_owned(), "http://zone".into());
    }
    let mut profile = testing::profile();
    profile.soak.watch[0].waiting = "{{ node.zone_url }} is not reached".to_owned();
    let request = testing::request("1.1.0", &[]);
    let plan = plan(&profile, "test", &fleet, &testing::facts(3, "1.0.0"), &request).unwrap();
    assert_eq!(
        plan.nodes[0].variables,
        [("zone_url".to_owned(), "http://zone".into())].into()
    );
}

#[test]
fn a_guard_uses_nothing_that_must_be_observed_first() {
    let mut profile = testing::profile();
    let condition = profile.verbs[&Slot::HandOver][0].only_if.clone();
    for slot in [Slot::Gate, Slot::Rejoin, Slot::Undrain] {
        let verbs = profile.verbs.get_mut(&slot).unwrap();
        let mut first = verbs[0].clone();
        first.only_if = condition.clone();
        first
            .bindings
            .insert("leader".to_owned(), "value.value.leader".to_owned());
        first.proof[0].expect = "conditional".to_owned();
        verbs.insert(0, first);
    }
    let request = testing::request("1.1.0", &[]);
    let plan = plan(
        &profile,
        "test",
        &testing::fleet(3),
        &testing::facts(3, "1.0.0"),
        &request,
    )
    .unwrap();
    let guard = armed(&plan, 0, &plan.hops[0].windows[0].forward[0].steps[0]);
    assert!(!serde_json::to_string(&guard).unwrap().contains("conditional"));
    assert_eq!(
        words(&guard.revert),
        ["stop", "switch", "restore", "start", "command"]
    );
    assert!(guard.serving_if.is_some() && guard.wait_until.is_some());
}

#[test]
fn an_adoption_puts_what_runs_into_the_store_and_nothing_else() {
    let profile = testing::profile();
    let fleet = testing::fleet(3);
    let mut facts = testing::facts(3, "1.0.0");
    for node in facts.nodes.values_mut() {
        node.host.releases.clear();
    }
    let request = testing::request("", &["1.0.0"]);
    let adopt = |facts: &Facts| upshift_plan::adoption(&profile, "test", &fleet, facts, &request);
    let plan = adopt(&facts).expect("a plan");
    assert!(plan.request.prepare_only && plan.hops.is_empty() && plan.finalize.is_empty());
    let words: Vec<_> = plan
        .prepare
        .iter()
        .map(|group| {
            let action = plan.recipe(group.steps[0].recipe).action.as_ref();
            (action.map(upshift_model::action::Action::word), group.steps.len())
        })
        .collect();
    assert_eq!(
        words,
        [(Some("distribute"), 3), (Some("unpack"), 3), (Some("switch"), 3)]
    );

    for node in facts.nodes.values_mut() {
        node.host
            .releases
            .insert("1.0.0".to_owned(), ReleaseStatus::Permanent);
    }
    assert!(
        adopt(&facts).expect("a plan").prepare.is_empty(),
        "the stores have it already"
    );

    for node in facts.nodes.values_mut() {
        node.host.releases = [("0.9.0".to_owned(), ReleaseStatus::Permanent)].into();
    }
    let refusals = adopt(&facts).expect_err("another release is current");
    assert_eq!(refusals[0].code, "other-release");
}
