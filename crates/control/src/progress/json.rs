//! One JSON document per line, for programs.

use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};
use upshift_model::Millis;
use upshift_run::{State, View};
use upshift_wire::session::LinkState;

use super::Progress;
use super::changes::Changes;

/// Writes JSON lines. Each has `type`, `run` and `at_ms` (since the run began); what else depends on the type, see
/// [`super::changes::Change`]; further types are `transfer` and `link`.
pub struct Json<W> {
    to: W,
    changes: Changes,
    run: String,
    at: Millis,
}

impl<W: Write + Send> Json<W> {
    /// Writes to anything.
    pub fn new(to: W) -> Self {
        Json {
            to,
            changes: Changes::new(),
            run: String::new(),
            at: Millis::ZERO,
        }
    }

    fn line(&mut self, what: impl Serialize) {
        let Ok(Value::Object(mut line)) = serde_json::to_value(what) else {
            return;
        };
        line.insert("run".to_owned(), json!(self.run));
        line.insert("at_ms".to_owned(), json!(self.at.0));
        if let Some(took) = line
            .remove("took")
            .and_then(|took| took.as_str()?.parse::<Millis>().ok())
        {
            line.insert("took_ms".to_owned(), json!(took.0));
        }
        // Who looks on may leave; the run goes on.
        let _gone = writeln!(self.to, "{}", Value::Object(line)).and_then(|()| self.to.flush());
    }
}

impl<W: Write + Send> Progress for Json<W> {
    fn view(&mut self, view: &View, state: &State) {
        self.run.clone_from(&view.run);
        self.at = view.elapsed;
        for change in self.changes.since(view, state) {
            self.line(change);
        }
    }

    fn tick(&mut self, now: Millis) {
        self.at = now;
    }

    fn transfer(&mut self, host: &str, received: u64, size: u64) {
        self.line(json!({"type": "transfer", "host": host, "received": received, "size": size}));
    }

    fn link(&mut self, host: &str, state: &LinkState) {
        let (connected, error) = match state {
            LinkState::Idle => return,
            LinkState::Connected => (true, None),
            LinkState::Failing(error) => (false, Some(error.to_string())),
        };
        self.line(json!({"type": "link", "host": host, "connected": connected, "error": error}));
    }
}
