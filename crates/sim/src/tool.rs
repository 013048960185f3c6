//! The product's own command, as a person on a host would run it. It says 0 where it believes that it worked.

use serde_json::{Value, json};

use crate::data::{DataDirectory, Snapshot};
use crate::disk::File;
use crate::product::{self, Behaviour};
use crate::world::World;

/// What the command printed, and how it ended.
pub struct Printed {
    /// Exit status.
    pub exit: i32,
    /// Standard output, read.
    pub output: Value,
    /// Standard error.
    pub error: String,
}

fn printed(output: Value) -> Printed {
    Printed {
        exit: 0,
        output,
        error: String::new(),
    }
}

fn exits(exit: i32, error: impl Into<String>) -> Printed {
    Printed {
        exit,
        output: Value::Null,
        error: error.into(),
    }
}

impl World {
    /// Runs the command on a host.
    pub fn tool(&mut self, host: usize, argv: &[String]) -> Printed {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        if let ["grep", "-Ec", pattern, path] = words[..] {
            return self.grep_keys(host, pattern, path);
        }
        if words.first() != Some(&product::TOOL) {
            return exits(127, format!("{}: not found", argv.join(" ")));
        }
        match words[1..] {
            ["status"] => self.status(host),
            ["members"] => self.members(host),
            ["data-version"] => self.data_version(host),
            ["balancer", name] => {
                let drained = !self.planted.sticky_drain
                    && self
                        .host_named(name)
                        .is_some_and(|host| self.balancer.drained.contains(&host));
                printed(json!({"drained": drained, "paused": self.balancer.paused}))
            }
            ["drain", name] => self.set_drained(host, name, true),
            ["undrain", name] => self.set_drained(host, name, false),
            ["pause"] => self.set_paused(host, true),
            ["resume"] => self.set_paused(host, false),
            ["move-leader"] => self.move_leader(host),
            ["snapshot", path] => self.snapshot(host, path),
            ["verify", path] => self.verify(host, path),
            ["restore", path, directory] => self.restore(host, path, directory),
            ["install", version] => self.install(host, version),
            _ => exits(2, format!("usage: {} …", product::TOOL)),
        }
    }

    /// How the planner asks whether a file still has lines for some keys: as `grep` would answer.
    fn grep_keys(&self, host: usize, pattern: &str, path: &str) -> Printed {
        let Some(text) = self.hosts[host].disk.text(path) else {
            return exits(2, format!("{path}: no such file"));
        };
        let alternatives = pattern
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("", |(keys, _)| keys);
        let keys: Vec<String> = alternatives.split('|').map(|key| key.replace('\\', "")).collect();
        let count = text
            .lines()
            .filter(|line| keys.iter().any(|key| product::is_line_of(line, key)))
            .count();
        Printed {
            exit: i32::from(count == 0),
            output: json!(count.to_string()),
            error: String::new(),
        }
    }

    fn host_named(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }

    /// What the server says of itself.
    pub fn status(&self, host: usize) -> Printed {
        let Some(process) = self.hosts[host]
            .process
            .as_ref()
            .filter(|process| process.up_at <= self.now)
        else {
            return exits(1, "connection refused");
        };
        let lies = process.behaviour == Behaviour::LiesAboutVersion;
        let version = if lies { "9.9.9" } else { process.loaded.as_str() };
        let converting = (process.up_at + self.cluster.conversion).saturating_sub(self.now);
        let nothing = DataDirectory::default();
        let data = self.data(host).unwrap_or(&nothing);
        let goal = self
            .cluster
            .leader
            .and_then(|leader| self.data(leader))
            .map_or(0, |data| data.entries.count());
        printed(json!({
            "version": version,
            "serving": self.serves(host),
            "leader": self.cluster.leader == Some(host),
            "has_leader": self.in_leaders_group(host),
            "applied": data.entries.count(),
            "behind": goal.saturating_sub(data.entries.count()),
            "accounts": data.accounts,
            "cluster_version": data.cluster_version,
            "converting": converting > 0,
            "converted": self.cluster.conversion.saturating_sub(converting),
        }))
    }

    /// What the servers that can be reached from a host say.
    fn members(&self, host: usize) -> Printed {
        let mut serving = 0;
        let mut members = serde_json::Map::new();
        for other in 0..self.hosts.len() {
            let reachable = other == host || self.network.peers(host, other);
            let serves = reachable && self.serves(other);
            serving += u32::from(serves);
            members.insert(self.hosts[other].name.clone(), json!({"serving": serves}));
        }
        if self.planted.blind_gate {
            return printed(json!({"members": members, "serving": self.hosts.len(), "others_down": 0}));
        }
        let others_down = self.hosts.len() as u32 - serving - u32::from(!self.serves(host));
        printed(json!({"members": members, "serving": serving, "others_down": others_down}))
    }

    /// What the data directory and the balancer say of the point of no return, whether the server runs or not.
    fn data_version(&self, host: usize) -> Printed {
        if self.network.is_isolated(host) {
            return exits(1, "balancer: connection timed out");
        }
        let Some(data) = self.data(host) else {
            return exits(1, "no data directory");
        };
        printed(json!({
            "cluster_version": data.cluster_version,
            "format": data.format,
            "directory": self.hosts[host].disk.resolve(product::DATA_LINK),
            "paused": self.balancer.paused,
        }))
    }

    fn set_drained(&mut self, from: usize, name: &str, drained: bool) -> Printed {
        if self.network.is_isolated(from) {
            return exits(1, "balancer: connection timed out");
        }
        let Some(host) = self.host_named(name) else {
            return exits(1, format!("no server {name}"));
        };
        if drained {
            self.balancer.drained.insert(host);
        } else if !self.planted.sticky_drain {
            self.balancer.drained.remove(&host);
        }
        printed(Value::Null)
    }

    fn set_paused(&mut self, from: usize, paused: bool) -> Printed {
        if self.network.is_isolated(from) {
            return exits(1, "balancer: connection timed out");
        }
        if self.balancer.paused != paused {
            self.tell(from, || {
                if paused {
                    "pauses service".to_owned()
                } else {
                    "takes up service".to_owned()
                }
            });
        }
        self.balancer.paused = paused;
        printed(Value::Null)
    }

    fn move_leader(&mut self, host: usize) -> Printed {
        if self.cluster.leader != Some(host) {
            return exits(0, "not the leader");
        }
        let next = (0..self.hosts.len()).find(|&other| other != host && self.serves(other));
        match next {
            Some(next) if !self.record.leader_stays => {
                self.cluster.leader = Some(next);
                self.tell(next, || "leads".to_owned());
                printed(Value::Null)
            }
            // The tool says that it worked all the same: the proof finds out.
            _ => printed(Value::Null),
        }
    }

    fn snapshot(&mut self, host: usize, path: &str) -> Printed {
        if !self.is_up(host) {
            return exits(1, "connection refused");
        }
        if self.hosts[host].disk.full {
            return exits(1, "no space left on device");
        }
        let Some(data) = self.data(host).cloned() else {
            return exits(1, "no data directory");
        };
        let intact = !std::mem::take(&mut self.record.spoil_snapshot);
        self.hosts[host]
            .disk
            .files
            .insert(path.to_owned(), File::Snapshot(Snapshot { data, intact }));
        printed(Value::Null)
    }

    fn verify(&self, host: usize, path: &str) -> Printed {
        let disk = &self.hosts[host].disk;
        let Some(File::Snapshot(snapshot)) = disk.files.get(path) else {
            return exits(1, format!("{path}: no such snapshot"));
        };
        let count = |path: &str| disk.data(path).map_or(0, |data| data.entries.count());
        printed(json!({
            "intact": snapshot.intact,
            "entries": snapshot.data.entries.count(),
            "original": count(product::FIRST_DATA_DIRECTORY),
            "restored": count(product::DATA_LINK),
            "format": snapshot.data.format,
        }))
    }

    fn restore(&mut self, host: usize, path: &str, directory: &str) -> Printed {
        if self.hosts[host].process.is_some() {
            return exits(1, "the server runs");
        }
        if self.hosts[host].disk.full {
            return exits(1, "no space left on device");
        }
        let short = std::mem::take(&mut self.record.short_restore);
        let disk = &mut self.hosts[host].disk;
        let Some(File::Snapshot(snapshot)) = disk.files.get(path).cloned() else {
            return exits(1, format!("{path}: no such snapshot"));
        };
        let Some(data) = disk.data_mut(directory) else {
            return exits(1, format!("{directory}: no such directory"));
        };
        if data.format != 0 && data.generation == snapshot.data.generation {
            return exits(1, format!("{directory} is not empty"));
        }
        *data = DataDirectory {
            format: 4,
            generation: snapshot.data.generation + 1,
            cluster_version: "3.0.0".to_owned(),
            ..snapshot.data
        };
        if short {
            data.entries.lose_newest(30);
        }
        printed(Value::Null)
    }

    /// Installs a release in the running process.
    fn install(&mut self, host: usize, version: &str) -> Printed {
        if !self.hosts[host].disk.releases.contains_key(version) {
            return exits(1, format!("release {version} is not unpacked"));
        }
        let behaviour = self.behaviours.of(host, version);
        let crash_at = match behaviour {
            Behaviour::CrashesAfter(time) => Some(self.now + time),
            _ => None,
        };
        let Some(process) = self.hosts[host].process.as_mut() else {
            return exits(3, "it does not run");
        };
        version.clone_into(&mut process.loaded);
        process.half_changed = behaviour == Behaviour::BrokenCodeChange;
        process.behaviour = behaviour;
        process.crash_at = crash_at;
        self.tell(host, || format!("installs {version} in the running process"));
        printed(Value::Null)
    }
}
