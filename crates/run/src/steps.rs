//! One step: look whether it applies, order it, look at its proofs until they hold.

use std::collections::BTreeMap;

use serde_json::Value;
use upshift_model::action::Action;
use upshift_model::profile::{At, Otherwise, Slot};
use upshift_model::{Millis, expr};
use upshift_plan::{NodeIndex, Plan, Recipe, Step, StepId, StepKind};

use crate::attempts::pause_after;
use crate::context::Names;
use crate::event::{Direction, Effect, Order};
use crate::guards::DoneByGuard;
use crate::program::{GroupAt, Index, Part, nodes_of};
use crate::rounds::{Question, Verdict};
use crate::state::{Asker, Guard, Round, Stage, State, StepState};

/// After this time without a report an order is given again. It is the same order: a host that has it answers with what it has.
const RESEND: Millis = Millis::seconds(30);

/// Progress extends the time that a step may take up to this many times what its recipe says.
pub(crate) const MOST_EXTENSION: u64 = 10;

/// Where a group stands.
pub(crate) enum Progress {
    Pending,
    Done,
    Failed { step: StepId, reason: String },
}

impl StepState {
    /// A step that is left out.
    pub(crate) fn skipped(now: Millis) -> Self {
        StepState {
            ended: Some(now),
            ..StepState::new(now, now, Stage::Skipped)
        }
    }

    fn new(now: Millis, deadline: Millis, stage: Stage) -> Self {
        StepState {
            stage,
            attempt: 0,
            began: now,
            ended: None,
            deadline,
            bindings: BTreeMap::new(),
            output: Value::Null,
            furthest: None,
            waiting: String::new(),
            ordered: false,
            after_guard: false,
            fails_on: None,
            silent: 0,
        }
    }

    /// The open round, where the stage has one.
    pub(crate) fn round(&mut self) -> Option<&mut Round> {
        match &mut self.stage {
            Stage::Condition(round) | Stage::Proving { round, .. } => Some(round),
            _ => None,
        }
    }

    /// The moment at which the step has to be carried on, at the latest.
    pub(crate) fn due(&self) -> Millis {
        let stage = match &self.stage {
            Stage::Condition(round) | Stage::Proving { round, .. } => State::round_due(round),
            Stage::Ordered { again } => *again,
            Stage::Backoff { until } => *until,
            Stage::Proven | Stage::Skipped | Stage::Failed { .. } => self.deadline,
        };
        let fails_on = self.fails_on.as_ref().map(|(round, _)| State::round_due(round));
        stage.min(fails_on.unwrap_or(self.deadline)).min(self.deadline)
    }

    pub(crate) fn settled(&self) -> bool {
        matches!(self.stage, Stage::Proven | Stage::Skipped | Stage::Failed { .. })
    }

    /// The round of the step's `fails_on`.
    pub(crate) fn fails_on_round(&mut self) -> Option<&mut Round> {
        self.fails_on.as_mut().map(|(round, _)| round)
    }

    pub(crate) fn settle(&mut self, stage: Stage, now: Millis) {
        self.stage = stage;
        self.ended = Some(now);
    }
}

/// What a step is made of, borrowed from the plan.
struct StepView<'a> {
    step: &'a Step,
    recipe: &'a Recipe,
    at: GroupAt,
    window: &'a [NodeIndex],
}

impl State {
    /// Carries a group on.
    pub(crate) fn run_group(&mut self, at: GroupAt, effects: &mut Vec<Effect>) -> Progress {
        let plan = self.plan.clone();
        let window: &[NodeIndex] = if at.part.has_window() {
            nodes_of(&plan, at.hop, at.window)
        } else {
            &[]
        };
        let mut pending = false;
        for step in &at.of(&plan).steps {
            let view = StepView {
                step,
                recipe: plan.recipe(step.recipe),
                at,
                window,
            };
            if self.leave(&view) {
                continue;
            }
            let stage = self.steps.get(&step.id).map(|state| &state.stage);
            if matches!(stage, None | Some(Stage::Condition(_))) && self.waits_for_guard(at, step.node) {
                pending = true;
                continue;
            }
            self.run_step(&view, effects);
            match self.steps.get(&step.id).map(|state| &state.stage) {
                Some(Stage::Failed { reason }) => {
                    return Progress::Failed {
                        step: step.id,
                        reason: reason.clone(),
                    };
                }
                Some(Stage::Proven | Stage::Skipped) => {}
                _ => pending = true,
            }
        }
        if pending {
            Progress::Pending
        } else {
            Progress::Done
        }
    }

    /// Gives up a step of a rollback whose server is left to its guard, and for the time being what asks all servers: a gate, since the
    /// others must follow the one that rolls itself back, and the last proof. What was left out is done when the server answers.
    fn leave(&mut self, view: &StepView<'_>) -> bool {
        let own = self.left_to_guard(view.at, view.step.node);
        if own {
            self.left.insert(view.step.node);
        }
        let asks_all = view.recipe.is_gate() || view.recipe.kind == StepKind::Undo(Slot::Verify);
        let gone = |node: &NodeIndex| self.left.contains(node) || self.left_to_guard(view.at, *node);
        let given_up = own || asks_all && view.at.part.leads_back() && view.window.iter().any(gone);
        if !given_up {
            return false;
        }
        self.forget_rounds(view.step.id);
        self.steps.remove(&view.step.id);
        self.active.remove(&view.step.id);
        true
    }

    fn run_step(&mut self, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        if !self.steps.contains_key(&view.step.id) {
            self.begin_step(view);
        }
        let Some(mut step) = self.steps.remove(&view.step.id) else {
            return;
        };
        if !step.settled() {
            self.carry_on(&mut step, view, effects);
            if !step.settled() && self.now >= step.deadline {
                self.run_out(&mut step, view);
            }
            if !matches!(step.stage, Stage::Proving { .. })
                && let Some((round, _)) = step.fails_on.take()
            {
                self.forget(&round);
            }
            if step.settled() {
                if let Some(round) = step.round() {
                    let round = round.clone();
                    self.forget(&round);
                }
                self.active.remove(&view.step.id);
            }
        }
        self.steps.insert(view.step.id, step);
    }

    fn begin_step(&mut self, view: &StepView<'_>) {
        let deadline = self.deadline_of(view);
        let applies = self.applies(view.step);
        let mut step = StepState::new(self.now, deadline, Stage::Condition(Round::default()));
        if applies {
            self.active.insert(view.step.id);
        } else {
            step.settle(Stage::Skipped, self.now);
        }
        self.steps.insert(view.step.id, step);
    }

    /// Whether a step is to be done at all; see [`Step::undoes`].
    pub(crate) fn applies(&self, step: &Step) -> bool {
        let ordered = |id: &StepId| self.steps.get(id).is_some_and(|undone| undone.ordered);
        step.undoes.is_empty() || step.undoes.iter().any(ordered)
    }

    /// A rollback may have to wait until the host's own guard has done it; what it may go on without delays it no longer than it says.
    fn deadline_of(&self, view: &StepView<'_>) -> Millis {
        let own = self.now.plus(view.recipe.within);
        match self.guards.get(&view.step.node) {
            Some(guard) if view.at.part.leads_back() && !may_be_left(view) => {
                own.max(guard.until.plus(view.recipe.within))
            }
            _ => own,
        }
    }

    fn carry_on(&mut self, step: &mut StepState, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        // A stage may hand over to the next within one event; the number of stages bounds the loop.
        loop {
            let before = std::mem::discriminant(&step.stage);
            match &step.stage {
                Stage::Condition(_) => self.look_at_condition(step, view, effects),
                Stage::Backoff { until } if self.now >= *until => self.order(step, view, effects),
                Stage::Ordered { again } if self.now >= *again => self.send(step, view, effects),
                Stage::Proving { .. } if self.overtaken_by_guard(step, view) => {
                    step.after_guard = true;
                    if let Some(round) = step.round().cloned() {
                        self.forget(&round);
                    }
                    self.act(step, view, effects);
                    self.look_at_proof(step, view, effects);
                }
                Stage::Proving { .. } => {
                    self.look_at_proof(step, view, effects);
                    self.look_whether_in_vain(step, view, effects);
                }
                _ => {}
            }
            if step.settled() || std::mem::discriminant(&step.stage) == before {
                return;
            }
        }
    }

    fn look_at_condition(&mut self, step: &mut StepState, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        // One that is done again may have nothing to undo any more.
        if !self.applies(view.step) || self.has_left_service(view.at, view.recipe) {
            return step.settle(Stage::Skipped, self.now);
        }
        let Some(proof) = &view.recipe.only_if else {
            return self.act(step, view, effects);
        };
        let Stage::Condition(round) = &mut step.stage else {
            return;
        };
        let mut round = std::mem::take(round);
        let bindings = BTreeMap::new();
        let question = question(view, proof, &bindings, &Value::Null);
        let verdict = self.look(&mut round, Asker::Step(view.step.id), &question, effects);
        step.stage = Stage::Condition(round);
        let Some(verdict) = verdict else { return };
        if verdict.holds {
            match self.bind(view, &question, &verdict) {
                Ok(bindings) => {
                    step.bindings = bindings;
                    self.act(step, view, effects);
                }
                Err(reason) => step.waiting = reason,
            }
        } else if verdict.no > 0 || silent_before_rolling_back(step, view, &verdict) {
            step.settle(Stage::Skipped, self.now);
        } else {
            step.waiting = verdict.waiting;
        }
    }

    fn bind(
        &self,
        view: &StepView<'_>,
        question: &Question<'_>,
        seen: &Verdict,
    ) -> Result<BTreeMap<String, Value>, String> {
        let bindings = &view.recipe.bindings;
        let expressions: Vec<&String> = bindings.values().collect();
        let own = view.step.node;
        let value = &seen.values[&self.plan.node(own).name];
        let scope = question.scope(self, own, value, &seen.values, &expressions);
        bindings
            .iter()
            .map(|(name, text)| {
                expr::value(text, &scope)
                    .map(|value| (name.clone(), value))
                    .map_err(|error| error.to_string())
            })
            .collect()
    }

    fn act(&mut self, step: &mut StepState, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        if let Some(done) = self.done_by_guard(view.at, view.step.node, view.recipe) {
            match done {
                DoneByGuard::Undisturbed => step.settle(Stage::Skipped, self.now),
                DoneByGuard::ToBeSeen => step.stage = proving(true),
            }
        } else if view.recipe.action.is_some() {
            self.order(step, view, effects);
        } else {
            step.stage = proving(false);
        }
    }

    /// A report from before the host's guard fired says nothing any more: what was stopped runs again. In a rollback it is ordered
    /// again; on the way forward the window fails. What was ordered is never given up before its report: the host may do it yet.
    fn overtaken_by_guard(&self, step: &StepState, view: &StepView<'_>) -> bool {
        self.guard_fired(view.step.node)
            && step.ordered
            && !step.after_guard
            && view.at.part.leads_back()
            && view.recipe.action.is_some()
    }

    fn guard_fired(&self, node: NodeIndex) -> bool {
        self.guards.get(&node).is_some_and(|guard| guard.fired)
    }

    fn order(&mut self, step: &mut StepState, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        step.attempt += 1;
        self.send(step, view, effects);
    }

    fn send(&mut self, step: &mut StepState, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        match self.rendered(view, &step.bindings) {
            Ok(mut action) => {
                self.sequence += 1;
                if let Action::ArmGuard(guard) = &mut action {
                    guard.again = self.back.is_none() && self.again.contains(&view.at.hop);
                    let guard = Guard::armed(view.at.hop, guard.lease, self.now, false);
                    self.arming.insert(view.step.node, guard);
                }
                step.ordered = true;
                step.after_guard = self.guard_fired(view.step.node);
                step.stage = Stage::Ordered {
                    again: self.now.plus(RESEND),
                };
                effects.push(Effect::Order(Box::new(Order {
                    node: view.step.node,
                    host: view.recipe.balancer.clone(),
                    step: view.step.id,
                    attempt: step.attempt,
                    token: self.token(),
                    sequence: self.sequence,
                    // A guard that has fired is armed again in a rollback, and only there.
                    direction: if view.at.part.leads_back() || self.back.is_some() {
                        Direction::Back
                    } else {
                        Direction::Forward
                    },
                    action,
                    hop: view.at.hop,
                })));
            }
            Err(reason) => step.settle(Stage::Failed { reason }, self.now),
        }
    }

    fn rendered(&self, view: &StepView<'_>, bindings: &BTreeMap<String, Value>) -> Result<Action, String> {
        let (node, hop) = (view.step.node, view.at.hop);
        upshift_plan::render_action(&self.plan, node, view.recipe, bindings, &self.run, hop)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("the step `{}` has nothing to order", view.recipe.title))
    }

    fn look_at_proof(&mut self, step: &mut StepState, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        loop {
            let Stage::Proving {
                proof,
                held,
                round,
                quick,
            } = &mut step.stage
            else {
                return;
            };
            let Some(the_proof) = view.recipe.proof.get(*proof) else {
                self.prove(step, view);
                return;
            };
            let (index, mut held_now, quickly, mut looked) = (*proof, *held, *quick, std::mem::take(round));
            let question = question(view, the_proof, &step.bindings, &step.output);
            let verdict = self.look(&mut looked, Asker::Step(view.step.id), &question, effects);
            let Some(verdict) = verdict else {
                step.stage = Stage::Proving {
                    proof: index,
                    held: held_now,
                    round: looked,
                    quick: quickly,
                };
                return;
            };
            if !verdict.holds {
                step.waiting = verdict.waiting;
                if quickly && view.recipe.action.is_some() && !is_begun_once(view.recipe) {
                    return self.after_interruption(step, view, effects);
                }
                self.note_progress(step, view, verdict.progress);
                step.stage = Stage::Proving {
                    proof: index,
                    held: 0,
                    round: looked,
                    quick: false,
                };
                return;
            }
            held_now += 1;
            if held_now >= the_proof.stable.max(1) {
                step.stage = Stage::Proving {
                    proof: index + 1,
                    held: 0,
                    round: Round::default(),
                    quick: quickly,
                };
            } else {
                step.stage = Stage::Proving {
                    proof: index,
                    held: held_now,
                    round: looked,
                    quick: quickly,
                };
                return;
            }
        }
    }

    /// Looks at what shows that the proof is waited for in vain: the step then fails, or is ordered again where it may be.
    fn look_whether_in_vain(&mut self, step: &mut StepState, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        let Some(proof) = &view.recipe.fails_on else {
            return;
        };
        if !matches!(step.stage, Stage::Proving { .. }) {
            return;
        }
        let (mut round, held) = step.fails_on.take().unwrap_or_default();
        let question = question(view, proof, &step.bindings, &step.output);
        let verdict = self.look(&mut round, Asker::FailsOn(view.step.id), &question, effects);
        let held = match &verdict {
            None => held,
            Some(verdict) if verdict.holds => held + 1,
            Some(_) => 0,
        };
        let Some(verdict) = verdict.filter(|_| held >= proof.stable.max(1)) else {
            step.fails_on = Some((round, held));
            return;
        };
        let reason = question.shown(self, &verdict, view.step.node);
        let retry = view.recipe.retry;
        if view.recipe.action.is_some() && step.attempt < retry.attempts {
            step.waiting = format!("attempt {} of {}: {reason}", step.attempt, retry.attempts);
            step.stage = Stage::Backoff {
                until: self.now.plus(pause_after(retry, step.attempt)),
            };
        } else {
            step.settle(Stage::Failed { reason }, self.now);
        }
    }

    /// The agent was killed while it acted, and the proof does not hold: the action is done again, as a new attempt.
    fn after_interruption(&mut self, step: &mut StepState, view: &StepView<'_>, effects: &mut Vec<Effect>) {
        if step.attempt < view.recipe.retry.attempts.max(2) {
            self.order(step, view, effects);
        } else {
            let reason = format!(
                "interrupted {} times on the host, and not done: {}",
                step.attempt, step.waiting
            );
            step.settle(Stage::Failed { reason }, self.now);
        }
    }

    /// Deadlines are extended by progress, never by waiting, and not without end: what grows for another reason, as a counter that
    /// clients move does, must not keep a window open for ever.
    fn note_progress(&mut self, step: &mut StepState, view: &StepView<'_>, progress: Option<f64>) {
        let Some(progress) = progress else { return };
        let grown = step.furthest.is_some_and(|furthest| progress > furthest);
        step.furthest = Some(step.furthest.map_or(progress, |furthest| furthest.max(progress)));
        if grown {
            let most = step.began.plus(view.recipe.within.times(MOST_EXTENSION));
            step.deadline = step.deadline.max(self.now.plus(view.recipe.within).min(most));
            if let Some(window) = self.windows.get_mut(&(view.at.hop, view.at.window)) {
                window.deadline = window.deadline.max(step.deadline);
            }
        }
    }

    fn prove(&mut self, step: &mut StepState, view: &StepView<'_>) {
        step.settle(Stage::Proven, self.now);
        step.waiting.clear();
        if view.recipe.kind == StepKind::Arm
            && let Some(Action::ArmGuard(recipe)) = &view.recipe.action
        {
            self.arming.remove(&view.step.node);
            let guard = Guard::armed(view.at.hop, recipe.lease, step.began, true);
            self.guards.insert(view.step.node, guard);
        }
    }

    /// The time for a step is over: it has failed, unless it was a wait that the run may go on without.
    fn run_out(&self, step: &mut StepState, view: &StepView<'_>) {
        let reason = self.out_of_time(step, view);
        if may_be_left(view) {
            step.settle(Stage::Proven, self.now);
            step.waiting = reason;
        } else {
            step.settle(Stage::Failed { reason }, self.now);
        }
    }

    fn out_of_time(&self, step: &StepState, view: &StepView<'_>) -> String {
        let node = &self.plan.node(view.step.node).name;
        let took = self.now.minus(step.began);
        let what = match &step.stage {
            Stage::Ordered { .. } => format!("no report from {node}"),
            _ if step.waiting.is_empty() => "nothing was observed".to_owned(),
            _ => step.waiting.clone(),
        };
        format!("after {:.1} s: {what}", took.0 as f64 / 1000.0)
    }

    /// A failure as a sentence: where, what, why.
    pub(crate) fn sentence(&self, id: StepId, reason: &str) -> String {
        match self.find(id) {
            Some((step, recipe)) => format!("{}: {}: {reason}", self.plan.node(step.node).name, recipe.title),
            None => reason.to_owned(),
        }
    }

    pub(crate) fn find(&self, id: StepId) -> Option<(&Step, &Recipe)> {
        find_in(&self.plan, &self.index, id)
    }
}

/// Looks a step up.
pub(crate) fn find_in<'a>(plan: &'a Plan, index: &Index, id: StepId) -> Option<(&'a Step, &'a Recipe)> {
    let (at, position) = index.get(&id)?;
    let step = at.of(plan).steps.get(*position as usize)?;
    Some((step, plan.recipe(step.recipe)))
}

pub(crate) fn proving(quick: bool) -> Stage {
    Stage::Proving {
        proof: 0,
        held: 0,
        round: Round::default(),
        quick,
    }
}

/// Before a server is brought back it is asked whether it serves, and only one that does must wait for the others. A server
/// on whose host nobody answers, again and again, does not serve; one look alone may have been a blip.
fn silent_before_rolling_back(step: &mut StepState, view: &StepView<'_>, verdict: &Verdict) -> bool {
    const LOOKS: u32 = 5;
    let asks = view.at.part == Part::RollbackGate || view.at.part == Part::Rollback && view.recipe.is_gate();
    if !asks || verdict.cannot == 0 {
        step.silent = 0;
        return false;
    }
    step.silent += 1;
    step.silent >= LOOKS
}

/// Whether an action is begun once only, and it is seen whether its proof is waited for in vain: what was begun may still be under way, so that
/// is waited for where the agent was killed meanwhile. Any other action is ordered again.
fn is_begun_once(recipe: &Recipe) -> bool {
    recipe.fails_on.is_some() && recipe.retry.attempts <= 1
}

/// Whether it is a wait that the run may go on without.
fn may_be_left(view: &StepView<'_>) -> bool {
    view.recipe.action.is_none() && view.recipe.otherwise == Otherwise::GoOn
}

fn question<'a>(
    view: &StepView<'a>,
    proof: &'a upshift_plan::PlanProof,
    bindings: &'a BTreeMap<String, Value>,
    output: &'a Value,
) -> Question<'a> {
    Question {
        proof,
        names: Names::of(view.recipe),
        hop: view.at.hop,
        node: Some(view.step.node),
        window: if proof.at == At::Others && view.window.is_empty() {
            std::slice::from_ref(&view.step.node)
        } else {
            view.window
        },
        bindings,
        output,
    }
}
