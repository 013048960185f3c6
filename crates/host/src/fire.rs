//! What a guard does when its lease has run out: bring its host back, unless the point of no return was crossed.
//!
//! | stage | what is asked | what follows |
//! |---|---|---|
//! | turn | does the server serve, is it back already, can the others bear its loss | the orders are locked |
//! | crossed | was the point of no return crossed | the guard stands down, or the rollback begins |
//! | acting | before each action: does the old version run already | the next action, or the proof |
//! | proving | does the old version serve | the actions that bring it back into service; rolled back, or failed |
//!
//! A guard tries its rollback once: an old version that does not start either is reported, not started again and again while nobody
//! watches. A single action that may work later is tried a few times. Where its process is killed, the guard begins anew at the first stage.

use upshift_model::Millis;
use upshift_model::action::{Action, GuardRecipe};
use upshift_model::probe::ProbeCheck;

use crate::guard::State;

/// Time between two observations.
const PAUSE: Millis = Millis::seconds(1);
/// Time between two observations of a proof.
const PROOF_PAUSE: Millis = Millis(250);
/// How often an action is tried that may work later.
const ATTEMPTS: u32 = 5;
/// The least time that the old version gets to show that it serves.
const PROOF: Millis = Millis::seconds(120);

/// Something that a guard observes: a check of its recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// [`GuardRecipe::stand_down_if`].
    Crossed,
    /// [`GuardRecipe::serving_if`].
    Serves,
    /// [`GuardRecipe::wait_until`].
    OthersServe,
    /// [`GuardRecipe::until`].
    IsThere,
    /// One of [`GuardRecipe::proof`], by position.
    Proof(usize),
}

impl Check {
    /// The check itself, where the recipe has it.
    pub fn of(self, recipe: &GuardRecipe) -> Option<&ProbeCheck> {
        match self {
            Check::Crossed => recipe.stand_down_if.as_ref(),
            Check::Serves => recipe.serving_if.as_ref(),
            Check::OthersServe => recipe.wait_until.as_ref(),
            Check::IsThere => recipe.until.as_ref(),
            Check::Proof(position) => recipe.proof.get(position),
        }
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Performed {
    /// It was done.
    Done,
    /// It may work later.
    Transient(String),
    /// It does not work.
    Failed(String),
}

/// What the guard hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It begins, or its process was started again.
    Begin,
    /// What was asked for was observed: whether it holds, or why that could not be seen.
    Seen(Result<bool, String>),
    /// What was ordered was done, or not.
    Performed(Performed),
    /// The orders are locked, or free again, or the pause is over.
    Ready,
}

/// What the guard asks for; it goes on with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Observe something; answered by [`Input::Seen`].
    Observe(Check),
    /// Wait so long; answered by [`Input::Ready`].
    Pause(Millis),
    /// Wait until no order is being done, and let none begin; then write down what is overtaken. Answered by [`Input::Ready`].
    LockOrders,
    /// Orders may begin again. Answered by [`Input::Ready`].
    FreeOrders,
    /// Do one of [`GuardRecipe::rollback`], by position; answered by [`Input::Performed`].
    Perform {
        /// Which.
        action: usize,
        /// Counted from 1.
        attempt: u32,
    },
    /// It is over; the orders are free.
    End(State),
}

/// Where a guard that fires stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    stage: Stage,
    /// The old version serves already: it is not stopped.
    stays_up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Turn(Check),
    TurnPause,
    Locking,
    Crossed(Check),
    /// It serves and cannot say whether the point of no return was crossed.
    Uncertain,
    Back(usize),
    Before {
        action: usize,
    },
    Acting {
        action: usize,
        attempt: u32,
    },
    ActionPause {
        action: usize,
        attempt: u32,
    },
    Freeing,
    /// The old version serves; what brings it back into service follows.
    Returning,
    Proving {
        proof: usize,
        since: Millis,
    },
    ProofPause {
        proof: usize,
        since: Millis,
    },
}

/// What follows from an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Where the guard stands now.
    pub firing: Firing,
    /// What it asks for.
    pub effect: Effect,
    /// A line for its log.
    pub note: Option<String>,
}

impl Firing {
    /// Whether it waits for its turn, or for its server to say what it cannot say yet: nothing was changed.
    pub fn waits_for_others(&self) -> bool {
        matches!(self.stage, Stage::TurnPause)
    }
}

impl Default for Firing {
    fn default() -> Self {
        Firing {
            stage: Stage::TurnPause,
            stays_up: false,
        }
    }
}

/// Decides what a guard does next. `now` is a moment on a clock that cannot be set.
pub fn step(firing: Firing, recipe: &GuardRecipe, now: Millis, input: Input) -> Next {
    let mut turn = Turn {
        recipe,
        now,
        stays_up: firing.stays_up,
        note: None,
    };
    let (stage, effect) = match input {
        Input::Begin => {
            turn.stays_up = false;
            turn.begin()
        }
        Input::Seen(seen) => turn.seen(firing.stage, seen),
        Input::Performed(performed) => turn.performed(firing.stage, performed),
        Input::Ready => turn.ready(firing.stage),
    };
    Next {
        firing: Firing {
            stage,
            stays_up: turn.stays_up,
        },
        effect,
        note: turn.note,
    }
}

struct Turn<'a> {
    recipe: &'a GuardRecipe,
    now: Millis,
    stays_up: bool,
    note: Option<String>,
}

type Answer = (Stage, Effect);

impl Turn<'_> {
    /// A host that serves waits until the others can bear its loss. One that does not serve has nothing to wait for; nor has one on
    /// which the old version serves already, or one past the point of no return.
    fn begin(&self) -> Answer {
        match (&self.recipe.wait_until, &self.recipe.serving_if) {
            (None, _) => self.lock(),
            (Some(_), Some(_)) => self.ask_turn(Check::Serves),
            (Some(_), None) => self.turn_proof(0),
        }
    }

    fn ask_turn(&self, check: Check) -> Answer {
        (Stage::Turn(check), Effect::Observe(check))
    }

    fn turn_proof(&self, position: usize) -> Answer {
        let last = position >= self.recipe.proof.len();
        match (last, self.recipe.proof.is_empty()) {
            (false, _) => self.ask_turn(Check::Proof(position)),
            (true, true) => self.ask_turn(Check::OthersServe),
            (true, false) => self.lock(),
        }
    }

    fn wait(&self) -> Answer {
        (Stage::TurnPause, Effect::Pause(PAUSE))
    }

    fn lock(&self) -> Answer {
        (Stage::Locking, Effect::LockOrders)
    }

    fn seen(&mut self, stage: Stage, seen: Result<bool, String>) -> Answer {
        let holds = seen == Ok(true);
        match stage {
            Stage::Turn(Check::Serves) if holds => self.turn_proof(0),
            Stage::Turn(Check::Proof(position)) if holds => self.turn_proof(position + 1),
            Stage::Turn(Check::Proof(_)) => self.ask_turn(Check::OthersServe),
            Stage::Turn(Check::Serves) => self.lock(),
            Stage::Turn(_) if holds => self.lock(),
            Stage::Turn(Check::OthersServe) if self.recipe.stand_down_if.is_some() => {
                self.ask_turn(Check::Crossed)
            }
            Stage::Turn(_) => self.wait(),
            Stage::Crossed(Check::Crossed) => self.crossed(seen),
            Stage::Crossed(_) if holds => (Stage::Uncertain, Effect::FreeOrders),
            Stage::Crossed(_) => self.back(0),
            Stage::Back(position) if holds => self.back(position + 1),
            Stage::Back(_) => self.before(0),
            Stage::Before { .. } if holds => {
                self.note = Some("the old version runs: the remaining actions are left out".to_owned());
                self.free()
            }
            Stage::Before { action } => self.act(action),
            Stage::Proving { proof, since } => self.proven(proof, since, seen),
            other => self.ready(other),
        }
    }

    /// Unknown is not no: a server that serves and cannot say whether the point of no return was crossed is asked until it can, since a
    /// rollback over it loses data and waiting loses nothing. One that does not serve cannot be asked, and is brought back: that is what
    /// the guard is for.
    fn crossed(&mut self, seen: Result<bool, String>) -> Answer {
        match seen {
            Ok(true) => self.end(State::StoodDown),
            Ok(false) => self.back(0),
            Err(reason) => {
                self.note = Some(format!(
                    "unknown whether the point of no return was crossed: {reason}"
                ));
                if self.recipe.serving_if.is_some() {
                    (Stage::Crossed(Check::Serves), Effect::Observe(Check::Serves))
                } else {
                    self.back(0)
                }
            }
        }
    }

    /// Whether the old version serves already: nothing had been changed yet, or a controller was in its rollback. The rest of the
    /// rollback still runs: it brings the server back into service, and changes nothing that is as it was.
    fn back(&mut self, position: usize) -> Answer {
        if position < self.recipe.proof.len() {
            return (Stage::Back(position), Effect::Observe(Check::Proof(position)));
        }
        self.stays_up = position > 0;
        self.before(0)
    }

    fn before(&mut self, action: usize) -> Answer {
        if action >= self.recipe.rollback.len() && self.serves_from() < action {
            return self.end(State::RolledBack);
        }
        if action == self.serves_from() {
            return self.free();
        }
        if self.recipe.until.is_some() && action < self.serves_from() {
            return (Stage::Before { action }, Effect::Observe(Check::IsThere));
        }
        self.act(action)
    }

    /// The first action after the start of the server: it and those after it bring the server back into service, and wait until the old
    /// version is seen to serve. Where service is resumed for all servers, writes would otherwise be taken by those that still run the
    /// new version, into data that the rollback leaves behind.
    fn serves_from(&self) -> usize {
        let actions = &self.recipe.rollback;
        let start = actions
            .iter()
            .rposition(|action| matches!(action, Action::Start(_)));
        start.map_or(actions.len(), |start| start + 1)
    }

    fn act(&mut self, action: usize) -> Answer {
        if self.stays_up && matches!(self.recipe.rollback.get(action), Some(Action::Stop(_))) {
            self.note = Some("the old version serves: it is not stopped".to_owned());
            return self.before(action + 1);
        }
        self.perform(action, 1)
    }

    fn perform(&self, action: usize, attempt: u32) -> Answer {
        (
            Stage::Acting { action, attempt },
            Effect::Perform { action, attempt },
        )
    }

    fn performed(&mut self, stage: Stage, performed: Performed) -> Answer {
        let Stage::Acting { action, attempt } = stage else {
            return self.ready(stage);
        };
        match performed {
            Performed::Done => self.before(action + 1),
            Performed::Transient(reason) if attempt < ATTEMPTS => {
                self.note = Some(reason);
                let pause = Millis(PAUSE.0 * u64::from(attempt));
                let attempt = attempt + 1;
                (Stage::ActionPause { action, attempt }, Effect::Pause(pause))
            }
            Performed::Transient(reason) | Performed::Failed(reason) => {
                let word = self.recipe.rollback.get(action).map_or("action", Action::word);
                self.fail(format!("{word} failed: {reason}"))
            }
        }
    }

    fn fail(&self, reason: String) -> Answer {
        self.end(State::Failed { reason })
    }

    fn end(&self, state: State) -> Answer {
        (Stage::Freeing, Effect::End(state))
    }

    fn free(&self) -> Answer {
        (Stage::Freeing, Effect::FreeOrders)
    }

    fn ready(&mut self, stage: Stage) -> Answer {
        match stage {
            Stage::Locking if self.recipe.stand_down_if.is_some() => {
                (Stage::Crossed(Check::Crossed), Effect::Observe(Check::Crossed))
            }
            Stage::Locking => self.back(0),
            Stage::Returning => self.return_to_service(),
            Stage::Uncertain => self.wait(),
            Stage::ActionPause { action, attempt } => self.perform(action, attempt),
            Stage::Freeing => self.prove(0, self.now),
            Stage::ProofPause { proof, since } => self.prove(proof, since),
            // Nothing else waits for this; it begins anew rather than to stand still.
            _ => self.begin(),
        }
    }

    fn return_to_service(&mut self) -> Answer {
        let action = self.serves_from();
        self.perform(action, 1)
    }

    fn prove(&self, proof: usize, since: Millis) -> Answer {
        if proof >= self.recipe.proof.len() {
            if self.serves_from() < self.recipe.rollback.len() {
                return (Stage::Returning, Effect::LockOrders);
            }
            return self.end(State::RolledBack);
        }
        (
            Stage::Proving { proof, since },
            Effect::Observe(Check::Proof(proof)),
        )
    }

    fn proven(&self, proof: usize, since: Millis, seen: Result<bool, String>) -> Answer {
        if seen == Ok(true) {
            return self.prove(proof + 1, since);
        }
        let patience = PROOF.max(self.recipe.lease);
        if self.now <= since.plus(patience) {
            return (Stage::ProofPause { proof, since }, Effect::Pause(PROOF_PAUSE));
        }
        let expected = self
            .recipe
            .proof
            .get(proof)
            .map_or("", |check| check.expect.as_str());
        let seen = seen.err().unwrap_or_else(|| "it does not hold".to_owned());
        self.fail(format!(
            "the rollback ran, but `{expected}` did not hold within {} s: {seen}",
            patience.0 / 1000
        ))
    }
}
