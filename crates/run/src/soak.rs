//! Watching: after a window or hop, and finding out whether a point of no return has been crossed.

use std::collections::BTreeMap;

use upshift_model::Millis;
use upshift_plan::{Crossed, PlanProof, StepId};

use crate::context::Names;
use crate::engine::Turn;
use crate::event::{Decision, Effect};
use crate::program::nodes_of;
use crate::rounds::{Question, Verdict};
use crate::state::{AskedFrom, Asker, Crossing, Failing, Round, SoakState, State, WatchState};

/// How long it may take to find out whether a point of no return has been crossed.
const CROSSING_PATIENCE: Millis = Millis::seconds(60);
/// After an observation of a soak, so many times its own duration pass before the next one, but no longer than [`LONGEST_REST`].
const REST: u64 = 4;
const LONGEST_REST: Millis = Millis::seconds(20);

impl State {
    /// Watches for a while. One blip is not a failure; a fault that lasts is.
    pub(crate) fn watch(&mut self, hop: u32, duration: Millis, effects: &mut Vec<Effect>) -> Turn {
        let plan = self.plan.clone();
        let soak_plan = &plan.hops[hop as usize].soak;
        let now = self.now;
        let mut soak = self.soak.take().unwrap_or_else(|| SoakState {
            hop,
            until: now.plus(duration),
            watches: soak_plan
                .watch
                .iter()
                .map(|_| WatchState {
                    round: Round::default(),
                    looked: false,
                    failing: None,
                })
                .collect(),
        });
        for (index, (watch, proof)) in soak.watches.iter_mut().zip(&soak_plan.watch).enumerate() {
            let asked = watch.round.asked;
            let Some(verdict) = self.ask_all(&mut watch.round, Asker::Watch(index), proof, hop, effects)
            else {
                continue;
            };
            watch.looked = true;
            watch.failing = (!verdict.holds).then(|| Failing {
                since: watch.failing.take().map_or(now, |failing| failing.since),
                seen: now,
                waiting: verdict.waiting,
            });
            if watch.failing.is_none() {
                // What costs much is observed less often: observing must not become the load that is observed.
                let rest = now.minus(asked).times(REST).min(LONGEST_REST);
                watch.round.next = watch.round.next.max(now.plus(rest));
            }
        }
        // Only what a later observation has shown again lasts: one that took long, or that nobody answered, is a blip.
        let lasting = soak.watches.iter().find_map(|watch| {
            let failing = watch.failing.as_ref()?;
            (failing.seen >= failing.since.plus(soak_plan.lasting)).then(|| {
                format!(
                    "for {:.1} s while watching: {}",
                    failing.seen.minus(failing.since).0 as f64 / 1000.0,
                    failing.waiting
                )
            })
        });
        if let Some(reason) = lasting {
            self.drop_soak(&soak);
            return Turn::Fail(reason);
        }
        let quiet = soak
            .watches
            .iter()
            .all(|watch| watch.looked && watch.failing.is_none());
        if now >= soak.until && quiet {
            self.drop_soak(&soak);
            return Turn::Next;
        }
        self.soak = Some(soak);
        Turn::Wait
    }

    fn drop_soak(&mut self, soak: &SoakState) {
        for watch in &soak.watches {
            self.forget(&watch.round);
        }
    }

    fn ask_all(
        &mut self,
        round: &mut Round,
        asker: Asker,
        proof: &PlanProof,
        hop: u32,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        let plan = self.plan.clone();
        let the_hop = &plan.hops[hop as usize];
        let want = if self.back.is_some() {
            &the_hop.from
        } else {
            &the_hop.to
        };
        let question = Question {
            proof,
            names: Names {
                from: &the_hop.from,
                to: &the_hop.to,
                want,
                balancer: None,
            },
            hop,
            node: None,
            window: &[],
            bindings: &BTreeMap::new(),
            output: &State::no_output(),
        };
        self.look(round, asker, &question, effects)
    }

    /// Before anything is taken back: has the point of no return been crossed? It cannot have been while the window that leads
    /// over it was not begun.
    pub(crate) fn find_out_crossing(&mut self, hop: u32, effects: &mut Vec<Effect>) -> Turn {
        let plan = self.plan.clone();
        let Some(no_return) = &plan.hops[hop as usize].no_return else {
            self.asked_from = None;
            return Turn::Next;
        };
        let begun = no_return.window < plan.hops[hop as usize].windows.len() as u32
            && self.windows.contains_key(&(hop, no_return.window))
            && !nodes_of(&plan, hop, no_return.window).is_empty();
        if !begun {
            self.asked_from = None;
            return Turn::Next;
        }
        let crossed = match &no_return.crossed {
            Crossed::Observed(proof) => proof,
            Crossed::Begun(steps) => {
                let resumed = self.service_resumed(hop, no_return.window, steps);
                if resumed.is_none() || self.loss_accepted == Some(hop) {
                    self.asked_from = None;
                    return Turn::Next;
                }
                return self.past_return_found(hop, effects);
            }
        };
        let now = self.now;
        let mut crossing = self.crossing.take().unwrap_or_else(|| Crossing {
            hop,
            since: now,
            round: Round::default(),
        });
        let verdict = self.ask_all(&mut crossing.round, Asker::Crossing, crossed, hop, effects);
        match verdict {
            // The product itself leads back over it.
            Some(verdict) if verdict.yes > 0 && no_return.own_rollback.is_some() => {
                self.downgrading.insert(hop);
                self.asked_from = None;
                Turn::Next
            }
            Some(verdict) if verdict.yes > 0 => self.past_return_found(hop, effects),
            Some(verdict) if verdict.no > 0 => {
                self.asked_from = None;
                Turn::Next
            }
            _ if now >= crossing.since.plus(CROSSING_PATIENCE) => {
                self.forget(&crossing.round);
                Turn::Fail("no server can tell whether the point of no return has been crossed".to_owned())
            }
            _ => {
                self.crossing = Some(crossing);
                Turn::Wait
            }
        }
    }

    fn past_return_found(&mut self, hop: u32, effects: &mut Vec<Effect>) -> Turn {
        self.hold_past_return(hop, effects);
        match self.recording {
            Some(_) => Turn::Wait,
            None => Turn::Again,
        }
    }

    /// An operator has asked for a rollback that there is not: nothing is changed, and the run is what it was.
    fn refuse_past_return(&mut self, asked: AskedFrom, reason: String) {
        self.refusal = Some(reason);
        self.back = asked.back;
        self.crossing = None;
        self.past_return = asked.past_return;
        self.rolling_back_all = asked.rolling_back_all;
        self.outcome = asked.outcome;
        self.hold = asked.hold;
        if self.outcome.is_none() && self.hold.is_none() {
            self.retry_current();
        }
    }

    /// When service was resumed on new data: with the first of the steps that resume it, and at the latest when the window ended on the
    /// new version. Steps that only observe resume nothing, and a profile may have none.
    fn service_resumed(&self, hop: u32, window: u32, steps: &[StepId]) -> Option<Millis> {
        let begun = steps.iter().filter_map(|id| self.steps.get(id));
        let first = begun.filter(|step| step.ordered).map(|step| step.began).min();
        first.or_else(|| {
            let window = self.windows.get(&(hop, window))?;
            window.is_done().then_some(window.closed?)
        })
    }

    /// How long writes have gone to where a rollback of the hop would not find them.
    fn written_since(&self, hop: u32) -> Option<Millis> {
        let no_return = self.plan.hops[hop as usize].no_return.as_ref()?;
        let since = match &no_return.crossed {
            Crossed::Begun(steps) => self.service_resumed(hop, no_return.window, steps),
            Crossed::Observed(_) => self
                .windows
                .get(&(hop, no_return.window))
                .map(|window| window.opened),
        }?;
        Some(self.now.minus(since))
    }

    fn hold_past_return(&mut self, hop: u32, effects: &mut Vec<Effect>) {
        let plan = self.plan.clone();
        let the_hop = &plan.hops[hop as usize];
        let Some(no_return) = &the_hop.no_return else {
            return;
        };
        let lost = self.written_since(hop).map_or_else(String::new, |time| {
            format!(". What was written in the last {} would be lost", hours(time))
        });
        if let Some(asked) = self.asked_from.take() {
            let yes = match no_return.crossed {
                Crossed::Begun(_) => ". To roll back and lose it: `upshift rollback --accept-loss`",
                Crossed::Observed(_) => "",
            };
            let reason = format!(
                "the point of no return of {} → {} has been crossed: {}{lost}. {}{yes}",
                the_hop.from, the_hop.to, no_return.description, no_return.rollback
            );
            return self.refuse_past_return(asked, reason);
        }
        self.past_return = true;
        let cause = self
            .back
            .as_ref()
            .map(|back| back.reason.clone())
            .unwrap_or_default();
        let reason = format!(
            "{cause}. The point of no return of {} → {} has been crossed, so {} cannot come back by itself: {}{lost}",
            the_hop.from, the_hop.to, the_hop.from, no_return.description
        );
        let remedies = vec![
            format!(
                "to go on to {} once the cause is mended: `upshift resume`",
                the_hop.to
            ),
            no_return.rollback.clone(),
        ];
        self.record(Decision::Hold { reason, remedies }, effects);
    }
}

/// A time as an operator weighs it.
fn hours(time: Millis) -> String {
    let minutes = time.0.div_ceil(60_000);
    match minutes {
        0..60 => format!("{minutes} min"),
        _ => format!("{:.1} h", time.0 as f64 / 3_600_000.0),
    }
}
