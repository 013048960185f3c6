//! What a run looks like from outside: for progress, `status` and `why`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use upshift_model::Millis;
use upshift_plan::{NodeIndex, StepId, StepKind};

use crate::event::{Decision, Outcome};
use crate::program::{Item, Part, nodes_of};
use crate::state::{Stage, State, StepState, WindowState};

/// A run at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Name of the run.
    pub run: String,
    /// Short name of the product.
    pub product: String,
    /// Version that the first hop leads out of.
    pub from: String,
    /// Version that the last hop leads to.
    pub to: String,
    /// Time since the run began.
    pub elapsed: Millis,
    /// What the run is doing, in a few words: `window 2 of 3 (3.4.23 → 3.5.16)`.
    pub phase: String,
    /// Whether it rolls back.
    pub rolling_back: bool,
    /// Whether a pause was asked for, and whether it has been reached.
    pub pause: Pause,
    /// The new version stays but not every guard is known to be disarmed.
    pub in_doubt: bool,
    /// One line per server.
    pub nodes: Vec<NodeView>,
    /// What it waits for.
    pub why: Vec<Why>,
    /// How it ended, or why it rests.
    pub outcome: Option<Outcome>,
    /// Steps done, and all steps of the way it is on.
    pub progress: (u32, u32),
}

/// Where a pause stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// None was asked for.
    No,
    /// It takes hold at the next safe point.
    Asked,
    /// It holds.
    Reached,
}

/// A server at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Name of the host.
    pub name: String,
    /// Version that it was last proven to run, or had when the plan was made.
    pub version: String,
    /// What is being done on it.
    pub step: Option<StepView>,
    /// Time until its guard fires, where one stands.
    pub guard: Option<Millis>,
    /// How long its window has disturbed it: from opening to closing, or until now.
    pub disturbed: Option<Millis>,
    /// Whether its window of the latest hop is done.
    pub done: bool,
}

/// A step at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its number.
    pub id: StepId,
    /// What is done.
    pub title: String,
    /// `acting`, `proving`, `retrying`, `looking`, `done`, `skipped`, `failed`.
    pub stage: String,
    /// For how long.
    pub since: Millis,
    /// Time left.
    pub remaining: Millis,
    /// What it waits for.
    pub waiting: String,
    /// Which attempt.
    pub attempt: u32,
}

/// One thing that a run waits for, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Name of the host, where it is about one.
    pub host: Option<String>,
    /// What it waits for or stopped on.
    pub what: String,
    /// For how long.
    pub since: Millis,
    /// Time left until something follows, where something does.
    pub remaining: Option<Millis>,
}

/// What a step took; for reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Its number.
    pub id: StepId,
    /// Name of the host.
    pub host: String,
    /// Which moment of the strategy.
    pub kind: StepKind,
    /// What was done.
    pub title: String,
    /// `done`, `skipped`, `failed`, `went on without` (a wait that did not end in time), or how far it is.
    pub stage: String,
    /// When it began.
    pub began: Millis,
    /// When it ended, if it has.
    pub ended: Option<Millis>,
    /// How many attempts.
    pub attempts: u32,
    /// How many connections others had to the server when it was stopped in a rollback: they were disconnected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected: Option<u64>,
}

fn stage_word(step: &StepState) -> &'static str {
    match &step.stage {
        Stage::Condition(_) => "looking",
        Stage::Ordered { .. } => "acting",
        Stage::Backoff { .. } => "retrying",
        Stage::Proving { .. } => "proving",
        // A wait that the run went on without keeps what it waited for.
        Stage::Proven if !step.waiting.is_empty() => "went on without",
        Stage::Proven => "done",
        Stage::Skipped => "skipped",
        Stage::Failed { .. } => "failed",
    }
}

impl State {
    /// The run at the moment of the latest event.
    pub fn view(&self) -> View {
        let first = self.plan.hops.first();
        let last = self.plan.hops.last();
        View {
            run: self.run.clone(),
            product: self.plan.product.clone(),
            from: first.map(|hop| hop.from.clone()).unwrap_or_default(),
            to: last.map(|hop| hop.to.clone()).unwrap_or_default(),
            elapsed: self.now,
            phase: self.phase(),
            rolling_back: self.back.is_some(),
            pause: self.pause_view(),
            in_doubt: self.in_doubt_now(),
            nodes: self.node_views(),
            why: self.why(),
            outcome: self.outcome.clone(),
            progress: self.progress(),
        }
    }

    /// Every step that was begun, in the order of their numbers.
    pub fn times(&self) -> Vec<StepTime> {
        self.steps
            .iter()
            .filter_map(|(id, state)| {
                let (step, recipe) = self.find(*id)?;
                Some(StepTime {
                    id: *id,
                    host: self.plan.node(step.node).name.clone(),
                    kind: recipe.kind,
                    title: recipe.title.clone(),
                    stage: stage_word(state).to_owned(),
                    began: state.began,
                    ended: state.ended,
                    attempts: state.attempt,
                    disconnected: match recipe.kind {
                        StepKind::Undo(_) => state.output.get("connections").and_then(Value::as_u64),
                        _ => None,
                    },
                })
            })
            .collect()
    }

    fn pause_view(&self) -> Pause {
        match (self.pause, self.active.is_empty()) {
            (false, _) => Pause::No,
            (true, true) if self.back.is_none() && self.soak.is_none() && self.recording.is_none() => {
                Pause::Reached
            }
            _ => Pause::Asked,
        }
    }

    fn in_doubt_now(&self) -> bool {
        self.guards.values().any(|guard| self.stayed.contains(&guard.hop))
    }

    fn progress(&self) -> (u32, u32) {
        let items = match &self.back {
            Some(back) => &back.items,
            None => &*self.program,
        };
        let mut done = 0;
        let mut all = 0;
        for item in items {
            let Item::Group(at) = item else { continue };
            for step in &at.of(&self.plan).steps {
                all += 1;
                let settled = self.steps.get(&step.id).is_some_and(StepState::settled);
                done += u32::from(settled);
            }
        }
        (done, all)
    }

    fn phase(&self) -> String {
        if let Some(outcome) = &self.outcome {
            return outcome_phase(outcome).to_owned();
        }
        if self.hold.is_some() {
            return "holding".to_owned();
        }
        let Some(item) = self.item() else {
            return "ending".to_owned();
        };
        let back = if self.back.is_some() { "rolling back: " } else { "" };
        let versions = item.hop().map(|hop| {
            let hop = &self.plan.hops[hop as usize];
            format!(" ({} → {})", hop.from, hop.to)
        });
        format!("{back}{}{}", self.item_phase(item), versions.unwrap_or_default())
    }

    fn item_phase(&self, item: Item) -> String {
        let window = |hop: u32, window: u32| {
            format!(
                "window {} of {}",
                window + 1,
                self.plan.hops[hop as usize].windows.len()
            )
        };
        match item {
            Item::Group(at) => match at.part {
                Part::Prepare => "preparing".to_owned(),
                Part::Protect => "protecting".to_owned(),
                Part::Gate | Part::RollbackGate => format!("before {}", window(at.hop, at.window)),
                Part::Forward | Part::Rollback => window(at.hop, at.window),
                Part::Rearm => "arming guards again".to_owned(),
                Part::Stay => "making it permanent".to_owned(),
                Part::Settle => "settling".to_owned(),
                Part::BeginDowngrade => "before the product's own rollback".to_owned(),
                Part::EndDowngrade => "ending the product's own rollback".to_owned(),
                Part::Prove => "seeing that every server runs the new version".to_owned(),
                Part::ProveBack => "seeing that every server runs what it ran before".to_owned(),
                Part::Finalize => "finalizing".to_owned(),
            },
            Item::Consent { .. } => "waiting for consent".to_owned(),
            Item::Open { hop, window: index }
            | Item::Close { hop, window: index }
            | Item::CloseBack { hop, window: index } => window(hop, index),
            Item::Watch { .. } => "soaking".to_owned(),
            Item::Decide { .. } => "deciding".to_owned(),
            Item::Disarm { .. } => "in doubt: disarming guards".to_owned(),
            Item::Crossed { .. } => "looking whether the point of no return was crossed".to_owned(),
            Item::HopDone | Item::BackDone { .. } => "ending the hop".to_owned(),
        }
    }

    /// One line per server; each step and window is looked at once, so that a large fleet costs no more than its size.
    fn node_views(&self) -> Vec<NodeView> {
        let steps: BTreeMap<NodeIndex, StepId> = self
            .active
            .iter()
            .rev()
            .filter_map(|id| Some((self.find(*id)?.0.node, *id)))
            .collect();
        let mut latest: BTreeMap<NodeIndex, (u32, u32)> = BTreeMap::new();
        // The last hop that each server has done and not taken back.
        let mut reached: BTreeMap<NodeIndex, u32> = BTreeMap::new();
        for (&(hop, window), state) in &self.windows {
            for node in nodes_of(&self.plan, hop, window) {
                latest.insert(*node, (hop, window));
                if state.is_done() {
                    reached.insert(*node, hop);
                }
            }
        }
        (0..self.plan.nodes.len() as u32)
            .map(NodeIndex)
            .map(|node| {
                let step = steps.get(&node).and_then(|id| self.step_view(*id));
                self.node_view(node, step, latest.get(&node), reached.get(&node))
            })
            .collect()
    }

    fn node_view(
        &self,
        node: NodeIndex,
        step: Option<StepView>,
        latest: Option<&(u32, u32)>,
        reached: Option<&u32>,
    ) -> NodeView {
        let planned = self.plan.node(node);
        let guard = self
            .guards
            .get(&node)
            .filter(|guard| !guard.fired)
            .map(|guard| guard.until.minus(self.now));
        let window = latest.and_then(|at| self.windows.get(at));
        NodeView {
            name: planned.name.clone(),
            version: match reached {
                Some(hop) => self.plan.hops[*hop as usize].to.clone(),
                None => planned.version.clone(),
            },
            step,
            guard,
            disturbed: window.map(|window| window.closed.unwrap_or(self.now).minus(window.opened)),
            done: window.is_some_and(WindowState::is_done),
        }
    }

    fn step_view(&self, id: StepId) -> Option<StepView> {
        let state = self.steps.get(&id)?;
        let (_, recipe) = self.find(id)?;
        Some(StepView {
            id,
            title: recipe.title.clone(),
            stage: stage_word(state).to_owned(),
            since: self.now.minus(state.began),
            remaining: state.deadline.minus(self.now),
            waiting: state.waiting.clone(),
            attempt: state.attempt,
        })
    }

    /// The first thing that a step waits for, as a sentence.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        let id = self.active.iter().next()?;
        let state = self.steps.get(id)?;
        Some(self.sentence(
            *id,
            if state.waiting.is_empty() {
                stage_word(state)
            } else {
                &state.waiting
            },
        ))
    }

    /// What the run waits for or stopped on.
    pub fn why(&self) -> Vec<Why> {
        let mut all = Vec::new();
        let mut say = |host: Option<String>, what: String, since: Millis, remaining: Option<Millis>| {
            all.push(Why {
                host,
                what,
                since,
                remaining,
            });
        };
        match &self.outcome {
            Some(
                Outcome::Held { reason, .. }
                | Outcome::Refused { reason }
                | Outcome::RolledBack { reason, .. }
                | Outcome::EndedAsIs { reason },
            ) => {
                let since = self
                    .hold
                    .as_ref()
                    .map_or(Millis::ZERO, |hold| self.now.minus(hold.since));
                say(None, reason.clone(), since, None);
            }
            Some(_) => {}
            None => {
                if let Some(hold) = &self.hold {
                    say(None, hold.reason.clone(), self.now.minus(hold.since), None);
                }
                if let Some(Decision::Stay { .. }) = &self.recording {
                    say(
                        None,
                        "the decision to stay is being recorded".to_owned(),
                        Millis::ZERO,
                        None,
                    );
                }
                if self.pause_view() == Pause::Reached {
                    say(
                        None,
                        "paused; `upshift resume` goes on".to_owned(),
                        Millis::ZERO,
                        None,
                    );
                }
                if let Some(back) = &self.back {
                    say(
                        None,
                        format!("rolling back, because {}", back.reason),
                        Millis::ZERO,
                        None,
                    );
                }
                if let Some(soak) = &self.soak {
                    let failing = soak.watches.iter().find_map(|watch| watch.failing.as_ref());
                    let what = match failing {
                        Some(failing) => format!("soaking, and not well: {}", failing.waiting),
                        None => "soaking: watching whether it stays well".to_owned(),
                    };
                    say(None, what, Millis::ZERO, Some(soak.until.minus(self.now)));
                }
            }
        }
        if self.outcome.is_none() {
            self.why_steps(&mut all);
            self.why_guards(&mut all);
        }
        all
    }

    fn why_steps(&self, all: &mut Vec<Why>) {
        all.extend(self.active.iter().filter_map(|id| {
            let view = self.step_view(*id)?;
            let (step, _) = self.find(*id)?;
            let waiting = if view.waiting.is_empty() {
                view.stage
            } else {
                view.waiting
            };
            Some(Why {
                host: Some(self.plan.node(step.node).name.clone()),
                what: format!("{}: {waiting}", view.title),
                since: view.since,
                remaining: Some(view.remaining),
            })
        }));
    }

    fn why_guards(&self, all: &mut Vec<Why>) {
        for (node, guard) in self
            .guards
            .iter()
            .filter(|(_, guard)| guard.unconfirmed || guard.disarm_sent.is_some())
        {
            let what = if self.stayed.contains(&guard.hop) {
                "in doubt: the new version stays, and this guard is not known to be disarmed yet"
            } else if guard.disarm_sent.is_some() {
                "its guard is being disarmed"
            } else {
                "whether its guard stands is being asked"
            };
            all.push(Why {
                host: Some(self.plan.node(*node).name.clone()),
                what: what.to_owned(),
                since: self.now.minus(guard.renew_sent),
                remaining: Some(guard.until.minus(self.now)),
            });
        }
    }
}

fn outcome_phase(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Upgraded => "upgraded",
        Outcome::Prepared => "prepared",
        Outcome::Finalized => "finalized",
        Outcome::Refused { .. } => "refused",
        Outcome::RolledBack { .. } => "rolled back",
        Outcome::Held { .. } => "held",
        Outcome::EndedAsIs { .. } => "ended as it was",
        Outcome::Superseded { .. } => "taken over by another controller",
        Outcome::EndedElsewhere { .. } => "ended from another machine",
    }
}
