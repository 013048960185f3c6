//! `upshift release` for a product without a release handler: the store itself does it.

use std::time::Duration;

use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome};
use upshift_lab::processes;

pub const TRIALS: &[Case] = &[("releases_live_in_the_store_of_each_host", life)];

fn life() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let ask = |arguments: &[&str], status: i32| {
        let mut whole = vec!["release"];
        whole.extend(arguments);
        fixture.upshift.run(&whole).expect(status).stdout
    };
    let rows = |text: &str| -> Vec<String> {
        let rows = text.lines().skip(1);
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    let runs = |version: &str| {
        let running = || fixture.cluster.versions()[0].as_deref() == Some(version);
        assert!(
            processes::poll(Duration::from_secs(20), running),
            "{:?}",
            fixture.cluster.versions()
        );
    };
    assert_eq!(rows(&ask(&["ls", "--host", "n1"], 0)), ["n1 1.0.0 permanent"]);
    assert_eq!(
        ask(&["unpack", "1.0.1", "--host", "n1"], 0),
        "n1: Unpacked successfully: \"1.0.1\"\n"
    );
    assert_eq!(
        ask(
            &["install", "--yes", "--no-permanent", "1.0.1", "--host", "n1"],
            0
        ),
        "n1: Release 1.0.1 is already unpacked, now installing.\nn1: Installed Release: 1.0.1.\n"
    );
    runs("1.0.1");
    // The same host, without a fleet file.
    let state = fixture.cluster.members()[0].state_directory.display().to_string();
    let here = ask(&["ls", "--here", "--product", "lab", "--host-state", &state], 0);
    assert_eq!(
        rows(&here),
        ["localhost 1.0.1 current", "localhost 1.0.0 permanent"]
    );
    assert_eq!(
        ask(&["uninstall", "1.0.1", "--host", "n1"], 3),
        "n1: Uninstall failed: Release 1.0.1 is marked current.\n"
    );
    assert_eq!(
        ask(&["downgrade", "--yes", "1.0.0", "--host", "n1"], 0),
        "n1: Release 1.0.1 is the currently running version.\n\
         n1: Installed Release: 1.0.0.\n\
         n1: Made release permanent: \"1.0.0\"\n"
    );
    runs("1.0.0");
    assert_eq!(
        ask(&["uninstall", "1.0.1", "--host", "n1"], 0),
        "n1: Release 1.0.1 is marked old, uninstalling it.\nn1: Uninstalled Release: 1.0.1\n"
    );
    let nowhere = fixture.upshift.run(&["release", "ls", "--here"]).expect(2);
    assert!(nowhere.text().contains("--product"), "{}", nowhere.text());
    fixture.expect_all("1.0.0");
    fixture.expect_nothing_left();
    Ok(())
}
