//! Rolling three etcd members: against the sum of what the members themselves need to stop, start and catch up.
//!
//! The members' own times are measured first, without Upshift, on the same cluster: ask the process to end, wait until it has
//! ended, start it, wait until every member says that it is healthy. Then the real program upgrades the cluster under load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use upshift_bench::machine;
use upshift_bench::timing::{median, rounded};
use upshift_lab::cluster::{Cluster, Place, Product};
use upshift_lab::fetch::{self, Cache};
use upshift_lab::load::Load;
use upshift_lab::processes;

const FROM: &str = "3.4.23";
const TO: &str = "3.5.16";
const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let rounds = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<Round>>>()?;
    let middle = |pick: fn(&Round) -> f64| rounded(median(rounds.iter().map(pick).collect()), 3);
    let line = json!({
        "bench": "rolling",
        "product": "etcd",
        "members": 3,
        "from": FROM,
        "to": TO,
        "own_seconds_sum": middle(|round| round.own),
        "windows_seconds": middle(|round| round.windows),
        "whole_command_seconds": middle(|round| round.whole),
        "windows_against_own": middle(|round| round.windows / round.own),
        "disturbed_against_own_worst_node": middle(|round| round.worst_disturbed),
        "acknowledged": rounds.iter().map(|round| round.acknowledged).sum::<u64>(),
        "lost": rounds.iter().map(|round| round.lost).sum::<u64>(),
        "rounds": ROUNDS,
        "machine": machine::describe(),
    });
    println!("{line}");
    Ok(())
}

struct Round {
    own: f64,
    windows: f64,
    whole: f64,
    worst_disturbed: f64,
    acknowledged: u64,
    lost: u64,
}

fn round() -> Result<Round> {
    let cache = Cache::open()?;
    let say = |text: &str| eprintln!("{text}");
    let (old, new) = (fetch::etcd(&cache, FROM, &say)?, fetch::etcd(&cache, TO, &say)?);
    let directory = tempfile::tempdir()?;
    let packages = directory.path().join("packages");
    fs::create_dir_all(&packages)?;
    let name = new.path.file_name().context("a package has a name")?;
    fs::copy(&new.path, packages.join(name))?;
    let mut cluster = Cluster::start(Product::Etcd, &directory.path().join("cluster"), Place::local(3), &old)?;
    let own = (0..3).map(|position| restart(&mut cluster, position)).collect::<Result<Vec<f64>>>()?;
    let load = Load::start(&cluster.client(), "load", 100);
    let began = Instant::now();
    let report = upgrade(&cluster, &packages, directory.path())?;
    let whole = began.elapsed().as_secs_f64();
    let load = load.finish()?;
    Ok(Round {
        own: own.iter().sum(),
        windows: windows(&report)?,
        whole,
        worst_disturbed: worst(&report)?,
        acknowledged: load.acknowledged,
        lost: load.lost,
    })
}

/// What a member needs by itself.
fn restart(cluster: &mut Cluster, position: usize) -> Result<f64> {
    let began = Instant::now();
    cluster.stop_member(position);
    cluster.start_member(position)?;
    cluster.wait_healthy(LIMIT)?;
    Ok(began.elapsed().as_secs_f64())
}

fn upgrade(cluster: &Cluster, packages: &Path, directory: &Path) -> Result<Value> {
    let mut command = Command::new(program()?);
    command
        .args(["upgrade", "--yes", "--accept-no-return", "--to", TO, "--output", "json"])
        .args(["--soak", "0s", "--soak-between", "0s"])
        .env("UPSHIFT_FLEET", cluster.fleet_file())
        .env("UPSHIFT_PACKAGES", packages)
        .env("UPSHIFT_STATE_DIR", directory.join("operator"));
    let output = processes::run(&mut command, Duration::from_secs(120))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "the upgrade ended with {}:\n{text}\n{said}", output.status);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).context("the upgrade printed nothing")?;
    Ok(serde_json::from_str(last)?)
}

/// The program that was built beside this one.
fn program() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("upshift");
    if !program.exists() {
        bail!("{} is not built; `cargo xtask bench rolling` builds it first", program.display());
    }
    Ok(program)
}

/// From the first guard armed to the last member proven to have caught up.
fn windows(report: &Value) -> Result<f64> {
    let steps = report["steps"].as_array().context("a report has steps")?;
    let of_windows = || steps.iter().filter(|step| step["kind"] == "arm" || slot(step).is_some_and(in_window));
    let began = of_windows().filter_map(|step| step["began"].as_str()).filter_map(seconds).reduce(f64::min);
    let ended = of_windows().filter_map(|step| step["ended"].as_str()).filter_map(seconds).reduce(f64::max);
    Ok(ended.context("no window ended")? - began.context("no window began")?)
}

fn slot(step: &Value) -> Option<&str> {
    step["kind"]["do"].as_str()
}

fn in_window(slot: &str) -> bool {
    matches!(slot, "drain" | "hand_over" | "stop" | "save" | "switch" | "start" | "rejoin" | "recover" | "undrain")
}

fn seconds(text: &str) -> Option<f64> {
    let duration: upshift_model::Millis = text.parse().ok()?;
    Some(duration.0 as f64 / 1000.0)
}

/// The disturbed time of a node over its own stop and start, the worst of the three.
fn worst(report: &Value) -> Result<f64> {
    let hosts = report["hosts"].as_array().context("a report has hosts")?;
    let ratio = |host: &Value| Some(host["disturbed_ms"].as_f64()? / host["own_ms"].as_f64()?);
    hosts.iter().filter_map(ratio).reduce(f64::max).context("no host was disturbed")
}
