//! Mistakes in files that people write, each with its place in the text and with what to write instead.
//!
//! [`read`] turns a YAML file into a typed value. It walks the file beside the JSON Schema of the type, so that every mistake
//! of the file is reported at once, where a deserializer would stop at the first.

mod reader;
mod tree;

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use tree::{Entry, Kind, Node, read as read_tree};

/// Whether a mistake keeps a file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and does not do what its author meant.
    Warning,
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it keeps the file from being used.
    pub severity: Severity,
    /// The file's name, as it was given.
    pub file: String,
    /// Line of the mistake, from 1.
    pub line: usize,
    /// Column of the mistake in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub fix: Option<String>,
    /// All of the above with the lines of the file that it is about, ready to be printed.
    pub snippet: String,
}

impl Diagnostic {
    /// A mistake at a range of bytes of a text. A range outside of the text points at its end.
    pub fn new(
        severity: Severity,
        file: &str,
        text: &str,
        range: Range<usize>,
        message: String,
        fix: Option<String>,
    ) -> Self {
        let (message, fix) = (visible(&message), fix.as_deref().map(visible));
        let range = on_boundaries(text, range);
        let (line, column) = position(text, range.start);
        let snippet = render(severity, file, text, range, &message, fix.as_deref());
        Diagnostic {
            severity,
            file: file.to_owned(),
            line,
            column,
            message,
            fix,
            snippet,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.snippet)
    }
}

impl std::error::Error for Diagnostic {}

/// A mistake before the text and the name of its file are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub severity: Severity,
    pub range: Range<usize>,
    pub message: String,
    pub fix: Option<String>,
}

impl Mistake {
    pub fn error(range: Range<usize>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Mistake {
            severity: Severity::Error,
            range,
            message: message.into(),
            fix: Some(fix.into()),
        }
    }

    pub fn warning(range: Range<usize>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Mistake {
            severity: Severity::Warning,
            ..Mistake::error(range, message, fix)
        }
    }
}

/// The mistakes of a file, in the order of their places, ready to be printed.
pub(crate) fn diagnostics(file: &str, text: &str, mut mistakes: Vec<Mistake>) -> Vec<Diagnostic> {
    mistakes.sort_by_key(|mistake| (mistake.range.start, mistake.range.end));
    mistakes
        .into_iter()
        .map(
            |Mistake {
                 severity,
                 range,
                 message,
                 fix,
             }| { Diagnostic::new(severity, file, text, range, message, fix) },
        )
        .collect()
}

/// Reads a YAML file into a type, or tells everything that is wrong with its shape.
pub fn read<T: DeserializeOwned + JsonSchema>(file: &str, text: &str) -> Result<T, Vec<Diagnostic>> {
    read_with_tree(text)
        .map(|(value, _)| value)
        .map_err(|mistakes| diagnostics(file, text, mistakes))
}

/// As [`read`], with the tree in which the places of values can be looked up.
pub(crate) fn read_with_tree<T: DeserializeOwned + JsonSchema>(
    text: &str,
) -> Result<(T, Node), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let Some(tree) = tree::read(text, &[], &mut mistakes) else {
        return Err(mistakes);
    };
    let schema = schemars::schema_for!(T).to_value();
    let value = reader::Reader::new(&schema, text, &mut mistakes).read(&tree);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    match serde_json::from_value(value) {
        Ok(typed) => Ok((typed, tree)),
        Err(error) => Err(vec![Mistake {
            fix: None,
            ..Mistake::error(tree.range, error.to_string(), "")
        }]),
    }
}

/// The known name that was most likely meant by an unknown one.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= close || (name.len() > 3 && (candidate.contains(name) || name.contains(candidate)))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What to write instead of an unknown name.
pub(crate) fn instead<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => {
            let list: Vec<_> = known.map(|name| format!("`{name}`")).collect();
            match list.is_empty() {
                true => "there is none to choose from".to_owned(),
                false => format!("choose one of {}", list.join(", ")),
            }
        }
    }
}

/// The text with everything written out that a terminal would not show, or would show in another order.
fn visible(text: &str) -> String {
    let hidden = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        match hidden(character) {
            true => written.extend(character.escape_default()),
            false => written.push(character),
        }
    }
    written
}

/// The range, moved inward to where characters begin, and never outside of the text.
fn on_boundaries(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start.min(text.len()));
    let end = text.ceil_char_boundary(range.end.min(text.len()));
    start..end.max(start)
}

/// Line and column, both from 1, of a byte of a text.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The mistake as the Rust compiler would show it.
fn render(
    severity: Severity,
    file: &str,
    text: &str,
    range: Range<usize>,
    message: &str,
    fix: Option<&str>,
) -> String {
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let annotation = AnnotationKind::Primary.span(range);
    let mut group = level
        .primary_title(message)
        .element(Snippet::source(text).path(file).annotation(annotation));
    if let Some(fix) = fix {
        group = group.element(Level::HELP.message(fix));
    }
    Renderer::plain().render(&[group]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, range: Range<usize>) -> Diagnostic {
        Diagnostic::new(
            Severity::Error,
            "file.yaml",
            text,
            range,
            "wrong".to_owned(),
            None,
        )
    }

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        for (text, byte, expected) in [
            ("", 0, (1, 1)),
            ("abc", 3, (1, 4)),
            ("a\nbc", 3, (2, 2)),
            ("äö: x", 4, (1, 3)),
            ("a\n", 2, (2, 1)),
            ("a", 99, (1, 2)),
        ] {
            let found = at(text, byte..byte + 1);
            assert_eq!((found.line, found.column), expected, "{text:?} {byte}");
        }
    }

    #[test]
    fn a_range_within_a_character_is_widened_to_it() {
        let found = at("ä: 1", 1..1);
        assert_eq!(found.column, 1);
        assert!(found.to_string().contains("^"), "{found}");
    }

    #[test]
    fn what_a_terminal_would_not_show_is_written_out() {
        let message = "a\tb\u{202e}c\u{1b}[31m".to_owned();
        let found = Diagnostic::new(Severity::Warning, "file.yaml", "x", 0..1, message, None);
        assert_eq!(found.message, "a\\tb\\u{202e}c\\u{1b}[31m");
        assert!(found.snippet.contains(&found.message));
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["pattern", "versions", "defaults", "on"];
        for (name, expected) in [
            ("patern", Some("pattern")),
            ("pattern_", Some("pattern")),
            ("version", Some("versions")),
            ("no", Some("on")),
            ("completely", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }
}
