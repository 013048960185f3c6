//! Controllers that are killed; the exhaustive tests of this are those of the lab server.

use std::time::Duration;

use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome, only_when_exhaustive};
use upshift_lab::http;
use upshift_lab::load::Load;
use upshift_lab::processes;

use super::local::{expect_equal_hashes, to};

pub const TRIALS: &[Case] = &[
    (
        "a_controller_killed_now_and_then_costs_nothing",
        killed_now_and_then,
    ),
    (
        "members_roll_back_by_themselves_when_the_controller_never_returns",
        never_returns,
    ),
    ("a_member_that_is_added_in_the_middle_holds_the_run", member_added),
];

fn killed_now_and_then() -> Outcome {
    let fixture = Fixture::etcd("3.4.23", &["3.5.16"])?;
    let load = Load::start(&fixture.cluster.client(), "load", 100);
    let dying = fixture.upshift.with("UPSHIFT_FAILPOINT", "journal:29=abort");
    let mut ran = dying.run(&to("3.5.16"));
    let mut controllers = 1;
    while ran.was_killed() {
        assert!(controllers < 100, "it makes no progress: {}", ran.text());
        ran = dying.run(&["resume", "--take-over"]);
        controllers += 1;
    }
    ran.expect(0);
    assert!(controllers > 2, "{controllers} controllers");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all("3.5.16");
    expect_equal_hashes(&fixture);
    fixture.expect_nothing_left();
    Ok(())
}

fn never_returns() -> Outcome {
    let fixture = Fixture::etcd("3.4.23", &["3.5.16"])?;
    let load = Load::start(&fixture.cluster.client(), "load", 100);
    let mut arguments = to("3.5.16");
    arguments.extend(["--guard-lease", "4s"].map(str::to_owned));
    let mut upgrade = fixture.upshift.start(&arguments);
    let first = || {
        assert!(upgrade.runs(), "the upgrade ended early");
        fixture
            .cluster
            .versions()
            .iter()
            .flatten()
            .any(|version| version == "3.5.16")
    };
    assert!(
        processes::poll(Duration::from_secs(60), first),
        "no member was upgraded"
    );
    upgrade.kill();
    let old = vec![Some("3.4.23".to_owned()); 3];
    assert!(
        processes::poll(Duration::from_secs(120), || fixture.cluster.versions() == old),
        "{:?}",
        fixture.cluster.versions()
    );
    fixture.expect_all("3.4.23");
    fixture.expect_nothing_left();
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    expect_equal_hashes(&fixture);
    Ok(())
}

/// A member that never starts counts for the majority: with one more server down, a cluster of four has just enough.
fn member_added() -> Outcome {
    only_when_exhaustive("a minute, most of it waiting")?;
    let fixture = Fixture::etcd("3.4.23", &["3.5.16"])?;
    let mut arguments = to("3.5.16");
    for word in arguments.iter_mut().filter(|word| *word == "200ms") {
        "20s".clone_into(word);
    }
    let upgrade = fixture.upshift.start(&arguments);
    let versions = || fixture.cluster.versions();
    let first = || versions().iter().flatten().any(|version| version == "3.5.16");
    assert!(
        processes::poll(Duration::from_secs(60), first),
        "no member was upgraded"
    );
    let member = &fixture.cluster.members()[0];
    let body = serde_json::json!({"peerURLs": ["http://127.0.0.1:9"]});
    // etcd takes a new member once the others have been connected for five seconds.
    let added = || {
        let path = "/v3/cluster/member/add";
        let answer = http::post(&member.endpoint(), path, &body, Duration::from_secs(10));
        answer.is_ok_and(|answer| answer.status == 200)
    };
    assert!(
        processes::poll(Duration::from_secs(15), added),
        "no member was added"
    );
    let ran = upgrade.finish(Duration::from_secs(120)).expect(5);
    assert!(
        ran.text()
            .contains("the cluster has other members than when the plan was made"),
        "{}",
        ran.text()
    );
    let new = versions()
        .iter()
        .flatten()
        .filter(|version| *version == "3.5.16")
        .count();
    assert_eq!(new, 1, "the second window was not begun: {:?}", versions());
    Ok(())
}
