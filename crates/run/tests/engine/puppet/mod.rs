//! A puppet fleet: answers the engine's effects by simple rules, so that a test says only what differs from the usual.
//!
//! The state is compared with the replay of the journal again and again, and at the end of every run.

mod builder;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use upshift_model::Millis;
use upshift_model::action::{Action, GuardStatus, Report};
use upshift_model::probe::{Observation, Probe};
use upshift_plan::Plan;
use upshift_run::{Decision, Effect, Event, EventKind, OperatorCommand, Order, Outcome, State, replay, step};

pub use builder::{Builder, proof, recipe};

pub fn seconds(count: u64) -> Millis {
    Millis::seconds(count)
}

/// How a run on the way forward is ordered, host by host.
pub const FORWARD: [&str; 5] = ["unpack", "arm guard", "drain", "stop", "switch"];
/// The whole rollback of a host.
pub const BACK: [&str; 3] = ["stop back", "switch back", "undrain"];

/// Why the run was rolled back.
pub fn rolled_back(puppet: &Puppet) -> String {
    match puppet.outcome() {
        Outcome::RolledBack { to, reason } => {
            assert_eq!(to, "1.0.0");
            reason
        }
        other => panic!("not rolled back: {other:?}"),
    }
}

/// Why the run is held.
pub fn held(puppet: &Puppet) -> String {
    match puppet.outcome() {
        Outcome::Held { reason, remedies } => {
            assert!(!remedies.is_empty());
            reason
        }
        other => panic!("not held: {other:?}"),
    }
}

/// A puppet whose probe of that name does not hold.
pub fn without(plan: Builder, name: &'static str) -> Puppet {
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe =
        Box::new(move |probe, _| Some(Ok(json!({"ok": probe != name && !probe.starts_with("crossed@")}))));
    puppet
}

type OrderRule = Box<dyn FnMut(&Order, &str) -> Option<Report>>;
type ProbeRule = Box<dyn FnMut(&str, Millis) -> Option<Observation>>;
type GuardRule = Box<dyn FnMut(&str, Millis) -> Option<GuardStatus>>;

/// Events between two replays of the whole journal; it is replayed at the end of every run, too.
const REPLAYED_EVERY: usize = 50;

/// The fleet, and the controller that performs effects on it.
pub struct Puppet {
    pub plan: Arc<Plan>,
    pub state: State,
    pub journal: Vec<Event>,
    pub now: Millis,
    pub orders: Vec<(String, String, u32)>,
    pub sent: Vec<Order>,
    /// What was observed, and on which host instead of the server.
    pub asked: Vec<(String, Option<String>)>,
    /// What was observed to prove the way forward in a hop, behind a guard that stands.
    pub guarded: Vec<(String, u32)>,
    pub renewed: u32,
    pub disarmed: Vec<String>,
    pub decisions: Vec<Decision>,
    /// How often the engine has said that the run rests.
    pub rested: u32,
    queue: VecDeque<EventKind>,
    wake: Option<Millis>,
    pub on_order: OrderRule,
    pub on_probe: ProbeRule,
    pub on_guard: GuardRule,
    pub on_disarm: GuardRule,
}

impl Puppet {
    pub fn new(plan: Plan) -> Self {
        let plan = Arc::new(plan);
        Puppet {
            state: State::new(plan.clone(), "run-1".to_owned()),
            plan,
            journal: Vec::new(),
            now: Millis::ZERO,
            orders: Vec::new(),
            sent: Vec::new(),
            asked: Vec::new(),
            guarded: Vec::new(),
            renewed: 0,
            disarmed: Vec::new(),
            decisions: Vec::new(),
            rested: 0,
            queue: VecDeque::new(),
            wake: None,
            on_order: Box::new(|_, _| Some(Report::Done { output: Value::Null })),
            on_probe: Box::new(|probe, _| {
                let crossed = probe.starts_with("crossed@");
                Some(Ok(json!({"ok": !crossed})))
            }),
            on_guard: Box::new(|_, _| {
                Some(GuardStatus::Armed {
                    remaining: seconds(90),
                })
            }),
            on_disarm: Box::new(|_, _| Some(GuardStatus::Disarmed)),
        }
    }

    pub fn start(&mut self) -> &mut Self {
        self.start_as(1)
    }

    pub fn start_as(&mut self, token: u64) -> &mut Self {
        self.tell(EventKind::Started {
            controller: "c".to_owned(),
            token,
        })
    }

    pub fn operator(&mut self, command: OperatorCommand) -> &mut Self {
        self.tell(EventKind::Operator {
            who: "ada".to_owned(),
            command,
        })
    }

    /// One event in, its effects performed.
    pub fn tell(&mut self, kind: EventKind) -> &mut Self {
        let event = Event { at: self.now, kind };
        self.journal.push(event.clone());
        let (state, effects) = step(self.state.clone(), event);
        self.state = state;
        if self.journal.len().is_multiple_of(REPLAYED_EVERY) || self.state.outcome().is_some() {
            self.check_replay();
        }
        self.wake = None;
        for effect in effects {
            self.perform(effect);
        }
        self
    }

    fn check_replay(&self) {
        let again = replay(
            State::new(self.plan.clone(), "run-1".to_owned()),
            self.journal.clone(),
        );
        assert_eq!(again, self.state, "replay of the journal gives the live state");
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Order(order) => {
                let name = self.plan.node(order.node).name.clone();
                let title = match &order.action {
                    Action::Switch(switch) => switch.release.clone(),
                    other => other.word().to_owned(),
                };
                self.orders.push((name, title.clone(), order.attempt));
                self.sent.push((*order).clone());
                if let Some(report) = (self.on_order)(&order, &title) {
                    self.queue.push_back(EventKind::Reported {
                        step: order.step,
                        attempt: order.attempt,
                        report,
                    });
                }
            }
            Effect::Observe {
                ask,
                node,
                host,
                hop,
                probe,
            } => {
                let Probe::File(name) = *probe else {
                    panic!("puppets know files only")
                };
                if let Some(hop) = hop {
                    self.guarded.push((name.clone(), hop));
                }
                self.asked.push((name.clone(), host));
                if let Some(observation) = (self.on_probe)(&name, self.now) {
                    self.queue.push_back(EventKind::Observed {
                        ask,
                        node,
                        observation,
                    });
                }
            }
            Effect::Renew { node, .. } => {
                self.renewed += 1;
                if let Some(status) = (self.on_guard)(&self.plan.node(node).name, self.now) {
                    self.queue.push_back(EventKind::Guard { node, status });
                }
            }
            Effect::Disarm { node, .. } => {
                let name = self.plan.node(node).name.clone();
                if let Some(status) = (self.on_disarm)(&name, self.now) {
                    self.disarmed.push(name);
                    self.queue.push_back(EventKind::Guard { node, status });
                }
            }
            Effect::Wake { at } => self.wake = Some(at),
            Effect::Record(decision) => {
                self.decisions.push(decision.clone());
                self.queue.push_back(EventKind::Decided(decision));
            }
            Effect::Rest(_) => self.rested += 1,
        }
    }

    /// Runs until the run rests, the condition holds, or nothing more would happen.
    pub fn until(&mut self, mut done: impl FnMut(&Puppet) -> bool) -> &mut Self {
        for _ in 0..20_000 {
            if self.state.outcome().is_some() || done(self) {
                return self;
            }
            if let Some(kind) = self.queue.pop_front() {
                self.tell(kind);
            } else if let Some(at) = self.wake {
                assert!(at > self.now, "a wake lies in the future");
                self.now = at;
                self.tell(EventKind::Woke);
            } else {
                return self;
            }
        }
        panic!("no end in sight: {:?}", self.state.view());
    }

    pub fn run(&mut self) -> &mut Self {
        self.until(|_| false)
    }

    pub fn outcome(&self) -> Outcome {
        self.state
            .outcome()
            .cloned()
            .unwrap_or_else(|| panic!("still running: {:#?}", self.state.view().why))
    }

    /// Titles of the orders given to a host, in order.
    pub fn orders_to(&self, host: &str) -> Vec<&str> {
        self.orders
            .iter()
            .filter(|(name, ..)| name == host)
            .map(|(_, title, _)| title.as_str())
            .collect()
    }

    /// The controller dies: answers under way are lost with it.
    pub fn crash(&mut self) -> &mut Self {
        self.queue.clear();
        self.wake = None;
        self
    }
}
