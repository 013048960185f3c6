//! Going forward again from a rollback that is held: `upshift resume --forward`.
//!
//! Windows that were rolled back are done again from their gates on. The one whose rollback is stuck is done again without its gate,
//! since its server is mostly down: what the plan asks of a server that serves all the same is asked, and where it does not serve, it is
//! not made to hand over what it does not have. What was saved of it stays as it is, because its configuration and data may be half put
//! back by now. Windows that were not come to keep the new version, behind guards
//! that stand again.

use upshift_model::profile::{Slot, Strategy};
use upshift_plan::{Group, Recipe, StepKind};

use crate::program::{self, GroupAt, Item, Part, groups_at, nodes_of, window_of};
use crate::state::{Stage, State, StepState};

/// Which windows are done again, as hop and window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Again {
    /// The hop that is being rolled back.
    hop: u32,
    /// Those that were rolled back.
    whole: Vec<(u32, u32)>,
    /// The one that had failed, or whose rollback was begun.
    half: Option<(u32, u32)>,
}

/// A window, as far as its rollback has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Come {
    /// It was not begun: the new version serves.
    NotTo,
    Half,
    Whole,
}

impl State {
    /// What going forward again would do, or why it cannot be.
    pub(crate) fn forward_again(&self) -> Result<Again, String> {
        let Some(back) = self.back.as_ref().filter(|_| !self.past_return) else {
            return Err(
                "the run is not held in a rollback, so there is nothing to go forward from again".to_owned(),
            );
        };
        // The product makes way for the old version meanwhile, and would not let the new one stay.
        if self.downgrading.contains(&back.hop) {
            let point = self.plan.hops[back.hop as usize].no_return.as_ref();
            let give_up = point.and_then(|point| point.own_rollback.as_ref()?.give_up.clone());
            return Err(format!(
                "the product's own rollback is under way{}",
                give_up.map_or_else(String::new, |words| format!(" (to give it up: {words})"))
            ));
        }
        let mut again = Again {
            hop: back.hop,
            ..Again::default()
        };
        let mut half = Vec::new();
        for &(hop, window) in self.windows.keys().filter(|(hop, _)| *hop >= back.hop) {
            match self.come(hop, window) {
                Come::NotTo => {}
                Come::Half => half.push((hop, window)),
                Come::Whole => again.whole.push((hop, window)),
            }
        }
        let hops = self.plan.hops.iter().skip(back.hop as usize);
        if let Some(hop) = hops.clone().find(|hop| hop.strategy != Strategy::Rolling) {
            return Err(format!(
                "only rolling upgrades go forward again from the middle of a rollback, and {} → {} is none",
                hop.from, hop.to
            ));
        }
        if half.len() > 1 {
            let names: Vec<&str> = half
                .iter()
                .flat_map(|&(hop, window)| nodes_of(&self.plan, hop, window))
                .map(|node| self.plan.node(*node).name.as_str())
                .collect();
            return Err(format!(
                "several servers are half rolled back ({}), and only one at a time is taken forward without its gate",
                names.join(", ")
            ));
        }
        again.half = half.pop();
        Ok(again)
    }

    fn come(&self, hop: u32, window: u32) -> Come {
        let state = &self.windows[&(hop, window)];
        if state.rolled_back {
            return Come::Whole;
        }
        // A guard has rolled its host back by itself: to its end, or not.
        let nodes = nodes_of(&self.plan, hop, window);
        let mut fired = nodes.iter().filter_map(|node| self.fired.get(&(hop, *node)));
        let rollback = &window_of(&self.plan, hop, window).rollback;
        let ordered = |id| self.steps.get(id).is_some_and(|step| step.ordered);
        let mut steps = rollback.iter().flat_map(|group| &group.steps);
        if state.closed.is_none() || steps.any(|step| ordered(&step.id)) {
            return Come::Half;
        }
        match (fired.clone().count(), fired.all(|served| *served)) {
            (0, _) => Come::NotTo,
            (_, true) => Come::Whole,
            (_, false) => Come::Half,
        }
    }

    /// What an operator is told of going forward again, where it can be.
    pub(crate) fn forward_remedy(&self) -> Option<String> {
        let again = self.forward_again().ok()?;
        let to = &self.plan.hops[again.hop as usize].to;
        let windows = again.half.iter().chain(&again.whole);
        let nodes = windows.flat_map(|&(hop, window)| nodes_of(&self.plan, hop, window));
        let mut names: Vec<&str> = nodes.map(|node| self.plan.node(*node).name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let disturbed = match names.is_empty() {
            true => "no server is taken out of service for it".to_owned(),
            false => format!(
                "{}, one after the other, out of service once more",
                names.join(", ")
            ),
        };
        Some(format!(
            "to go forward to {to} again, once what made it fail is mended: `upshift resume --forward`; {disturbed}"
        ))
    }

    /// An operator lets the run go forward again.
    pub(crate) fn go_forward(&mut self) {
        let again = match self.forward_again() {
            Ok(again) if self.guards.is_empty() && self.hold.is_some() => again,
            Ok(_) => {
                let reason = "a guard may still act, so the run does not go forward again yet: `upshift resume` asks the guard first";
                self.refusal = Some(reason.to_owned());
                return;
            }
            Err(reason) => {
                self.refusal = Some(reason);
                return;
            }
        };
        self.forget_rollback(again.hop);
        let plan = self.plan.clone();
        for &(hop, window) in &again.whole {
            self.windows.remove(&(hop, window));
            for at in
                groups_at(&plan, Part::Gate, hop, window).chain(groups_at(&plan, Part::Forward, hop, window))
            {
                self.never_ordered(at.of(&plan));
                self.repeat(at, |_| true);
            }
        }
        for hop in again.hop..plan.hops.len() as u32 {
            let protect = groups_at(&plan, Part::Protect, hop, 0).filter(|_| hop > again.hop);
            let after = [Part::Stay, Part::Settle].map(|part| groups_at(&plan, part, hop, 0));
            for at in protect.chain(after.into_iter().flatten()) {
                self.repeat(at, |_| true);
            }
        }
        for at in groups_at(&plan, Part::Prove, again.hop, 0) {
            self.repeat(at, |_| true);
        }
        self.detour = self.guards_again(&again);
        self.half = again.half;
        if let Some((hop, window)) = again.half {
            self.half_again(hop, window);
        }
        for item in self.detour.clone() {
            if let Item::Group(at) = item {
                self.repeat(at, |_| true);
            }
        }
        let first = again.half.iter().chain(&again.whole).min();
        if let Some(&(hop, window)) = first {
            self.at = program::beginning_of(&self.program, hop, window).unwrap_or(self.at);
        }
        self.fired.retain(|(hop, _), _| *hop < again.hop);
    }

    /// The rollback, and what was decided in it, is over.
    fn forget_rollback(&mut self, hop: u32) {
        let plan = self.plan.clone();
        self.abandon_active();
        self.outcome = None;
        self.hold = None;
        self.back = None;
        self.rests_paused = false;
        self.pause = false;
        self.leaving = None;
        self.loss_accepted = None;
        self.crossing = None;
        self.confirming = None;
        self.soak = None;
        self.at_once = false;
        self.rolling_back_all = false;
        self.asked_from = None;
        self.detour.clear();
        self.left.clear();
        self.stayed.retain(|stayed| *stayed < hop);
        self.again.extend(hop..plan.hops.len() as u32);
        let windows: Vec<(u32, u32)> = self
            .windows
            .keys()
            .copied()
            .filter(|(of, _)| *of >= hop)
            .collect();
        for (hop, window) in windows {
            for group in &window_of(&plan, hop, window).rollback {
                self.never_ordered(group);
            }
        }
    }

    /// As if the steps of a group had never been ordered: whatever undoes them later has nothing to undo. Attempts go on counting.
    fn never_ordered(&mut self, group: &Group) {
        for step in &group.steps {
            if let Some(state) = self.steps.get_mut(&step.id) {
                state.ordered = false;
            }
        }
    }

    /// The guards of the windows that keep the new version, and the gate of the window that is half rolled back where its server serves.
    fn guards_again(&self, again: &Again) -> Vec<Item> {
        let half = |item: &Item| match item {
            Item::Group(at) => Some((at.hop, at.window)) == again.half,
            _ => false,
        };
        let mut items = program::rearm(self, again.hop);
        items.retain(|item| !half(item));
        if let Some((hop, window)) = again.half {
            items.extend(program::gate_where_it_serves(&self.plan, hop, window));
        }
        items
    }

    fn half_again(&mut self, hop: u32, window: u32) {
        let plan = self.plan.clone();
        let (now, limit) = (self.now, window_of(&plan, hop, window).limit);
        if let Some(state) = self.windows.get_mut(&(hop, window)) {
            state.opened = now;
            state.deadline = now.plus(limit);
            state.closed = None;
            state.rolled_back = false;
        }
        for at in groups_at(&plan, Part::Gate, hop, window) {
            self.leave_out(at);
        }
        for at in groups_at(&plan, Part::Forward, hop, window) {
            let mut kinds = at.of(&plan).steps.iter().map(|step| plan.recipe(step.recipe));
            if kinds.clone().any(|recipe| recipe.is_gate()) {
                self.leave_out(at);
            } else if kinds.any(|recipe| matches!(recipe.kind, StepKind::Do(Slot::Save | Slot::BackUp))) {
                self.repeat(at, |stage| !matches!(stage, Stage::Proven));
            } else {
                self.repeat(at, |_| true);
            }
        }
    }

    /// Whether a step would have a server leave service that was just seen not to serve. Load balancers are asked all the same: they do
    /// not need the server for that.
    pub(crate) fn has_left_service(&self, at: GroupAt, recipe: &Recipe) -> bool {
        if self.half != Some((at.hop, at.window)) || at.part != Part::Forward || recipe.balancer.is_some() {
            return false;
        }
        let gates = program::gate_where_it_serves(&self.plan, at.hop, at.window);
        let asked = gates.into_iter().filter_map(|item| match item {
            Item::Group(gate) => Some(gate),
            _ => None,
        });
        let mut stages = asked
            .flat_map(|gate| &gate.of(&self.plan).steps)
            .map(|step| self.steps.get(&step.id).map(|state| &state.stage))
            .peekable();
        matches!(recipe.kind, StepKind::Do(Slot::Drain | Slot::HandOver))
            && stages.peek().is_some()
            && stages.all(|stage| matches!(stage, Some(Stage::Skipped)))
    }

    fn leave_out(&mut self, at: GroupAt) {
        let plan = self.plan.clone();
        for step in &at.of(&plan).steps {
            let now = self.now;
            let state = self
                .steps
                .entry(step.id)
                .or_insert_with(|| StepState::skipped(now));
            state.settle(Stage::Skipped, now);
        }
    }
}
