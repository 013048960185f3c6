//! One window: what is done in it, and the rollback of every step.
//!
//! A step of the rollback says which steps of the way forward make it necessary ([`crate::Step::undoes`]): a server that never
//! stopped is not started again, and one that was never drained is not touched at all.

use std::collections::{BTreeMap, BTreeSet};

use upshift_model::Millis;
use upshift_model::profile::{On, Slot, Strategy};

use super::verbs::{Line, Verbs, Way};
use super::{hop, without_empty};
use crate::order;
use crate::types::{Group, NodeIndex, Recipe, RecipeIndex, StepId, Window};

/// The slots after which a server is not what it was: it may be down, or run the new version.
pub(super) const DISTURBING: [Slot; 8] = [
    Slot::Stop,
    Slot::Switch,
    Slot::FreshData,
    Slot::MigrateConfig,
    Slot::Restore,
    Slot::Start,
    Slot::Load,
    Slot::Rejoin,
];

/// The slots that may be the first to disturb a window's servers or their clients.
const FIRST_DISTURBING: [Slot; 4] = [Slot::Drain, Slot::HandOver, Slot::Pause, Slot::Stop];

/// The slots after which the new version may run.
pub(super) const NEW_MAY_RUN: [Slot; 6] = [
    Slot::Switch,
    Slot::FreshData,
    Slot::MigrateConfig,
    Slot::Restore,
    Slot::Start,
    Slot::Load,
];

/// The recipes that arm a window's guards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arming {
    /// On every server.
    pub each: RecipeIndex,
    /// On the first server of the plan's order, where it also takes back what is done once for the cluster.
    pub first: Option<(NodeIndex, RecipeIndex)>,
}

impl Arming {
    fn recipe(&self, node: NodeIndex) -> RecipeIndex {
        match self.first {
            Some((first, recipe)) if first == node => recipe,
            _ => self.each,
        }
    }
}

/// A window that is being laid out.
pub(super) struct WindowLayout<'w, 'a, 'b> {
    pub verbs: &'w mut Verbs<'a, 'b>,
    /// The servers that it disturbs.
    pub nodes: Vec<NodeIndex>,
    /// The first server of the hop's order.
    first: NodeIndex,
    /// A server that it does not disturb.
    other: Option<NodeIndex>,
    /// Steps of the way forward, by slot and server; those done once for the cluster have no server.
    begun: BTreeMap<(Slot, Option<NodeIndex>), Vec<StepId>>,
    forward: Vec<Group>,
    rollback: Vec<Group>,
    gate: Vec<Group>,
    rollback_gate: Vec<Group>,
    rearm: Vec<Group>,
}

impl<'w, 'a, 'b> WindowLayout<'w, 'a, 'b> {
    /// A window over these servers. It begins with its gate and the arming of its guards.
    pub fn begin(
        verbs: &'w mut Verbs<'a, 'b>,
        nodes: Vec<NodeIndex>,
        first: NodeIndex,
        other: Option<NodeIndex>,
        arming: Arming,
    ) -> Self {
        let begun = BTreeMap::new();
        let (forward, rollback, gate, rollback_gate, rearm) = Default::default();
        let mut window = WindowLayout {
            verbs,
            nodes,
            first,
            other,
            begun,
            forward,
            rollback,
            gate,
            rollback_gate,
            rearm,
        };
        let nodes = window.nodes.clone();
        window.gate = window.gate_on(Way::Forward, &nodes);
        let arm = window.arm(arming);
        window.forward.push(arm);
        window
    }

    fn arm(&mut self, arming: Arming) -> Group {
        let builder = &mut *self.verbs.builder;
        let steps = self
            .nodes
            .iter()
            .map(|node| builder.step(*node, arming.recipe(*node), Vec::new()));
        Group {
            steps: steps.collect(),
        }
    }

    fn gate_on(&mut self, way: Way, nodes: &[NodeIndex]) -> Vec<Group> {
        hop::gate(self.verbs, way, nodes, Some(self.first), self.other)
    }

    /// The gate asked again: what it showed may have changed while guards were armed, configuration was saved, or clients left. It
    /// was seen to be stable a moment ago, so each proof has to hold once.
    fn gate_again(&mut self, way: Way) -> Vec<Group> {
        let nodes = self.nodes.clone();
        let mut groups = self.gate_on(way, &nodes);
        for step in groups.iter_mut().flat_map(|group| &mut group.steps) {
            let builder = &mut *self.verbs.builder;
            step.recipe = match builder.asked_again.get(&step.recipe) {
                Some(shared) => *shared,
                None => {
                    let again = builder.recipes[step.recipe.0 as usize].asked_once();
                    let index = builder.recipe(again);
                    builder.asked_again.insert(step.recipe, index);
                    index
                }
            };
        }
        groups
    }

    /// Asks the gate again on the way forward.
    pub fn ask_again(&mut self) {
        let again = self.gate_again(Way::Forward);
        self.forward.extend(again);
    }

    /// Asks the gate of the rollback again: clients may have taken a while to leave. `triggers` make what follows necessary.
    pub fn ask_again_back(&mut self, triggers: &[Slot]) {
        let mut groups = self.gate_again(Way::Back);
        if let [node] = self.nodes[..] {
            self.ask_only_what_serves(node, &mut groups);
        }
        for step in groups.iter_mut().flat_map(|group| &mut group.steps) {
            step.undoes = self.begun_anywhere(triggers);
        }
        self.rollback.extend(groups);
    }

    /// One server at a time: one that does not serve can be taken down whatever the others do, and waiting for them would
    /// only keep it down. One that serves must wait, also where its own window has failed.
    fn ask_only_what_serves(&mut self, node: NodeIndex, gate: &mut [Group]) {
        if self.verbs.leg.edge.strategy != Strategy::Rolling {
            return;
        }
        let Some(serving) = super::guard::serving(self.verbs) else {
            return;
        };
        for step in gate.iter_mut().flat_map(|group| &mut group.steps) {
            if step.node != node {
                continue;
            }
            let builder = &mut *self.verbs.builder;
            if let Some(shared) = builder.asking_what_serves.get(&step.recipe) {
                step.recipe = *shared;
                continue;
            }
            let recipe = builder.recipes[step.recipe.0 as usize].clone();
            if recipe.only_if.is_none() {
                let only_if = Some(serving.clone());
                let asking = builder.recipe(Recipe { only_if, ..recipe });
                builder.asking_what_serves.insert(step.recipe, asking);
                step.recipe = asking;
            }
        }
    }

    fn targets(&self, on: On, nodes: &[NodeIndex]) -> Vec<NodeIndex> {
        match on {
            On::Each => nodes.to_vec(),
            On::One => vec![self.first],
            On::OneOther => self.other.into_iter().collect(),
        }
    }

    /// Does these slots one after the other, each on all servers of the window.
    /// The gate is asked again immediately before the first disturbing slot in which anything is done, and in a window that
    /// leaves others in service also right before servers stop: until clients have left a drained server, much can happen.
    pub fn forward(&mut self, slots: &[Slot]) {
        let nodes = self.nodes.clone();
        let alone = self.verbs.leg.edge.strategy == Strategy::Rolling;
        let mut asked = false;
        for slot in slots {
            let disturbs =
                FIRST_DISTURBING.contains(slot) && !self.verbs.lines(Way::Forward, *slot).is_empty();
            if disturbs && (!asked || (alone && *slot == Slot::Stop)) {
                let again = self.gate_again(Way::Forward);
                self.forward.extend(again);
                asked = true;
            }
            self.forward_on(*slot, &nodes);
        }
    }

    /// Does a slot on some servers of the window.
    pub fn forward_on(&mut self, slot: Slot, nodes: &[NodeIndex]) {
        for line in self.verbs.lines(Way::Forward, slot) {
            let targets = self.targets(line.on, nodes);
            let mut group = self.verbs.builder.group(line.recipe, targets);
            if slot == Slot::Undrain {
                for step in &mut group.steps {
                    step.undoes = self.taken_out(line.recipe, step.node);
                }
            }
            for step in &group.steps {
                let node = (line.on == On::Each).then_some(step.node);
                self.begun.entry((slot, node)).or_default().push(step.id);
            }
            self.forward.push(group);
        }
    }

    /// From here on the rollback is laid out: first the gate and the guards of a rollback after the decision to stay.
    pub fn turn(&mut self, arming: Arming) {
        let nodes = self.nodes.clone();
        self.rollback_gate = self.gate_on(Way::Back, &nodes);
        if let [node] = nodes[..] {
            let mut gate = std::mem::take(&mut self.rollback_gate);
            self.ask_only_what_serves(node, &mut gate);
            self.rollback_gate = gate;
        }
        let arm = self.arm(arming);
        self.rearm.push(arm);
    }

    /// Whether anything was done in a slot on the way forward.
    pub fn has(&self, slot: Slot) -> bool {
        self.begun
            .range((slot, None)..)
            .next()
            .is_some_and(|((found, _), _)| *found == slot)
    }

    /// The rollback of a slot on all servers of the window, needed where one of `triggers` was begun. Whether there is any.
    pub fn back(&mut self, slot: Slot, triggers: &[Slot]) -> bool {
        let nodes = self.nodes.clone();
        self.back_on(slot, triggers, &nodes)
    }

    /// The rollback of a slot on some servers of the window.
    pub fn back_on(&mut self, slot: Slot, triggers: &[Slot], nodes: &[NodeIndex]) -> bool {
        let mut any = false;
        for line in self.verbs.lines(Way::Back, slot) {
            let group = self.back_line(line, triggers, nodes);
            any |= !group.steps.is_empty();
            self.rollback.push(group);
        }
        any
    }

    fn back_line(&mut self, line: Line, triggers: &[Slot], nodes: &[NodeIndex]) -> Group {
        let targets = self.targets(line.on, nodes);
        let mut group = Group {
            steps: Vec::with_capacity(targets.len()),
        };
        for node in targets {
            let taken_out = self.taken_out(line.recipe, node);
            let undoes = match line.on {
                // Left as found: only what was taken out of this balancer is put back into it.
                _ if !taken_out.is_empty() && triggers.contains(&Slot::Drain) => taken_out,
                On::Each => self.begun_on(triggers, node),
                On::One | On::OneOther => self.begun_anywhere(triggers),
            };
            // Nothing to undo: an empty list would mean that the step is always done.
            if !undoes.is_empty() {
                group
                    .steps
                    .push(self.verbs.builder.step(node, line.recipe, undoes));
            }
        }
        group
    }

    /// The steps that took a server out of the load balancer that a recipe is done on.
    fn taken_out(&self, recipe: RecipeIndex, node: NodeIndex) -> Vec<StepId> {
        if self.verbs.builder.recipes[recipe.0 as usize].balancer.is_none() {
            return Vec::new();
        }
        let drained = self.begun.get(&(Slot::Drain, Some(node)));
        let on_it = drained
            .into_iter()
            .flatten()
            .filter(|id| self.acts_beside(**id, recipe));
        on_it.copied().collect()
    }

    /// Whether a step of the way forward does something on the same load balancer as a recipe.
    fn acts_beside(&self, id: StepId, recipe: RecipeIndex) -> bool {
        let recipes = &self.verbs.builder.recipes;
        let mut steps = self.forward.iter().flat_map(|group| &group.steps);
        steps.find(|step| step.id == id).is_some_and(|step| {
            let other = &recipes[step.recipe.0 as usize];
            other.action.is_some() && other.balancer == recipes[recipe.0 as usize].balancer
        })
    }

    fn begun_on(&self, slots: &[Slot], node: NodeIndex) -> Vec<StepId> {
        let ids = slots.iter().flat_map(|slot| [(*slot, None), (*slot, Some(node))]);
        let mut ids: Vec<StepId> = ids
            .filter_map(|key| self.begun.get(&key))
            .flatten()
            .copied()
            .collect();
        ids.sort();
        // A plan of ten thousand servers keeps a hundred thousand of these.
        ids.shrink_to_fit();
        ids
    }

    pub fn begun_anywhere(&self, slots: &[Slot]) -> Vec<StepId> {
        let mut ids: Vec<StepId> = slots
            .iter()
            .flat_map(|slot| {
                self.begun
                    .range((*slot, None)..=(*slot, Some(NodeIndex(u32::MAX))))
            })
            .flat_map(|(_, ids)| ids)
            .copied()
            .collect();
        ids.sort();
        ids
    }

    /// The finished window.
    pub fn finish(self, soak: Millis) -> Window {
        let rules = &self.verbs.survey.profile.window;
        let timing = &self.verbs.survey.request.timing;
        Window {
            nodes: self.nodes,
            gate: self.gate,
            forward: without_empty(self.forward),
            rollback_gate: self.rollback_gate,
            rearm: self.rearm,
            rollback: without_empty(self.rollback),
            limit: timing.limit.unwrap_or(rules.limit),
            reserve: Millis::ZERO,
            soak,
            lease: timing.lease.unwrap_or(rules.lease),
        }
    }
}

/// The first server of the cluster that is not among these.
pub(super) fn other_than(
    verbs: &Verbs<'_, '_>,
    nodes: &[NodeIndex],
    order: &[NodeIndex],
) -> Option<NodeIndex> {
    let disturbed: BTreeSet<NodeIndex> = nodes.iter().copied().collect();
    let servers = verbs.survey.servers.iter().map(|server| server.index);
    order
        .iter()
        .copied()
        .chain(servers)
        .find(|index| !disturbed.contains(index))
}

/// Batches of a hop's servers, in the order in which they are taken.
pub(super) fn batches(verbs: &Verbs<'_, '_>) -> Vec<Vec<NodeIndex>> {
    order::batches(verbs.survey, &verbs.leg.servers, order::batch_size(verbs.survey))
}
