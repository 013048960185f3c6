//! Ten trivial steps on every host, from login to the last answer; and what a step costs on a connection that stands.
//!
//! `bench_ssh_steps [--steps 10] [--warm 200] [common options] HOST…`; ends with one JSON line:
//! `whole_seconds` from the first login to the last answer, `login_seconds` of it; `step_ms` the median of a step on a warm
//! connection with the command, `command_ms` the median of the command alone, run by this program; `overhead_ms` the difference.

mod common;

use std::process::{Command as Process, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use common::{Arguments, Orders, connect, rounded, seconds};
use futures::future::try_join_all;
use upshift_model::Millis;
use upshift_model::action::{Action, Command, OutputFormat};
use upshift_wire::binary::AgentBinary;
use upshift_wire::session::Session;

fn main() -> Result<()> {
    let began = Instant::now();
    let arguments = Arguments::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench(&arguments, began))
}

async fn bench(arguments: &Arguments, began: Instant) -> Result<()> {
    let steps = u32::try_from(arguments.number("steps", 10)?)?;
    let warm = u32::try_from(arguments.number("warm", 200)?)?;
    // The agent's program is put there once, ahead: as little part of the measured work as Python is of Ansible's.
    let first = arguments.sessions()?;
    connect(&first).await?;
    let pushed = seconds(began);
    drop(first);

    let began = Instant::now();
    let sessions = arguments.sessions()?;
    connect(&sessions).await?;
    let login = seconds(began);
    let orders = Orders::new();
    try_join_all(
        sessions
            .iter()
            .map(|session| steps_on(session, &orders, 1, steps)),
    )
    .await?;
    let whole = seconds(began);

    let step_ms = median(&mut warm_steps(&sessions[0], &orders, steps + 1, warm).await?);
    let command_ms = median(&mut plain_commands(warm)?);
    let line = serde_json::json!({
        "bench": "ssh-steps", "hosts": sessions.len(), "steps": steps,
        "whole_seconds": rounded(whole), "login_seconds": rounded(login), "first_seconds": rounded(pushed),
        "per_host_step_seconds": rounded(whole / f64::from(steps) / sessions.len() as f64),
        "step_ms": rounded(step_ms), "command_ms": rounded(command_ms), "overhead_ms": rounded(step_ms - command_ms),
        "agent_bytes": AgentBinary::find()?.identity()?.size,
    });
    println!("{line}");
    Ok(())
}

fn trivial() -> Action {
    Action::Command(Command {
        argv: vec!["true".to_owned()],
        env: Default::default(),
        directory: None,
        timeout: Millis::seconds(10),
        exit: Default::default(),
        output: OutputFormat::Text,
    })
}

async fn steps_on(session: &Session, orders: &Orders, from: u32, count: u32) -> Result<()> {
    for step in from..from + count {
        orders.give(session, step, trivial()).await?;
    }
    Ok(())
}

/// Milliseconds of each of many steps, one after the other.
async fn warm_steps(session: &Session, orders: &Orders, from: u32, count: u32) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for step in from..from + count {
        let began = Instant::now();
        orders.give(session, step, trivial()).await?;
        times.push(seconds(began) * 1000.0);
    }
    Ok(times)
}

/// Milliseconds of the same command, run here without anything around it.
fn plain_commands(count: u32) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        let mut command = Process::new("true");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.output().context("`true` cannot be run")?;
        times.push(seconds(began) * 1000.0);
    }
    Ok(times)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
