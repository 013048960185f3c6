//! Filling in the templates of a plan's actions and probes, and the names that its expressions may use.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use upshift_model::action::Action;
use upshift_model::expr::Scope;
use upshift_model::probe::Probe;
use upshift_model::template::{self, TemplateError};

use crate::types::{Hop, NodeIndex, Plan, Recipe};

/// What a template or expression is about, beside its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// Version that the hop leads out of.
    pub from: &'a str,
    /// Version that it leads to.
    pub to: &'a str,
    /// Version that shall run; see [`Recipe::want`].
    pub want: &'a str,
    /// The run.
    pub run: &'a str,
    /// Position of the hop.
    pub hop: u32,
    /// The load balancer that it is done on; see [`Recipe::balancer`].
    pub balancer: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// The names of a recipe.
    pub fn of_recipe(recipe: &'a Recipe, run: &'a str, hop: u32) -> Self {
        Names {
            from: &recipe.from,
            to: &recipe.to,
            want: &recipe.want,
            run,
            hop,
            balancer: recipe.balancer.as_deref(),
        }
    }

    /// The names of a hop on its way forward: for what is watched, and for the point of no return.
    pub fn of_hop(hop: &'a Hop, run: &'a str, position: u32) -> Self {
        Names {
            from: &hop.from,
            to: &hop.to,
            want: &hop.to,
            run,
            hop: position,
            balancer: None,
        }
    }
}

/// The names as one object: `node`, `places`, `state_directory`, `from`, `to`, `want`, `run`, `hop`, `strategy`; and `balancer` where there is one.
pub fn context(plan: &Plan, node: NodeIndex, names: &Names<'_>) -> Map<String, Value> {
    let server = plan.node(node);
    let mut node: Map<String, Value> = server
        .variables
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    node.insert("name".to_owned(), json!(server.name));
    let strategy = plan.hops.get(names.hop as usize).map(|hop| hop.strategy);
    let mut context: Map<String, Value> = [
        ("node", Value::Object(node)),
        ("places", json!(server.places)),
        ("state_directory", json!(server.state_directory)),
        ("from", json!(names.from)),
        ("to", json!(names.to)),
        ("want", json!(names.want)),
        ("run", json!(names.run)),
        ("hop", json!(names.hop)),
        ("strategy", json!(strategy)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if let Some(balancer) = names.balancer {
        context.insert("balancer".to_owned(), balancer_map(plan, balancer));
    }
    context
}

/// A load balancer's variables, and its name.
fn balancer_map(plan: &Plan, name: &str) -> Value {
    let found = plan.balancers.iter().find(|balancer| balancer.name == name);
    let variables = found.iter().flat_map(|balancer| &balancer.variables);
    let mut map: Map<String, Value> = variables
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    map.insert("name".to_owned(), json!(name));
    Value::Object(map)
}

/// The scope of an expression about a server; the caller adds what was observed (`value`, `values`, `before`, `output`).
pub fn scope(plan: &Plan, node: NodeIndex, names: &Names<'_>) -> Scope {
    Scope::from_value(plan.scheme, Value::Object(context(plan, node, names)))
}

/// The action of a recipe for one server, with its templates filled in; nothing where the recipe has none. A guard gets the names
/// that its expressions use, and the time by which it fires later than the first.
///
/// # Errors
/// A template that names something that is not there.
pub fn render_action(
    plan: &Plan,
    node: NodeIndex,
    recipe: &Recipe,
    bindings: &BTreeMap<String, Value>,
    run: &str,
    hop: u32,
) -> Result<Option<Action>, TemplateError> {
    let Some(action) = &recipe.action else {
        return Ok(None);
    };
    let mut names = context(plan, node, &Names::of_recipe(recipe, run, hop));
    names.insert("let".to_owned(), json!(bindings));
    names.insert("bound".to_owned(), json!(bindings));
    let mut names = Value::Object(names);
    let mut action = template::render(action, &names)?;
    if let Action::Snapshot(order) = &mut action
        && let Value::Object(names) = &names
    {
        order.scope.clone_from(names);
    }
    if let Action::ArmGuard(guard) = &mut action {
        let offsets = plan.hops.get(hop as usize).map(|hop| &hop.guard_offsets);
        guard.stagger = offsets
            .and_then(|offsets| offsets.get(&node))
            .copied()
            .unwrap_or_default();
        if let Value::Object(mut names) = names.take() {
            names.insert("leaving".to_owned(), json!([plan.node(node).name]));
            guard.scope = names;
        }
    }
    Ok(Some(action))
}

/// A probe with its templates filled in.
///
/// # Errors
/// A template that names something that is not there.
pub fn render_probe(
    plan: &Plan,
    node: NodeIndex,
    probe: &Probe,
    names: &Names<'_>,
) -> Result<Probe, TemplateError> {
    template::render(probe, &Value::Object(context(plan, node, names)))
}
