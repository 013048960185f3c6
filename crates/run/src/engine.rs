//! `step(state, event) → (state, effects)`.

use upshift_model::Millis;

use crate::event::{Decision, Effect, Event, EventKind, OperatorCommand, Outcome};
use crate::guards::Disarming;
use crate::program::{self, GroupAt, Item, Part};
use crate::state::{Back, Controller, Hold, Stage, State, StepState, WindowState};
use crate::steps::Progress;

/// How long a held run waits for its guards to be disarmed before it says that some could not be.
const HOLD_PATIENCE: Millis = Millis::seconds(15);

/// When something that is due could not be carried on, it is looked at again after this time.
const OVERDUE: Millis = Millis(250);

/// Takes one event in. The whole engine is this function: the same state and event always give the same result.
pub fn step(mut state: State, event: Event) -> (State, Vec<Effect>) {
    let mut effects = Vec::new();
    state.now = state.now.max(event.at);
    state.take_in(event.kind, &mut effects);
    if state.controller.is_some() {
        state.advance(&mut effects);
        state.send_record(&mut effects);
        if let Some(at) = state.next_wake() {
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
            } => self.observed(ask, node, observation),
            EventKind::Guard { node, status } => self.guard_says(node, &status),
            EventKind::Woke => {}
            EventKind::Operator { who, command } => self.operator(&who, &command),
            EventKind::Decided(decision) => self.decided(decision),
            EventKind::Superseded { token } => self.supersede(token),
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
                return Turn::Wait;
            }
            if !self.guards_confirmed() && !matches!(item, Item::Decide { .. } | Item::Disarm { .. }) {
                return Turn::Wait;
            }
        }
        self.perform(item, effects)
    }

    /// What makes going forward impossible, whatever the item at hand is about.
    fn trouble(&self, item: Item) -> Option<String> {
        if matches!(item, Item::Disarm { .. }) {
            return None;
        }
        if let Some(reason) = self.guard_trouble() {
            return Some(reason);
        }
        let open = self
            .windows
            .values()
            .find(|window| window.closed.is_none() && !window.reverted)?;
        (self.now >= open.deadline).then(|| {
            let took = self.now.minus(open.opened);
            let waiting = self.waiting_for().unwrap_or_default();
            format!(
                "the window has been open for {:.1} s, longer than it may be: {waiting}",
                took.0 as f64 / 1000.0
            )
        })
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

    fn consent(&mut self, hop: u32) -> Turn {
        let the_hop = &self.plan.hops[hop as usize];
        let (Some(no_return), false) = (
            &the_hop.no_return,
            self.consented || self.plan.request.accept_no_return,
        ) else {
            return Turn::Next;
        };
        let reason = format!(
            "the hop {} → {} crosses a point of no return, and nobody has said yes to that: {}",
            the_hop.from, the_hop.to, no_return.description
        );
        let remedies = vec![
            "to go on: `upshift resume --accept-no-return`".to_owned(),
            "to leave everything as it is: `upshift abort`".to_owned(),
        ];
        self.record_hold(reason, remedies);
        Turn::Again
    }

    fn open(&mut self, hop: u32, window: u32) -> Turn {
        let limit = program::window_of(&self.plan, hop, window).limit;
        let state = WindowState {
            opened: self.now,
            deadline: self.now.plus(limit),
            closed: None,
            reverted: false,
        };
        self.windows.entry((hop, window)).or_insert(state);
        Turn::Next
    }

    /// Every guard must be known to stand before the decision: a guard that had fired would leave a part of the fleet behind.
    fn decide(&mut self, hop: u32, effects: &mut Vec<Effect>) -> Turn {
        if self.stayed.contains(&hop) {
            return Turn::Next;
        }
        if self.guards.is_empty() || self.confirming == Some(hop) && self.guards_confirmed() {
            self.confirming = None;
            self.record(Decision::Stay { hop }, effects);
            return Turn::Wait;
        }
        if self.confirming != Some(hop) {
            self.confirming = Some(hop);
            self.confirm_guards(effects);
        }
        Turn::Wait
    }

    fn in_doubt(&mut self, node: &str) -> Turn {
        let reason = format!(
            "in doubt: the new version stays, but {node} has not answered since that was decided; its guard may have taken it back"
        );
        let remedies = vec![
            format!("bring {node} back, then `upshift resume`: what its own records say decides"),
            "to take every server back: `upshift revert`".to_owned(),
        ];
        self.record_hold(reason, remedies);
        Turn::Again
    }

    fn close_back(&mut self, hop: u32, window: u32, effects: &mut Vec<Effect>) -> Turn {
        let plan = self.plan.clone();
        let nodes = program::nodes_of(&plan, hop, window);
        // Those that fired did the same work; the way back has proven it once more.
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
                    state.reverted = true;
                }
                Turn::Next
            }
        }
    }

    fn back_done(&mut self, hop: u32) -> Turn {
        let Some(back) = self.back.clone() else {
            return Turn::Next;
        };
        self.stayed.remove(&hop);
        if back.through && hop > 0 {
            let earlier = hop - 1;
            let items = program::back(self, earlier);
            self.back = Some(Back {
                hop: earlier,
                items,
                at: 0,
                ..back
            });
            return Turn::Again;
        }
        let to = self.plan.hops[hop as usize].from.clone();
        self.outcome = Some(Outcome::Reverted {
            to,
            reason: back.reason,
        });
        Turn::Again
    }

    /// A hold lets no guard move anything behind the operator's back: they are disarmed first, as far as they can be reached.
    fn settle_hold(&mut self, effects: &mut Vec<Effect>) -> Turn {
        let Some(hold) = self.hold.clone() else {
            return Turn::Again;
        };
        self.guards.retain(|_, guard| !guard.fired);
        let disarming = self.disarm(|_, _| true, effects);
        let patient = self.now < hold.since.plus(HOLD_PATIENCE);
        if matches!(disarming, Disarming::Pending) && patient {
            return Turn::Wait;
        }
        let mut reason = hold.reason;
        if !self.guards.is_empty() {
            let names: Vec<&str> = self
                .guards
                .keys()
                .map(|node| self.plan.node(*node).name.as_str())
                .collect();
            reason = format!(
                "{reason}. The guard of {} could not be disarmed and may still act",
                names.join(", ")
            );
        }
        self.outcome = Some(Outcome::Held {
            reason,
            remedies: hold.remedies,
        });
        Turn::Again
    }

    fn decided(&mut self, decision: Decision) {
        self.recording = None;
        match decision {
            Decision::Stay { hop } => {
                self.stayed.insert(hop);
            }
            Decision::Revert { hop, reason } => self.turn_back(hop, reason),
            Decision::Hold { reason, remedies } => {
                // A host that did not report in time may have armed its guard all the same.
                for (node, guard) in std::mem::take(&mut self.arming) {
                    self.guards.entry(node).or_insert(guard);
                }
                self.hold = Some(Hold {
                    reason,
                    remedies,
                    since: self.now,
                });
            }
        }
    }

    /// Steps on the way forward that still wait are given up; what hosts still report of them changes nothing.
    fn turn_back(&mut self, hop: u32, reason: String) {
        self.soak = None;
        self.crossing = None;
        self.confirming = None;
        self.detour.clear();
        self.abandon_active();
        for guard in self.guards.values_mut() {
            guard.disarm_sent = None;
        }
        let items = program::back(self, hop);
        for item in &items {
            if let Item::Group(at) = item {
                self.repeat(*at, |_| true);
            }
        }
        let through = self.reverting_all;
        self.back = Some(Back {
            hop,
            reason,
            items,
            at: 0,
            through,
        });
    }

    fn operator(&mut self, who: &str, command: &OperatorCommand) {
        match command {
            OperatorCommand::Pause => self.pause = true,
            OperatorCommand::Consent => {
                self.consented = true;
                self.go_on();
            }
            OperatorCommand::Resume => {
                self.pause = false;
                self.go_on();
            }
            OperatorCommand::Abort => self.give_up(format!("{who} asked to go back")),
            OperatorCommand::Revert => {
                self.reverting_all = true;
                self.give_up(format!("{who} asked to go back"));
            }
            OperatorCommand::Finalize => self.finalize(),
        }
    }

    fn finalize(&mut self) {
        if self.outcome == Some(Outcome::Upgraded) {
            self.outcome = None;
            self.finalizing = true;
            self.program = std::sync::Arc::new(program::finalize(&self.plan));
            self.at = 0;
        }
    }

    /// Ends a hold: what failed is tried again, behind guards that stand again.
    fn go_on(&mut self) {
        if !matches!(self.outcome, Some(Outcome::Held { .. })) {
            return;
        }
        self.outcome = None;
        self.hold = None;
        if std::mem::take(&mut self.past_return) {
            self.back = None;
            self.retry_current();
            return;
        }
        self.retry_current();
        let hop = match (&self.back, self.item()) {
            (Some(back), _) => Some(back.hop),
            (None, item) => item.and_then(Item::hop),
        };
        if let Some(hop) = hop.filter(|hop| !self.stayed.contains(hop)) {
            let rearm = program::rearm(self, hop);
            for item in &rearm {
                if let Item::Group(at) = item {
                    self.repeat(*at, |_| true);
                }
            }
            self.detour = rearm;
        }
        let now = self.now;
        let plan = self.plan.clone();
        for ((hop, window), state) in &mut self.windows {
            if state.closed.is_none() {
                state.deadline = now.plus(program::window_of(&plan, *hop, *window).limit);
            }
        }
    }

    /// Lets the steps of the group at hand that failed be tried again, as new attempts.
    fn retry_current(&mut self) {
        if let Some(Item::Group(at)) = self.item() {
            self.repeat(at, |stage| matches!(stage, Stage::Failed { .. }));
        }
    }

    /// An operator asks to go back.
    fn give_up(&mut self, reason: String) {
        let over = matches!(
            self.outcome,
            Some(
                Outcome::Finalized
                    | Outcome::Prepared
                    | Outcome::Refused { .. }
                    | Outcome::Reverted { .. }
                    | Outcome::Superseded { .. }
            )
        );
        if over || self.back.is_some() && self.hold.is_none() {
            return;
        }
        let Some(hop) = self.hop_to_revert() else {
            self.outcome = Some(Outcome::Refused { reason });
            return;
        };
        self.outcome = None;
        self.hold = None;
        self.recording = Some(Decision::Revert { hop, reason });
        self.unsent_record = true;
    }

    /// The last hop in which something was changed.
    pub(crate) fn hop_to_revert(&self) -> Option<u32> {
        self.windows
            .iter()
            .rev()
            .find(|(_, window)| !window.reverted)
            .map(|((hop, _), _)| *hop)
    }

    pub(crate) fn record(&mut self, decision: Decision, effects: &mut Vec<Effect>) {
        self.recording = Some(decision.clone());
        effects.push(Effect::Record(decision));
    }

    fn send_record(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.unsent_record)
            && let Some(decision) = &self.recording
        {
            effects.push(Effect::Record(decision.clone()));
        }
    }

    fn record_hold(&mut self, reason: String, remedies: Vec<String>) {
        self.recording = Some(Decision::Hold { reason, remedies });
        self.unsent_record = true;
    }

    fn fail(&mut self, reason: String, effects: &mut Vec<Effect>) {
        if let Some(decision) = self.verdict_on(reason) {
            self.record(decision, effects);
        }
    }

    /// What a failure leads to. The one place that decides between going back, holding, and refusing.
    fn verdict_on(&mut self, reason: String) -> Option<Decision> {
        let retry = "when the cause is mended: `upshift resume`".to_owned();
        if self.back.is_some() {
            let remedies = vec![retry, "to see what was observed: `upshift why`".to_owned()];
            return Some(Decision::Hold {
                reason: format!("the way back is stuck: {reason}"),
                remedies,
            });
        }
        if self.finalizing {
            return Some(Decision::Hold {
                reason,
                remedies: vec![retry],
            });
        }
        let item = self.item();
        let hop = item.and_then(Item::hop);
        let opened = hop.is_some_and(|hop| self.windows.range((hop, 0)..=(hop, u32::MAX)).next().is_some());
        let part = match item {
            Some(Item::Group(at)) => Some(at.part),
            _ => None,
        };
        match (hop, opened, part) {
            // Between two windows the cluster cannot bear the next one: going back would need the same. Not so where a host goes
            // back by itself: then the others must follow it.
            (Some(_), true, Some(Part::Gate)) if self.guard_trouble().is_none() => {
                let back = "to take the servers done so far back: `upshift abort`".to_owned();
                Some(Decision::Hold {
                    reason,
                    remedies: vec![retry, back],
                })
            }
            (Some(_), true, Some(Part::Settle)) => {
                let back = "to go back: `upshift revert`".to_owned();
                Some(Decision::Hold {
                    reason,
                    remedies: vec![retry, back],
                })
            }
            (Some(hop), true, _) => Some(Decision::Revert { hop, reason }),
            (Some(hop), false, _) if hop > 0 => {
                let version = &self.plan.hops[hop as usize].from;
                let reason = format!("stopped between two hops, every server on {version}: {reason}");
                let back = "to go back: `upshift revert`".to_owned();
                Some(Decision::Hold {
                    reason,
                    remedies: vec![retry, back],
                })
            }
            _ => {
                self.outcome = Some(Outcome::Refused { reason });
                self.abandon_active();
                None
            }
        }
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

    fn abandon_active(&mut self) {
        self.asks.clear();
        for id in std::mem::take(&mut self.active) {
            if let Some(step) = self.steps.get_mut(&id) {
                step.stage = Stage::Failed {
                    reason: "given up".to_owned(),
                };
                step.ended = Some(self.now);
            }
        }
    }
}

impl Item {
    /// The hop that an item belongs to.
    pub(crate) fn hop(self) -> Option<u32> {
        match self {
            Item::Group(GroupAt {
                part: Part::Prepare | Part::Finalize,
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
