//! Moving services over to the release store: what is planned, and what stands in the way.

use serde_json::json;
use upshift_model::action::Action;
use upshift_model::facts::{Facts, ReleaseStatus};
use upshift_model::profile::{Slot, Strategy};
use upshift_plan::{Plan, Refusal, Request, Step, StepKind, moving, testing};

/// Three servers that run 1.1.0, started from elsewhere.
fn elsewhere() -> Facts {
    let mut facts = testing::facts(3, "1.1.0");
    for node in facts.nodes.values_mut() {
        node.probes.insert(
            "process".to_owned(),
            json!({"running": true, "exe": "/usr/bin/ledgerd", "release": null}),
        );
    }
    facts
}

fn made(facts: &Facts) -> Result<Option<Plan>, Vec<Refusal>> {
    let fleet = testing::fleet(3);
    moving(&testing::profile(), "test", &fleet, facts, &Request::default())
}

fn titles<'p>(plan: &'p Plan, steps: impl Iterator<Item = &'p Step>) -> Vec<&'p str> {
    steps
        .map(|step| plan.recipe(step.recipe).title.as_str())
        .collect()
}

#[test]
fn each_server_is_restarted_from_its_store_behind_gates_and_guards() {
    let plan = made(&elsewhere()).unwrap().expect("a plan");
    plan.validate().unwrap();
    assert_eq!(plan.hops.len(), 1);
    let hop = &plan.hops[0];
    assert_eq!(
        (hop.from.as_str(), hop.to.as_str(), hop.strategy),
        ("1.1.0", "1.1.0", Strategy::Rolling)
    );
    assert_eq!(hop.windows.len(), 3, "one after the other");
    assert!(hop.no_return.is_none());
    assert!(plan.prepare.is_empty(), "nothing is sent");
    let window = &hop.windows[0];
    assert!(!window.gate.is_empty());
    let forward = titles(&plan, window.forward.iter().flat_map(|group| &group.steps));
    let position = |title: &str| {
        forward
            .iter()
            .position(|found| *found == title)
            .unwrap_or_else(|| panic!("{title}: {forward:?}"))
    };
    assert!(
        position("arm the guard") < position("let the service start from the release store"),
        "{forward:?}"
    );
    let back = titles(&plan, window.rollback.iter().flat_map(|group| &group.steps));
    assert!(
        back.contains(&"let the service start as it did before"),
        "{back:?}"
    );
    let starts = |kind: StepKind| {
        let recipe = plan.recipes.iter().find(|recipe| recipe.kind == kind).unwrap();
        recipe.proof[0].expect.clone()
    };
    assert!(starts(StepKind::Do(Slot::Start)).contains("value.release == want"));
    assert!(
        !starts(StepKind::Undo(Slot::Start)).contains("release"),
        "taken back it runs from elsewhere"
    );
    let removes = plan
        .recipes
        .iter()
        .any(|recipe| matches!(recipe.action, Some(Action::RemoveRelease(_))));
    assert!(!removes, "what runs is not removed by finalize");
}

#[test]
fn only_servers_that_are_not_started_from_there_are_restarted() {
    let mut facts = elsewhere();
    let first = testing::name(1);
    facts
        .nodes
        .get_mut(&first)
        .unwrap()
        .probes
        .insert("process".to_owned(), json!({"running": true, "release": "1.1.0"}));
    let plan = made(&facts).unwrap().expect("a plan");
    assert_eq!(plan.hops[0].windows.len(), 2);
    for node in facts.nodes.values_mut() {
        node.probes
            .insert("process".to_owned(), json!({"running": true, "release": "1.1.0"}));
    }
    assert_eq!(made(&facts), Ok(None));
}

#[track_caller]
fn refused(facts: &Facts, code: &str, words: &str) {
    let refusals = made(facts).unwrap_err();
    let refusal = refusals.iter().find(|refusal| refusal.code == code);
    let refusal = refusal.unwrap_or_else(|| panic!("{code}: {refusals:?}"));
    assert!(
        format!("{} {}", refusal.message, refusal.remedy).contains(words),
        "{refusal:?}"
    );
}

#[test]
fn stores_that_do_not_hold_what_runs_and_mixed_versions_are_refused() {
    let mut facts = elsewhere();
    facts
        .nodes
        .get_mut(&testing::name(2))
        .unwrap()
        .host
        .releases
        .clear();
    refused(&facts, "not-adopted", "`upshift adopt`");
    let mut facts = elsewhere();
    let node = facts.nodes.get_mut(&testing::name(2)).unwrap();
    node.version = Some("1.1.2".to_owned());
    node.host.releases = [("1.1.2".to_owned(), ReleaseStatus::Permanent)].into();
    refused(&facts, "mixed-versions", "1.1.0 to 1.1.2");
}
