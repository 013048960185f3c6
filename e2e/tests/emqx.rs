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

use upshift_e2e::harness::{self, Trial};

fn main() -> ExitCode {
    // Those that take longest first: two run at a time.
    let trials: Vec<Trial> = [
        rolling::TRIALS,
        hot::TRIALS,
        packages::TRIALS,
        release::TRIALS,
        double::TRIALS,
        rows::TRIALS,
        walk::TRIALS,
    ]
    .into_iter()
    .flatten()
    .map(|(name, run)| Trial { name, run: *run })
    .collect();
    harness::side_by_side(&trials, 2)
}
