//! Clients that would lag too far behind the servers.

use serde_json::json;
use upshift_model::facts::Facts;
use upshift_model::fleet::{Acceptance, Host};
use upshift_model::profile::FactExpression;
use upshift_plan::{Request, plan, testing};

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
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
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
    let unknown = "whether clients of 1.0.0 work with servers of 2.0.0 cannot be told: ";
    let cannot_tell = lag("client.nothing == 1").remove(0);
    assert!(cannot_tell.message.starts_with(unknown), "{cannot_tell:?}");
    assert_eq!(
        cannot_tell.remedy, "upgrade the clients first",
        "what is not known is not taken upon oneself"
    );
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
