//! Performs what a guard decides that fires; the decisions are [`upshift_host::fire`].

use std::time::Duration;

use upshift_host::fire::{self, Check, Effect, Firing, Input, Performed};
use upshift_host::guard::{Event, Record, State};
use upshift_model::Millis;
use upshift_model::action::GuardRecipe;
use upshift_model::expr::{self, Scope};

use super::record;
use crate::actions::{Request, perform};
use crate::clock;
use crate::durable::Lock;
use crate::error::{self, NodeError, Result};
use crate::failpoint;
use crate::host::Host;
use crate::orders;
use crate::probes;
use crate::records::RunLog;

/// Rolls back the host, or stands down; how it ended.
pub fn fire(host: &Host, record: &Record) -> State {
    say(&format!(
        "run {}, hop {}: the lease of the guard has run out; it fires",
        record.key.run, record.key.hop
    ));
    let outcome = drive(host, record).unwrap_or_else(|error| State::Failed {
        reason: error.to_string(),
    });
    say(&format!("{outcome:?}"));
    outcome
}

/// Asks what is next, and does it, until it is over.
fn drive(host: &Host, record: &Record) -> Result<State> {
    let Some(recipe) = &record.recipe else {
        return Err(NodeError::refused("a guard that was never armed has no rollback"));
    };
    let performer = Performer { host, record, recipe };
    let mut orders: Option<Lock> = None;
    let (mut firing, mut input) = (Firing::default(), Input::Begin);
    loop {
        let next = fire::step(firing, recipe, Millis(clock::since_boot()), input);
        if let Some(note) = &next.note {
            say(note);
        }
        firing = next.firing;
        input = match next.effect {
            Effect::Observe(check) => Input::Seen(performer.observe(check)),
            Effect::Pause(time) => {
                std::thread::sleep(Duration::from_millis(time.0));
                Input::Ready
            }
            Effect::LockOrders => {
                orders = Some(performer.lock()?);
                Input::Ready
            }
            Effect::FreeOrders => {
                orders = None;
                Input::Ready
            }
            Effect::Perform { action, attempt } => Input::Performed(performer.perform(action, attempt)),
            Effect::End(state) => {
                drop(orders);
                return Ok(state);
            }
        };
    }
}

struct Performer<'a> {
    host: &'a Host,
    record: &'a Record,
    recipe: &'a GuardRecipe,
}

impl Performer<'_> {
    /// Orders that were being done have ended, new ones wait, and what is on record of them is overtaken.
    fn lock(&self) -> Result<Lock> {
        let layout = &self.host.layout;
        let lock = Lock::take(&layout.orders_lock())?;
        orders::settle(layout, orders::Records::MayBeLost)?;
        let newest = RunLog::read(layout, &self.record.key.run)?.newest();
        // The record is overwritten in place; a file system that copies what is written may be full, and that does not stop the rollback.
        match record::decide(layout, &self.record.key, &Event::Overtakes(newest)) {
            Err(error) if error.is_full() => {}
            written => drop(written?),
        }
        Ok(lock)
    }

    fn perform(&self, action: usize, attempt: u32) -> Performed {
        failpoint::hit("guard-action");
        let Some(action) = self.recipe.rollback.get(action) else {
            return Performed::Done;
        };
        let (host, key) = (self.host, &self.record.key);
        let request = Request {
            host,
            run: &key.run,
            hop: key.hop,
            fleet: &self.record.fleet,
            place: self.record.armed,
            mark: &format!("{}:{}/guard/{}", host.layout.root().display(), key.run, key.hop),
        };
        say(&format!("{} (attempt {attempt})", action.word()));
        match perform(&request, action) {
            Ok(_) => Performed::Done,
            Err(NodeError::Transient(reason)) => Performed::Transient(reason),
            Err(error) => Performed::Failed(error.to_string()),
        }
    }

    /// Whether something holds now; an error where it cannot be seen.
    fn observe(&self, check: Check) -> std::result::Result<bool, String> {
        let Some(check) = check.of(self.recipe) else {
            return Err("the guard's recipe has no such check".to_owned());
        };
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
    error::say(format!("{} {text}", clock::wall()));
}
