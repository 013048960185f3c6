//! How long planning takes for fleets of 100 to 10,000 servers: the planner's own measuring program.

use std::process::Command;

use anyhow::{Result, ensure};

fn main() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "upshift-plan", "--example", "bench_plan"])
        .status()?;
    ensure!(status.success(), "the measuring program ended with {status}");
    Ok(())
}
