//! Releases that are no good: found out, and rolled back.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome};
use upshift_lab::load::Load;
use upshift_lab::server::Manifest;

use super::basics::{go, to};

pub const TRIALS: &[Case] = &[
    ("a_release_that_is_never_healthy_is_rolled_back", never_healthy),
    ("a_release_that_crashes_later_is_rolled_back", crashes_later),
    (
        "all_members_that_crash_while_they_are_watched_are_taken_back_at_once",
        all_crash,
    ),
    (
        "a_rollback_that_is_stuck_goes_forward_again_once_the_cause_is_mended",
        goes_forward_again,
    ),
    ("a_release_that_refuses_to_start_is_rolled_back", refuses),
    ("a_release_that_loses_data_is_rolled_back", loses_data),
    ("a_release_that_lies_about_its_version_is_rolled_back", lies),
    ("a_release_that_recovers_slowly_is_waited_for", slow),
    ("a_server_that_ignores_the_request_to_end_is_killed", ignores_term),
    ("a_second_hop_that_fails_puts_the_configuration_back", second_hop),
];

/// Upgrades a loaded cluster of 1.0.0 to a release that is no good; everything must be as it was.
#[track_caller]
fn rolled_back(change: impl FnOnce(&mut Manifest)) -> Outcome {
    rolled_back_with(&[], change)
}

/// [`rolled back`] with further arguments.
#[track_caller]
fn rolled_back_with(arguments: &[&str], change: impl FnOnce(&mut Manifest)) -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", change);
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 50);

    let mut words = go("1.0.1");
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    let ran = fixture.upshift.run(&words).expect(4);

    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all("1.0.0");
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    fixture.expect_nothing_left();
    assert!(ran.text().contains("1.0.0"), "{}", ran.text());
    // The same version is not tried again unless it is asked for.
    let again = fixture.upshift.run(&to("1.0.1")).expect(3);
    assert!(again.text().contains("--again"), "{}", again.text());
    Ok(())
}

/// All members serve on the new release, and crash while they are watched. None of them serves without the others.
fn all_crash() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |manifest| {
        manifest.misbehaviour.crash_after_ms = Some(5000)
    });
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 50);
    let words = [
        "upgrade",
        "--yes",
        "--to",
        "1.0.1",
        "--soak",
        "20s",
        "--soak-between",
        "0s",
    ];
    let held = fixture.upshift.run(&words).expect(5);
    assert!(
        held.text().contains("`upshift rollback --all-at-once`"),
        "{}",
        held.text()
    );
    held.keep("lab-all-crash");

    let back = fixture
        .upshift
        .run(&["rollback", "--all-at-once", "--yes"])
        .expect(0);

    back.keep("lab-all-at-once");
    fixture.expect_all("1.0.0");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    fixture.expect_nothing_left();
    Ok(())
}

/// A stranger takes a member's port as soon as it is free: neither version starts there, until the port is given back.
struct Stranger {
    leave: Arc<AtomicBool>,
    took: JoinHandle<bool>,
}

impl Stranger {
    fn waits_for(address: String) -> Stranger {
        let leave = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&leave);
        let took = std::thread::spawn(move || {
            let mut held = None;
            while !asked.load(Ordering::Relaxed) {
                held = held.or_else(|| TcpListener::bind(&address).ok());
                std::thread::sleep(Duration::from_millis(2));
            }
            held.is_some()
        });
        Stranger { leave, took }
    }

    /// Gives the port back, and says whether it was ever taken.
    fn leaves(self) -> bool {
        self.leave.store(true, Ordering::Relaxed);
        self.took.join().expect("the stranger")
    }
}

fn goes_forward_again() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let load = Load::start(&fixture.cluster.client(), "load", 50);
    let stranger = Stranger::waits_for(fixture.cluster.members()[1].endpoint());
    let held = fixture.upshift.run(&to("1.0.1")).expect(5);
    held.keep("lab-stuck");
    assert!(held.text().contains("the rollback is stuck"), "{}", held.text());
    let why = fixture.upshift.run(&["why"]).expect(0);
    assert!(
        why.text()
            .contains("`upshift resume --forward`; n2, one after the other"),
        "{}",
        why.text()
    );
    assert!(stranger.leaves(), "the port was never free");

    fixture.upshift.run(&["resume", "--forward"]).expect(0);

    fixture.expect_all("1.0.1");
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    let refused = fixture.upshift.run(&["resume", "--forward"]).expect(3);
    assert!(refused.text().contains("has ended"), "{}", refused.text());
    fixture.expect_nothing_left();
    Ok(())
}

fn never_healthy() -> Outcome {
    rolled_back(|manifest| manifest.misbehaviour.never_healthy = true)
}

fn crashes_later() -> Outcome {
    // Watched for longer than it takes to crash, the first server shows it.
    rolled_back_with(&["--soak-between", "3s"], |manifest| {
        manifest.misbehaviour.crash_after_ms = Some(1000);
    })
}

fn refuses() -> Outcome {
    rolled_back(|manifest| manifest.misbehaviour.refuses_to_start = true)
}

fn loses_data() -> Outcome {
    rolled_back(|manifest| manifest.misbehaviour.lose_data = true)
}

fn lies() -> Outcome {
    rolled_back(|manifest| "1.0.7".clone_into(&mut manifest.version))
}

fn slow() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |manifest| manifest.misbehaviour.slow_recovery_ms = 1500);
    fixture.upshift.run(&to("1.0.1")).expect(0);
    fixture.expect_all("1.0.1");
    Ok(())
}

fn ignores_term() -> Outcome {
    let mut manifest = Manifest::plain("1.0.0");
    manifest.misbehaviour.ignore_sigterm = true;
    let fixture = Fixture::lab_of(&manifest);
    fixture.add_release("1.0.1", |_| {});
    fixture.upshift.run(&to("1.0.1")).expect(0);
    fixture.expect_all("1.0.1");
    Ok(())
}

fn second_hop() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    fixture.add_release("2.0.0", |manifest| manifest.misbehaviour.never_healthy = true);
    let before = fixture.cluster.configurations().expect("configurations");
    fixture.upshift.run(&to("2.0.0")).expect(4);
    fixture.expect_all("1.1.0");
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    fixture.expect_nothing_left();
    Ok(())
}
