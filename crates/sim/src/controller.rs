//! A controller: it appends events to the journal, lets the engine decide, and performs what the engine asks for.

use std::collections::{BTreeSet, VecDeque};

use upshift_model::Millis;
use upshift_model::action::GuardStatus;
use upshift_model::probe::ProbeFailure;
use upshift_plan::{NodeIndex, StepId};
use upshift_run::{AskId, Decision, Effect, Event, EventKind, Order, Outcome, State};

use crate::exhaustive::Boundary;
use crate::fault::Moment;
use crate::network::{Answer, Question};
use crate::product::CONFIG_FILE;
use crate::world::{Happening, World};

/// After this time without an answer a question counts as unanswered, in milliseconds.
const ASK_PATIENCE: u64 = 6_000;

/// One controller.
pub struct Controller {
    /// Its name.
    pub name: String,
    /// Its fencing token.
    pub token: u64,
    /// Whether its process runs.
    pub alive: bool,
    /// Its own state of the run; taken out while the engine works on it.
    pub state: Option<State>,
    /// The state that comes from the journal alone, read back from its text: must always equal `state`.
    pub replayed: Option<State>,
    /// A journal of its own, where it does not share the common one.
    pub own_journal: Option<Vec<Event>>,
    /// Questions without an answer.
    pub asks: BTreeSet<(AskId, NodeIndex)>,
    /// Orders without a report. They are sent again whenever a host can be reached again, in whatever order.
    pub unanswered: Vec<Order>,
    /// Number of the latest wish to be woken.
    pub wake: u64,
    /// Steps that it took for done when it was last looked at.
    pub proven: BTreeSet<StepId>,
    /// How the run ended for it.
    pub resting: Option<Outcome>,
}

impl World {
    /// A controller takes the run up: it replays the journal and comes with a greater token.
    pub fn take_over(&mut self) {
        self.token += 1;
        let index = self.controllers.len();
        let name = format!("controller{}", index + 1);
        let start = || State::new(self.plan.clone(), self.run.clone());
        let state = upshift_run::replay(start(), self.journal.iter().cloned());
        let replayed = self.check_replay.then(|| state.clone());
        let proven = state.proven().collect();
        self.controllers.push(Controller {
            name: name.clone(),
            token: self.token,
            alive: true,
            state: Some(state),
            replayed,
            own_journal: None,
            asks: BTreeSet::new(),
            unanswered: Vec::new(),
            wake: 0,
            proven,
            resting: None,
        });
        self.takeovers_due = self.takeovers_due.saturating_sub(1);
        let (token, length) = (self.token, self.journal.len());
        self.trace.tell(self.now, &name, || {
            format!("takes the run up with token {token}, {length} events on record")
        });
        self.feed(
            index,
            EventKind::Started {
                controller: name,
                token,
            },
        );
    }

    /// Something happened: journal, decide, perform.
    pub fn feed(&mut self, controller: usize, kind: EventKind) {
        let mut pending = VecDeque::from([kind]);
        while let Some(kind) = pending.pop_front() {
            if !self.controllers[controller].alive {
                return;
            }
            let journaled = self.controllers[controller]
                .own_journal
                .as_ref()
                .unwrap_or(&self.journal)
                .len();
            if self.killed_at(controller, journaled, Moment::BeforeRecord) {
                return;
            }
            let Some(effects) = self.take_in(controller, kind) else {
                return;
            };
            if self.killed_at(controller, journaled, Moment::AfterRecord) {
                return;
            }
            let half = self
                .kill_due(controller, journaled, Moment::HalfPerformed)
                .then_some(effects.len() / 2);
            for (position, effect) in effects.into_iter().enumerate() {
                if half == Some(position) {
                    self.killed_at(controller, journaled, Moment::HalfPerformed);
                    return;
                }
                if let Effect::Record(decision) = &effect {
                    self.tell_decision(controller, decision);
                    if let (true, Decision::Stay { hop }) = (self.planted.disarm_early, decision) {
                        self.disarm_early(controller, *hop);
                    }
                    if !self.planted.forgets(decision) {
                        pending.push_back(EventKind::Decided(decision.clone()));
                    }
                }
                self.perform_effect(controller, effect);
            }
            if self.killed_at(controller, journaled, Moment::AfterPerforming)
                || self.killed_at(controller, journaled, Moment::HalfPerformed)
            {
                return;
            }
            self.inject_at_journal(controller, journaled);
        }
    }

    /// Appends an event to the journal, and lets the engine decide. None where the store has refused the controller.
    fn take_in(&mut self, controller: usize, kind: EventKind) -> Option<Vec<Effect>> {
        let event = Event {
            at: Millis(self.now),
            kind,
        };
        let me = &mut self.controllers[controller];
        if me.own_journal.is_none() && me.token < self.token {
            // The store lets nobody write who is not the latest; what the engine makes of that is not on record.
            let state = me.state.take()?;
            let event = Event {
                at: Millis(self.now),
                kind: EventKind::Superseded { token: self.token },
            };
            let (state, effects) = upshift_run::step(state, event);
            me.resting = state.outcome().cloned();
            me.replayed = None;
            me.state = Some(state);
            let name = me.name.clone();
            self.trace.tell(self.now, &name, || {
                "is told by the store that another controller has taken over".to_owned()
            });
            return Some(
                effects
                    .into_iter()
                    .filter(|effect| matches!(effect, Effect::Rest(_)))
                    .collect(),
            );
        }
        let (name, text) = (me.name.clone(), event_words(&event.kind));
        if let Some(text) = text {
            self.trace.tell(self.now, &name, || text);
        } else {
            self.trace.detail(self.now, &name, || format!("{:?}", event.kind));
        }
        if let EventKind::Decided(Decision::Stay { hop }) = &event.kind {
            self.note_configs(hop + 1);
            self.check_staying(*hop);
        }
        self.controllers[controller]
            .own_journal
            .as_mut()
            .unwrap_or(&mut self.journal)
            .push(event.clone());
        let me = &mut self.controllers[controller];
        let state = me.state.take()?;
        let lost = self.planted.forget_in_replay && matches!(event.kind, EventKind::Reported { .. });
        if let Some(replayed) = me.replayed.take_if(|_| !lost) {
            let (replayed, _) = upshift_run::step(replayed, reread(&event));
            me.replayed = Some(replayed);
        }
        let (state, effects) = upshift_run::step(state, event);
        let differs = me.replayed.as_ref().is_some_and(|replayed| *replayed != state);
        me.state = Some(state);
        if differs {
            self.violated(
                4,
                "the state replayed from the journal differs from the live one".to_owned(),
            );
        }
        self.check_steps(controller);
        Some(effects)
    }

    fn perform_effect(&mut self, controller: usize, effect: Effect) {
        match effect {
            Effect::Order(order) => {
                self.note_boundary(order.node);
                self.controllers[controller]
                    .unanswered
                    .push(order.as_ref().clone());
                self.send_to_host(controller, order.node, &Question::Order(order.clone()));
            }
            Effect::Observe {
                ask,
                node,
                hop,
                probe,
                ..
            } => {
                self.controllers[controller].asks.insert((ask, node));
                self.send_to_host(controller, node, &Question::Observe { ask, hop, probe });
                self.after(
                    ASK_PATIENCE,
                    Happening::AskTimeout {
                        controller,
                        ask,
                        node,
                    },
                );
            }
            Effect::Renew { node, .. } if self.planted.ask_no_guard => {
                let remaining = Millis(60_000);
                let answer = Answer::Guard(GuardStatus::Armed { remaining });
                self.send_to_controller(node.0 as usize, controller, &answer);
            }
            Effect::Renew { node, token, hop } => {
                self.send_to_host(controller, node, &Question::Renew { token, hop });
            }
            Effect::Disarm {
                node,
                token,
                hop,
                sequence,
            } => {
                self.check_disarming(controller, node.0 as usize);
                let name = self.hosts[node.0 as usize].name.clone();
                let who = self.controllers[controller].name.clone();
                self.trace
                    .tell(self.now, &who, || format!("disarms the guard of {name}"));
                self.send_to_host(controller, node, &Question::Disarm { token, hop, sequence });
            }
            Effect::Wake { at } => {
                let number = self.number();
                self.controllers[controller].wake = number;
                self.after(
                    at.0.saturating_sub(self.now).max(1),
                    Happening::Wake { controller, number },
                );
            }
            Effect::Record(_) => self.note_boundary(NodeIndex(0)),
            Effect::Rest(outcome) => self.comes_to_rest(controller, outcome),
        }
    }

    /// A planted fault: every guard of a hop is disarmed before the decision is on record.
    fn disarm_early(&mut self, controller: usize, hop: u32) {
        let token = self.controllers[controller].token;
        for node in (0..self.hosts.len() as u32).map(NodeIndex) {
            let disarm = Effect::Disarm {
                node,
                token,
                hop,
                sequence: u64::MAX,
            };
            self.perform_effect(controller, disarm);
        }
    }

    /// What a hop must put back where it is rolled back.
    fn note_configs(&mut self, hop: u32) {
        let text = |host: &crate::host::Host| host.disk.text(CONFIG_FILE).unwrap_or("").to_owned();
        let configs = self.hosts.iter().map(text).collect();
        self.record.configs.entry(hop).or_insert(configs);
    }

    /// A step begins or ends here: a place for a fault.
    pub fn note_boundary(&mut self, node: NodeIndex) {
        let journal = self.journal.len().saturating_sub(1);
        self.record.boundaries.insert(Boundary {
            journal,
            host: node.0 as usize,
        });
    }

    fn comes_to_rest(&mut self, controller: usize, outcome: Outcome) {
        if self.controllers[controller].resting.as_ref() == Some(&outcome) {
            return;
        }
        let name = self.controllers[controller].name.clone();
        self.trace
            .tell(self.now, &name, || format!("rests: {}", outcome_words(&outcome)));
        self.controllers[controller].resting = Some(outcome.clone());
        self.controllers[controller].unanswered.clear();
        let said = if self.planted.claim_success {
            Outcome::Upgraded
        } else {
            outcome
        };
        self.check_outcome(&said);
    }

    /// An answer reaches a controller.
    pub fn controller_hears(&mut self, host: usize, controller: usize, answer: Answer) {
        if !self.controllers[controller].alive {
            return;
        }
        let node = NodeIndex(host as u32);
        let kind = match answer {
            Answer::Reported {
                step,
                attempt,
                report,
            } => {
                let unanswered = &mut self.controllers[controller].unanswered;
                unanswered.retain(|order| (order.step, order.attempt) != (step, attempt));
                EventKind::Reported {
                    step,
                    attempt,
                    report,
                }
            }
            Answer::Observed { ask, observation } => {
                self.controllers[controller].asks.remove(&(ask, node));
                EventKind::Observed {
                    ask,
                    node,
                    observation,
                }
            }
            Answer::Guard(status) => EventKind::Guard { node, status },
            Answer::Stale(token) => EventKind::Superseded { token },
        };
        self.feed(controller, kind);
    }

    /// The controller's clock reaches the moment that it asked for.
    pub fn wake(&mut self, controller: usize, number: u64) {
        let me = &self.controllers[controller];
        if me.alive && me.wake == number && me.resting.is_none() {
            self.feed(controller, EventKind::Woke);
        }
    }

    /// A question has stayed without an answer.
    pub fn ask_timed_out(&mut self, controller: usize, ask: AskId, node: NodeIndex) {
        if self.controllers[controller].alive && self.controllers[controller].asks.remove(&(ask, node)) {
            let observation = Err(ProbeFailure::Unreachable("no answer".to_owned()));
            self.feed(
                controller,
                EventKind::Observed {
                    ask,
                    node,
                    observation,
                },
            );
        }
    }

    /// The agent of a host can be reached again: whoever waits for reports from there asks again.
    pub fn session_returns(&mut self, host: usize) {
        for controller in 0..self.controllers.len() {
            let unanswered = self.controllers[controller].unanswered.iter();
            let here = unanswered.filter(|order| order.node.0 as usize == host);
            for order in here.cloned().collect::<Vec<Order>>() {
                let delay = self.rng.between(100, 1_500);
                let question = Question::Order(Box::new(order));
                self.after(
                    delay,
                    Happening::ToHost {
                        host,
                        controller,
                        question,
                    },
                );
            }
        }
    }

    /// The controller's process is gone.
    pub fn controller_dies(&mut self, controller: usize) {
        let me = &mut self.controllers[controller];
        me.alive = false;
        me.asks.clear();
        me.unanswered.clear();
        let name = me.name.clone();
        self.trace.tell(self.now, &name, || "is killed".to_owned());
    }

    fn tell_decision(&mut self, controller: usize, decision: &Decision) {
        let name = self.controllers[controller].name.clone();
        let text = match decision {
            Decision::Stay { hop } => format!("decides: hop {} stays on the new version", hop + 1),
            Decision::Rollback { hop, reason } => format!("decides: hop {} rolls back: {reason}", hop + 1),
            Decision::Hold { reason, .. } => format!("decides: an operator must decide: {reason}"),
        };
        self.trace.tell(self.now, &name, || text);
    }
}

/// The event as the journal gives it back: written as text and read again.
fn reread(event: &Event) -> Event {
    let text = serde_json::to_string(event).unwrap_or_default();
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("the journal cannot read its own record {text}: {error}"))
}

fn event_words(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::Operator { who, command } => Some(format!("{who} says {command:?}")),
        EventKind::Superseded { token } => Some(format!("hears of a controller with token {token}")),
        _ => None,
    }
}

/// An outcome as a sentence.
pub fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Upgraded => "upgraded".to_owned(),
        Outcome::Finalized => "finalized".to_owned(),
        Outcome::Prepared => "prepared".to_owned(),
        Outcome::Refused { reason } => format!("refused, nothing was changed: {reason}"),
        Outcome::RolledBack { to, reason } => format!("rolled back to {to}: {reason}"),
        Outcome::Held { reason, remedies } => format!("held: {reason} [{}]", remedies.join("; ")),
        Outcome::EndedElsewhere { by, how } => format!("ended by {by}: {how}"),
        Outcome::EndedAsIs { reason } => format!("ended as it was: {reason}"),
        Outcome::Superseded { token } => format!("superseded by the controller with token {token}"),
    }
}
