//! Before anything is changed: the packages of all hops to every server, unpacked, and what must be built built.

use std::collections::BTreeMap;

use upshift_model::Millis;
use upshift_model::action::{Action, Artifact, SwitchRelease, UnpackRelease};
use upshift_model::probe::Probe;
use upshift_model::profile::{Otherwise, Slot};

use super::verbs::Verbs;
use super::{Builder, Leg, defaults, hop};
use crate::order;
use crate::packages::{self, Assignment};
use crate::refusal::Refusals;
use crate::survey::Survey;
use crate::types::{Group, PlanProof, Recipe, RecipeIndex, StepKind};

/// Bytes per second that a package is sent with at the least; it decides when sending has taken too long.
const SLOWEST: u64 = 100_000;

pub(super) fn lay_out(
    survey: &Survey<'_>,
    legs: &[Leg<'_>],
    packages: &[Assignment<'_>],
    builder: &mut Builder,
    refusals: &mut Refusals,
) -> Vec<Group> {
    let mut groups = Vec::new();
    if !survey.request.prepare_only {
        groups.push(super::snapshots::send(survey, builder));
    }
    for assignment in packages {
        groups.push(of_each(survey, assignment, builder, distribute));
        groups.push(of_each(survey, assignment, builder, unpack));
    }
    for leg in legs {
        let order = order::order(survey, &leg.servers);
        let mut verbs = Verbs::new(survey, leg, builder, refusals);
        groups.extend(hop::groups(&mut verbs, Slot::Prepare, &leg.servers, &order));
    }
    super::without_empty(groups)
}

/// The running release of every server into its store, and the store's link on it.
pub(crate) fn adoption(survey: &Survey<'_>, packages: &[Assignment<'_>]) -> (Vec<Group>, Vec<Recipe>) {
    let mut builder = Builder::default();
    let mut groups = Vec::new();
    for assignment in packages {
        for recipe_of in [distribute, unpack, point] {
            groups.push(of_each(survey, assignment, &mut builder, recipe_of));
        }
    }
    (super::without_empty(groups), builder.recipes)
}

/// One step per server, with one recipe per package.
fn of_each(
    survey: &Survey<'_>,
    assignment: &Assignment<'_>,
    builder: &mut Builder,
    recipe_of: fn(&Survey<'_>, &Artifact) -> Recipe,
) -> Group {
    let mut recipes: BTreeMap<&str, RecipeIndex> = BTreeMap::new();
    let mut group = Group::default();
    for (node, artifact) in &assignment.packages {
        let recipe = *recipes
            .entry(artifact.sha256.as_str())
            .or_insert_with(|| builder.recipe(recipe_of(survey, artifact)));
        group.steps.push(builder.step(*node, recipe, Vec::new()));
    }
    group
}

fn blank(kind: StepKind, title: String, version: &str, within: Millis, proof: PlanProof) -> Recipe {
    Recipe {
        kind,
        title,
        from: version.to_owned(),
        to: version.to_owned(),
        want: version.to_owned(),
        balancer: None,
        only_if: None,
        fails_on: None,
        bindings: BTreeMap::new(),
        action: None,
        proof: vec![proof],
        within,
        otherwise: Otherwise::Fail,
        retry: Default::default(),
    }
}

/// Time for something that takes longer with the size of a package.
fn time_for(survey: &Survey<'_>, size: u64) -> Millis {
    let within = Millis::seconds(60).plus(Millis::seconds(size / SLOWEST));
    survey
        .request
        .timing
        .within
        .map_or(within, |most| within.min(most))
}

pub(super) fn distribute(survey: &Survey<'_>, artifact: &Artifact) -> Recipe {
    let expect = format!("'{}' in value.cached", artifact.sha256);
    let waiting = format!(
        "{} is not on the host yet, or its digest is wrong",
        artifact.file_name
    );
    let proof = defaults::here("host", Probe::Host, expect, waiting);
    let title = format!("distribute {}", artifact.file_name);
    let within = time_for(survey, artifact.size);
    Recipe {
        action: Some(Action::Distribute(artifact.clone())),
        ..blank(StepKind::Distribute, title, &artifact.version, within, proof)
    }
}

fn unpack(survey: &Survey<'_>, artifact: &Artifact) -> Recipe {
    let waiting = format!("{} is not unpacked yet", artifact.version);
    let proof = defaults::here("releases", Probe::Releases, "to in value.releases", waiting);
    let title = format!("unpack {}", artifact.file_name);
    let within = time_for(survey, artifact.size);
    let strip = packages::strip(survey, artifact);
    Recipe {
        action: Some(Action::Unpack(UnpackRelease {
            artifact: artifact.clone(),
            strip,
        })),
        ..blank(StepKind::Unpack, title, &artifact.version, within, proof)
    }
}

fn point(survey: &Survey<'_>, artifact: &Artifact) -> Recipe {
    let waiting = format!("the store's link does not point at {} yet", artifact.version);
    let proof = defaults::here("releases", Probe::Releases, "value.current == want", waiting);
    let title = format!("point the store at {}", artifact.version);
    let release = artifact.version.clone();
    Recipe {
        action: Some(Action::Switch(SwitchRelease { release })),
        ..blank(
            StepKind::Do(Slot::Switch),
            title,
            &artifact.version,
            time_for(survey, 0),
            proof,
        )
    }
}
