//! What the merges of a plan would come to, before anything is done: shown with the plan, and refused where a person has to decide.
//!
//! Only the first hop's can be told: a later one merges what the hops before it leave.

use std::collections::BTreeMap;

use upshift_model::action::{Action, MergeConfig};
use upshift_model::probe::Observation;

use crate::refusal::Refusals;
use crate::render_action;
use crate::types::{ConfigChange, NodeIndex, Plan, Refusal, Request};

/// Name of the variable with what the operator has decided; see [`MergeConfig::answers`].
pub const ANSWERS: &str = "config_answers";

/// What is merged on a server: the server, and the position of the merge among its merges.
pub type MergeAt = (NodeIndex, u32);

/// The merges of the plan's first hop.
pub fn merges(plan: &Plan) -> BTreeMap<MergeAt, MergeConfig> {
    let mut found = BTreeMap::new();
    let mut counts: BTreeMap<NodeIndex, u32> = BTreeMap::new();
    let first = plan.hops.first();
    let windows = first.into_iter().flat_map(|hop| &hop.windows);
    for step in windows
        .flat_map(|window| &window.forward)
        .flat_map(|group| &group.steps)
    {
        let recipe = plan.recipe(step.recipe);
        if !matches!(recipe.action, Some(Action::MergeConfig(_))) {
            continue;
        }
        // What cannot be filled in is said by the step itself.
        if let Ok(Some(Action::MergeConfig(order))) =
            render_action(plan, step.node, recipe, &BTreeMap::new(), "", 0)
        {
            let count = counts.entry(step.node).or_default();
            found.insert((step.node, *count), order);
            *count += 1;
        }
    }
    found
}

/// What the servers answered to [`merges`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Previewed {
    /// What changes, equal changes told once.
    pub changes: Vec<ConfigChange>,
    /// What an operator should know and what stops nothing.
    pub warnings: Vec<String>,
    /// What a person has to decide.
    pub refusals: Vec<Refusal>,
}

/// Judges what the servers answered to [`merges`].
pub fn previewed(
    plan: &Plan,
    merges: &BTreeMap<MergeAt, MergeConfig>,
    observed: &BTreeMap<MergeAt, Observation>,
) -> Previewed {
    let mut changes: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut refusals = Refusals::of(&Request::default());
    for (at, observation) in observed {
        let (name, Some(order)) = (&plan.node(at.0).name, merges.get(at)) else {
            continue;
        };
        let value = match observation {
            Ok(value) => value,
            Err(failure) => {
                warnings.push(format!(
                    "what the merge of {} on {name} comes to cannot be told beforehand: {}; the run finds out before it stops anything",
                    order.file,
                    failure.reason()
                ));
                continue;
            }
        };
        let conflicts = value["conflicts"].as_array().into_iter().flatten();
        for conflict in conflicts.filter_map(|conflict| conflict.as_str()) {
            refusals.add_host(
                "config-conflict",
                name,
                format!("{}: {conflict}", order.file),
                remedy(),
            );
        }
        if let Some(diff) = value["diff"].as_str().filter(|diff| !diff.is_empty()) {
            let hosts = changes.entry((diff, &order.file)).or_default();
            hosts.push(name.clone());
        }
    }
    let changes = changes.into_iter().map(|((diff, file), hosts)| ConfigChange {
        hosts,
        file: file.to_owned(),
        diff: diff.to_owned(),
    });
    Previewed {
        changes: changes.collect(),
        warnings,
        refusals: refusals.into_sorted(),
    }
}

fn remedy() -> String {
    format!(
        "decide: change your file, or write the answer into the fleet file, where it holds for every server: \
         `{ANSWERS}: {{ KEY: yours }}` among the `vars` of the product, or `{{ KEY: new }}` for the new default"
    )
}
