//! Three members on this machine's loopback addresses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use upshift_e2e::fixture::{Fixture, copy};
use upshift_e2e::harness::{self, Case, Outcome, Skip};
use upshift_e2e::program::Ran;
use upshift_e2e::watch::Watch;
use upshift_lab::cluster::Member;
use upshift_lab::fetch::{self, Cache};
use upshift_lab::load::Load;
use upshift_lab::package::{self, Contents, Entry, Package};
use upshift_lab::processes;

pub const TRIALS: &[Case] = &[
    ("two_hops_from_3_3_to_3_5_under_load_lose_nothing", two_hops),
    ("a_bad_release_on_the_second_member_is_rolled_back", bad_second),
    (
        "after_the_cluster_version_has_risen_there_is_no_simple_rollback",
        no_return,
    ),
    (
        "a_release_with_a_known_defect_and_a_skipped_minor_are_refused",
        refused,
    ),
    (
        "a_client_certificate_that_is_missing_is_the_one_thing_that_check_names",
        certificate,
    ),
    ("a_risk_is_taken_by_name_and_stands_in_the_report", risk),
    (
        "from_3_5_to_3_6_and_3_7_and_back_by_etcds_own_downgrade_lose_nothing",
        newest,
    ),
    (
        "after_etcds_own_downgrade_it_can_be_upgraded_again",
        downgraded_and_upgraded,
    ),
];

/// Arguments of an upgrade that asks nothing.
pub const GO: [&str; 7] = [
    "upgrade",
    "--yes",
    "--accept-no-return",
    "--soak",
    "2s",
    "--soak-between",
    "200ms",
];

/// [`GO`] with a target.
pub fn to(version: &str) -> Vec<String> {
    GO.iter()
        .map(|word| (*word).to_owned())
        .chain(["--to".to_owned(), version.to_owned()])
        .collect()
}

/// Fails the test unless the members' keys have one hash.
#[track_caller]
pub fn expect_equal_hashes(fixture: &Fixture) {
    let hash = |member: &Member| {
        let mut command = std::process::Command::new(member.current().join("etcdctl"));
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=http://{}", member.endpoint()))
            .args(["endpoint", "hashkv", "-w", "json"]);
        let output = processes::run(&mut command, Duration::from_secs(20)).expect("etcdctl runs");
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        value[0]["HashKV"]["hash"].clone()
    };
    let equal = || {
        let hashes: Vec<_> = fixture.cluster.members().iter().map(hash).collect();
        !hashes[0].is_null() && hashes.iter().all(|hash| *hash == hashes[0])
    };
    assert!(
        processes::poll(Duration::from_secs(10), equal),
        "the members differ"
    );
}

fn two_hops() -> Outcome {
    let fixture = Fixture::etcd("3.3.25", &["3.4.23", "3.5.16"])?;
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 100);
    let watch = Watch::start(fixture.cluster.members().iter().map(Member::endpoint).collect());
    assert!(processes::poll(Duration::from_secs(10), || load
        .so_far()
        .acknowledged
        > 50));

    fixture.upshift.run(&to("3.5.16")).expect(0);

    println!("    {:?}", load.reasons());
    assert_eq!(watch.finish(), 1, "exactly one member was down at a time");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(report.acknowledged > 200, "{report:?}");
    println!("    {report:?}");
    fixture.expect_all("3.5.16");
    expect_equal_hashes(&fixture);
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    assert_eq!(
        fixture.cluster.cluster_versions(),
        vec![Some("3.5.0".to_owned()); 3]
    );
    fixture.expect_nothing_left();
    Ok(())
}

/// A package that says it is a version, and hangs on the second member.
fn bad_package(good: &Package, scratch: &Path, target: &Path) -> Package {
    package::unpack(&good.path, scratch).expect("unpacked");
    let inner = fs::read_dir(scratch)
        .expect("a directory")
        .flatten()
        .next()
        .expect("one")
        .path();
    let stem = inner.file_name().expect("a name").to_string_lossy().into_owned();
    let script = "#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\n\
                  case \"$*\" in */n2/*) exec \"$here/etcd.hangs\" 100000 ;; esac\nexec -a \"$0\" \"$here/etcd.real\" \"$@\"\n";
    fs::copy("/bin/sleep", inner.join("etcd.hangs")).expect("copied");
    fs::rename(inner.join("etcd"), inner.join("etcd.real")).expect("renamed");
    fs::write(inner.join("etcd"), script.replace("#!/bin/sh", "#!/bin/bash")).expect("written");
    fs::set_permissions(inner.join("etcd"), fs::Permissions::from_mode(0o755)).expect("executable");
    let names = ["etcd", "etcd.real", "etcd.hangs", "etcdctl"];
    let files: Vec<_> = names
        .iter()
        .map(|name| (format!("{stem}/{name}"), inner.join(name)))
        .collect();
    let entries: Vec<Entry<'_>> = files
        .iter()
        .map(|(name, path)| Entry {
            name,
            mode: 0o755,
            contents: Contents::File(path),
        })
        .collect();
    package::write_tar_gz(target, &entries).expect("packed");
    Package::of(&good.version, target.to_owned()).expect("a package")
}

fn bad_second() -> Outcome {
    let fixture = Fixture::etcd("3.4.23", &["3.5.16"])?;
    let target = fixture.upshift.packages.join("etcd-v3.5.16-linux-amd64.tar.gz");
    let good = Package::of("3.5.16", target.clone()).expect("a package");
    bad_package(&good, &fixture.directory().join("scratch"), &target);
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 100);

    let written = || load.so_far().acknowledged > 50;
    assert!(
        processes::poll(Duration::from_secs(20), written),
        "{:?}",
        load.reasons()
    );
    let mut arguments = to("3.5.16");
    arguments.extend(["--canary", "n1"].map(str::to_owned));
    let ran = fixture.upshift.run(&arguments).expect(4);

    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all("3.4.23");
    expect_equal_hashes(&fixture);
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    assert_eq!(
        fixture.cluster.cluster_versions(),
        vec![Some("3.4.0".to_owned()); 3]
    );
    fixture.expect_nothing_left();
    assert!(ran.text().contains("n2"), "{}", ran.text());
    Ok(())
}

fn no_return() -> Outcome {
    let fixture = Fixture::etcd("3.4.23", &["3.5.16"])?;
    let unasked = fixture
        .upshift
        .run(&["upgrade", "--yes", "--to", "3.5.16"])
        .expect(3);
    assert!(
        unasked.text().contains("--accept-no-return"),
        "{}",
        unasked.text()
    );
    fixture.expect_all("3.4.23");
    fixture.upshift.run(&to("3.5.16")).expect(0);
    fixture.expect_all("3.5.16");
    let risen = || fixture.cluster.cluster_versions() == vec![Some("3.5.0".to_owned()); 3];
    assert!(processes::poll(Duration::from_secs(20), risen));

    let ran = fixture.upshift.run(&["rollback", "--yes"]);
    let ran = ran.expect(3);
    assert!(ran.text().contains("snapshot"), "{}", ran.text());
    fixture.expect_all("3.5.16");
    Ok(())
}

fn refused() -> Outcome {
    let fixture = Fixture::etcd("3.3.25", &["3.5.16"])?;
    let skipped = fixture.upshift.run(&to("3.5.16")).expect(3);
    assert!(skipped.text().contains("3.4"), "{}", skipped.text());

    let cache = Cache::open().map_err(|error| Skip(error.to_string()))?;
    let blocked = fetch::etcd_blocked(&cache, &|text| println!("{text}"))?;
    copy(&blocked, &fixture.upshift.packages).expect("copied");
    let ran = fixture.upshift.run(&to("3.5.1")).expect(3);
    assert!(
        ran.text().contains("inconsistent") && ran.text().contains("3.5.3"),
        "{}",
        ran.text()
    );
    fixture.expect_all("3.3.25");
    fixture.expect_nothing_left();
    Ok(())
}

/// What stands in `check`'s JSON under `refusals`.
fn refusals(ran: &Ran) -> Vec<serde_json::Value> {
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    value["refusals"].as_array().expect("refusals").clone()
}

fn certificate() -> Outcome {
    let fixture = Fixture::etcd("3.5.16", &[])?;
    let check = ["check", "--output", "json"];
    fixture.upshift.run(&check).expect(0);
    for member in fixture.cluster.members() {
        let mut text = fs::read_to_string(&member.config_file).expect("a configuration");
        text.push_str("client-transport-security:\n  client-cert-auth: true\n");
        fs::write(&member.config_file, text).expect("written");
    }
    let ran = fixture.upshift.run(&check).expect(3);
    let found = refusals(&ran);
    assert_eq!(found.len(), 1, "{}", ran.text());
    assert_eq!(found[0]["code"], "check:client-certificate");
    assert_eq!(found[0]["hosts"], serde_json::json!(["n1", "n2", "n3"]));
    let hidden = found[0]["hides"].as_array().expect("what depends on it");
    assert!(hidden.iter().any(|name| name == "no-alarms"), "{hidden:?}");
    let remedy = found[0]["remedy"].as_str().unwrap_or_default();
    assert!(
        remedy.contains("etcd_client_cert") && remedy.contains("etcd_client_key"),
        "{remedy}"
    );
    fixture.expect_nothing_left();
    Ok(())
}

/// With one member nothing is left while it is upgraded: an outage that somebody must take upon themselves.
fn risk() -> Outcome {
    let fixture = Fixture::etcd_of(1, "3.4.23", &["3.5.16"])?;
    let refused = fixture.upshift.run(&to("3.5.16")).expect(3);
    assert!(
        refused.text().contains("upshift accept capacity --reason"),
        "{}",
        refused.text()
    );
    fixture
        .upshift
        .run(&["accept", "capacty", "--reason", "a typo"])
        .expect(2);
    fixture.upshift.run(&["accept", "capacity"]).expect(2);
    let reason = "a test, no users";
    fixture
        .upshift
        .run(&["accept", "capacity", "--reason", reason, "--until", "2999-12-31"])
        .expect(0);
    let ran = fixture.upshift.run(&to("3.5.16")).expect(0);
    assert!(ran.text().contains(reason), "{}", ran.text());
    fixture.expect_all("3.5.16");
    let report = fixture.upshift.run(&["history", "--output", "json"]).expect(0);
    let history: serde_json::Value = serde_json::from_str(&report.stdout).expect("JSON");
    let id = history[0]["run"].as_str().expect("a run").to_owned();
    let report = fixture.upshift.run(&["report", &id]).expect(0);
    assert!(report.text().contains(reason), "{}", report.text());
    fixture
        .upshift
        .run(&["accept", "capacity", "--withdraw"])
        .expect(0);
    fixture
        .upshift
        .run(&["accept", "capacity", "--withdraw"])
        .expect(2);
    Ok(())
}

/// The newest minors, which no Debian suite has: built from the module proxy, some minutes each.
fn newest() -> Outcome {
    harness::only_when_exhaustive("10 minutes and a Go toolchain, which builds three versions of etcd")?;
    let fixture = Fixture::etcd("3.5.35", &["3.6.16", "3.7.3"])?;
    let load = Load::start(&fixture.cluster.client(), "load", 100);
    let watch = Watch::start(fixture.cluster.members().iter().map(Member::endpoint).collect());
    assert!(processes::poll(Duration::from_secs(20), || load
        .so_far()
        .acknowledged
        > 50));
    // 3.7 does not start on what 3.5 has written since the last snapshot, so the run waits for one between the two hops.
    let held = fixture.upshift.run(&to("3.7.3")).expect(5);
    assert!(
        held.text().contains("has saved no snapshot since"),
        "{}",
        held.text()
    );
    fixture.expect_all("3.6.16");
    let refused = fixture.upshift.run(&["check", "--to", "3.7.3"]);
    assert!(
        refused.text().contains("has saved no snapshot since"),
        "{}",
        refused.text()
    );
    let writers: Vec<Load> = (0..24)
        .map(|number| Load::start(&fixture.cluster.client(), &format!("more{number}"), 10_000))
        .collect();
    let written = || writers.iter().map(|load| load.so_far().acknowledged).sum::<u64>() > 10_500;
    assert!(
        processes::poll(Duration::from_secs(150), written),
        "too few writes"
    );
    drop(writers);
    fixture.upshift.run(&["resume"]).expect(0);
    assert_eq!(watch.finish(), 1, "exactly one member was down at a time");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all("3.7.3");
    expect_equal_hashes(&fixture);
    assert_eq!(
        fixture.cluster.cluster_versions(),
        vec![Some("3.7.0".to_owned()); 3]
    );
    fixture.expect_nothing_left();
    roll_back_under_load(&fixture, "3.5.35", "3.5.0");
    Ok(())
}

/// Rolls the last run back past its points of no return: every write since, those of the rollback included, is kept.
fn roll_back_under_load(fixture: &Fixture, version: &str, cluster_version: &str) {
    let configurations = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "since", 100);
    let watch = Watch::start(fixture.cluster.members().iter().map(Member::endpoint).collect());
    assert!(processes::poll(Duration::from_secs(20), || load
        .so_far()
        .acknowledged
        > 50));
    let rolled_back = fixture.upshift.run(&["rollback", "--yes"]).expect(0);
    rolled_back.keep("etcd-own-downgrade");
    assert_eq!(watch.finish(), 1, "exactly one member was down at a time");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    println!("    {report:?}");
    fixture.expect_all(version);
    expect_equal_hashes(fixture);
    assert_eq!(
        fixture.cluster.cluster_versions(),
        vec![Some(cluster_version.to_owned()); 3]
    );
    assert_eq!(
        fixture.cluster.configurations().expect("configurations"),
        configurations
    );
    fixture.expect_nothing_left();
}

/// What a rollback leaves behind in etcd would keep the next upgrade from ending: the downgrade must be over.
fn downgraded_and_upgraded() -> Outcome {
    harness::only_when_exhaustive("2 minutes and a Go toolchain, which builds two versions of etcd")?;
    let fixture = Fixture::etcd("3.5.35", &["3.6.16"])?;
    fixture.upshift.run(&to("3.6.16")).expect(0);
    roll_back_under_load(&fixture, "3.5.35", "3.5.0");
    let again = [to("3.6.16"), vec!["--again".to_owned()]].concat();
    fixture.upshift.run(&again).expect(0);
    fixture.expect_all("3.6.16");
    expect_equal_hashes(&fixture);
    assert_eq!(
        fixture.cluster.cluster_versions(),
        vec![Some("3.6.0".to_owned()); 3]
    );
    fixture.expect_nothing_left();
    Ok(())
}
