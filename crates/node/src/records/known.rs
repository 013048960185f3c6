//! What controllers wrote down of their runs on this host, so that a controller with another journal can see them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use upshift_model::runs::{HostRun, HostRuns, RunNote, RunState};

use crate::durable::{self, Lock};
use crate::error::{Context, NodeError, Result};
use crate::guard;
use crate::layout::{Layout, component};
use crate::records;

fn path(layout: &Layout, run: &str) -> Result<PathBuf> {
    Ok(layout.known().join(component(run)?))
}

fn read(layout: &Layout, run: &str) -> Result<Option<RunNote>> {
    durable::read_json(&path(layout, run)?)
}

/// Writes down how far a run is. One that was closed stays closed.
pub fn write(layout: &Layout, note: &RunNote) -> Result<()> {
    let _lock = Lock::take(&layout.records_lock())?;
    let before = read(layout, &note.run)?;
    let closing = matches!(note.state, RunState::Closed { .. });
    match &before {
        Some(RunNote {
            state: RunState::Closed { outcome, by, .. },
            ..
        }) => {
            return match closing {
                true => Ok(()),
                false => Err(NodeError::refused(format!(
                    "the run {} was ended by {by} from the hosts' records: {outcome}",
                    note.run
                ))),
            };
        }
        // It has done nothing here.
        None if !matches!(note.state, RunState::Open) && !closing => return Ok(()),
        _ => {}
    }
    // What whoever began it wrote down stays.
    let note = match (before, closing) {
        (Some(before), true) => &RunNote {
            state: note.state.clone(),
            token: note.token,
            ..before
        },
        _ => note,
    };
    durable::write_json(&path(layout, &note.run)?, note)
}

/// The token of the controller that has closed a run, where one has.
pub fn closed(layout: &Layout, run: &str) -> Result<Option<u64>> {
    Ok(read(layout, run)?
        .filter(|note| matches!(note.state, RunState::Closed { .. }))
        .map(|note| note.token))
}

/// All runs that this host knows of, with their guards.
pub fn known(layout: &Layout) -> Result<HostRuns> {
    let mut runs: BTreeMap<String, HostRun> = BTreeMap::new();
    let entries = fs::read_dir(layout.known()).context(|| "cannot list the runs")?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let Some(note) = read(layout, name)? else {
            continue;
        };
        let run = HostRun {
            run: note.run.clone(),
            fleet: note.fleet.clone(),
            note: Some(note),
            guards: Vec::new(),
        };
        runs.insert(run.run.clone(), run);
    }
    for (run, fleet, guard) in guard::known(layout)? {
        let known = runs.entry(run.clone()).or_insert_with(|| HostRun {
            run,
            fleet,
            note: None,
            guards: Vec::new(),
        });
        known.guards.push(guard);
    }
    Ok(HostRuns {
        tokens: records::tokens(layout)?,
        runs: runs.into_values().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(state: RunState) -> RunNote {
        RunNote {
            run: "r1".to_owned(),
            fleet: "f".to_owned(),
            product: "lab".to_owned(),
            token: 7,
            by: "ann@desk".to_owned(),
            began_ms: 1,
            hops: vec![("1".to_owned(), "2".to_owned())],
            state,
        }
    }

    #[test]
    fn a_run_that_was_closed_is_not_opened_again() {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        write(&layout, &note(RunState::Open)).unwrap();
        assert!(known(&layout).unwrap().runs[0].is_open());
        assert_eq!(closed(&layout, "r1").unwrap(), None);
        let end = RunState::Closed {
            outcome: "rolled back to 1".to_owned(),
            by: "bob@laptop".to_owned(),
            at_ms: 2,
            changed: false,
        };
        write(&layout, &note(end)).unwrap();
        let refusal = write(&layout, &note(RunState::Open)).unwrap_err().to_string();
        assert!(refusal.contains("bob@laptop"), "{refusal}");
        assert!(!known(&layout).unwrap().runs[0].is_open());
        assert_eq!(closed(&layout, "r1").unwrap(), Some(7));
    }

    #[test]
    fn nothing_is_known_on_a_new_host() {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        assert_eq!(known(&layout).unwrap(), HostRuns::default());
    }
}
