//! Runs that another journal has, by what the hosts know of them.

use std::collections::BTreeMap;
use std::time::Duration;

use upshift_control::KnownRuns;
use upshift_plan::Refusal;
use upshift_plan::foreign::{Known, closed_by};
use upshift_run::{Event, EventKind, Outcome};
use upshift_store::{Lasting, RunRecord, Store};

use crate::exit::{Failure, Problem};
use crate::lease::HeldLease;
use crate::runs;
use crate::setting::Setting;

/// How long a host may take to say what runs it knows.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The runs of this journal, and whether each has not ended.
fn journal(store: Option<&Store>) -> Result<BTreeMap<String, bool>, Failure> {
    let Some(store) = store else {
        return Ok(BTreeMap::new());
    };
    let runs = store.runs(None).map_err(|error| runs::failure(error, &[]))?;
    Ok(runs
        .into_iter()
        .map(|run| (run.id.clone(), runs::is_open(&run)))
        .collect())
}

/// Why no run may begin now.
pub fn bars_a_new_run(
    setting: &Setting,
    known: &KnownRuns,
    store: Option<&Store>,
) -> Result<Vec<Refusal>, Failure> {
    let mut refusals = Known {
        fleet: &setting.fleet.name,
        product: &setting.profile.product,
        hosts: &known.hosts,
        journal: &journal(store)?,
    }
    .bars_a_new_run();
    // Unknown is not no.
    refusals.extend(known.silent.iter().map(|(host, reason)| Refusal {
        code: "runs-unknown".to_owned(),
        hosts: vec![host.clone()],
        message: format!("what the host knows of other runs cannot be read: {reason}"),
        remedy: "mend that; then again".to_owned(),
        link: None,
        finding: upshift_plan::Finding::CannotTell,
        hides: Vec::new(),
    }));
    Ok(refusals)
}

/// Refuses where another run than this one of our journal has not ended by what the hosts know, where hosts know of a later one, and
/// where a controller without our journal has ended this one; then our journal is told so. Hosts that do not answer are left
/// to the run: it must go on without them.
pub fn refuse(
    record: &RunRecord,
    known: &KnownRuns,
    store: &Store,
    lease: &HeldLease<'_>,
) -> Result<(), Failure> {
    let open = runs::is_open(record);
    if let Some((how, by)) = closed_by(&record.id, &known.hosts) {
        if open {
            write_down(record, how, by, store, lease)?;
        }
        return Err(Failure::Refused(
            Problem::new(format!(
                "the run {} was ended by {by} from the hosts' records",
                record.id
            ))
            .because(how)
            .next("`upshift status` says what runs now; its journal here is closed, and a new run may begin"),
        ));
    }
    let refusals = Known {
        fleet: &record.fleet,
        product: &record.product,
        hosts: &known.hosts,
        journal: &journal(Some(store))?,
    }
    .bars_run(&record.id, record.created_ms, !open);
    match refusals.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refusals(refusals)),
    }
}

fn write_down(
    record: &RunRecord,
    how: &str,
    by: &str,
    store: &Store,
    lease: &HeldLease<'_>,
) -> Result<(), Failure> {
    let (by, how) = (by.to_owned(), how.to_owned());
    let event = Event {
        at: runs::state(store, &record.id)?.now(),
        kind: EventKind::EndedElsewhere {
            by: by.clone(),
            how: how.clone(),
        },
    };
    store
        .append(lease.lease(), &record.id, &[event], Lasting::Always)
        .and_then(|()| {
            let outcome = Outcome::EndedElsewhere { by, how };
            store.set_outcome(lease.lease(), &record.id, Some(&outcome))
        })
        .map_err(|error| runs::failure(error, &[]))
}
