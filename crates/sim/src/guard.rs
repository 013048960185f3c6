//! The guard of a host: a process of its own with a durable record. It survives the agent, the network and a reboot.

use upshift_model::action::{Action, GuardRecipe, GuardStatus, Report};
use upshift_model::expr::{self, Scope};
use upshift_model::probe::ProbeCheck;

use crate::disk::{GuardKey, GuardPhase, GuardRecord};
use crate::host::Worker;
use crate::ops::ops_of;
use crate::work::{Ended, transient};
use crate::world::World;

/// How long the guard waits for its proof before it tries its rollback again, in milliseconds.
const PROOF_PATIENCE: u64 = 180_000;
/// How often the guard tries its rollback.
const ATTEMPTS: u32 = 3;

impl World {
    /// Writes the guard's record.
    pub fn arm_guard(&mut self, host: usize, worker: &Worker, recipe: &GuardRecipe) -> Ended {
        let Worker::Agent { order, run, .. } = worker else {
            return Ended::Done;
        };
        let (key, place) = ((run.clone(), order.hop), (order.token, order.sequence));
        if self.hosts[host].disk.is_disarmed_since(&key, place) {
            return transient("the guard has been disarmed since this order was given");
        }
        let length = recipe.lease.0 + recipe.stagger.0;
        let machine = &mut self.hosts[host];
        let record = GuardRecord {
            recipe: recipe.clone(),
            armed: place,
            phase: GuardPhase::Armed,
            deadline: machine.monotonic(self.now) + length,
            boot: machine.boot,
            wall_deadline: machine.wall(self.now) + length as i64,
        };
        machine.disk.guards.insert(key, record);
        Ended::Done
    }

    /// Closes the guard's record on order.
    pub fn close_guard(&mut self, host: usize, key: &GuardKey) {
        if let Some(guard) = self.hosts[host].disk.guards.get_mut(key)
            && guard.phase == GuardPhase::Armed
        {
            guard.phase = GuardPhase::Over(GuardStatus::Disarmed);
        }
    }

    /// Renews the guard's lease.
    pub fn renew_guard(&mut self, host: usize, key: &GuardKey) -> GuardStatus {
        let now = self.now;
        let machine = &mut self.hosts[host];
        let (monotonic, wall) = (machine.monotonic(now), machine.wall(now));
        let Some(guard) = machine.disk.guards.get_mut(key) else {
            return GuardStatus::Absent;
        };
        if guard.phase == GuardPhase::Armed && monotonic < guard.deadline {
            let length = guard.recipe.lease.0 + guard.recipe.stagger.0;
            guard.deadline = monotonic + length;
            guard.wall_deadline = wall + length as i64;
        }
        guard.status(monotonic)
    }

    /// Disarms the guard, unless a newer order has armed it, and remembers that it did: an order that arrives late arms nothing.
    pub fn disarm_guard(&mut self, host: usize, key: &GuardKey, place: (u64, u64)) -> GuardStatus {
        let monotonic = self.hosts[host].monotonic(self.now);
        let disk = &mut self.hosts[host].disk;
        let disarmed = disk.disarmed.entry(key.clone()).or_default();
        *disarmed = place.max(*disarmed);
        if disk.guards.get(key).is_none_or(|guard| guard.armed <= place) {
            self.close_guard(host, key);
        }
        self.hosts[host]
            .disk
            .guards
            .get(key)
            .map_or(GuardStatus::Disarmed, |guard| guard.status(monotonic))
    }

    /// The guard's process looks whether it is time.
    pub fn guard_looks(&mut self, host: usize) {
        let awake = self.hosts[host].guard_runs && !self.planted.guards_sleep;
        if !self.hosts[host].up || !awake || self.hosts[host].disk.guards.is_empty() {
            return;
        }
        let keys: Vec<GuardKey> = self.hosts[host].disk.guards.keys().cloned().collect();
        for key in keys {
            let Some(guard) = self.hosts[host].disk.guards.get(&key) else {
                continue;
            };
            let next = match &guard.phase {
                GuardPhase::Armed => self.armed(host, guard),
                GuardPhase::Waiting => self.waiting(host, &key),
                GuardPhase::Proving => self.proving(host, &key),
                GuardPhase::Firing | GuardPhase::Over(_) => None,
            };
            if let Some(phase) = next {
                self.guard_turns(host, &key, phase);
            }
        }
    }

    fn guard_turns(&mut self, host: usize, key: &GuardKey, phase: GuardPhase) {
        self.tell(host, || format!("guard: {}", phase_words(&phase)));
        self.hosts[host].guard_proves_since = self.now;
        self.hosts[host].guard_action = 0;
        if let Some(guard) = self.hosts[host].disk.guards.get_mut(key) {
            guard.phase = phase;
        }
    }

    fn armed(&self, host: usize, guard: &GuardRecord) -> Option<GuardPhase> {
        let expired = self.hosts[host].monotonic(self.now) >= guard.deadline;
        expired.then_some(GuardPhase::Waiting)
    }

    /// The deadline has passed: stand down past the point of no return; otherwise roll back once the host may be taken down.
    fn waiting(&mut self, host: usize, key: &GuardKey) -> Option<GuardPhase> {
        let recipe = self.hosts[host].disk.guards.get(key)?.recipe.clone();
        if recipe
            .stand_down_if
            .as_ref()
            .is_some_and(|check| self.check(host, &key.0, &recipe, check))
        {
            return Some(GuardPhase::Over(GuardStatus::StoodDown));
        }
        let back = self.is_back(host, &key.0, &recipe);
        self.hosts[host].guard_stays_up = back;
        let serves = recipe
            .serving_if
            .as_ref()
            .is_some_and(|check| self.check(host, &key.0, &recipe, check));
        let waits = |world: &mut World| {
            let wait_until = recipe.wait_until.as_ref();
            wait_until.is_some_and(|check| !world.check(host, &key.0, &recipe, check))
        };
        if serves && !back && waits(self) {
            return None;
        }
        Some(GuardPhase::Firing)
    }

    /// Whether the old version serves already: nothing had been changed yet, or a controller was in its rollback.
    fn is_back(&mut self, host: usize, run: &str, recipe: &GuardRecipe) -> bool {
        !recipe.proof.is_empty()
            && recipe
                .proof
                .iter()
                .all(|check| self.check(host, run, recipe, check))
    }

    fn proving(&mut self, host: usize, key: &GuardKey) -> Option<GuardPhase> {
        let recipe = self.hosts[host].disk.guards.get(key)?.recipe.clone();
        if recipe
            .proof
            .iter()
            .all(|check| self.check(host, &key.0, &recipe, check))
        {
            return Some(GuardPhase::Over(GuardStatus::RolledBack));
        }
        if self.now < self.hosts[host].guard_proves_since + PROOF_PATIENCE {
            return None;
        }
        Some(self.try_again(host, "the old version does not serve"))
    }

    fn try_again(&mut self, host: usize, reason: &str) -> GuardPhase {
        self.hosts[host].guard_attempts += 1;
        self.hosts[host].guard_stays_up = false;
        if self.hosts[host].guard_attempts < ATTEMPTS {
            return GuardPhase::Firing;
        }
        GuardPhase::Over(GuardStatus::Failed {
            reason: reason.to_owned(),
        })
    }

    fn check(&mut self, host: usize, run: &str, recipe: &GuardRecipe, check: &ProbeCheck) -> bool {
        let Ok(value) = self.observe(host, run, &check.probe) else {
            return false;
        };
        let mut scope = Scope::from_value(recipe.scheme, serde_json::Value::Object(recipe.scope.clone()));
        scope.set("value", value);
        expr::holds(&check.expect, &scope).unwrap_or(false)
    }

    /// Begins the guard's next action, where it is in its rollback. Whether it did.
    pub fn guard_works(&mut self, host: usize) -> bool {
        let machine = &self.hosts[host];
        if !machine.guard_runs {
            return false;
        }
        let firing = machine
            .disk
            .guards
            .iter()
            .find(|(_, guard)| guard.phase == GuardPhase::Firing);
        let Some((key, guard)) = firing else { return false };
        let key = key.clone();
        let recipe = guard.recipe.clone();
        let is_there = recipe
            .until
            .as_ref()
            .is_some_and(|check| self.check(host, &key.0, &recipe, check));
        if is_there {
            self.guard_turns(host, &key, GuardPhase::Proving);
            return false;
        }
        let machine = &self.hosts[host];
        match recipe.rollback.get(machine.guard_action).cloned() {
            Some(Action::Stop(_)) if machine.guard_stays_up => {
                self.hosts[host].guard_action += 1;
                self.guard_works(host)
            }
            Some(action) => {
                self.tell(host, || {
                    format!("guard: does {}", crate::trace::describe(&action))
                });
                self.begin_job(host, Worker::Guard { key }, ops_of(&action));
                true
            }
            None => {
                self.guard_turns(host, &key, GuardPhase::Proving);
                false
            }
        }
    }

    /// An action of the guard is over.
    pub fn guard_action_over(&mut self, host: usize, key: &GuardKey, report: &Report) {
        if matches!(report, Report::Done { .. }) {
            self.hosts[host].guard_action += 1;
            return;
        }
        let text = crate::agent::report_words(report);
        self.tell(host, || format!("guard: its action fails: {text}"));
        let next = self.try_again(host, &text);
        self.guard_turns(host, key, next);
    }

    /// After a reboot, or when the guard's process starts again: what was begun is begun anew, and the deadline is
    /// counted on the new boot's clock, never further away than a full lease.
    pub fn guard_process_starts(&mut self, host: usize) {
        let now = self.now;
        let machine = &mut self.hosts[host];
        machine.guard_runs = true;
        machine.guard_action = 0;
        machine.guard_stays_up = false;
        let (monotonic, wall, boot) = (machine.monotonic(now), machine.wall(now), machine.boot);
        for guard in machine.disk.guards.values_mut() {
            match guard.phase {
                GuardPhase::Armed if guard.boot != boot => {
                    let length = (guard.recipe.lease.0 + guard.recipe.stagger.0) as i64;
                    let left = (guard.wall_deadline - wall).clamp(0, length);
                    guard.deadline = monotonic + left as u64;
                    guard.boot = boot;
                }
                GuardPhase::Proving => guard.phase = GuardPhase::Firing,
                _ => {}
            }
        }
    }
}

fn phase_words(phase: &GuardPhase) -> String {
    match phase {
        GuardPhase::Armed => "armed".to_owned(),
        GuardPhase::Waiting => "nobody renewed the lease: rolls back".to_owned(),
        GuardPhase::Firing => "takes the host back".to_owned(),
        GuardPhase::Proving => "waits until the old version serves".to_owned(),
        GuardPhase::Over(GuardStatus::RolledBack) => "the old version serves".to_owned(),
        GuardPhase::Over(GuardStatus::StoodDown) => "stands down: past the point of no return".to_owned(),
        GuardPhase::Over(GuardStatus::Failed { reason }) => format!("gives up: {reason}"),
        GuardPhase::Over(_) => "is over".to_owned(),
    }
}
