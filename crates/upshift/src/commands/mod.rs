//! The commands, one module each.

mod generate;
mod history;
mod init;
mod profile;
mod why;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::Printer;

/// Does what was typed.
pub fn run(cli: &Cli, printer: Printer) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Why(arguments) => why::run(arguments, global, printer),
        Command::History(arguments) => history::history(arguments, global, printer),
        Command::Show(arguments) => history::show(arguments, global, printer),
        Command::Report(arguments) => history::report(arguments, global, printer),
        Command::Init(arguments) => init::run(arguments, global, printer),
        Command::Profile(arguments) => profile::run(&arguments.command, printer),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { directory } => generate::man_pages(directory, printer),
        Command::Reference => generate::reference(printer),
        other => Err(Failure::Unexpected(anyhow::anyhow!(
            "{other:?}: this part has not landed yet"
        ))),
    }
}
