//! Mistakes in files that people write, each with its place in the text and with what to write instead.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

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
