//! Everything that a person reads of a plan, and of the reasons why there is none.

use upshift_model::facts::Facts;
use upshift_model::fleet::{Fleet, Host};
use upshift_plan::show::{self, Detail};
use upshift_plan::{Plan, Request, plan, testing};

fn planned(from: &str, to: &str, at_hand: &[&str]) -> Plan {
    let request = testing::request(to, at_hand);
    plan(
        &testing::profile(),
        "test",
        &testing::fleet(3),
        &testing::facts(3, from),
        &request,
    )
    .unwrap_or_else(|refusals| panic!("{}", show::refusals(&refusals)))
}

fn refused(fleet: &Fleet, facts: &Facts, request: &Request) -> String {
    match plan(&testing::profile(), "test", fleet, facts, request) {
        Ok(plan) => panic!("{}", show::table(&plan, Detail::Sentences)),
        Err(refusals) => show::refusals(&refusals),
    }
}

/// The four strategies, and two hops of which the second has a point of no return.
const PLANS: [(&str, &str, &str, &[&str]); 5] = [
    ("hot", "1.0.0", "1.0.1", &[]),
    ("rolling", "1.0.0", "1.1.0", &[]),
    ("two_hops", "1.0.0", "1.2.0", &["1.1.0"]),
    ("switch", "1.1.0", "2.0.0", &[]),
    ("rebuild", "2.0.0", "3.0.0", &[]),
];

#[test]
fn tables() {
    for (name, from, to, at_hand) in PLANS {
        let table = show::table(&planned(from, to, at_hand), Detail::Sentences);
        insta::assert_snapshot!(format!("table_{name}"), table);
    }
}

#[test]
fn tables_with_the_proofs_as_the_profile_has_them() {
    let plan = planned("1.0.0", "1.1.0", &[]);
    insta::assert_snapshot!("table_in_full", show::table(&plan, Detail::Expressions));
}

#[test]
fn markdown() {
    for (name, from, to, at_hand) in PLANS {
        insta::assert_snapshot!(
            format!("markdown_{name}"),
            show::markdown(&planned(from, to, at_hand))
        );
    }
}

#[test]
fn pictures() {
    for (name, from, to, at_hand) in PLANS {
        let plan = planned(from, to, at_hand);
        insta::assert_snapshot!(format!("picture_{name}"), show::picture(&plan));
        insta::assert_snapshot!(format!("svg_{name}"), show::svg(&plan));
    }
}

#[test]
fn json_reads_back_as_the_same_plan() {
    for (name, from, to, at_hand) in PLANS {
        let plan = planned(from, to, at_hand);
        let text = show::json(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        if matches!(name, "hot" | "rolling") {
            insta::assert_snapshot!(format!("json_{name}"), text);
        }
    }
}

#[test]
fn large_fleets_are_shortened() {
    let request = testing::request("1.1.0", &[]);
    let plan = plan(
        &testing::profile(),
        "test",
        &testing::fleet(100),
        &testing::facts(100, "1.0.0"),
        &request,
    )
    .unwrap();
    insta::assert_snapshot!("table_100_servers", show::table(&plan, Detail::Sentences));
    insta::assert_snapshot!("picture_100_servers", show::picture(&plan));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let fleet = testing::fleet(4);
    let mut facts = testing::facts(4, "1.0.0");
    facts.nodes.get_mut("n00001").unwrap().unreachable = Some("connection refused".to_owned());
    facts.nodes.get_mut("n00002").unwrap().version = None;
    let third = facts.nodes.get_mut("n00003").unwrap();
    third.host.disk_free = 30_000_000;
    third.places.remove("data_dir");
    third.probes.get_mut("status").unwrap()["value"]["healthy"] = false.into();
    let request = Request {
        canary: Some("n00009".to_owned()),
        batch: Some(2),
        ..testing::request("1.1.0", &[])
    };
    insta::assert_snapshot!("refused_everything", refused(&fleet, &facts, &request));
}

#[test]
fn the_way_is_refused_with_what_to_do() {
    let (fleet, facts) = (testing::fleet(3), testing::facts(3, "1.0.0"));
    for (name, to, at_hand) in [
        ("blocked", "1.1.1", &[][..]),
        ("skipped_hop", "2.0.0", &[]),
        ("unknown_target", "7.0.0", &[]),
        ("unreadable_target", "1.x", &[]),
        ("already_there", "1.0.0", &[]),
    ] {
        insta::assert_snapshot!(
            format!("refused_{name}"),
            refused(&fleet, &facts, &testing::request(to, at_hand))
        );
    }
    let no_package = Request {
        artifacts: Vec::new(),
        ..testing::request("1.1.0", &[])
    };
    insta::assert_snapshot!("refused_no_package", refused(&fleet, &facts, &no_package));
    let newer = testing::facts(3, "1.2.0");
    insta::assert_snapshot!(
        "refused_downgrade",
        refused(&fleet, &newer, &testing::request("1.1.0", &[]))
    );
    let old = testing::facts(3, "0.9.0");
    insta::assert_snapshot!(
        "refused_no_way_out",
        refused(&fleet, &old, &testing::request("1.1.0", &[]))
    );
}

#[test]
fn packages_are_refused_with_what_to_do() {
    let fleet = testing::fleet(3);
    let facts = testing::facts(3, "1.0.0");
    let mut wrong = testing::request("1.1.0", &[]);
    wrong.artifacts[0]
        .variant
        .insert("arch".to_owned(), "arm64".to_owned());
    insta::assert_snapshot!("refused_wrong_platform", refused(&fleet, &facts, &wrong));

    let mut two = testing::request("1.1.0", &[]);
    let mut other = testing::artifact("1.1.0");
    other.file_name = "ledger-1.1.0-debian12-amd64.retry.tar.gz".to_owned();
    other.sha256 = "f".repeat(64);
    two.artifacts.push(other);
    insta::assert_snapshot!("refused_two_packages", refused(&fleet, &facts, &two));

    let mut homeless = facts.clone();
    homeless.nodes.get_mut("n00002").unwrap().host.releases.clear();
    insta::assert_snapshot!(
        "refused_no_rollback",
        refused(&fleet, &homeless, &testing::request("1.1.0", &[]))
    );
}

#[test]
fn the_cluster_is_refused_with_what_to_do() {
    let request = testing::request("1.1.0", &[]);
    let small = testing::fleet(2);
    insta::assert_snapshot!(
        "refused_too_small",
        refused(&small, &testing::facts(2, "1.0.0"), &request)
    );

    let fleet = testing::fleet(3);
    let mut mixed = testing::facts(3, "1.0.0");
    mixed
        .nodes
        .insert("n00003".to_owned(), testing::node_facts(3, 3, "0.9.0"));
    insta::assert_snapshot!("refused_mixed_versions", refused(&fleet, &mixed, &request));

    let mut before = testing::facts(3, "1.0.0");
    before.rolled_back.insert("1.1.0".to_owned(), "run-7".to_owned());
    insta::assert_snapshot!("refused_rolled_back_before", refused(&fleet, &before, &request));

    let mut with_client = testing::fleet(3);
    let client = Host {
        groups: ["ledger".to_owned()].into(),
        roles: ["client".to_owned()].into(),
        ..Host::default()
    };
    with_client.hosts.insert("app1".to_owned(), client);
    let mut facts = testing::facts(3, "1.1.0");
    facts
        .nodes
        .insert("app1".to_owned(), testing::node_facts(9, 3, "1.0.0"));
    let request = testing::request("2.0.0", &[]);
    insta::assert_snapshot!("refused_client_lag", refused(&with_client, &facts, &request));

    insta::assert_snapshot!(
        "refused_nobody_there",
        refused(
            &Fleet::default(),
            &Facts::default(),
            &testing::request("1.1.0", &[])
        )
    );
}

#[test]
fn a_changed_cluster_is_refused_with_what_changed() {
    let (profile, fleet, facts) = (testing::profile(), testing::fleet(3), testing::facts(3, "1.0.0"));
    let plan = planned("1.0.0", "1.1.0", &[]);
    assert_eq!(
        upshift_plan::verify_unchanged(&plan, &profile, &fleet, &facts),
        Ok(())
    );

    let mut moved = facts.clone();
    let first = moved.nodes.get_mut("n00001").unwrap();
    first.leader = false;
    first.host.disk_free = 1;
    assert_eq!(
        upshift_plan::verify_unchanged(&plan, &profile, &fleet, &moved),
        Ok(())
    );

    let mut changed = facts.clone();
    changed.nodes.get_mut("n00001").unwrap().version = Some("1.0.1".to_owned());
    let second = changed.nodes.get_mut("n00002").unwrap();
    second
        .config_digests
        .insert("config".to_owned(), "beef".to_owned());
    second
        .places
        .insert("data_dir".to_owned(), "/srv/data".to_owned());
    let mut fleet = fleet;
    fleet.hosts.remove("n00003");
    fleet
        .hosts
        .insert("n00004".to_owned(), fleet.hosts["n00001"].clone());
    let mut edited = plan.clone();
    edited.hops[0].windows[0].limit = upshift_model::Millis(1);
    let refusals = upshift_plan::verify_unchanged(&edited, &profile, &fleet, &changed).unwrap_err();
    insta::assert_snapshot!("refused_changed", show::refusals(&refusals));
}
