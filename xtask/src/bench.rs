//! `cargo xtask bench NAME`.

use crate::run::{TaskError, cargo, pass_through};

/// The benchmarks: programs of the package `upshift-bench`, and an example of the planner.
const NAMES: [&str; 6] = [
    "ssh-steps",
    "rolling",
    "distribute",
    "emqx-probe",
    "snapshot",
    "plan",
];

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
    if name == "plan" {
        let mut command = cargo(&["run", "--quiet", "--release", "--package", "upshift-plan"]);
        command.args(["--example", "bench_plan", "--"]).args(rest);
        return pass_through(command);
    }
    let mut build = cargo(&["build", "--release", "--bins"]);
    build.args(["--package", "upshift", "--package", "upshift-node"]);
    build.args(["--package", "upshift-lab", "--package", "upshift-bench"]);
    pass_through(build)?;
    let mut command = cargo(&["run", "--quiet", "--release", "--package", "upshift-bench"]);
    command.args(["--bin", name, "--"]).args(rest);
    pass_through(command)
}
