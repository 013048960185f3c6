//! Named parts of a release that only a file inside its package tells.

use regex::Regex;
use serde_json::{Map, Value};

use super::PackageName;
use crate::erlang::{self, TermError};
use crate::expr::{self, ExprError, Scope};
use crate::profile::InsidePart;
use crate::template::{self, TemplateError};
use crate::version::Scheme;

/// Why a file inside a package does not tell what it should.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// The pattern cannot be read.
    #[error("the pattern is no regular expression: {0}")]
    Pattern(#[from] regex::Error),
    /// The file holds something else.
    #[error("the file holds no Erlang term: {0}")]
    Term(#[from] TermError),
    /// The expression cannot be computed.
    #[error(transparent)]
    Expression(#[from] ExprError),
    /// The expression yields something else.
    #[error("`{0}` does not yield a list of texts")]
    NoList(String),
}

impl InsidePart {
    /// The file's path inside the package of which this is the name.
    ///
    /// # Errors
    /// Where the path is not a template over the parts of the name.
    pub fn path(&self, package: &PackageName) -> Result<String, TemplateError> {
        let parts = package
            .parts
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let mut names: Map<String, Value> = parts.collect();
        names.insert("version".to_owned(), package.version.as_str().into());
        template::render_text(&self.file, &Value::Object(names))
    }

    /// What the file's text tells; nothing where the pattern matches nowhere, or the list is empty.
    ///
    /// # Errors
    /// Where the pattern is not a regular expression, the text no Erlang term, or the expression does not yield a list of texts.
    pub fn value(&self, text: &str) -> Result<Option<String>, InsideError> {
        match (&self.pattern, &self.erlang) {
            (_, Some(expression)) => of_term(expression, text),
            (Some(pattern), None) => of_pattern(pattern, text),
            (None, None) => Ok(None),
        }
    }
}

fn of_pattern(pattern: &str, text: &str) -> Result<Option<String>, InsideError> {
    let pattern = Regex::new(pattern)?;
    let mut found: Vec<&str> = Vec::new();
    for group in pattern.captures_iter(text).filter_map(|groups| groups.get(1)) {
        if !found.contains(&group.as_str()) {
            found.push(group.as_str());
        }
    }
    Ok((!found.is_empty()).then(|| found.join(",")))
}

fn of_term(expression: &str, text: &str) -> Result<Option<String>, InsideError> {
    let term = erlang::first_term(text)?;
    let mut scope = Scope::new(Scheme::Vendor);
    scope.set("value", term);
    let Value::Array(items) = expr::value(expression, &scope)? else {
        return Err(InsideError::NoList(expression.to_owned()));
    };
    let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    let texts = texts.ok_or_else(|| InsideError::NoList(expression.to_owned()))?;
    Ok((!texts.is_empty()).then(|| texts.join(",")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::version::Version;

    fn relup() -> InsidePart {
        InsidePart {
            file: "emqx/releases/{{ version }}/relup".to_owned(),
            pattern: Some(r#"\{"(\d[^"]*)","#.to_owned()),
            erlang: None,
        }
    }

    #[test]
    fn terms_tell_what_the_expression_says() {
        let text = r#"{"4.4.16",[{"4.4.15",[],[{apply,{a,b,[]}},point_of_no_return]},{"4.4.9",[],[restart_new_emulator]}],[]}."#;
        let told = |expression: &str| {
            InsidePart {
                pattern: None,
                erlang: Some(expression.to_owned()),
                ..relup()
            }
            .value(text)
        };
        assert_eq!(
            told("value[1].map(e, e[0])").unwrap().as_deref(),
            Some("4.4.15,4.4.9")
        );
        assert_eq!(told("value[2].map(e, e[0])").unwrap(), None);
        let restarts = "value[1].filter(e, e[2].exists(i, i == 'restart_new_emulator')).map(e, e[0])";
        assert_eq!(told(restarts).unwrap().as_deref(), Some("4.4.9"));
        assert!(
            told("value[0]")
                .unwrap_err()
                .to_string()
                .contains("list of texts")
        );
    }

    #[test]
    fn the_path_follows_the_name() {
        let version = Version::parse(Scheme::Vendor, "4.4.16").unwrap();
        let package = PackageName {
            version,
            parts: BTreeMap::from([("os".to_owned(), "el8".to_owned())]),
        };
        assert_eq!(relup().path(&package).unwrap(), "emqx/releases/4.4.16/relup");
        let other = InsidePart {
            file: "{{ otp }}/relup".to_owned(),
            ..relup()
        };
        assert!(other.path(&package).is_err());
    }

    #[test]
    fn each_match_is_told_once_and_in_order() {
        let text = r#"{"4.4.16",
 [{"4.4.15",[],[{load_object_code,{emqx,"4.4.15",[emqx]}},point_of_no_return]},
  {"4.4.9",[],[restart_new_emulator]}],
 [{"4.4.15",[],[point_of_no_return]}]}."#;
        assert_eq!(
            relup().value(text).unwrap().as_deref(),
            Some("4.4.16,4.4.15,4.4.9")
        );
        assert_eq!(relup().value("[]").unwrap(), None);
    }
}
