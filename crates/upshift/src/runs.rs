//! The runs that were begun from this machine.

use std::path::{Path, PathBuf};

use upshift_control::recall;
use upshift_run::{Outcome, State};
use upshift_store::{RunRecord, Store, StoreError};

use crate::args::Global;
use crate::exit::{Failure, Problem};
use crate::fleets;
use crate::suggest::nearest;

/// File of the store in the state directory.
const FILE: &str = "runs.sqlite";

/// The controller's state directory: the option, else as the XDG base directory specification says.
pub fn state_directory(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(directory) = &global.state_dir {
        return Ok(directory.clone());
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("upshift"))
        .ok_or_else(|| {
            Failure::Usage(
                Problem::new("there is no place for the journal of runs")
                    .because("neither XDG_STATE_HOME nor HOME is set")
                    .next("name a directory with --state-dir"),
            )
        })
}

/// The file of the store.
pub fn store_file(global: &Global) -> Result<PathBuf, Failure> {
    Ok(state_directory(global)?.join(FILE))
}

/// The store, to look at; it must exist.
pub fn look(global: &Global) -> Result<Store, Failure> {
    Store::open_existing(&store_file(global)?).map_err(|error| failure(error, &[]))
}

/// The store, made where there is none.
pub fn open(global: &Global) -> Result<Store, Failure> {
    Store::open(&store_file(global)?).map_err(|error| failure(error, &[]))
}

/// Whether a run has neither ended nor been given up: it goes on, is held, or has lost its controller.
pub fn is_open(run: &RunRecord) -> bool {
    matches!(
        run.outcome,
        None | Some(Outcome::Held { .. } | Outcome::Superseded { .. })
    )
}

/// Refuses what is asked of a run that is not the newest of its fleet: a later one may need what the older would take away. Later
/// runs that left every server as they found it do not count.
pub fn refuse_older(store: &Store, record: &RunRecord) -> Result<(), Failure> {
    let runs = store
        .runs(Some(&record.fleet))
        .map_err(|error| failure(error, &[]))?;
    // The newest comes first.
    for later in runs.iter().take_while(|run| run.id != record.id) {
        if is_open(later) || has_changed(store, later)? {
            let state = if is_open(later) {
                "has not ended"
            } else {
                "came after it"
            };
            return Err(Failure::Refused(
                Problem::new(format!(
                    "{} is not the newest run on the fleet `{}`: {} {state}",
                    record.id, record.fleet, later.id
                ))
                .because("a later run may need what this one would change or remove")
                .next(format!(
                    "`upshift why {}` says where the newest run is and what can be done",
                    later.id
                )),
            ));
        }
    }
    Ok(())
}

/// Whether a run that has ended left servers on another version than before it, or may have.
fn has_changed(store: &Store, run: &RunRecord) -> Result<bool, Failure> {
    Ok(match &run.outcome {
        Some(Outcome::Refused { .. } | Outcome::Prepared) => false,
        Some(Outcome::RolledBack { to, .. }) => {
            let plan = store.plan(&run.id).map_err(|error| failure(error, &[]))?;
            plan.hops.first().is_none_or(|hop| hop.from != *to)
        }
        _ => true,
    })
}

/// The run that is meant: the named one, or the newest of the fleet.
pub fn pick(store: &Store, run: Option<&str>, global: &Global) -> Result<RunRecord, Failure> {
    if let Some(id) = run {
        return store.run(id).map_err(|error| {
            let known: Vec<String> = store
                .runs(None)
                .unwrap_or_default()
                .into_iter()
                .map(|run| run.id)
                .collect();
            failure(error, &known)
        });
    }
    let fleet = fleet_name(global)?;
    let runs = store
        .runs(fleet.as_deref())
        .map_err(|error| failure(error, &[]))?;
    runs.into_iter().next().ok_or_else(|| {
        let of = fleet
            .map(|fleet| format!(" on the fleet `{fleet}`"))
            .unwrap_or_default();
        Failure::Usage(
            Problem::new(format!("there was no run{of} yet"))
                .next("`upshift history --all` lists the runs on all fleets"),
        )
    })
}

/// Name of the fleet that is meant, where there is a fleet file.
pub fn fleet_name(global: &Global) -> Result<Option<String>, Failure> {
    if !Path::new(&global.fleet).exists() {
        return Ok(None);
    }
    Ok(Some(fleets::read(&global.fleet)?.name))
}

/// The state of a run: its journal, replayed.
pub fn state(store: &Store, run: &str) -> Result<State, Failure> {
    recall(store, run).map_err(|error| failure(error, &[]))
}

/// What the store says, in the operator's words and with the right exit status.
pub fn failure(error: StoreError, known: &[String]) -> Failure {
    let what = error.to_string();
    match &error {
        StoreError::Held(_) => Failure::Refused(Problem::new(what)),
        StoreError::UnknownRun(id) => {
            let guess = nearest(id, known.iter().map(String::as_str));
            let problem = Problem::new(format!("there is no run `{id}`"));
            Failure::Usage(match guess {
                Some(guess) => problem.next(format!(
                    "did you mean `{guess}`? `upshift history --all` lists all runs"
                )),
                None => problem.next("`upshift history --all` lists all runs"),
            })
        }
        StoreError::Missing(path) => Failure::Usage(
            Problem::new("nothing was ever run from here")
                .at(path.display())
                .next("name another journal with --state-dir, or begin with `upshift check`"),
        ),
        _ => Failure::Unexpected(error.into()),
    }
}
