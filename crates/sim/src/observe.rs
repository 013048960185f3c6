//! Probes on a host.

use serde_json::{Value, json};
use upshift_model::facts::ReleaseStatus;
use upshift_model::probe::{Observation, Probe, ProbeFailure};

use crate::disk::{DISK_TOTAL, File, digest};
use crate::product::Behaviour;
use crate::world::World;

fn refused(reason: impl Into<String>) -> Observation {
    Err(ProbeFailure::Failed(reason.into()))
}

impl World {
    /// What a probe yields on a host.
    pub fn observe(&mut self, host: usize, run: &str, probe: &Probe) -> Observation {
        match probe {
            Probe::Process(_) => Ok(self.process_facts(host)),
            Probe::Command(command) => {
                let printed = self.tool(host, &command.argv);
                Ok(json!({"exit": printed.exit, "value": printed.output, "stderr": printed.error}))
            }
            Probe::Http(http) => refused(format!("{}: connection refused", http.url)),
            Probe::Connect(probe) => refused(format!("{}: connection refused", probe.address)),
            Probe::Haproxy(probe) => refused(format!("{}: connection refused", probe.socket)),
            Probe::Installed(probe) => refused(format!("no {} here", probe.manager)),
            Probe::Connections(_) => {
                Ok(json!({"running": true, "count": 0, "peers": [], "of": 0, "kept": 0}))
            }
            Probe::File(path) => Ok(self.file_facts(host, path)),
            Probe::Releases => {
                let disk = &self.hosts[host].disk;
                let mut releases = disk.releases.clone();
                if self.planted.unpack_nothing {
                    let targets = self
                        .plan
                        .hops
                        .iter()
                        .map(|hop| (hop.to.clone(), ReleaseStatus::Unpacked));
                    releases.extend(targets);
                }
                Ok(json!({"current": disk.current, "permanent": disk.current, "releases": releases}))
            }
            Probe::Saved(name) => Ok(self.saved_facts(host, run, name)),
            Probe::Snapshot(_) => Ok(json!({"exists": false, "proven": false, "reason": null})),
            Probe::MergedConfig(_) => {
                Ok(json!({"clean": true, "changed": false, "diff": "", "conflicts": []}))
            }
            Probe::Guard => {
                let machine = &self.hosts[host];
                let latest = machine.disk.guards.values().rfind(|guard| guard.key.run == run);
                let status = latest.map(|guard| guard.status(&machine.clocks(self.now)));
                let status = status.unwrap_or(upshift_model::action::GuardStatus::Absent);
                serde_json::to_value(status).map_err(|error| ProbeFailure::Failed(error.to_string()))
            }
            Probe::Records(path) => refused(format!("{path}: no such file")),
            Probe::Needs(_) => {
                Ok(json!({"programs": [], "unreadable": [], "unwritable": [], "busy": [], "automatic": []}))
            }
            Probe::Usage(_) => Ok(json!({"bytes": 0, "files": 0})),
            Probe::Disk(_) => Ok(json!({"free": self.hosts[host].disk.free(), "total": DISK_TOTAL})),
            Probe::Log(log) => {
                let lines = &self.hosts[host].log;
                let bad = |line: &&String| log.patterns.iter().any(|pattern| line.contains(pattern.as_str()));
                let matches: Vec<&String> = lines.iter().filter(bad).collect();
                Ok(json!({"count": matches.len(), "matches": matches}))
            }
            Probe::Host => {
                let facts = self.host_facts(host);
                serde_json::to_value(facts).map_err(|error| ProbeFailure::Failed(error.to_string()))
            }
        }
    }

    fn process_facts(&self, host: usize) -> Value {
        let machine = &self.hosts[host];
        if self.planted.read_the_link {
            let current = &machine.disk.current;
            return json!({"running": true, "pid": 1, "exe": null, "replaced": null, "release": current, "uptime_ms": 1, "version": current});
        }
        let Some(process) = &machine.process else {
            let last = machine.log.len().saturating_sub(3);
            return json!({
                "running": false, "pid": null, "exe": null, "replaced": null, "release": null, "uptime_ms": null, "version": null,
                "ended": machine.ended, "log": machine.log[last..],
            });
        };
        let lies = process.behaviour == Behaviour::LiesAboutVersion;
        json!({
            "running": true,
            "pid": process.pid,
            "exe": format!("/var/lib/upshift/store/releases/{}/bin/ledger", process.executable),
            "replaced": false,
            "release": process.executable,
            "uptime_ms": self.now.saturating_sub(process.up_at),
            "version": if lies { "9.9.9" } else { process.executable.as_str() },
        })
    }

    fn file_facts(&self, host: usize, path: &str) -> Value {
        match self.hosts[host].disk.files.get(path) {
            None => json!({"exists": false, "kind": null, "size": 0, "sha256": null, "target": null}),
            Some(File::Link(target)) => {
                json!({"exists": true, "kind": "link", "size": 0, "sha256": null, "target": target})
            }
            Some(file) => {
                let kind = if matches!(file, File::Data(_)) {
                    "directory"
                } else {
                    "file"
                };
                json!({"exists": true, "kind": kind, "size": 1, "sha256": digest(file), "target": null})
            }
        }
    }

    fn saved_facts(&self, host: usize, run: &str, name: &str) -> Value {
        let disk = &self.hosts[host].disk;
        let saved = disk
            .saved
            .get(&(run.to_owned(), name.to_owned()))
            .filter(|saved| saved.finished);
        let Some(saved) = saved else {
            return json!({"exists": false, "identical": false, "sha256": null, "files": 0});
        };
        let identical = saved
            .files
            .iter()
            .all(|(path, file)| disk.files.get(path) == file.as_ref());
        let digests: Vec<String> = saved.files.values().flatten().map(digest).collect();
        json!({"exists": true, "identical": identical, "sha256": digests.join(""), "files": saved.files.len()})
    }
}
