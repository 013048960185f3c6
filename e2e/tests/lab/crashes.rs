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
        "controllers_killed_again_and_again_cost_nothing",
        killed_again_and_again,
    ),
    (
        "a_controller_killed_at_any_write_costs_nothing",
        killed_at_every_write,
    ),
    ("agents_killed_again_and_again_cost_nothing", agents_killed),
    ("a_controller_that_never_returns_leaves_all_old", never_returns),
    ("a_second_controller_is_refused", two_controllers),
    ("a_controller_that_wakes_up_late_is_fenced", fenced),
];

const RESUME: [&str; 2] = ["resume", "--take-over"];

/// Runs an upgrade whose controllers are killed at the given writes of the journal, one after the other; the last one is left
/// alone. Gives the number of controllers.
fn drive(fixture: &Fixture, places: impl Iterator<Item = String>) -> usize {
    let mut count = 0;
    for place in places {
        let dying = fixture.upshift.with("UPSHIFT_FAILPOINT", &place);
        let ran = match count {
            0 => dying.run(&to("1.1.0")),
            _ => dying.run(&RESUME),
        };
        count += 1;
        if !ran.was_killed() {
            ran.expect(0);
            return count;
        }
    }
    fixture.upshift.run(&RESUME).expect(0);
    count + 1
}

/// [`drive`] under load; nothing may be lost.
fn driven(places: impl Iterator<Item = String>) -> usize {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    let load = Load::start(&fixture.cluster.client(), "load", 20);
    let count = drive(&fixture, places);
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all("1.1.0");
    fixture.expect_nothing_left();
    count
}

/// Each controller gets a little further than the one before it, and dies before or after its write.
fn killed_again_and_again() -> Outcome {
    let sides = ["abort", "abort-before"].into_iter().cycle();
    let places = (3..)
        .zip(sides)
        .map(|(write, side)| format!("journal:{write}={side}"));
    let count = driven(places);
    println!("    {count} controllers");
    assert!(count > 10, "only {count} controllers were needed");
    Ok(())
}

/// One upgrade for each write of the journal, whose controller dies right after it; unless all are asked for, for one write in
/// twelve.
fn killed_at_every_write() -> Outcome {
    let step = if std::env::var_os("UPSHIFT_E2E_EXHAUSTIVE").is_some() {
        1
    } else {
        12
    };
    // The first write is the run itself: until it stands there is nothing to resume.
    for write in (2..).step_by(step) {
        // A single controller means that the upgrade has fewer writes.
        if driven(std::iter::once(format!("journal:{write}=abort"))) == 1 {
            println!("    one in {step} of fewer than {write} writes");
            assert!(write > 80, "an upgrade has more than {write} writes");
            return Ok(());
        }
    }
    Ok(())
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
            // Each agent lives for about half a second.
            if killed.insert(pid) {
                std::thread::sleep(Duration::from_millis(500));
                processes::signal(pid, rustix::process::Signal::KILL);
            }
        }
        !upgrade.runs()
    });
    assert!(ended, "the upgrade goes on and on");
    let ran = upgrade.finish(Duration::from_secs(5));
    assert!(killed.len() > 3, "{} agents were killed", killed.len());
    // An action that is interrupted every time is given up; then all is as it was.
    match ran.status.code() {
        Some(0) => fixture.expect_all("1.1.0"),
        Some(3 | 4) => fixture.expect_all("1.0.0"),
        _ => panic!("{}", ran.text()),
    }
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
