//! The double itself: it answers as the real commands were seen to.

use std::fs;
use std::time::Duration;

use upshift_e2e::emqx::{Client, Clients, Cluster, Node};
use upshift_e2e::harness::{Case, Outcome, only_when_exhaustive};
use upshift_lab::processes;

pub const TRIALS: &[Case] = &[
    ("the_double_answers_what_is_asked_every_day", everyday),
    ("the_double_installs_hot_and_rolls_back", installs),
    ("the_double_keeps_a_cluster_and_its_data", keeps_data),
];

fn statuses(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(version, status)| ((*version).to_owned(), (*status).to_owned()))
        .collect()
}

fn everyday() -> Outcome {
    let cluster = Cluster::start(1, "4.4.15", &[])?;
    let node = &cluster.nodes[0];
    assert_eq!(node.emqx(&["ping"]).expect(0).stdout, "pong\n");
    let root = node.emqx(&["root_dir"]).expect(0).stdout;
    assert_eq!(root, format!("\"{}\"\n", node.root.display()), "with the quotes");
    assert_eq!(
        node.emqx(&["versions"]).expect(0).stdout,
        "Installed versions:\n* 4.4.15\tpermanent\n\n"
    );
    assert_eq!(
        node.ctl(&["status"]).expect(0).stdout,
        format!("Node '{}' 4.4.15 is started\n", node.node_name())
    );
    assert_eq!(
        node.emqx(&["start"]).expect(1).stdout,
        "Node is already running!\n"
    );
    assert_eq!(
        node.emqx(&["upgrade"]).expect(1).stdout,
        "Missing version argument\nUsage: emqx upgrade {version}\n"
    );
    assert!(
        node.emqx(&["check_conf"])
            .expect(0)
            .stdout
            .ends_with("emqx.conf is ok\n")
    );
    let failed = node.ctl(&["cluster", "join", "emqx@127.0.0.9"]).expect(0);
    assert!(
        failed.stdout.starts_with("Failed to join the cluster: "),
        "{failed:?}"
    );
    node.ctl(&["x"]).expect(1);
    assert_eq!(node.emqx(&["stop"]).expect(0).stdout, "ok\n");
    assert_eq!(
        node.emqx(&["ping"]).expect(1).stderr,
        format!("Node '{}' not responding to pings.\n", node.node_name())
    );
    assert_eq!(
        node.emqx(&["versions"]).expect(1).stdout,
        "Node is not running!\n"
    );
    assert!(
        node.emqx(&["root_dir"])
            .expect(1)
            .stderr
            .ends_with("ERROR: node_is_not_running!\n")
    );
    fs::remove_dir_all(node.root.join("data/configs")).expect("removed");
    assert!(
        node.emqx(&["ping"])
            .expect(1)
            .stderr
            .starts_with("There is no vm.*.args config file found in '")
    );
    Ok(())
}

fn installs() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let cluster = Cluster::start(1, "4.4.15", &["4.4.16"])?;
    let node = &cluster.nodes[0];
    let package = upshift_e2e::emqx::cached("4.4.16")?;
    fs::copy(&package.path, node.releases().join("emqx-4.4.16.zip")).expect("copied");
    let mut clients = Clients::connect(&cluster.nodes, 10).expect("clients");
    let pid = node.pid();

    let answer = node.emqx(&["upgrade", "--no-permanent", "4.4.16"]).expect(0);
    assert_eq!(
        answer.stdout,
        "unzip [\"releases/emqx-4.4.16.zip\"]\n\
         Release 4.4.16 not found, attempting to unpack releases/emqx-4.4.16.tar.gz\n\
         Unpacked successfully: \"4.4.16\".\n\
         Installed Release: 4.4.16.\n"
    );
    assert_eq!(
        node.versions(),
        statuses(&[("4.4.16", "current"), ("4.4.15", "permanent")])
    );
    assert_eq!((node.running().as_deref(), node.pid()), (Some("4.4.16"), pid));
    assert_eq!(clients.connected(), clients.count());

    assert_eq!(
        node.emqx(&["install", "4.4.16"]).expect(0).stdout,
        "Release 4.4.16 is already installed and current, making permanent.\n\
         Made release permanent: \"4.4.16\"\n"
    );
    assert_eq!(
        node.emqx(&["downgrade", "4.4.15"]).expect(0).stdout,
        "Release 4.4.15 is marked old, switching to it.\n\
         Installed Release: 4.4.15.\n\
         Made release permanent: \"4.4.15\"\n"
    );
    assert_eq!(
        node.versions(),
        statuses(&[("4.4.16", "old"), ("4.4.15", "permanent")])
    );
    assert_eq!((node.running().as_deref(), node.pid()), (Some("4.4.15"), pid));
    assert_eq!(clients.connected(), clients.count());
    Ok(())
}

fn keeps_data() -> Outcome {
    only_when_exhaustive("half a minute; rolling upgrades show it, too")?;
    let cluster = Cluster::start(3, "4.3.22", &[])?;
    let said = "what was published stays";
    let mut client = Client::connect(cluster.nodes[0].endpoint()).expect("a client");
    client.retain("a/b", said).expect("acknowledged");
    for node in &cluster.nodes {
        let mut client = Client::connect(node.endpoint()).expect("a client");
        assert_eq!(client.retained("a/b").expect("a message"), said);
    }
    let last: &Node = &cluster.nodes[2];
    assert!(
        last.root
            .join(format!("data/mnesia/{}", last.node_name()))
            .is_dir()
    );
    last.emqx(&["stop"]).expect(0);
    let seen = cluster.nodes[0].ctl(&["cluster", "status"]).expect(0).stdout;
    let stopped = seen
        .split_once("stopped_nodes")
        .map(|(_, stopped)| stopped.to_owned());
    assert!(
        stopped.is_some_and(|stopped| stopped.contains(&last.node_name())),
        "{seen}"
    );
    last.emqx(&["start"]).expect(0);
    cluster.wait_complete(Duration::from_secs(30));
    let mut client = Client::connect(last.endpoint()).expect("a client");
    assert_eq!(client.retained("a/b").expect("a message"), said);
    assert!(processes::poll(Duration::from_secs(5), || last.accepts()));
    Ok(())
}
