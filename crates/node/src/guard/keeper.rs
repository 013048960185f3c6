//! The process of a guard: it waits for the deadline of its record.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use upshift_host::guard::{Event, Key, Record, State};

use super::{LOOK, fire, lives, record, unit};
use crate::clock;
use crate::detach::{self, Detached};
use crate::durable::Lock;
use crate::error::{NodeError, Result};
use crate::failpoint;
use crate::host::Host;
use crate::layout::Layout;

/// How long a process may take to take its lock.
const APPEARS: Duration = Duration::from_secs(10);

/// Starts a process for a guard that has none.
pub fn ensure(layout: &Layout, key: &Key) -> Result<()> {
    if lives(layout, key)? {
        return Ok(());
    }
    if !unit::start(layout, key)? {
        detach::start(&Detached {
            identity: None,
            argv: own_arguments(layout, key),
            env: Vec::new(),
            directory: layout.root().to_owned(),
            log: record::log_path(layout, key)?,
            record: None,
            own: true,
        })?;
    }
    let deadline = Instant::now() + APPEARS;
    while !lives(layout, key)? {
        // One that finds its record settled ends at once.
        let settled = record::read(layout, key)?.is_none_or(|record| !record.stands());
        if settled {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(NodeError::Transient(
                "the guard's process did not begin".to_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn own_arguments(layout: &Layout, key: &Key) -> Vec<OsString> {
    let own = detach::own_program();
    let mut argv = vec![own.get_program().to_owned()];
    argv.extend(own.get_args().map(OsString::from));
    argv.extend(arguments(layout.root(), key));
    argv
}

/// Arguments of the command line for a guard.
pub fn arguments(state: &Path, key: &Key) -> Vec<OsString> {
    vec![
        "guard".into(),
        "--state".into(),
        state.into(),
        "--run".into(),
        key.run.clone().into(),
        "--hop".into(),
        key.hop.to_string().into(),
    ]
}

/// Keeps a guard until it is disarmed, has fired or has stood down.
pub fn keep(host: &Host, run: &str, hop: u32) -> Result<()> {
    let layout = &host.layout;
    let key = Key {
        run: run.to_owned(),
        hop,
    };
    // A second one waits, and finds the record settled when the first one has ended, or goes on where it was killed.
    let _life = Lock::take(&record::life_path(layout, &key)?)?;
    loop {
        let Some(record) = record::read(layout, &key)? else {
            return Ok(());
        };
        match record.state {
            State::Armed => {
                let remaining = record.deadline.remaining(&clock::now());
                if remaining.0 > 0 {
                    std::thread::sleep(Duration::from_millis(remaining.min(LOOK).0));
                    continue;
                }
                failpoint::hit("guard-before-firing");
                match begin(layout, &key) {
                    // A full disk is no reason not to bring the host back: orders forward fail on it by themselves.
                    Err(error) if error.is_full() => conclude(host, &record)?,
                    begun => begun?,
                }
            }
            State::Firing => conclude(host, &record)?,
            State::RolledBack | State::StoodDown | State::Failed { .. } | State::Disarmed => {
                return unit::remove(layout, &key);
            }
        }
    }
}

/// Marks the guard as firing, unless it was renewed or disarmed at the last moment: only what is on record now counts.
fn begin(layout: &Layout, key: &Key) -> Result<()> {
    record::decide(layout, key, &Event::Woke).map(|_| ())
}

/// Fires, and writes down how it ended; as soon as there is room for that.
fn conclude(host: &Host, record: &Record) -> Result<()> {
    let outcome =
        catch_unwind(AssertUnwindSafe(|| fire::fire(host, record))).unwrap_or_else(|_| State::Failed {
            reason: "the agent has a defect: see the guard's log under records/guards".to_owned(),
        });
    loop {
        match record::decide(&host.layout, &record.key, &Event::Ended(outcome.clone())) {
            Err(error) if error.is_full() => std::thread::sleep(Duration::from_millis(LOOK.0)),
            written => {
                failpoint::hit("guard-fired");
                return written.map(|_| ());
            }
        }
    }
}
