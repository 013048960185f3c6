//! Plain lines, one per thing that happened: for logs and for terminals that cannot move lines.

use std::io::Write;

use upshift_run::{Outcome, State, View};
use upshift_wire::session::LinkState;

use super::changes::{Change, Changes};
use super::{Progress, readable};

/// Writes plain lines.
pub struct Lines<W> {
    to: W,
    changes: Changes,
    at: String,
}

impl<W: Write + Send> Lines<W> {
    /// Writes to anything.
    pub fn new(to: W) -> Self {
        Lines {
            to,
            changes: Changes::new(),
            at: readable(upshift_model::Millis::ZERO),
        }
    }

    fn line(&mut self, text: &str) {
        // Who looks on may leave; the run goes on.
        let _gone = writeln!(self.to, "[{:>6}] {text}", self.at);
    }
}

impl<W: Write + Send> Progress for Lines<W> {
    fn view(&mut self, view: &View, state: &State) {
        self.at = readable(view.elapsed);
        for change in self.changes.since(view, state) {
            if let Some(text) = sentence(&change) {
                self.line(&text);
            }
        }
    }

    fn link(&mut self, host: &str, state: &LinkState) {
        if let LinkState::Failing(error) = state {
            self.line(&format!("{host}: connecting again: {error}"));
        }
    }
}

/// A change as a line. Waiting for something is told only where it lasts: see the terminal and `why`.
pub(crate) fn sentence(change: &Change) -> Option<String> {
    Some(match change {
        Change::Phase { phase } => format!("== {phase}"),
        Change::RollingBack { reason } => format!("== rolling back: {reason}"),
        Change::InDoubt { in_doubt: true } => "== in doubt: guards are being disarmed".to_owned(),
        Change::InDoubt { in_doubt: false } => "== no longer in doubt: every guard is disarmed".to_owned(),
        Change::Began { host, title, .. } => format!("{host}: {title} …"),
        Change::Waiting { host, waiting, .. } => format!("{host}:   waiting: {waiting}"),
        Change::Again {
            host, title, attempt, ..
        } => format!("{host}: {title}, attempt {attempt}"),
        Change::Ended {
            host,
            title,
            result,
            took,
            ..
        } => format!("{host}: {title}: {result} ({})", readable(*took)),
        Change::Outcome { outcome } => format!("== {}", outcome_sentence(outcome)),
    })
}

/// How a run ended, in one line.
pub fn outcome_sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Upgraded => "upgraded: every server runs the new version, proven".to_owned(),
        Outcome::Prepared => {
            "prepared: every server has the packages; nothing that runs was changed".to_owned()
        }
        Outcome::Finalized => "finalized".to_owned(),
        Outcome::Refused { reason } => format!("refused, nothing was changed: {reason}"),
        Outcome::RolledBack { to, reason } => format!("rolled back, every server is back on {to}: {reason}"),
        Outcome::EndedAsIs { reason } => {
            format!("ended as it was, servers may run different versions: {reason}")
        }
        Outcome::Held { reason, .. } => format!("held, an operator must decide: {reason}"),
        Outcome::Superseded { token } => format!(
            "another controller has taken the fleet over (token {token}): what becomes of the run is decided there; \
             `upshift status` observes the servers from here"
        ),
        Outcome::EndedElsewhere { by, how } => format!("ended by {by} from the hosts' records: {how}"),
    }
}
