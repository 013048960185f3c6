//! A double of EMQX: real Erlang nodes and the real release handler, behind commands that answer as EMQX's do.

#[path = "emqx/double.rs"]
mod double;
#[path = "emqx/hot.rs"]
mod hot;
#[path = "emqx/packages.rs"]
mod packages;
#[path = "emqx/release.rs"]
mod release;
#[path = "emqx/rolling.rs"]
mod rolling;
#[path = "emqx/rows.rs"]
mod rows;
#[path = "emqx/walk.rs"]
mod walk;

use std::process::ExitCode;

use upshift_e2e::harness::{self};

fn main() -> ExitCode {
    // Those that take longest first: two run at a time.
    let trials = harness::trials(&[
        rolling::TRIALS,
        hot::TRIALS,
        packages::TRIALS,
        release::TRIALS,
        double::TRIALS,
        rows::TRIALS,
        walk::TRIALS,
    ]);
    harness::side_by_side(&trials, 2)
}
