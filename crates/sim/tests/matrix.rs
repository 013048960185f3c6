//! Every kind of fault at every step boundary of every strategy.
//!
//! Every fifth case of each strategy, and all of them with `UPSHIFT_E2E_EXHAUSTIVE=1` (`cargo xtask sim --exhaustive` is the same
//! matrix with a summary by kind). `UPSHIFT_SIM_EVERY=N` runs every Nth.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use upshift_model::profile::Strategy;
use upshift_sim::exhaustive::{Case, KINDS, cases};
use upshift_sim::scenario;
use upshift_sim::trace::Level;

/// The share of the cases that is run by default. Cases are listed by kind, and by step within a kind.
const SAMPLE: usize = 5;

fn every() -> usize {
    let asked = std::env::var("UPSHIFT_SIM_EVERY").ok();
    let exhaustive = std::env::var_os("UPSHIFT_E2E_EXHAUSTIVE").is_some();
    match asked.and_then(|text| text.parse().ok()) {
        Some(every) => every,
        None if exhaustive => 1,
        None => SAMPLE,
    }
}

fn run(strategy: Strategy) {
    let profile = scenario::profile();
    let every = every();
    let all = cases(strategy, &profile);
    assert!(all.len() > 1_000, "a matrix without cases proves nothing");
    let cases: Vec<Case> = all.into_iter().step_by(every).collect();
    for kind in KINDS {
        assert!(cases.iter().any(|case| case.kind == kind), "{kind:?} is left out");
    }
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
