//! Three members of real etcd upgraded one after the other: the time of all windows against the members' own stop, start and
//! recovery, and each member's disturbed time against its own stop and start.

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use upshift_bench::rounded;
use upshift_e2e::fixture::Fixture;
use upshift_lab::cluster::Member;
use upshift_lab::load::Load;
use upshift_lab::processes;

fn main() -> Result<(), Box<dyn Error>> {
    let mut fixture = Fixture::etcd("3.4.23", &["3.5.16"])?;
    let alone = by_hand(&mut fixture)?;
    let load = Load::start(&fixture.cluster.client(), "load", 100);
    let began = Instant::now();
    let arguments = [
        "upgrade",
        "--yes",
        "--accept-no-return",
        "--to",
        "3.5.16",
        "--soak",
        "1s",
        "--soak-between",
        "0s",
    ];
    fixture.upshift.run(&arguments).expect(0);
    let whole = began.elapsed();
    let load = load.finish()?;
    let status = fixture.upshift.run(&["status", "--output", "json"]).last_json();
    let run = status["run"]["run"]
        .as_str()
        .or(status["run"].as_str())
        .unwrap_or_default()
        .to_owned();
    println!(
        "{}",
        fixture
            .upshift
            .run(&["report", &run, "--output", "markdown"])
            .expect(0)
            .stdout
    );
    let report: Value = serde_json::from_str(
        &fixture
            .upshift
            .run(&["report", &run, "--output", "json"])
            .expect(0)
            .stdout,
    )?;

    let hosts = report["hosts"].as_array().cloned().unwrap_or_default();
    let sum = |key: &str| hosts.iter().filter_map(|host| host[key].as_f64()).sum::<f64>();
    let (disturbed, own) = (sum("disturbed_ms"), sum("own_ms"));
    let worst = hosts
        .iter()
        .filter_map(|host| Some(host["disturbed_ms"].as_f64()? / host["own_ms"].as_f64()?))
        .fold(0.0, f64::max);
    let windows = windows_ms(&report);
    println!(
        "{}",
        json!({
            "bench": "rolling",
            "whole_s": rounded(whole.as_secs_f64()),
            "windows_ms": windows,
            "own_stop_start_recovery_ms": own_ms(&report, OWN),
            "windows_ratio": rounded(windows / own_ms(&report, OWN)),
            "windows_ratio_hand_over_not_own": rounded(windows / own_ms(&report, &OWN[1..])),
            "by_hand_ms": rounded(alone.as_secs_f64() * 1000.0),
            "by_hand_ratio": rounded(windows / (alone.as_secs_f64() * 1000.0)),
            "disturbed_ms": disturbed,
            "own_stop_start_ms": own,
            "disturbed_ratio_worst": rounded(worst),
            "acknowledged": load.acknowledged,
            "lost": load.lost,
            "failed_requests": load.failed_requests,
            "longest_gap_ms": load.longest_gap_ms,
        })
    );
    Ok(())
}

/// The members stopped, started and recovered by hand, one after the other; whether all have recovered is asked as the vendor's
/// page has it, with `etcdctl endpoint health` on every member.
fn by_hand(fixture: &mut Fixture) -> Result<Duration, Box<dyn Error>> {
    let members = fixture.cluster.members();
    let endpoints: Vec<String> = members.iter().map(Member::endpoint).collect();
    let etcdctl = members[0].current().join("etcdctl");
    let healthy = || {
        Command::new(&etcdctl)
            .args(["endpoint", "health", "--endpoints", &endpoints.join(",")])
            .env("ETCDCTL_API", "3")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let began = Instant::now();
    for position in 0..endpoints.len() {
        fixture.cluster.stop_member(position);
        fixture.cluster.start_member(position)?;
        if !processes::poll(Duration::from_secs(30), healthy) {
            return Err("a member that was stopped and started does not recover".into());
        }
    }
    let took = began.elapsed();
    // The last restart leaves an election behind.
    processes::poll(Duration::from_secs(10), || {
        fixture.cluster.client().put("after", "hand").is_ok()
    });
    Ok(took)
}

/// When the steps of some slots began and ended, in milliseconds since the run began.
fn times(report: &Value, slots: &[&str]) -> Vec<(f64, f64)> {
    let steps = report["steps"].as_array().into_iter().flatten();
    steps
        .filter(|step| slots.iter().any(|slot| step["kind"]["do"] == *slot) && step["stage"] != "skipped")
        .filter_map(|step| Some((milliseconds(&step["began"])?, milliseconds(&step["ended"])?)))
        .collect()
}

/// From the first order of a window to the end of the last one's recovery.
fn windows_ms(report: &Value) -> f64 {
    let all = times(report, &["hand_over", "stop", "recover", "rejoin"]);
    let begin = all.iter().map(|(began, _)| *began).fold(f64::INFINITY, f64::min);
    all.iter().map(|(_, ended)| *ended).fold(0.0, f64::max) - begin
}

/// Slots of a member's own stop, start and recovery. A leader that is stopped hands over by itself, so that counts as its own where it
/// was done before.
const OWN: &[&str] = &["hand_over", "stop", "switch", "start", "recover", "rejoin"];

/// What every member's own steps took, added up; nothing that Upshift does between them.
fn own_ms(report: &Value, slots: &[&str]) -> f64 {
    let own = times(report, slots);
    own.iter().map(|(began, ended)| ended - began).sum()
}

/// A time as reports write it: a number of milliseconds, or words such as `1500ms`, `2s`, `3m`.
fn milliseconds(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_f64() {
        return Some(number);
    }
    let text = value.as_str()?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "ms" => 1.0,
        "s" | "" => 1e3,
        "m" => 60e3,
        _ => return None,
    };
    Some(text[..digits].parse::<f64>().ok()? * factor)
}
