//! Where a command's words go: results to standard output, everything else to standard error; colours only where a
//! person looks at them.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::args::Output;
use crate::exit::{Failure, Problem};

/// Where a command's words go.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    form: Output,
}

impl Printer {
    /// Prints in this form.
    pub fn new(form: Output) -> Self {
        Printer { form }
    }

    /// The form.
    pub fn form(self) -> Output {
        self.form
    }

    /// Whether a program reads the result.
    pub fn json(self) -> bool {
        self.form == Output::Json
    }

    /// Whether a person can be asked: standard input and standard error are a terminal, and no program reads the result.
    pub fn can_ask(self) -> bool {
        !self.json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Refuses forms that the command does not have.
    pub fn only(self, forms: &[Output]) -> Result<(), Failure> {
        if forms.contains(&self.form) {
            return Ok(());
        }
        let known: Vec<&str> = forms.iter().map(|form| word(*form)).collect();
        let problem = Problem::new(format!("this command has no --output {}", word(self.form)))
            .next(format!("use --output {}", known.join(" or --output ")));
        Err(Failure::Usage(problem))
    }

    /// Prints a result: the value as one line of JSON, or the text for people.
    pub fn result<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json() {
            let mut value = serde_json::to_value(value)?;
            if let Some(members) = value.as_object_mut() {
                members.entry("format").or_insert_with(|| FORMAT.into());
            }
            self.line(&value.to_string())
        } else {
            self.text(&text())
        }
    }

    /// Prints a line of the result.
    pub fn line(self, line: &str) -> Result<(), Failure> {
        written(writeln!(anstream::stdout(), "{line}"))
    }

    /// Prints text of the result, with one newline at its end.
    pub fn text(self, text: &str) -> Result<(), Failure> {
        self.line(&folded(&harmless(text.trim_end_matches('\n')), columns()))
    }

    /// Prints text in the place of what was printed before.
    pub fn again(self, text: &str) -> Result<(), Failure> {
        // Home, and clear what is below: anstream leaves both out where nobody looks.
        written(write!(anstream::stdout(), "\u{1b}[H\u{1b}[2J"))?;
        self.text(text)
    }

    /// Says something that is not part of the result.
    pub fn note(self, text: &str) {
        // Nobody can be told where standard error is closed.
        let _ = writeln!(
            anstream::stderr(),
            "{}",
            folded(&harmless(text.trim_end_matches('\n')), columns_of_notes())
        );
    }
}

/// Version of the shape of JSON results; see docs/json.md.
const FORMAT: u32 = 1;

/// Columns of the terminal that a person reads results on; nothing where no person does.
pub fn columns() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0).max(NARROWEST))
}

/// The same of messages.
pub fn columns_of_notes() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stderr()).map(|(width, _)| usize::from(width.0).max(NARROWEST))
}

/// A terminal that is narrower than this is not written for.
const NARROWEST: usize = 60;

/// A text whose lines are no longer than a terminal is wide: they are broken between words, and go on below where they began. A word that is
/// longer, such as a path to be pasted, stays whole.
pub fn folded(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let fold = |line: &str| {
        let indent = line.chars().take_while(|c| *c == ' ').count() + 2;
        let mut lines = vec![String::new()];
        for word in line.split_inclusive(' ') {
            let current = lines.last().map_or(0, |line| line.chars().count());
            let needed = word.trim_end().chars().count();
            let begun = lines.last().is_some_and(|line| !line.trim().is_empty());
            if begun && current + needed > width {
                lines.push(" ".repeat(indent.min(width / 2)));
            }
            if let Some(last) = lines.last_mut() {
                last.push_str(word);
            }
        }
        lines
            .iter()
            .map(|line| line.trim_end())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let lines = text.split('\n').map(|line| match line.chars().count() > width {
        true => fold(line),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A text without what steers a terminal. Names and messages come from hosts, archives and inventories: their authors could
/// otherwise rewrite what an operator reads.
pub fn harmless(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    // Characters that turn the direction of what follows, or are not seen at all.
    let misleads = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    text.chars()
        .map(|c| {
            if steers(c) || misleads(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// A reader that has seen enough and closed the pipe is no failure.
fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn word(form: Output) -> &'static str {
    match form {
        Output::Table => "table",
        Output::Json => "json",
        Output::Markdown => "markdown",
        Output::Html => "html",
        Output::Metrics => "metrics",
        Output::Svg => "svg",
    }
}

#[cfg(test)]
mod tests {
    use super::{folded, harmless};

    #[test]
    fn no_line_is_longer_than_the_terminal_is_wide() {
        let text = "  next: to go on to 3.6.16 once the cause is mended, and not before: `upshift resume`\nshort\n\n  a";
        let narrow = folded(text, Some(40));
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert!(narrow.ends_with("\nshort\n\n  a"), "{narrow}");
        assert_eq!(
            narrow.split_whitespace().collect::<Vec<_>>(),
            text.split_whitespace().collect::<Vec<_>>()
        );
        assert!(narrow.lines().nth(1).unwrap().starts_with("    "), "{narrow}");
        assert_eq!(folded(text, None), text);
        let path = format!("x {}", "p".repeat(50));
        assert_eq!(folded(&path, Some(40)), format!("x\n  {}", "p".repeat(50)));
    }

    #[test]
    fn nothing_that_a_host_says_steers_the_terminal() {
        let text = "n1: \u{1b}[2Jall is well\u{7}\r\u{9b}31m\u{202e}\tx\n";
        assert_eq!(
            harmless(text),
            "n1: \u{fffd}[2Jall is well\u{fffd}\u{fffd}\u{fffd}31m\u{fffd}\tx\n"
        );
        assert_eq!(harmless("3.4.23 → 3.5.16: größer"), "3.4.23 → 3.5.16: größer");
    }
}
