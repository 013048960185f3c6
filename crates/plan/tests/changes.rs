//! A plan is executed only as it was made, on a cluster that is as it was.

use upshift_model::Millis;
use upshift_model::facts::{Facts, NodeFacts};
use upshift_model::fleet::{Fleet, Host};
use upshift_plan::{NodeIndex, Plan, plan, remarks, show, testing, verify_unchanged};

fn made(fleet: &Fleet) -> Plan {
    plan(
        &testing::profile(),
        "test",
        fleet,
        &testing::facts(3, "1.0.0"),
        &testing::request("1.1.0", &[]),
    )
    .unwrap_or_else(|refusals| panic!("{}", show::refusals(&refusals)))
}

/// What is said against executing a plan, as `code: message`.
fn against(plan: &Plan, fleet: &Fleet, facts: &Facts) -> Vec<String> {
    let refusals = verify_unchanged(plan, &testing::profile(), fleet, facts)
        .err()
        .unwrap_or_default();
    let words = refusals
        .iter()
        .map(|refusal| format!("{}: {}", refusal.code, refusal.message));
    words.collect()
}

/// What was found out about its hosts after it was made is a part of it, so that it can be written to a file and executed from there.
#[test]
fn a_plan_with_remarks_about_its_hosts_is_executed_from_a_file() {
    let (fleet, facts) = (testing::fleet(3), testing::facts(3, "1.0.0"));
    let mut plan = made(&fleet);
    let before = plan.fingerprint.clone();
    let observed = |units: &[&str]| Ok(serde_json::json!({ "missing": [], "automatic": units }));
    let seen = [
        (NodeIndex(0), observed(&["apt-daily-upgrade.timer"])),
        (NodeIndex(1), observed(&[])),
        (NodeIndex(2), observed(&["apt-daily-upgrade.timer"])),
    ];
    let said = remarks(&plan, &seen.into_iter().collect());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("apt-daily-upgrade.timer may install packages on n00001, n00003"),
        "{said:?}"
    );
    plan.add_remarks(said);
    assert_ne!(plan.fingerprint, before);
    let file = show::json(&plan).unwrap();
    let read: Plan = serde_json::from_str(&file).unwrap();
    assert_eq!(read, plan);
    assert_eq!(against(&read, &fleet, &facts), Vec::<String>::new());
    assert!(show::table(&read, show::Detail::Sentences).contains("apt-daily-upgrade.timer"));
    // Taken out of the file, it is missed.
    let mut without = read.clone();
    without.warnings.pop();
    assert_eq!(against(&without, &fleet, &facts).len(), 1);
}

#[test]
fn whatever_is_edited_in_a_plan_shows() {
    let mut fleet = testing::fleet(3);
    let balancer = Host {
        groups: ["ledger".to_owned()].into(),
        roles: ["load_balancer".to_owned()].into(),
        variables: [("haproxy_socket".to_owned(), "/run/haproxy.sock".into())].into(),
        ..Host::default()
    };
    fleet.hosts.insert("lb1".to_owned(), balancer);
    let (plan, facts) = (made(&fleet), testing::facts(3, "1.0.0"));
    assert_eq!(against(&plan, &fleet, &facts), Vec::<String>::new());
    type Edit = fn(&mut Plan);
    let edits: [(&str, Edit); 14] = [
        ("title", |plan| plan.title.clear()),
        ("fleet", |plan| plan.fleet.clear()),
        ("request", |plan| plan.request.again = true),
        ("facts", |plan| plan.facts.clear()),
        ("nodes", |plan| plan.nodes[0].leader = false),
        ("balancers", |plan| plan.balancers[0].variables.clear()),
        ("recipes", |plan| plan.recipes[0].within = Millis::ZERO),
        ("prepare", |plan| plan.prepare.clear()),
        ("hops", |plan| plan.hops[0].windows[0].limit = Millis::ZERO),
        ("proof", |plan| plan.proof.clear()),
        ("finalize", |plan| plan.finalize.clear()),
        ("finalize notes", |plan| plan.finalize_notes.clear()),
        ("estimate", |plan| plan.estimate.at_most = Millis::ZERO),
        ("warnings", |plan| plan.warnings.clear()),
    ];
    for (part, edit) in edits {
        let mut edited = plan.clone();
        edit(&mut edited);
        let found = against(&edited, &fleet, &facts);
        let told =
            "plan-edited: the plan is not the one that was made: its fingerprint does not fit its contents";
        assert!(found.iter().any(|words| words == told), "{part}: {found:?}");
    }
}

#[test]
fn a_plan_of_another_format_or_product_is_not_executed() {
    let (fleet, facts) = (testing::fleet(3), testing::facts(3, "1.0.0"));
    let plan = made(&fleet);
    let mut later = plan.clone();
    later.format += 1;
    let found = against(&later, &fleet, &facts);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("plan-format: the plan has format "),
        "{found:?}"
    );

    let mut other = testing::profile();
    other.group = Some("ledger".to_owned());
    other.product = "register".to_owned();
    let refusals = verify_unchanged(&plan, &other, &fleet, &facts).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(
        refusals[0].message,
        "the plan is for ledger, the profile for register"
    );
}

#[test]
fn what_has_changed_on_a_server_is_told_with_before_and_after() {
    let fleet = testing::fleet(3);
    let plan = made(&fleet);
    type Change = fn(&mut NodeFacts);
    let changes: [(Change, &str); 9] = [
        (
            |node| node.version = None,
            "changed: the running version was 1.0.0, and is now not running",
        ),
        (
            |node| node.host.os = "debian13".to_owned(),
            "changed: the operating system was debian12, and is now debian13",
        ),
        (
            |node| node.host.arch = "arm64".to_owned(),
            "changed: the architecture was amd64, and is now arm64",
        ),
        (
            |node| node.host.state_directory = "/srv".to_owned(),
            "changed: the agent's state directory was /var/lib/upshift, and is now /srv",
        ),
        (
            |node| drop(node.places.remove("data_dir")),
            "changed: the place `data_dir` was /var/lib/ledger/data, and is now not there",
        ),
        (
            |node| drop(node.places.insert("spare".to_owned(), "/spare".to_owned())),
            "changed: the place `spare` was not there, and is now /spare",
        ),
        (
            |node| drop(node.variant.insert("os".to_owned(), "el8".to_owned())),
            "changed: the running release's `os` was debian12, and is now el8",
        ),
        (
            |node| node.config_digests.clear(),
            "changed: the configuration `config` has been edited since the plan was made",
        ),
        (
            |node| node.unreachable = Some("no route to host".to_owned()),
            "unreachable: the host cannot be reached: no route to host",
        ),
    ];
    for (change, told) in changes {
        let mut facts = testing::facts(3, "1.0.0");
        change(facts.nodes.get_mut("n00002").unwrap());
        assert_eq!(against(&plan, &fleet, &facts), [told]);
    }
    let mut facts = testing::facts(3, "1.0.0");
    facts.nodes.remove("n00002");
    assert_eq!(
        against(&plan, &fleet, &facts),
        ["unreachable: nothing was observed on the host"]
    );
}

#[test]
fn a_host_that_has_left_the_group_is_no_server_any_more() {
    let mut fleet = testing::fleet(3);
    let plan = made(&fleet);
    fleet.hosts.get_mut("n00003").unwrap().groups.clear();
    assert_eq!(
        against(&plan, &fleet, &testing::facts(3, "1.0.0")),
        ["changed: the server is no longer in the fleet"]
    );
}

#[test]
fn a_plan_that_does_not_hold_together_says_what_is_wrong() {
    let fine = made(&testing::fleet(3));
    assert_eq!(fine.validate(), Ok(()));
    type Spoil = fn(&mut Plan);
    let spoiled: [(&str, Spoil); 12] = [
        ("it has no hop, so it upgrades nothing", |plan| plan.hops.clear()),
        ("it leads to 1.1.0, and 9.9.9 was asked for", |plan| {
            plan.request.to = "9.9.9".to_owned();
        }),
        ("it does not end with an observation of n00001", |plan| {
            plan.proof.clear()
        }),
        ("it does not end with an observation of n00003", |plan| {
            plan.proof[0].steps.pop();
        }),
        (
            "its last observation is about server 77, and there are 3",
            |plan| {
                plan.proof[0].steps[0].node.0 = 77;
            },
        ),
        ("its preparation does recipe 9999, and there are", |plan| {
            plan.prepare[0].steps[0].recipe.0 = 9999;
        }),
        (
            "the hop 1.0.0 → 1.1.0 is about server 3, and there are 3",
            |plan| {
                plan.hops[0].windows[0].nodes[0].0 = 3;
            },
        ),
        (
            "the hop 1.0.0 → 1.1.0 is about server 4, and there are 3",
            |plan| {
                plan.hops[0]
                    .guard_offsets
                    .insert(upshift_plan::NodeIndex(4), Millis::ZERO);
            },
        ),
        ("is in it twice", |plan| {
            let step = plan.prepare[0].steps[0].clone();
            plan.prepare[0].steps.push(step);
        }),
        ("the server n00001 is in it twice", |plan| {
            plan.nodes[1].name = plan.nodes[0].name.clone();
        }),
        ("it speaks of step 123456, which it does not have", |plan| {
            let rollback = plan.hops[0].windows[0].rollback.iter_mut();
            for step in rollback.flat_map(|group| &mut group.steps) {
                step.undoes.push(upshift_plan::StepId(123_456));
            }
        }),
        ("a hop leads to 1.1.0, the next one out of 1.0.0", |plan| {
            let mut second = plan.hops[0].clone();
            second.protect.clear();
            second.windows.clear();
            second.settle.clear();
            second.rolled_back.clear();
            plan.hops.push(second);
        }),
    ];
    for (what, spoil) in spoiled {
        let mut plan = fine.clone();
        spoil(&mut plan);
        let said = plan.validate().unwrap_err();
        assert!(said.contains(what), "{said}, not {what}");
    }
}
