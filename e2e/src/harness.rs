//! A test runner for tests that may find that they cannot be done here: they are skipped by name, with the reason.
//!
//! It closes as Rust's own does, so that `cargo xtask test` counts both alike. Tests run one after the other: each has
//! the machine's two cores to itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use upshift_lab::fetch::Unavailable;

/// Why a test ended without a verdict.
#[derive(Debug)]
pub struct Skip(pub String);

impl From<Unavailable> for Skip {
    fn from(unavailable: Unavailable) -> Self {
        Skip(unavailable.to_string())
    }
}

/// How a test ends; it fails by panicking.
pub type Outcome = Result<(), Skip>;

/// Passes where long tests are asked for with `UPSHIFT_E2E_EXHAUSTIVE`.
///
/// # Errors
/// Where they are not.
pub fn only_when_exhaustive(takes: &str) -> Outcome {
    match std::env::var_os("UPSHIFT_E2E_EXHAUSTIVE") {
        Some(_) => Ok(()),
        None => Err(Skip(format!("it takes {takes}; set UPSHIFT_E2E_EXHAUSTIVE=1"))),
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

/// Runs the tests whose names contain one of the words of the command line, or all.
pub fn main(trials: &[Trial]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        trials.iter().for_each(|trial| println!("{}: test", trial.name));
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&Trial> = trials
        .iter()
        .filter(|trial| words.is_empty() || words.iter().any(|word| trial.name.contains(word.as_str())))
        .collect();
    println!("\nrunning {} tests", chosen.len());
    let began = Instant::now();
    let said = keep_what_panics_say();
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for trial in &chosen {
        let started = Instant::now();
        take(&said);
        let outcome = catch_unwind(AssertUnwindSafe(trial.run));
        let took = started.elapsed().as_secs_f64();
        match outcome {
            Ok(Ok(())) => {
                passed += 1;
                println!("test {} ... ok ({took:.1} s)", trial.name);
            }
            Ok(Err(Skip(reason))) => {
                skipped += 1;
                println!("test {} ... skipped: {reason}", trial.name);
            }
            Err(_) => {
                println!("test {} ... FAILED ({took:.1} s)", trial.name);
                failed.push((trial.name, take(&said)));
            }
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:");
        for (name, said) in &failed {
            println!("\n---- {name} stdout ----\n{said}");
        }
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; {skipped} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        failed.len(),
        trials.len() - chosen.len(),
        began.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
