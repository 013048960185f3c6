//! The way from what runs to what is asked for, for products with rules like those of real ones.

use upshift_model::facts::{Facts, HostFacts, NodeFacts, ReleaseStatus};
use upshift_model::fleet::{Fleet, Host};
use upshift_model::profile::{self, Profile, Strategy};
use upshift_plan::path::outline;
use upshift_plan::{Plan, Refusal, Request, plan, testing};

const WEKA: &str = r#"
product: weka
title: WEKA
versions: { scheme: vendor, running: { probe: process, expression: value.version } }
packages: [{ pattern: "weka-{version}.tar" }]
service: { systemd: { unit: weka.service } }
paths:
  - { from: 3.10.x, to: 3.11.x, strategy: switch, source: { title: upgrade page } }
  - { from: 3.11.x, to: 3.12.x, strategy: switch, source: { title: upgrade page } }
  - { from: ">=3.12.1 <3.13", to: 3.13.x, strategy: switch, source: { title: upgrade page } }
  - { from: ">=3.13.1 <3.14", to: 3.14.x, strategy: switch, source: { title: upgrade page } }
  - { from: ">=3.14.1 <4", to: 4.0.x, strategy: switch, source: { title: upgrade page } }
verbs: { verify: [{ title: look, proof: [{ probe: process, expect: value.running, waiting: it does not run }] }] }
"#;

const ETCD: &str = r#"
product: etcd
title: etcd
versions: { scheme: semver, running: { probe: process, expression: value.version } }
packages: [{ pattern: "etcd-{version}.tar.gz" }]
service: { systemd: { unit: etcd.service } }
paths:
  - { from: 3.3.x, to: 3.3.x || 3.4.x, strategy: rolling, source: { title: upgrade guide } }
  - { from: 3.4.x, to: 3.4.x || 3.5.x, strategy: rolling, source: { title: upgrade guide } }
  - { from: 3.5.x, to: 3.5.x, strategy: rolling, source: { title: upgrade guide } }
blocked:
  - name: etcd-data-inconsistency
    to: ">=3.5.0 <3.5.3"
    reason: members may come to hold different data
    source: { title: announcement, link: "https://groups.google.com/g/etcd-dev/c/8S7u6NqW6C4" }
    fixed_in: 3.5.3
    acceptable: false
skew: { servers: "same_major(a, b)" }
verbs: { verify: [{ title: look, proof: [{ probe: process, expect: value.running, waiting: it does not run }] }] }
"#;

fn profile(text: &str) -> Profile {
    profile::parse("test.yaml", text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// Servers `a`, `b`, `c` with these versions.
fn cluster(product: &str, versions: &[&str]) -> (Fleet, Facts) {
    let (mut fleet, mut facts) = (Fleet::default(), Facts::default());
    for (name, version) in ["a", "b", "c"].into_iter().zip(versions) {
        let host = Host {
            groups: [product.to_owned()].into(),
            ..Host::default()
        };
        fleet.hosts.insert(name.to_owned(), host);
        let releases = [((*version).to_owned(), ReleaseStatus::Permanent)].into();
        let host = HostFacts {
            disk_free: 1 << 40,
            releases,
            ..HostFacts::default()
        };
        let node = NodeFacts {
            host,
            version: Some((*version).to_owned()),
            ..NodeFacts::default()
        };
        facts.nodes.insert(name.to_owned(), node);
    }
    (fleet, facts)
}

fn request(to: &str, at_hand: &[&str]) -> Request {
    let mut request = testing::request(to, at_hand);
    for artifact in &mut request.artifacts {
        artifact.variant.clear();
    }
    request
}

fn planned(text: &str, running: &[&str], request: &Request) -> Result<Plan, Vec<Refusal>> {
    let profile = profile(text);
    let (fleet, facts) = cluster(&profile.product, running);
    plan(&profile, "test", &fleet, &facts, request)
}

fn way(text: &str, running: &[&str], request: &Request) -> Vec<String> {
    let plan = planned(text, running, request).unwrap_or_else(|refusals| panic!("{refusals:#?}"));
    plan.hops
        .iter()
        .map(|hop| format!("{}→{}", hop.from, hop.to))
        .collect()
}

fn codes(text: &str, running: &[&str], request: &Request) -> Vec<String> {
    let refusals = planned(text, running, request).unwrap_err();
    refusals.into_iter().map(|refusal| refusal.code).collect()
}

fn only_refusal(text: &str, running: &[&str], request: &Request) -> Refusal {
    let mut refusals = planned(text, running, request).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    refusals.remove(0)
}

#[test]
fn etcd_goes_one_minor_at_a_time() {
    let request = request("3.5.30", &["3.4.23"]);
    assert_eq!(
        way(ETCD, &["3.3.25"; 3], &request),
        ["3.3.25→3.4.23", "3.4.23→3.5.30"]
    );
}

#[test]
fn the_highest_version_in_between_is_taken() {
    let request = request("3.5.30", &["3.4.23", "3.4.3", "3.3.27", "3.4.30", "3.5.16"]);
    assert_eq!(
        way(ETCD, &["3.3.25"; 3], &request),
        ["3.3.25→3.4.30", "3.4.30→3.5.30"]
    );
}

#[test]
fn an_operator_may_pin_versions_in_between() {
    let mut pinned = request("3.5.30", &["3.4.23", "3.4.30", "3.3.27"]);
    pinned.via = vec!["3.4.23".to_owned()];
    assert_eq!(
        way(ETCD, &["3.3.25"; 3], &pinned),
        ["3.3.25→3.4.23", "3.4.23→3.5.30"]
    );
    pinned.via = vec!["3.4.30".to_owned(), "3.3.27".to_owned()];
    let hops = ["3.3.25→3.3.27", "3.3.27→3.4.30", "3.4.30→3.5.30"];
    assert_eq!(way(ETCD, &["3.3.25"; 3], &pinned), hops);
    pinned.via = vec!["3.6.0".to_owned()];
    assert_eq!(codes(ETCD, &["3.3.25"; 3], &pinned), ["bad-via"]);
    pinned.via = vec!["3.four".to_owned()];
    assert_eq!(codes(ETCD, &["3.3.25"; 3], &pinned), ["unknown-version"]);
}

/// Where the product's own verbs fetch releases, versions are named and need no packages.
#[test]
fn a_product_that_fetches_its_releases_needs_their_names_only() {
    let fetches = format!("{WEKA}fetches_releases: true\n");
    let mut named = request("4.0.1", &[]);
    named.artifacts.clear();
    let refusal = only_refusal(&fetches, &["3.12.4"; 3], &named);
    assert!(
        refusal.remedy.contains("--via") && refusal.remedy.contains("3.13.1 or newer"),
        "{refusal:?}"
    );
    assert!(!refusal.remedy.contains("4.0.1"), "{refusal:?}");
    named.via = vec!["3.13.1".to_owned(), "3.14.2".to_owned()];
    let hops = ["3.12.4→3.13.1", "3.13.1→3.14.2", "3.14.2→4.0.1"];
    assert_eq!(way(&fetches, &["3.12.4"; 3], &named), hops);
    let refusals = codes(WEKA, &["3.12.4"; 3], &named);
    assert!(
        refusals.iter().all(|code| code == "missing-package"),
        "{refusals:?}"
    );
}

#[test]
fn a_pin_without_a_package_is_refused() {
    let mut pinned = request("3.5.30", &["3.4.30"]);
    pinned.via = vec!["3.4.23".to_owned()];
    let refusal = only_refusal(ETCD, &["3.3.25"; 3], &pinned);
    assert_eq!(refusal.code, "missing-package");
    assert!(refusal.remedy.contains("3.4.23"), "{refusal:?}");
}

#[test]
fn a_skipped_minor_is_refused_with_what_to_fetch() {
    let refusal = only_refusal(ETCD, &["3.3.25"; 3], &request("3.5.30", &[]));
    assert_eq!(refusal.code, "missing-package");
    assert!(refusal.message.contains("2 hops"), "{refusal:?}");
    assert!(refusal.remedy.contains("3.4.0 or newer"), "{refusal:?}");
    assert!(!refusal.remedy.contains("3.5.30"), "{refusal:?}");
}

#[test]
fn blocked_versions_are_never_a_target_nor_on_the_way() {
    for version in ["3.5.0", "3.5.1", "3.5.2"] {
        let refusal = only_refusal(ETCD, &["3.4.23"; 3], &request(version, &[]));
        assert_eq!(refusal.code, "blocked");
        assert!(refusal.message.contains("etcd-data-inconsistency"), "{refusal:?}");
        assert!(refusal.message.contains("different data"), "{refusal:?}");
        assert!(refusal.remedy.contains("3.5.3 or newer"), "{refusal:?}");
        assert_eq!(
            refusal.link.as_deref(),
            Some("https://groups.google.com/g/etcd-dev/c/8S7u6NqW6C4")
        );
    }
    let mut through = request("3.5.30", &["3.5.1"]);
    through.via = vec!["3.5.1".to_owned()];
    assert_eq!(codes(ETCD, &["3.4.23"; 3], &through), ["blocked"]);
    // Leading out of a blocked version is no trouble.
    assert_eq!(
        way(ETCD, &["3.5.1"; 3], &request("3.5.30", &[])),
        ["3.5.1→3.5.30"]
    );
}

#[test]
fn weka_takes_five_hops_and_names_the_releases() {
    let outline = outline(&profile(WEKA), "3.10.0", "4.0.1").unwrap();
    let lowest: Vec<&str> = outline.iter().map(|hop| hop.lowest.as_str()).collect();
    assert_eq!(lowest, ["3.11.0", "3.12.1", "3.13.1", "3.14.1", "4.0.1"]);
    let open: Vec<bool> = outline.iter().map(|hop| hop.or_newer).collect();
    assert_eq!(open, [true, true, true, true, false]);
    assert!(outline.iter().all(|hop| hop.strategy == Strategy::Switch));

    let refusal = only_refusal(WEKA, &["3.10.0"; 3], &request("4.0.1", &["3.11.0", "3.13.1"]));
    assert_eq!(refusal.code, "missing-package");
    assert!(refusal.message.contains("5 hops"), "{refusal:?}");
    for version in ["3.11.0", "3.12.1", "3.13.1", "3.14.1"] {
        assert!(
            refusal.remedy.contains(&format!("{version} or newer")),
            "{refusal:?}"
        );
    }
    assert!(!refusal.remedy.contains("4.0.1"), "{refusal:?}");

    let all = request(
        "4.0.1",
        &["3.11.0", "3.12.0", "3.12.3", "3.13.1", "3.14.1", "3.14.0"],
    );
    let hops = [
        "3.10.0→3.11.0",
        "3.11.0→3.12.3",
        "3.12.3→3.13.1",
        "3.13.1→3.14.1",
        "3.14.1→4.0.1",
    ];
    assert_eq!(way(WEKA, &["3.10.0"; 3], &all), hops);
}

#[test]
fn without_an_edge_there_is_no_upgrade() {
    let refusal = only_refusal(WEKA, &["3.9.0"; 3], &request("4.0.1", &["3.10.0", "3.11.0"]));
    assert_eq!(refusal.code, "no-path");
    assert!(refusal.message.contains("leads out of WEKA 3.9.0"), "{refusal:?}");
    let refusal = only_refusal(WEKA, &["3.14.1"; 3], &request("4.1.0", &[]));
    assert_eq!(refusal.code, "no-path");
    assert!(refusal.message.contains("leads to WEKA 4.1.0"), "{refusal:?}");
    // An edge leads out of 3.12.0 nowhere, though 3.12.x is on the way of others.
    assert_eq!(codes(WEKA, &["3.12.0"; 3], &request("3.13.1", &[])), ["no-path"]);
}

#[test]
fn back_and_same_are_no_upgrades() {
    assert_eq!(
        codes(ETCD, &["3.4.23"; 3], &request("3.4.23", &[])),
        ["already-there"]
    );
    assert_eq!(codes(ETCD, &["3.4.23"; 3], &request("3.4.3", &[])), ["downgrade"]);
}

#[test]
fn servers_that_are_further_are_left_out_of_the_windows() {
    let running = ["3.4.23", "3.5.16", "3.4.23"];
    let plan = planned(ETCD, &running, &request("3.5.16", &[])).unwrap();
    assert_eq!(plan.hops.len(), 1);
    let touched: Vec<&str> = plan.hops[0]
        .windows
        .iter()
        .flat_map(|window| &window.nodes)
        .map(|node| plan.node(*node).name.as_str())
        .collect();
    assert_eq!(touched, ["a", "c"]);
    assert!(
        plan.prepare
            .iter()
            .flat_map(|group| &group.steps)
            .all(|step| plan.node(step.node).name != "b")
    );
}

#[test]
fn every_running_version_lies_on_the_way() {
    let running = ["3.4.20", "3.4.23", "3.5.16"];
    let request = request("3.5.30", &["3.4.23", "3.5.16"]);
    let hops = ["3.4.20→3.4.23", "3.4.23→3.5.16", "3.5.16→3.5.30"];
    assert_eq!(way(ETCD, &running, &request), hops);
    let plan = planned(ETCD, &running, &request).unwrap();
    let sizes: Vec<usize> = plan.hops.iter().map(|hop| hop.windows.len()).collect();
    assert_eq!(sizes, [1, 2, 3]);
}

#[test]
fn mixed_versions_need_a_rule_that_allows_them() {
    // WEKA's profile here has no rule at all.
    let refusals = planned(WEKA, &["3.11.0", "3.12.1", "3.11.0"], &request("3.12.1", &[])).unwrap_err();
    assert_eq!(refusals[0].code, "mixed-versions");
    assert_eq!(refusals[0].hosts, ["a", "b", "c"]);
}

#[test]
fn fewest_disruptive_hops_win() {
    let text = r#"
product: toy
title: Toy
versions: { scheme: semver, running: { probe: process, expression: value.version } }
packages: [{ pattern: "toy-{version}.tar.gz" }]
service: { systemd: { unit: toy.service } }
paths:
  - { from: 1.0.x, to: 2.0.x, strategy: switch, source: { title: test } }
  - { from: 1.0.x, to: 1.1.x, strategy: rolling, source: { title: test } }
  - { from: 1.1.x, to: 2.0.x, strategy: rolling, source: { title: test } }
  - { from: 1.1.x, to: 1.1.x, strategy: hot, source: { title: test } }
  - { from: 1.1.x, to: 1.1.x, strategy: rolling, source: { title: test } }
verbs:
  install: [{ title: install, proof: [{ probe: process, expect: value.running, waiting: it does not run }] }]
"#;
    let request = request("2.0.0", &["1.1.0"]);
    assert_eq!(way(text, &["1.0.0"; 3], &request), ["1.0.0→1.1.0", "1.1.0→2.0.0"]);
    let without = self::request("2.0.0", &[]);
    assert_eq!(
        planned(text, &["1.0.0"; 3], &without).unwrap().hops[0].strategy,
        Strategy::Switch
    );
    let patch = self::request("1.1.1", &[]);
    assert_eq!(
        planned(text, &["1.1.0"; 3], &patch).unwrap().hops[0].strategy,
        Strategy::Hot
    );
}

#[test]
fn conditions_decide_which_way_is_open() {
    let mut profile = testing::profile();
    profile.paths.push(upshift_model::profile::PathEdge {
        strategy: Strategy::Rolling,
        when: Vec::new(),
        ..profile.paths[0].clone()
    });
    let (fleet, mut facts) = (testing::fleet(3), testing::facts(3, "1.0.0"));
    let request = testing::request("1.0.1", &[]);
    let strategy = |facts: &Facts, profile: &Profile| {
        plan(profile, "test", &fleet, facts, &request).map(|plan| plan.hops[0].strategy)
    };
    assert_eq!(strategy(&facts, &profile), Ok(Strategy::Hot));
    // One server whose running code was built for another system closes the hot way, and opens the other.
    facts
        .nodes
        .get_mut("n00002")
        .unwrap()
        .variant
        .insert("os".to_owned(), "el8".to_owned());
    assert_eq!(strategy(&facts, &profile), Ok(Strategy::Rolling));
    profile.paths.pop();
    let refusals = strategy(&facts, &profile).unwrap_err();
    assert_eq!(
        (refusals[0].code.as_str(), &refusals[0].hosts[..]),
        ("condition", &["n00002".to_owned()][..])
    );
    assert!(refusals[0].message.contains("was built for el8"), "{refusals:?}");
}

#[test]
fn conditional_troubles_block_only_where_they_hold() {
    let mut profile = testing::profile();
    profile.blocked = vec![upshift_model::profile::BlockedEdge {
        name: "loud-disks".to_owned(),
        from: Some("1.0.x".to_owned()),
        to: Some("1.1.x".to_owned()),
        strategies: Vec::new(),
        when: vec!["places.data_dir.startsWith('/loud')".to_owned()],
        reason: "they are loud".to_owned(),
        source: profile.paths[0].source.clone(),
        fixed_in: None,
        acceptable: false,
    }];
    let (fleet, mut facts) = (testing::fleet(3), testing::facts(3, "1.0.0"));
    let request = testing::request("1.1.0", &[]);
    assert!(plan(&profile, "test", &fleet, &facts, &request).is_ok());
    facts
        .nodes
        .get_mut("n00003")
        .unwrap()
        .places
        .insert("data_dir".to_owned(), "/loud/data".to_owned());
    let refusals = plan(&profile, "test", &fleet, &facts, &request).unwrap_err();
    assert_eq!(refusals[0].code, "blocked");
    assert!(refusals[0].message.contains("loud-disks"), "{refusals:?}");
    assert!(!refusals[0].remedy.is_empty());
}

#[test]
fn checks_of_a_version_that_does_not_run_yet_are_left_for_later() {
    let mut profile = testing::profile();
    let mut later = profile.checks[0].clone();
    later.name = "later".to_owned();
    later.from = Some("1.1.x".to_owned());
    later.expect = "probes.only_in_1_1.value".to_owned();
    profile.checks.push(later);
    let request = testing::request("1.2.0", &["1.1.0"]);
    let fleet = testing::fleet(3);
    let plan_from = |version: &str| plan(&profile, "test", &fleet, &testing::facts(3, version), &request);
    let planned = plan_from("1.0.0").unwrap();
    assert!(
        planned.warnings.iter().any(|warning| warning.contains("`later`")),
        "{:?}",
        planned.warnings
    );
    assert_eq!(plan_from("1.1.0").unwrap_err()[0].code, "check:later");
}
