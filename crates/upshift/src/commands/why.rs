//! `upshift why`: what a run waits for or stopped on.

use serde::Serialize;
use upshift_run::{Outcome, State, Why};

use crate::args::{Global, Output, WhyArgs};
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::report::{self, seconds};
use crate::runs;

/// What a run waits for or stopped on.
#[derive(Serialize)]
struct Answer {
    run: String,
    phase: String,
    outcome: String,
    why: Vec<Why>,
    /// What an operator can do.
    next: Vec<String>,
}

/// Does what was typed.
pub fn run(arguments: &WhyArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    let state = runs::state(&store, &record.id)?;
    printer.result(&answer(&state), || text(&state))?;
    Ok(Exit::Done)
}

fn answer(state: &State) -> Answer {
    let view = state.view();
    Answer {
        run: view.run,
        phase: view.phase,
        outcome: report::ending(state.outcome()).0.to_owned(),
        why: view.why,
        next: next(state.outcome()),
    }
}

fn next(outcome: Option<&Outcome>) -> Vec<String> {
    match outcome {
        Some(Outcome::Held { remedies, .. }) => remedies.clone(),
        Some(Outcome::RolledBack { .. }) => {
            vec!["mend what is named above, then `upshift upgrade … --again`".to_owned()]
        }
        Some(Outcome::Upgraded) => {
            vec!["`upshift finalize` cleans up, `upshift rollback` rolls back".to_owned()]
        }
        _ => Vec::new(),
    }
}

/// What a person reads.
pub fn text(state: &State) -> String {
    let view = state.view();
    let mut text = format!("run {}: {}\n", view.run, view.phase);
    for why in &view.why {
        let host = why
            .host
            .as_ref()
            .map(|host| format!("{host}: "))
            .unwrap_or_default();
        text.push_str(&format!("  {host}{}", why.what));
        if why.since.0 > 0 {
            text.push_str(&format!(", for {}", seconds(why.since)));
        }
        if let Some(remaining) = why.remaining {
            text.push_str(&format!(", {} left", seconds(remaining)));
        }
        text.push('\n');
    }
    for next in next(state.outcome()) {
        text.push_str(&format!("  next: {next}\n"));
    }
    text
}
