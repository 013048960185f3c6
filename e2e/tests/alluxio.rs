//! Real Alluxio, fetched through Maven.

#[path = "alluxio/rebuild.rs"]
mod rebuild;
#[path = "alluxio/snapshots.rs"]
mod snapshots;
#[path = "alluxio/switch.rs"]
mod switch;

use std::process::ExitCode;
use std::time::Duration;

use upshift_e2e::alluxio::Alluxio;
use upshift_e2e::harness::{self};
use upshift_e2e::program::Ran;

/// Dozens of commands, each a Java virtual machine of its own, on a machine that may be busy.
pub const LIMIT: Duration = Duration::from_secs(540);

/// An upgrade that asks nothing.
pub const GO: [&str; 7] = [
    "upgrade",
    "--yes",
    "--accept-no-return",
    "--soak",
    "1s",
    "--to",
    "2.9.3",
];

/// Runs a command of Upshift to its end, within the limit.
#[track_caller]
pub fn run(cluster: &Alluxio, arguments: &[&str]) -> Ran {
    cluster.upshift.start(arguments).finish(LIMIT)
}

fn main() -> ExitCode {
    let trials = harness::trials(&[rebuild::TRIALS, snapshots::TRIALS, switch::TRIALS]);
    harness::main(&trials)
}
