//! `kill -9` at every write of the journal: whatever was acknowledged is there, and nothing in part.

mod common;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{FLEET, RUN, create, event, holder, numbers};
use upshift_model::Millis;
use upshift_run::OperatorCommand;
use upshift_store::{Acquire, Lasting, Store};

const WRITES: u64 = 6;

/// Appends pairs of events and acknowledges each on standard output; every third write takes an operator's words instead.
#[test]
#[ignore = "started by another test"]
fn appends_until_killed() {
    let store = Store::open(Path::new(&std::env::var("STORE").unwrap())).unwrap();
    let lease = store.acquire(FLEET, &holder(), Acquire::default()).unwrap();
    if store.runs(Some(FLEET)).unwrap().is_empty() {
        create(&store, &lease, RUN);
    }
    for write in 1..=WRITES {
        if write % 3 == 0 {
            store.say(RUN, "ann", &OperatorCommand::Pause).unwrap();
            store.take_commands(&lease, RUN, Millis(write * 100)).unwrap();
        } else {
            // The end of a process takes neither away.
            let lasting = if write % 2 == 0 {
                Lasting::Always
            } else {
                Lasting::UntilTheMachineDies
            };
            store
                .append(
                    &lease,
                    RUN,
                    &[event(write * 100), event(write * 100 + 1)],
                    lasting,
                )
                .unwrap();
        }
        println!("ACKNOWLEDGED {write}");
        std::io::stdout().flush().unwrap();
    }
}

/// Runs the test above with a failpoint; yields the writes that it acknowledged, and whether it was killed.
fn crash(path: &Path, failpoint: &str) -> (Vec<u64>, bool) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "appends_until_killed", "--ignored", "--nocapture"])
        .env("STORE", path)
        .env("UPSHIFT_FAILPOINT", failpoint)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let acknowledged = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once("ACKNOWLEDGED ")?.1.parse().ok())
        .collect();
    (acknowledged, output.status.signal() == Some(9))
}

fn written(write: u64) -> Vec<u64> {
    if write.is_multiple_of(3) {
        vec![write * 100]
    } else {
        vec![write * 100, write * 100 + 1]
    }
}

#[test]
fn whatever_was_acknowledged_survives_a_kill_at_any_write() {
    for at in 1..=WRITES {
        for (side, survives) in [("abort-before", at - 1), ("abort", at)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db");
            let (acknowledged, killed) = crash(&path, &format!("journal:{at}={side}"));
            assert!(killed, "the failpoint {side} at {at} was not reached");
            assert_eq!(acknowledged, (1..at).collect::<Vec<_>>());
            let store = Store::open(&path).unwrap();
            let expected: Vec<u64> = (1..=survives).flat_map(written).collect();
            assert_eq!(numbers(&store), expected, "{side} at {at}");

            // The dead process holds nothing up, and what an operator said before it died is heard exactly once.
            let lease = store.acquire(FLEET, &holder(), Acquire::default()).unwrap();
            let heard = store.take_commands(&lease, RUN, Millis(9999)).unwrap();
            let lost_word = side == "abort-before" && at.is_multiple_of(3);
            assert_eq!(heard.len(), usize::from(lost_word), "{side} at {at}");
        }
    }
}
