//! Expressions over facts and observations: CEL, with functions for versions.
//!
//! The only module that knows which expression library is used.

use serde_json::Value;

use crate::version::Scheme;

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

    /// Adds a name.
    pub fn set(&mut self, name: &str, value: Value) -> &mut Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// All names as one object, for templates.
    pub fn as_value(&self) -> Value {
        Value::Object(self.values.clone())
    }
}
