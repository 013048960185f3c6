//! `upshift why`: what a run waits for or stopped on.

use serde::Serialize;
use upshift_run::{Outcome, State, Why};

use crate::args::{Global, Output, WhyArgs};
use crate::exit::{Exit, Failure};
use crate::output::Printer;
use crate::report::{self, seconds};
use crate::runs;
use crate::sight::Sight;

/// What a run waits for or stopped on.
#[derive(Serialize)]
struct Answer {
    run: String,
    phase: String,
    outcome: String,
    why: Vec<Why>,
    /// What an operator can do.
    next: Vec<String>,
    /// What the hosts say just now.
    observed: Sight,
}

/// Does what was typed.
pub fn run(arguments: &WhyArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    let state = runs::state(&store, &record.id)?;
    let sight = Sight::of(&record, &state, &store, global)?;
    let lost = sight.no_controller_since.is_some();
    printer.result(&answer(&state, lost, sight.clone()), || {
        format!("{}{}", sight.text(&record.id), text_of(&state, lost))
    })?;
    Ok(Exit::Done)
}

fn answer(state: &State, lost: bool, observed: Sight) -> Answer {
    let view = state.view();
    Answer {
        run: view.run,
        phase: view.phase,
        outcome: report::ending(state.outcome()).0.to_owned(),
        why: view.why,
        next: next(state, lost),
        observed,
    }
}

/// What an operator can do; `lost` where no controller drives a run that has not ended.
fn next(state: &State, lost: bool) -> Vec<String> {
    let run = state.run();
    match state.outcome() {
        None if lost => vec![
            format!("no controller drives it; to go on: `upshift resume {run}`"),
            format!("to roll back: `upshift abort {run}`"),
        ],
        Some(Outcome::Superseded { .. }) => vec![
            format!("to drive it from here again: `upshift resume {run} --take-over`"),
            "to see what became of it: `upshift status`".to_owned(),
        ],
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

/// What a person reads of a run that this process drives, or has driven.
pub fn text(state: &State) -> String {
    text_of(state, false)
}

fn text_of(state: &State, lost: bool) -> String {
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
    for next in next(state, lost) {
        text.push_str(&format!("  next: {next}\n"));
    }
    text
}
