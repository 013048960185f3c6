//! A backup of a real journal in the repository: taken by the running version, proven by reading all of it.

use std::fs;

use serde_json::Value;
use upshift_e2e::alluxio::{Alluxio, Made, Misbehaves};
use upshift_e2e::harness::{Case, NoVerdict, Outcome, only_when_exhaustive};
use upshift_lab::fetch::{self, Cache};

use super::LIMIT;

pub const TRIALS: &[Case] = &[("a_backup_of_the_journal_is_taken_and_proven", backup)];

fn backup() -> Outcome {
    only_when_exhaustive("two minutes")?;
    let cache = Cache::open().map_err(|error| NoVerdict::Skip(error.to_string()))?;
    let restic = fetch::restic(&cache, &|text| println!("{text}"))?;
    let made = Made {
        version: "2.3.0",
        journal: "UFS",
        hosts: vec![vec!["master", "worker"]],
        accept: &[],
        configuration: "",
    };
    let cluster = Alluxio::start(made, "2.9.3", Misbehaves::No)?;
    cluster.write("/kept", "kept since 2.3.0\n");
    let upshift = cluster
        .upshift
        .with("UPSHIFT_RESTIC", &restic.display().to_string());
    let run = |arguments: &[&str]| upshift.start(arguments).finish(LIMIT);
    let taken = run(&["backup", "--output", "json"]);
    assert_eq!(
        taken.status.code(),
        Some(0),
        "{}\n{}",
        taken.text(),
        cluster.logs()
    );
    let answered: Value = serde_json::from_str(&taken.stdout).expect("JSON");
    let all: Vec<&Value> = answered
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|one| one["snapshots"].as_array().into_iter().flatten())
        .collect();
    let journal = all.iter().find(|record| record["labels"]["name"] == "journal");
    let journal = journal.unwrap_or_else(|| panic!("{answered}"));
    assert_eq!(all.len(), 2, "{answered}");
    assert!(
        all.iter().all(|record| record["proven_at"].is_u64()),
        "{answered}"
    );
    // Nothing of it lies about on the shared storage.
    let left = fs::read_dir(cluster.storage()).expect("the storage").flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().contains("upshift-snapshot"));
    assert_eq!(left.count(), 0);
    let id = journal["id"].as_str().expect("an id");
    run(&["snapshots", "verify", id]).expect(0);
    run(&["snapshots", "list"]).expect(0).keep("alluxio-snapshots");
    cluster.expect_content("/kept", "kept since 2.3.0\n");
    Ok(())
}
