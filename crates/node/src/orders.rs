//! Orders: fenced, done one at a time on a host, each attempt at most once.
//!
//! The lock on orders is held across processes from before an attempt is written down as begun until after it is written
//! down as ended. So whoever holds it and finds an attempt begun but not ended knows that its agent is dead, and whoever
//! asks for an attempt that another agent is still busy with waits for that agent. The guard takes the same lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use upshift_host::orders::{self, Admission, Asked};
use upshift_model::action::{Action, Report, Service};
use upshift_wire::protocol::ExecuteOrder;

use crate::actions::{Request, perform};
use crate::clock;
use crate::durable::{self, Lock};
use crate::error::Result;
use crate::failpoint;
use crate::guard;
use crate::host::Host;
use crate::layout::Layout;
use crate::process::command::MARK;
use crate::process::{self, ProcessId};
use crate::records::{self, Attempt, Begun, RunLog};

/// Added to the time that a program is allowed, before a later agent kills what is left of it.
const MARGIN: u64 = 1000;

/// Does what an order says, or says why not.
///
/// # Errors
/// Where the host cannot keep its records: nothing was done then.
pub fn execute(host: &Host, order: &ExecuteOrder) -> Result<Report> {
    let layout = &host.layout;
    let attempt = Attempt::of(order);
    // Raised at once, also while an older controller's order is still being done, so that its next one is refused.
    if let Some(token) = records::fence(layout, &order.fleet, order.token)? {
        return Ok(Report::Fenced { token });
    }
    let _lock = Lock::take(&layout.orders_lock())?;
    execute_locked(host, order, &attempt)
}

fn execute_locked(host: &Host, order: &ExecuteOrder, attempt: &Attempt) -> Result<Report> {
    let layout = &host.layout;
    let strict = if order.forward {
        Records::MustBeKept
    } else {
        Records::MayBeLost
    };
    let mut log = settle_and_read(layout, strict, &order.run)?;
    let place = records::place_of(order);
    // A newer controller may have come while this order waited.
    let fence = records::fence(layout, &order.fleet, order.token)?.unwrap_or(order.token);
    if let Some(token) = records::known::closed(layout, &order.run)? {
        return Ok(Report::Fenced { token });
    }
    let guard = guard::of(layout, &order.run, order.hop)?;
    let asked = Asked {
        attempt: (order.step, order.attempt),
        place,
        forward: order.forward,
        arms: matches!(order.action, Action::ArmGuard(_)),
        again: matches!(&order.action, Action::ArmGuard(guard) if guard.again),
    };
    match orders::admit(&log.ledger(), fence, guard.as_ref(), &asked) {
        Admission::Perform => {}
        Admission::Repeat(report) => return log.report(report),
        Admission::Answer(report) => return Ok(report),
    }
    failpoint::hit("before-begun");
    strict.judge(records::set_last_run(layout, &order.run))?;
    strict.judge(log.begin(attempt, place, &begin(&order.action)))?;
    failpoint::hit("after-begun");
    let report = perform_order(host, order, &attempt.mark(layout));
    failpoint::hit("before-ended");
    strict.judge(log.end(attempt, order.action.word(), &report))?;
    failpoint::hit("after-ended");
    Ok(report)
}

fn begin(action: &Action) -> Begun {
    let own = ProcessId::of(std::process::id());
    Begun {
        action: action.word().to_owned(),
        session: own.as_ref().and_then(process::session).unwrap_or(0),
        boot: clock::boot_id().to_owned(),
        until: clock::since_boot()
            .saturating_add(allowed(action))
            .saturating_add(MARGIN),
    }
}

/// How long the programs that an action runs may take, in milliseconds.
fn allowed(action: &Action) -> u64 {
    match action {
        Action::Command(command) => command.timeout.0,
        // The backup command, the snapshot itself, its restore.
        Action::Snapshot(order) => 3 * order.within.0,
        // A package is removed, and another one installed.
        Action::Install(_) => 2 * crate::installation::PATIENCE.0,
        Action::Start(Service::Commands(service)) => service.start.timeout.0,
        Action::Stop(stop) => match &stop.service {
            Service::Commands(service) => service.stop.timeout.0,
            Service::Systemd(_) | Service::Supervised(_) => 0,
        },
        _ => 0,
    }
}

fn perform_order(host: &Host, order: &ExecuteOrder, mark: &str) -> Report {
    let request = Request {
        host,
        run: &order.run,
        hop: order.hop,
        fleet: &order.fleet,
        place: records::place_of(order),
        mark,
    };
    // A defect in one action must neither end the agent nor leave the attempt without an end.
    match catch_unwind(AssertUnwindSafe(|| perform(&request, &order.action))) {
        Ok(Ok(output)) => Report::Done { output },
        Ok(Err(error)) => error.report(),
        Err(_) => Report::Failed {
            reason: "the agent has a defect: see its standard error".to_owned(),
        },
    }
}

/// Whether something may be done that cannot be written down because the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// No: what leads forward is never done twice.
    MustBeKept,
    /// Yes: the rollback is made of actions that can be done twice, and a full disk must not close it.
    MayBeLost,
}

impl Records {
    fn judge(self, written: Result<()>) -> Result<()> {
        match written {
            Err(error) if self == Records::MayBeLost && error.is_full() => Ok(()),
            written => written,
        }
    }
}

/// Brings the records in order after an agent that died while it did something: its programs have ended, and the attempt has
/// an end on record. Only called while orders are locked.
pub fn settle(layout: &Layout, strict: Records) -> Result<()> {
    settle_last_run(layout, strict).map(drop)
}

/// [`settle`], and the log of a run afterwards. Most often that is the run of which the last attempt was, so its log is read only once.
fn settle_and_read(layout: &Layout, strict: Records, run: &str) -> Result<RunLog> {
    match settle_last_run(layout, strict)? {
        Some((last, log)) if last == run => Ok(log),
        _ => RunLog::read(layout, run),
    }
}

/// The run that has begun the last attempt, if any has, with its log afterwards.
fn settle_last_run(layout: &Layout, strict: Records) -> Result<Option<(String, RunLog)>> {
    // An installation outside of runs whose agent has died is over.
    if layout.installing().exists() {
        durable::remove(&layout.installing())?;
    }
    let Some(run) = records::last_run(layout)? else {
        return Ok(None);
    };
    let mut log = RunLog::read(layout, &run)?;
    if let Some((attempt, begun)) = log.unfinished(&run)? {
        if begun.boot == clock::boot_id() {
            outlast(layout, &attempt, &begun);
        }
        strict.judge(log.end(&attempt, &begun.action, &Report::Interrupted))?;
    }
    Ok(Some((run, log)))
}

/// Waits for the programs that a dead agent has left, and kills them when their time is over. Those that have made a session
/// of their own, as daemons do, are what the action was to start: they stay.
fn outlast(layout: &Layout, attempt: &Attempt, begun: &Begun) {
    let mark = attempt.mark(layout);
    let left = || -> Vec<ProcessId> {
        let marked = |process: &ProcessId| {
            process.environment().get(MARK) == Some(&mark) && process::session(process) == Some(begun.session)
        };
        process::all()
            .into_iter()
            .filter_map(ProcessId::of)
            .filter(marked)
            .collect()
    };
    let begin = Instant::now();
    let patience = Duration::from_millis(begun.until.saturating_sub(clock::since_boot()));
    while let Some(process) = left().first() {
        let over = begin.elapsed() >= patience;
        if over {
            // Best effort: what does not end now is found again by the next order.
            let _ = process.signal(Signal::KILL);
        }
        process.wait_for_end(Duration::from_millis(200));
        if over && begin.elapsed() > patience + Duration::from_secs(30) {
            return;
        }
    }
}
