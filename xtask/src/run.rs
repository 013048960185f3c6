//! Running cargo.

use std::process::Command;

/// Why a task did not succeed.
#[derive(Debug)]
pub enum TaskError {
    /// The words of the call are off.
    Usage(String),
    /// Something that was run failed.
    Failed(String),
}

/// The cargo that runs this task.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// A program of this workspace that was built for tests before.
pub fn built(name: &str) -> Command {
    // This program lies beside it.
    let beside = std::env::current_exe()
        .ok()
        .map(|program| program.with_file_name(name));
    Command::new(beside.unwrap_or_else(|| name.into()))
}

/// Runs a command with this terminal.
pub fn pass_through(mut command: Command) -> Result<(), TaskError> {
    let shown = show(&command);
    println!("$ {shown}");
    let status = command
        .status()
        .map_err(|error| TaskError::Failed(format!("`{shown}` did not start: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(TaskError::Failed(format!("`{shown}` ended with {status}")))
    }
}

/// A command as one would type it.
pub fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name();
    let mut words: Vec<String> = program
        .map(|name| name.to_string_lossy().into_owned())
        .into_iter()
        .collect();
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// The simulator.
pub fn sim(arguments: &[String]) -> Result<(), TaskError> {
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--package",
        "upshift-sim",
        "--bin",
        "upshift-sim",
        "--",
    ]);
    command.args(arguments);
    pass_through(command)
}

/// The share of planted faults that the tests of the two deciding crates catch.
pub fn mutants(arguments: &[String]) -> Result<(), TaskError> {
    let mut command = cargo(&["mutants", "--package", "upshift-run", "--package", "upshift-plan"]);
    command.args(["--test-package", "upshift-run,upshift-plan,upshift-sim"]);
    command.args(arguments);
    pass_through(command)
}
