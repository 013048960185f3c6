//! Real etcd, fetched through the package clients.

#[path = "etcd/faults.rs"]
mod faults;
#[path = "etcd/guide.rs"]
mod guide;
#[path = "etcd/hosts.rs"]
mod hosts;
#[path = "etcd/local.rs"]
mod local;
#[path = "etcd/snapshots.rs"]
mod snapshots;
#[path = "etcd/tls.rs"]
mod tls;

use std::process::ExitCode;

use upshift_e2e::harness::{self};

fn main() -> ExitCode {
    let trials = harness::trials(&[
        local::TRIALS,
        tls::TRIALS,
        faults::TRIALS,
        hosts::TRIALS,
        snapshots::TRIALS,
        guide::TRIALS,
    ]);
    harness::main(&trials)
}
