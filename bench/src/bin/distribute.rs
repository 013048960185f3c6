//! A release of 200 MB to three ssh hosts: the first time, the second time, and `scp` to one of them in the same run.
//!
//! The release is random bytes, so that nothing gains from compression. A host counts as served when its agent has verified
//! the digest of what it stored durably; `scp` verifies and syncs nothing.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use sha2::{Digest, Sha256};
use upshift_bench::timing::{median, rounded, time};
use upshift_bench::{machine, steps};
use upshift_lab::fetch::Cache;
use upshift_lab::testbed::Testbed;
use upshift_model::action::{Action, Artifact};


const MEGABYTES: usize = 200;
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let cache = Cache::open()?;
    let bed = Testbed::new(&cache, 3, &|text| eprintln!("{text}"))?;
    let directory = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut first, mut second, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let home = directory.path().join(format!("round-{round}"));
        fs::create_dir_all(&home)?;
        let (artifact, file) = release(&home)?;
        let fleet = steps::fleet(&bed, &home);
        let send = |name: &str| -> Result<f64> {
            let state = home.join(name);
            fs::create_dir_all(&state)?;
            let plan = steps::plan(&fleet, &Action::Distribute(artifact.clone()), 1);
            let began = Instant::now();
            runtime.block_on(steps::carry(&fleet, plan, &state, Some((&artifact, &file))))?;
            Ok(began.elapsed().as_secs_f64())
        };
        // The agent is sent before anything is timed.
        runtime.block_on(steps::carry(&fleet, steps::plan(&fleet, &steps::nothing(), 1), &home, None))?;
        copies.push(copy(&bed, &file, &home)?);
        first.push(send("first")?);
        second.push(send("second")?);
        fs::remove_dir_all(&home)?;
    }
    let (first, second, scp) = (median(first), median(second), median(copies));
    let line = json!({
        "bench": "distribute",
        "hosts": 3,
        "megabytes": MEGABYTES,
        "first_seconds": rounded(first, 3),
        "first_megabytes_per_second_all_hosts": rounded(3.0 * MEGABYTES as f64 / first, 0),
        "second_seconds": rounded(second, 3),
        "scp_to_one_seconds": rounded(scp, 3),
        "scp_megabytes_per_second": rounded(MEGABYTES as f64 / scp, 0),
        "speed_against_scp": rounded(3.0 * scp / first, 2),
        "rounds": ROUNDS,
        "machine": machine::describe(),
    });
    println!("{line}");
    Ok(())
}

/// Random bytes, and what identifies them.
fn release(home: &Path) -> Result<(Artifact, PathBuf)> {
    let file = home.join("release.bin");
    let mut random = fs::File::open("/dev/urandom")?.take((MEGABYTES << 20) as u64);
    let (mut out, mut digest) = (fs::File::create(&file)?, Sha256::new());
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = random.read(&mut piece)?;
        if count == 0 {
            break;
        }
        digest.update(&piece[..count]);
        out.write_all(&piece[..count])?;
    }
    out.sync_all()?;
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let artifact = Artifact {
        file_name: "release.bin".to_owned(),
        version: "1.0.0".to_owned(),
        variant: std::collections::BTreeMap::new(),
        sha256,
        size: (MEGABYTES << 20) as u64,
    };
    Ok((artifact, file))
}

fn copy(bed: &Testbed, file: &Path, home: &Path) -> Result<f64> {
    let target = format!("{}:{}", bed.hosts()[0].name, home.join("copied").display());
    time(Command::new("scp").args(["-q", "-F"]).arg(bed.ssh_config()).arg(file).arg(target))
}
