//! Attempts at a step: what hosts report of them, and when a step is done again.

use upshift_model::Millis;
use upshift_model::action::{GuardStatus, Report};
use upshift_model::profile::Retry;
use upshift_plan::{NodeIndex, Step, StepId};

use crate::program::GroupAt;
use crate::state::{Round, Stage, State};
use crate::steps::{find_in, proving};

impl State {
    /// Takes a host's report in.
    pub(crate) fn reported(&mut self, id: StepId, attempt: u32, report: Report) {
        let now = self.now;
        if let Report::Fenced { token } = report
            && token > self.token()
        {
            return self.supersede(token);
        }
        let Some((node, retry)) = self.find(id).map(|(step, recipe)| (step.node, recipe.retry)) else {
            return;
        };
        if matches!(report, Report::GuardFired) {
            self.guard_says(node, &GuardStatus::Firing);
        }
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        let Stage::Ordered { again } = &mut step.stage else {
            return;
        };
        if step.attempt != attempt {
            return;
        }
        match report {
            Report::Done { output } => {
                step.output = output;
                step.stage = proving(false);
            }
            Report::Interrupted => step.stage = proving(true),
            Report::Transient { reason } if attempt < retry.attempts => {
                let pause = pause_after(retry, attempt);
                step.waiting = format!("attempt {attempt} of {}: {reason}", retry.attempts);
                step.stage = Stage::Backoff {
                    until: now.plus(pause),
                };
            }
            Report::Transient { reason } | Report::Failed { reason } => {
                step.settle(Stage::Failed { reason }, now);
                self.active.remove(&id);
            }
            // A younger order of our own overtook this one: give it again soon.
            Report::Fenced { .. } => *again = now.plus(Millis::seconds(1)),
            Report::GuardFired => {
                let reason = format!("the guard of {} has fired", self.plan.node(node).name);
                step.settle(Stage::Failed { reason }, now);
                self.active.remove(&id);
            }
        }
    }

    /// A new controller gives every open order again, under its own token, and looks again where it was looking; so does a run that was held.
    pub(crate) fn take_up(&mut self) {
        self.asks.clear();
        for id in &self.active {
            let Some(step) = self.steps.get_mut(id) else {
                continue;
            };
            match &mut step.stage {
                Stage::Ordered { again } => *again = self.now,
                Stage::Condition(round) | Stage::Proving { round, .. } => *round = Round::default(),
                _ => {}
            }
            step.fails_on = None;
        }
        // The time without a controller is nobody's fault.
        let now = self.now;
        let (plan, index) = (self.plan.clone(), self.index.clone());
        for id in self.active.clone() {
            let within = find_in(&plan, &index, id)
                .map(|(_, recipe)| recipe.within)
                .unwrap_or_default();
            if let Some(step) = self.steps.get_mut(&id) {
                step.deadline = step.deadline.max(now.plus(within));
            }
        }
    }

    /// Lets the steps of a group be done again, as new attempts.
    pub(crate) fn repeat(&mut self, at: GroupAt, which: impl Fn(&Stage) -> bool) {
        let plan = self.plan.clone();
        for step in &at.of(&plan).steps {
            if self.steps.get(&step.id).is_some_and(|state| which(&state.stage)) {
                self.do_again(step, plan.recipe(step.recipe).within);
            }
        }
    }

    /// Lets a server's steps of a group be done again, as new attempts, as far as they are to be done at all.
    pub(crate) fn repeat_on(&mut self, at: GroupAt, node: NodeIndex) {
        let plan = self.plan.clone();
        for step in at.of(&plan).steps.iter().filter(|step| step.node == node) {
            if self.applies(step) {
                self.do_again(step, plan.recipe(step.recipe).within);
            }
        }
    }

    fn do_again(&mut self, step: &Step, within: Millis) {
        if let Some(state) = self.steps.get_mut(&step.id).filter(|state| state.settled()) {
            state.stage = Stage::Condition(Round::default());
            state.began = self.now;
            state.ended = None;
            state.deadline = self.now.plus(within);
            state.furthest = None;
            self.active.insert(step.id);
        }
    }

    /// Waits for no answer any more that a step has asked for.
    pub(crate) fn forget_rounds(&mut self, id: StepId) {
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        let in_vain = step.fails_on.take().map(|(round, _)| round);
        let open = step.round().cloned();
        for round in open.iter().chain(&in_vain) {
            self.forget(round);
        }
    }
}

/// How long is waited before the next attempt.
pub(crate) fn pause_after(retry: Retry, attempt: u32) -> Millis {
    retry.pause.times(1 << attempt.saturating_sub(1).min(16))
}
