//! What operators say: pause, resume, consent, abort, rollback, finalize.
//!
//! Commands only set what the run shall do next. That a run may roll back, and to where, is decided as for failures: the
//! decision is recorded and followed in `decide.rs`.

use crate::event::{Decision, OperatorCommand, Outcome};
use crate::program::{self, Item};
use crate::state::{Stage, State};

impl State {
    pub(crate) fn operator(&mut self, who: &str, command: &OperatorCommand) {
        self.refusal = None;
        match command {
            OperatorCommand::Pause => self.pause = true,
            OperatorCommand::PauseAndLeave => {
                self.pause = true;
                self.leaving = Some(who.to_owned());
            }
            OperatorCommand::AcceptLoss => self.loss_accepted = self.hop_to_rollback(),
            OperatorCommand::EndAsIs { reason } => self.end_as_is(who, reason),
            OperatorCommand::Consent => {
                self.consented = true;
                self.go_on();
            }
            OperatorCommand::Resume => {
                self.pause = false;
                self.leaving = None;
                self.go_on();
            }
            OperatorCommand::ResumeForward => self.go_forward(),
            OperatorCommand::Abort => {
                self.give_up(format!("{who} asked to roll back"), false);
            }
            OperatorCommand::Rollback => self.give_up_all(format!("{who} asked to roll back"), false),
            // Where the rollback that spares the servers was not tried yet, it comes first.
            OperatorCommand::RollbackAllAtOnce if self.back.is_none() => {
                self.operator(who, &OperatorCommand::Rollback);
            }
            OperatorCommand::RollbackAllAtOnce => {
                self.give_up_all(format!("{who} asked to roll back, all servers at once"), true);
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

    /// Ends a held run as it is. A guard that may still act would change it afterwards, so that there must be none.
    fn end_as_is(&mut self, who: &str, reason: &str) {
        if !matches!(self.outcome, Some(Outcome::Held { .. })) {
            return;
        }
        if !self.guards.is_empty() {
            self.refusal = Some("a guard may still act, so the run cannot end as it is".to_owned());
            return;
        }
        self.abandon_active();
        self.outcome = Some(Outcome::EndedAsIs {
            reason: format!("{who} ended it as it was: {reason}"),
        });
    }

    /// Ends a hold: what failed is tried again, behind guards that stand again.
    fn go_on(&mut self) {
        if !matches!(self.outcome, Some(Outcome::Held { .. })) {
            return;
        }
        self.outcome = None;
        self.hold = None;
        self.rests_paused = false;
        self.loss_accepted = None;
        // What waited beside a failure is looked at again, and has its time anew.
        self.take_up();
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
    pub(crate) fn retry_current(&mut self) {
        if let Some(Item::Group(at)) = self.item() {
            self.repeat(at, |stage| matches!(stage, Stage::Failed { .. }));
        }
    }

    fn give_up_all(&mut self, reason: String, at_once: bool) {
        let before = std::mem::replace(&mut self.rolling_back_all, true);
        self.give_up(reason, at_once);
        if let Some(asked) = &mut self.asked_from {
            asked.rolling_back_all = before;
        }
    }

    /// An operator asks to roll back, with all servers at once or one after the other.
    fn give_up(&mut self, reason: String, at_once: bool) {
        let over = matches!(
            self.outcome,
            Some(
                Outcome::Finalized
                    | Outcome::Prepared
                    | Outcome::EndedAsIs { .. }
                    | Outcome::Refused { .. }
                    | Outcome::RolledBack { .. }
                    | Outcome::Superseded { .. }
                    | Outcome::EndedElsewhere { .. }
            )
        );
        if over || self.back.is_some() && self.hold.is_none() {
            return;
        }
        let Some(hop) = self.hop_to_rollback() else {
            self.outcome = Some(Outcome::Refused { reason });
            return;
        };
        let nothing_begun = self.back.is_none() || self.past_return;
        self.asked_from = nothing_begun.then(|| crate::state::AskedFrom {
            outcome: self.outcome.clone(),
            hold: self.hold.clone(),
            back: self.back.clone(),
            past_return: self.past_return,
            rolling_back_all: self.rolling_back_all,
        });
        if std::mem::take(&mut self.past_return) {
            self.loss_accepted = Some(hop);
        }
        self.outcome = None;
        self.hold = None;
        self.rests_paused = false;
        self.at_once = at_once;
        self.recording = Some(Decision::Rollback { hop, reason });
        self.unsent_record = true;
    }

    /// The last hop in which something was changed.
    pub(crate) fn hop_to_rollback(&self) -> Option<u32> {
        self.windows
            .iter()
            .rev()
            .find(|(_, window)| !window.rolled_back)
            .map(|((hop, _), _)| *hop)
    }
}
