//! `upshift demo`: a cluster on this machine, upgraded under load; then a bad release, rolled back.
//!
//! The story is told by a process of its own. This one waits for it, and clears everything away when it is over, however
//! that came about: it is the reaper of all processes that the story leaves behind.

mod clear;
mod result;
mod stage;
pub mod stand_in;
mod story;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{DemoArgs, Global, Output};
use crate::cluster;
use crate::exit::{Exit, Failure, Problem};
use crate::output::Printer;

/// Does what was typed.
pub fn run(arguments: &DemoArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    if let Some(directory) = &arguments.inside {
        return story::tell(arguments, global, directory, printer);
    }
    if let Some(file) = &arguments.report {
        // Said before anything is started, not at the end.
        std::fs::File::create(file).map_err(|error| unwritable(file, &error))?;
    }
    let directory = tempfile::Builder::new()
        .prefix("upshift-demo-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let path = directory
        .path()
        .canonicalize()
        .context("cannot find the temporary directory")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become the reaper of what the demo starts")?;
    let ended = cluster::wait(supervise(arguments, path.clone(), printer));
    clear::everything(&path);
    directory
        .close()
        .with_context(|| format!("cannot remove {}", path.display()))?;
    ended
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(
        Problem::new("cannot write the report of the demo")
            .at(file.display())
            .because(error)
            .next("name another file with --report"),
    )
}

/// Waits for the story's end, or for somebody who wants it to end.
async fn supervise(arguments: &DemoArgs, directory: PathBuf, printer: Printer) -> Result<Exit, Failure> {
    let mut signals = Signals::hear()?;
    let mut child = tokio::process::Command::from(command(arguments, &directory, printer)?)
        .spawn()
        .context("cannot start the demo")?;
    let status = tokio::select! {
        status = child.wait() => Some(status?),
        () = signals.any() => None,
    };
    let Some(status) = status else {
        // Killed, not asked: from now on it starts nothing more, and what it has started is ended by `clear`.
        child.kill().await.context("cannot end the demo")?;
        return Err(Failure::Unexpected(anyhow::anyhow!(
            "interrupted: the demo was ended, and nothing of it keeps running"
        )));
    };
    match status.code() {
        Some(0) => Ok(Exit::Done),
        Some(2) => Ok(Exit::Usage),
        Some(_) => Ok(Exit::Unexpected),
        None => Err(Failure::Refused(
            Problem::new("the demo was killed").because(status),
        )),
    }
}

/// The program that tells the story, in a process group of its own: the terminal's Ctrl-C reaches only us.
fn command(
    arguments: &DemoArgs,
    directory: &Path,
    printer: Printer,
) -> Result<std::process::Command, Failure> {
    use std::os::unix::process::CommandExt;

    let mut command =
        std::process::Command::new(std::env::current_exe().context("cannot find this program")?);
    command
        .arg("demo")
        .arg("--inside")
        .arg(directory)
        .stdin(Stdio::null())
        .process_group(0);
    if arguments.lab {
        command.arg("--lab");
    }
    if let Some(cache) = &arguments.cache {
        command.arg("--cache").arg(cache);
    }
    if let Some(report) = &arguments.report {
        command.arg("--report").arg(report);
    }
    if printer.json() {
        command.args(["--output", "json"]);
    }
    Ok(command)
}

/// The signals that end the demo.
struct Signals(Vec<Signal>);

impl Signals {
    fn hear() -> Result<Self, Failure> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let signals = kinds
            .into_iter()
            .map(signal)
            .collect::<Result<_, _>>()
            .context("cannot hear signals")?;
        Ok(Signals(signals))
    }

    async fn any(&mut self) {
        let waits = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(waits).await;
    }
}
