//! Guards, seen from the controller: renewed while they stand, disarmed when the hop is decided.

use std::collections::BTreeSet;

use upshift_model::Millis;
use upshift_model::action::{Action, GuardStatus};
use upshift_model::profile::{Slot, Strategy};
use upshift_plan::{NodeIndex, Recipe, StepKind};

use crate::event::Effect;
use crate::program::{GroupAt, Item, Part, nodes_of};
use crate::state::{Guard, State};

/// How soon an unanswered question to a guard is asked again.
const AGAIN: Millis = Millis::seconds(5);
/// How long after the first disarming an order to arm may still arrive, given before the host could not be reached.
const LATE: Millis = Millis::seconds(10);
/// How long after a guard's deadline its host is waited for before an operator is asked.
const PATIENCE: Millis = Millis::seconds(120);
/// How long a new controller gives the hosts to answer before it takes a guard whose time has passed as fired.
const TAKE_UP: Millis = Millis::seconds(20);

/// What is left of a step of a rollback that the host's guard has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DoneByGuard {
    /// Nothing: the server serves, and is not taken out of service again.
    Undisturbed,
    /// It is done again only where its proof does not hold.
    ToBeSeen,
}

/// Where the disarming of guards stands.
pub(crate) enum Disarming {
    Pending,
    Done,
    /// A guard fired after all.
    Fired(String),
    /// A host has not answered for too long.
    Lost(String),
}

impl Guard {
    /// A guard that was ordered at this moment, and was seen to stand or not.
    pub(crate) fn armed(hop: u32, lease: Millis, ordered: Millis, seen: bool) -> Self {
        Guard {
            hop,
            lease,
            until: ordered.plus(lease),
            renew_sent: ordered,
            fired: false,
            asking: None,
            served: false,
            unconfirmed: false,
            unseen: !seen,
            disarm_sent: None,
            disarm_since: None,
        }
    }

    fn interval(&self) -> Millis {
        Millis((self.lease.0 / 3).max(1))
    }

    /// It was found to have fired. How that ended is asked for, and it takes no disarming any more.
    fn has_fired(&mut self, now: Millis) {
        if !self.fired {
            self.fired = true;
            self.asking = Some(now);
            self.renew_sent = now.minus(AGAIN);
        }
        self.unconfirmed = false;
    }

    /// Whether the host's part of a rollback waits for what the guard says of its own. Not for long: a guard may wait for servers that this
    /// rollback has to bring back first.
    fn is_waited_for(&self, now: Millis) -> bool {
        self.asking.is_some_and(|since| now < since.plus(TAKE_UP))
    }

    /// Whether anything is asked of it: while it stands, and while the end of what it does is waited for.
    fn is_asked(&self, now: Millis) -> bool {
        !self.fired || self.is_waited_for(now)
    }

    /// Whether its time has passed, and nobody has heard that it fired.
    pub(crate) fn is_overdue(&self, now: Millis) -> bool {
        !self.fired && now >= self.until
    }

    fn due(&self) -> Millis {
        if self.unconfirmed || self.asking.is_some() {
            self.renew_sent.plus(AGAIN)
        } else {
            self.renew_sent.plus(self.interval())
        }
    }
}

impl State {
    /// Renews the guards that are due. Nothing is renewed while a guard is being disarmed.
    pub(crate) fn renew_guards(&mut self, effects: &mut Vec<Effect>) {
        let (now, token) = (self.now, self.token());
        for (&node, guard) in &mut self.guards {
            if guard.is_asked(now) && guard.disarm_sent.is_none() && now >= guard.due() {
                guard.renew_sent = now;
                effects.push(Effect::Renew {
                    node,
                    token,
                    hop: guard.hop,
                });
            }
        }
    }

    /// Takes in what a guard says of itself.
    pub(crate) fn guard_says(&mut self, node: NodeIndex, status: &GuardStatus) {
        let now = self.now;
        let Some(guard) = self.guards.get_mut(&node) else {
            return;
        };
        let (stood, hop) = (!guard.fired, guard.hop);
        match status {
            // The answer may be to a renewal, and the disarming be lost; an order to arm may still be on its way: it is asked again.
            GuardStatus::Absent | GuardStatus::Disarmed
                if guard.unseen && guard.disarm_since.is_some_and(|since| now < since.plus(LATE)) => {}
            GuardStatus::Armed { remaining } => {
                // The answer may have travelled: counted from the question, so that it is never taken for longer than it is.
                guard.until = guard.renew_sent.plus(*remaining);
                guard.unconfirmed = false;
            }
            GuardStatus::Firing => guard.has_fired(now),
            GuardStatus::RolledBack | GuardStatus::Failed { .. } => {
                guard.has_fired(now);
                guard.asking = None;
                guard.served = matches!(status, GuardStatus::RolledBack);
            }
            GuardStatus::Disarmed | GuardStatus::StoodDown => {
                self.guards.remove(&node);
            }
            GuardStatus::Absent if guard.disarm_sent.is_some() => {
                self.guards.remove(&node);
            }
            GuardStatus::Absent => {
                guard.has_fired(now);
                guard.asking = None;
            }
        }
        if let Some(guard) = self.guards.get(&node).filter(|guard| guard.fired) {
            self.fired.insert((hop, node), guard.served);
        }
        if stood && self.guards.get(&node).is_some_and(|guard| guard.fired) {
            self.begin_again(node, hop);
        }
    }

    /// Why the hop cannot go forward: a guard has fired, or may have.
    pub(crate) fn guard_trouble(&self) -> Option<String> {
        self.guards.iter().find_map(|(node, guard)| {
            let name = &self.plan.node(*node).name;
            if guard.fired {
                Some(format!(
                    "the guard of {name} has fired: the host has rolled back by itself"
                ))
            } else if guard.is_overdue(self.now) {
                Some(format!(
                    "{name} has not answered past its guard's deadline: it rolls back by itself"
                ))
            } else {
                None
            }
        })
    }

    /// Whether a rollback of all servers together goes on without this one: it has not answered past its guard's deadline, so that its
    /// own guard rolls it back, and waiting for it would only keep the others down. Not where old data is put back, which takes that
    /// every server is seen to be stopped.
    pub(crate) fn left_to_guard(&self, at: GroupAt, node: NodeIndex) -> bool {
        // What comes before all hops may be a plan without any.
        if !at.part.leads_back() {
            return false;
        }
        let hop = &self.plan.hops[at.hop as usize];
        hop.strategy == Strategy::Switch
            && self
                .guards
                .get(&node)
                .is_some_and(|guard| guard.is_overdue(self.now))
            && !self.puts_data_back(at)
    }

    /// Whether a host's part of a rollback waits until its guard has said how its own has ended.
    pub(crate) fn waits_for_guard(&self, at: GroupAt, node: NodeIndex) -> bool {
        let waits = |guard: &Guard| guard.hop == at.hop && guard.is_waited_for(self.now);
        at.part == Part::Rollback && self.guards.get(&node).is_some_and(waits)
    }

    /// Whether the host's guard has done a step of a rollback, so that doing it again would only disturb a server that serves. Not where
    /// data is put back or code is changed in the running process: there the guard does less than the rollback. A rollback that is
    /// retried after a hold does everything. Files are never put back below a server that runs: it has written to its data since.
    pub(crate) fn done_by_guard(&self, at: GroupAt, node: NodeIndex, recipe: &Recipe) -> Option<DoneByGuard> {
        let hop = self.plan.hops.get(at.hop as usize)?;
        let served = self
            .guards
            .get(&node)
            .is_some_and(|guard| guard.served && guard.hop == at.hop);
        if !served || at.part != Part::Rollback || self.puts_data_back(at) {
            return None;
        }
        if !matches!(hop.strategy, Strategy::Rolling | Strategy::Switch) {
            return None;
        }
        match (recipe.kind, &recipe.action) {
            (_, Some(Action::Restore(_)))
            | (StepKind::Undo(Slot::Drain | Slot::HandOver | Slot::Stop | Slot::MigrateConfig), Some(_)) => {
                Some(DoneByGuard::Undisturbed)
            }
            (StepKind::Undo(Slot::Switch | Slot::Start | Slot::Undrain), Some(_)) => {
                Some(DoneByGuard::ToBeSeen)
            }
            _ => None,
        }
    }

    /// Has a host's part of the rollback done from its beginning: its guard, which was found to have fired, has done and undone things after
    /// what was done here, and what was proven then says nothing any more. A server that was seen to be stopped may run.
    fn begin_again(&mut self, node: NodeIndex, hop: u32) {
        let plan = self.plan.clone();
        let is_its_part = |at: GroupAt| at.hop == hop && nodes_of(&plan, at.hop, at.window).contains(&node);
        for at in self.walk_again(is_its_part) {
            self.repeat_on(at, node);
        }
    }

    /// Has the rollback walked again from the first of these groups on, and yields those that it had come to. What is done and not repeated
    /// is passed at once.
    pub(crate) fn walk_again(&mut self, which: impl Fn(GroupAt) -> bool) -> Vec<GroupAt> {
        let Some(back) = &mut self.back else {
            return Vec::new();
        };
        let come_to = back.items.iter().take(back.at + 1).enumerate();
        let found: Vec<(usize, GroupAt)> = come_to
            .filter_map(|(position, item)| match item {
                Item::Group(at) if at.part == Part::Rollback && which(*at) => Some((position, *at)),
                _ => None,
            })
            .collect();
        if let Some((first, _)) = found.first() {
            back.at = *first;
        }
        found.into_iter().map(|(_, at)| at).collect()
    }

    /// Whether a window's rollback puts old data in the place of what was written since.
    fn puts_data_back(&self, at: GroupAt) -> bool {
        let window = &self.plan.hops[at.hop as usize].windows[at.window as usize];
        let steps = window.rollback.iter().flat_map(|group| &group.steps);
        steps
            .map(|step| self.plan.recipe(step.recipe).kind)
            .any(|kind| kind == StepKind::Undo(Slot::OldData))
    }

    /// Whether every guard is known to stand.
    pub(crate) fn guards_confirmed(&self) -> bool {
        self.guards.values().all(|guard| !guard.unconfirmed)
    }

    /// Asks every guard whether it stands.
    pub(crate) fn confirm_guards(&mut self, effects: &mut Vec<Effect>) {
        let (now, token) = (self.now, self.token());
        for (&node, guard) in &mut self.guards {
            guard.unconfirmed = true;
            guard.renew_sent = now;
            effects.push(Effect::Renew {
                node,
                token,
                hop: guard.hop,
            });
        }
    }

    /// A new controller does not know what the guards did meanwhile: it asks.
    pub(crate) fn doubt_guards(&mut self, effects: &mut Vec<Effect>) {
        let now = self.now;
        for guard in self.guards.values_mut() {
            if guard.asking.is_some() {
                guard.asking = Some(now);
                guard.renew_sent = now.minus(AGAIN);
            }
            guard.until = guard.until.max(now.plus(TAKE_UP));
            if guard.disarm_sent.is_some() {
                guard.disarm_sent = Some(now.minus(AGAIN));
            }
        }
        let (standing, token) = (now, self.token());
        for (&node, guard) in &mut self.guards {
            if !guard.fired && guard.disarm_sent.is_none() {
                guard.unconfirmed = true;
                guard.renew_sent = standing;
                effects.push(Effect::Renew {
                    node,
                    token,
                    hop: guard.hop,
                });
            }
        }
    }

    /// Lets every host know of a new controller before it does anything, so that the last one is refused everywhere, also
    /// where nothing is to be done just now. A host without a guard answers that it has none.
    pub(crate) fn make_known(&self, effects: &mut Vec<Effect>) {
        let asked: BTreeSet<NodeIndex> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Renew { node, .. } => Some(*node),
                _ => None,
            })
            .collect();
        let hop = self.item().and_then(Item::hop).unwrap_or_default();
        let others = (0..self.plan.nodes.len() as u32)
            .map(NodeIndex)
            .filter(|node| !asked.contains(node));
        effects.extend(others.map(|node| Effect::Renew {
            node,
            token: self.token(),
            hop,
        }));
    }

    /// Disarms the guards of some servers, all at once.
    pub(crate) fn disarm(
        &mut self,
        applies: impl Fn(NodeIndex, &Guard) -> bool,
        effects: &mut Vec<Effect>,
    ) -> Disarming {
        let (now, token, sequence) = (self.now, self.token(), self.sequence);
        let mut result = Disarming::Done;
        for (&node, guard) in &mut self.guards {
            if !applies(node, guard) {
                continue;
            }
            let name = &self.plan.node(node).name;
            if guard.fired {
                return Disarming::Fired(format!("the guard of {name} fired before it was disarmed"));
            }
            if guard.disarm_sent.is_none_or(|sent| now >= sent.plus(AGAIN)) {
                guard.disarm_sent = Some(now);
                guard.disarm_since.get_or_insert(now);
                effects.push(Effect::Disarm {
                    node,
                    token,
                    hop: guard.hop,
                    sequence,
                });
            }
            // The others are asked all the same.
            if now >= guard.until.plus(PATIENCE) {
                result = Disarming::Lost(name.clone());
            } else if matches!(result, Disarming::Done) {
                result = Disarming::Pending;
            }
        }
        result
    }

    /// The moment at which a guard has to be looked after, at the latest.
    pub(crate) fn guards_due(&self) -> Option<Millis> {
        self.guards
            .values()
            .filter(|guard| guard.is_asked(self.now))
            .map(|guard| match guard.disarm_sent {
                Some(sent) => sent.plus(AGAIN),
                None => guard.due().min(guard.until.max(self.now.plus(Millis(1)))),
            })
            .min()
    }
}
