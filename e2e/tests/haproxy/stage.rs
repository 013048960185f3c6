//! Three members of the lab server behind a load balancer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::NoVerdict;
use upshift_e2e::program::Upshift;
use upshift_lab::balancer::Balancer;
use upshift_lab::cluster::Member;
use upshift_lab::fetch::{self, Cache, Unavailable};
use upshift_lab::processes;

/// What every client says first.
pub const GREETING: &str = "GET /version HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n";

/// A cluster behind HAProxy.
pub struct Stage {
    /// The cluster, with an operator whose fleet knows no load balancer.
    pub fixture: Fixture,
    /// The load balancer.
    pub balancer: Balancer,
}

impl Stage {
    /// Three members of release 1.0.0 behind HAProxy, where it can be had.
    pub fn new() -> Result<Self, NoVerdict> {
        let failed = |error: std::io::Error| Unavailable::new("HAProxy", error);
        let cache = Cache::open().map_err(failed)?;
        let haproxy = fetch::haproxy(&cache, &|text| println!("{text}"))?;
        let fixture = Fixture::lab();
        let servers: Vec<(String, String)> = fixture
            .cluster
            .members()
            .iter()
            .map(|member| (member.name.clone(), member.endpoint()))
            .collect();
        let directory = fixture.directory().join("balancer");
        let balancer =
            Balancer::start(&haproxy, &directory, &servers).unwrap_or_else(|error| panic!("{error}"));
        Ok(Stage { fixture, balancer })
    }

    /// The operator, with a fleet that has the load balancer as a host.
    pub fn with_host(&self) -> Upshift {
        let variables = json!({ "haproxy_socket": self.balancer.socket(), "haproxy_patience": "500ms" });
        with_load_balancer(&self.fixture, &variables)
    }

    /// The operator, with a fleet whose servers speak to the load balancer themselves.
    pub fn with_servers(&self) -> Upshift {
        let socket = format!("127.0.0.1:{}", self.balancer.runtime_port);
        let variables = json!({ "haproxy_socket": socket, "haproxy_patience": "500ms" });
        let text = self.fixture.cluster.fleet_text("lab");
        let text = format!("{text}defaults:\n  vars: {variables}\n");
        operator(&self.fixture, "servers.yaml", &text)
    }

    /// The states of n1, n2 and n3 as HAProxy names them, once none of its own looks at a server is halfway (`UP 1/2`).
    #[track_caller]
    pub fn states(&self) -> Vec<String> {
        let mut states = Vec::new();
        processes::poll(Duration::from_secs(10), || {
            states = self.balancer.states().expect("HAProxy answers");
            !states.iter().any(|state| state.contains('/'))
        });
        states
    }

    /// Tells HAProxy about a member, as an operator does.
    #[track_caller]
    pub fn set(&self, member: &str, state: &str) {
        let command = format!(
            "set server {}/{member} state {state}",
            upshift_lab::balancer::BACKEND
        );
        assert_eq!(self.balancer.tell(&command).expect("HAProxy answers").trim(), "");
    }
}

/// An operator whose fleet has a host `lb1` in the product's group, with the role of a load balancer.
pub fn with_load_balancer(fixture: &Fixture, variables: &Value) -> Upshift {
    let names: Vec<&str> = fixture.cluster.members().iter().map(name).collect();
    let names = names.join(", ");
    let text = fixture.cluster.fleet_text("lab");
    let listed = text.replace(&format!("hosts: [{names}]"), &format!("hosts: [{names}, lb1]"));
    assert_ne!(text, listed);
    let state = json!(fixture.directory().join("lb1"));
    let host = format!(
        "  lb1:\n    transport: local\n    roles: [load_balancer]\n    state_directory: {state}\n    vars: {variables}\n"
    );
    operator(fixture, "balanced.yaml", &format!("{listed}{host}"))
}

fn name(member: &Member) -> &str {
    &member.name
}

fn operator(fixture: &Fixture, file: &str, text: &str) -> Upshift {
    let path = fixture.directory().join(file);
    write(&path, text);
    fixture.upshift.with_fleet(&path)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file is written");
}

/// Arguments of an upgrade that asks nothing and takes little time.
pub fn to(version: &str) -> Vec<String> {
    let words = [
        "upgrade",
        "--yes",
        "--accept-no-return",
        "--soak",
        "1s",
        "--soak-between",
        "100ms",
        "--to",
        version,
    ];
    words.map(str::to_owned).to_vec()
}
