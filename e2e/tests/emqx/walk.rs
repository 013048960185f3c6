//! The page about EMQX, followed literally: the commands that it prints are the ones that are run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use upshift_e2e::emqx::{Cluster, Installation, cached};
use upshift_e2e::harness::{Case, Outcome, only_when_exhaustive};
use upshift_lab::processes;

pub const TRIALS: &[Case] = &[(
    "the_page_leads_from_a_fresh_zip_to_a_hot_and_a_rolling_upgrade",
    walk,
)];

const PAGE: &str = include_str!("../../../docs/products/emqx.md");
/// The package that the page installs.
const INSTALLED: &str = "emqx-4.4.15-otp24.3.4.2-1-ubuntu20.04-amd64.zip";
const STORE: &str = "/var/lib/upshift/store/current";

/// The commands of a section of the page: who types them, and what.
fn commands(section: &str) -> Vec<(&'static str, &'static str)> {
    let (_, section) = PAGE.split_once(section).expect("the section is there");
    let section = section.split_once("\n### ").map_or(section, |(this, _)| this);
    let mut commands = Vec::new();
    for block in section.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        commands.extend(
            block
                .lines()
                .map(|line| line.split_once("$ ").expect("a command")),
        );
    }
    assert!(!commands.is_empty(), "{section}");
    commands
}

/// What differs here from the page's hosts: all of them are this machine.
fn here(cluster: &Cluster, host: &str, text: &str) -> String {
    let node = cluster
        .nodes
        .iter()
        .find(|node| node.name == host)
        .expect("a host");
    let installed = cached("4.4.15").expect("the package is in the cache").path;
    let home = node.root.parent().unwrap_or(Path::new("/"));
    let text = text
        .replace(INSTALLED, &installed.display().to_string())
        .replace("-d /opt", &format!("-d {}", home.display()))
        .replace("/opt/emqx", &node.root.display().to_string())
        .replace("/var/lib/upshift", &node.state_directory.display().to_string());
    cluster
        .nodes
        .iter()
        .enumerate()
        .fold(text, |text, (index, node)| {
            text.replace(&format!("10.0.0.{}", index + 1), &node.address.to_string())
        })
}

/// Types a command on a host.
fn on_host(cluster: &Cluster, host: &str, text: &str) {
    let node = cluster
        .nodes
        .iter()
        .find(|node| node.name == host)
        .expect("a host");
    println!("    {host}$ {text}");
    // Output goes to a file: a node that is started keeps it open.
    let output = node.temporary.join("typed");
    let file = fs::File::create(&output).expect("a file");
    let mut command = Command::new("sh");
    command
        .args(["-ec", &here(cluster, host, text)])
        .stdin(std::process::Stdio::null())
        .stdout(file.try_clone().expect("a file"))
        .stderr(file);
    let mut child = command.spawn().expect("a shell");
    let status = processes::wait(&mut child, Duration::from_secs(240));
    let said = fs::read_to_string(&output).unwrap_or_default();
    assert!(
        status.is_some_and(|status| status.success()),
        "{host}$ {text}: {said}"
    );
    if text.contains("cluster status") {
        cluster.wait_complete(Duration::from_secs(60));
    }
    if text.contains("emqx.conf") {
        share_this_machine(cluster, host);
    }
}

/// The vendor's listeners are the same on every host; here each host has an address of its own, and a directory for temporary files.
fn share_this_machine(cluster: &Cluster, host: &str) {
    let node = cluster
        .nodes
        .iter()
        .find(|node| node.name == host)
        .expect("a host");
    let own = |file: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(file).expect("a file");
        fs::write(file, text.replace(from, to)).expect("it is written");
    };
    let address = node.address.to_string();
    own(
        &node.root.join("etc/emqx.conf"),
        "127.0.0.1:",
        &format!("{address}:"),
    );
    own(
        &node.root.join("etc/plugins/emqx_dashboard.conf"),
        "127.0.0.1:",
        &format!("{address}:"),
    );
    own(
        &node.releases().join("emqx_vars"),
        "${RUNNER_TMP_DIR:-/tmp}",
        &format!("${{RUNNER_TMP_DIR:-{}}}", node.temporary.display()),
    );
}

/// Types a command where Upshift is. The directory of packages is the cluster's; nobody is asked, and nothing is watched for long.
fn upshift(cluster: &Cluster, text: &str) {
    println!("    $ {text}");
    let words = text.strip_prefix("upshift ").expect("a call of Upshift");
    let mut words: Vec<&str> = words.split_whitespace().collect();
    if words.first() == Some(&"--packages") {
        words.drain(..2);
    }
    match words.first() {
        Some(&"upgrade") => words.extend(["--yes", "--soak", "2s", "--soak-between", "1s"]),
        Some(&"finalize") => words.push("--yes"),
        _ => {}
    }
    let ran = cluster.upshift.start(&words).finish(Duration::from_secs(540));
    println!("{}", cluster.replace(&ran.text()));
    ran.expect(0);
}

fn follow(cluster: &Cluster, section: &str, done: impl Fn(&str)) {
    for (host, text) in commands(section) {
        match host {
            "" => upshift(cluster, text),
            host => on_host(cluster, host, text),
        }
        done(text);
    }
}

fn walk() -> Outcome {
    only_when_exhaustive("three minutes")?;
    let packages = ["4.4.16", "4.4.28"];
    let cluster = Cluster::start_from(Installation::Nothing, 2, "4.4.15", &packages)?;
    let fleet = fs::read_to_string(&cluster.upshift.fleet).expect("a fleet");
    assert!(
        PAGE.contains("vars: { edition: ce, otp: 24.3.4.2-1, emqx_user: root }"),
        "the page's variables are those of this fleet"
    );

    follow(&cluster, "### The cluster\n", |_| {});
    cluster.wait_complete(Duration::from_secs(60));
    cluster.expect_running("4.4.15");

    let pids = cluster.pids();
    follow(&cluster, "### A hot upgrade\n", |_| {});
    cluster.expect_running("4.4.16");
    assert_eq!(cluster.pids(), pids, "no node was restarted");

    let moved = |text: &str| {
        // What the page says in words: once the nodes run from the store, the fleet says so.
        if text.contains("adopt") {
            let mut fleet = fleet.clone();
            for node in &cluster.nodes {
                let store = node.state_directory.join("store/current");
                fleet = fleet.replace(
                    &format!("\"emqx_root\":\"{}\"", node.root.display()),
                    &format!("\"emqx_root\":\"{}\"", store.display()),
                );
            }
            fs::write(&cluster.upshift.fleet, fleet).expect("a fleet");
        }
    };
    assert!(PAGE.contains(&format!("add `emqx_root: {STORE}`")));
    follow(&cluster, "### A rolling upgrade\n", moved);
    cluster.expect_running("4.4.28");
    cluster.wait_complete(Duration::from_secs(60));
    Ok(())
}
