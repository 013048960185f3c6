//! A made-up product for tests of the engine, the simulator and the planner: `ledger`, a small replicated key-value ledger.
//!
//! [`profile()`] is its profile, [`fleet`] and [`facts`] a healthy cluster of any size, [`artifact`] a package and
//! [`request`] an order for one. Its versions reach every strategy:
//!
//! | from | to | strategy | point of no return |
//! |---|---|---|---|
//! | 1.0.x | 1.0.x | hot | |
//! | 1.0.x | 1.1.x | rolling | |
//! | 1.1.x | 1.1.x | rolling | |
//! | 1.1.x | 1.2.x | rolling | yes: `cluster_version` rises to the new version when all servers run it |
//! | 1.1.x, 1.2.x | 2.0.x | switch | |
//! | 2.0.x | 3.0.x | rebuild | |
//!
//! 1.1.1 is blocked (`ledger-lost-writes`, mended in 1.1.2). One server may be down at once, a majority must stay up,
//! three servers are the fewest, and two zones (label `zone`) are never disturbed in one batch.
//!
//! # What its probes yield
//! - `process`: [`upshift_model::probe::Probe::Process`] of the service: `{running, pid, exe, replaced, release, uptime_ms, version}`.
//! - `status`: HTTP GET of `http://NAME/status`: `{status: 200, value: {…}}` with
//!   `version` (text; of the running code), `healthy` (it serves and knows a leader), `leader` (bool), `members` and
//!   `members_up` (numbers, as this server sees them), `applied` and `commit` (positions in the log), `wire` (number; version
//!   of the wire format), `cluster_version` (text; the format that all agreed upon), `drained` (takes no clients), `paused` (the
//!   cluster accepts no writes), `permanent` (text; the release that a restart would run), `converting` (background work).
//!   A server that is down does not answer: the probe fails.
//! - `data_link`: [`upshift_model::probe::Probe::File`] of the data directory, which is a link to `DATA_DIR-VERSION`.
//! - `snapshot`, `final_snapshot`: a command with JSON output, `{exit, value: {exists, verified, entries, loaded, format}}`: whether
//!   the snapshot `before-TO` or `final-TO` exists and was proven to restore, how many entries it has, and how many of them
//!   this server has loaded (0 before `load`).
//!
//! # What its commands do
//! All are `ledgerctl WORD …` on a host: `drain`, `undrain`, `transfer-leader`, `pause` and `resume` (the whole cluster, asked of one
//! server), `snapshot NAME`, `load NAME` (into the empty cluster, asked of one server), `install VERSION` and `make-permanent VERSION`
//! (hot), `snapshot-info NAME` (the probe). Each is idempotent. Data directories are switched with the action `relink`, files
//! with the defaults of the planner: `stop`, `save` and `restore` of the configuration file, `switch`, `start`, and from 2.0.0
//! on an edit that drops the key `legacy_mode` from it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use upshift_model::action::Artifact;
use upshift_model::facts::{Facts, HostFacts, NodeFacts, ReleaseStatus};
use upshift_model::fleet::{Fleet, Host};
use upshift_model::profile::{self, Profile};

use crate::Request;

/// The text of the profile, as its author wrote it.
pub const LEDGER: &str = include_str!("ledger.yaml");

/// The profile of `ledger`.
///
/// # Panics
/// Never: the profile is part of the crate.
pub fn profile() -> Profile {
    profile::parse("ledger.yaml", LEDGER).unwrap_or_else(|errors| panic!("the profile of ledger: {errors:?}"))
}

/// Name of the server at a position, counted from 1; names sort as positions do, up to 99,999 servers.
pub fn name(position: usize) -> String {
    format!("n{position:05}")
}

/// A fleet of so many servers, named `n00001` and so on, spread over three zones.
pub fn fleet(servers: usize) -> Fleet {
    let hosts = (1..=servers).map(|position| {
        let host = Host {
            groups: ["ledger".to_owned()].into(),
            labels: [("zone".to_owned(), format!("zone-{}", (position - 1) % 3))].into(),
            variables: [("rank".to_owned(), json!(position))].into(),
            ..Host::default()
        };
        (name(position), host)
    });
    Fleet {
        name: "test".to_owned(),
        hosts: hosts.collect(),
        accepted: Vec::new(),
        package_keys: Vec::new(),
    }
}

/// Facts of a healthy cluster: every server runs `version` from its release store, and the first one leads.
pub fn facts(servers: usize, version: &str) -> Facts {
    let nodes = (1..=servers)
        .map(|position| (name(position), node_facts(position, servers, version)))
        .collect();
    Facts {
        nodes,
        ..Facts::default()
    }
}

/// Facts of one server of a healthy cluster.
pub fn node_facts(position: usize, servers: usize, version: &str) -> NodeFacts {
    let leader = position == 1;
    NodeFacts {
        unreachable: None,
        unlocated: None,
        host: HostFacts {
            os: "debian12".to_owned(),
            arch: "amd64".to_owned(),
            state_directory: "/var/lib/upshift".to_owned(),
            disk_free: 10_000_000_000,
            disk_total: 40_000_000_000,
            memory_available: 4_000_000_000,
            host_name: name(position),
            releases: [(version.to_owned(), ReleaseStatus::Permanent)].into(),
            ..HostFacts::default()
        },
        version: Some(version.to_owned()),
        variant: variant(),
        places: [
            ("config".to_owned(), "/etc/ledger.conf".to_owned()),
            ("data_dir".to_owned(), "/var/lib/ledger/data".to_owned()),
        ]
        .into(),
        place_sources: BTreeMap::new(),
        leader,
        probes: [("status".to_owned(), status(version, leader, servers))].into(),
        config_digests: [("config".to_owned(), "c0ffee".to_owned())].into(),
    }
}

/// What the probe `status` yields of a healthy server.
pub fn status(version: &str, leader: bool, servers: usize) -> Value {
    json!({"status": 200, "value": {
        "version": version, "healthy": true, "leader": leader, "members": servers, "members_up": servers,
        "applied": 100, "commit": 100, "wire": 1, "cluster_version": version, "drained": false, "paused": false,
        "permanent": version, "converting": false,
    }})
}

/// The package of a version, 20 MB large, for the hosts of [`facts`].
pub fn artifact(version: &str) -> Artifact {
    Artifact {
        file_name: format!("ledger-{version}-debian12-amd64.tar.gz"),
        version: version.to_owned(),
        variant: variant(),
        sha256: crate::fingerprint::digest(version.as_bytes()),
        size: 20_000_000,
    }
}

/// A request to reach a version, with the packages of these versions at hand (the target's always is).
pub fn request(to: &str, at_hand: &[&str]) -> Request {
    let mut artifacts: Vec<Artifact> = at_hand.iter().map(|version| artifact(version)).collect();
    if !at_hand.contains(&to) {
        artifacts.push(artifact(to));
    }
    Request {
        to: to.to_owned(),
        artifacts,
        ..Request::default()
    }
}

fn variant() -> BTreeMap<String, String> {
    [
        ("os".to_owned(), "debian12".to_owned()),
        ("arch".to_owned(), "amd64".to_owned()),
    ]
    .into()
}
