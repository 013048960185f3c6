//! Controllers and agents that are killed, come back or never do, and are not alone.

use std::collections::BTreeSet;
use std::time::Duration;

use upshift_e2e::fixture::{Fixture, command_line};
use upshift_e2e::harness::{Case, Outcome};
use upshift_e2e::program::Running;
use upshift_lab::load::Load;
use upshift_lab::processes;

use super::basics::to;

pub const TRIALS: &[Case] = &[
    (
        "a_controller_killed_after_every_write_of_the_journal_costs_nothing",
        killed_after_every_write,
    ),
    (
        "a_controller_killed_before_every_third_write_costs_nothing",
        killed_before_writes,
    ),
    ("agents_killed_again_and_again_cost_nothing", agents_killed),
    ("a_controller_that_never_returns_leaves_all_old", never_returns),
    ("a_second_controller_is_refused", two_controllers),
    ("a_controller_that_wakes_up_late_is_fenced", fenced),
];

const RESUME: [&str; 2] = ["resume", "--take-over"];

/// Runs an upgrade whose controller is killed at a place in every process, until it ends. Gives the number of processes.
fn drive(fixture: &Fixture, place: &str) -> usize {
    let dying = fixture.upshift.with("UPSHIFT_FAILPOINT", place);
    let mut ran = dying.run(&to("1.1.0"));
    let mut count = 1;
    while ran.was_killed() {
        assert!(count < 2000, "it makes no progress: {}", ran.text());
        ran = dying.run(&RESUME);
        count += 1;
    }
    ran.expect(0);
    count
}

fn driven(place: &str, least: usize) -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    let load = Load::start(&fixture.cluster.client(), "load", 20);
    let count = drive(&fixture, place);
    assert!(count > least, "only {count} controllers were needed");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all("1.1.0");
    fixture.expect_nothing_left();
    println!("    {count} controllers");
    Ok(())
}

fn killed_after_every_write() -> Outcome {
    // The first write of each controller is that it has started; the second takes the run further.
    driven("journal:2=abort", 50)
}

fn killed_before_writes() -> Outcome {
    driven("journal:4=abort-before", 20)
}

/// Processes of agents below the cluster's directory.
fn agents(fixture: &Fixture) -> Vec<u32> {
    fixture
        .cluster
        .processes()
        .into_iter()
        .filter(|pid| command_line(*pid).contains("upshift") && !command_line(*pid).contains("labd"))
        .filter(|pid| !command_line(*pid).contains("guard"))
        .collect()
}

fn agents_killed() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    let mut upgrade = fixture.upshift.start(&to("1.1.0"));
    let mut killed = BTreeSet::new();
    let ended = processes::poll(Duration::from_secs(120), || {
        for pid in agents(&fixture) {
            // Each agent lives for about a third of a second.
            if killed.insert(pid) {
                std::thread::sleep(Duration::from_millis(300));
                processes::signal(pid, rustix::process::Signal::KILL);
            }
        }
        !upgrade.runs()
    });
    assert!(ended, "the upgrade goes on and on");
    upgrade.finish(Duration::from_secs(5)).expect(0);
    assert!(killed.len() > 3, "{} agents were killed", killed.len());
    fixture.expect_all("1.1.0");
    fixture.expect_nothing_left();
    Ok(())
}

/// Waits until the first member runs the new release, and the others the old one.
fn in_the_middle(fixture: &Fixture, upgrade: &mut Running) {
    let reached = processes::poll(Duration::from_secs(60), || {
        assert!(upgrade.runs(), "the upgrade ended early");
        let versions = fixture.cluster.versions();
        versions
            .iter()
            .flatten()
            .filter(|version| *version == "1.1.0")
            .count()
            == 1
    });
    assert!(reached, "no member runs the new release");
}

fn never_returns() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 50);
    let mut arguments = to("1.1.0");
    arguments.extend(["--guard-lease", "3s"].map(str::to_owned));
    let mut upgrade = fixture.upshift.start(&arguments);
    in_the_middle(&fixture, &mut upgrade);
    upgrade.kill();
    let old = vec![Some("1.0.0".to_owned()); 3];
    let back = processes::poll(Duration::from_secs(60), || fixture.cluster.versions() == old);
    assert!(back, "{:?}", fixture.cluster.versions());
    fixture.expect_all("1.0.0");
    fixture.expect_nothing_left();
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");

    let resumed = fixture.upshift.run(&RESUME).expect(4);
    assert!(resumed.text().contains("guard"), "{}", resumed.text());
    fixture.expect_all("1.0.0");
    Ok(())
}

fn two_controllers() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |manifest| manifest.misbehaviour.slow_recovery_ms = 1000);
    let mut first = fixture.upshift.start(&to("1.1.0"));
    in_the_middle(&fixture, &mut first);
    let second = fixture.upshift.run(&to("1.1.0")).expect(3);
    let text = second.text();
    assert!(text.contains("held by") || text.contains("holds"), "{text}");
    first.finish(Duration::from_secs(120)).expect(0);
    fixture.expect_all("1.1.0");
    Ok(())
}

fn fenced() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |manifest| manifest.misbehaviour.slow_recovery_ms = 500);
    let mut first = fixture.upshift.start(&to("1.1.0"));
    in_the_middle(&fixture, &mut first);
    first.signal(rustix::process::Signal::STOP);
    let taken = fixture.upshift.run(&RESUME).expect(0);
    fixture.expect_all("1.1.0");
    first.signal(rustix::process::Signal::CONT);
    let late = first.finish(Duration::from_secs(60));
    assert_ne!(late.status.code(), Some(0), "{}\n{}", late.text(), taken.text());
    fixture.expect_all("1.1.0");
    fixture.expect_nothing_left();
    Ok(())
}
