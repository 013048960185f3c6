//! The commands, one module each.

mod generate;
mod profile;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::Printer;

/// Does what was typed.
pub fn run(cli: &Cli, printer: Printer) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Profile(arguments) => profile::run(&arguments.command, printer),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { directory } => generate::man_pages(directory, printer),
        Command::Reference => generate::reference(printer),
        other => Err(Failure::Unexpected(anyhow::anyhow!(
            "{other:?}: this part has not landed yet"
        ))),
    }
}
