//! `cargo xtask bench NAME`.

use crate::run::{TaskError, cargo, pass_through};

/// The benchmarks: programs of the package `upshift-bench`.
const NAMES: [&str; 4] = ["ssh-steps", "rolling", "distribute", "plan"];

/// Builds and runs one benchmark.
pub fn main(arguments: &[String]) -> Result<(), TaskError> {
    let known = NAMES.join(", ");
    let Some((name, rest)) = arguments.split_first() else {
        return Err(TaskError::Usage(format!("which benchmark? There are: {known}")));
    };
    if !NAMES.contains(&name.as_str()) {
        return Err(TaskError::Usage(format!(
            "there is no benchmark `{name}`; there are: {known}"
        )));
    }
    pass_through(cargo(&[
        "build",
        "--release",
        "--package",
        "upshift",
        "--package",
        "upshift-node",
        "--bins",
    ]))?;
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "upshift-bench",
        "--bin",
        name,
        "--",
    ]);
    command.args(rest);
    pass_through(command)
}
