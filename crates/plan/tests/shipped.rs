//! What the planner answers for the profiles that are shipped, over facts as the real systems give them.

use serde_json::Value;
use upshift_model::action::{Action, Artifact, GuardRecipe};
use upshift_model::facts::{Facts, HostFacts, NodeFacts, ReleaseStatus};
use upshift_model::fleet::{Fleet, Host};
use upshift_model::profile::{self, Profile, Strategy};
use upshift_plan::path::outline;
use upshift_plan::{Plan, Recipe, Refusal, Request, StepKind, plan};

fn profile(product: &str) -> Profile {
    let file = format!("{product}.yaml");
    let (_, text) = profile::shipped().iter().find(|(name, _)| *name == file).unwrap();
    profile::parse(&file, text).unwrap()
}

/// What the tests of the profiles know of one healthy server.
fn healthy(product: &str) -> Value {
    let text = match product {
        "alluxio" => include_str!("../../model/tests/facts/alluxio.json"),
        "emqx" => include_str!("../../model/tests/facts/emqx.json"),
        "kyligence" => include_str!("../../model/tests/facts/kyligence.json"),
        _ => include_str!("../../model/tests/facts/weka.json"),
    };
    serde_json::from_str(text).unwrap()
}

/// Three such servers that run a version.
fn facts(known: &Value, version: &str) -> Facts {
    let read = |key: &str| known[key].clone();
    let host = HostFacts {
        disk_free: 1 << 40,
        os: known["host"]["os"].as_str().unwrap().to_owned(),
        arch: "amd64".to_owned(),
        releases: [(version.to_owned(), ReleaseStatus::Permanent)].into(),
        ..HostFacts::default()
    };
    let mut node = NodeFacts {
        host,
        version: Some(version.to_owned()),
        variant: serde_json::from_value(read("variant")).unwrap(),
        places: serde_json::from_value(read("places")).unwrap(),
        probes: serde_json::from_value(read("probes")).unwrap(),
        ..NodeFacts::default()
    };
    if let Some(state) = node.probes.get_mut("state") {
        state["value"]["releases"] = serde_json::json!([[version, "permanent"]]);
    }
    let nodes = ["a", "b", "c"].map(|name| (name.to_owned(), node.clone()));
    Facts {
        nodes: nodes.into(),
        ..Facts::default()
    }
}

fn request(versions: &[&str], variant: &Value) -> Request {
    let artifact = |version: &&str| Artifact {
        file_name: format!("package-{version}"),
        version: (*version).to_owned(),
        variant: serde_json::from_value(variant.clone()).unwrap(),
        sha256: format!("{version:0>64}"),
        size: 1 << 20,
    };
    Request {
        to: (*versions.last().unwrap()).to_owned(),
        artifacts: versions.iter().map(artifact).collect(),
        ..Request::default()
    }
}

fn refusals(product: &str, known: &Value, from: &str, versions: &[&str]) -> Vec<Refusal> {
    planned(product, known, from, versions).unwrap_err()
}

fn planned(product: &str, known: &Value, from: &str, versions: &[&str]) -> Result<Plan, Vec<Refusal>> {
    let profile = profile(product);
    let host = Host {
        groups: [product.to_owned()].into(),
        ..Host::default()
    };
    let hosts = ["a", "b", "c"].map(|name| (name.to_owned(), host.clone()));
    let fleet = Fleet {
        name: "test".to_owned(),
        hosts: hosts.into(),
        accepted: Vec::new(),
        package_keys: Vec::new(),
    };
    let mut variant = known["target"].clone();
    variant.as_object_mut().unwrap().remove("version");
    variant.as_object_mut().unwrap().remove("size");
    plan(
        &profile,
        "test",
        &fleet,
        &facts(known, from),
        &request(versions, &variant),
    )
}

/// That the verbs are missing is refused once, where they are, and beside it exactly one thing of this kind (or nothing, where that
/// is the kind); its words hold these.
#[track_caller]
fn only(refusals: Vec<Refusal>, code: &str, words: &[&str]) {
    let (missing, others): (Vec<&Refusal>, Vec<&Refusal>) =
        refusals.iter().partition(|refusal| refusal.code == "no-verbs");
    assert!(missing.len() <= 1, "{refusals:#?}");
    assert_eq!(others.len(), usize::from(code != "no-verbs"), "{refusals:#?}");
    let refusal = others.first().or(missing.first()).unwrap();
    assert_eq!(refusal.code, code, "{refusal:#?}");
    for word in words {
        assert!(
            format!("{} {}", refusal.message, refusal.remedy).contains(word),
            "{word}: {refusal:#?}"
        );
    }
}

#[test]
fn weka_3_10_goes_to_4_0_in_five_hops() {
    let hops = outline(&profile("weka"), "3.10.0", "4.0.1").unwrap();
    let words: Vec<String> = hops.iter().map(|hop| hop.words()).collect();
    let expected = [
        "3.11.0 or newer (3.11.x)",
        "3.12.1 or newer (3.12.x)",
        "3.13.1 or newer (3.13.x)",
        "3.14.1 or newer (3.14.x)",
        "4.0.1",
    ];
    assert_eq!(words, expected);
    assert!(outline(&profile("weka"), "3.9.4", "4.0.1").is_none());
    let known = healthy("weka");
    only(
        refusals("weka", &known, "3.10.0", &["3.12.4", "4.0.1"]),
        "missing-package",
        &["5 hops", "3.13.1 or newer"],
    );
    only(
        refusals("weka", &known, "3.9.4", &["4.0.1"]),
        "no-path",
        &["out of WEKA 3.9.4"],
    );
}

/// Up to 4.0 the whole cluster in one window of the vendor's; from 4.1 on nothing comes back once the first container has changed.
#[test]
fn weka_is_upgraded_by_the_vendors_command() {
    let known = healthy("weka");
    let plan = planned("weka", &known, "4.4.22", &["4.4.36.15"]).unwrap();
    assert_eq!(plan.hops[0].strategy, Strategy::Rolling);
    assert_eq!(plan.hops[0].no_return.as_ref().unwrap().window, 0);
    let all = ["3.11.0", "3.12.4", "3.13.1", "3.14.1", "4.0.1"];
    let mut known = known;
    for client in known["probes"]["containers"]["value"].as_array_mut().unwrap() {
        client["sw_version"] = "3.14.1".into();
    }
    let plan = planned("weka", &known, "3.13.1", &all[3..]).unwrap();
    assert!(
        plan.hops
            .iter()
            .all(|hop| hop.strategy == Strategy::Switch && hop.windows.len() == 1)
    );
    let started: Vec<&Recipe> = plan
        .recipes
        .iter()
        .filter(|recipe| matches!(recipe.action, Some(Action::Start(_))))
        .collect();
    assert_eq!(started.len(), 2, "one command a hop");
    // That it has ended is no proof, and where it has, and the cluster says otherwise, the step has failed.
    assert!(
        started
            .iter()
            .all(|recipe| recipe.proof.iter().all(|proof| proof.name == "containers"))
    );
    assert!(started.iter().all(|recipe| {
        recipe
            .fails_on
            .as_ref()
            .is_some_and(|proof| proof.name == "delegate")
    }));
    // A rollback gives the vendor's command no second order.
    assert!(
        started
            .iter()
            .all(|recipe| matches!(recipe.kind, StepKind::Do(_)))
    );
    for client in known["probes"]["containers"]["value"].as_array_mut().unwrap() {
        client["sw_version"] = "3.10.0".into();
    }
    let found = refusals("weka", &known, "3.10.0", &all);
    let codes: Vec<&str> = found.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(codes, ["client-lag"], "{found:#?}");
}

#[test]
fn weka_is_told_what_is_known_to_be_bad() {
    only(
        refusals("weka", &healthy("weka"), "4.4.5", &["4.4.10.100"]),
        "blocked",
        &["WEKAPP-562429", "4.4.10.171"],
    );
}

#[test]
fn emqx_is_upgraded_hot_where_the_package_can_be() {
    let known = healthy("emqx");
    let strategy = |known: &Value, from: &str| {
        let plan = planned("emqx", known, from, &["4.4.19"]).unwrap();
        (plan.hops[0].strategy, plan.warnings.join("\n"))
    };
    let (hot, warnings) = strategy(&known, "4.4.16");
    assert_eq!(hot, Strategy::Hot);
    assert!(!warnings.contains("is not open"), "{warnings}");
    let mut one_way = healthy("emqx");
    one_way["target"].as_object_mut().unwrap().remove("relup_back");
    let (hot, warnings) = strategy(&one_way, "4.4.16");
    assert_eq!(hot, Strategy::Hot);
    assert!(warnings.contains("disconnects the 4711 clients"), "{warnings}");
    let mut without = healthy("emqx");
    without["target"].as_object_mut().unwrap().remove("relup");
    let (rolling, warnings) = strategy(&without, "4.4.16");
    assert_eq!(rolling, Strategy::Rolling);
    assert!(
        warnings.contains("4.4.16 to 4.4.19 is done rolling, because the hot way is not open: a: the package of 4.4.19 has no"),
        "{warnings}"
    );
    assert_eq!(strategy(&known, "4.3.22").0, Strategy::Rolling);
    only(
        refusals("emqx", &known, "4.2.14", &["4.4.19"]),
        "blocked",
        &["before-4.3"],
    );
    let mut enterprise = healthy("emqx");
    enterprise["variant"]["edition"] = "ee".into();
    enterprise["target"]["edition"] = "ee".into();
    only(
        refusals("emqx", &enterprise, "4.3.22", &["4.4.16"]),
        "blocked",
        &["enterprise-4.3-to-early-4.4", "4.4.17"],
    );
}

#[test]
fn alluxio_is_rebuilt_where_its_journal_cannot_be_read() {
    let known = healthy("alluxio");
    let strategy = |known: &Value, from: &str, to: &str| {
        let plan = planned("alluxio", known, from, &[to]).unwrap_or_else(|refusals| panic!("{refusals:#?}"));
        assert_eq!(plan.hops.len(), 1);
        // What is written on the new journal is not in the old one, which a rollback points at again.
        let point = plan.hops[0].no_return.as_ref().expect("a point of no return");
        assert!(
            point.description.contains("loses those writes"),
            "{}",
            point.description
        );
        plan.hops[0].strategy
    };
    assert_eq!(strategy(&known, "2.3.0", "2.4.0"), Strategy::Rebuild);
    assert_eq!(strategy(&known, "2.4.0", "2.9.3"), Strategy::Switch);
    // Who says UFS of an embedded journal would have 2.9.3 just started, with an empty namespace.
    let mut ufs = healthy("alluxio");
    ufs["places"]["journal_type"] = "UFS".into();
    let refused = refusals("alluxio", &ufs, "2.3.0", &["2.4.0"]);
    let of_another_kind = |refusal: &Refusal| refusal.code == "check:journal-of-its-kind";
    assert!(
        !refused.is_empty() && refused.iter().all(of_another_kind),
        "{refused:#?}"
    );
    ufs["probes"]["journal_parts"]["exists"] = true.into();
    assert_eq!(strategy(&ufs, "2.3.0", "2.4.0"), Strategy::Switch);
    let mut unknown = healthy("alluxio");
    unknown["places"].as_object_mut().unwrap().remove("journal_type");
    assert!(planned("alluxio", &unknown, "2.3.0", &["2.4.0"]).is_err());
    only(
        refusals("alluxio", &known, "1.8.1", &["2.3.0"]),
        "blocked",
        &["alluxio-13877"],
    );
    only(
        refusals("alluxio", &known, "1.7.0", &["2.3.0"]),
        "missing-package",
        &["1.8.1"],
    );
}

#[test]
fn kylin_across_major_versions_is_refused_with_the_reason() {
    let known = healthy("kyligence");
    only(
        refusals("kyligence", &known, "3.4.5", &["4.0.0"]),
        "blocked",
        &["kylin-3-to-4", "built anew"],
    );
    only(
        refusals("kyligence", &known, "4.0.1", &["5.0.0"]),
        "blocked",
        &["kylin-4-to-5", "by hand"],
    );
    let plan = planned("kyligence", &known, "3.4.5", &["3.4.6"]).unwrap();
    assert_eq!(plan.hops[0].strategy, Strategy::Switch);
    let window = &plan.hops[0].windows[0];
    let titles = |groups: &[upshift_plan::Group]| -> Vec<String> {
        let of = |group: &upshift_plan::Group| plan.recipe(group.steps[0].recipe).title.clone();
        groups.iter().map(of).collect()
    };
    let (forward, back) = (titles(&window.forward), titles(&window.rollback));
    let place = |titles: &[String], word: &str| {
        let found = titles.iter().position(|title| title.contains(word));
        found.unwrap_or_else(|| panic!("{word}: {titles:#?}"))
    };
    // The metadata is backed up once nothing runs, and before anything is replaced; put back while nothing runs again.
    let order = [
        "save the",
        "stop Kylin",
        "back the metadata",
        "of the wanted version",
        "merge the",
        "take out",
        "those that run jobs last",
    ];
    assert!(
        order
            .windows(2)
            .all(|two| place(&forward, two[0]) < place(&forward, two[1])),
        "{forward:#?}"
    );
    let order = [
        "stop Kylin",
        "of the wanted version",
        "put the metadata",
        "put the configuration",
        "those that run jobs last",
    ];
    assert!(
        order
            .windows(2)
            .all(|two| place(&back, two[0]) < place(&back, two[1])),
        "{back:#?}"
    );
    // A guard cannot see whether another instance still writes into the metastore that all share.
    let guards = plan.recipes.iter().filter_map(|recipe| match &recipe.action {
        Some(Action::ArmGuard(guard)) => Some(guard.as_ref()),
        _ => None,
    });
    let guards: Vec<_> = guards.collect();
    let tells = |guard: &GuardRecipe| guard.proof.iter().any(|check| check.expect.contains("want"));
    assert!(
        guards.iter().copied().all(tells),
        "that something serves does not say that it is the old version"
    );
    let mut words = Vec::new();
    for action in guards.iter().flat_map(|guard| &guard.rollback) {
        let text = serde_json::to_string(action).unwrap();
        assert!(!text.contains("metastore.sh"), "{text}");
        words.push(action.word());
    }
    assert_eq!(
        words,
        ["stop", "replace", "restore", "start"],
        "by itself a server stops, is what it was, and serves"
    );
}

/// What a rolling upgrade of EMQX needs of a host beside what EMQX brings, and how a host without it is refused.
#[test]
fn what_steps_need_of_a_host_is_asked_for_before_anything_is_changed() {
    let plan = planned("emqx", &healthy("emqx"), "4.3.22", &["4.3.22", "4.4.16"]).unwrap();
    let needs = upshift_plan::needs(&plan);
    assert_eq!(needs.len(), 3, "every server is asked");
    let (node, asked) = needs.first_key_value().unwrap();
    insta::assert_snapshot!(
        "needs_of_rolling_emqx",
        serde_json::to_string_pretty(asked).unwrap()
    );

    let lacks = serde_json::json!({
        "programs": ["sh"],
        "unreadable": ["/etc/emqx/certs/key.pem (Permission denied)"],
        "unwritable": [],
        "busy": ["dpkg is held by process 812 (apt-get)"],
        "automatic": ["unattended-upgrades"],
    });
    let silent = upshift_model::probe::ProbeFailure::Unreachable("no answer within 60 s".to_owned());
    let other = *needs.keys().nth(1).unwrap();
    let observed = [(*node, Ok(lacks)), (other, Err(silent))].into();
    insta::assert_snapshot!(
        "needs_not_met",
        upshift_plan::show::refusals(&upshift_plan::unmet(&plan, &observed))
    );
    let remarks = upshift_plan::remarks(&plan, &observed);
    assert_eq!(remarks.len(), 1);
    assert!(
        remarks[0].starts_with("unattended-upgrades may install packages on a "),
        "{remarks:?}"
    );
}
