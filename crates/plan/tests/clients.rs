//! Clients that would lag too far behind the servers.

use serde_json::json;
use upshift_model::facts::Facts;
use upshift_model::fleet::{Acceptance, Host};
use upshift_model::profile::{ClientUpgrades, FactExpression, Notice, Strategy};
use upshift_plan::{Finding, Request, client_rounds, client_target, plan, show, testing};

#[test]
fn clients_that_lag_at_a_later_hop_may_be_upgraded_on_the_way() {
    let mut profile = testing::profile();
    let clients = profile.skew.clients.as_mut().unwrap();
    clients.expect = "!(client == '1.0.0' && at_least(server, '1.2.0'))".to_owned();
    let mut fleet = testing::fleet(3);
    let roles = ["client".to_owned()].into();
    fleet.hosts.insert(
        "app1".to_owned(),
        Host {
            roles,
            ..fleet.hosts["n00001"].clone()
        },
    );
    let mut facts = testing::facts(3, "1.0.0");
    facts
        .nodes
        .insert("app1".to_owned(), testing::node_facts(9, 3, "1.0.0"));
    let request = testing::request("2.0.0", &["1.1.0", "1.2.0"]);
    let request = Request {
        via: vec!["1.2.0".to_owned()],
        ..request
    };
    let refusals = plan(&profile, "test", &fleet, &facts, &request).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(
        (refusals[0].code.as_str(), &refusals[0].hosts[..]),
        ("client-lag", &["app1".to_owned()][..])
    );
    assert!(refusals[0].message.contains("servers of 1.2.0"), "{refusals:?}");
    for remedy in [
        "upgrade to 1.1.0 first, then the clients",
        "upshift accept client-lag",
    ] {
        assert!(refusals[0].remedy.contains(remedy), "{refusals:?}");
    }
    // Taken upon oneself, it stands in the plan, with the client's name.
    let request = Request {
        accepted: vec![Acceptance {
            name: "client-lag".to_owned(),
            reason: "it is switched off".to_owned(),
            until: None,
        }],
        ..request
    };
    let plan = plan(&profile, "test", &fleet, &facts, &request).unwrap();
    assert_eq!(plan.risks.len(), 1, "{:?}", plan.risks);
    assert_eq!(plan.risks[0].hosts, ["app1"]);
}

#[test]
fn clients_that_are_connected_are_read_from_a_probe() {
    let mut profile = testing::profile();
    let clients = profile.skew.clients.as_mut().unwrap();
    clients.expect = "at_least(client, '1.1.0')".to_owned();
    clients.observed = Some(FactExpression {
        probe: "clients".to_owned(),
        expression: "value.map(c, c.version)".to_owned(),
    });
    let mut facts = testing::facts(3, "1.0.0");
    let (fleet, request) = (testing::fleet(3), testing::request("1.1.0", &[]));
    let attempt = |facts: &Facts| plan(&profile, "test", &fleet, facts, &request);
    let seen = json!([{"version": "1.1.0"}, {"version": "1.1.3"}]);
    facts
        .nodes
        .get_mut("n00002")
        .unwrap()
        .probes
        .insert("clients".to_owned(), seen);
    assert!(attempt(&facts).is_ok());
    let old = json!([{"version": "1.1.0"}, {"version": "1.0.9"}]);
    facts
        .nodes
        .get_mut("n00002")
        .unwrap()
        .probes
        .insert("clients".to_owned(), old);
    let refusals = attempt(&facts).unwrap_err();
    assert!(refusals[0].message.contains("clients of 1.0.9"), "{refusals:?}");
    facts
        .nodes
        .get_mut("n00002")
        .unwrap()
        .probes
        .insert("clients".to_owned(), json!("broken"));
    assert!(attempt(&facts).unwrap_err()[0].message.contains("cannot be read"));
}

#[test]
fn only_clients_of_the_product_that_are_no_servers_can_lag() {
    let (mut fleet, mut facts) = (testing::fleet(3), testing::facts(3, "1.1.0"));
    let roles = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
    for (name, group, held) in [
        ("app1", "ledger", &["client"][..]),
        ("app2", "other", &["client"]),
        ("app3", "ledger", &["load_balancer"]),
        ("app4", "ledger", &["client"]),
    ] {
        let mut host = fleet.hosts["n00001"].clone();
        host.groups = [group.to_owned()].into();
        host.roles = roles(held);
        fleet.hosts.insert(name.to_owned(), host);
        let version = if name == "app4" { None } else { Some("1.0.0") };
        let mut node = testing::node_facts(9, 3, "1.0.0");
        node.version = version.map(str::to_owned);
        facts.nodes.insert(name.to_owned(), node);
    }
    fleet.hosts.get_mut("n00003").unwrap().roles = roles(&["server", "client"]);
    let lag = |expect: &str| {
        let mut profile = testing::profile();
        profile.skew.clients.as_mut().unwrap().expect = expect.to_owned();
        plan(&profile, "test", &fleet, &facts, &testing::request("2.0.0", &[])).unwrap_err()
    };
    let refusals = lag("false");
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
    assert_eq!(refusals[0].hosts, ["app1"]);
    assert_eq!(
        refusals[0].message,
        "clients of 1.0.0 do not work with servers of 2.0.0"
    );
    assert!(
        refusals[0]
            .remedy
            .starts_with("upgrade the clients first; to take it upon yourself"),
        "{refusals:?}"
    );
    // What it runs is not known: it may be anything.
    assert_eq!(
        (&refusals[1].hosts[..], refusals[1].finding),
        (&["app4".to_owned()][..], Finding::CannotTell)
    );
    assert!(
        refusals[1].remedy.contains("`upshift accept client:app4"),
        "{refusals:?}"
    );
    let unknown = "whether clients of 1.0.0 work with servers of 2.0.0 cannot be told: ";
    let cannot_tell = lag("client.nothing == 1").remove(0);
    assert!(cannot_tell.message.starts_with(unknown), "{cannot_tell:?}");
    assert_eq!(
        cannot_tell.remedy,
        "upgrade the clients first; to leave one client out: `upshift accept client:NAME --reason \"…\"`",
        "what is not known is not taken upon oneself for all"
    );
}

#[test]
fn a_client_is_left_out_by_its_name_and_no_other_with_it() {
    let (mut fleet, mut facts) = (testing::fleet(3), testing::facts(3, "1.1.0"));
    for name in ["app1", "app2", "app3"] {
        let host = Host {
            roles: ["client".to_owned()].into(),
            ..fleet.hosts["n00001"].clone()
        };
        fleet.hosts.insert(name.to_owned(), host);
        let mut node = testing::node_facts(9, 3, "1.0.0");
        node.version = (name != "app3").then(|| "1.0.0".to_owned());
        facts.nodes.insert(name.to_owned(), node);
    }
    let attempt = |names: &[&str]| {
        let request = Request {
            accepted: names.iter().map(|name| left_out(name)).collect(),
            ..testing::request("2.0.0", &[])
        };
        plan(&testing::profile(), "test", &fleet, &facts, &request)
    };
    let refused = |names: &[&str]| -> Vec<String> {
        let refusals = attempt(names).unwrap_err();
        refusals.into_iter().flat_map(|refusal| refusal.hosts).collect()
    };
    assert_eq!(refused(&[]), ["app1", "app2", "app3"]);
    assert_eq!(refused(&["client:app1"]), ["app2", "app3"]);
    assert_eq!(refused(&["client:app1", "client:app2"]), ["app3"]);
    // The risk of all that lag does not hold for one that cannot be told.
    assert_eq!(refused(&["client-lag"]), ["app3"]);
    let plan = attempt(&["client-lag", "client:app3"]).unwrap();
    let risks: Vec<(&str, &[String])> = plan
        .risks
        .iter()
        .map(|risk| (risk.acceptance.name.as_str(), &risk.hosts[..]))
        .collect();
    let (both, third) = (["app1".to_owned(), "app2".to_owned()], ["app3".to_owned()]);
    assert_eq!(risks, [("client-lag", &both[..]), ("client:app3", &third[..])]);
    assert!(
        !plan
            .warnings
            .iter()
            .any(|warning| warning.contains("no such thing")),
        "{:?}",
        plan.warnings
    );
}

fn left_out(name: &str) -> Acceptance {
    Acceptance {
        name: name.to_owned(),
        reason: "it is switched off".to_owned(),
        until: None,
    }
}

#[test]
fn clients_are_taken_version_by_version_straight_to_that_of_the_servers() {
    let mut profile = testing::profile();
    profile.clients_of = Some("ledger".to_owned());
    profile.group = Some("ledger-client".to_owned());
    let mut fleet = testing::fleet(1);
    let mut facts = Facts::default();
    for (name, version) in [
        ("a", Some("1.1.0")),
        ("b", Some("1.0.9")),
        ("c", Some("1.1.0")),
        ("d", Some("2.0.0")),
        ("e", None),
        ("f", Some("1.0.0")),
    ] {
        let host = Host {
            roles: ["client".to_owned()].into(),
            ..fleet.hosts["n00001"].clone()
        };
        fleet.hosts.insert(name.to_owned(), host);
        let mut node = testing::node_facts(9, 3, "1.0.0");
        node.version = version.map(str::to_owned);
        facts.nodes.insert(name.to_owned(), node);
    }
    // Servers are not among them.
    let clients = fleet.of_clients("ledger", "ledger-client");
    assert_eq!(clients.servers("ledger-client").count(), 6);
    let rounds = |accepted: &[Acceptance]| client_rounds(&profile, &clients, &facts, "2.0.0", accepted);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let found = rounds(&[left_out("client:f")]);
    // One that is not known is in the first round, where the planner refuses it.
    assert_eq!(found.rounds, [names(&["b", "e"]), names(&["a", "c"])]);
    assert_eq!(found.left_out, [("f".to_owned(), left_out("client:f"))]);
    let all: Vec<Acceptance> = ["a", "b", "c", "e", "f"]
        .iter()
        .map(|name| left_out(&format!("client:{name}")))
        .collect();
    assert!(rounds(&all).rounds.is_empty());
    assert_eq!(rounds(&all[..3]).rounds, [names(&["e", "f"])]);
    assert_eq!(rounds(&[&all[..3], &all[4..]].concat()).rounds, [names(&["e"])]);
}

#[test]
fn clients_follow_servers_that_agree() {
    let mut profile = testing::profile();
    let (fleet, mut facts) = (testing::fleet(3), testing::facts(3, "1.1.0"));
    assert_eq!(client_target(&profile, &fleet, &facts), Ok(None));
    profile.clients = Some(ClientUpgrades {
        product: "ledger-client".to_owned(),
        version: FactExpression {
            probe: "status".to_owned(),
            expression: "value.value.version".to_owned(),
        },
    });
    assert_eq!(
        client_target(&profile, &fleet, &facts),
        Ok(Some("1.1.0".to_owned()))
    );
    let refused = |facts: &Facts| client_target(&profile, &fleet, facts).unwrap_err().remove(0);
    let status = |version: &str| testing::status(version, false, 3);
    let probes = |facts: &mut Facts, value| {
        let node = facts.nodes.get_mut("n00003").unwrap();
        node.probes.insert("status".to_owned(), value);
    };
    probes(&mut facts, status("1.0.0"));
    let mixed = refused(&facts);
    assert_eq!(mixed.code, "mixed-versions");
    assert!(
        mixed.message.contains("1.0.0 on n00003; 1.1.0 on n00001, n00002"),
        "{mixed:?}"
    );
    // What one server does not say is not taken from the others.
    probes(&mut facts, json!({"error": "no answer"}));
    let unknown = refused(&facts);
    assert_eq!(
        (unknown.code.as_str(), unknown.finding),
        ("version-unknown", Finding::CannotTell)
    );
    facts.nodes.get_mut("n00003").unwrap().unreachable = Some("no route".to_owned());
    assert_eq!(refused(&facts).code, "unreachable");
}

#[test]
fn what_users_notice_stands_in_the_plan() {
    let mut profile = testing::profile();
    let notice = |text: &str, strategies: &[Strategy], to: Option<&str>| Notice {
        text: text.to_owned(),
        strategies: strategies.to_vec(),
        from: None,
        to: to.map(str::to_owned),
    };
    profile.notices = vec![
        notice(
            "all stands still from {{ from }} to {{ to }}: {{ expected }}, {{ at_most }} at the most",
            &[Strategy::Switch],
            None,
        ),
        notice("{{ windows }} servers in turn", &[Strategy::Rolling], None),
        notice("never", &[], Some(">=9.0.0")),
    ];
    let (fleet, facts) = (testing::fleet(3), testing::facts(3, "1.0.0"));
    let request = testing::request("2.0.0", &["1.1.0"]);
    let made = plan(&profile, "test", &fleet, &facts, &request).unwrap();
    let window = &made.hops[1].windows[0];
    let at_most = show::length(window.limit.plus(window.reserve));
    assert_eq!(
        made.notices,
        [
            "3 servers in turn".to_owned(),
            format!("all stands still from 1.1.0 to 2.0.0: 20 s, {at_most} at the most"),
        ]
    );
    for shown in [show::table(&made, show::Detail::Sentences), show::markdown(&made)] {
        assert!(
            shown.contains("servers in turn") && shown.contains("o be sent to them"),
            "{shown}"
        );
    }
    // They are a part of what the plan is known by.
    let mut changed = made.clone();
    changed.notices.pop();
    assert_ne!(made.compute_fingerprint(), changed.compute_fingerprint());
}

#[test]
fn connected_clients_that_cannot_be_read_are_refused() {
    let mut facts = testing::facts(3, "1.0.0");
    let seen = json!({"versions": ["1.0.0"], "count": 1});
    let second = facts.nodes.get_mut("n00002").unwrap();
    second.probes.insert("clients".to_owned(), seen);
    let with = |expression: &str| {
        let mut profile = testing::profile();
        profile.skew.clients.as_mut().unwrap().observed = Some(FactExpression {
            probe: "clients".to_owned(),
            expression: expression.to_owned(),
        });
        let request = testing::request("1.1.0", &[]);
        let found = plan(&profile, "test", &testing::fleet(3), &facts, &request);
        found.map_err(|refusals| refusals[0].message.clone())
    };
    assert!(with("value.versions").is_ok());
    let cannot = "the versions of the connected clients cannot be read: ";
    let found = with("value.count").unwrap_err();
    assert_eq!(found, format!("{cannot}it yields 1, which is not a list"));
    assert!(with("value.nothing").unwrap_err().starts_with(cannot));
}
