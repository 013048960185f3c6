//! How long planning takes and how much memory it needs, for fleets of 100 to 10,000 servers. Prints one line of JSON.
//!
//! `cargo run --release -p upshift-plan --example bench_plan`. Each size is planned in a process of its own (this one, run again),
//! so that its peak of resident memory is its own. `ratio` is the processor time per server for 10,000 servers over that for 1,000: 1 is linear,
//! 1.33 would be n log n.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures from outside; the planner itself stays pure"
)]

use std::error::Error;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use upshift_plan::{plan, testing};

const SIZES: [usize; 5] = [100, 300, 1000, 3000, 10_000];
/// The best of so many runs counts: the others were disturbed.
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(size) = std::env::args().nth(1) {
        println!("{}", measure(size.parse()?)?);
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let mut sizes = Vec::new();
    for size in SIZES {
        let output = Command::new(&program).arg(size.to_string()).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        sizes.push(serde_json::from_slice::<Value>(&output.stdout)?);
    }
    let per_server = |servers: usize| {
        let of_size = sizes.iter().find(|size| size["servers"] == servers);
        of_size
            .and_then(|size| size["cpu_seconds"].as_f64())
            .map(|seconds| seconds / servers as f64)
    };
    let ratio = per_server(10_000)
        .zip(per_server(1000))
        .map(|(large, small)| large / small);
    let largest = sizes.last().cloned().unwrap_or_default();
    println!(
        "{}",
        json!({
            "bench": "plan",
            "servers": largest["servers"],
            "seconds": largest["seconds"],
            "cpu_seconds": largest["cpu_seconds"],
            "peak_mb": largest["peak_mb"],
            "ratio": ratio,
            "sizes": sizes,
        })
    );
    Ok(())
}

/// Plans a rolling hop over so many servers.
fn measure(servers: usize) -> Result<Value, Box<dyn Error>> {
    let (profile, fleet) = (testing::profile(), testing::fleet(servers));
    let (facts, request) = (testing::facts(servers, "1.0.0"), testing::request("1.1.0", &[]));
    let before = peak()?;
    let (mut best, mut best_cpu) = (f64::INFINITY, f64::INFINITY);
    let (mut steps, mut peak_after_one) = (0, 0.0);
    for run in 0..RUNS {
        let (began, began_cpu) = (Instant::now(), cpu_seconds()?);
        let plan =
            plan(&profile, "bench", &fleet, &facts, &request).map_err(|refusals| format!("{refusals:?}"))?;
        best = best.min(began.elapsed().as_secs_f64());
        best_cpu = best_cpu.min(cpu_seconds()? - began_cpu);
        if run == 0 {
            peak_after_one = peak()?;
            steps = plan
                .hops
                .iter()
                .flat_map(|hop| &hop.windows)
                .flat_map(|window| window.gate.iter().chain(&window.forward).chain(&window.rollback))
                .map(|group| group.steps.len())
                .sum();
        }
    }
    Ok(json!({
        "servers": servers,
        "seconds": best,
        "cpu_seconds": best_cpu,
        "peak_mb": peak_after_one,
        "facts_mb": before,
        "steps_in_windows": steps,
    }))
}

/// Processor time that this thread has had: on a machine that does other things, too, it says more than the clock.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// The most memory that this process has had, in megabytes.
fn peak() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok((kilobytes / 100.0).round() / 10.0)
}
