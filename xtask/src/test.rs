//! `cargo xtask test`: every test, with one closing line.

use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::count::{Count, run_and_count};
use crate::run::{TaskError, cargo};

/// Products with end-to-end tests: the name, which is also the name of the test target in `e2e/tests`.
pub const PRODUCTS: [&str; 10] = [
    "alluxio",
    "emqx",
    "etcd",
    "haproxy",
    "ignite",
    "inventory",
    "kyligence",
    "lab",
    "nats",
    "weka",
];
/// Seeds that the test command simulates.
const SEEDS: &str = "2000";
/// Seeds of a range that is another one each time: a promise that is broken there is a warning.
const FRESH_SEEDS: &str = "300";

/// Everything, or the end-to-end tests of some products.
pub fn main(names: &[String]) -> Result<(), TaskError> {
    if let Some(unknown) = names.iter().find(|name| !PRODUCTS.contains(&name.as_str())) {
        let known = PRODUCTS.join(", ");
        return Err(TaskError::Usage(format!(
            "there are no end-to-end tests of `{unknown}`; there are: {known}"
        )));
    }
    let began = Instant::now();
    let mut count = Count::default();
    if names.is_empty() {
        let mut tests = workspace("test");
        tests.args(["--exclude", "upshift-e2e", "--no-fail-fast"]);
        count.add(run_and_count(tests)?);
        count.add(simulate(&["--seeds", SEEDS])?);
        let from = fresh_range().to_string();
        count.add(simulate(&["--from", &from, "--seeds", FRESH_SEEDS, "--warn"])?);
    }
    let chosen = PRODUCTS
        .iter()
        .filter(|product| names.is_empty() || names.iter().any(|name| name == *product));
    count.add(end_to_end(chosen.copied())?);
    for failure in &count.failures {
        println!("failed: {failure}");
    }
    println!("took {} s", began.elapsed().as_secs());
    println!(
        "{} passed, {} failed, {} skipped, {} left out",
        count.passed, count.failed, count.skipped, count.left_out
    );
    if count.failed == 0 {
        Ok(())
    } else {
        Err(TaskError::Failed(format!("{} tests failed", count.failed)))
    }
}

/// Where the range of fresh seeds begins: a number that depends on the time, beyond the seeds that are known.
fn fresh_range() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    10_000_000 + now.as_secs() % 1_000_000_000
}

/// One test: the seeds keep all promises.
fn simulate(arguments: &[&str]) -> Result<Count, TaskError> {
    let mut build = workspace("build");
    build.args(["--quiet", "--bin", "upshift-sim"]);
    crate::run::pass_through(build)?;
    let mut command = crate::run::built("upshift-sim");
    command.args(arguments);
    let count = run_and_count(command)?;
    Ok(if count.failed == 0 {
        Count {
            passed: count.passed + 1,
            ..count
        }
    } else {
        count
    })
}

/// Cargo for the whole workspace, with the programs that can be told to fail. Every call of a test run has the same packages and
/// features: cargo builds a library anew for each set of features that its users ask for together.
fn workspace(task: &str) -> Command {
    cargo(&[
        task,
        "--workspace",
        "--features",
        "upshift/failpoints,upshift-node/failpoints",
    ])
}

/// The programs are built first, as a user would have them; the tests run them as processes.
fn end_to_end<'a>(products: impl Iterator<Item = &'a str>) -> Result<Count, TaskError> {
    let mut build = workspace("build");
    build.arg("--bins");
    crate::run::pass_through(build)?;
    let mut count = Count::default();
    for product in products {
        let mut command = workspace("test");
        command.args(["--test", product, "--", "--nocapture", "--test-threads=1"]);
        count.add(run_and_count(command)?);
    }
    Ok(count)
}
