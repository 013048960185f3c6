//! `step(state, event) → (state, effects)`: takes events in and walks the program, item by item.
//!
//! What is decided on the way is in `decide.rs`; what operators say, in `operator.rs`; steps, soaks and guards have files
//! of their own.

use upshift_model::Millis;
use upshift_model::action::GuardStatus;
use upshift_model::probe::ProbeFailure;
use upshift_model::profile::Slot;
use upshift_plan::{NodeIndex, StepId, StepKind};

use crate::decide::HOLD_PATIENCE;
use crate::event::{Decision, Effect, Event, EventKind, Outcome};
use crate::guards::Disarming;
use crate::program::{self, GroupAt, Item, Part};
use crate::state::{Back, Controller, Slept, State, StepState, WindowState};
use crate::steps::Progress;

/// When something that is due could not be carried on, it is looked at again after this time.
const OVERDUE: Millis = Millis(250);

/// How much later than it asked for a controller is woken that has not run meanwhile.
const ASLEEP: Millis = Millis::seconds(10);
/// How long that is told of.
const REMEMBERED: Millis = Millis::seconds(300);

/// Takes one event in. The whole engine is this function: the same state and event always give the same result.
pub fn step(mut state: State, event: Event) -> (State, Vec<Effect>) {
    let mut effects = Vec::new();
    state.notice_sleep(&event);
    state.now = state.now.max(event.at);
    state.take_in(event.kind, &mut effects);
    if state.controller.is_some() {
        state.advance(&mut effects);
        state.send_record(&mut effects);
        state.due = state.next_wake();
        if let Some(at) = state.due {
            effects.push(Effect::Wake { at });
        }
    }
    (state, effects)
}

/// Folds events into a state; what the events asked for is of the past.
pub fn replay(state: State, events: impl IntoIterator<Item = Event>) -> State {
    events
        .into_iter()
        .fold(state, |state, event| step(state, event).0)
}

/// What the item at hand says.
pub(crate) enum Turn {
    /// It is done: on to the next.
    Next,
    /// It waits for something.
    Wait,
    /// It did not work.
    Fail(String),
    /// The program has changed: look again.
    Again,
}

impl State {
    /// A controller that is not woken when it asked to be has not run: it was stopped, its machine slept, or was too busy. Nobody
    /// renewed the guards meanwhile, which is no fault of their hosts. Between two controllers nobody asked to be woken.
    fn notice_sleep(&mut self, event: &Event) {
        let due = self
            .due
            .take()
            .filter(|_| !matches!(event.kind, EventKind::Started { .. }));
        if let Some(due) = due.filter(|due| event.at >= due.plus(ASLEEP)) {
            self.slept = Some(Slept {
                until: event.at,
                time: event.at.minus(due),
            });
        }
    }

    /// That the controller slept, where that was a short while ago: what happened since is to be read in that light.
    pub(crate) fn sleep_words(&self) -> Option<String> {
        let slept = self.slept.as_ref()?;
        (self.now < slept.until.plus(REMEMBERED)).then(|| {
            format!(
                "this controller did not run for {:.0} s (it was stopped or too busy, or its machine slept), and nobody renewed the guards meanwhile",
                slept.time.0 as f64 / 1000.0
            )
        })
    }

    fn take_in(&mut self, kind: EventKind, effects: &mut Vec<Effect>) {
        match kind {
            EventKind::Started { controller, token } => self.started(controller, token, effects),
            EventKind::Reported {
                step,
                attempt,
                report,
            } => self.reported(step, attempt, report),
            EventKind::Observed {
                ask,
                node,
                observation,
            } => {
                if observation == Err(ProbeFailure::GuardFired) {
                    self.guard_says(node, &GuardStatus::Firing);
                }
                self.observed(ask, node, observation);
            }
            EventKind::Guard { node, status } => self.guard_says(node, &status),
            EventKind::Woke => {}
            EventKind::Operator { who, command } => self.operator(&who, &command),
            EventKind::Decided(decision) => self.decided(decision),
            EventKind::Superseded { token } => self.supersede(token),
            EventKind::EndedElsewhere { by, how } => {
                self.abandon_active();
                self.guards.clear();
                self.outcome = Some(Outcome::EndedElsewhere { by, how });
            }
        }
    }

    fn started(&mut self, controller: String, token: u64, effects: &mut Vec<Effect>) {
        if token <= self.token() {
            return;
        }
        let first = self.controller.is_none();
        self.controller = Some(Controller {
            name: controller,
            token,
        });
        if matches!(self.outcome, Some(Outcome::Superseded { .. })) {
            self.outcome = None;
        }
        if let Some(outcome) = &self.outcome {
            effects.push(Effect::Rest(outcome.clone()));
            return;
        }
        self.take_up();
        for watch in self.soak.iter_mut().flat_map(|soak| &mut soak.watches) {
            watch.round = crate::state::Round::default();
        }
        if let Some(crossing) = &mut self.crossing {
            crossing.round = crate::state::Round::default();
            crossing.since = self.now;
        }
        self.doubt_guards(effects);
        if !first {
            self.make_known(effects);
        }
        // A guard may have fired since the last controller asked: the decision to stay is made anew, by asking every guard again.
        self.recording
            .take_if(|decision| matches!(decision, Decision::Stay { .. }));
        if let Some(decision) = &self.recording {
            effects.push(Effect::Record(decision.clone()));
        }
    }

    pub(crate) fn supersede(&mut self, token: u64) {
        if token > self.token() && self.outcome.is_none() {
            self.outcome = Some(Outcome::Superseded { token });
        }
    }

    fn advance(&mut self, effects: &mut Vec<Effect>) {
        loop {
            if let Some(outcome) = &self.outcome {
                let rest = Effect::Rest(outcome.clone());
                if !effects.contains(&rest) {
                    effects.push(rest);
                }
                return;
            }
            if self.recording.is_some() {
                return;
            }
            self.renew_guards(effects);
            let turn = if self.hold.is_some() {
                self.settle_hold(effects)
            } else {
                self.turn(effects)
            };
            match turn {
                Turn::Next => self.next_item(),
                Turn::Again => {}
                Turn::Wait => return,
                Turn::Fail(reason) => self.fail(reason, effects),
            }
        }
    }

    /// The item at hand.
    pub(crate) fn item(&self) -> Option<Item> {
        if let Some(item) = self.detour.first() {
            return Some(*item);
        }
        match &self.back {
            Some(back) => back.items.get(back.at).copied(),
            None => self.program.get(self.at).copied(),
        }
    }

    fn next_item(&mut self) {
        if !self.detour.is_empty() {
            self.detour.remove(0);
        } else if let Some(back) = &mut self.back {
            back.at += 1;
        } else {
            self.at += 1;
        }
    }

    fn turn(&mut self, effects: &mut Vec<Effect>) -> Turn {
        let Some(item) = self.item() else {
            self.outcome = Some(match (self.finalizing, self.plan.request.prepare_only) {
                (true, _) => Outcome::Finalized,
                (false, true) => Outcome::Prepared,
                (false, false) => Outcome::Upgraded,
            });
            return Turn::Again;
        };
        if self.back.is_none() && self.detour.is_empty() {
            if let Some(reason) = self.trouble(item) {
                return Turn::Fail(reason);
            }
            if self.pause && safe_point(item) && !self.begun(item) {
                return self.rest_paused();
            }
            if !self.guards_confirmed() && !matches!(item, Item::Decide { .. } | Item::Disarm { .. }) {
                return Turn::Wait;
            }
        }
        self.perform(item, effects)
    }

    /// A safe point was reached. Guards that stand would need a controller; where none stays, they are disarmed, as in any hold.
    fn rest_paused(&mut self) -> Turn {
        let Some(who) = self.leaving.clone().filter(|_| !self.guards.is_empty()) else {
            return Turn::Wait;
        };
        self.leaving = None;
        self.pause = false;
        self.rests_paused = true;
        let remedies = vec![
            "to go on: `upshift resume`".to_owned(),
            "to take the servers done so far back: `upshift abort`".to_owned(),
        ];
        self.record_hold(format!("paused, as {who} asked"), remedies);
        Turn::Again
    }

    fn begun(&self, item: Item) -> bool {
        match item {
            Item::Group(at) => at
                .of(&self.plan)
                .steps
                .first()
                .is_some_and(|step| self.steps.contains_key(&step.id)),
            _ => false,
        }
    }

    fn perform(&mut self, item: Item, effects: &mut Vec<Effect>) -> Turn {
        match item {
            Item::Group(GroupAt {
                part: Part::BeginDowngrade | Part::EndDowngrade,
                hop,
                ..
            }) if !self.downgrading.contains(&hop) => Turn::Next,
            Item::Group(at) => match self.run_group(at, effects) {
                Progress::Done => Turn::Next,
                Progress::Pending => Turn::Wait,
                Progress::Failed { step, reason } => Turn::Fail(self.sentence(step, &reason)),
            },
            Item::Consent { hop } => self.consent(hop),
            Item::Open { hop, window } => self.open(hop, window),
            Item::Close { hop, window } => {
                let now = self.now;
                if let Some(state) = self.windows.get_mut(&(hop, window)) {
                    state.closed = Some(now);
                }
                Turn::Next
            }
            Item::Watch { hop, duration } => self.watch(hop, duration, effects),
            Item::Decide { hop } => self.decide(hop, effects),
            Item::Disarm { hop } => match self.disarm(|_, guard| guard.hop == hop, effects) {
                Disarming::Done => Turn::Next,
                Disarming::Pending => Turn::Wait,
                Disarming::Fired(reason) => Turn::Fail(reason),
                Disarming::Lost(node) => self.in_doubt(&node),
            },
            Item::HopDone => Turn::Next,
            Item::Crossed { hop } => self.find_out_crossing(hop, effects),
            Item::CloseBack { hop, window } => self.close_back(hop, window, effects),
            Item::BackDone { hop } => self.back_done(hop),
        }
    }

    fn open(&mut self, hop: u32, window: u32) -> Turn {
        let limit = program::window_of(&self.plan, hop, window).limit;
        let state = WindowState {
            opened: self.now,
            deadline: self.now.plus(limit),
            closed: None,
            rolled_back: false,
        };
        self.windows.entry((hop, window)).or_insert(state);
        Turn::Next
    }

    fn close_back(&mut self, hop: u32, window: u32, effects: &mut Vec<Effect>) -> Turn {
        let plan = self.plan.clone();
        let nodes = program::nodes_of(&plan, hop, window);
        if self.answers_again(hop, window, nodes) {
            return Turn::Again;
        }
        // Those that fired did the same work; the rollback has proven it once more.
        self.guards
            .retain(|node, guard| !(guard.fired && nodes.contains(node)));
        match self.disarm(|node, _| nodes.contains(&node), effects) {
            Disarming::Pending => Turn::Wait,
            Disarming::Lost(node) => {
                Turn::Fail(format!("{node} has not answered, and its guard still stands"))
            }
            Disarming::Fired(_) => Turn::Again,
            Disarming::Done => {
                if let Some(state) = self.windows.get_mut(&(hop, window)) {
                    state.rolled_back = true;
                }
                Turn::Next
            }
        }
    }

    /// Whether a server that was left to its guard answers again: the rollback is walked once more, for what was left out.
    fn answers_again(&mut self, hop: u32, window: u32, nodes: &[NodeIndex]) -> bool {
        let overdue = |node: &NodeIndex| {
            let guard = self.guards.get(node);
            guard.is_some_and(|guard| guard.is_overdue(self.now))
        };
        let left = nodes.iter().filter(|node| self.left.contains(node));
        let answered: Vec<NodeIndex> = left.filter(|node| !overdue(node)).copied().collect();
        if answered.is_empty() || self.back.is_none() {
            return false;
        }
        let walked = self.walk_again(|at| (at.hop, at.window) == (hop, window));
        self.leave_service_resumed(&walked);
        for node in answered {
            self.left.remove(&node);
        }
        true
    }

    /// What pauses service and was left out is not done any more where service was ordered to be resumed since: nothing would resume it
    /// again.
    fn leave_service_resumed(&mut self, walked: &[GroupAt]) {
        let plan = self.plan.clone();
        let of_slot = |slot: Slot| -> Vec<StepId> {
            let groups = walked.iter().map(|at| at.of(&plan));
            groups
                .flat_map(|group| &group.steps)
                .filter(|step| plan.recipe(step.recipe).kind == StepKind::Undo(slot))
                .map(|step| step.id)
                .collect()
        };
        let ordered = |id: &StepId| self.steps.get(id).is_some_and(|step| step.ordered);
        if !of_slot(Slot::Resume).iter().any(ordered) {
            return;
        }
        let now = self.now;
        for id in of_slot(Slot::Pause) {
            self.steps.entry(id).or_insert_with(|| StepState::skipped(now));
        }
    }

    fn back_done(&mut self, hop: u32) -> Turn {
        let Some(back) = self.back.clone() else {
            return Turn::Next;
        };
        self.stayed.remove(&hop);
        self.downgrading.remove(&hop);
        if back.through && hop > 0 {
            let earlier = hop - 1;
            // The servers serve again.
            let at_once = false;
            let items = program::back(self, earlier, back.through, at_once);
            self.back = Some(Back {
                hop: earlier,
                items,
                at: 0,
                at_once,
                ..back
            });
            return Turn::Again;
        }
        let to = self.plan.hops[hop as usize].from.clone();
        self.outcome = Some(Outcome::RolledBack {
            to,
            reason: back.reason,
        });
        Turn::Again
    }

    /// The moment at which the state has to be looked at again, at the latest.
    fn next_wake(&self) -> Option<Millis> {
        if self.outcome.is_some() || self.recording.is_some() {
            return None;
        }
        let steps = self
            .active
            .iter()
            .filter_map(|id| self.steps.get(id))
            .map(StepState::due);
        let watches = self.soak.iter().flat_map(|soak| {
            let end = (self.now < soak.until).then_some(soak.until);
            soak.watches
                .iter()
                .map(|watch| State::round_due(&watch.round))
                .chain(end)
        });
        let crossing = self
            .crossing
            .iter()
            .map(|crossing| State::round_due(&crossing.round));
        let windows = self
            .windows
            .values()
            .filter(|window| window.closed.is_none() && self.back.is_none())
            .map(|window| window.deadline);
        let hold = self.hold.iter().map(|hold| hold.since.plus(HOLD_PATIENCE));
        let next = steps
            .chain(watches)
            .chain(crossing)
            .chain(windows)
            .chain(hold)
            .chain(self.guards_due())
            .min()?;
        // A moment that has passed was dealt with just now; what is still open is looked at again soon.
        Some(if next > self.now {
            next
        } else {
            self.now.plus(OVERDUE)
        })
    }
}

impl Item {
    /// The hop that an item belongs to.
    pub(crate) fn hop(self) -> Option<u32> {
        match self {
            Item::Group(GroupAt {
                part: Part::Prepare | Part::Prove | Part::Finalize,
                ..
            })
            | Item::HopDone => None,
            Item::Group(at) => Some(at.hop),
            Item::Consent { hop }
            | Item::Open { hop, .. }
            | Item::Close { hop, .. }
            | Item::Watch { hop, .. }
            | Item::Decide { hop }
            | Item::Disarm { hop }
            | Item::Crossed { hop }
            | Item::CloseBack { hop, .. }
            | Item::BackDone { hop } => Some(hop),
        }
    }
}

/// Before which items a pause may take hold: never inside a window, never between a decision and what follows from it.
fn safe_point(item: Item) -> bool {
    match item {
        Item::Group(at) => matches!(at.part, Part::Prepare | Part::Protect | Part::Gate | Part::Settle),
        Item::Consent { .. } => true,
        _ => false,
    }
}
