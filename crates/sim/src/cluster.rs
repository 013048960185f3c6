//! The servers as a cluster: leadership, replication, acknowledged writes, the cluster version.

use crate::data::DataDirectory;
use crate::product::{self, Behaviour};
use crate::world::World;

/// How long a cluster without a leader needs to elect one, in milliseconds.
const ELECTION: u64 = 1_000;
/// Entries that a server catches up with per tick.
const CATCH_UP: u64 = 40;
/// How long all members must support a higher cluster version before it rises.
const RISE: u64 = 2_000;

impl World {
    /// Whether a server is up and able to take part.
    pub fn is_up(&self, host: usize) -> bool {
        let machine = &self.hosts[host];
        let Some(process) = machine.process.as_ref() else {
            return false;
        };
        process.up_at <= self.now && !process.half_changed && process.behaviour != Behaviour::NeverHealthy
    }

    /// Whether a server serves: it is up, knows the leader, has caught up and can write.
    pub fn serves(&self, host: usize) -> bool {
        self.is_up(host)
            && self.in_leaders_group(host)
            && !self.hosts[host].disk.full
            && self.hosts[host]
                .process
                .as_ref()
                .is_some_and(|process| process.caught_up)
    }

    /// Whether a server is connected and takes over what it has missed, slowly: the fault that makes it slow has no end.
    pub fn still_recovers(&self, host: usize) -> bool {
        let slow = |process: &crate::host::Process| matches!(process.behaviour, Behaviour::SlowRecovery(_));
        self.is_up(host)
            && self.in_leaders_group(host)
            && !self.hosts[host].disk.full
            && self.hosts[host].process.as_ref().is_some_and(slow)
    }

    /// Whether a server is connected to a leader.
    pub fn in_leaders_group(&self, host: usize) -> bool {
        self.cluster
            .leader
            .is_some_and(|leader| self.are_peers(leader, host))
    }

    /// The smallest majority.
    pub fn majority(&self) -> usize {
        self.hosts.len() / 2 + 1
    }

    fn are_peers(&self, one: usize, other: usize) -> bool {
        if !self.is_up(one) || !self.is_up(other) {
            return false;
        }
        if one == other {
            return true;
        }
        let (Some(mine), Some(theirs)) = (self.data(one), self.data(other)) else {
            return false;
        };
        let wire = |host: usize| {
            self.hosts[host]
                .process
                .as_ref()
                .map(|process| product::release(&process.loaded).wire)
        };
        let speak = match (wire(one), wire(other)) {
            (Some(a), Some(b)) => a.start() <= b.end() && b.start() <= a.end(),
            _ => false,
        };
        speak && mine.generation == theirs.generation && self.network.peers(one, other)
    }

    /// The data directory that a host's link points at.
    pub fn data(&self, host: usize) -> Option<&DataDirectory> {
        self.hosts[host].disk.data(product::DATA_LINK)
    }

    fn data_mut(&mut self, host: usize) -> Option<&mut DataDirectory> {
        self.hosts[host].disk.data_mut(product::DATA_LINK)
    }

    fn count(&self, host: usize) -> u64 {
        self.data(host).map_or(0, |data| data.entries.count())
    }

    fn group(&self, leader: usize) -> Vec<usize> {
        (0..self.hosts.len())
            .filter(|&host| self.are_peers(leader, host))
            .collect()
    }

    /// Servers, clients and guards move on by one tick.
    pub fn tick(&mut self) {
        (0..self.hosts.len()).for_each(|host| self.process_moves_on(host));
        self.elect();
        if let Some(leader) = self.cluster.leader {
            let group = self.group(leader);
            self.replicate(leader, &group);
            self.raise_cluster_version(leader, &group);
            self.client_writes(leader, &group);
        }
        for host in 0..self.hosts.len() {
            self.note_service(host);
            self.guard_looks(host);
            self.pump(host);
            self.note_truth(host);
        }
    }

    fn process_moves_on(&mut self, host: usize) {
        let now = self.now;
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let ended = process.ends_at.is_some_and(|at| at <= now);
        let crashed = process.crash_at.is_some_and(|at| at <= now);
        if ended || crashed {
            let version = process.loaded.clone();
            self.hosts[host].process = None;
            self.hosts[host].ended = true;
            if crashed && !ended {
                self.cluster.died.insert(host, now);
                self.hosts[host].log.push("FATAL crashed".to_owned());
                self.tell(host, || format!("ledger {version} crashes"));
            } else {
                self.tell(host, || format!("ledger {version} has ended"));
            }
        }
    }

    fn note_service(&mut self, host: usize) {
        let now = self.now;
        if self.serves(host) {
            if self.hosts[host].not_serving_since.take().is_some() {
                let version = self.hosts[host]
                    .process
                    .as_ref()
                    .map_or_else(String::new, |p| p.loaded.clone());
                self.tell(host, || format!("ledger {version} serves"));
            }
            self.hosts[host].stopped_by_us = false;
            self.cluster.died.remove(&host);
        } else {
            self.hosts[host].not_serving_since.get_or_insert(now);
        }
    }

    /// Whether a leader has gone a moment ago, and the others may elect one yet.
    pub fn elects(&self) -> bool {
        self.cluster.leader.is_none() && self.now < self.cluster.leaderless_since + 2 * ELECTION
    }

    fn elect(&mut self) {
        if let Some(leader) = self.cluster.leader {
            if self.is_up(leader) && self.group(leader).len() >= self.majority() {
                return;
            }
            self.cluster.leader = None;
            self.cluster.leaderless_since = self.now;
        }
        if self.now < self.cluster.leaderless_since + ELECTION {
            return;
        }
        let mut candidates: Vec<usize> = (0..self.hosts.len()).filter(|&host| self.is_up(host)).collect();
        candidates.sort_by_key(|&host| (std::cmp::Reverse(self.count(host)), host));
        let elected = candidates.into_iter().find(|&candidate| {
            let own = self.count(candidate);
            let votes = self
                .group(candidate)
                .into_iter()
                .filter(|&voter| self.count(voter) <= own)
                .count();
            votes >= self.majority()
        });
        if let Some(leader) = elected {
            self.cluster.leader = Some(leader);
            self.tell(leader, || "leads".to_owned());
        }
    }

    fn replicate(&mut self, leader: usize, group: &[usize]) {
        let Some(truth) = self.data(leader).cloned() else {
            return;
        };
        let goal = truth.entries.count();
        // Who was cut off does not know what it has missed, until it has heard of the leader again.
        for (host, machine) in self.hosts.iter_mut().enumerate() {
            if let Some(process) = machine.process.as_mut().filter(|_| !group.contains(&host)) {
                process.caught_up = false;
            }
        }
        for &host in group {
            let slower = match self.hosts[host].process.as_ref().map(|process| process.behaviour) {
                Some(Behaviour::SlowRecovery(factor)) => factor.max(1),
                _ => 1,
            };
            if host != leader && !self.hosts[host].disk.full {
                self.follow(host, &truth, CATCH_UP / slower);
            }
            let caught_up = self.count(host) == goal;
            if let Some(process) = self.hosts[host].process.as_mut() {
                process.caught_up = caught_up;
            }
        }
    }

    /// A follower takes over what the leader has, so many entries at a time.
    fn follow(&mut self, host: usize, truth: &DataDirectory, entries: u64) {
        let Some(data) = self.data_mut(host) else { return };
        if data.entries != truth.entries {
            let mine = if data.entries.begins(&truth.entries) {
                data.entries.count()
            } else {
                0
            };
            data.entries = truth.entries.prefix(mine + entries.max(1));
        }
        data.cluster_version.clone_from(&truth.cluster_version);
        data.format = truth.format;
        data.accounts = truth.accounts;
    }

    /// Once every member has run a release that supports it for a while, the cluster version rises: no return.
    fn raise_cluster_version(&mut self, leader: usize, group: &[usize]) {
        let target = |world: &World, host: usize| {
            let loaded = &world.hosts[host].process.as_ref()?.loaded;
            product::release(loaded).raises_to
        };
        let Some(raised) = target(self, leader) else {
            return;
        };
        let risen = self
            .data(leader)
            .is_none_or(|data| data.cluster_version == raised);
        let all =
            group.len() == self.hosts.len() && group.iter().all(|&host| target(self, host) == Some(raised));
        if risen || !all {
            self.cluster.may_rise_since = None;
            return;
        }
        let since = *self.cluster.may_rise_since.get_or_insert(self.now);
        if self.now >= since + RISE {
            for &host in group {
                if let Some(data) = self.data_mut(host) {
                    raised.clone_into(&mut data.cluster_version);
                    data.format = 2;
                }
            }
            self.tell(leader, || {
                format!("raises the cluster version to {raised}: no rollback to older releases")
            });
        }
    }

    fn client_writes(&mut self, leader: usize, group: &[usize]) {
        if self.balancer.paused || self.hosts[leader].disk.full {
            return;
        }
        let goal = self.count(leader);
        let ready: Vec<usize> = group
            .iter()
            .copied()
            .filter(|&host| !self.hosts[host].disk.full && self.count(host) == goal)
            .collect();
        let reachable = group.iter().any(|host| !self.balancer.drained.contains(host));
        let ready = if self.planted.careless_commits {
            vec![leader]
        } else {
            ready
        };
        let enough = ready.len() >= self.majority() || self.planted.careless_commits;
        if !enough || !reachable {
            return;
        }
        let write = self.record.next_write;
        self.record.next_write += 1;
        for host in ready {
            if let Some(data) = self.data_mut(host) {
                data.entries.push(write);
            }
        }
        self.record.acknowledged.push(write);
    }
}
