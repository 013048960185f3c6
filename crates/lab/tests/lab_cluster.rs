//! The lab server as real processes.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use upshift_lab::cluster::{Cluster, Place, Product};
use upshift_lab::load::Load;
use upshift_lab::processes;
use upshift_lab::releases::lab_package;
use upshift_lab::server::Manifest;

const PROGRAM: &str = env!("CARGO_BIN_EXE_upshift-lab-server");

fn cluster(directory: &Path, manifest: &Manifest) -> Cluster {
    let package = lab_package(
        &directory.join("packages"),
        Path::new(PROGRAM),
        &manifest.version,
        manifest,
    )
    .unwrap();
    Cluster::start(
        Product::Lab,
        &directory.join("cluster"),
        Place::local(3),
        &package,
    )
    .unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_when_members_are_killed_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = cluster(directory.path(), &Manifest::plain("1.0.0"));
    let load = Load::start(&cluster.client(), "load", 200);
    assert!(processes::poll(Duration::from_secs(10), || load
        .so_far()
        .acknowledged
        > 50));
    for position in 0..3 {
        let pid = cluster.pid(position).unwrap();
        processes::signal(pid, rustix::process::Signal::KILL);
        assert!(processes::poll(Duration::from_secs(5), || !processes::runs(pid)));
        let before = load.so_far().acknowledged;
        assert!(processes::poll(Duration::from_secs(10), || load
            .so_far()
            .acknowledged
            > before + 50));
        cluster.start_member(position).unwrap();
        cluster.wait_healthy(Duration::from_secs(20)).unwrap();
    }
    let report = load.finish().unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(report.acknowledged > 150 && report.reads > 0, "{report:?}");
    assert!(report.longest_gap_ms < 5_000, "{report:?}");
    assert_eq!(cluster.versions(), vec![Some("1.0.0".to_owned()); 3]);
    assert!(processes::poll(Duration::from_secs(5), || {
        cluster.cluster_versions() == vec![Some("1.0.0".to_owned()); 3]
    }));
}

#[test]
fn a_load_notices_what_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::plain("1.0.0");
    let mut cluster = cluster(directory.path(), &manifest);
    let load = Load::start(&cluster.client(), "load", 200);
    assert!(processes::poll(Duration::from_secs(10), || load
        .so_far()
        .acknowledged
        > 50));
    for position in 0..3 {
        cluster.stop_member(position);
    }
    manifest.misbehaviour.lose_data = true;
    for position in 0..3 {
        let file = cluster.members()[position]
            .current()
            .join(upshift_lab::server::MANIFEST);
        std::fs::write(file, serde_json::to_string(&manifest).unwrap()).unwrap();
        cluster.start_member(position).unwrap();
    }
    cluster.wait_healthy(Duration::from_secs(20)).unwrap();
    let report = load.finish().unwrap();
    assert!(report.lost >= 50 && report.failed_requests > 0, "{report:?}");
}

/// Starts the first member again, as another release.
fn restart(cluster: &mut Cluster, manifest: &Manifest) {
    cluster.stop_member(0);
    let file = cluster.members()[0].current().join(upshift_lab::server::MANIFEST);
    std::fs::write(file, serde_json::to_string(manifest).unwrap()).unwrap();
    cluster.start_member(0).unwrap();
}

#[test]
fn misbehaviour_is_seen_from_outside() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::plain("1.0.0");
    let mut cluster = cluster(directory.path(), &manifest);

    manifest.misbehaviour.never_healthy = true;
    restart(&mut cluster, &manifest);
    assert!(
        cluster.wait_healthy(Duration::from_secs(2)).is_err(),
        "it says that it is healthy"
    );

    manifest.misbehaviour.never_healthy = false;
    manifest.misbehaviour.ignore_sigterm = true;
    restart(&mut cluster, &manifest);
    cluster.wait_healthy(Duration::from_secs(20)).unwrap();
    let pid = cluster.pid(0).unwrap();
    processes::signal(pid, rustix::process::Signal::TERM);
    assert!(!processes::poll(Duration::from_millis(500), || !processes::runs(
        pid
    )));
    processes::signal(pid, rustix::process::Signal::KILL);
    assert!(processes::poll(Duration::from_secs(5), || !processes::runs(pid)));

    manifest.misbehaviour.ignore_sigterm = false;
    manifest.misbehaviour.crash_after_ms = Some(300);
    restart(&mut cluster, &manifest);
    assert!(processes::poll(Duration::from_secs(5), || cluster
        .pid(0)
        .is_some()));
    assert!(processes::poll(Duration::from_secs(5), || cluster
        .pid(0)
        .is_none()));
}

#[test]
fn everything_ends_with_the_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let started = cluster(directory.path(), &Manifest::plain("1.0.0"));
    let home = started.directory().to_owned();
    assert_eq!(started.processes().len(), 3);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = started;
        panic!("a test fails");
    }));
    assert!(result.is_err());
    assert_eq!(processes::under(&home), Vec::<u32>::new());
}

#[test]
fn clusters_start_while_other_threads_start_processes() {
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let clusters = [1, 2, 3].map(|_| {
            scope.spawn(|| {
                let directory = tempfile::tempdir().unwrap();
                let cluster = cluster(directory.path(), &Manifest::plain("1.0.0"));
                assert_eq!(cluster.processes().len(), 3);
            })
        });
        scope.spawn(|| {
            while busy.load(Ordering::Relaxed) {
                processes::run(&mut Command::new("true"), Duration::from_secs(10)).unwrap();
            }
        });
        let started = clusters.map(|cluster| cluster.join());
        busy.store(false, Ordering::Relaxed);
        assert!(started.iter().all(Result::is_ok));
    });
}
