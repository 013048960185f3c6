//! A real HAProxy in front of the lab server: clients that notice nothing, and servers that are left as they were found.

#[path = "haproxy/calls.rs"]
mod calls;
#[path = "haproxy/found.rs"]
mod found;
#[path = "haproxy/stage.rs"]
mod stage;
#[path = "haproxy/traffic.rs"]
mod traffic;

use std::process::ExitCode;

use upshift_e2e::harness::{self};

fn main() -> ExitCode {
    let trials = harness::trials(&[traffic::TRIALS, found::TRIALS, calls::TRIALS]);
    harness::main(&trials)
}
