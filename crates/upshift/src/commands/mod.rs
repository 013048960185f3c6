//! The commands, one module each.

mod accept;
mod bundle;
mod check;
mod clients;
mod from_hosts;
mod generate;
pub mod history;
mod init;
pub mod operate;
mod profile;
mod release;
mod snapshots;
mod status;
pub mod upgrade;
pub mod why;

use crate::args::{Cli, Command};
use crate::demo;
use crate::exit::{Exit, Failure};
use crate::output::Printer;

/// Does what was typed.
pub fn run(cli: &Cli, printer: Printer) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Demo(arguments) => demo::run(arguments, global, printer),
        Command::Adopt(arguments) => upgrade::adopt(arguments, global, printer),
        Command::Accept(arguments) => accept::run(arguments, global, printer),
        Command::Check(arguments) => check::run(arguments, global, printer),
        Command::Status(arguments) => status::run(arguments, global, printer),
        Command::Plan(arguments) => upgrade::plan(arguments, global, printer),
        Command::Prepare(arguments) => upgrade::prepare(arguments, global, printer),
        Command::Upgrade(arguments) => upgrade::upgrade(arguments, global, printer),
        Command::Pause(arguments) => operate::pause(arguments, global, printer),
        Command::Resume(arguments) => operate::resume(arguments, global, printer),
        Command::Abort(arguments) => operate::abort(arguments, global, printer),
        Command::Rollback(arguments) => operate::rollback(arguments, global, printer),
        Command::End(arguments) => operate::end(arguments, global, printer),
        Command::Finalize(arguments) => operate::finalize(arguments, global, printer),
        Command::Why(arguments) => why::run(arguments, global, printer),
        Command::History(arguments) => history::history(arguments, global, printer),
        Command::Show(arguments) => history::show(arguments, global, printer),
        Command::Report(arguments) => history::report(arguments, global, printer),
        Command::Init(arguments) => init::run(arguments, global, printer),
        Command::Backup(arguments) => snapshots::backup(arguments, global, printer),
        Command::Restore(arguments) => snapshots::restore(arguments, global, printer),
        Command::Snapshots(arguments) => snapshots::run(arguments, global, printer),
        Command::Release(arguments) => release::run(arguments, global, printer),
        Command::Profile(arguments) => profile::run(&arguments.command, printer),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { directory } => generate::man_pages(directory, printer),
        Command::Reference => generate::reference(printer),
    }
}
