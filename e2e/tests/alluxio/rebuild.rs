//! From 2.3.0 with the embedded journal, which 2.4 and later do not read.

use upshift_e2e::alluxio::{Alluxio, Made, Misbehaves};
use upshift_e2e::harness::{Case, Outcome, only_when_exhaustive};
use upshift_lab::processes;

use super::{GO, LIMIT, run};

pub const TRIALS: &[Case] = &[
    (
        "three_masters_with_the_embedded_journal_are_rebuilt",
        three_masters,
    ),
    (
        "a_restore_that_is_one_entry_short_is_rolled_back",
        one_entry_short,
    ),
    ("masters_that_start_with_nothing_are_seen", ignores_backup),
    ("a_backup_that_does_not_end_stops_nothing", backup_hangs),
    ("a_lost_controller_brings_the_old_journal_back", lost_controller),
];

fn embedded(hosts: Vec<Vec<&'static str>>) -> Made {
    Made {
        version: "2.3.0",
        journal: "EMBEDDED",
        hosts,
        accept: &[],
        configuration: "",
    }
}

fn one_host(misbehaves: Misbehaves) -> Result<Alluxio, upshift_e2e::harness::NoVerdict> {
    let cluster = Alluxio::start(embedded(vec![vec!["master", "worker"]]), "2.9.3", misbehaves)?;
    cluster.write("/kept", "kept since 2.3.0\n");
    Ok(cluster)
}

/// All paths of the namespace but the backups, which lie in the storage below and turn up once it is listed.
fn listed(cluster: &Alluxio) -> Vec<String> {
    let listing = cluster.alluxio(&["fs", "ls", "-R", "/"]);
    let path = |line: &str| line.find(" /").map(|at| line[at + 1..].to_owned());
    let mut paths: Vec<String> = listing.lines().filter_map(path).collect();
    paths.retain(|path| !path.starts_with("/alluxio_backups"));
    paths.sort_unstable();
    paths
}

fn three_masters() -> Outcome {
    only_when_exhaustive("three minutes")?;
    let cluster = Alluxio::start(
        embedded(vec![vec!["master", "worker"], vec!["master"], vec!["master"]]),
        "2.9.3",
        Misbehaves::No,
    )?;
    cluster.alluxio(&["fs", "mkdir", "/below"]);
    cluster.write("/below/a file", "with a space in its name\n");
    cluster.write("/kept", "kept since 2.3.0\n");
    // Listed, not counted: 2.9.3's count was seen to lag behind by more than a minute.
    let paths = ["/below", "/below/a file", "/kept"];
    assert_eq!(listed(&cluster), paths);

    let ran = run(&cluster, &GO);
    ran.keep("alluxio-rebuild");
    assert_eq!(ran.status.code(), Some(0), "{}\n{}", ran.text(), cluster.logs());

    cluster.expect_all("2.9.3");
    assert_eq!(listed(&cluster), paths);
    let restored = cluster.gauges()["Master.LastBackupRestoreCount"]["value"].as_u64();
    assert!(restored > Some(0), "{restored:?}");
    cluster.expect_content("/kept", "kept since 2.3.0\n");
    cluster.expect_content("/below/a file", "with a space in its name\n");
    Ok(())
}

/// The upgrade fails, and the old version serves the old journal again.
fn rolled_back(misbehaves: Misbehaves, why: &str) -> Outcome {
    let cluster = one_host(misbehaves)?;
    let before = cluster.configurations();
    let ran = run(&cluster, &GO);
    ran.keep("alluxio-rolled-back");
    assert_eq!(ran.status.code(), Some(4), "{}\n{}", ran.text(), cluster.logs());
    assert!(ran.text().contains(why), "{}", ran.text());
    cluster.expect_all("2.3.0");
    assert_eq!(cluster.configurations(), before);
    cluster.expect_content("/kept", "kept since 2.3.0\n");
    Ok(())
}

fn one_entry_short() -> Outcome {
    only_when_exhaustive("a minute")?;
    rolled_back(Misbehaves::OneEntryShort, "has restored the whole backup")
}

fn ignores_backup() -> Outcome {
    only_when_exhaustive("a minute")?;
    rolled_back(Misbehaves::IgnoresBackup, "has restored the whole backup")
}

fn backup_hangs() -> Outcome {
    only_when_exhaustive("a minute")?;
    let cluster = one_host(Misbehaves::BackupHangs)?;
    let (before, pids) = (cluster.configurations(), cluster.pids());
    let backup = "upshift-{{ run }}-{{ to }}\"], env: *environment, timeout: ";
    let profile = cluster.profile(&format!("{backup}600s"), &format!("{backup}10s"));
    let ran = run(&cluster, &[&["--profile", profile.as_str()], &GO[..]].concat());
    ran.keep("alluxio-backup-hangs");
    assert_eq!(ran.status.code(), Some(4), "{}\n{}", ran.text(), cluster.logs());
    let text = ran.text();
    assert!(text.contains("back the journal up"), "{text}");
    assert!(text.contains("the old journal takes writes: done"), "{text}");
    assert_eq!(cluster.pids(), pids, "nothing was stopped");
    assert_eq!(cluster.configurations(), before);
    cluster.expect_content("/kept", "kept since 2.3.0\n");
    Ok(())
}

fn lost_controller() -> Outcome {
    only_when_exhaustive("two minutes")?;
    let cluster = one_host(Misbehaves::No)?;
    let before = cluster.configurations();
    let mut arguments: Vec<&str> = GO.to_vec();
    arguments.extend(["--guard-lease", "15s"]);
    let mut upgrade = cluster.upshift.start(&arguments);
    // The new version runs: its journal is a new one, and nothing has been proven yet.
    let new = || {
        assert!(upgrade.runs(), "the upgrade ended early: {}", upgrade.so_far());
        cluster.running().0 == ["2.9.3"]
    };
    let started = processes::poll(LIMIT, new);
    assert!(started, "the new version was not started: {}", upgrade.so_far());
    upgrade.kill();
    let old = || cluster.running() == (vec!["2.3.0".to_owned()], 2);
    assert!(
        processes::poll(LIMIT, old),
        "{:?}\n{}",
        cluster.running(),
        cluster.logs()
    );
    assert_eq!(cluster.configurations(), before);
    cluster.expect_content("/kept", "kept since 2.3.0\n");
    Ok(())
}
