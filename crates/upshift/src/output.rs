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
            self.line(&serde_json::to_string(value)?)
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
        self.line(&harmless(text.trim_end_matches('\n')))
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
        let _ = writeln!(anstream::stderr(), "{}", harmless(text.trim_end_matches('\n')));
    }
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
        Output::Metrics => "metrics",
        Output::Svg => "svg",
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

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
