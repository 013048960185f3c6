//! The command line: parse, call, print. No decisions.

mod acceptances;
mod args;
mod ask;
mod cluster;
mod commands;
mod demo;
mod drive;
mod exit;
mod files;
mod fleets;
mod foreign;
mod hosts;
mod inside;
mod lease;
mod metrics;
mod moment;
mod output;
mod packages;
mod profiles;
mod report;
mod restic;
mod runs;
mod scrub;
mod seal;
mod setting;
mod sight;
mod suggest;
mod table;

use std::process::ExitCode;

use crate::args::Cli;
use crate::exit::Exit;
use crate::output::Printer;

fn main() -> ExitCode {
    if let Some(exit) = demo::stand_in::play() {
        return exit;
    }
    // The agent has a command line of its own; it starts itself again and again, and must not pay for ours.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == "node") {
        return upshift_node::cli::main(arguments);
    }
    let cli = match Cli::read() {
        Ok(cli) => cli,
        // Help and version are results, everything else is wrong usage; clap knows which stream each goes to.
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            // Nobody can be told where standard error is closed.
            let _ = error.print();
            return ExitCode::from(exit as u8);
        }
    };
    let printer = Printer::new(cli.global.output);
    let exit = match commands::run(&cli, printer) {
        Ok(exit) => exit,
        Err(failure) => {
            if printer.json() {
                // Where standard output is closed, the exit status still tells.
                let _ = printer.line(&failure.json().to_string());
            } else {
                printer.note(&failure.text(cli.global.verbose));
            }
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}
