//! Carries a run for a person: shows progress, hears Ctrl-C, and says how it ended.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use upshift_control::progress::{self, Progress, json::Json, lines::outcome_sentence};
use upshift_control::{Ended, Handle, Runner};
use upshift_model::Millis;
use upshift_run::{Event, OperatorCommand, Outcome, Pause, State, View};
use upshift_store::{RunRecord, Store};
use upshift_wire::session::LinkState;

use crate::commands::why;
use crate::exit::{Exit, Failure, Problem};
use crate::lease;
use crate::metrics::MetricsFile;
use crate::output::Printer;
use crate::report::Report;
use crate::runs;

/// How often a run that another command carries is asked how it is.
const FOLLOWED_EVERY: Duration = Duration::from_millis(500);

/// What was asked for: then the same ending is success for one and failure for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The new version.
    Forward,
    /// The old version.
    Back,
}

/// Carries a run until it ends or rests, and reports.
pub async fn drive(
    runner: Runner<'_>,
    store: &Store,
    asked: Asked,
    metrics: Option<&Path>,
    printer: Printer,
) -> Result<Exit, Failure> {
    let run = runner.state().run().to_owned();
    let handle = runner.handle();
    let listening = tokio::spawn(listen(handle.clone(), printer));
    let inner: Box<dyn Progress> = if printer.json() {
        Box::new(Json::new(std::io::stdout()))
    } else {
        progress::for_people()
    };
    let inner = match metrics {
        Some(path) => Box::new(MetricsFile::new(
            inner,
            path,
            runner.state().plan().fleet.as_str(),
            printer,
        )),
        None => inner,
    };
    let paused = Arc::new(AtomicBool::new(false));
    let mut watch = PauseWatch {
        inner,
        handle,
        paused: Arc::clone(&paused),
    };
    let ended = runner.drive(&mut watch).await;
    listening.abort();
    let ended = ended.map_err(|error| match error {
        upshift_control::ControlError::Store(error) => runs::failure(error, &[]),
        other => other.into(),
    })?;
    finish(
        store,
        &run,
        &ended,
        paused.load(Ordering::Relaxed),
        asked,
        printer,
    )
}

/// Says how a run ended, and turns that into an exit status.
fn finish(
    store: &Store,
    run: &str,
    ended: &Ended,
    paused: bool,
    asked: Asked,
    printer: Printer,
) -> Result<Exit, Failure> {
    let state = runs::state(store, run)?;
    let report = Report::of(&state);
    if printer.json() {
        let mut line = serde_json::to_value(&report)?;
        line["type"] = "report".into();
        printer.line(&line.to_string())?;
    } else {
        printer.text(&format!("\n{}", report.text()))?;
    }
    match ended {
        Ended::Rested(outcome) => {
            if state.rests_paused() {
                printer.note(&paused_note(run));
                return Ok(Exit::Held);
            }
            if let Some(refusal) = state.refusal() {
                return Err(refused(run, asked, refusal));
            }
            if matches!(outcome, Outcome::Held { .. }) && !printer.json() {
                printer.note(&why::text(&state));
            }
            if !printer.json() {
                printer.note(&format!("{}.", outcome_sentence(outcome)));
            }
            Ok(exit(outcome, asked))
        }
        Ended::Left if paused => {
            printer.note(&paused_note(run));
            Ok(Exit::Held)
        }
        Ended::Left => {
            printer.note(&format!(
                "left as it is. `upshift resume {run}` goes on; if no controller resumes it, the guards bring the servers back \
                 when their lease has passed."
            ));
            Ok(Exit::Held)
        }
    }
}

fn paused_note(run: &str) -> String {
    format!("paused. `upshift resume {run}` goes on, `upshift abort {run}` rolls back.")
}

/// Waits until a run that another command carries has ended or rests, or has refused what was asked, and reports that.
pub fn follow(store: &Store, record: &RunRecord, asked: Asked, printer: Printer) -> Result<Exit, Failure> {
    printer.note(&format!(
        "told the controller of {}; waiting for how it ends. Ctrl-C ends the waiting, and nothing else",
        record.id
    ));
    loop {
        let state = runs::state(store, &record.id)?;
        if let Some(outcome) = state.outcome().cloned() {
            return finish(store, &record.id, &Ended::Rested(outcome), false, asked, printer);
        }
        if let Some(refusal) = state.refusal().filter(|_| asked == Asked::Back) {
            return Err(refused(&record.id, asked, refusal));
        }
        if lease::carrier(store, &record.fleet, &record.id)?.is_none() {
            return finish(store, &record.id, &Ended::Left, false, asked, printer);
        }
        std::thread::sleep(FOLLOWED_EVERY);
    }
}

fn refused(run: &str, asked: Asked, refusal: &str) -> Failure {
    let what = match asked {
        Asked::Forward => "stays as it is",
        Asked::Back => "is not rolled back",
    };
    Failure::Refused(
        Problem::new(format!("the run {run} {what}, and nothing was changed for it")).because(refusal),
    )
}

/// The exit status for an outcome.
pub fn exit(outcome: &Outcome, asked: Asked) -> Exit {
    match outcome {
        // Who asked for the old version and got none has been refused.
        Outcome::Upgraded | Outcome::Finalized | Outcome::Prepared if asked == Asked::Back => Exit::Refused,
        Outcome::Upgraded | Outcome::Finalized | Outcome::Prepared => Exit::Done,
        Outcome::Refused { .. } => Exit::Refused,
        Outcome::RolledBack { .. } if asked == Asked::Back => Exit::Done,
        Outcome::RolledBack { .. } => Exit::RolledBack,
        Outcome::EndedAsIs { .. } => Exit::Done,
        Outcome::Held { .. } | Outcome::Superseded { .. } | Outcome::EndedElsewhere { .. } => Exit::Held,
    }
}

/// Hears Ctrl-C: the first pauses, the second leaves.
async fn listen(handle: Handle, printer: Printer) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    printer.note(
        "Ctrl-C: the run pauses at its next safe point, never inside a window. Once more leaves it as it is: then \
         `upshift resume` goes on, or the guards bring the servers back.",
    );
    handle.say(OperatorCommand::PauseAndLeave);
    if tokio::signal::ctrl_c().await.is_ok() {
        handle.leave();
    }
}

/// Ends a paused run's command as soon as no guard needs this controller any more.
struct PauseWatch {
    inner: Box<dyn Progress>,
    handle: Handle,
    paused: Arc<AtomicBool>,
}

impl Progress for PauseWatch {
    fn event(&mut self, event: &Event) {
        self.inner.event(event);
    }

    fn view(&mut self, view: &View, state: &State) {
        self.inner.view(view, state);
        let reached = view.pause == Pause::Reached && view.outcome.is_none();
        self.paused.store(reached, Ordering::Relaxed);
        if reached && view.nodes.iter().all(|node| node.guard.is_none()) {
            self.handle.leave();
        }
    }

    fn tick(&mut self, now: Millis) {
        self.inner.tick(now);
    }

    fn transfer(&mut self, host: &str, received: u64, size: u64) {
        self.inner.transfer(host, received, size);
    }

    fn link(&mut self, host: &str, state: &LinkState) {
        self.inner.link(host, state);
    }

    fn ended(&mut self, ended: &Ended, state: &State) {
        self.inner.ended(ended, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolling_back_is_success_only_for_who_asked_for_it() {
        let rolled_back = Outcome::RolledBack {
            to: "1".to_owned(),
            reason: "asked".to_owned(),
        };
        assert_eq!(exit(&rolled_back, Asked::Forward), Exit::RolledBack);
        assert_eq!(exit(&rolled_back, Asked::Back), Exit::Done);
        let held = Outcome::Held {
            reason: String::new(),
            remedies: Vec::new(),
        };
        assert_eq!(exit(&held, Asked::Forward), Exit::Held);
        assert_eq!(
            exit(
                &Outcome::Refused {
                    reason: String::new()
                },
                Asked::Forward
            ),
            Exit::Refused
        );
        assert_eq!(exit(&Outcome::Prepared, Asked::Forward), Exit::Done);
        assert_eq!(exit(&Outcome::Upgraded, Asked::Forward), Exit::Done);
        assert_eq!(
            exit(&Outcome::Upgraded, Asked::Back),
            Exit::Refused,
            "still on the new version"
        );
    }
}
