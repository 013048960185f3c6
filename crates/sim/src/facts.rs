//! The facts of the simulated fleet, observed as a controller would observe them before planning.

use std::collections::BTreeMap;

use upshift_model::facts::{Facts, HostFacts, NodeFacts};
use upshift_model::fleet::{Fleet, Host, Transport};
use upshift_model::probe::Probe;
use upshift_model::profile::Profile;
use upshift_model::template;

use crate::disk::{DISK_TOTAL, digest};
use crate::product;
use crate::world::World;

/// The agent's state directory on every simulated host.
pub const STATE_DIRECTORY: &str = "/var/lib/upshift";

impl World {
    /// The host itself.
    pub fn host_facts(&self, host: usize) -> HostFacts {
        let machine = &self.hosts[host];
        HostFacts {
            os: "debian12".to_owned(),
            arch: "amd64".to_owned(),
            state_directory: STATE_DIRECTORY.to_owned(),
            disk_free: machine.disk.free(),
            disk_total: DISK_TOTAL,
            memory_available: 8_000_000_000,
            clock_offset_ms: machine.clock_ahead,
            systemd: true,
            host_name: machine.name.clone(),
            releases: machine.disk.releases.clone(),
            cached: machine.disk.packages.keys().cloned().collect(),
            agent: "simulated".to_owned(),
            restic: String::new(),
        }
    }

    /// The fleet file.
    pub fn fleet(&self) -> Fleet {
        let host = || Host {
            groups: ["ledger".to_owned()].into(),
            roles: ["server".to_owned()].into(),
            transport: Transport::Local,
            ..Host::default()
        };
        Fleet {
            name: "simulated".to_owned(),
            accepted: Vec::new(),
            package_keys: Vec::new(),
            hosts: self
                .hosts
                .iter()
                .map(|machine| (machine.name.clone(), host()))
                .collect(),
        }
    }

    /// Everything that planning needs to know.
    pub fn facts(&mut self, profile: &Profile) -> Facts {
        let nodes =
            (0..self.hosts.len()).map(|host| (self.hosts[host].name.clone(), self.node_facts(host, profile)));
        Facts {
            nodes: nodes.collect(),
            ..Facts::default()
        }
    }

    fn node_facts(&mut self, host: usize, profile: &Profile) -> NodeFacts {
        let name = self.hosts[host].name.clone();
        let places: BTreeMap<String, String> = [
            ("config", product::CONFIG_FILE),
            ("data", product::DATA_LINK),
            ("old_data", product::FIRST_DATA_DIRECTORY),
        ]
        .map(|(name, path)| (name.to_owned(), path.to_owned()))
        .into();
        let context = serde_json::json!({
            "node": {"name": name}, "places": places, "state_directory": STATE_DIRECTORY, "from": "", "to": "", "want": "",
            "run": "", "hop": 0,
        });
        let mut probes = BTreeMap::new();
        for (name, probe) in &profile.probes {
            let value = match template::render::<Probe>(probe, &context) {
                Ok(probe) => self.observe(host, "", &probe),
                Err(error) => Err(upshift_model::probe::ProbeFailure::Failed(error.to_string())),
            };
            let value = value.unwrap_or_else(|failure| serde_json::json!({"error": format!("{failure:?}")}));
            probes.insert(name.clone(), value);
        }
        let config = self.hosts[host]
            .disk
            .files
            .get(product::CONFIG_FILE)
            .map(digest)
            .unwrap_or_default();
        NodeFacts {
            host: self.host_facts(host),
            version: self.hosts[host]
                .process
                .as_ref()
                .map(|process| process.loaded.clone()),
            variant: [("os", "debian12"), ("arch", "amd64")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into(),
            place_sources: places
                .keys()
                .map(|name| (name.clone(), "default".to_owned()))
                .collect(),
            places,
            leader: self.cluster.leader == Some(host),
            probes,
            config_digests: [("config".to_owned(), config)].into(),
            ..NodeFacts::default()
        }
    }
}
