//! Which package each server gets, and what is refused about packages.

use upshift_model::action::{Action, Artifact};
use upshift_model::facts::{Facts, HostFacts, ReleaseStatus};
use upshift_model::profile::Strategy;
use upshift_plan::{Plan, Refusal, Request, StepKind, fits_host, plan, testing};

fn planned(facts: &Facts, request: &Request) -> Result<Plan, Vec<Refusal>> {
    let fleet = testing::fleet(facts.nodes.len());
    plan(&testing::profile(), "test", &fleet, facts, request)
}

/// The package of 1.1.0 with another part of its variant.
fn with_part(part: &str, value: &str) -> Artifact {
    let mut artifact = testing::artifact("1.1.0");
    artifact.variant.insert(part.to_owned(), value.to_owned());
    artifact.file_name = format!("ledger-1.1.0-{value}.tar.gz");
    artifact.sha256 = upshift_plan::fingerprint::digest(value.as_bytes());
    artifact
}

fn request(artifacts: &[Artifact]) -> Request {
    Request {
        artifacts: artifacts.to_vec(),
        ..testing::request("1.1.0", &[])
    }
}

/// The files that are sent, and to whom.
fn sent(plan: &Plan) -> Vec<(&str, &str)> {
    let steps = plan.prepare.iter().flat_map(|group| &group.steps);
    let sent = steps.filter_map(|step| match &plan.recipe(step.recipe).action {
        Some(Action::Distribute(artifact)) => {
            Some((artifact.file_name.as_str(), plan.node(step.node).name.as_str()))
        }
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_package_fits_the_hosts_of_its_system_and_architecture_whoever_names_them() {
    for (part, package, host, expected) in [
        ("os", "debian12", "debian12", true),
        ("os", "Debian12", "debian12", true),
        ("os", "debian12", "debian11", false),
        ("os", "el8", "debian12", false),
        ("os", "linux", "debian12", true),
        ("os", "any", "debian12", true),
        ("os", "all", "debian12", true),
        ("os", "el8", "", true),
        ("arch", "amd64", "amd64", true),
        ("arch", "x86_64", "amd64", true),
        ("arch", "x64", "x86_64", true),
        ("arch", "aarch64", "arm64", true),
        ("arch", "arm64", "aarch64", true),
        ("arch", "arm64", "amd64", false),
        ("arch", "amd64", "aarch64", false),
        ("arch", "any", "amd64", true),
        ("arch", "all", "amd64", true),
        ("arch", "noarch", "amd64", true),
        ("arch", "arm64", "", true),
    ] {
        let mut facts = HostFacts {
            os: "debian12".to_owned(),
            arch: "amd64".to_owned(),
            ..HostFacts::default()
        };
        match part {
            "os" => facts.os = host.to_owned(),
            _ => facts.arch = host.to_owned(),
        }
        let fits = fits_host(&with_part(part, package), &facts);
        assert_eq!(fits, expected, "a package for {package} on a host of {host:?}");
    }
    let anywhere = Artifact {
        variant: Default::default(),
        ..testing::artifact("1.1.0")
    };
    let facts = HostFacts {
        os: "el8".to_owned(),
        arch: "arm64".to_owned(),
        ..HostFacts::default()
    };
    assert!(fits_host(&anywhere, &facts), "a package that names no system");
}

#[test]
fn a_package_for_another_system_is_refused() {
    let refusals = planned(&testing::facts(3, "1.0.0"), &request(&[with_part("os", "el8")])).unwrap_err();
    let told: Vec<&str> = refusals.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(told, ["wrong-platform"]);
    assert_eq!(
        refusals[0].message,
        "the host is debian12 on amd64, and no package of 1.1.0 is: ledger-1.1.0-el8.tar.gz"
    );
}

#[test]
fn of_several_packages_a_server_gets_the_one_like_what_it_runs() {
    let editions = ["community", "enterprise"].map(|edition| with_part("edition", edition));
    let mut facts = testing::facts(3, "1.0.0");
    for (node, edition) in facts
        .nodes
        .values_mut()
        .zip(["enterprise", "community", "enterprise"])
    {
        node.variant.insert("edition".to_owned(), edition.to_owned());
    }
    let (community, enterprise) = ("ledger-1.1.0-community.tar.gz", "ledger-1.1.0-enterprise.tar.gz");
    assert_eq!(
        sent(&planned(&facts, &request(&editions)).unwrap()),
        [
            (enterprise, "n00001"),
            (community, "n00002"),
            (enterprise, "n00003")
        ]
    );
}

#[test]
fn where_several_packages_fit_equally_well_nobody_guesses() {
    let editions = ["community", "enterprise"].map(|edition| with_part("edition", edition));
    let mut facts = testing::facts(3, "1.0.0");
    let third = facts.nodes.get_mut("n00003").unwrap();
    third.variant.insert("edition".to_owned(), "community".to_owned());
    let refusals = planned(&facts, &request(&editions)).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(
        (refusals[0].code.as_str(), &refusals[0].hosts[..]),
        (
            "ambiguous-package",
            &["n00001".to_owned(), "n00002".to_owned()][..]
        )
    );
    assert_eq!(
        refusals[0].message,
        "there are several packages of 1.1.0 that fit: ledger-1.1.0-community.tar.gz, ledger-1.1.0-enterprise.tar.gz"
    );
}

#[test]
fn one_file_under_several_names_is_one_package() {
    let mut copy = testing::artifact("1.1.0");
    copy.file_name = "z-copy-of-ledger-1.1.0.tar.gz".to_owned();
    let mut for_el8 = testing::artifact("1.1.0");
    for_el8.file_name = "a-copy-for-el8.tar.gz".to_owned();
    for_el8.variant.insert("os".to_owned(), "el8".to_owned());
    let request = request(&[
        copy,
        with_part("arch", "m68k"),
        testing::artifact("1.1.0"),
        for_el8,
    ]);
    let mut facts = testing::facts(3, "1.0.0");
    facts.nodes.get_mut("n00003").unwrap().host.os = "el8".to_owned();
    let plan = planned(&facts, &request).unwrap();
    let (debian, el8) = ("ledger-1.1.0-debian12-amd64.tar.gz", "a-copy-for-el8.tar.gz");
    let hosts = ["n00001", "n00002", "n00003"];
    assert_eq!(
        sent(&plan).iter().map(|(_, host)| *host).collect::<Vec<_>>(),
        hosts
    );
    // Which of its names is told does not matter; what is unpacked is the same.
    assert!(sent(&plan).iter().all(|(file, _)| [debian, el8].contains(file)));
}

#[test]
fn a_running_release_that_is_in_the_store_is_not_sent_again() {
    let request = testing::request("1.1.0", &["1.0.0"]);
    let plan = planned(&testing::facts(3, "1.0.0"), &request).unwrap();
    let prepared = plan.recipes.iter().filter(|recipe| {
        matches!(recipe.kind, StepKind::Distribute | StepKind::Unpack) && recipe.to == "1.0.0"
    });
    assert_eq!(prepared.count(), 0);
}

/// Three servers of which the second runs a later version, and none has what it runs in its store.
fn unstored(from: &str, second: &str) -> Facts {
    let mut facts = testing::facts(3, from);
    facts
        .nodes
        .insert("n00002".to_owned(), testing::node_facts(2, 3, second));
    for node in facts.nodes.values_mut() {
        node.host.releases.clear();
    }
    facts
}

#[test]
fn a_server_that_has_the_target_already_needs_no_rollback() {
    let refusals = planned(&unstored("1.0.0", "1.1.0"), &testing::request("1.1.0", &[])).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0].code, "no-rollback");
    assert_eq!(refusals[0].hosts, ["n00001", "n00003"]);
}

#[test]
fn a_server_that_is_one_hop_ahead_of_the_others_needs_its_rollback_as_well() {
    let facts = unstored("1.0.0", "1.1.0");
    let plan = planned(&facts, &testing::request("1.2.0", &["1.0.0", "1.1.0"])).unwrap();
    let of_second: Vec<&str> = sent(&plan)
        .into_iter()
        .filter_map(|(file, host)| (host == "n00002").then_some(file))
        .collect();
    assert_eq!(
        of_second,
        [
            "ledger-1.1.0-debian12-amd64.tar.gz",
            "ledger-1.2.0-debian12-amd64.tar.gz"
        ]
    );
}

#[test]
fn a_hot_hop_needs_no_release_in_the_store() {
    let plan = planned(&unstored("1.0.0", "1.0.0"), &testing::request("1.0.1", &[])).unwrap();
    assert_eq!(plan.hops[0].strategy, Strategy::Hot);
}

#[test]
fn an_adoption_leaves_servers_alone_whose_store_has_what_runs() {
    let mut facts = testing::facts(3, "1.0.0");
    facts.nodes.get_mut("n00002").unwrap().host.releases =
        [("1.0.0".to_owned(), ReleaseStatus::Unpacked)].into();
    let fleet = testing::fleet(3);
    let adopt =
        |request: &Request| upshift_plan::adoption(&testing::profile(), "test", &fleet, &facts, request);
    let plan = adopt(&testing::request("1.1.0", &["1.0.0"])).unwrap();
    assert_eq!(sent(&plan), [("ledger-1.0.0-debian12-amd64.tar.gz", "n00002")]);
    assert_eq!(plan.request.to, "1.0.0");

    let refusals = adopt(&testing::request("1.1.0", &[])).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0].code, "missing-package");
    assert_eq!(
        refusals[0].message,
        "there is no package of 1.0.0, which runs on 1 server"
    );
}
