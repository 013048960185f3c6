//! Whether a plan holds together: what was read from a file may be anything.

use std::collections::BTreeSet;

use crate::types::{Crossed, Group, Hop, NodeIndex, Plan, StepId};

impl Plan {
    /// Whether a plan holds together: every number in it names something that is there, its hops lead to the version that was asked
    /// for, and it ends with an observation of every server. What else it does cannot be judged from the plan alone.
    ///
    /// # Errors
    /// The first thing that is wrong, as a sentence without a full stop.
    pub fn validate(&self) -> Result<(), String> {
        let mut known = BTreeSet::new();
        let mut names = BTreeSet::new();
        for node in &self.nodes {
            if !names.insert(&node.name) {
                return Err(format!("the server {} is in it twice", node.name));
            }
        }
        self.groups(&self.prepare, "its preparation", &mut known)?;
        for hop in &self.hops {
            self.hop(hop, &mut known)?;
        }
        self.groups(&self.proof, "its last observation", &mut known)?;
        self.groups(&self.finalize, "finalize", &mut known)?;
        self.undone_steps(&known)?;
        self.leads_to_target()?;
        self.ends_with_observation()
    }

    fn groups<'g>(
        &self,
        groups: impl IntoIterator<Item = &'g Group>,
        what: &str,
        known: &mut BTreeSet<StepId>,
    ) -> Result<(), String> {
        for step in groups.into_iter().flat_map(|group| &group.steps) {
            self.server(step.node, what)?;
            if self.recipes.get(step.recipe.0 as usize).is_none() {
                return Err(format!(
                    "{what} does recipe {}, and there are {}",
                    step.recipe.0,
                    self.recipes.len()
                ));
            }
            if !known.insert(step.id) {
                return Err(format!("the step {} is in it twice", step.id.0));
            }
        }
        Ok(())
    }

    fn server(&self, node: NodeIndex, what: &str) -> Result<(), String> {
        match self.nodes.get(node.0 as usize) {
            Some(_) => Ok(()),
            None => Err(format!(
                "{what} is about server {}, and there are {}",
                node.0,
                self.nodes.len()
            )),
        }
    }

    fn hop(&self, hop: &Hop, known: &mut BTreeSet<StepId>) -> Result<(), String> {
        let what = format!("the hop {} → {}", hop.from, hop.to);
        self.groups(&hop.protect, &what, known)?;
        for window in &hop.windows {
            window
                .nodes
                .iter()
                .try_for_each(|node| self.server(*node, &what))?;
            self.groups(window.groups(), &what, known)?;
        }
        self.groups(&hop.stay, &what, known)?;
        self.groups(&hop.settle, &what, known)?;
        self.groups(&hop.rolled_back, &what, known)?;
        self.groups(hop.own_rollback(), &what, known)?;
        hop.guard_offsets
            .keys()
            .try_for_each(|node| self.server(*node, &what))?;
        match &hop.no_return {
            Some(point) if !hop.windows.is_empty() && point.window as usize >= hop.windows.len() => {
                Err(format!(
                    "the point of no return of {what} is in window {}, and there are {}",
                    point.window,
                    hop.windows.len()
                ))
            }
            _ => Ok(()),
        }
    }

    /// Steps that others undo, and those that say that a point of no return was crossed.
    fn undone_steps(&self, known: &BTreeSet<StepId>) -> Result<(), String> {
        let windows = self.hops.iter().flat_map(|hop| &hop.windows);
        let undone = windows
            .flat_map(|window| [&window.forward, &window.rollback])
            .flatten()
            .flat_map(|group| &group.steps)
            .flat_map(|step| &step.undoes);
        let crossing = self.hops.iter().filter_map(|hop| hop.no_return.as_ref());
        let crossing = crossing.flat_map(|point| match &point.crossed {
            Crossed::Begun(steps) => &steps[..],
            Crossed::Observed(_) => &[],
        });
        match undone.chain(crossing).find(|id| !known.contains(id)) {
            Some(id) => Err(format!("it speaks of step {}, which it does not have", id.0)),
            None => Ok(()),
        }
    }

    fn leads_to_target(&self) -> Result<(), String> {
        if self.request.prepare_only {
            return Ok(());
        }
        let Some(last) = self.hops.last() else {
            return Err("it has no hop, so it upgrades nothing".to_owned());
        };
        for pair in self.hops.windows(2) {
            if pair[0].to != pair[1].from {
                return Err(format!(
                    "a hop leads to {}, the next one out of {}",
                    pair[0].to, pair[1].from
                ));
            }
        }
        if last.to != self.request.to {
            return Err(format!(
                "it leads to {}, and {} was asked for",
                last.to, self.request.to
            ));
        }
        Ok(())
    }

    fn ends_with_observation(&self) -> Result<(), String> {
        if self.request.prepare_only {
            return Ok(());
        }
        let observed: BTreeSet<NodeIndex> = self
            .proof
            .iter()
            .flat_map(|group| &group.steps)
            .filter(|step| {
                let recipe = self.recipe(step.recipe);
                recipe.want == self.request.to && recipe.only_if.is_none() && !recipe.proof.is_empty()
            })
            .map(|step| step.node)
            .collect();
        let missing = (0u32..)
            .zip(&self.nodes)
            .find(|(index, _)| !observed.contains(&NodeIndex(*index)));
        match missing {
            Some((_, node)) => Err(format!("it does not end with an observation of {}", node.name)),
            None => Ok(()),
        }
    }
}
