//! Laying a path out as groups of steps, one file per strategy.
//!
//! What all strategies share is in [`verbs`] (which recipes fill a slot), [`defaults`] (the recipes where a profile has none) and
//! [`window`] (one window, with the rollback of every step in it); [`together`] is the window over all servers that `switch` and `rebuild` have.

mod balancers;
mod bounds;
mod defaults;
mod finalize;
pub(crate) mod guard;
mod hop;
mod hot;
pub(crate) mod prepare;
mod rebuild;
mod rolling;
mod snapshots;
mod switch;
mod together;
mod verbs;
mod window;

use std::collections::BTreeMap;

use upshift_model::profile::{PathEdge, Slot};
use upshift_model::version::Version;

use crate::packages::Assignment;
use crate::refusal::Refusals;
use crate::survey::Survey;
use crate::types::{Group, Hop, NodeIndex, Recipe, RecipeIndex, Step, StepId};

/// One hop of the path, with the servers that take part in it.
#[derive(Clone, Debug)]
pub(crate) struct Leg<'a> {
    pub from: Version,
    pub to: Version,
    pub edge: &'a PathEdge,
    /// Servers that run `from` when the hop begins. Those that are further already are left out of its windows.
    pub servers: Vec<NodeIndex>,
}

/// Hands out recipes and numbers of steps.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    pub recipes: Vec<Recipe>,
    next: u32,
    /// Gates in a rollback, with the recipe that asks only a server that serves.
    asking_what_serves: BTreeMap<RecipeIndex, RecipeIndex>,
    /// Gates, with the recipe that asks them once more inside the window.
    asked_again: BTreeMap<RecipeIndex, RecipeIndex>,
}

impl Builder {
    fn recipe(&mut self, recipe: Recipe) -> RecipeIndex {
        let index = RecipeIndex(self.recipes.len() as u32);
        self.recipes.push(recipe);
        index
    }

    fn step(&mut self, node: NodeIndex, recipe: RecipeIndex, undoes: Vec<StepId>) -> Step {
        let id = StepId(self.next);
        self.next += 1;
        Step {
            id,
            node,
            recipe,
            undoes,
        }
    }

    /// One step of a recipe on each of these servers.
    fn group(&mut self, recipe: RecipeIndex, nodes: impl IntoIterator<Item = NodeIndex>) -> Group {
        Group {
            steps: nodes
                .into_iter()
                .map(|node| self.step(node, recipe, Vec::new()))
                .collect(),
        }
    }
}

/// What was laid out.
pub(crate) struct Layout {
    pub recipes: Vec<Recipe>,
    pub prepare: Vec<Group>,
    pub hops: Vec<Hop>,
    pub proof: Vec<Group>,
    pub finalize: Vec<Group>,
    pub finalize_notes: Vec<String>,
}

/// Lays a path out.
pub(crate) fn lay_out(
    survey: &Survey<'_>,
    legs: &[Leg<'_>],
    packages: &[Assignment<'_>],
    refusals: &mut Refusals,
) -> Layout {
    let mut builder = Builder::default();
    let prepare = prepare::lay_out(survey, legs, packages, &mut builder, refusals);
    let hops = legs
        .iter()
        .map(|leg| hop::lay_out(survey, leg, &mut builder, refusals))
        .collect();
    let proof = prove(survey, legs, &mut builder, refusals);
    let (finalize, finalize_notes) = finalize::lay_out(survey, legs, &mut builder, refusals);
    Layout {
        recipes: builder.recipes,
        prepare,
        hops,
        proof,
        finalize,
        finalize_notes,
    }
}

/// The last act: every server of the product is observed, also those that no hop has touched.
fn prove(
    survey: &Survey<'_>,
    legs: &[Leg<'_>],
    builder: &mut Builder,
    refusals: &mut Refusals,
) -> Vec<Group> {
    let Some(last) = legs.last().filter(|_| !survey.request.prepare_only) else {
        return Vec::new();
    };
    let mut verbs = verbs::Verbs::new(survey, last, builder, refusals);
    let title = format!("see that it runs {}", last.to);
    let look = hop::runs_new(&mut verbs, Slot::Verify, title);
    let everybody = survey.servers.iter().map(|server| server.index);
    vec![builder.group(look, everybody)]
}

/// Drops groups without steps.
fn without_empty(groups: Vec<Group>) -> Vec<Group> {
    groups
        .into_iter()
        .filter(|group| !group.steps.is_empty())
        .collect()
}
