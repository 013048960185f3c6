//! The agent: `upshift-node serve --state DIR`.

use std::process::ExitCode;

fn main() -> ExitCode {
    upshift_node::cli::main(std::env::args_os().skip(1))
}
