//! One server's process: how it starts, and why it may refuse to.

use crate::host::Process;
use crate::product::{self, Behaviour};
use crate::world::World;

impl World {
    /// Starts the server of a host, as its service manager would: nothing is said where it does not come up.
    pub fn start_server(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        let version = self.hosts[host].disk.current.clone();
        let behaviour = self.behaviours.of(host, &version);
        if let Some(reason) = self.refusal(host, &version, behaviour) {
            self.hosts[host].log.push(format!("FATAL {reason}"));
            self.hosts[host].ended = true;
            self.tell(host, || format!("ledger {version} does not start: {reason}"));
            return;
        }
        self.prepare_data(host, &version, behaviour);
        let release = product::release(&version);
        let start_time = match behaviour {
            Behaviour::SlowStart(time) => time,
            _ => release.start_time,
        };
        let up_at = if self.now == 0 { 0 } else { self.now + start_time };
        let crash_at = match behaviour {
            Behaviour::CrashesAfter(time) => Some(up_at + time),
            _ => None,
        };
        let pid = self.number() as u32;
        self.tell(host, || format!("ledger {version} starts"));
        self.hosts[host].process = Some(Process {
            pid,
            executable: version.clone(),
            loaded: version,
            behaviour,
            up_at,
            crash_at,
            ends_at: None,
            half_changed: false,
            caught_up: false,
        });
    }

    fn refusal(&self, host: usize, version: &str, behaviour: Behaviour) -> Option<String> {
        if behaviour == Behaviour::DoesNotStart {
            return Some("exits at once".to_owned());
        }
        let disk = &self.hosts[host].disk;
        if !disk.releases.contains_key(version) {
            return Some(format!("release {version} is not unpacked"));
        }
        let release = product::release(version);
        let config = disk.text(product::CONFIG_FILE).unwrap_or("");
        if let Some(key) = release.needs_key.filter(|key| !product::has_key(config, key)) {
            return Some(format!("configuration lacks {key}"));
        }
        if let Some(key) = release.rejects_key.filter(|key| product::has_key(config, key)) {
            return Some(format!("configuration has unknown key {key}"));
        }
        let Some(data) = self.data(host) else {
            return Some("no data directory".to_owned());
        };
        if data.format != 0 && !release.reads.contains(&data.format) {
            return Some(format!("cannot read data of format {}", data.format));
        }
        None
    }

    fn prepare_data(&mut self, host: usize, version: &str, behaviour: Behaviour) {
        let others_start = (0..self.hosts.len()).any(|other| {
            let process = self.hosts[other].process.as_ref();
            other != host
                && process.is_some_and(|process| process.up_at > self.now && process.loaded == version)
        });
        let release = product::release(version);
        let others_have_it = self.cluster.leader.is_some_and(|leader| leader != host);
        let Some(data) = self.hosts[host].disk.data_mut(product::DATA_LINK) else {
            return;
        };
        if data.format == 0 {
            data.format = release.writes;
            data.generation = 99;
            data.cluster_version = "0.0.0".to_owned();
        }
        match behaviour {
            // It fetches much of its log anew from the others.
            Behaviour::SlowRecovery(_) if others_have_it => data.entries.lose_newest(300),
            Behaviour::LosesData => data.entries.lose_newest(50),
            Behaviour::WipesAccounts if others_start => data.accounts = 0,
            _ => {}
        }
    }

    /// Asks the server of a host to end.
    pub fn ask_server_to_end(&mut self, host: usize) {
        let now = self.now;
        let time = self.rng.between(200, 1_500);
        let Some(process) = self.hosts[host].process.as_mut() else {
            return;
        };
        let version = process.loaded.clone();
        if process.behaviour == Behaviour::IgnoresTerm {
            self.tell(host, || format!("ledger {version} ignores the request to end"));
        } else {
            process.ends_at.get_or_insert(now + time);
        }
    }

    /// The server of a host dies by itself or by somebody else's hand.
    pub fn server_dies(&mut self, host: usize, why: &str) {
        if self.hosts[host].process.take().is_some() {
            self.cluster.died.insert(host, self.now);
            self.hosts[host].ended = true;
            self.tell(host, || format!("the server dies: {why}"));
        }
    }
}
