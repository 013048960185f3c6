//! Expressions over facts and observations: the Common Expression Language (CEL), with functions for versions.
//!
//! This is the only module that knows which expression library is used.
//!
//! Functions beside CEL's own: `at_least(a, b)` and `older(a, b)` compare two versions under the scope's scheme,
//! `same_minor(a, b)` and `same_major(a, b)` compare their first numbers, `hex(n)` writes a whole number in lower-case
//! hexadecimal, `told(observation)` is an observation that tells something, and fails for any other, `sum(list)` adds whole numbers up, `seconds(text)` reads a span of time in words (`2 hours, 5 minutes`). Whole numbers of JSON become CEL `int` where they fit, and `uint` above that.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use cel::objects::Key;
use cel::{Context, DeclarationError, Env, ExecutionError, Program};
use serde_json::Value;

use crate::version::{Scheme, Version};

/// Why an expression could not be read or did not yield what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// Not an expression.
    #[error("`{expression}` is not an expression: {reason}")]
    Syntax {
        /// The text.
        expression: String,
        /// What the parser says.
        reason: String,
    },
    /// It could not be computed from these values.
    #[error("`{expression}` could not be computed: {reason}")]
    Evaluation {
        /// The text.
        expression: String,
        /// What went wrong.
        reason: String,
    },
}

/// The names that an expression may use, with their values.
#[derive(Clone, Debug)]
pub struct Scope {
    scheme: Scheme,
    values: serde_json::Map<String, Value>,
}

impl Scope {
    /// An empty scope in which versions are compared by `scheme`.
    pub fn new(scheme: Scheme) -> Self {
        Scope {
            scheme,
            values: serde_json::Map::new(),
        }
    }

    /// A scope with the names of an object; anything else gives an empty scope.
    pub fn from_value(scheme: Scheme, value: Value) -> Self {
        match value {
            Value::Object(values) => Scope { scheme, values },
            _ => Scope::new(scheme),
        }
    }

    /// Adds a name.
    pub fn set(&mut self, name: &str, value: Value) -> &mut Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// All names as one object, for templates.
    pub fn as_value(&self) -> Value {
        Value::Object(self.values.clone())
    }

    /// What an expression is computed with: the names that it uses, since the others would only be converted for nothing.
    fn context(&self, expression: &Expression) -> Result<Context<'static, 'static>, DeclarationError> {
        let mut context = Context::with_env(STANDARD.with(Arc::clone));
        for name in &expression.variables {
            if let Some(value) = self.values.get(name) {
                context.add_variable_from_value(name.clone(), to_cel(value));
            }
        }
        if expression.calls {
            add_functions(&mut context, self.scheme)?;
        }
        Ok(context)
    }
}

fn add_functions(context: &mut Context<'_, '_>, scheme: Scheme) -> Result<(), DeclarationError> {
    context.add_function("at_least", move |a: Arc<String>, b: Arc<String>| {
        two_versions(scheme, "at_least", &a, &b).map(|(a, b)| a >= b)
    })?;
    context.add_function("older", move |a: Arc<String>, b: Arc<String>| {
        two_versions(scheme, "older", &a, &b).map(|(a, b)| a < b)
    })?;
    context.add_function("same_minor", move |a: Arc<String>, b: Arc<String>| {
        two_versions(scheme, "same_minor", &a, &b).map(|(a, b)| a.same_minor(&b))
    })?;
    context.add_function("same_major", move |a: Arc<String>, b: Arc<String>| {
        two_versions(scheme, "same_major", &a, &b).map(|(a, b)| a.major() == b.major())
    })?;
    // Not in the standard environment.
    context.add_function("max", cel::functions::max)?;
    context.add_function("min", cel::functions::min)?;
    context.add_function("seconds", |text: Arc<String>| {
        crate::duration::in_words(&text).ok_or_else(|| {
            ExecutionError::function_error("seconds", format!("`{text}` is no span of time in words"))
        })
    })?;
    context.add_function("sum", |numbers: cel::Value| {
        sum(&numbers).map_err(|problem| ExecutionError::function_error("sum", problem))
    })?;
    context.add_function("told", |observation: cel::Value| match untold(&observation) {
        None => Ok(observation),
        Some(reason) => Err(ExecutionError::function_error("told", reason)),
    })?;
    context.add_function("hex", |number: cel::Value| {
        let text = match number {
            cel::Value::Int(number) => format!("{number:x}"),
            cel::Value::UInt(number) => format!("{number:x}"),
            other => {
                return Err(ExecutionError::function_error(
                    "hex",
                    format!("{other:?} is not a whole number"),
                ));
            }
        };
        Ok(cel::Value::String(Arc::new(text)))
    })?;
    Ok(())
}

/// Names of the functions beside CEL's own.
pub const FUNCTIONS: [&str; 8] = [
    "told",
    "at_least",
    "older",
    "same_minor",
    "same_major",
    "hex",
    "seconds",
    "sum",
];

/// Why an observation tells nothing: the probe failed, its command ended with another status than 0, or the server answered with an
/// error.
fn untold(observation: &cel::Value) -> Option<String> {
    let observation = observation.json().unwrap_or(Value::Null);
    if let Some(reason) = observation["error"].as_str() {
        return Some(reason.to_owned());
    }
    match (observation["exit"].as_i64(), observation["status"].as_u64()) {
        (Some(0), _) => None,
        (Some(exit), _) => Some(format!("the command ended with status {exit}")),
        (None, Some(status)) if status >= 400 => {
            Some(format!("the server answered with HTTP status {status}"))
        }
        (None, _) => observation.is_null().then(|| "nothing was observed".to_owned()),
    }
}

fn sum(numbers: &cel::Value) -> Result<i64, String> {
    let cel::Value::List(numbers) = numbers else {
        return Err(format!("{numbers:?} is not a list"));
    };
    numbers.iter().try_fold(0_i64, |sum, number| {
        let number = match number {
            cel::Value::Int(number) => Some(*number),
            cel::Value::UInt(number) => i64::try_from(*number).ok(),
            _ => None,
        };
        number
            .and_then(|number| sum.checked_add(number))
            .ok_or_else(|| "the list does not hold whole numbers alone, or their sum is too large".to_owned())
    })
}

fn two_versions(
    scheme: Scheme,
    function: &str,
    a: &str,
    b: &str,
) -> Result<(Version, Version), ExecutionError> {
    let parse = |text: &str| {
        Version::parse(scheme, text).map_err(|error| ExecutionError::function_error(function, error))
    };
    Ok((parse(a)?, parse(b)?))
}

/// An expression that has been read.
#[derive(Debug)]
pub struct Expression {
    text: String,
    program: Program,
    /// Names that it uses, sorted; names that it binds itself are among them.
    variables: Vec<String>,
    /// Whether it calls a function by its name.
    calls: bool,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`ExprError::Syntax`] where the text is not one.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let program = Program::compile(text).map_err(|errors| ExprError::Syntax {
            expression: text.to_owned(),
            reason: errors.to_string(),
        })?;
        let references = program.references();
        let mut variables: Vec<String> = references
            .variables()
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        variables.sort();
        let calls = references.functions().iter().any(|name| is_named(name));
        Ok(Expression {
            text: text.to_owned(),
            program,
            variables,
            calls,
        })
    }

    /// The names that the expression uses, sorted; names that it binds itself (in `list.all(n, …)`) are among them.
    pub fn references(&self) -> Vec<String> {
        self.variables.clone()
    }

    /// The functions that the expression calls, sorted; operators and CEL's macros are not among them.
    pub fn functions(&self) -> Vec<String> {
        let references = self.program.references();
        let mut names: Vec<String> = references
            .functions()
            .iter()
            .filter(|name| is_named(name))
            .map(|name| (*name).to_owned())
            .collect();
        names.sort();
        names
    }

    /// What the expression yields.
    ///
    /// # Errors
    /// [`ExprError::Evaluation`] where a name is missing, types do not fit, or the result has no JSON form.
    pub fn value(&self, scope: &Scope) -> Result<Value, ExprError> {
        let context = scope
            .context(self)
            .map_err(|error| self.failed(error.to_string()))?;
        let value = self
            .program
            .execute(&context)
            .map_err(|error| self.failed(error.to_string()))?;
        value.json().map_err(|error| self.failed(error.to_string()))
    }

    /// Whether the expression holds.
    ///
    /// # Errors
    /// As [`Expression::value`]; also where the result is neither true nor false.
    pub fn holds(&self, scope: &Scope) -> Result<bool, ExprError> {
        match self.value(scope)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(self.failed(format!("it yields {other}, which is neither true nor false"))),
        }
    }

    fn failed(&self, reason: String) -> ExprError {
        ExprError::Evaluation {
            expression: self.text.clone(),
            reason,
        }
    }
}

/// Whether a function is one that is called by a name; operators are functions, too.
fn is_named(function: &str) -> bool {
    function.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Expressions are few and computed often, and reading one costs far more than computing it: those read once are kept.
const KEPT: usize = 4096;

thread_local! {
    static STANDARD: Arc<Env> = Arc::new(Env::stdlib());
    static READ: RefCell<BTreeMap<String, Rc<Expression>>> = const { RefCell::new(BTreeMap::new()) };
}

fn read(text: &str) -> Result<Rc<Expression>, ExprError> {
    if let Some(expression) = READ.with_borrow(|read| read.get(text).cloned()) {
        return Ok(expression);
    }
    let expression = Rc::new(Expression::parse(text)?);
    READ.with_borrow_mut(|read| {
        if read.len() >= KEPT {
            read.clear();
        }
        read.insert(text.to_owned(), expression.clone());
    });
    Ok(expression)
}

/// Reads and computes in one call; see [`Expression::holds`].
///
/// # Errors
/// As [`Expression::parse`] and [`Expression::holds`].
pub fn holds(text: &str, scope: &Scope) -> Result<bool, ExprError> {
    read(text)?.holds(scope)
}

/// Reads and computes in one call; see [`Expression::value`].
///
/// # Errors
/// As [`Expression::parse`] and [`Expression::value`].
pub fn value(text: &str, scope: &Scope) -> Result<Value, ExprError> {
    read(text)?.value(scope)
}

fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => cel::Value::Int(number),
            (None, Some(number)) => cel::Value::UInt(number),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(entries) => map_to_cel(entries),
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "the expression library's map is made of one; it is looked up in and quantified over, never listed"
)]
fn map_to_cel(entries: &serde_json::Map<String, Value>) -> cel::Value {
    let map: std::collections::HashMap<Key, cel::Value> = entries
        .iter()
        .map(|(name, value)| (Key::String(Arc::new(name.clone())), to_cel(value)))
        .collect();
    cel::Value::Map(map.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        let mut scope = Scope::new(Scheme::Semver);
        scope.set(
            "value",
            json!({"healthy": true, "id": 18249187646912138824u64, "members": [{"up": true}, {"up": false}]}),
        );
        scope.set("values", json!({"a": {"hash": 7}, "b": {"hash": 7}}));
        scope.set("to", json!("3.5.16"));
        scope
    }

    #[test]
    fn what_was_not_observed_is_neither_yes_nor_no() {
        let mut scope = scope();
        scope
            .set("well", serde_json::json!({"exit": 0, "value": "0"}))
            .set(
                "failed",
                serde_json::json!({"exit": 1, "value": "", "stderr": "denied"}),
            )
            .set("gone", serde_json::json!({"error": "timed out"}))
            .set(
                "answer",
                serde_json::json!({"status": 200, "value": {"ok": true}}),
            )
            .set("refused", serde_json::json!({"status": 503, "value": null}));
        assert_eq!(holds("told(well).value == '0'", &scope), Ok(true));
        assert_eq!(holds("told(answer).value.ok", &scope), Ok(true));
        for unknown in [
            "told(failed).value == ''",
            "told(gone).value == 1",
            "told(refused).value == null",
        ] {
            assert!(holds(unknown, &scope).is_err(), "{unknown}");
        }
        // What is seen in the failure itself decides first.
        assert_eq!(
            holds(
                "!failed.stderr.contains('denied') && told(failed).exit == 0",
                &scope
            ),
            Ok(false)
        );
    }

    #[test]
    fn what_a_verb_binds_has_a_name_that_the_language_does_not_reserve() {
        let mut scope = scope();
        scope
            .set("let", serde_json::json!({"revision": 7}))
            .set("bound", serde_json::json!({"revision": 7}));
        assert_eq!(holds("bound.revision == 7", &scope), Ok(true));
        assert!(Expression::parse("let.revision == 7").is_err());
    }

    #[test]
    fn quantifiers_and_comparisons_hold_or_not() {
        for (text, expected) in [
            ("value.healthy", true),
            ("value.members.all(m, m.up)", false),
            ("value.members.exists(m, m.up) && size(value.members) == 2", true),
            ("values.all(n, values[n].hash == 7)", true),
            ("at_least(to, '3.5.3') && older('3.4.23', to)", true),
            ("same_minor(to, '3.5.0') && same_major(to, '3.0.0')", true),
            ("hex(value.id) == 'fd422379fda50e48'", true),
            ("sum([1, 2, size('abc')]) == 6 && sum([]) == 0", true),
            ("min(['n3', 'n1', 'n2']) == 'n1' && max(2, 3) == 3", true),
        ] {
            assert_eq!(holds(text, &scope()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn values_come_back_as_json() {
        assert_eq!(
            value("value.members.filter(m, m.up)[0]", &scope()),
            Ok(json!({"up": true}))
        );
        assert_eq!(value("1 + size(value.members)", &scope()), Ok(json!(3)));
    }

    #[test]
    fn errors_name_the_expression() {
        assert!(matches!(
            Expression::parse("value ="),
            Err(ExprError::Syntax { .. })
        ));
        let missing = holds("value.nothing == 1", &scope()).unwrap_err().to_string();
        assert!(
            missing.contains("value.nothing") && missing.contains("nothing"),
            "{missing}"
        );
        assert!(holds("at_least('x y', '1.2.3')", &scope()).is_err());
        assert!(
            holds("1 + 1", &scope())
                .unwrap_err()
                .to_string()
                .contains("neither true nor false")
        );
    }

    #[test]
    fn references_are_the_names_used() {
        let expression = Expression::parse("value.a == before.b && nodes.all(n, n.up)").unwrap();
        assert_eq!(expression.references(), ["before", "n", "nodes", "value"]);
        let expression =
            Expression::parse("!older(to, '3.5.0') && size(values) > 1 && has(value.a)").unwrap();
        assert_eq!(expression.functions(), ["older", "size"]);
    }
}
