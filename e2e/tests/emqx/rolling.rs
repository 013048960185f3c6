//! One node at a time, from 4.3 to 4.4, with clients that come through a real HAProxy.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use upshift_e2e::emqx::{Client, Cluster, Installation, Kept, Node, behind, package};
use upshift_e2e::harness::{Case, NoVerdict, Outcome, only_when_exhaustive};
use upshift_e2e::program::{Ran, Upshift};
use upshift_lab::balancer::{Balancer, Clients, View};
use upshift_lab::processes;

pub const TRIALS: &[Case] = &[
    (
        "rolling_from_4_3_to_4_4_behind_haproxy_keeps_clients_data_and_configuration",
        rolls,
    ),
    (
        "a_rolling_upgrade_that_raises_alarms_rolls_back_with_data_and_configuration",
        rolls_back,
    ),
    (
        "the_copy_that_the_vendors_page_shows_starts_an_empty_node",
        nested_copy,
    ),
    ("a_lost_controller_leaves_no_node_on_the_new_release", guards),
    ("an_enterprise_node_is_evacuated_before_it_stops", evacuates),
    (
        "enterprise_4_3_becomes_enterprise_4_4_although_the_other_edition_lies_beside_it",
        enterprise_from_4_3,
    ),
];

const OLD: &str = "4.3.22";
const NEW: &str = "4.4.16";

/// A cluster in the release stores of its hosts, behind HAProxy.
struct Stage {
    cluster: Cluster,
    balancer: Balancer,
    upshift: Upshift,
}

fn stage() -> Result<Stage, NoVerdict> {
    let cluster = Cluster::start_from(Installation::Store, 3, OLD, &[NEW])?;
    let servers: Vec<(String, String)> = cluster
        .nodes
        .iter()
        .map(|node| (node.name.clone(), node.endpoint().to_string()))
        .collect();
    let fleet = fs::read_to_string(&cluster.upshift.fleet).expect("a fleet");
    let (balancer, fleet) = behind(&cluster.directory().with_extension("balancer"), &servers, &fleet)?;
    let path = cluster.directory().join("balanced.yaml");
    fs::write(&path, fleet).expect("a fleet is written");
    let upshift = cluster.upshift.with_fleet(&path);
    Ok(Stage {
        cluster,
        balancer,
        upshift,
    })
}

impl Stage {
    /// Whether a node runs a version, and no node is out of the load balancer.
    fn serves(&self, node: &Node, version: &str) -> bool {
        let states = self.balancer.states().unwrap_or_default();
        node.running().as_deref() == Some(version) && states == ["UP", "UP", "UP"]
    }
}

fn upgrade(soak_between: &str) -> Vec<&str> {
    vec![
        "upgrade",
        "--yes",
        "--to",
        NEW,
        "--soak",
        "3s",
        "--soak-between",
        soak_between,
    ]
}

/// What must be as it was: the configuration, and what the broker keeps.
fn kept(nodes: &[Node]) -> Vec<(Vec<u8>, String)> {
    nodes
        .iter()
        .map(|node| {
            let configuration = fs::read(node.root.join("etc/emqx.conf")).expect("a configuration");
            let mut client = Client::connect(node.endpoint()).expect("a client");
            (
                configuration,
                client.retained("site/1").expect("a retained message"),
            )
        })
        .collect()
}

fn retain(cluster: &Cluster) {
    let mut client = Client::connect(cluster.nodes[0].endpoint()).expect("a client");
    client.retain("site/1", "green").expect("the message is kept");
}

fn rolls() -> Outcome {
    let stage = stage()?;
    let nodes = &stage.cluster.nodes;
    retain(&stage.cluster);
    let before = kept(nodes);
    let clients = Clients::start(stage.balancer.port, "hello\n", 2, 9);
    assert!(processes::poll(Duration::from_secs(10), || clients
        .so_far()
        .answered
        > 20));
    let through = SocketAddr::from((Ipv4Addr::LOCALHOST, stage.balancer.port));
    let sessions = Kept::start(through).expect("clients");
    let view = View::start(stage.balancer.socket());

    let ran = stage
        .upshift
        .start(&upgrade("1s"))
        .finish(Duration::from_secs(500))
        .expect(0);
    ran.keep("emqx-rolling");

    let (seen, met) = (view.finish(), clients.finish());
    println!(
        "    {} connections answered, {} came back",
        met.answered, met.returned
    );
    // The session is taken over by another node while the one that is left still runs, with what is queued in it.
    let orders = sessions.finish();
    println!(
        "    {} messages for a kept session acknowledged, {} arrived; resumed {} times",
        orders.acknowledged.len(),
        orders.arrived.len(),
        orders.resumed
    );
    assert!(orders.acknowledged.len() > 100, "{}", orders.acknowledged.len());
    assert_eq!(orders.lost(), Vec::<&String>::new(), "{}", ran.text());
    assert!(orders.resumed > 0 && orders.forgotten == 0, "{}", ran.text());
    assert!(met.refused.is_empty(), "{:?}\n{}", met.refused, ran.text());
    assert_eq!(seen.given_while_out, 0, "{seen:?}");
    let mut taken_out = seen.taken_out.clone();
    taken_out.sort();
    assert_eq!(taken_out, ["n1", "n2", "n3"]);
    assert!(met.returned >= 6, "{met:?}");
    assert_eq!(
        stage.balancer.states().expect("HAProxy answers"),
        ["UP", "UP", "UP"]
    );
    stage.cluster.expect_running(NEW);
    stage.cluster.wait_complete(Duration::from_secs(10));
    assert_eq!(kept(nodes), before);
    for node in nodes {
        assert_eq!(
            node.ctl(&["status"]).stdout,
            format!("Node '{}' {NEW} is started\n", node.node_name())
        );
        let plugins = node.ctl(&["plugins", "list"]).stdout;
        assert!(!plugins.contains("active=false"), "{plugins}");
    }
    Ok(())
}

/// The second node raises an alarm once it runs the new release.
fn rolls_back() -> Outcome {
    only_when_exhaustive("three minutes")?;
    let stage = stage()?;
    retain(&stage.cluster);
    let before = kept(&stage.cluster.nodes);
    let running = stage.upshift.start(&upgrade("20s"));
    let second = &stage.cluster.nodes[1];
    assert!(
        processes::poll(Duration::from_secs(400), || second.running().as_deref()
            == Some(NEW)),
        "the second node was not upgraded"
    );
    second
        .emqx(&["eval", "emqx_alarm:activate(<<\"broker_degraded\">>, <<\"x\">>)"])
        .expect(0);

    let ran = running.finish(Duration::from_secs(600)).expect(4);

    assert!(ran.text().contains("broker_degraded"), "{}", ran.text());
    stage.cluster.expect_running(OLD);
    stage.cluster.wait_complete(Duration::from_secs(10));
    assert_eq!(kept(&stage.cluster.nodes), before);
    assert_eq!(
        stage.balancer.states().expect("HAProxy answers"),
        ["UP", "UP", "UP"]
    );
    Ok(())
}

/// The controller is killed while the first node, already on the new release, is watched; nobody returns.
fn guards() -> Outcome {
    only_when_exhaustive("two to four minutes")?;
    let stage = stage()?;
    retain(&stage.cluster);
    let before = kept(&stage.cluster.nodes);
    let words = [upgrade("60s"), vec!["--guard-lease", "15s"]].concat();
    let running = stage.upshift.start(&words);
    let first = &stage.cluster.nodes[0];
    assert!(
        processes::poll(Duration::from_secs(400), || stage.serves(first, NEW)),
        "the first node was not upgraded"
    );
    running.kill();

    // It runs the old version some time before it listens.
    assert!(
        processes::poll(Duration::from_secs(400), || stage.serves(first, OLD)),
        "{:?}",
        first.running()
    );
    stage.cluster.expect_running(OLD);
    stage.cluster.wait_complete(Duration::from_secs(30));
    assert_eq!(kept(&stage.cluster.nodes), before);
    Ok(())
}

/// The page backs `etc` up into `backup/etc/emqx` and copies `backup/etc` into the new `etc`: what was saved comes to lie one
/// level too deep, and nothing says so.
fn nested_copy() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let cluster = Cluster::start(3, OLD, &[NEW])?;
    retain(&cluster);
    let node = &cluster.nodes[2];
    let backup = cluster.directory().join("backup");
    node.emqx(&["stop"]).expect(0);
    for name in ["etc", "data"] {
        fs::create_dir_all(backup.join(name)).expect("a directory");
        copy(&node.root.join(name), &backup.join(name));
    }
    fs::remove_dir_all(&node.root).expect("4.3 is uninstalled");
    let new = package(&cluster.directory().join("fresh"), NEW)?;
    node.unpack(&new).expect("4.4 is installed");
    for name in ["etc", "data"] {
        copy(&backup.join(name), &node.root.join(name));
    }
    assert!(
        node.root.join("etc/etc/etc/emqx.conf").exists(),
        "one level too deep, as on the page"
    );

    assert_eq!(node.emqx(&["start"]).status, 0, "and all is said to be well");
    let status = node.ctl(&["status"]).expect(0).stdout;
    assert_eq!(
        status,
        format!("Node 'emqx@127.0.0.1' {NEW} is started\n"),
        "under the default name"
    );
    let members = node.ctl(&["cluster", "status"]).expect(0).stdout;
    assert!(
        !members.contains(&cluster.nodes[1].node_name()),
        "alone: {members}"
    );
    // Upshift sees it, whatever the commands ended with.
    let checked = cluster.upshift.run(&["check", "--to", NEW]).expect(3).text();
    assert!(
        checked.contains("not every server of the fleet is a running member"),
        "{checked}"
    );
    Ok(())
}

/// `cp -r FROM TO/`
fn copy(from: &Path, to: &Path) {
    let mut command = std::process::Command::new("cp");
    command.arg("-r").arg(from).arg(format!("{}/", to.display()));
    processes::run(&mut command, Duration::from_secs(60)).expect("cp ends well");
}

/// Rolls two enterprise nodes, which nobody waits for clients of, to 4.4.28.
fn rolls_enterprise(cluster: &Cluster, wait_takeover: bool) -> Ran {
    let fleet = fs::read_to_string(&cluster.upshift.fleet).expect("a fleet");
    let waited = if wait_takeover {
        ""
    } else {
        ",\"emqx_wait_takeover\":1"
    };
    let hasty = format!("\"edition\":\"ee\",\"emqx_clients_kept\":0{waited}");
    let changed = fleet.replace("\"edition\":\"ee\"", &hasty);
    assert_ne!(changed, fleet);
    fs::write(&cluster.upshift.fleet, changed).expect("a fleet is written");
    // It has no instructions for a running node.
    let words = [
        "upgrade",
        "--yes",
        "--to",
        "4.4.28",
        "--soak",
        "2s",
        "--soak-between",
        "1s",
    ];
    let running = cluster.upshift.start(&words);
    running.finish(Duration::from_secs(500)).expect(0)
}

/// The edition was kept, since only the enterprise one from 4.4.12 on has this command, and clients are taken.
fn expect_enterprise(cluster: &Cluster) {
    cluster.expect_running("4.4.28");
    cluster.wait_complete(Duration::from_secs(10));
    for node in &cluster.nodes {
        assert_eq!(
            node.ctl(&["rebalance", "node-status"]).expect(0).stdout,
            "disabled\n"
        );
        assert!(Client::connect(node.endpoint()).is_ok());
    }
}

/// The enterprise edition moves clients away itself, at a rate, and takes none until it is told that the evacuation is over.
fn evacuates() -> Outcome {
    let cluster = Cluster::start_from(Installation::Store, 2, "ee-4.4.15", &["ee-4.4.28"])?;
    let mut left: Vec<Client> = (0..5)
        .map(|_| Client::connect(cluster.nodes[0].endpoint()).expect("a client"))
        .collect();
    let ran = rolls_enterprise(&cluster, false);
    ran.keep("emqx-evacuation");
    for name in ["n1", "n2"] {
        for step in [EVACUATE, END_EVACUATION] {
            assert!(
                ran.text().contains(&format!("{name}: {step}: done")),
                "{name}: {step}: {}",
                ran.text()
            );
        }
    }
    assert!(left.iter_mut().all(|client| !client.is_connected()));
    expect_enterprise(&cluster);
    Ok(())
}

/// 4.3 has no evacuation. The package of the community edition, of the same version, is not taken.
fn enterprise_from_4_3() -> Outcome {
    only_when_exhaustive("a minute and a half; the edition is kept from 4.4.15 to 4.4.28, too")?;
    let packages = ["ee-4.4.28", "4.4.28"];
    let cluster = Cluster::start_from(Installation::Store, 2, "ee-4.3.22", &packages)?;
    let ran = rolls_enterprise(&cluster, true);
    for name in ["n1", "n2"] {
        assert!(
            !ran.text().contains(&format!("{name}: {EVACUATE}: done")),
            "{}",
            ran.text()
        );
    }
    expect_enterprise(&cluster);
    Ok(())
}

const EVACUATE: &str = "send clients and sessions to the other nodes at a rate";
const END_EVACUATION: &str = "end the evacuation, which a node goes on with when it restarts";
