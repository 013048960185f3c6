//! What a guard does when nobody has renewed it: bring its host back, unless the point of no return was crossed.

use std::time::{Duration, Instant};

use upshift_model::action::{Action, GuardRecipe};
use upshift_model::expr::{self, Scope};
use upshift_model::probe::ProbeCheck;

use super::record::{Record, State};
use crate::actions::{Request, perform};
use crate::durable::Lock;
use crate::error::{self, NodeError, Result};
use crate::failpoint;
use crate::host::Host;
use crate::orders;
use crate::probes;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How often an action is tried that may work later.
const ATTEMPTS: u32 = 5;
/// How long a host that serves is asked whether the point of no return was crossed, before silence is taken for a no.
const UNCERTAIN: Duration = Duration::from_secs(30);
/// The least time that the old version gets to show that it serves.
const PROOF: Duration = Duration::from_secs(120);

/// Rolls back the host, or stands down; how it ended.
pub fn fire(host: &Host, record: &Record) -> State {
    say(&format!(
        "run {}, hop {}: nobody has renewed the guard; it fires",
        record.key.run, record.key.hop
    ));
    let outcome = attempt(host, record).unwrap_or_else(|error| State::Failed {
        reason: error.to_string(),
    });
    say(&format!("{outcome:?}"));
    outcome
}

fn attempt(host: &Host, record: &Record) -> Result<State> {
    let Some(recipe) = &record.recipe else {
        return Err(NodeError::refused("a guard that was never armed has no rollback"));
    };
    let observer = Observer { host, record, recipe };
    wait_for_turn(&observer, recipe);
    {
        // Orders that were being done have ended; new ones forward are refused, others wait.
        let _lock = Lock::take(&host.layout.orders_lock())?;
        orders::settle(&host.layout, orders::Records::MayBeLost)?;
        if crossed(&observer, recipe) {
            return Ok(State::StoodDown);
        }
        let mark = format!(
            "{}:{}/guard/{}",
            host.layout.root().display(),
            record.key.run,
            record.key.hop
        );
        let request = Request {
            host,
            run: &record.key.run,
            hop: record.key.hop,
            fleet: &record.fleet,
            place: record.armed,
            mark: &mark,
        };
        // The rest of the rollback still runs: it brings the server back into service, and changes nothing that is as it was.
        let stays_up = is_back(&observer, recipe);
        for action in &recipe.rollback {
            failpoint::hit("guard-action");
            if is_there(&observer, recipe) {
                say("the old version runs: the remaining steps of the rollback are left out");
                break;
            }
            if stays_up && matches!(action, Action::Stop(_)) {
                say("the old version serves: it is not stopped");
                continue;
            }
            insist(&request, action)?;
        }
    }
    prove(&observer, recipe)?;
    Ok(State::RolledBack)
}

/// Whether the old version serves already: nothing had been changed yet, or a controller was in its rollback.
fn is_back(observer: &Observer<'_>, recipe: &GuardRecipe) -> bool {
    !recipe.proof.is_empty() && recipe.proof.iter().all(|check| observer.holds(check) == Ok(true))
}

/// A host that serves waits until the others can bear its loss. One that does not serve has nothing to wait for, and past the
/// point of no return there is nothing to wait for either.
fn wait_for_turn(observer: &Observer<'_>, recipe: &GuardRecipe) {
    let Some(wait_until) = &recipe.wait_until else {
        return;
    };
    loop {
        let serves = recipe
            .serving_if
            .as_ref()
            .is_none_or(|check| observer.holds(check) == Ok(true));
        if !serves || is_back(observer, recipe) || observer.holds(wait_until) == Ok(true) {
            return;
        }
        if recipe
            .stand_down_if
            .as_ref()
            .is_some_and(|check| observer.holds(check) == Ok(true))
        {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether the point of no return was crossed. A host that serves but cannot say is asked again for a while; one that does not
/// serve cannot say, and is brought back: that is what the guard is for.
fn crossed(observer: &Observer<'_>, recipe: &GuardRecipe) -> bool {
    let Some(check) = &recipe.stand_down_if else {
        return false;
    };
    let begin = Instant::now();
    loop {
        match observer.holds(check) {
            Ok(crossed) => return crossed,
            Err(reason) => say(&format!(
                "cannot see whether the point of no return was crossed: {reason}"
            )),
        }
        let serves = recipe
            .serving_if
            .as_ref()
            .is_some_and(|check| observer.holds(check) == Ok(true));
        if !serves || begin.elapsed() > UNCERTAIN {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

fn insist(request: &Request<'_>, action: &Action) -> Result<()> {
    let mut attempt = 1;
    loop {
        say(&format!("{} (attempt {attempt})", action.word()));
        match perform(request, action) {
            Ok(_) => return Ok(()),
            Err(NodeError::Transient(reason)) if attempt < ATTEMPTS => say(&reason),
            Err(error) => {
                return Err(NodeError::refused(format!("{} failed: {error}", action.word())));
            }
        }
        std::thread::sleep(LOOK * attempt);
        attempt += 1;
    }
}

/// Whether the rollback has come to its end early; see [`GuardRecipe::until`].
fn is_there(observer: &Observer<'_>, recipe: &GuardRecipe) -> bool {
    recipe
        .until
        .as_ref()
        .is_some_and(|check| observer.holds(check) == Ok(true))
}

/// Waits until everything that proves that the old version serves has been seen.
fn prove(observer: &Observer<'_>, recipe: &GuardRecipe) -> Result<()> {
    let patience = PROOF.max(Duration::from_millis(recipe.lease.0));
    let deadline = Instant::now() + patience;
    for check in &recipe.proof {
        loop {
            let seen = observer.holds(check);
            if seen == Ok(true) {
                break;
            }
            if Instant::now() > deadline {
                let seen = seen.err().unwrap_or_else(|| "it does not hold".to_owned());
                return Err(NodeError::refused(format!(
                    "the rollback ran, but `{}` did not hold within {} s: {seen}",
                    check.expect,
                    patience.as_secs()
                )));
            }
            std::thread::sleep(LOOK / 4);
        }
    }
    Ok(())
}

struct Observer<'a> {
    host: &'a Host,
    record: &'a Record,
    recipe: &'a GuardRecipe,
}

impl Observer<'_> {
    /// Whether something holds now; an error where it cannot be seen.
    fn holds(&self, check: &ProbeCheck) -> std::result::Result<bool, String> {
        let value = probes::observe(self.host, Some(&self.record.key.run), &check.probe)
            .map_err(|failure| format!("{failure:?}"))?;
        let names = serde_json::Value::Object(self.recipe.scope.clone());
        let mut scope = Scope::from_value(self.recipe.scheme, names);
        scope.set("value", value);
        expr::holds(&check.expect, &scope).map_err(|error| error.to_string())
    }
}

/// One line in the guard's log.
fn say(text: &str) {
    error::say(format!("{} {text}", crate::clock::wall()));
}
