//! Upgrades that end well.

use std::time::Duration;

use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome};
use upshift_e2e::watch::Watch;
use upshift_lab::cluster::Member;
use upshift_lab::load::Load;
use upshift_lab::processes;

pub const TRIALS: &[Case] = &[
    ("a_minor_upgrade_under_load_loses_nothing", minor_under_load),
    ("two_hops_change_the_configuration", two_hops),
    ("preparing_changes_nothing_that_runs", prepare),
];

/// Arguments of an upgrade that asks nothing.
pub fn go(version: &str) -> Vec<String> {
    [
        "upgrade",
        "--yes",
        "--accept-no-return",
        "--soak",
        "1s",
        "--to",
        version,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// [`go`], with little time between servers.
pub fn to(version: &str) -> Vec<String> {
    let mut arguments = go(version);
    arguments.extend(["--soak-between", "100ms"].map(str::to_owned));
    arguments
}

fn minor_under_load() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 100);
    let watch = Watch::start(fixture.cluster.members().iter().map(Member::endpoint).collect());
    assert!(processes::poll(Duration::from_secs(10), || load
        .so_far()
        .acknowledged
        > 50));

    fixture.upshift.run(&to("1.1.0")).expect(0);

    assert_eq!(watch.finish(), 1, "exactly one member was down at a time");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(report.acknowledged > 100, "{report:?}");
    fixture.expect_all("1.1.0");
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    assert_eq!(
        fixture.cluster.cluster_versions(),
        vec![Some("1.1.0".to_owned()); 3]
    );
    fixture.expect_nothing_left();
    Ok(())
}

fn two_hops() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    fixture.add_release("2.0.0", |_| {});
    fixture.upshift.run(&to("2.0.0")).expect(0);
    fixture.expect_all("2.0.0");
    for configuration in fixture.cluster.configurations().expect("configurations") {
        let text = String::from_utf8_lossy(&configuration).into_owned();
        assert!(
            !text.contains("legacy_cache") && text.contains("rise_after_ms"),
            "{text}"
        );
    }
    fixture.expect_nothing_left();
    Ok(())
}

fn prepare() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    let pids: Vec<_> = (0..3).map(|position| fixture.cluster.pid(position)).collect();
    fixture.upshift.run(&["prepare", "--to", "1.1.0"]).expect(0);
    assert_eq!(
        (0..3)
            .map(|position| fixture.cluster.pid(position))
            .collect::<Vec<_>>(),
        pids
    );
    for member in fixture.cluster.members() {
        assert!(member.state_directory.join("store/releases/1.1.0/labd").exists());
        assert_eq!(
            std::fs::read_link(member.current())
                .expect("a link")
                .to_string_lossy(),
            "releases/1.0.0"
        );
    }
    Ok(())
}
