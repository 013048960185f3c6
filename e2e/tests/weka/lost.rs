//! The controller is killed while the vendor's command runs. `resume` asks the cluster what became of it, and never starts it twice.

use std::time::Duration;

use serde_json::{Value, json};
use upshift_e2e::harness::{Outcome, only_when_exhaustive};
use upshift_lab::processes;

use super::cluster::{Weka, With};
use super::{NEW, OLD};

/// A cluster whose upgrade is under way, its controller killed.
fn killed(mut change: Value, impatient: bool) -> Weka {
    // Each of its pauses; the command takes two once all is prepared.
    change["pace"] = json!(4);
    let weka = With {
        change,
        ..With::default()
    }
    .begin();
    let mut arguments: Vec<String> = [
        "upgrade",
        "--yes",
        "--accept-no-return",
        "--to",
        NEW,
        "--soak",
        "1s",
    ]
    .map(str::to_owned)
    .to_vec();
    if impatient {
        // A rollback waits until the guards would have done it.
        let more = ["--guard-lease", "60s", "--profile"].map(str::to_owned);
        arguments.extend(more);
        arguments.push(weka.impatient_profile());
    }
    let mut upgrade = weka.upshift.start(&arguments);
    let begun = || {
        assert!(upgrade.runs(), "{}", upgrade.so_far());
        weka.upgrades() == 1
    };
    assert!(
        processes::poll(Duration::from_secs(60), begun),
        "{:?}",
        weka.orders()
    );
    upgrade.kill();
    assert!(command_runs(&weka), "it goes on without the controller");
    weka
}

/// Whether the vendor's command runs.
fn command_runs(weka: &Weka) -> bool {
    let ours = processes::under(weka.root());
    ours.iter().any(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.contains(&b"upgrade".as_slice()) && words.contains(&b"--stop-io-timeout".as_slice())
    })
}

#[track_caller]
fn wait_for_its_end(weka: &Weka) {
    assert!(processes::poll(Duration::from_secs(60), || !command_runs(weka)));
}

pub fn still_running() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let weka = killed(json!({}), false);
    let resumed = weka.run(&["resume", "--take-over"]).expect(0);
    resumed.keep("weka-resumed-while-it-runs");
    weka.all_on(NEW);
    assert_eq!(weka.upgrades(), 1, "{:?}", weka.orders());
    Ok(())
}

pub fn ended_meanwhile() -> Outcome {
    only_when_exhaustive("a minute")?;
    // Ended well.
    let weka = killed(json!({}), false);
    wait_for_its_end(&weka);
    weka.all_on(NEW);
    weka.run(&["resume", "--take-over"]).expect(0);
    assert_eq!(weka.upgrades(), 1, "{:?}", weka.orders());
    // Rolled back by itself.
    let weka = killed(json!({"fail": "window"}), false);
    wait_for_its_end(&weka);
    weka.all_on(OLD);
    assert_eq!(weka.cluster()["io"], "STOPPED");
    let resumed = weka.run(&["resume", "--take-over"]).expect(4);
    resumed.keep("weka-resumed-after-its-rollback");
    assert!(
        resumed.text().contains("host version change timed out"),
        "{}",
        resumed.text()
    );
    weka.all_on(OLD);
    assert_eq!(weka.cluster()["io"], "STARTED");
    assert_eq!(weka.upgrades(), 1, "{:?}", weka.orders());
    Ok(())
}

pub fn mixed_meanwhile() -> Outcome {
    only_when_exhaustive("a minute")?;
    let weka = killed(json!({"fail": "mixed"}), true);
    wait_for_its_end(&weka);
    let resumed = weka.run(&["resume", "--take-over"]).expect(5);
    assert!(resumed.text().contains("may be mixed"), "{}", resumed.text());
    assert_eq!(weka.upgrades(), 1, "{:?}", weka.orders());
    assert!(weka.versions().contains(&NEW.to_owned()) && weka.versions().contains(&OLD.to_owned()));
    Ok(())
}
