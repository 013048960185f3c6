//! Ways that are not open: which servers decide that, what stands in the way, and what is said of it.

use upshift_model::facts::Facts;
use upshift_model::profile::{BlockedEdge, PathEdge, Profile, Source, Strategy};
use upshift_plan::{Plan, Refusal, Request, plan, testing};

fn planned(profile: &Profile, facts: &Facts, request: &Request) -> Result<Plan, Vec<Refusal>> {
    plan(
        profile,
        "test",
        &testing::fleet(facts.nodes.len()),
        facts,
        request,
    )
}

/// The profile with a rolling way beside the hot one, from 1.0.x to 1.0.x.
fn with_two_ways() -> Profile {
    let mut profile = testing::profile();
    profile.paths.push(PathEdge {
        strategy: Strategy::Rolling,
        when: Vec::new(),
        ..profile.paths[0].clone()
    });
    profile
}

fn trouble(name: &str) -> BlockedEdge {
    BlockedEdge {
        name: name.to_owned(),
        from: None,
        to: None,
        strategies: Vec::new(),
        when: Vec::new(),
        reason: "it loses writes".to_owned(),
        source: Source {
            title: "made up for tests".to_owned(),
            link: None,
        },
        fixed_in: None,
        acceptable: false,
    }
}

/// Three servers of 1.0.0, whose second one runs another version, built for another system.
fn odd_one(version: &str) -> Facts {
    let mut facts = testing::facts(3, "1.0.0");
    let mut odd = testing::node_facts(2, 3, version);
    odd.variant.insert("os".to_owned(), "el8".to_owned());
    facts.nodes.insert("n00002".to_owned(), odd);
    facts
}

#[test]
fn only_servers_that_would_take_a_way_can_close_it() {
    let (request, closed) = (testing::request("1.0.1", &[]), odd_one("1.0.0"));
    let ahead = planned(&with_two_ways(), &odd_one("1.0.1"), &request).unwrap();
    assert_eq!(ahead.hops[0].strategy, Strategy::Hot);
    assert_eq!(ahead.warnings, Vec::<String>::new());
    let plan = planned(&with_two_ways(), &closed, &request).unwrap();
    assert_eq!(plan.hops[0].strategy, Strategy::Rolling);
    assert_eq!(
        plan.warnings,
        [
            "1.0.0 to 1.0.1 is done rolling, because the hot way is not open: \
          n00002: the running code was built for el8, the package for debian12"
        ]
    );
    let refusals = planned(&testing::profile(), &closed, &request).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0].hosts, ["n00002"]);
    assert_eq!(
        refusals[0].message,
        "the hot way from 1.0.0 to 1.0.1 is not open: the running code was built for el8, the package for debian12"
    );
}

#[test]
fn who_cannot_go_rolling_hears_of_the_hot_way_that_is_closed() {
    let mut request = testing::request("1.0.1", &[]);
    request.canary = Some("n00009".to_owned());
    let refusals = planned(&with_two_ways(), &odd_one("1.0.0"), &request).unwrap_err();
    let codes: Vec<&str> = refusals.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(codes, ["condition", "unknown-canary"]);
    assert_eq!(
        refusals[0].remedy,
        "meet that condition, and no server is taken out of service"
    );
}

#[test]
fn a_trouble_of_one_strategy_closes_that_one_alone() {
    let mut profile = with_two_ways();
    let mut loud = trouble("loud");
    loud.strategies = vec![Strategy::Hot];
    profile.blocked = vec![loud];
    let (facts, request) = (testing::facts(3, "1.0.0"), testing::request("1.0.1", &[]));
    let plan = planned(&profile, &facts, &request).unwrap();
    assert_eq!(plan.hops[0].strategy, Strategy::Rolling);
    assert_eq!(
        plan.warnings,
        ["1.0.0 to 1.0.1 is done rolling, because the hot way is not open: it loses writes (loud)"]
    );
    profile.paths.pop();
    let refusals = planned(&profile, &facts, &request).unwrap_err();
    assert_eq!(refusals[0].code, "blocked");
    assert_eq!(
        refusals[0].remedy,
        "ask for another version; none is known to have it mended"
    );
}

#[test]
fn a_trouble_stands_in_the_ways_of_its_versions_only() {
    let (facts, request) = (testing::facts(3, "1.0.0"), testing::request("1.1.0", &[]));
    for (from, to, expected) in [
        (
            None,
            Some("=1.1.0"),
            Some("Ledger 1.1.0 must not be reached (lost): it loses writes"),
        ),
        (
            Some("1.0.x"),
            None,
            Some("Ledger must not go from 1.0.0 to 1.1.0 (lost): it loses writes"),
        ),
        (
            Some("1.0.x"),
            Some("1.1.x"),
            Some("Ledger must not go from 1.0.0 to 1.1.0 (lost): it loses writes"),
        ),
        (Some("1.0.x"), Some("1.2.x"), None),
        (Some("1.1.x"), Some("1.1.x"), None),
    ] {
        let mut profile = testing::profile();
        profile.blocked = vec![BlockedEdge {
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            ..trouble("lost")
        }];
        let found = planned(&profile, &facts, &request).err().unwrap_or_default();
        let told: Vec<&str> = found.iter().map(|refusal| refusal.message.as_str()).collect();
        assert_eq!(told, Vec::from_iter(expected), "{from:?} to {to:?}");
    }
}

#[test]
fn a_trouble_is_taken_to_be_there_where_nobody_can_tell() {
    let (facts, request) = (testing::facts(3, "1.0.0"), testing::request("1.1.0", &[]));
    for (when, blocked) in [
        (&["places.nowhere == '/x'"][..], true),
        (&["true", "places.nowhere == '/x'"], true),
        (&["false", "places.nowhere == '/x'"], false),
        (&["true", "false"], false),
        (&["name == 'n00003'"], true),
        (&["name == 'n00004'"], false),
    ] {
        let mut profile = testing::profile();
        profile.blocked = vec![BlockedEdge {
            when: when.iter().map(|text| (*text).to_owned()).collect(),
            ..trouble("lost")
        }];
        assert_eq!(planned(&profile, &facts, &request).is_err(), blocked, "{when:?}");
    }
}

#[test]
fn a_version_at_either_end_is_none_in_between() {
    for via in ["1.0.0", "1.2.0", "0.9.0", "1.3.0"] {
        let mut request = testing::request("1.2.0", &["1.1.0"]);
        request.via = vec![via.to_owned()];
        let refusals = planned(&testing::profile(), &testing::facts(3, "1.0.0"), &request).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:#?}");
        assert_eq!(
            refusals[0].message,
            format!("the way from 1.0.0 to 1.2.0 cannot go through {via}, which does not lie between them")
        );
    }
}

#[test]
fn a_profile_without_packages_asks_for_none() {
    let mut profile = testing::profile();
    profile.packages.clear();
    let facts = testing::facts(3, "1.0.0");
    let request = Request {
        artifacts: Vec::new(),
        ..testing::request("1.1.0", &[])
    };
    let plan = planned(&profile, &facts, &request).unwrap();
    assert!(plan.prepare.is_empty());
}

#[test]
fn where_no_way_leads_the_ranges_that_the_profile_knows_are_told_once_each() {
    for (from, to, message, ranges) in [
        (
            "0.9.0",
            "1.1.0",
            "no known way leads out of Ledger 0.9.0",
            "ways lead out of 1.0.x, 1.1.x, 1.1.x || 1.2.x, 2.0.x: ",
        ),
        (
            "1.0.0",
            "4.0.0",
            "no known way leads to Ledger 4.0.0",
            "ways lead to 1.0.x, 1.1.x, 1.1.x || 1.2.x, 2.0.x, 3.0.x: ",
        ),
        (
            "1.2.0",
            "1.2.1",
            "no known way leads from Ledger 1.2.0 to 1.2.1",
            "from 1.2.0 ways lead to 2.0.x: ",
        ),
    ] {
        let refusals = planned(
            &testing::profile(),
            &testing::facts(3, from),
            &testing::request(to, &[]),
        )
        .unwrap_err();
        let refusal = refusals.iter().find(|refusal| refusal.code == "no-path").unwrap();
        assert_eq!(
            refusal.message,
            format!("{message}; what is not known to work is not tried")
        );
        assert!(refusal.remedy.starts_with(ranges), "{refusal:?}");
    }
}

#[test]
fn servers_of_versions_that_may_not_meet_are_told_each_with_the_pair() {
    let mut facts = testing::facts(4, "1.0.0");
    for (name, position, version) in [("n00002", 2, "1.0.1"), ("n00003", 3, "2.0.0")] {
        facts
            .nodes
            .insert(name.to_owned(), testing::node_facts(position, 4, version));
    }
    let mut refusals = planned(
        &testing::profile(),
        &facts,
        &testing::request("3.0.0", &["1.1.0"]),
    )
    .unwrap_err();
    refusals.retain(|refusal| refusal.code == "mixed-versions");
    let told: Vec<(String, String)> = refusals
        .iter()
        .map(|refusal| (refusal.message.clone(), refusal.hosts.join(" ")))
        .collect();
    let pair = |a: &str, hosts: &str| {
        let message = format!("servers run {a} and 2.0.0 side by side, which Ledger does not support");
        (message, hosts.to_owned())
    };
    assert_eq!(
        told,
        [
            pair("1.0.0", "n00001 n00003 n00004"),
            pair("1.0.1", "n00002 n00003")
        ]
    );
}
