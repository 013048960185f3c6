//! Snapshots in a plan and outside of one: who takes which, where restic comes from, and what stands in without it.

use std::collections::BTreeMap;

use serde_json::json;
use upshift_model::action::{Action, Artifact};
use upshift_model::facts::Facts;
use upshift_model::profile::{Profile, Slot};
use upshift_model::snapshot::TakeSnapshot;
use upshift_plan::snapshots::{backups, standing};
use upshift_plan::{NodeIndex, Plan, Request, plan, render_action, testing};

fn profile() -> Profile {
    let mut profile = testing::profile();
    profile.snapshots = serde_json::from_value(json!([
        {"name": "config", "title": "its configuration", "paths": ["/etc/{{ node.name }}.conf"]},
        {"name": "data", "title": "all keys", "on": "one", "from": "1.0.x", "readable_by": "1.x",
         "command": {"argv": ["dump", "{{ snapshot.output }}/dump", "{{ version }}"]},
         "proof": [{"probe": {"file": "{{ snapshot.restored }}{{ snapshot.output }}/dump"}, "expect": "value.exists", "otherwise": "no dump"}]},
        {"name": "data", "title": "all keys, the other way", "on": "one", "from": ">=1.1.0", "paths": ["/data"]},
        {"name": "large", "title": "what no run waits for", "in_runs": false, "paths": ["/large"]},
    ]))
    .unwrap();
    for verb in profile.verbs.get_mut(&Slot::Protect).into_iter().flatten() {
        verb.without_repository = true;
    }
    profile
}

fn tool(arch: &str) -> Artifact {
    Artifact {
        file_name: "restic".to_owned(),
        version: "restic".to_owned(),
        variant: BTreeMap::from([("arch".to_owned(), arch.to_owned())]),
        sha256: "c0ffee".to_owned(),
        size: 1 << 20,
    }
}

/// Facts of three servers, of which those at these positions have restic.
fn facts(with: &[usize]) -> Facts {
    let mut facts = testing::facts(3, "1.0.0");
    for position in with {
        let node = facts.nodes.get_mut(&testing::name(*position)).unwrap();
        node.host.restic = "/usr/bin/restic".to_owned();
    }
    facts
}

fn planned(with: &[usize], sent: Option<Artifact>) -> Plan {
    let request = Request {
        snapshot_tool: sent,
        ..testing::request("1.1.0", &[])
    };
    plan(&profile(), "test", &testing::fleet(3), &facts(with), &request).unwrap()
}

/// The snapshots of a plan: on which server, how, and the titles of all that protects.
fn taken(plan: &Plan) -> (Vec<(NodeIndex, TakeSnapshot)>, Vec<String>) {
    let (mut taken, mut titles) = (Vec::new(), Vec::new());
    for step in plan.hops[0].protect.iter().flat_map(|group| &group.steps) {
        let recipe = plan.recipe(step.recipe);
        titles.push(recipe.title.clone());
        let rendered = render_action(plan, step.node, recipe, &BTreeMap::new(), "run-1", 0).unwrap();
        if let Some(Action::Snapshot(order)) = rendered {
            assert!(
                recipe
                    .proof
                    .iter()
                    .any(|proof| proof.expect.contains("value.proven"))
            );
            taken.push((step.node, *order));
        }
    }
    (taken, titles)
}

#[test]
fn each_server_takes_its_own_and_one_takes_what_all_share() {
    let plan = planned(&[1, 2, 3], None);
    let (taken, titles) = taken(&plan);
    let names: Vec<&str> = taken
        .iter()
        .map(|(_, order)| order.labels.name.as_str())
        .collect();
    assert_eq!(names, ["config", "config", "config", "data"]);
    let (node, data) = &taken[3];
    let state = &plan.node(*node).state_directory;
    assert_eq!(
        data.command.as_ref().unwrap().argv,
        [
            "dump".to_owned(),
            format!("{state}/backups/output/data/dump"),
            "1.0.0".to_owned()
        ]
    );
    assert_eq!(
        serde_json::to_value(&data.proof[0].probe).unwrap()["file"],
        format!("{state}/backups/trial/data{state}/backups/output/data/dump")
    );
    let labels = &data.labels;
    assert_eq!((labels.version.as_str(), labels.run.as_str()), ("1.0.0", "run-1"));
    assert_eq!(
        (labels.host.as_str(), labels.readable_by.as_str()),
        (plan.node(*node).name.as_str(), "1.x")
    );
    assert_eq!(
        (data.scope["run"].as_str(), &data.repository.tool),
        (Some("run-1"), &None)
    );
    // What stands in for a repository is left out.
    let own = profile().verbs[&Slot::Protect][0].title.clone();
    assert!(!titles.contains(&own), "{titles:?}");
}

#[test]
fn the_program_goes_to_those_who_lack_it_and_without_it_the_plan_says_so() {
    let plan = planned(&[1], Some(tool("x86_64")));
    let sent = plan.prepare.first().unwrap();
    let to: Vec<NodeIndex> = sent.steps.iter().map(|step| step.node).collect();
    assert_eq!(to, [NodeIndex(1), NodeIndex(2)]);
    let (orders, _) = taken(&plan);
    let tools: Vec<Option<&str>> = orders
        .iter()
        .map(|(_, order)| order.repository.tool.as_deref())
        .collect();
    assert_eq!(
        tools[..3].iter().filter(|tool| **tool == Some("c0ffee")).count(),
        2
    );

    for sent in [None, Some(tool("riscv64"))] {
        let plan = planned(&[1], sent);
        let (orders, titles) = taken(&plan);
        let own = profile().verbs[&Slot::Protect][0].title.clone();
        assert!(orders.is_empty() && titles.contains(&own), "{titles:?}");
        let said = plan
            .warnings
            .iter()
            .find(|warning| warning.contains("no snapshot is kept"));
        assert!(
            said.is_some_and(|said| said.contains("n00002, n00003")),
            "{:?}",
            plan.warnings
        );
    }
    let mut without = profile();
    without.snapshots.clear();
    let request = testing::request("1.1.0", &[]);
    let plan = plan_of(&without, &request);
    assert!(!plan.warnings.iter().any(|warning| warning.contains("restic")));
}

fn plan_of(profile: &Profile, request: &Request) -> Plan {
    plan(profile, "test", &testing::fleet(3), &facts(&[]), request).unwrap()
}

#[test]
fn outside_of_a_run_all_are_taken_or_those_that_are_named() {
    let (profile, fleet, facts) = (profile(), testing::fleet(3), facts(&[]));
    let of = |names: &[&str], hosts: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        backups(&profile, "test", &fleet, &facts, &owned(names), &owned(hosts))
    };
    let all = of(&[], &[]).unwrap();
    let count = |name: &str| {
        all.iter()
            .filter(|backup| backup.order.labels.name == name)
            .count()
    };
    assert_eq!((count("config"), count("data"), count("large")), (3, 1, 3));
    let here = of(&["data"], &["n00002"]).unwrap();
    assert_eq!((here.len(), here[0].host.as_str()), (1, "n00002"));
    assert_eq!(here[0].order.labels.run, "");
    let refused = of(&["dta"], &[]).unwrap_err();
    assert_eq!(refused[0].code, "no-such-snapshot");
    assert!(refused[0].remedy.contains("config, data, large"), "{refused:?}");
    let none = backups(&testing::profile(), "test", &fleet, &facts, &[], &[]).unwrap_err();
    assert_eq!(none[0].code, "no-snapshots");
}

#[test]
fn where_the_password_lives_is_said_of_every_host() {
    let mut fleet = testing::fleet(3);
    let mut set = |host: &str, name: &str, value: &str| {
        let host = fleet.hosts.get_mut(host).unwrap();
        host.variables.insert(name.to_owned(), json!(value));
    };
    set("n00002", "snapshot_repository", "sftp:backup@far:/srv/upshift");
    set("n00003", "snapshot_repository", "sftp:backup@far:/srv/upshift");
    set("n00003", "snapshot_password_file", "/etc/upshift/password");
    let said = standing(&profile(), &fleet, &facts(&[]));
    insta::assert_snapshot!(said.join("\n"));
    assert!(standing(&testing::profile(), &fleet, &facts(&[])).is_empty());
}
