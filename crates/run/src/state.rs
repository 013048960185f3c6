//! The state of a run: the fold of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use upshift_model::Millis;
use upshift_model::probe::Observation;
use upshift_plan::{NodeIndex, Plan, StepId};

use crate::event::{AskId, Decision, Outcome};
use crate::program::{self, Index, Item};

/// Everything the engine knows of a run. Two states that come from the same events are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: String,
    pub(crate) now: Millis,
    pub(crate) controller: Option<Controller>,
    /// The way forward, laid out once.
    pub(crate) program: Arc<Vec<Item>>,
    /// Where each step stands in the plan.
    pub(crate) index: Arc<Index>,
    /// Position in `program`.
    pub(crate) at: usize,
    /// Items that are done before the program goes on.
    pub(crate) detour: Vec<Item>,
    /// The rollback, while one is taken.
    pub(crate) back: Option<Back>,
    pub(crate) steps: BTreeMap<StepId, StepState>,
    /// Steps that are neither done nor failed.
    pub(crate) active: BTreeSet<StepId>,
    pub(crate) guards: BTreeMap<NodeIndex, Guard>,
    /// Hosts whose guard has fired in a hop, and whether it has said that the old version serves.
    pub(crate) fired: BTreeMap<(u32, NodeIndex), bool>,
    /// Hops that an operator lets go forward again after a rollback: guards that have fired in them are armed again all the same.
    pub(crate) again: BTreeSet<u32>,
    /// The window, as hop and window, that was half rolled back when the run went forward again.
    pub(crate) half: Option<(u32, u32)>,
    /// Guards that were ordered and not seen to stand yet: they may.
    pub(crate) arming: BTreeMap<NodeIndex, Guard>,
    pub(crate) windows: BTreeMap<(u32, u32), WindowState>,
    /// Hops whose new version stays.
    pub(crate) stayed: BTreeSet<u32>,
    pub(crate) asks: BTreeMap<AskId, Asker>,
    pub(crate) next_ask: u64,
    pub(crate) sequence: u64,
    pub(crate) pause: bool,
    pub(crate) consented: bool,
    pub(crate) soak: Option<SoakState>,
    pub(crate) crossing: Option<Crossing>,
    /// A decision that was asked to be recorded and has not come back yet.
    pub(crate) recording: Option<Decision>,
    pub(crate) hold: Option<Hold>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) finalizing: bool,
    /// The hop whose guards are being confirmed before the decision.
    pub(crate) confirming: Option<u32>,
    /// Servers whose rollback was left to their own guards, because they have not answered past its deadline; see
    /// [`State::left_to_guard`]. It is proven once they answer.
    pub(crate) left: BTreeSet<NodeIndex>,
    /// The rollback leads through all hops, as far as they can be rolled back.
    pub(crate) rolling_back_all: bool,
    /// The rollback that is decided next takes every server at once: an operator has said that nothing serves any more.
    pub(crate) at_once: bool,
    /// `recording` has not been asked for yet.
    pub(crate) unsent_record: bool,
    /// The point of no return was found crossed: only forward is possible.
    pub(crate) past_return: bool,
    /// Hops whose point of no return was found crossed, and that the product's own rollback takes back.
    pub(crate) downgrading: BTreeSet<u32>,
    /// The hop that an operator takes back, told that it is past its point of no return.
    pub(crate) loss_accepted: Option<u32>,
    /// Who asked that the run lets go of its hosts at the next safe point.
    pub(crate) leaving: Option<String>,
    /// The hold is a pause that somebody asked for.
    pub(crate) rests_paused: bool,
    /// What the run was when an operator asked for a rollback, until it is known whether there is one.
    pub(crate) asked_from: Option<AskedFrom>,
    /// Why the rollback that was asked for last is refused.
    pub(crate) refusal: Option<String>,
    /// When the controller asked to be woken.
    pub(crate) due: Option<Millis>,
    /// When the controller was last woken much later than that.
    pub(crate) slept: Option<Slept>,
}

/// A while in which the controller did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slept {
    /// Until when.
    pub(crate) until: Millis,
    /// For how long.
    pub(crate) time: Millis,
}

/// What a run was when a rollback was asked for: it stays so where there is none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AskedFrom {
    pub(crate) outcome: Option<Outcome>,
    pub(crate) hold: Option<Hold>,
    pub(crate) back: Option<Back>,
    pub(crate) past_return: bool,
    pub(crate) rolling_back_all: bool,
}

/// Who carries the run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Controller {
    pub(crate) name: String,
    pub(crate) token: u64,
}

/// The rollback.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Back {
    pub(crate) hop: u32,
    pub(crate) reason: String,
    pub(crate) items: Vec<Item>,
    pub(crate) at: usize,
    /// Whether earlier hops are rolled back, too, as far as they can be.
    pub(crate) through: bool,
    /// Whether no server waits for the others to serve.
    pub(crate) at_once: bool,
}

/// Nothing moves until an operator decides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hold {
    pub(crate) reason: String,
    pub(crate) remedies: Vec<String>,
    pub(crate) since: Millis,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepState {
    pub(crate) stage: Stage,
    pub(crate) attempt: u32,
    pub(crate) began: Millis,
    pub(crate) ended: Option<Millis>,
    pub(crate) deadline: Millis,
    pub(crate) bindings: BTreeMap<String, Value>,
    pub(crate) output: Value,
    /// The furthest that the proof's progress has come.
    pub(crate) furthest: Option<f64>,
    /// What is being waited for.
    pub(crate) waiting: String,
    /// Whether an order was ever given.
    pub(crate) ordered: bool,
    /// Whether the host's guard was known to have fired when the order was given.
    pub(crate) after_guard: bool,
    /// The round that shows whether the proof is waited for in vain, and how often in a row it has shown so.
    pub(crate) fails_on: Option<(Round, u32)>,
    /// How often in a row the condition could not be looked at, though the host answered.
    pub(crate) silent: u32,
}

/// The stages of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// Looking whether it applies.
    Condition(Round),
    /// Ordered; waiting for the report, until it is ordered again.
    Ordered { again: Millis },
    /// Waiting before the next attempt.
    Backoff { until: Millis },
    /// Looking at the proofs, one after the other.
    Proving {
        proof: usize,
        held: u32,
        round: Round,
        /// The order was interrupted: one look decides whether it is given again.
        quick: bool,
    },
    /// Done: every proof was observed.
    Proven,
    /// Did not apply.
    Skipped,
    /// Did not work.
    Failed { reason: String },
}

/// One round of looking at a probe on some servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Round {
    /// The open question; none while waiting for `next`.
    pub(crate) ask: Option<AskId>,
    pub(crate) asked: Millis,
    pub(crate) patience: Millis,
    pub(crate) next: Millis,
    pub(crate) awaiting: BTreeSet<NodeIndex>,
    pub(crate) seen: BTreeMap<NodeIndex, Observation>,
}

/// Who asked a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Step(StepId),
    /// The step's `fails_on`.
    FailsOn(StepId),
    Watch(usize),
    Crossing,
}

/// A guard that was armed, seen from the controller.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guard {
    pub(crate) hop: u32,
    pub(crate) lease: Millis,
    /// Not before this moment does it fire, as far as is known.
    pub(crate) until: Millis,
    pub(crate) renew_sent: Millis,
    pub(crate) fired: bool,
    /// Since when what it did is asked for, where it has fired and has not said yet how that ended.
    pub(crate) asking: Option<Millis>,
    /// It has said that it has rolled its host back and seen the old version serve.
    pub(crate) served: bool,
    /// Set until the host has confirmed that it still stands.
    pub(crate) unconfirmed: bool,
    /// It was ordered, and has not been seen to stand.
    pub(crate) unseen: bool,
    pub(crate) disarm_sent: Option<Millis>,
    /// When disarming was first asked for.
    pub(crate) disarm_since: Option<Millis>,
}

/// Where a window stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowState {
    pub(crate) opened: Millis,
    pub(crate) deadline: Millis,
    pub(crate) closed: Option<Millis>,
    pub(crate) rolled_back: bool,
}

impl WindowState {
    /// Whether the way through it was gone to its end and not taken back.
    pub(crate) fn is_done(&self) -> bool {
        self.closed.is_some() && !self.rolled_back
    }
}

/// The watch after a window or hop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SoakState {
    pub(crate) hop: u32,
    pub(crate) until: Millis,
    pub(crate) watches: Vec<WatchState>,
}

/// One thing watched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WatchState {
    pub(crate) round: Round,
    pub(crate) looked: bool,
    pub(crate) failing: Option<Failing>,
}

/// A fault that was observed while soaking, and not seen to be over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failing {
    /// When it was observed first, and last.
    pub(crate) since: Millis,
    pub(crate) seen: Millis,
    pub(crate) waiting: String,
}

/// Finding out whether the point of no return has been crossed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Crossing {
    pub(crate) hop: u32,
    pub(crate) since: Millis,
    pub(crate) round: Round,
}

impl State {
    /// The state before the first event.
    pub fn new(plan: Arc<Plan>, run: String) -> Self {
        let program = Arc::new(program::forward(&plan));
        let index = Arc::new(program::index(&plan));
        State {
            plan,
            run,
            now: Millis::ZERO,
            controller: None,
            program,
            index,
            at: 0,
            detour: Vec::new(),
            back: None,
            steps: BTreeMap::new(),
            active: BTreeSet::new(),
            guards: BTreeMap::new(),
            fired: BTreeMap::new(),
            again: BTreeSet::new(),
            half: None,
            arming: BTreeMap::new(),
            windows: BTreeMap::new(),
            stayed: BTreeSet::new(),
            asks: BTreeMap::new(),
            next_ask: 1,
            sequence: 0,
            pause: false,
            consented: false,
            soak: None,
            crossing: None,
            recording: None,
            hold: None,
            outcome: None,
            finalizing: false,
            confirming: None,
            left: BTreeSet::new(),
            rolling_back_all: false,
            at_once: false,
            unsent_record: false,
            past_return: false,
            downgrading: BTreeSet::new(),
            loss_accepted: None,
            leaving: None,
            rests_paused: false,
            asked_from: None,
            refusal: None,
            due: None,
            slept: None,
        }
    }

    /// The plan that is executed.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Name of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Time of the latest event.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// How the run ended, or why it rests, if it does.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether the run is held because somebody asked for a pause.
    pub fn rests_paused(&self) -> bool {
        self.rests_paused
    }

    /// Why the rollback that an operator asked for last is refused, where it is: nothing was changed for it.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Whether a rollback is being taken, or was.
    pub fn rolling_back(&self) -> bool {
        self.back.is_some()
    }

    /// The steps of which every proof was observed, in the order of their numbers.
    pub fn proven(&self) -> impl Iterator<Item = StepId> + '_ {
        self.steps
            .iter()
            .filter(|(_, step)| matches!(step.stage, Stage::Proven))
            .map(|(id, _)| *id)
    }

    pub(crate) fn token(&self) -> u64 {
        self.controller.as_ref().map_or(0, |controller| controller.token)
    }
}
