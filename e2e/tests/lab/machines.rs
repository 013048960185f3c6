//! Two machines with journals of their own, one cluster.

use std::time::Duration;

use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome};
use upshift_e2e::program::{Ran, Running, Upshift};
use upshift_lab::load::Load;
use upshift_lab::processes;

use super::basics::{go, to};

pub const TRIALS: &[Case] = &[
    ("a_run_of_a_lost_machine_is_ended_from_the_hosts", lost_machine),
    ("a_machine_that_is_taken_over_from_says_so", taken_over_from),
    ("only_the_newest_run_is_finalized_or_rolled_back", newest_only),
];

const LONG: Duration = Duration::from_secs(120);

/// The same operator at another machine.
fn elsewhere(fixture: &Fixture) -> Upshift {
    Upshift {
        state: fixture.directory().join("another-machine"),
        ..fixture.upshift.clone()
    }
}

fn run(upshift: &Upshift, arguments: &[&str], status: i32, words: &[&str]) -> Ran {
    let ran = upshift.run(arguments);
    println!("$ upshift {}\n{}", arguments.join(" "), ran.text());
    for word in words {
        assert!(
            ran.stdout.contains(word) || ran.stderr.contains(word),
            "`{word}` is missing"
        );
    }
    ran.expect(status)
}

/// An upgrade that has done one server, and waits before the next.
fn begun(fixture: &Fixture) -> Running {
    let mut arguments = go("1.0.1");
    arguments.extend(["--soak-between", "60s"].map(str::to_owned));
    let running = fixture.upshift.start(&arguments);
    let one_done = || {
        let versions = fixture.cluster.versions();
        versions
            .iter()
            .filter(|version| version.as_deref() == Some("1.0.1"))
            .count()
            == 1
    };
    assert!(processes::poll(LONG, one_done), "no server was upgraded");
    running
}

fn lost_machine() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 20);
    begun(&fixture).kill();
    let other = elsewhere(&fixture);
    run(&other, &["check"], 3, &["foreign-run", "--from-hosts"]);
    run(&other, &["plan", "--to", "1.0.1"], 3, &["a guard of it"]);
    run(
        &other,
        &["upgrade", "--to", "1.0.1", "--yes"],
        3,
        &["foreign-run"],
    );
    run(&other, &["release", "uninstall", "1.0.1"], 3, &["foreign-run"]);
    run(&other, &["status"], 3, &["not in this machine's journal"]);
    run(&other, &["resume", "--from-hosts"], 3, &["--yes"]);
    run(
        &other,
        &["resume", "--from-hosts", "--yes"],
        0,
        &["rolled back", "every server was observed to run 1.0.0"],
    );
    fixture.expect_all("1.0.0");
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    fixture.expect_nothing_left();
    run(
        &other,
        &["resume", "--from-hosts"],
        3,
        &["no host knows of a run"],
    );
    // The first machine comes back: it is told, and goes on from there.
    run(&fixture.upshift, &["resume", "--take-over"], 3, &["was ended by"]);
    run(&fixture.upshift, &["history"], 0, &["ended elsewhere"]);
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.upshift.run(&to("1.0.1")).expect(0);
    fixture.expect_all("1.0.1");
    // A later upgrade from elsewhere makes this one no longer the newest.
    fixture.add_release("1.0.2", |_| {});
    other.run(&to("1.0.2")).expect(0);
    run(&fixture.upshift, &["rollback", "--yes"], 3, &["newer-run"]);
    run(&fixture.upshift, &["finalize", "--yes"], 3, &["newer-run"]);
    run(&other, &["finalize", "--yes"], 0, &[]);
    Ok(())
}

fn taken_over_from() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let first = begun(&fixture);
    let other = elsewhere(&fixture);
    run(&other, &["resume", "--from-hosts", "--yes"], 0, &["1.0.0"]);
    let ran = first.finish(LONG);
    println!("{}", ran.text());
    assert!(ran.stderr.contains("another controller has taken the fleet over"));
    ran.expect(5);
    fixture.expect_all("1.0.0");
    run(&fixture.upshift, &["abort", "--yes"], 3, &["was ended by"]);
    fixture.expect_all("1.0.0");
    fixture.expect_nothing_left();
    Ok(())
}

fn newest_only() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    fixture.add_release("1.0.2", |_| {});
    let upshift = &fixture.upshift;
    upshift.run(&to("1.0.1")).expect(0);
    let runs = || {
        let listed = run(upshift, &["history", "--output", "json"], 0, &[]);
        let listed = listed.last_json();
        let names = listed.as_array().cloned().unwrap_or_default();
        names
            .iter()
            .filter_map(|run| run["run"].as_str().map(str::to_owned))
            .collect::<Vec<String>>()
    };
    let first = runs().first().cloned().expect("a run");
    let dying = upshift.with("UPSHIFT_FAILPOINT", "journal:60=abort");
    assert!(dying.run(&to("1.0.2")).was_killed());
    for command in ["finalize", "rollback", "resume"] {
        let yes: &[&str] = if command == "resume" { &[] } else { &["--yes"] };
        let arguments = [&[command, first.as_str()], yes].concat();
        run(upshift, &arguments, 3, &[]);
    }
    run(
        upshift,
        &["finalize", &first, "--yes"],
        3,
        &["is not the newest run"],
    );
    run(upshift, &["abort", "--yes", "--take-over"], 0, &[]);
    fixture.expect_all("1.0.1");
    // What was rolled back as a whole left nothing behind.
    run(upshift, &["rollback", &first, "--yes"], 0, &["rolled back"]);
    fixture.expect_all("1.0.0");
    Ok(())
}
