//! `upshift resume --from-hosts`: ends a run that is not in this machine's journal, by what its hosts know.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use upshift_control::takeover::{Take, TakenOver, take_over};
use upshift_control::{KnownRuns, known_runs};
use upshift_model::runs::HostRun;
use upshift_plan::foreign::open_runs;
use upshift_store::Store;

use crate::args::{Global, Output, ResumeArgs};
use crate::ask::{Question, confirm};
use crate::cluster;
use crate::exit::{Exit, Failure, Problem};
use crate::lease::{self, HeldLease};
use crate::output::Printer;
use crate::runs;
use crate::setting::Setting;

/// How long a host may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does what was typed.
pub fn run(arguments: &ResumeArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = Setting::read(global)?;
    let store = runs::open(global)?;
    cluster::wait(async {
        let hosts = cluster::hosts_of(&setting)?;
        let known = known_runs(&hosts, PATIENCE).await;
        refuse_silent(&known)?;
        let at_host = choose(arguments.run.as_deref(), &known)?;
        refuse_own(&store, &at_host.run)?;
        confirm(
            Question {
                text: &question(at_host),
                answer: "y",
                option: "--yes",
            },
            arguments.yes,
            printer,
        )?;
        let mut lease = HeldLease::take(&store, &at_host.fleet, arguments.take_over)?;
        lease.raise(known.newest_token())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let take = Take {
            run: &at_host.run,
            fleet_name: &at_host.fleet,
            token: lease.token(),
            who: &lease::who(),
            now_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            hosts: &hosts,
            fleet: &setting.fleet,
            profile: &setting.profile,
        };
        let taken = take_over(&take, &|text| printer.note(text)).await;
        say(&at_host.run, &taken, printer)
    })
}

/// Every host is needed: what one does not say may be a guard that still stands.
fn refuse_silent(known: &KnownRuns) -> Result<(), Failure> {
    let Some((host, reason)) = known.silent.first_key_value() else {
        return Ok(());
    };
    Err(Failure::Refused(
        Problem::new("a host cannot be asked, and a guard on it may still act, so the run cannot be ended")
            .at(host)
            .because(reason)
            .next("mend the way to it, then again; where it is gone for good, take it out of the fleet file"),
    ))
}

/// The named run, or the only one that has not ended.
fn choose<'k>(named: Option<&str>, known: &'k KnownRuns) -> Result<&'k HostRun, Failure> {
    let mut by_name: BTreeMap<&str, &HostRun> = BTreeMap::new();
    for run in known.hosts.values().flat_map(|known| &known.runs) {
        let best = by_name.entry(&run.run).or_insert(run);
        if best.note.is_none() {
            *best = run;
        }
    }
    let open = open_runs(&known.hosts);
    let name = match (named, open.len()) {
        (Some(name), _) => name,
        (None, 1) => open.first().copied().unwrap_or_default(),
        (None, 0) => {
            return Err(Failure::Refused(
                Problem::new("no host knows of a run that has not ended, and no guard stands")
                    .next("`upshift status` says what runs"),
            ));
        }
        (None, _) => {
            let names: Vec<&str> = open.iter().copied().collect();
            return Err(Failure::Usage(
                Problem::new("hosts know of several runs that have not ended")
                    .because(names.join(", "))
                    .next("name one of them"),
            ));
        }
    };
    if !open.contains(name) {
        return Err(Failure::Refused(
            Problem::new(match by_name.contains_key(name) {
                true => format!("the run {name} has ended, as far as its hosts know"),
                false => format!("no host of this fleet knows of a run `{name}`"),
            })
            .next("`upshift check` names the runs that have not ended"),
        ));
    }
    by_name.get(name).copied().ok_or_else(|| {
        Failure::Usage(Problem::new(format!(
            "no host of this fleet knows of a run `{name}`"
        )))
    })
}

/// A run of our own journal goes on from there.
fn refuse_own(store: &Store, run: &str) -> Result<(), Failure> {
    match store.run(run) {
        Ok(record) if runs::is_open(&record) => Err(Failure::Refused(
            Problem::new(format!("the run {run} is in this machine's journal"))
                .because("its journal knows more of it than its hosts do")
                .next(format!(
                    "`upshift resume {run}` goes on, `upshift abort {run}` rolls back"
                )),
        )),
        _ => Ok(()),
    }
}

fn question(run: &HostRun) -> String {
    let by = run
        .note
        .as_ref()
        .map(|note| format!(", begun by {},", note.by))
        .unwrap_or_default();
    format!(
        "The run {}{by} is ended from here: any other controller of it is fenced off, and its guards bring the servers back \
         to the version before, unless it was decided to stay or the point of no return was crossed. Go on?",
        run.run
    )
}

fn say(run: &str, taken: &TakenOver, printer: Printer) -> Result<Exit, Failure> {
    match taken {
        TakenOver::Proven {
            version,
            changed,
            unwritten,
        } => {
            let value = json!({"run": run, "ended": true, "version": version, "changed": changed, "unwritten": unwritten});
            printer.result(&value, || {
                let what = if *changed { "the new version stays" } else { "rolled back" };
                let mut text = format!(
                    "run {run} has ended: {what}; every server was observed to run {version}, and no guard stands"
                );
                for (host, reason) in unwritten {
                    text.push_str(&format!("\n{host} could not write that down: {reason}"));
                }
                text
            })?;
            Ok(match unwritten.is_empty() {
                true => Exit::Done,
                false => Exit::Held,
            })
        }
        TakenOver::Held { reason } => {
            let value = json!({"run": run, "ended": false, "reason": reason});
            printer.result(&value, || {
                format!(
                    "run {run} is held: {reason}\n  next: mend that, then `upshift resume {run} --from-hosts` again; what it has done \
                     already is not done twice"
                )
            })?;
            Ok(Exit::Held)
        }
    }
}
