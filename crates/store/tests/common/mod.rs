//! A plan and events to fill a store with.

#![allow(dead_code, reason = "not every test file needs all of it")]

use serde_json::{Value, json};
use upshift_model::Millis;
use upshift_plan::{Plan, testing};
use upshift_run::{Event, EventKind};
use upshift_store::{Acquire, Holder, Lease, NewRun, Store};

pub const FLEET: &str = "ledger";
pub const RUN: &str = "run-1";

pub fn plan() -> Plan {
    let request = testing::request("1.1.0", &["1.1.0"]);
    upshift_plan::plan(
        &testing::profile(),
        FLEET,
        &testing::fleet(3),
        &testing::facts(3, "1.0.0"),
        &request,
    )
    .unwrap()
}

pub fn holder() -> Holder {
    Holder::this_process("ann@desk")
}

/// A store with one run that this process carries.
pub fn begin(store: &Store) -> Lease {
    let lease = store.acquire(FLEET, &holder(), Acquire::default()).unwrap();
    create(store, &lease, RUN);
    lease
}

pub fn create(store: &Store, lease: &Lease, id: &str) {
    let setting: Value = json!({"fleet_file": "fleet.yaml"});
    let run = NewRun {
        id,
        plan: &plan(),
        setting: &setting,
        created_by: "ann@desk",
    };
    store.create_run(lease, &run).unwrap();
}

pub fn event(number: u64) -> Event {
    Event {
        at: Millis(number),
        kind: EventKind::Woke,
    }
}

/// The numbers of the events in a journal.
pub fn numbers(store: &Store) -> Vec<u64> {
    store
        .events(RUN, 1)
        .unwrap()
        .into_iter()
        .map(|recorded| recorded.event.at.0)
        .collect()
}
