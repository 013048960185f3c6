//! Sends a file to every host at once, and again; for comparison by `scp` to the first one.
//!
//! `bench_distribute [--megabytes 200] [--scp no] [common options] HOST…`; ends with one JSON line: `seconds` for all hosts,
//! `rate` in bytes per second over all of them, `again_seconds` and `again_bytes` (sent) for the second time, `scp_seconds` and
//! `scp_rate` for one host, `ratio` of the rates.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use common::{Arguments, Orders, connect, rounded, seconds};
use futures::future::try_join_all;
use upshift_model::action::{Action, Artifact};
use upshift_wire::binary::identify;
use upshift_wire::put::put;
use upshift_wire::session::Session;

const MEGABYTE: u64 = 1_000_000;

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench(&arguments))
}

async fn bench(arguments: &Arguments) -> Result<()> {
    let size = arguments.number("megabytes", 200)? * MEGABYTE;
    let directory = std::env::temp_dir().join(format!("upshift-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let outcome = measure(arguments, &directory, size).await;
    std::fs::remove_dir_all(&directory)?;
    outcome
}

async fn measure(arguments: &Arguments, directory: &Path, size: u64) -> Result<()> {
    let path = directory.join("release.bin");
    write_noise(&path, size)?;
    let identity = identify(&path)?;
    let artifact = Artifact {
        file_name: "release.bin".to_owned(),
        version: "1".to_owned(),
        variant: Default::default(),
        sha256: identity.sha256,
        size: identity.size,
    };
    let sessions = arguments.sessions()?;
    connect(&sessions).await?;
    let (first, sent) = distribute(&sessions, &artifact, &path, 1).await?;
    ensure!(
        sent == size * sessions.len() as u64,
        "only {sent} bytes were sent"
    );
    let (again, sent_again) = distribute(&sessions, &artifact, &path, 2).await?;
    let rate = sent as f64 / first;
    let mut line = serde_json::json!({
        "bench": "distribute", "hosts": sessions.len(), "bytes": size, "seconds": rounded(first), "rate": rate.round(),
        "again_seconds": rounded(again), "again_bytes": sent_again,
    });
    let wanted = arguments.options.get("scp").is_none_or(|value| value != "no");
    if let Some(scp) = wanted.then(|| scp(arguments, &path)).transpose()?.flatten() {
        let scp_rate = size as f64 / scp;
        line["scp_seconds"] = rounded(scp).into();
        line["scp_rate"] = scp_rate.round().into();
        line["ratio"] = rounded(rate / scp_rate).into();
    }
    println!("{line}");
    Ok(())
}

/// Has the file on all hosts, its digest proven by each; yields seconds and bytes sent.
async fn distribute(sessions: &[Session], artifact: &Artifact, path: &Path, step: u32) -> Result<(f64, u64)> {
    let orders = Orders::new();
    let began = Instant::now();
    let sent = try_join_all(sessions.iter().map(|session| async {
        let sent = put(session, artifact, path, &|_| ()).await?;
        orders
            .give(session, step, Action::Distribute(artifact.clone()))
            .await?;
        anyhow::Ok(sent.bytes)
    }))
    .await?;
    Ok((seconds(began), sent.iter().sum()))
}

/// A file that nothing can compress, different every time.
fn write_noise(path: &Path, size: u64) -> Result<()> {
    let mut state =
        u64::from(std::process::id()) << 32 | u64::from(std::time::UNIX_EPOCH.elapsed()?.subsec_nanos()) | 1;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for _ in 0..size / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

/// Seconds that `scp` takes to the first host; none where that is this machine.
fn scp(arguments: &Arguments, path: &Path) -> Result<Option<f64>> {
    let Some((words, host)) = arguments.first_by_ssh(true) else {
        return Ok(None);
    };
    let target = format!("/var/tmp/upshift-bench-scp-{}", std::process::id());
    let began = Instant::now();
    let status = Command::new("scp")
        .arg("-q")
        .args(&words)
        .arg(path)
        .arg(format!("{host}:{target}"))
        .status()
        .context("scp cannot be run")?;
    let taken = seconds(began);
    ensure!(status.success(), "scp failed");
    let (words, host) = arguments.first_by_ssh(false).context("the host is gone")?;
    let removed = Command::new("ssh")
        .args(&words)
        .arg(&host)
        .args(["rm", "-f", &target])
        .stdin(Stdio::null())
        .status()?;
    ensure!(removed.success(), "{host}:{target} is left");
    Ok(Some(taken))
}
