//! The names that templates and expressions of a plan may use.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use upshift_model::expr::Scope;
use upshift_plan::{NodeIndex, Plan, Recipe};

/// Names for templates and expressions about one server: `node`, `places`, `state_directory`, `from`, `to`, `want`, `run`,
/// `hop`, `let`.
pub fn context(
    plan: &Plan,
    run: &str,
    hop: u32,
    node: NodeIndex,
    recipe: Names<'_>,
    bindings: &BTreeMap<String, Value>,
) -> Value {
    let names = upshift_plan::Names {
        from: recipe.from,
        to: recipe.to,
        want: recipe.want,
        run,
        hop,
        balancer: recipe.balancer,
    };
    let mut context = upshift_plan::context(plan, node, &names);
    context.insert("let".to_owned(), json!(bindings));
    // The same for expressions: their language reserves `let`.
    context.insert("bound".to_owned(), json!(bindings));
    Value::Object(context)
}

/// The versions that a recipe is about.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Version that the hop leads out of.
    pub from: &'a str,
    /// Version that it leads to.
    pub to: &'a str,
    /// Version that should run when the step is done.
    pub want: &'a str,
    /// The load balancer that it is done on.
    pub balancer: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// Those of a recipe.
    pub fn of(recipe: &'a Recipe) -> Self {
        Names {
            from: &recipe.from,
            to: &recipe.to,
            want: &recipe.want,
            balancer: recipe.balancer.as_deref(),
        }
    }
}

/// A scope for expressions about one server's observation.
pub(crate) fn scope(plan: &Plan, context: Value, values: &Value, value: &Value) -> Scope {
    let mut scope = Scope::from_value(plan.scheme, context);
    scope.set("value", value.clone());
    scope.set("values", values.clone());
    scope
}
