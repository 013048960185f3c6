//! Three nodes of the double, as one cluster.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use upshift_lab::cleanup::Cleanup;
use upshift_lab::fetch::{OTP, Unavailable};
use upshift_lab::processes;

use super::{Node, copy_packages, package};
use crate::program::Upshift;

/// A running cluster with an operator. All its processes end when it is dropped.
pub struct Cluster {
    /// The nodes, the first one being the one that the others joined.
    pub nodes: Vec<Node>,
    /// The operator.
    pub upshift: Upshift,
    directory: PathBuf,
    _cleanup: Cleanup,
    // Last, so that processes have ended when their files are removed.
    _temporary: tempfile::TempDir,
}

/// How nodes are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installation {
    /// In a directory of their own, as a zip is unpacked.
    Directory,
    /// In the release stores of their hosts.
    Store,
    /// Not at all: a test installs, starts and joins them itself.
    Nothing,
}

impl Cluster {
    /// Nodes of a version, joined and running, with packages of other versions at the operator's hand.
    ///
    /// # Errors
    /// Where Erlang cannot be had on this machine.
    pub fn start(count: u8, version: &str, others: &[&str]) -> Result<Self, Unavailable> {
        Cluster::start_from(Installation::Directory, count, version, others)
    }

    /// [`Cluster::start`], from one kind of installation.
    ///
    /// # Errors
    /// Where Erlang cannot be had on this machine.
    pub fn start_from(
        installation: Installation,
        count: u8,
        version: &str,
        others: &[&str],
    ) -> Result<Self, Unavailable> {
        let io = |error: io::Error| Unavailable::new("a cluster of the double of EMQX", error);
        let temporary = tempfile::tempdir().map_err(io)?;
        let directory = temporary.path().canonicalize().map_err(io)?;
        let packages = directory.join("packages");
        let running = package(&directory.join("installed"), version)?;
        fs::create_dir_all(&packages).map_err(io)?;
        copy_packages(&packages, others)?;
        let cleanup = Cleanup::of_directory(&directory).map_err(io)?;
        // Nodes find each other at fixed ports, and commands find a node's process by its name: nodes of tests that run at the same
        // time must differ in their addresses.
        let mut nodes = lay_out(&directory, count, own_network()).map_err(io)?;
        for node in &mut nodes {
            match installation {
                Installation::Directory => node.install(&running),
                Installation::Store => {
                    node.root = node.state_directory.join("store/current");
                    node.install_in_store(&running)
                }
                Installation::Nothing => fs::create_dir_all(&node.temporary),
            }
            .map_err(io)?;
        }
        let fleet = directory.join("fleet.yaml");
        fs::write(&fleet, fleet_text(&nodes, version)).map_err(io)?;
        let cluster = Cluster {
            nodes,
            upshift: Upshift {
                fleet,
                packages,
                state: directory.join("operator"),
                environment: vec![("NO_COLOR".to_owned(), "1".to_owned())],
            },
            directory,
            _cleanup: cleanup,
            _temporary: temporary,
        };
        if installation != Installation::Nothing {
            cluster.start_all();
        }
        Ok(cluster)
    }

    fn start_all(&self) {
        std::thread::scope(|scope| {
            for node in &self.nodes {
                scope.spawn(|| node.start());
            }
        });
        let first = self.nodes[0].node_name();
        self.nodes[1..].iter().for_each(|node| node.join(&first));
        self.wait_complete(Duration::from_secs(30));
    }

    /// Everything lies below this directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Fails the test unless every node soon sees all others running.
    #[track_caller]
    pub fn wait_complete(&self, limit: Duration) {
        let complete = |node: &Node| {
            let status = node.ask("io:format(\"~p\", [emqx_cluster:status()])");
            let all = self
                .nodes
                .iter()
                .all(|other| status.contains(&format!("'{}'", other.node_name())));
            all && status.contains("stopped_nodes => []")
        };
        assert!(
            processes::poll(limit, || self.nodes.iter().all(complete)),
            "{:?}",
            self.nodes[0].ctl(&["cluster", "status"])
        );
    }

    /// Fails the test unless every node runs a version.
    #[track_caller]
    pub fn expect_running(&self, version: &str) {
        let running: Vec<Option<String>> = self.nodes.iter().map(Node::running).collect();
        assert_eq!(running, vec![Some(version.to_owned()); self.nodes.len()]);
    }

    /// The nodes' operating-system processes.
    pub fn pids(&self) -> Vec<Option<u32>> {
        self.nodes.iter().map(Node::pid).collect()
    }

    /// The text with the directory's name made plain, for comparing.
    pub fn replace(&self, text: &str) -> String {
        text.replace(&self.directory.display().to_string(), "[DIR]")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nothing of them is needed any more.
        processes::end_under(&self.directory, Duration::ZERO);
    }
}

/// The middle of loopback addresses that no other process of tests uses.
pub(super) fn own_network() -> [u8; 2] {
    let [low, high, ..] = std::process::id().to_le_bytes();
    [64 | (high & 63), low]
}

/// Nodes on 127.a.b.1, 127.a.b.2, …, all with the same ports.
fn lay_out(directory: &Path, count: u8, [a, b]: [u8; 2]) -> io::Result<Vec<Node>> {
    let addresses: Vec<Ipv4Addr> = (1..=count)
        .map(|number| Ipv4Addr::new(127, a, b, number))
        .collect();
    let [mqtt, tls, http, dashboard] = free_everywhere(&addresses)?;
    let node = |(position, address): (usize, &Ipv4Addr)| {
        let name = format!("n{}", position + 1);
        let home = directory.join(&name);
        Node {
            name,
            address: *address,
            root: home.join("emqx"),
            state_directory: home.join("upshift"),
            temporary: home.join("tmp"),
            mqtt,
            tls,
            http,
            dashboard,
        }
    };
    Ok(addresses.iter().enumerate().map(node).collect())
}

/// Four ports that nobody listens on at any of the addresses.
fn free_everywhere(addresses: &[Ipv4Addr]) -> io::Result<[u16; 4]> {
    for _ in 0..50 {
        let candidates = upshift_lab::ports::free(4)?;
        let free = |port: &u16| {
            addresses
                .iter()
                .all(|address| TcpListener::bind(SocketAddr::from((*address, *port))).is_ok())
        };
        if let ([a, b, c, d], true) = (&candidates[..], candidates.iter().all(free)) {
            return Ok([*a, *b, *c, *d]);
        }
    }
    Err(io::Error::other("no port is free at all addresses"))
}

/// The fleet file. JSON values are YAML, too.
fn fleet_text(nodes: &[Node], version: &str) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let mut text = format!(
        "name: brokers\nproducts:\n  emqx:\n    hosts: [{}]\nhosts:\n",
        names.join(", ")
    );
    for node in nodes {
        let variables = json!({
            "emqx_root": node.root,
            "emqx_user": "root",
            "emqx_tmp": node.temporary,
            "edition": if version.starts_with("ee-") { "ee" } else { "ce" },
            "otp": OTP,
        });
        text.push_str(&format!(
            "  {}:\n    transport: local\n    state_directory: {}\n    vars: {variables}\n",
            node.name,
            json!(node.state_directory)
        ));
    }
    text
}
