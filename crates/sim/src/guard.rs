//! The guard of a host, performed in memory: what it decides is [`upshift_host::guard`] and [`upshift_host::fire`], the code that ships.

use upshift_host::Place;
use upshift_host::fire::{self, Check, Effect, Firing, Input, Performed};
use upshift_host::guard::{self, Event, Key, Refusal, State};
use upshift_model::Millis;
use upshift_model::action::{GuardRecipe, GuardStatus, Report};
use upshift_model::expr::{self, Scope};

use crate::host::{ActiveGuard, Waits, Worker};
use crate::ops::ops_of;
use crate::work::{Ended, transient};
use crate::world::World;

impl World {
    /// Lets something happen to a guard's record.
    fn guard_happens(
        &mut self,
        host: usize,
        key: &Key,
        event: &Event<'_>,
    ) -> Result<Option<&guard::Record>, Refusal> {
        let machine = &mut self.hosts[host];
        let now = machine.clocks(self.now);
        let guards = &mut machine.disk.guards;
        if let Some(record) = guard::decide(guards.get(key), key, event, &now)?.record {
            guards.insert(key.clone(), record);
        }
        Ok(guards.get(key))
    }

    fn guard_status(&mut self, host: usize, key: &Key, event: &Event<'_>) -> GuardStatus {
        let now = self.hosts[host].clocks(self.now);
        match self.guard_happens(host, key, event) {
            Ok(Some(record)) => record.status(&now),
            _ => GuardStatus::Absent,
        }
    }

    /// Arms the guard on order.
    pub fn arm_guard(&mut self, host: usize, worker: &Worker, recipe: &GuardRecipe) -> Ended {
        let Worker::Agent { order, run, .. } = worker else {
            return Ended::Done;
        };
        let (key, place) = (key(run, order.hop), place(order.token, order.sequence));
        let fleet = self.plan.fleet.clone();
        let event = Event::Arm {
            fleet: &fleet,
            place,
            recipe,
        };
        match self.guard_happens(host, &key, &event) {
            Ok(_) => Ended::Done,
            Err(refusal @ Refusal::DisarmedSince) => transient(refusal.to_string()),
            Err(refusal) => Ended::Failed(Report::Failed {
                reason: refusal.to_string(),
            }),
        }
    }

    /// Disarms the guard on order.
    pub fn disarm_on_order(&mut self, host: usize, worker: &Worker) -> Ended {
        if let Worker::Agent { order, run, .. } = worker {
            let place = place(order.token, order.sequence);
            self.disarm_guard(host, &key(run, order.hop), place);
        }
        Ended::Done
    }

    /// Renews the guard's lease.
    pub fn renew_guard(&mut self, host: usize, key: &Key) -> GuardStatus {
        self.record.guards_asked.insert((host, key.hop), self.now);
        self.guard_status(host, key, &Event::Renew)
    }

    /// Disarms the guard.
    pub fn disarm_guard(&mut self, host: usize, key: &Key, place: Place) -> GuardStatus {
        let fleet = self.plan.fleet.clone();
        self.guard_status(host, key, &Event::Disarm { fleet: &fleet, place })
    }

    /// The guards' processes observe the clock, and go on with what they wait for.
    pub fn guard_looks(&mut self, host: usize) {
        let awake = self.hosts[host].guard_runs && !self.planted.guards_sleep;
        if !self.hosts[host].up || !awake {
            return;
        }
        let keys: Vec<Key> = self.hosts[host].disk.guards.keys().cloned().collect();
        for key in keys {
            let woken = self.guard_happens(host, &key, &Event::Woke);
            let fires = matches!(woken, Ok(Some(record)) if record.state == State::Firing);
            let active = self.hosts[host].firing.get(&key).map(|active| active.waits);
            match active {
                None if fires => {
                    self.tell(host, || "guard: its lease has run out; it fires".to_owned());
                    self.note_firing(host, &key);
                    self.guard_goes_on(host, &key, Firing::default(), Input::Begin);
                }
                Some(Waits::Until(moment)) if moment <= self.now => {
                    self.guard_resumes(host, &key, Input::Ready)
                }
                _ => {}
            }
            self.pump(host);
        }
    }

    /// Gives the orders' lock to a guard that waits for it.
    pub fn guard_takes_lock(&mut self, host: usize) {
        let machine = &self.hosts[host];
        if machine.orders_locked.is_some() {
            return;
        }
        let waiting = machine
            .firing
            .iter()
            .find(|(_, active)| active.waits == Waits::Orders);
        let Some((key, _)) = waiting else { return };
        let key = key.clone();
        self.lock_orders(host, &key);
        self.guard_resumes(host, &key, Input::Ready);
    }

    fn lock_orders(&mut self, host: usize, key: &Key) {
        self.hosts[host].orders_locked = Some(key.clone());
        let ledger = self.hosts[host].disk.ledgers.get(&key.run);
        let newest = ledger
            .map(upshift_host::orders::Ledger::newest)
            .unwrap_or_default();
        // Never refused: only an order to arm is.
        let _ = self.guard_happens(host, key, &Event::Overtakes(newest));
    }

    fn guard_resumes(&mut self, host: usize, key: &Key, input: Input) {
        if let Some(active) = self.hosts[host].firing.get(key) {
            let firing = active.firing.clone();
            self.guard_goes_on(host, key, firing, input);
        }
    }

    /// Asks what is next, and does it, until the guard has to wait.
    fn guard_goes_on(&mut self, host: usize, key: &Key, firing: Firing, input: Input) {
        let guard = self.hosts[host].disk.guards.get(key);
        let Some(recipe) = guard.and_then(|guard| guard.recipe.clone()) else {
            return;
        };
        let (mut firing, mut input) = (firing, input);
        let waits = loop {
            let since_boot = Millis(self.hosts[host].clocks(self.now).since_boot);
            let next = fire::step(firing, &recipe, since_boot, input);
            if let Some(note) = next.note {
                self.tell(host, || format!("guard: {note}"));
            }
            firing = next.firing;
            input = match next.effect {
                Effect::Observe(check) => Input::Seen(self.guard_observes(host, key, &recipe, check)),
                Effect::Pause(time) => break Waits::Until(self.now + time.0),
                Effect::LockOrders => {
                    let machine = &self.hosts[host];
                    if machine.job.is_some() || machine.orders_locked.is_some() {
                        break Waits::Orders;
                    }
                    self.lock_orders(host, key);
                    Input::Ready
                }
                Effect::FreeOrders => {
                    self.hosts[host].orders_locked = None;
                    Input::Ready
                }
                Effect::Perform { action, .. } => {
                    let action = &recipe.rollback[action];
                    self.tell(host, || format!("guard: does {}", crate::trace::describe(action)));
                    self.begin_job(host, Worker::Guard { key: key.clone() }, ops_of(action));
                    break Waits::Action;
                }
                Effect::End(state) => return self.guard_ends(host, key, state),
            };
        };
        self.hosts[host]
            .firing
            .insert(key.clone(), ActiveGuard { firing, waits });
    }

    fn guard_ends(&mut self, host: usize, key: &Key, state: State) {
        self.tell(host, || format!("guard: {}", state_words(&state)));
        let armed = self.armed_at(host, key);
        self.record.guards_ended.insert((host, key.clone(), armed));
        let machine = &mut self.hosts[host];
        machine.firing.remove(key);
        machine.orders_locked.take_if(|locked| locked == key);
        if self.planted.guards_fire_twice && state == State::RolledBack {
            return;
        }
        // Never refused: only an order to arm is.
        let _ = self.guard_happens(host, key, &Event::Ended(state));
    }

    fn armed_at(&self, host: usize, key: &Key) -> Place {
        let guard = self.hosts[host].disk.guards.get(key);
        guard.map(|guard| guard.armed).unwrap_or_default()
    }

    /// A guard begins to fire: each arming may lead to that once.
    fn note_firing(&mut self, host: usize, key: &Key) {
        let armed = self.armed_at(host, key);
        if self.record.guards_ended.contains(&(host, key.clone(), armed)) {
            let name = self.hosts[host].name.clone();
            self.violated(4, format!("the guard of {name} fires twice"));
        }
    }

    fn guard_observes(
        &mut self,
        host: usize,
        key: &Key,
        recipe: &GuardRecipe,
        check: Check,
    ) -> Result<bool, String> {
        let Some(check) = check.of(recipe) else {
            return Err("the guard's recipe has no such check".to_owned());
        };
        let value = self
            .observe(host, &key.run, &check.probe)
            .map_err(|failure| format!("{failure:?}"))?;
        let mut scope = Scope::from_value(recipe.scheme, serde_json::Value::Object(recipe.scope.clone()));
        scope.set("value", value);
        expr::holds(&check.expect, &scope).map_err(|error| error.to_string())
    }

    /// An action of the guard is over.
    pub fn guard_action_over(&mut self, host: usize, key: &Key, report: &Report) {
        let performed = match report {
            Report::Done { .. } => Performed::Done,
            Report::Transient { reason } => Performed::Transient(reason.clone()),
            other => Performed::Failed(crate::agent::report_words(other)),
        };
        self.guard_resumes(host, key, Input::Performed(performed));
    }

    /// The guards' processes are killed, or their host goes down.
    pub fn guard_process_ends(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        machine.guard_runs = false;
        machine.firing.clear();
        machine.orders_locked = None;
        machine
            .job
            .take_if(|job| matches!(job.worker, Worker::Guard { .. }));
    }

    /// After a reboot, or when the guards' processes are started again: what was begun is begun anew.
    pub fn guard_process_starts(&mut self, host: usize) {
        self.hosts[host].guard_runs = true;
    }
}

/// The key of a hop's guard.
pub fn key(run: &str, hop: u32) -> Key {
    Key {
        run: run.to_owned(),
        hop,
    }
}

/// A place among the orders of a run.
pub fn place(token: u64, sequence: u64) -> Place {
    Place { token, sequence }
}

fn state_words(state: &State) -> String {
    match state {
        State::RolledBack => "the old version serves".to_owned(),
        State::StoodDown => "stands down: past the point of no return".to_owned(),
        State::Failed { reason } => format!("gives up: {reason}"),
        State::Armed | State::Firing | State::Disarmed => "is over".to_owned(),
    }
}
