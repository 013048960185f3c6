//! A double of EMQX: real Erlang nodes and the real release handler, behind commands that answer as EMQX's do.

#[path = "emqx/double.rs"]
mod double;
#[path = "emqx/hot.rs"]
mod hot;

use std::process::ExitCode;

use upshift_e2e::harness::{self, Trial};

fn main() -> ExitCode {
    let trials: Vec<Trial> = [double::TRIALS, hot::TRIALS]
        .into_iter()
        .flatten()
        .map(|(name, run)| Trial { name, run: *run })
        .collect();
    harness::main(&trials)
}
