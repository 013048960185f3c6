//! The guard: what a server does by itself when no controller renews its lease.
//!
//! It is armed before a window disturbs anything, and takes the same steps as a rollback, as far as one server can do it alone:
//! without looking at other servers, and without the steps that depend on an observation.

use upshift_model::Millis;
use upshift_model::action::{Action, GuardRecipe};
use upshift_model::probe::{Probe, ProbeCheck};
use upshift_model::profile::{At, On, Slot, Strategy};

use super::defaults;
use super::verbs::{Verbs, Way};
use super::window::Arming;
use crate::types::{NoReturnPlan, NodeIndex, PlanProof, Recipe, StepKind};

/// The recipes that arm the guards of a hop. `slots` is the rollback that a server takes alone; with `one_by_one` a server
/// that serves waits until the others serve, too, before it rolls back.
pub(super) fn arming(
    verbs: &mut Verbs<'_, '_>,
    slots: &[Slot],
    first: NodeIndex,
    one_by_one: bool,
    no_return: Option<&NoReturnPlan>,
) -> Arming {
    let hot = verbs.leg.edge.strategy == Strategy::Hot;
    let until = hot.then(|| runs_old(verbs));
    let (own, for_all) = (actions(verbs, slots, false), actions(verbs, slots, true));
    let waits = if one_by_one { waits(verbs) } else { None };
    let proof = proof(verbs);
    let mut recipe = |rollback: Vec<Action>| {
        let (serving_if, wait_until) = waits.clone().unzip();
        let guard = GuardRecipe {
            again: false,
            scheme: verbs.survey.scheme(),
            scope: serde_json::Map::new(),
            lease: verbs
                .survey
                .request
                .timing
                .lease
                .unwrap_or(verbs.survey.profile.window.lease),
            stagger: Millis::ZERO,
            stand_down_if: no_return.and_then(|point| point.crossed.observed()).map(check),
            serving_if,
            wait_until,
            rollback,
            until: until.clone(),
            proof: proof.clone(),
        };
        let armed = "value.state == 'armed'";
        let recipe = Recipe {
            kind: StepKind::Arm,
            action: Some(Action::ArmGuard(Box::new(guard))),
            proof: vec![defaults::here(
                "guard",
                Probe::Guard,
                armed,
                "the guard does not stand yet",
            )],
            // The names in the guard are about the rollback.
            ..verbs.blank(Way::Back, Slot::Gate, "arm the guard".to_owned())
        };
        verbs.builder.recipe(recipe)
    };
    let first = (own != for_all).then(|| (first, recipe(for_all)));
    Arming {
        each: recipe(own),
        first,
    }
}

/// The actions of the rollback that need no observation; with `once` also those that are done once for the whole cluster.
fn actions(verbs: &mut Verbs<'_, '_>, slots: &[Slot], once: bool) -> Vec<Action> {
    let mut actions = Vec::new();
    let hot = verbs.leg.edge.strategy == Strategy::Hot;
    for slot in slots {
        for line in verbs.lines(Way::Back, *slot) {
            let recipe = &verbs.builder.recipes[line.recipe.0 as usize];
            // Data that all servers share is put back where nothing of any of them runs, which no guard can see of the others.
            let shared = *slot == Slot::OldData;
            let alone = line.on == On::Each || (once && !shared && line.on == On::One);
            // A hot hop's rollback ends where the old version runs, so that conditions of its own are not needed.
            let takes = stands_alone(recipe) || (hot && recipe.bindings.is_empty());
            if alone && takes {
                actions.extend(recipe.action.clone());
            }
        }
    }
    actions
}

/// How a server sees that the old version runs.
fn runs_old(verbs: &mut Verbs<'_, '_>) -> ProbeCheck {
    let running = &verbs.survey.profile.versions.running;
    ProbeCheck {
        probe: verbs.probe(&running.probe),
        expect: format!("({}) == want", running.expression),
    }
}

/// The proofs of the rollback that a server can see at itself.
fn proof(verbs: &mut Verbs<'_, '_>) -> Vec<ProbeCheck> {
    let mut checks = Vec::new();
    for slot in [Slot::Start, Slot::Rejoin] {
        for line in verbs.lines(Way::Back, slot) {
            let recipe = &verbs.builder.recipes[line.recipe.0 as usize];
            if line.on == On::Each && stands_alone(recipe) {
                checks.extend(recipe.proof.iter().filter(|proof| seen_alone(proof)).map(check));
            }
        }
    }
    // A server that serves, and does not tell which version, would be taken for one that is back already, and not be stopped.
    let tells = |check: &ProbeCheck| check.expect.contains("want");
    if !checks.is_empty() && !checks.iter().any(tells) {
        checks.push(runs_old(verbs));
    }
    checks
}

/// How a server knows that it serves, and that it may be taken down.
fn waits(verbs: &mut Verbs<'_, '_>) -> Option<(ProbeCheck, ProbeCheck)> {
    let serving = serving(verbs)?;
    let others = match &verbs.survey.profile.guard.wait_until {
        Some(proof) => verbs.proof(proof),
        None => first_seen_alone(verbs, &[Slot::Gate, Slot::Recover])?,
    };
    Some((check(&serving), check(&others)))
}

/// How a server knows that it serves, on either version; `want` would name only the one to roll back to.
pub(super) fn serving(verbs: &mut Verbs<'_, '_>) -> Option<PlanProof> {
    let serving = first_seen_alone(verbs, &[Slot::Rejoin, Slot::Recover])?;
    let expect = format!(
        "({}) || ({})",
        rename(&serving.expect, "want", "from"),
        rename(&serving.expect, "want", "to")
    );
    Some(PlanProof {
        expect,
        stable: 1,
        progress: None,
        ..serving
    })
}

fn first_seen_alone(verbs: &mut Verbs<'_, '_>, slots: &[Slot]) -> Option<PlanProof> {
    slots.iter().find_map(|slot| {
        let mut lines = verbs.lines(Way::Back, *slot);
        lines.retain(|line| line.on != On::OneOther);
        let recipes = lines
            .iter()
            .map(|line| &verbs.builder.recipes[line.recipe.0 as usize]);
        let mut proofs = recipes
            .filter(|recipe| stands_alone(recipe))
            .flat_map(|recipe| &recipe.proof);
        proofs.find(|proof| seen_alone(proof)).cloned()
    })
}

fn check(proof: &PlanProof) -> ProbeCheck {
    ProbeCheck {
        probe: proof.probe.clone(),
        expect: proof.expect.clone(),
    }
}

/// Whether a server can do a recipe by itself: on its own host, and with nothing observed before it.
fn stands_alone(recipe: &Recipe) -> bool {
    recipe.only_if.is_none() && recipe.bindings.is_empty() && recipe.balancer.is_none()
}

/// Whether a server can judge a proof by what it sees itself.
fn seen_alone(proof: &PlanProof) -> bool {
    proof.at == At::Node
        && !["values", "before", "befores", "output"]
            .iter()
            .any(|name| uses(&proof.expect, name))
}

/// Whether an expression uses a name.
pub(crate) fn uses(expression: &str, name: &str) -> bool {
    words(expression).any(|(word, is_name)| is_name && word == name)
}

/// The expression with another name in the place of one.
pub(crate) fn rename(expression: &str, name: &str, other: &str) -> String {
    words(expression)
        .map(|(word, is_name)| if is_name && word == name { other } else { word })
        .collect()
}

/// An expression cut into names and what stands between them. What is in quotes, and what comes after a dot, is no name.
fn words(expression: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = expression;
    let mut after_dot = false;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let length = match first {
            '\'' | '"' => quoted(rest, first),
            _ if in_name(first) => rest.find(|c| !in_name(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, tail) = rest.split_at(length);
        let is_name = in_name(first) && !after_dot;
        after_dot = first == '.';
        rest = tail;
        Some((word, is_name))
    })
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the quoted text that an expression begins with.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_renamed_outside_quotes_and_after_dots_only() {
        let text = "value.want == want && 'want' != \"a\\\"want\" + wanted";
        assert_eq!(
            rename(text, "want", "from"),
            "value.want == from && 'want' != \"a\\\"want\" + wanted"
        );
        assert!(uses("size(values) > 1", "values") && !uses("value.values", "values"));
    }
}
