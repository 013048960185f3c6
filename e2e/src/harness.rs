//! A test runner for tests that may find that they cannot be done here: they are skipped by name, with the reason.
//!
//! It closes as Rust's own does, so that `cargo xtask test` counts both alike. Tests run one after the other, so that each has the
//! machine's two cores to itself, or, where they wait more than they compute, [side by side](side_by_side).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use upshift_lab::fetch::Unavailable;

mod lanes;

pub use lanes::side_by_side;

/// Why a test ended without a verdict.
#[derive(Debug)]
pub enum NoVerdict {
    /// What it needs cannot be had here.
    Skip(String),
    /// It was not asked for.
    LeftOut(String),
}

pub use NoVerdict::Skip;

impl From<Unavailable> for NoVerdict {
    fn from(unavailable: Unavailable) -> Self {
        Skip(unavailable.to_string())
    }
}

/// How a test ends; it fails by panicking.
pub type Outcome = Result<(), NoVerdict>;

/// Passes where long tests are asked for with `UPSHIFT_E2E_EXHAUSTIVE`.
///
/// # Errors
/// Where they are not.
pub fn only_when_exhaustive(takes: &str) -> Outcome {
    match std::env::var_os("UPSHIFT_E2E_EXHAUSTIVE") {
        Some(_) => Ok(()),
        None => Err(NoVerdict::LeftOut(format!(
            "it takes {takes}; set UPSHIFT_E2E_EXHAUSTIVE=1"
        ))),
    }
}

/// A test as a list of them has it: its name, and what it does.
pub type Case = (&'static str, fn() -> Outcome);

/// A test.
pub struct Trial {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub run: fn() -> Outcome,
}

/// The tests of several lists, in their order.
pub fn trials(lists: &[&[Case]]) -> Vec<Trial> {
    let cases = lists.iter().copied().flatten();
    cases.map(|(name, run)| Trial { name, run: *run }).collect()
}

/// What panics of the test under way have said, in order; a thread that a test starts may panic as well.
type Said = Arc<Mutex<String>>;

/// Panics are shown as ever, and kept for the summary.
fn keep_what_panics_say() -> Said {
    let said = Said::default();
    let kept = Arc::clone(&said);
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        shown(panic);
        let mut said = kept.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(&format!("{panic}\n"));
    }));
    said
}

/// What was said since the last look.
fn take(said: &Said) -> String {
    std::mem::take(&mut said.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How a trial ended.
#[derive(Debug, Serialize, Deserialize)]
enum Verdict {
    Passed,
    Skipped(String),
    LeftOut(String),
    /// With what was said.
    Failed(String),
}

/// A trial that has ended, and how many seconds it took.
#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    verdict: Verdict,
    took: f64,
}

/// Runs the tests whose names contain one of the words of the command line, or all, one after the other.
pub fn main(trials: &[Trial]) -> ExitCode {
    let began = Instant::now();
    let Some(chosen) = chosen(trials) else {
        return ExitCode::SUCCESS;
    };
    let said = keep_what_panics_say();
    let ended: Vec<Ended> = chosen
        .iter()
        .map(|trial| {
            let ended = run(trial, &said);
            println!("{}", line(trial.name, &ended));
            ended
        })
        .collect();
    close(trials, &chosen, &ended, began)
}

/// The tests that the command line asks for; nothing where it asks for their names.
fn chosen(trials: &[Trial]) -> Option<Vec<&Trial>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        trials.iter().for_each(|trial| println!("{}: test", trial.name));
        return None;
    }
    let chosen: Vec<&Trial> = trials
        .iter()
        .filter(|trial| words.is_empty() || words.iter().any(|word| trial.name.contains(word.as_str())))
        .collect();
    println!("\nrunning {} tests", chosen.len());
    Some(chosen)
}

fn run(trial: &Trial, said: &Said) -> Ended {
    let started = Instant::now();
    take(said);
    let verdict = match catch_unwind(AssertUnwindSafe(trial.run)) {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(Skip(reason))) => Verdict::Skipped(reason),
        Ok(Err(NoVerdict::LeftOut(reason))) => Verdict::LeftOut(reason),
        Err(_) => Verdict::Failed(take(said)),
    };
    Ended {
        verdict,
        took: started.elapsed().as_secs_f64(),
    }
}

fn line(name: &str, Ended { verdict, took }: &Ended) -> String {
    match verdict {
        Verdict::Passed => format!("test {name} ... ok ({took:.1} s)"),
        Verdict::Skipped(reason) => format!("test {name} ... skipped: {reason}"),
        Verdict::LeftOut(reason) => format!("test {name} ... left out: {reason}"),
        Verdict::Failed(_) => format!("test {name} ... FAILED ({took:.1} s)"),
    }
}

/// Prints the summary as Rust's own runner does.
fn close(trials: &[Trial], chosen: &[&Trial], ended: &[Ended], began: Instant) -> ExitCode {
    let count = |which: fn(&Verdict) -> bool| ended.iter().filter(|ended| which(&ended.verdict)).count();
    let passed = count(|verdict| matches!(verdict, Verdict::Passed));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    if failed > 0 {
        println!("\nfailures:");
    }
    for (trial, ended) in chosen.iter().zip(ended) {
        if let Verdict::Failed(said) = &ended.verdict {
            println!("\n---- {} stdout ----\n{said}", trial.name);
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        trials.len() - chosen.len(),
        began.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
