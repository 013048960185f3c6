//! What merges come to, told with the plan.

use std::collections::BTreeMap;

use serde_json::json;
use upshift_model::probe::ProbeFailure;
use upshift_plan::{MergeAt, NodeIndex, Plan, merges, plan, previewed, show, testing};

/// A plan for three servers with one file that is merged.
fn planned() -> Plan {
    let mut profile = testing::profile();
    profile.config = serde_json::from_value(json!({"migrate": [{
        "file": "/etc/kv.properties",
        "merge": {"base": "{{ state_directory }}/store/releases/{{ from }}/kv.properties", "new": "{{ state_directory }}/store/releases/{{ to }}/kv.properties"},
    }]}))
    .unwrap();
    let mut fleet = testing::fleet(3);
    for host in fleet.hosts.values_mut() {
        let answers = json!({"kv.limit": "yours"});
        host.variables.insert("config_answers".to_owned(), answers);
    }
    let facts = testing::facts(3, "1.0.0");
    plan(&profile, "test", &fleet, &facts, &testing::request("1.1.0", &[])).unwrap()
}

fn at(node: u32) -> MergeAt {
    (NodeIndex(node), 0)
}

#[test]
fn every_server_is_asked_with_the_answers_of_the_fleet() {
    let plan = planned();
    let asked = merges(&plan);
    assert_eq!(asked.keys().copied().collect::<Vec<_>>(), [at(0), at(1), at(2)]);
    let order = &asked[&at(0)];
    let answers: serde_json::Value = serde_json::from_str(&order.answers).unwrap();
    assert_eq!(answers, json!({"kv.limit": "yours"}));
    assert!(
        order.new.ends_with("/store/releases/1.1.0/kv.properties"),
        "{}",
        order.new
    );
}

#[test]
fn equal_changes_are_told_once_and_conflicts_by_server_with_what_to_do() {
    let mut plan = planned();
    let asked = merges(&plan);
    let diff = "--- original\n+++ modified\n@@ -1 +1 @@\n-a=1\n+a=2\n";
    let clean = || Ok(json!({"clean": true, "changed": true, "diff": diff, "conflicts": []}));
    let torn = "yours has `b=2`, the new default `b=3`";
    let observed = BTreeMap::from([
        (at(0), clean()),
        (at(1), clean()),
        (
            at(2),
            Ok(json!({"clean": false, "changed": false, "diff": "", "conflicts": [torn]})),
        ),
    ]);
    let told = previewed(&plan, &asked, &observed);
    assert_eq!(told.changes.len(), 1);
    assert_eq!(told.changes[0].hosts, ["n00001", "n00002"]);
    let [refusal] = &told.refusals[..] else {
        panic!("{:?}", told.refusals)
    };
    assert!(refusal.message.contains(torn) && refusal.remedy.contains("config_answers: { KEY: yours }"));

    let before = plan.compute_fingerprint();
    plan.config_changes = told.changes;
    assert_ne!(
        before,
        plan.compute_fingerprint(),
        "what was shown is what was agreed to"
    );
    for shown in [show::table(&plan, show::Detail::Sentences), show::markdown(&plan)] {
        assert!(shown.contains("/etc/kv.properties on n00001, n00002"), "{shown}");
        assert!(shown.contains("    -a=1\n    +a=2\n"), "{shown}");
    }
}

#[test]
fn what_cannot_be_told_beforehand_is_said() {
    let plan = planned();
    let observed = BTreeMap::from([(at(1), Err(ProbeFailure::Failed("cannot read it".to_owned())))]);
    let told = previewed(&plan, &merges(&plan), &observed);
    assert!(told.changes.is_empty() && told.refusals.is_empty());
    assert!(
        told.warnings[0].contains("on n00002 comes to cannot be told beforehand: cannot read it"),
        "{:?}",
        told.warnings
    );
}
