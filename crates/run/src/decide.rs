//! What the run decides: to stay, to roll back, to hold, or to refuse.
//!
//! | question | where |
//! |---|---|
//! | May the way forward go on at all? | [`State::trouble`], asked before every item |
//! | What does a failure lead to? | [`State::verdict_on`], and nowhere else |
//! | May the point of no return be crossed? | [`State::consent`], the item before the first window of such a hop |
//! | Does the new version stay? | [`State::decide`], once every guard is known to stand |
//! | What follows from a decision? | [`State::decided`], when it comes back from the journal |
//!
//! A decision is first recorded ([`Effect::Record`]) and acted upon only when it comes back as an event. What an operator
//! asks for is taken in by `operator.rs`; how the program is walked is `engine.rs`.

use upshift_model::Millis;

use crate::engine::Turn;
use crate::event::{Decision, Effect, Outcome};
use crate::guards::Disarming;
use crate::program::{self, Item, Part};
use crate::state::{Back, Hold, Stage, State};

/// How long a held run waits for its guards to be disarmed before it says that some could not be.
pub(crate) const HOLD_PATIENCE: Millis = Millis::seconds(15);

impl State {
    /// What makes going forward impossible, whatever the item at hand is about.
    pub(crate) fn trouble(&self, item: Item) -> Option<String> {
        if matches!(item, Item::Disarm { .. }) {
            return None;
        }
        if let Some(reason) = self.guard_trouble() {
            return Some(match self.sleep_words() {
                Some(slept) => format!("{slept}: {reason}"),
                None => reason,
            });
        }
        let open = self
            .windows
            .values()
            .find(|window| window.closed.is_none() && !window.rolled_back)?;
        (self.now >= open.deadline).then(|| {
            let took = self.now.minus(open.opened);
            let waiting = self.waiting_for().unwrap_or_default();
            format!(
                "the window has been open for {:.1} s, longer than it may be: {waiting}",
                took.0 as f64 / 1000.0
            )
        })
    }

    pub(crate) fn fail(&mut self, reason: String, effects: &mut Vec<Effect>) {
        if let Some(decision) = self.verdict_on(reason) {
            self.record(decision, effects);
        }
    }

    /// What a failure leads to. The one place that decides between rolling back, holding, and refusing.
    fn verdict_on(&mut self, reason: String) -> Option<Decision> {
        let retry = "when the cause is mended: `upshift resume`".to_owned();
        if self.back.is_some() {
            let mut remedies = vec![retry];
            remedies.extend(self.forward_remedy());
            remedies.extend([
                "to see what was observed: `upshift why`".to_owned(),
                "to leave every server as it is, and mend them by hand: `upshift end --as-is --reason …`; nothing is stopped or started"
                    .to_owned(),
            ]);
            remedies.extend(self.giving_up_downgrade());
            if self.servers_need_each_other() {
                remedies.push(
                    "where no server serves any more, so that nothing can be disturbed: `upshift rollback --all-at-once`"
                        .to_owned(),
                );
            }
            let proving = matches!(self.item(), Some(Item::Group(at)) if at.part == Part::ProveBack);
            let reason = match proving {
                true => {
                    format!("rolled back, but not every server is proven to run what it ran before: {reason}")
                }
                false => format!("the rollback is stuck: {reason}"),
            };
            return Some(Decision::Hold { reason, remedies });
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
            // Between two windows the cluster cannot bear the next one: rolling back would need the same. Not so where a host rolls
            // itself back: then the others must follow it.
            (Some(hop), true, Some(part))
                if self.guard_trouble().is_none() && (part == Part::Gate || self.gate_asked_again(hop)) =>
            {
                let back = "to take the servers done so far back: `upshift abort`".to_owned();
                Some(Decision::Hold {
                    reason,
                    remedies: vec![retry, back],
                })
            }
            (_, _, Some(Part::Prove)) => {
                let reason = format!("not every server is proven to run the new version: {reason}");
                let back = "to roll back: `upshift rollback`".to_owned();
                Some(Decision::Hold {
                    reason,
                    remedies: vec![retry, back],
                })
            }
            (Some(_), true, Some(Part::Settle)) => {
                let back = self.back_from_between();
                Some(Decision::Hold {
                    reason,
                    remedies: vec![retry, back],
                })
            }
            (Some(hop), true, _) => Some(Decision::Rollback { hop, reason }),
            (Some(hop), false, _) if hop > 0 => {
                let version = &self.plan.hops[hop as usize].from;
                let reason = format!("stopped between two hops, every server on {version}: {reason}");
                let back = self.back_from_between();
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

    /// How the product's own rollback, while one is under way, is given up.
    fn giving_up_downgrade(&self) -> Option<String> {
        let hop = self.back.as_ref()?.hop;
        let point = self.plan.hops[hop as usize].no_return.as_ref()?;
        let own = point
            .own_rollback
            .as_ref()
            .filter(|_| self.downgrading.contains(&hop))?;
        Some(format!(
            "to give up the product's own rollback: {}",
            own.give_up.as_ref()?
        ))
    }

    /// What an operator who wants to roll back from between two hops is told: the command, or that the hop before may have none.
    fn back_from_between(&self) -> String {
        let hop = self
            .hop_to_rollback()
            .and_then(|hop| self.plan.hops.get(hop as usize));
        match hop.and_then(|hop| Some((hop, hop.no_return.as_ref()?))) {
            None => "to roll back: `upshift rollback`".to_owned(),
            Some((_, point)) if point.own_rollback.is_some() => {
                "to roll back: `upshift rollback`; past the point of no return the product's own rollback does it".to_owned()
            }
            Some((hop, point)) => format!(
                "a rollback from here is refused once the point of no return of {} → {} has been crossed ({}). {}",
                hop.from, hop.to, point.description, point.rollback
            ),
        }
    }

    /// Whether the item at hand asks the gate again, inside a window that has not taken anything down yet, while servers of
    /// earlier windows run the new version. Without those, rolling back disturbs nothing.
    fn gate_asked_again(&self, hop: u32) -> bool {
        let asks = match self.item() {
            Some(Item::Group(at)) if at.part == Part::Forward => {
                let mut steps = at.of(&self.plan).steps.iter();
                steps.any(|step| self.plan.recipe(step.recipe).is_gate())
            }
            _ => false,
        };
        let mut windows = self.windows.range((hop, 0)..=(hop, u32::MAX));
        asks && windows.any(|(_, window)| window.is_done())
    }

    /// Whether servers wait for others that are still to be taken back.
    fn servers_need_each_other(&self) -> bool {
        let left = self.windows.values().filter(|window| !window.rolled_back).count();
        let waiting = matches!(
            self.item(),
            Some(Item::Group(at)) if matches!(at.part, Part::RollbackGate | Part::Rollback)
        );
        waiting && left > 1 && !self.back.as_ref().is_some_and(|back| back.at_once)
    }

    pub(crate) fn consent(&mut self, hop: u32) -> Turn {
        let the_hop = &self.plan.hops[hop as usize];
        let (Some(no_return), false) = (
            &the_hop.no_return,
            self.consented || self.plan.request.accept_no_return,
        ) else {
            return Turn::Next;
        };
        let reason = format!(
            "the hop {} → {} crosses a point of no return, and that was not confirmed: {}",
            the_hop.from, the_hop.to, no_return.description
        );
        let remedies = vec![
            "to go on: `upshift resume --accept-no-return`".to_owned(),
            "to leave everything as it is: `upshift abort`".to_owned(),
        ];
        self.record_hold(reason, remedies);
        Turn::Again
    }

    /// Every guard must be known to stand before the decision: a guard that had fired would leave a part of the fleet behind.
    pub(crate) fn decide(&mut self, hop: u32, effects: &mut Vec<Effect>) -> Turn {
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

    pub(crate) fn in_doubt(&mut self, node: &str) -> Turn {
        let reason = format!(
            "in doubt: the new version stays, but {node} has not answered since that was decided; its guard may have taken it back"
        );
        let remedies = vec![
            format!("bring {node} back, then `upshift resume`: what its own records say decides"),
            "to take every server back: `upshift rollback`".to_owned(),
        ];
        self.record_hold(reason, remedies);
        Turn::Again
    }

    pub(crate) fn record(&mut self, decision: Decision, effects: &mut Vec<Effect>) {
        self.recording = Some(decision.clone());
        effects.push(Effect::Record(decision));
    }

    pub(crate) fn record_hold(&mut self, reason: String, remedies: Vec<String>) {
        self.recording = Some(Decision::Hold { reason, remedies });
        self.unsent_record = true;
    }

    pub(crate) fn send_record(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.unsent_record)
            && let Some(decision) = &self.recording
        {
            effects.push(Effect::Record(decision.clone()));
        }
    }

    pub(crate) fn decided(&mut self, decision: Decision) {
        self.recording = None;
        match decision {
            Decision::Stay { hop } => {
                self.stayed.insert(hop);
            }
            Decision::Rollback { hop, reason } => self.turn_back(hop, reason),
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
        self.half = None;
        self.detour.clear();
        self.abandon_active();
        for guard in self.guards.values_mut() {
            guard.disarm_sent = None;
        }
        let at_once = std::mem::take(&mut self.at_once);
        let through = self.rolling_back_all;
        let items = program::back(self, hop, through, at_once);
        for item in &items {
            if let Item::Group(at) = item {
                self.repeat(*at, |_| true);
            }
        }
        self.back = Some(Back {
            hop,
            reason,
            items,
            at: 0,
            through,
            at_once,
        });
    }

    pub(crate) fn abandon_active(&mut self) {
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

    /// A hold lets no guard move anything behind the operator's back: they are disarmed first, as far as they can be reached.
    pub(crate) fn settle_hold(&mut self, effects: &mut Vec<Effect>) -> Turn {
        let Some(hold) = self.hold.clone() else {
            return Turn::Again;
        };
        self.guards.retain(|_, guard| !guard.fired);
        let disarming = self.disarm(|_, _| true, effects);
        let patient = self.now < hold.since.plus(HOLD_PATIENCE);
        // Also one that has not answered for long may do so now: it may have fired, and then nothing stands any more.
        if matches!(disarming, Disarming::Pending | Disarming::Lost(_)) && patient {
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
}
