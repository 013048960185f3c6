//! When the shipped profile of NATS lets the next server go down, over what the real one answers.

use serde_json::{Value, json};
use upshift_model::expr::{Scope, holds};
use upshift_model::profile::{self, At, Profile, Slot};

fn nats() -> Profile {
    let (file, text) = profile::shipped()
        .iter()
        .find(|(file, _)| *file == "nats.yaml")
        .unwrap();
    profile::parse(file, text).unwrap()
}

/// What `/jsz` of a server says of one stream with three replicas: who leads, and whether the leader's two replicas are current.
fn streams(leader: &str, replicas: [(&str, bool); 2]) -> Value {
    let replicas =
        replicas.map(|(name, current)| json!({ "name": name, "current": current, "active": 1_000_000 }));
    let mut cluster = json!({ "name": "lab", "replicas": replicas });
    if !leader.is_empty() {
        cluster["leader"] = json!(leader);
    }
    json!({ "status": 200, "value": {
        "meta_cluster": { "name": "lab", "leader": "n1", "cluster_size": 3 },
        "account_details": [{ "name": "$G", "stream_detail": [{ "name": "load", "cluster": cluster }] }],
    }})
}

/// Whether the gate before a server goes down is content with what one of the others says.
fn gate(asked: &str, others: [&str; 2], said: &Value) -> bool {
    let profile = nats();
    let gate = &profile.verbs[&Slot::Gate][0].proof[0];
    assert_eq!(gate.at, At::Others);
    judged(&profile, &gate.expect, asked, &others, said)
}

/// Whether what a server says counts as recovered.
fn recovered(asked: &str, said: &Value) -> bool {
    let profile = nats();
    let proof = &profile.verbs[&Slot::Recover][0].proof[0];
    assert_eq!(proof.at, At::All);
    judged(&profile, &proof.expect, asked, &["n1", "n2", "n3"], said)
}

fn judged(profile: &Profile, expect: &str, asked: &str, answered: &[&str], said: &Value) -> bool {
    let mut scope = Scope::new(profile.versions.scheme);
    let values: serde_json::Map<String, Value> = answered
        .iter()
        .map(|name| ((*name).to_owned(), said.clone()))
        .collect();
    scope
        .set("value", said.clone())
        .set("values", Value::Object(values))
        .set("node", json!({ "name": asked }));
    holds(expect, &scope).unwrap()
}

#[test]
fn a_leader_with_current_replicas_lets_the_next_server_go_down() {
    let well = streams("n2", [("n1", true), ("n3", true)]);
    assert!(gate("n2", ["n2", "n3"], &well));
    assert!(recovered("n2", &well));
}

#[test]
fn a_stream_without_a_leader_does_not_though_health_says_200() {
    let leaderless = streams("", [("n1", false), ("n3", false)]);
    assert!(!gate("n2", ["n2", "n3"], &leaderless));
    assert!(!recovered("n2", &leaderless));
}

#[test]
fn a_replica_on_another_server_that_is_not_current_does_not() {
    let behind = streams("n2", [("n1", true), ("n3", false)]);
    assert!(!gate("n2", ["n2", "n3"], &behind));
    assert!(!recovered("n2", &behind));
}

#[test]
fn of_replicas_only_their_leader_is_believed() {
    // So the real one says it: a follower shows the other follower as not current, always.
    let follower = streams("n2", [("n1", false), ("n2", true)]);
    assert!(gate("n3", ["n2", "n3"], &follower));
    assert!(recovered("n3", &follower));
}

#[test]
fn the_server_that_goes_down_does_not_stand_in_its_own_way() {
    let itself_behind = streams("n2", [("n1", false), ("n3", true)]);
    assert!(gate("n2", ["n2", "n3"], &itself_behind));
    assert!(!recovered("n2", &itself_behind));
}

#[test]
fn a_consumer_without_a_leader_counts_like_a_stream() {
    let mut said = streams("n2", [("n1", true), ("n3", true)]);
    said["value"]["account_details"][0]["stream_detail"][0]["consumer_detail"] =
        json!([{ "name": "c", "cluster": { "name": "lab", "replicas": [] } }]);
    assert!(!gate("n2", ["n2", "n3"], &said));
}

#[test]
fn without_a_leader_of_the_cluster_nothing_goes_down() {
    let mut said = streams("n2", [("n1", true), ("n3", true)]);
    said["value"]["meta_cluster"]["leader"] = json!("");
    assert!(!gate("n2", ["n2", "n3"], &said));
    said["value"].as_object_mut().unwrap().remove("meta_cluster");
    assert!(!gate("n2", ["n2", "n3"], &said));
}
