//! The simulator: see `docs/simulation.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    upshift_sim::cli::main(&arguments)
}
