//! A member's state, and what changes it. No I/O but the disk; threads and the network are elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::config::Config;
use super::log::{Ballot, Change, Disk, Entry};
use super::manifest::{self, Manifest};
use super::wire::{AppendAnswer, AppendRequest, VoteAnswer, VoteRequest};

/// How often a leader speaks when it has nothing to say.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(40);
/// The least time without a leader before an election.
pub(super) const ELECTION: Duration = Duration::from_millis(200);

/// What a member is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Follower,
    Candidate,
    Leader,
}

/// What a leader knows of another member.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub next: u64,
    pub matched: u64,
    pub heard: Option<Instant>,
    pub version: String,
}

/// A member.
pub(super) struct Core {
    pub config: Config,
    pub manifest: Manifest,
    pub disk: Disk,
    pub ballot: Ballot,
    pub role: Role,
    pub leader: Option<String>,
    pub peers: BTreeMap<String, Peer>,
    pub commit: u64,
    pub applied: u64,
    /// Entries up to here were on disk when a release that loses data started; it never applies them.
    lost: u64,
    /// When to stand for election.
    pub stand_at: Instant,
    /// The commit index that the leader had when this member first heard of it; reached, it has recovered.
    recover_to: Option<u64>,
    recovered: bool,
    started: Instant,
    pub values: BTreeMap<String, String>,
    /// Hash of all writes up to each revision; revision 0 first.
    hashes: Vec<u64>,
    pub cluster_version: String,
    pub format: u32,
    /// Since when every member runs a newer minor version than the cluster version.
    pub rise_since: Option<Instant>,
    dice: u64,
}

impl Core {
    /// Takes up a member's data.
    ///
    /// # Errors
    /// A sentence, where this release cannot read the data or the configuration.
    pub fn open(config: Config, manifest: Manifest) -> Result<Self, String> {
        if let Some(key) = manifest.refused_keys.iter().find(|key| config.keys.contains(key)) {
            return Err(format!("unknown configuration key `{key}`"));
        }
        let failed =
            |error: io::Error| format!("the data in {} cannot be used: {error}", config.data.display());
        let disk = Disk::open(&config.data).map_err(failed)?;
        let found = disk.format().map_err(failed)?;
        if manifest.misbehaviour.refuses_to_start && found.is_some() {
            return Err("panic: unexpected state of the data directory".to_owned());
        }
        let format = found.unwrap_or(1);
        if format > manifest.format || format < manifest.reads_from {
            return Err(format!(
                "data format {format} cannot be read by release {}",
                manifest.version
            ));
        }
        if found.is_none() {
            disk.write_format(format).map_err(failed)?;
        }
        let ballot = disk.ballot().map_err(failed)?;
        let peers = config
            .members
            .keys()
            .filter(|name| **name != config.name)
            .map(|name| {
                (
                    name.clone(),
                    Peer {
                        next: 1,
                        matched: 0,
                        heard: None,
                        version: String::new(),
                    },
                )
            })
            .collect();
        let lost = if manifest.misbehaviour.lose_data {
            disk.last()
        } else {
            0
        };
        let now = Instant::now();
        let dice = config
            .name
            .bytes()
            .fold(u64::from(std::process::id()), |hash, byte| mix(hash, &[byte]));
        Ok(Core {
            config,
            manifest,
            disk,
            ballot,
            role: Role::Follower,
            leader: None,
            peers,
            commit: 0,
            applied: 0,
            lost,
            stand_at: now + ELECTION,
            recover_to: None,
            recovered: false,
            started: now,
            values: BTreeMap::new(),
            hashes: vec![0],
            cluster_version: String::new(),
            format,
            rise_since: None,
            dice,
        })
    }

    /// Whether members of this and another version make one cluster: from 3.0 on only where both are the same.
    fn works_with(&self, other: &str) -> bool {
        let strict = |version: &str| manifest::numbers(version).0 >= 3;
        let own = &self.manifest.version;
        other == own || !(strict(own) || strict(other))
    }

    /// How many members are a majority.
    pub fn majority(&self) -> usize {
        self.config.members.len() / 2 + 1
    }

    /// Number of writes applied.
    pub fn revision(&self) -> u64 {
        self.hashes.len() as u64 - 1
    }

    /// Hash of all writes up to a revision, if they have been applied.
    pub fn hash_at(&self, revision: u64) -> Option<u64> {
        self.hashes.get(usize::try_from(revision).ok()?).copied()
    }

    /// Puts the next election off by a time that differs from member to member.
    pub fn put_off_election(&mut self) {
        self.dice = mix(self.dice, b"again");
        self.stand_at = Instant::now() + ELECTION + Duration::from_millis(self.dice % 200);
    }

    /// Takes up a newer term as a follower.
    pub fn follow(&mut self, term: u64) -> io::Result<()> {
        if term > self.ballot.term {
            self.ballot = Ballot { term, vote: None };
            self.disk.write_ballot(&self.ballot)?;
            self.leader = None;
        }
        self.role = Role::Follower;
        Ok(())
    }

    /// Stands for election: votes for itself in a new term.
    pub fn stand(&mut self) -> io::Result<VoteRequest> {
        self.ballot = Ballot {
            term: self.ballot.term + 1,
            vote: Some(self.config.name.clone()),
        };
        self.disk.write_ballot(&self.ballot)?;
        self.role = Role::Candidate;
        self.leader = None;
        self.put_off_election();
        let last_index = self.disk.last();
        Ok(VoteRequest {
            term: self.ballot.term,
            candidate: self.config.name.clone(),
            last_index,
            last_term: self.disk.term_of(last_index).unwrap_or(0),
            version: self.manifest.version.clone(),
        })
    }

    /// Answers a candidate.
    pub fn vote(&mut self, request: &VoteRequest) -> io::Result<VoteAnswer> {
        if !self.works_with(&request.version) {
            return Ok(VoteAnswer {
                term: request.term,
                granted: false,
            });
        }
        if request.term > self.ballot.term {
            self.follow(request.term)?;
        }
        let last = self.disk.last();
        let own = (self.disk.term_of(last).unwrap_or(0), last);
        let granted = request.term == self.ballot.term
            && self.role != Role::Leader
            && self
                .ballot
                .vote
                .as_ref()
                .is_none_or(|vote| *vote == request.candidate)
            && (request.last_term, request.last_index) >= own;
        if granted {
            self.ballot.vote = Some(request.candidate.clone());
            self.disk.write_ballot(&self.ballot)?;
            self.put_off_election();
        }
        Ok(VoteAnswer {
            term: self.ballot.term,
            granted,
        })
    }

    /// Takes up leadership: a first entry of the new term carries all earlier ones over the majority.
    pub fn lead(&mut self) -> io::Result<()> {
        self.role = Role::Leader;
        self.leader = Some(self.config.name.clone());
        self.rise_since = None;
        let next = self.disk.last() + 1;
        for peer in self.peers.values_mut() {
            *peer = Peer {
                next,
                matched: 0,
                heard: None,
                version: String::new(),
            };
        }
        self.propose(Change::Nothing)?;
        Ok(())
    }

    /// Appends a leader's own entry; gives its number.
    pub fn propose(&mut self, change: Change) -> io::Result<u64> {
        self.disk.append(&[Entry {
            term: self.ballot.term,
            change,
        }])?;
        self.advance()?;
        Ok(self.disk.last())
    }

    /// What a leader has to say to a member.
    pub fn append_request(&self, peer: &str) -> Option<AppendRequest> {
        let previous_index = self.peers.get(peer)?.next.saturating_sub(1);
        Some(AppendRequest {
            term: self.ballot.term,
            leader: self.config.name.clone(),
            previous_index,
            previous_term: self.disk.term_of(previous_index)?,
            entries: self.disk.after(previous_index, 512),
            commit: self.commit,
            version: self.manifest.version.clone(),
        })
    }

    /// Answers a leader.
    pub fn append(&mut self, request: &AppendRequest) -> io::Result<AppendAnswer> {
        let answer = |core: &Core, accepted, index| AppendAnswer {
            term: core.ballot.term,
            accepted,
            index,
            version: core.manifest.version.clone(),
        };
        if request.term < self.ballot.term || !self.works_with(&request.version) {
            return Ok(answer(self, false, 0));
        }
        self.follow(request.term)?;
        self.leader = Some(request.leader.clone());
        self.put_off_election();
        if self.disk.term_of(request.previous_index) != Some(request.previous_term) {
            return Ok(answer(
                self,
                false,
                self.disk.last().min(request.previous_index.saturating_sub(1)),
            ));
        }
        let mut index = request.previous_index;
        for (position, entry) in request.entries.iter().enumerate() {
            if self.disk.term_of(index + 1) == Some(entry.term) {
                index += 1;
                continue;
            }
            self.disk.truncate(index)?;
            self.disk.append(&request.entries[position..])?;
            index += (request.entries.len() - position) as u64;
            break;
        }
        self.recover_to.get_or_insert(request.commit);
        self.commit = self.commit.max(request.commit.min(index));
        self.apply()?;
        Ok(answer(self, true, index))
    }

    /// Takes in what a member answered to its leader.
    pub fn appended(&mut self, peer: &str, request: &AppendRequest, answer: &AppendAnswer) -> io::Result<()> {
        if !self.works_with(&answer.version) {
            return Ok(());
        }
        if answer.term > self.ballot.term {
            self.put_off_election();
            return self.follow(answer.term);
        }
        if self.role != Role::Leader || request.term != self.ballot.term {
            return Ok(());
        }
        if let Some(known) = self.peers.get_mut(peer) {
            known.heard = Some(Instant::now());
            known.version.clone_from(&answer.version);
            if answer.accepted {
                known.matched = known.matched.max(answer.index);
                known.next = known.matched + 1;
            } else {
                known.next = (answer.index + 1).min(known.next.saturating_sub(1)).max(1);
            }
        }
        self.advance()
    }

    /// Commits what a majority has, if it is of this term.
    fn advance(&mut self) -> io::Result<()> {
        let mut matched: Vec<u64> = self.peers.values().map(|peer| peer.matched).collect();
        matched.push(self.disk.last());
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let index = matched[self.majority() - 1];
        if index > self.commit && self.disk.term_of(index) == Some(self.ballot.term) {
            self.commit = index;
            self.recovered = true;
            self.apply()?;
        }
        Ok(())
    }

    fn apply(&mut self) -> io::Result<()> {
        while self.applied < self.commit {
            self.applied += 1;
            let Some(entry) = self.disk.get(self.applied).cloned() else {
                break;
            };
            match entry.change {
                Change::Nothing => {}
                Change::Put { .. } if self.applied <= self.lost => {}
                Change::Put { key, value } => {
                    let before = self.hashes[self.hashes.len() - 1];
                    self.hashes
                        .push(mix(mix(before, key.as_bytes()), value.as_bytes()));
                    self.values.insert(key, value);
                }
                Change::ClusterVersion(version) => self.raise(version)?,
            }
        }
        Ok(())
    }

    /// The cluster version rises: the data takes the new format, and an older release cannot go on.
    fn raise(&mut self, version: String) -> io::Result<()> {
        if manifest::numbers(&version) > manifest::numbers(&self.manifest.version) {
            return Err(io::Error::other(format!(
                "cluster cannot be downgraded (this release: {}, cluster version: {version})",
                self.manifest.version
            )));
        }
        let format = manifest::numbers(&version).0 as u32;
        if format > self.format {
            self.disk.write_format(format)?;
            self.format = format;
        }
        self.cluster_version = version;
        Ok(())
    }

    /// The cluster version to rise to, where every member has been running it for long enough.
    pub fn due_rise(&mut self) -> Option<String> {
        let slow = Duration::from_millis(self.config.rise_after_ms);
        let of = |version: &String| manifest::minor_of(version);
        let lowest = self
            .peers
            .values()
            .map(|peer| of(&peer.version))
            .chain([self.manifest.minor()])
            .min_by_key(|version| manifest::numbers(version))?;
        let newer = manifest::numbers(&lowest) > manifest::numbers(&self.cluster_version);
        let silent = |peer: &Peer| {
            peer.heard
                .is_none_or(|heard| heard.elapsed() > Duration::from_secs(1))
        };
        if self.role != Role::Leader || !newer || self.peers.values().any(silent) {
            self.rise_since = None;
            return None;
        }
        // The first cluster version of all is there at once.
        let since = *self.rise_since.get_or_insert_with(Instant::now);
        let due = self.cluster_version.is_empty() || since.elapsed() >= slow;
        due.then(|| {
            self.rise_since = None;
            lowest
        })
    }

    /// Whether this member leads and has heard from a majority just now.
    pub fn leads_surely(&self) -> bool {
        let fresh = |peer: &&Peer| peer.heard.is_some_and(|heard| heard.elapsed() < ELECTION);
        self.role == Role::Leader
            && self.peers.values().filter(fresh).count() + 1 >= self.majority()
            && self.disk.term_of(self.commit) == Some(self.ballot.term)
    }

    /// `serving` or `recovering`.
    pub fn state(&mut self) -> &'static str {
        if let Some(goal) = self.recover_to
            && self.applied >= goal
        {
            self.recovered = true;
        }
        let slow = Duration::from_millis(self.manifest.misbehaviour.slow_recovery_ms);
        if self.recovered && self.leader.is_some() && self.started.elapsed() >= slow {
            "serving"
        } else {
            "recovering"
        }
    }

    /// Whether it says that it is healthy.
    pub fn healthy(&mut self) -> bool {
        self.state() == "serving" && !self.manifest.misbehaviour.never_healthy
    }

    /// Everything that a member says of itself.
    pub fn status(&mut self) -> Value {
        let state = self.state();
        json!({
            "name": self.config.name,
            "version": self.manifest.version,
            "cluster_version": self.cluster_version,
            "format": self.format,
            "state": state,
            "leader": self.leader,
            "term": self.ballot.term,
            "last": self.disk.last(),
            "commit": self.commit,
            "applied": self.applied,
            "revision": self.revision(),
            "keys": self.values.len(),
            "paused": self.disk.paused(),
        })
    }
}

/// FNV-1a, going on from a hash.
fn mix(hash: u64, bytes: &[u8]) -> u64 {
    let begin = if hash == 0 { 0xcbf2_9ce4_8422_2325 } else { hash };
    bytes.iter().fold(begin, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
