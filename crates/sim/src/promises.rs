//! The eight promises of the design, each as a check on the simulated truth.
//!
//! Some are looked at after every event, some at the moment at which they could be broken (an action, a step that is taken
//! for done, an outcome), some at the end. None of them asks the engine what it believes.

use upshift_host::guard::{Key, Record, State};
use upshift_model::profile::{At, Slot};
use upshift_plan::{StepId, StepKind};
use upshift_run::{Decision, Direction, EventKind, Order, Outcome};

use crate::disk::File;
use crate::host::Worker;
use crate::product;
use crate::record::Truth;
use crate::world::World;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise, counted from 1.
    pub promise: u8,
    /// When.
    pub at: u64,
    /// What happened.
    pub what: String,
}

/// A server that died less than this ago may not have been noticed when the next was taken down, in milliseconds.
const UNNOTICED: u64 = 10_000;

/// A guard that was asked longer ago than this was not asked for the decision, in milliseconds.
const ASKED: u64 = 30_000;

impl World {
    /// Writes a broken promise down.
    pub fn violated(&mut self, promise: u8, what: String) {
        if self
            .violations
            .iter()
            .any(|known| known.promise == promise && known.what == what)
        {
            return;
        }
        let at = self.now;
        self.trace
            .tell(at, "VIOLATION", || format!("promise {promise}: {what}"));
        self.violations.push(Violation { promise, at, what });
    }

    /// After every event.
    pub fn check_promises(&mut self) {
        for (promise, what) in std::mem::take(&mut self.record.broken) {
            self.violated(promise, what);
        }
        if let Some(what) = self.promise_3_no_acknowledged_write_is_lost() {
            self.violated(3, what);
        }
    }

    /// What is true of a host at this moment.
    pub fn truth(&self, host: usize) -> Truth {
        let machine = &self.hosts[host];
        let process = machine.process.as_ref().filter(|process| !process.half_changed);
        Truth {
            loaded: process.map(|process| process.loaded.clone()),
            executable: machine.process.as_ref().map(|process| process.executable.clone()),
            current: machine.disk.current.clone(),
            serves: self.serves(host),
            drained: self.balancer.drained.contains(&host),
            paused: self.balancer.paused,
            leads: self.cluster.leader == Some(host),
            config: machine.disk.text(product::CONFIG_FILE).unwrap_or("").to_owned(),
            data: machine.disk.resolve(product::DATA_LINK),
        }
    }

    /// Writes down what is true of a host.
    pub fn note_truth(&mut self, host: usize) {
        let truth = self.truth(host);
        self.record.note(self.now, host, truth);
    }

    /// **1. Nothing changes before everything is ready.** Every check passed, every node prepared, every snapshot proven.
    ///
    /// Looked at when a host is about to change something on the way forward.
    pub fn promise_1_everything_is_ready(&self, hop: u32) -> Option<String> {
        let plan_hop = self.plan.hops.get(hop as usize)?;
        for (index, machine) in self.hosts.iter().enumerate() {
            if !machine.disk.releases.contains_key(&plan_hop.to) {
                return Some(format!(
                    "a host is changed, and {} is not unpacked on {}",
                    plan_hop.to, machine.name
                ));
            }
            let path = format!("/srv/ledger/backup/{}-{hop}", self.run);
            let proven = matches!(self.hosts[index].disk.files.get(&path), Some(File::Snapshot(snapshot)) if snapshot.intact);
            if !proven && !plan_hop.protect.is_empty() {
                return Some(format!(
                    "a host is changed, and {} has no proven snapshot",
                    machine.name
                ));
            }
        }
        None
    }

    /// A host is about to do what it was ordered: does that change something, and may anything be changed yet?
    pub fn check_readiness(&mut self, order: &Order) {
        let Some((_, recipe, hop)) = self.steps.get(&order.step) else {
            return;
        };
        let ready_first = match self.plan.recipe(*recipe).kind {
            StepKind::Do(Slot::Prepare | Slot::Protect | Slot::Gate | Slot::Finalize) => false,
            StepKind::Do(_) => order.direction == Direction::Forward,
            StepKind::Distribute | StepKind::Unpack | StepKind::Arm | StepKind::Undo(_) => false,
        };
        if ready_first && let Some(what) = self.promise_1_everything_is_ready(*hop) {
            self.violated(1, what);
        }
    }

    /// **2. No step succeeds by exit code.** A step is done when its proof is observed.
    ///
    /// Looked at when the engine takes a step for done: it must have been true a moment ago.
    pub fn promise_2_proven_means_true(&self, step: StepId) -> Option<String> {
        let (node, recipe, hop) = self.steps.get(&step)?;
        let host = node.0 as usize;
        let recipe = self.plan.recipe(*recipe);
        let want = recipe.want.as_str();
        let disk = &self.hosts[host].disk;
        // What has just changed is written down at the next moment only.
        let was_of = |host: usize, holds: &dyn Fn(&Truth) -> bool| {
            holds(&self.truth(host)) || self.record.was(host, holds)
        };
        let was = |holds: &dyn Fn(&Truth) -> bool| was_of(host, holds);
        let run_of = |truth: &Truth| truth.loaded.as_deref() == Some(want);
        let slot = match recipe.kind {
            StepKind::Distribute => {
                return (disk.packages.is_empty()).then(|| self.untrue(step, "no package is there"));
            }
            StepKind::Unpack => {
                let there = disk.releases.contains_key(&recipe.to);
                return (!there).then(|| self.untrue(step, "the release is not unpacked"));
            }
            StepKind::Arm => {
                let key = Key {
                    run: self.run.clone(),
                    hop: *hop,
                };
                let there = disk.guards.get(&key).is_some_and(|guard| guard.recipe.is_some());
                return (!there).then(|| self.untrue(step, "no guard stands"));
            }
            StepKind::Do(slot) | StepKind::Undo(slot) => slot,
        };
        let holds = match slot {
            Slot::Stop => was(&|truth| truth.executable.is_none()),
            Slot::Switch | Slot::MakePermanent => was(&|truth| truth.current == want),
            Slot::Start => was(&|truth| truth.executable.as_deref() == Some(want)),
            Slot::Uninstall => was(&|truth| truth.current == want || run_of(truth)),
            Slot::Install | Slot::Rejoin => was(&|truth| run_of(truth)),
            Slot::Recover => was(&|truth| run_of(truth) && truth.serves),
            // Some ask every server, and some the server alone that was changed: another may have died of something else.
            Slot::Verify if recipe.proof.iter().all(|proof| proof.at == At::Node) => {
                was(&|truth| run_of(truth))
            }
            Slot::Verify => (0..self.hosts.len()).all(|host| was_of(host, &run_of)),
            Slot::Gate if recipe.kind == StepKind::Do(Slot::Gate) => {
                (0..self.hosts.len()).all(|other| other == host || was_of(other, &|truth| truth.serves))
            }
            Slot::Save => match recipe.kind {
                StepKind::Do(_) => disk.saved.values().any(|saved| saved.finished),
                _ => true,
            },
            Slot::Drain => was(&|truth| truth.drained),
            Slot::Undrain => was(&|truth| !truth.drained),
            Slot::Pause => was(&|truth| truth.paused),
            Slot::Resume => was(&|truth| !truth.paused),
            Slot::HandOver => was(&|truth| !truth.leads),
            Slot::FreshData => was(&|truth| truth.data != product::FIRST_DATA_DIRECTORY),
            Slot::OldData => was(&|truth| truth.data == product::FIRST_DATA_DIRECTORY),
            _ => true,
        };
        (!holds).then(|| {
            self.untrue(
                step,
                &format!("{slot:?} is not true of {}", self.hosts[host].name),
            )
        })
    }

    fn untrue(&self, step: StepId, what: &str) -> String {
        format!("step {} is taken for done, and {what}", step.0)
    }

    /// **3. All new or all old**, the part that must hold at every moment: no acknowledged write is lost.
    pub fn promise_3_no_acknowledged_write_is_lost(&self) -> Option<String> {
        let leader = self.cluster.leader.filter(|_| !self.balancer.paused)?;
        let missing = self
            .data(leader)?
            .entries
            .first_missing(&self.record.acknowledged)?;
        Some(format!(
            "{} leads without the acknowledged write {missing}",
            self.hosts[leader].name
        ))
    }

    /// **3. All new or all old.** A hop ends with every server on the new version or every server back on the old one, its
    /// configuration byte for byte and its data readable.
    ///
    /// Looked at in the end, when every guard has done what it does.
    pub fn promise_3_all_new_or_all_old(&self, outcome: Option<&Outcome>) -> Option<String> {
        let versions: Vec<&str> = self.hosts.iter().map(|host| host.disk.current.as_str()).collect();
        match outcome {
            Some(Outcome::Upgraded | Outcome::Finalized) => {
                let to = self.plan.hops.last().map_or("", |hop| hop.to.as_str());
                self.all_on(to).or_else(|| self.cluster_serves())
            }
            Some(Outcome::RolledBack { to, .. }) => {
                let hop = self.plan.hops.iter().position(|hop| hop.from == *to).unwrap_or(0) as u32;
                self.all_on(to)
                    .or_else(|| self.config_is_that_of(hop))
                    .or_else(|| self.cluster_serves())
            }
            Some(Outcome::Refused { .. } | Outcome::Prepared) => {
                let from = self.plan.hops.first().map_or("", |hop| hop.from.as_str());
                self.all_on(from).or_else(|| self.config_is_that_of(0))
            }
            Some(
                Outcome::Held { .. }
                | Outcome::EndedAsIs { .. }
                | Outcome::Superseded { .. }
                | Outcome::EndedElsewhere { .. },
            ) => None,
            None if self.in_doubt() || self.a_guard_failed() || self.a_guard_waits_in_vain() => None,
            None if self.all_run_the_same_hot_release() => None,
            None => {
                let first = versions.first().copied().unwrap_or("");
                let hop = self.plan.hops.iter().position(|hop| hop.from == first);
                let old = hop.and_then(|hop| self.config_is_that_of(hop as u32));
                let gone = "nobody came back, and the guards left";
                // A guard that stood down past the point of no return leaves its server to whoever comes next.
                let serves = if self.a_guard_stood_down() {
                    None
                } else {
                    self.cluster_serves()
                };
                self.all_on(first)
                    .or(old)
                    .or(serves)
                    .map(|what| format!("{gone}: {what}"))
            }
        }
    }

    /// A hot hop that stays but was not made permanent everywhere: every server runs the new version, and would come back on
    /// the old one after a restart. That is what `hot` means until somebody makes it permanent.
    fn all_run_the_same_hot_release(&self) -> bool {
        let hot = self
            .plan
            .hops
            .iter()
            .any(|hop| hop.strategy == upshift_model::profile::Strategy::Hot);
        let loaded = |index: usize| self.hosts[index].process.as_ref().map(|process| &process.loaded);
        hot && (0..self.hosts.len()).all(|host| loaded(host).is_some() && loaded(host) == loaded(0))
    }

    fn all_on(&self, version: &str) -> Option<String> {
        self.hosts.iter().enumerate().find_map(|(index, host)| {
            if host.disk.current != version {
                return Some(format!(
                    "{} points at {} instead of {version}",
                    host.name, host.disk.current
                ));
            }
            match &host.process {
                Some(process) if process.loaded != version || process.half_changed => Some(format!(
                    "{} runs {} instead of {version}",
                    host.name, process.loaded
                )),
                None if host.up && !self.cluster.died.contains_key(&index) && host.stopped_by_us => {
                    Some(format!("{} was stopped and does not run", host.name))
                }
                _ => None,
            }
        })
    }

    fn config_is_that_of(&self, hop: u32) -> Option<String> {
        let configs = self.record.configs.get(&hop)?;
        self.hosts.iter().zip(configs).find_map(|(host, config)| {
            let same = host.disk.text(product::CONFIG_FILE) == Some(config);
            (!same).then(|| format!("the configuration of {} is not what it was", host.name))
        })
    }

    fn cluster_serves(&self) -> Option<String> {
        let able = self.hosts.iter().enumerate().filter(|(index, host)| {
            host.up
                && !self.cluster.died.contains_key(index)
                && !self.network.is_isolated(*index)
                && !host.disk.full
        });
        let able: Vec<usize> = able.map(|(index, _)| index).collect();
        if able.len() < self.majority() {
            return None;
        }
        let idle = able
            .into_iter()
            .find(|&host| !self.serves(host) && !self.still_recovers(host))?;
        Some(format!("{} does not serve", self.hosts[idle].name))
    }

    /// Whether the decision to stay is on record and some guard may not have heard of it: the one moment in which no
    /// protocol without a third party can promise anything.
    pub fn in_doubt(&self) -> bool {
        self.journal
            .iter()
            .any(|event| matches!(event.kind, EventKind::Decided(Decision::Stay { .. })))
            && self.guards().any(|state| *state == State::RolledBack)
    }

    fn a_guard_failed(&self) -> bool {
        self.guards().any(|state| matches!(state, State::Failed { .. }))
    }

    fn a_guard_stood_down(&self) -> bool {
        self.guards().any(|state| *state == State::StoodDown)
    }

    /// A server that is dead for good keeps the guards of the others from taking their servers down, and no controller came back.
    fn a_guard_waits_in_vain(&self) -> bool {
        let guards = |host: &crate::host::Host| host.firing.keys().cloned().collect::<Vec<Key>>();
        self.hosts
            .iter()
            .any(|host| guards(host).iter().any(|key| self.waits_in_vain(host, key)))
    }

    fn guards(&self) -> impl Iterator<Item = &State> {
        self.hosts
            .iter()
            .flat_map(|host| host.disk.guards.values())
            .map(|guard| &guard.state)
    }

    /// **6. Capacity.** Never more units down than the profile allows; the next unit waits until the data has recovered.
    ///
    /// Looked at when a serving server is about to be taken down one by one.
    pub fn promise_6_capacity(&self, host: usize, hop: u32) -> Option<String> {
        let hop = self.plan.hops.get(hop as usize)?;
        if hop.strategy != upshift_model::profile::Strategy::Rolling || !self.serves(host) {
            return None;
        }
        let allowed = 1;
        let down = (0..self.hosts.len()).filter(|&other| {
            let since = self.hosts[other].not_serving_since;
            other != host && !self.serves(other) && since.is_some_and(|since| since + UNNOTICED < self.now)
        });
        let names: Vec<&str> = down.map(|other| self.hosts[other].name.as_str()).collect();
        (names.len() + 1 > allowed).then(|| {
            format!(
                "{} is taken down while {} does not serve",
                self.hosts[host].name,
                names.join(", ")
            )
        })
    }

    /// On the way forward, no server is taken down while another one is that we took down, however short that is ago.
    fn promise_6_one_at_a_time(&self, host: usize, hop: u32) -> Option<String> {
        let hop = self.plan.hops.get(hop as usize)?;
        let rolling = hop.strategy == upshift_model::profile::Strategy::Rolling;
        let ends = |machine: &crate::host::Host| {
            let process = machine.process.as_ref();
            process.is_none_or(|process| process.ends_at.is_some())
        };
        let mut others = self.hosts.iter().enumerate().filter(|(other, _)| *other != host);
        let (_, other) = others.find(|(_, machine)| machine.stopped_by_us && ends(machine))?;
        rolling.then(|| {
            format!(
                "{} is taken down while we have {} down",
                self.hosts[host].name, other.name
            )
        })
    }

    /// A guard is about to be disarmed: what becomes of the hop must be on record.
    pub fn check_disarming(&mut self, controller: usize, host: usize) {
        let journal = self.controllers[controller].own_journal.as_ref();
        let decided = journal
            .unwrap_or(&self.journal)
            .iter()
            .any(|event| matches!(event.kind, EventKind::Decided(_)));
        if !decided {
            let name = self.hosts[host].name.clone();
            self.violated(
                3,
                format!("the guard of {name} is disarmed before a decision is on record"),
            );
        }
    }

    /// The decision to stay is on record: every guard of the hop must have been asked just before.
    pub fn check_staying(&mut self, hop: u32) {
        let key = crate::guard::key(&self.run, hop);
        let silent = (0..self.hosts.len()).find(|host| {
            let guard = self.hosts[*host].disk.guards.get(&key);
            let asked = self.record.guards_asked.get(&(*host, hop));
            guard.is_some_and(Record::stands) && asked.is_none_or(|asked| asked + ASKED < self.now)
        });
        if let Some(host) = silent {
            let name = self.hosts[host].name.clone();
            self.violated(
                3,
                format!("the new version stays, and the guard of {name} was not asked"),
            );
        }
    }

    /// A server is about to be taken down by us.
    pub fn note_taken_down(&mut self, host: usize, worker: &Worker) {
        let hop = match worker {
            Worker::Agent { order, .. } => order.hop,
            Worker::Guard { key } => key.hop,
        };
        if matches!(worker, Worker::Agent { order, .. } if order.direction == Direction::Forward)
            && let Some(what) = self.promise_6_one_at_a_time(host, hop)
        {
            self.violated(6, what);
        }
        if let Some(what) = self.promise_6_capacity(host, hop) {
            self.violated(6, what);
        }
        self.hosts[host].stopped_by_us = true;
    }

    /// Steps that the engine has just taken for done.
    pub fn check_steps(&mut self, controller: usize) {
        let Some(state) = self.controllers[controller].state.as_ref() else {
            return;
        };
        let known = &self.controllers[controller].proven;
        let now: std::collections::BTreeSet<StepId> = state.proven().collect();
        if now == *known {
            return;
        }
        let fresh: Vec<StepId> = now.difference(known).copied().collect();
        self.controllers[controller].proven = now;
        for step in fresh {
            if let Some((node, _, _)) = self.steps.get(&step) {
                self.note_boundary(*node);
            }
            if let Some(what) = self.promise_2_proven_means_true(step) {
                self.violated(2, what);
            }
        }
    }

    /// **7. The truth.** Success is reported when it was proven.
    ///
    /// Looked at when a run comes to rest.
    pub fn promise_7_the_outcome_is_true(&self, outcome: &Outcome) -> Option<String> {
        let everywhere = |version: &str| {
            let other = (0..self.hosts.len()).find(|&host| {
                !self
                    .record
                    .was(host, |truth| truth.loaded.as_deref() == Some(version))
                    || self.hosts[host].disk.current != version
            })?;
            Some(format!(
                "success is reported for {version}, and {} never ran it lately",
                self.hosts[other].name
            ))
        };
        match outcome {
            Outcome::Upgraded => everywhere(self.plan.hops.last()?.to.as_str()),
            Outcome::RolledBack { to, .. } => everywhere(to),
            Outcome::Held { reason, remedies } => (reason.is_empty() || remedies.is_empty())
                .then(|| "held without a reason or a remedy".to_owned()),
            Outcome::Refused { reason } => reason.is_empty().then(|| "refused without a reason".to_owned()),
            Outcome::Finalized
            | Outcome::Prepared
            | Outcome::EndedAsIs { .. }
            | Outcome::Superseded { .. }
            | Outcome::EndedElsewhere { .. } => None,
        }
    }

    /// A run has come to rest.
    pub fn check_outcome(&mut self, outcome: &Outcome) {
        if self.record.reported.replace(outcome.clone()).as_ref() == Some(outcome) {
            return;
        }
        if let Some(what) = self.promise_7_the_outcome_is_true(outcome) {
            self.violated(7, what);
        }
    }

    /// **8. Nothing is left behind.** Drained backends, locks, maintenance modes, temporary files return to what they were.
    pub fn promise_8_nothing_is_left(&self, outcome: Option<&Outcome>) -> Option<String> {
        let excused = outcome.is_none()
            && (self.in_doubt()
                || self.a_guard_failed()
                || self.a_guard_stood_down()
                || self.a_guard_waits_in_vain());
        if excused || matches!(outcome, Some(Outcome::Held { .. })) {
            return None;
        }
        if let Some(host) = self.balancer.drained.first() {
            return Some(format!("{} is left drained", self.hosts[*host].name));
        }
        if self.balancer.paused {
            return Some("service is left paused".to_owned());
        }
        self.hosts.iter().find_map(|host| {
            if host.disk.guards.values().any(|guard| guard.stands()) {
                return Some(format!("the guard of {} is left standing", host.name));
            }
            let unfinished = host.disk.saved.values().any(|saved| !saved.finished);
            unfinished.then(|| format!("an unfinished copy is left on {}", host.name))
        })
    }
}
