//! Snapshots of real etcd: taken by `upshift backup` and by an upgrade, proven, and put back.

use std::fs;

use serde_json::Value;
use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome, only_when_exhaustive};
use upshift_e2e::program::Upshift;
use upshift_lab::fetch::{self, Cache, Unavailable};

use super::local::to;

pub const TRIALS: &[Case] = &[
    ("a_snapshot_is_taken_proven_and_put_back", backup),
    ("an_upgrade_leaves_its_snapshots_in_the_repository", in_a_run),
];

/// The operator with restic on their machine, and none on the hosts.
pub fn with_restic(fixture: &Fixture) -> Result<Upshift, Unavailable> {
    let cache = Cache::open().map_err(|error| Unavailable::new("restic", error))?;
    let program = fetch::restic(&cache, &|text| println!("{text}"))?;
    Ok(fixture
        .upshift
        .with("UPSHIFT_RESTIC", &program.display().to_string()))
}

/// What a command says as JSON; the test fails unless it ends with this status.
#[track_caller]
pub fn json(upshift: &Upshift, words: &[&str], code: i32) -> Value {
    let arguments: Vec<&str> = words.iter().chain(&["--output", "json"]).copied().collect();
    let ran = upshift.run(&arguments).expect(code);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.text()))
}

fn put(fixture: &Fixture, key: &str, value: &str) {
    let answer = fixture.cluster.client().put(key, value);
    assert!(answer.is_ok(), "{answer:?}");
}

fn backup() -> Outcome {
    let fixture = Fixture::etcd_of(1, "3.4.23", &[])?;
    let refused = fixture.upshift.run(&["backup"]).expect(3);
    assert!(
        refused.stdout.contains("apt-get install restic"),
        "{}",
        refused.text()
    );
    let upshift = with_restic(&fixture)?;
    put(&fixture, "k", "kept");
    let check = upshift.run(&["check"]).expect(0);
    assert!(check.stdout.contains("without it nobody can"), "{}", check.text());
    let taken = json(&upshift, &["backup", "data"], 0);
    let record = taken[0]["snapshots"][0].clone();
    let id = record["id"].as_str().expect("an id").to_owned();
    assert!(
        record["proven_at"].is_u64() && record["labels"]["version"] == "3.4.23",
        "{taken}"
    );
    upshift.run(&["backup", "config"]).expect(0).keep("backup");
    let listed = json(&upshift, &["snapshots", "list"], 0);
    assert_eq!(
        listed[0]["snapshots"].as_array().map(Vec::len),
        Some(2),
        "{listed}"
    );
    upshift
        .run(&["snapshots", "list"])
        .expect(0)
        .keep("snapshots-list");
    let sheet = upshift.run(&["snapshots", "show", &id[..8]]).expect(0);
    assert!(sheet.stdout.contains("standing   proven"), "{}", sheet.text());
    // What etcd's own command wrote has no place of its own, and files are not changed under a service that runs.
    let elsewhere = fixture.directory().join("elsewhere");
    let refused = upshift.run(&["restore", &id, "--yes"]).expect(3);
    assert!(
        refused.stdout.contains("no place of its own"),
        "{}",
        refused.text()
    );
    let all = listed[0]["snapshots"].as_array().expect("snapshots");
    let ids = all.iter().filter_map(|one| one["id"].as_str());
    let config = ids
        .into_iter()
        .find(|one| *one != id)
        .expect("the configuration's");
    let refused = upshift.run(&["restore", config, "--yes"]).expect(3);
    assert!(refused.stdout.contains("the service runs"), "{}", refused.text());
    let directory = elsewhere.display().to_string();
    upshift
        .run(&["restore", &id, "--to", &directory, "--yes"])
        .expect(0);
    let refused = upshift
        .run(&["restore", &id, "--to", &directory, "--yes"])
        .expect(3);
    assert!(
        refused.stdout.contains("something lies there"),
        "{}",
        refused.text()
    );
    upshift
        .run(&[
            "snapshots",
            "prune",
            "--keep-last",
            "1",
            "--keep-within",
            "0s",
            "--yes",
        ])
        .expect(0);
    let kept = json(&upshift, &["snapshots", "list"], 0);
    assert_eq!(
        kept[0]["snapshots"].as_array().map(Vec::len),
        Some(2),
        "the newest of each name stays: {kept}"
    );
    fixture.expect_nothing_left();
    Ok(())
}

fn in_a_run() -> Outcome {
    only_when_exhaustive("1 min")?;
    let fixture = Fixture::etcd("3.4.23", &["3.5.16"])?;
    let upshift = with_restic(&fixture)?;
    put(&fixture, "k", "kept");
    let plan = upshift.run(&["plan", "--to", "3.5.16"]).expect(0);
    assert!(plan.stdout.contains("distribute restic"), "{}", plan.text());
    let without = json(&fixture.upshift, &["plan", "--to", "3.5.16"], 0);
    let said = without["warnings"].to_string();
    assert!(said.contains("no snapshot is kept in a repository"), "{said}");
    upshift.run(&to("3.5.16")).expect(0);
    fixture.expect_all("3.5.16");
    upshift.run(&["finalize", "--yes"]).expect(0);
    let listed = json(&upshift, &["snapshots", "list"], 0);
    let all: Vec<&Value> = listed
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|one| one["snapshots"].as_array().into_iter().flatten())
        .collect();
    let of = |name: &str| {
        all.iter()
            .filter(|record| record["labels"]["name"] == name)
            .count()
    };
    assert_eq!((of("data"), of("config")), (1, 3), "{listed}");
    assert!(
        all.iter()
            .all(|record| record["proven_at"].is_u64() && record["labels"]["run"] != ""),
        "{listed}"
    );
    // Nothing of it lies about outside of the repository.
    for member in fixture.cluster.members() {
        let loose = member.state_directory.join("snapshots");
        assert!(
            fs::read_dir(&loose).map_or(0, Iterator::count) == 0,
            "{}",
            loose.display()
        );
    }
    upshift
        .run(&["snapshots", "verify"])
        .expect(0)
        .keep("snapshots-verify");
    // A cluster that has been migrated gives no snapshot of the old version, and gives one of its own.
    let taken = json(&upshift, &["backup", "data"], 0);
    assert_eq!(taken[0]["snapshots"][0]["labels"]["version"], "3.5.16");
    Ok(())
}
