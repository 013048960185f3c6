//! What comes before and after the windows: packages, saved files, what finalize removes.

use upshift_model::action::Action;
use upshift_model::facts::{Facts, ReleaseStatus};
use upshift_plan::{StepKind, testing};

use crate::common::{plan_of, planned, recipe, steps, try_plan};

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
    let plan = plan_of(&testing::profile(), &facts, &request).unwrap();
    assert_eq!(
        (plan.estimate.download_per_node, plan.estimate.disk_per_node),
        (0, 0)
    );
}

#[test]
fn the_running_release_is_unpacked_where_a_rollback_would_miss_it() {
    let mut facts = testing::facts(3, "1.0.0");
    facts.nodes.get_mut("n00002").unwrap().host.releases.clear();
    let request = testing::request("1.1.0", &["1.0.0"]);
    let plan = plan_of(&testing::profile(), &facts, &request).unwrap();
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
    let plan = plan_of(&testing::profile(), &facts, &request).unwrap();
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
