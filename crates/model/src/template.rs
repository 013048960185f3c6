//! Templates: `{{ places.data_dir }}` in the texts of actions, probes and messages.
//!
//! A name that does not exist is an error, never an empty text. A template yields a text that stands for itself: it is an
//! element of an argument vector or a path, so nothing needs quoting and nothing can be injected.

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a template could not be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{template}` cannot be filled in: {reason}")]
pub struct TemplateError {
    /// The text.
    pub template: String,
    /// What went wrong.
    pub reason: String,
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.add_filter("default", minijinja::filters::default);
    environment.add_filter("join", minijinja::filters::join);
    environment.add_filter("replace", minijinja::filters::replace);
    environment.add_filter("tojson", minijinja::filters::tojson);
    environment
}

thread_local! {
    static ENVIRONMENT: Environment<'static> = environment();
}

fn error(template: &str, error: &minijinja::Error) -> TemplateError {
    let detail = error
        .detail()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    TemplateError {
        template: template.to_owned(),
        reason: format!("{}{detail}", error.kind()),
    }
}

/// Whether a text is a well-formed template; the names that it uses are returned, dotted and sorted.
///
/// # Errors
/// Where the text is not well-formed.
pub fn names(text: &str) -> Result<Vec<String>, TemplateError> {
    let environment = environment();
    let template = environment
        .template_from_str(text)
        .map_err(|cause| error(text, &cause))?;
    let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    names.sort();
    Ok(names)
}

/// Fills a text in.
///
/// # Errors
/// Where the text is not a template, or a name does not exist.
pub fn render_text(text: &str, context: &Value) -> Result<String, TemplateError> {
    if !text.contains("{{") && !text.contains("{%") {
        return Ok(text.to_owned());
    }
    ENVIRONMENT
        .with(|environment| environment.render_str(text, minijinja::value::Serde(context)))
        .map_err(|cause| error(text, &cause))
}

/// Whether a text says what was observed, so that it is more than a sentence before that.
pub fn says_observed(text: &str) -> bool {
    text.contains("{{ value") || text.contains("{%")
}

/// A text for reading before its names are known: an ellipsis stands for each value that is to come, and for each block.
pub fn abridged(text: &str) -> String {
    let blocks = text
        .find("{%")
        .zip(text.rfind("%}"))
        .filter(|(begin, end)| begin < end);
    let (mut rest, after) = match blocks {
        Some((begin, end)) => (&text[..begin], format!("…{}", &text[end + 2..])),
        None => (text, String::new()),
    };
    let mut read = String::new();
    while let Some(begin) = rest.find("{{")
        && let Some(length) = rest[begin..].find("}}")
    {
        read.push_str(&rest[..begin]);
        read.push('…');
        rest = &rest[begin + length + 2..];
    }
    read.push_str(rest);
    match after.is_empty() {
        true => read,
        false => read + &abridged(&after),
    }
}

/// Fills every text of an item in: values and, for maps, keys stay as they are.
///
/// # Errors
/// As [`render_text`]; also where the result is no longer an item of its type.
pub fn render<T: Serialize + DeserializeOwned>(item: &T, context: &Value) -> Result<T, TemplateError> {
    let failed = |cause: serde_json::Error| TemplateError {
        template: std::any::type_name::<T>().to_owned(),
        reason: cause.to_string(),
    };
    let mut value = serde_json::to_value(item).map_err(failed)?;
    render_value(&mut value, context)?;
    serde_json::from_value(value).map_err(failed)
}

/// Fills every text of a JSON value in, in place.
///
/// # Errors
/// As [`render_text`].
pub fn render_value(value: &mut Value, context: &Value) -> Result<(), TemplateError> {
    match value {
        Value::String(text) => *text = render_text(text, context)?,
        Value::Array(items) => items
            .iter_mut()
            .try_for_each(|item| render_value(item, context))?,
        Value::Object(entries) => entries
            .values_mut()
            .try_for_each(|entry| render_value(entry, context))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::action::{Action, SwitchRelease};

    #[test]
    fn what_is_not_known_yet_is_left_out() {
        let text = "{{ node.name }} runs {{ value | join('}') }}: {% for c in value %}{{ c }}{% endfor %} and {{ more }}";
        assert_eq!(abridged(text), "… runs …: … and …");
        assert_eq!(abridged("an open {{ end"), "an open {{ end");
    }

    #[test]
    fn texts_are_filled_in_and_nothing_is_quoted() {
        let context = json!({"node": {"name": "n1; rm -rf /"}, "to": "3.5.16"});
        assert_eq!(
            render_text("{{ node.name }}/{{ to }}", &context).unwrap(),
            "n1; rm -rf //3.5.16"
        );
        let action = Action::Switch(SwitchRelease {
            release: "{{ to }}".to_owned(),
        });
        let expected = Action::Switch(SwitchRelease {
            release: "3.5.16".to_owned(),
        });
        assert_eq!(render(&action, &context), Ok(expected));
    }

    #[test]
    fn a_missing_name_is_an_error() {
        let message = render_text("{{ node.nmae }}", &json!({"node": {}}))
            .unwrap_err()
            .to_string();
        assert!(message.contains("{{ node.nmae }}"), "{message}");
        assert_eq!(
            render_text("{{ node.unit | default('etcd') }}", &json!({"node": {}})).unwrap(),
            "etcd"
        );
    }

    #[test]
    fn names_are_found() {
        assert_eq!(
            names("{{ places.data_dir }}-{{ to }}").unwrap(),
            ["places.data_dir", "to"]
        );
        assert!(names("{{ places. }}").is_err());
    }
}
