//! The lab server, whose releases can be told to misbehave: what needs many faults, or faults that real servers do not have.

#[path = "lab/basics.rs"]
mod basics;
#[path = "lab/crashes.rs"]
mod crashes;
#[path = "lab/input.rs"]
mod input;
#[path = "lab/machines.rs"]
mod machines;
#[path = "lab/misbehaviour.rs"]
mod misbehaviour;
#[path = "lab/operator.rs"]
mod operator;
#[path = "lab/random.rs"]
mod random;
#[path = "lab/releases.rs"]
mod releases;
#[path = "lab/switch.rs"]
mod switch;

use std::process::ExitCode;

use upshift_e2e::harness::{self};

fn main() -> ExitCode {
    let trials = harness::trials(&[
        basics::TRIALS,
        misbehaviour::TRIALS,
        crashes::TRIALS,
        machines::TRIALS,
        input::TRIALS,
        operator::TRIALS,
        random::TRIALS,
        releases::TRIALS,
        switch::TRIALS,
    ]);
    harness::main(&trials)
}
