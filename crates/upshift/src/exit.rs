//! How a command ends: its exit status, and what an operator reads where it did not do what was asked.

use crate::output::columns_of_notes;
use serde_json::{Value, json};
use upshift_plan::{Refusal, show};

/// How a command ended; the number is the process's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something that nobody foresaw.
    Unexpected = 1,
    /// The command line, or a file of the operator's, has a mistake.
    Usage = 2,
    /// Nothing was changed.
    Refused = 3,
    /// Failed; the old version serves.
    RolledBack = 4,
    /// An operator must decide.
    Held = 5,
    /// A plan was made, and something would change; only where that was asked for.
    WouldChange = 10,
}

impl Exit {
    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Unexpected => "unexpected",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::RolledBack => "rolled back",
            Exit::Held => "held",
            Exit::WouldChange => "would change",
        }
    }
}

/// One thing that is wrong, in the operator's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// Where: a file, a host, an option.
    pub place: Option<String>,
    /// Why, with the values seen.
    pub why: Option<String>,
    /// What to do next.
    pub next: Option<String>,
}

impl Problem {
    /// A problem of which only the fact is known so far.
    pub fn new(what: impl Into<String>) -> Self {
        Problem {
            what: what.into(),
            ..Problem::default()
        }
    }

    /// Where it is.
    pub fn at(mut self, place: impl ToString) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// Why it is so.
    pub fn because(mut self, why: impl ToString) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// What to do about it.
    pub fn next(mut self, next: impl ToString) -> Self {
        self.next = Some(next.to_string());
        self
    }

    /// As text, one fact per line.
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.what);
        for (name, part) in [("where", &self.place), ("why", &self.why), ("next", &self.next)] {
            if let Some(part) = part {
                let part = part.trim_end().replace('\n', "\n         ");
                text.push_str(&format!("  {name:>5}: {part}\n"));
            }
        }
        text
    }

    fn json(&self) -> Value {
        json!({"what": self.what, "where": self.place, "why": self.why, "next": self.next})
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// A mistake in the command line or in a file of the operator's.
    Usage(Problem),
    /// Mistakes in a file, already rendered with their places in it.
    Mistakes(String),
    /// Refused for one reason; nothing was changed.
    Refused(Problem),
    /// Refused for all of these reasons; nothing was changed.
    Refusals(Vec<Refusal>),
    /// Nobody foresaw this.
    Unexpected(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Unexpected(error.into())
    }
}

impl Failure {
    /// The exit status.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) | Failure::Mistakes(_) => Exit::Usage,
            Failure::Refused(_) | Failure::Refusals(_) => Exit::Refused,
            Failure::Unexpected(_) => Exit::Unexpected,
        }
    }

    /// What an operator reads.
    pub fn text(&self, verbose: bool) -> String {
        match self {
            Failure::Usage(problem) => problem.text(),
            Failure::Mistakes(rendered) => format!("{}\n", rendered.trim_end()),
            Failure::Refused(problem) => format!("{}Nothing was changed.\n", problem.text()),
            Failure::Refusals(refusals) => {
                show::refusals_in(refusals, columns_of_notes().unwrap_or(show::WIDE))
            }
            Failure::Unexpected(error) if verbose => format!("error: {error:?}\n"),
            Failure::Unexpected(error) => format!("error: {error:#}\n"),
        }
    }

    /// What a program reads.
    pub fn json(&self) -> Value {
        let problems = match self {
            Failure::Usage(problem) | Failure::Refused(problem) => vec![problem.json()],
            Failure::Mistakes(rendered) => vec![Problem::new(rendered.trim_end()).json()],
            Failure::Refusals(refusals) => {
                return json!({"exit": self.exit().word(), "status": self.exit() as i32, "refusals": refusals});
            }
            Failure::Unexpected(error) => vec![Problem::new(format!("{error:#}")).json()],
        };
        json!({"exit": self.exit().word(), "status": self.exit() as i32, "problems": problems})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_where_why_and_what_next() {
        let problem = Problem::new("there is no fleet file")
            .at("fleet.yaml")
            .because("not found")
            .next("upshift init");
        insta::assert_snapshot!(problem.text(), @r"
        error: there is no fleet file
          where: fleet.yaml
            why: not found
           next: upshift init
        ");
    }

    #[test]
    fn refusals_are_a_refusal_for_people_and_for_programs() {
        let refusal = Refusal {
            code: "blocked".to_owned(),
            hosts: Vec::new(),
            message: "3.5.1 must not be reached".to_owned(),
            remedy: "choose 3.5.3 or later".to_owned(),
            link: None,
            finding: upshift_plan::Finding::DoesNotHold,
            hides: Vec::new(),
        };
        let failure = Failure::Refusals(vec![refusal]);
        assert!(failure.text(false).contains("Nothing was changed"));
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(failure.json()["refusals"][0]["code"], "blocked");
    }
}
