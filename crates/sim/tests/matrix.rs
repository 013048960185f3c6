//! Every kind of fault at every step boundary of every strategy.
//!
//! `UPSHIFT_SIM_EVERY=N` runs only every Nth case, for those in a hurry.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use upshift_model::profile::Strategy;
use upshift_sim::exhaustive::{Case, cases};
use upshift_sim::scenario;
use upshift_sim::trace::Level;

fn run(strategy: Strategy) {
    let profile = scenario::profile();
    let every = std::env::var("UPSHIFT_SIM_EVERY")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let cases: Vec<Case> = cases(strategy, &profile).into_iter().step_by(every).collect();
    assert!(
        cases.len() * every > 1_000,
        "a matrix without cases proves nothing"
    );
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let (_, Some(what)) = case.judge(&profile, Level::Silent) {
                        wrong.lock().unwrap().push(format!("{case:?}: {what}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
}

#[test]
fn every_fault_at_every_step_of_a_hot_hop() {
    run(Strategy::Hot);
}

#[test]
fn every_fault_at_every_step_of_a_rolling_hop() {
    run(Strategy::Rolling);
}

#[test]
fn every_fault_at_every_step_of_a_switch_hop() {
    run(Strategy::Switch);
}

#[test]
fn every_fault_at_every_step_of_a_rebuild_hop() {
    run(Strategy::Rebuild);
}
