//! The store's promises, one behaviour at a time.

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::{FLEET, RUN, begin, create, event, holder, numbers, plan};
use proptest::prelude::*;
use upshift_model::Millis;
use upshift_run::{Event, EventKind, OperatorCommand, Outcome};
use upshift_store::{Acquire, Lasting, Store, StoreError};

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Place {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> Store {
        Store::open(&self.directory.path().join("deep/down/store.db")).unwrap()
    }
}

const TAKE_OVER: Acquire = Acquire {
    take_over: true,
    above: 0,
};

#[test]
fn events_come_back_in_order_from_any_number_on() {
    let place = Place::new();
    let store = place.open();
    let lease = begin(&store);
    store
        .append(&lease, RUN, &[event(1), event(2)], Lasting::Always)
        .unwrap();
    store.append(&lease, RUN, &[], Lasting::Always).unwrap();
    store.append(&lease, RUN, &[event(3)], Lasting::Always).unwrap();
    let again = place.open();
    assert_eq!(numbers(&again), [1, 2, 3]);
    let tail = again.events(RUN, 3).unwrap();
    assert_eq!((tail.len(), tail[0].sequence), (1, 3));
}

#[test]
fn the_store_is_for_its_owner_alone() {
    let place = Place::new();
    let store = place.open();
    begin(&store);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.path().parent().unwrap()), 0o700);
    for file in std::fs::read_dir(store.path().parent().unwrap()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    let error = Store::open(std::path::Path::new("/proc/nowhere/store.db"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("the store cannot be made in /proc/nowhere: "),
        "{error}"
    );
}

#[test]
fn a_second_controller_is_told_who_holds_the_fleet() {
    let place = Place::new();
    let store = place.open();
    begin(&store);
    let error = place
        .open()
        .acquire(FLEET, &holder(), Acquire::default())
        .unwrap_err();
    let StoreError::Held(held) = &error else {
        panic!("{error}")
    };
    assert_eq!(held.lease.run.as_deref(), Some(RUN));
    let mut held = held.clone();
    (held.lease.holder.pid, held.lease.holder.host) = (4711, "desk".to_owned());
    held.now_ms = held.lease.since_ms + 754_000;
    held.lease.heartbeat_ms = held.now_ms - 3_000;
    insta::assert_snapshot!(held.to_string(), @"the fleet `ledger` is held by ann@desk (process 4711 on desk) for run run-1 since 12 min ago; its last sign of life was 3 s ago. One run at a time: wait for it (`upshift status --watch`), or carry its run on yourself with `upshift resume --take-over`");
}

#[test]
fn a_controller_that_was_taken_over_can_write_nothing_any_more() {
    let place = Place::new();
    let store = place.open();
    let old = begin(&store);
    store.append(&old, RUN, &[event(1)], Lasting::Always).unwrap();
    store.say(RUN, "ann", &OperatorCommand::Pause).unwrap();
    let new = place.open().acquire(FLEET, &holder(), TAKE_OVER).unwrap();
    assert!(new.token > old.token);
    let refused = [
        store.append(&old, RUN, &[event(2)], Lasting::Always).unwrap_err(),
        store.heartbeat(&old).unwrap_err(),
        store.take_commands(&old, RUN, Millis(2)).unwrap_err(),
        store
            .set_outcome(&old, RUN, Some(&Outcome::Upgraded))
            .unwrap_err(),
        store.take_up(&old, RUN).unwrap_err(),
    ];
    for error in refused {
        assert!(
            matches!(error, StoreError::Superseded { token, .. } if token == new.token),
            "{error}"
        );
    }
    store.release(&old).unwrap();
    store.append(&new, RUN, &[event(3)], Lasting::Always).unwrap();
    assert_eq!(numbers(&store), [1, 3]);
}

#[test]
fn tokens_only_grow_and_exceed_what_hosts_have_seen() {
    let store = Place::new().open();
    let mut last = 0;
    for above in [0, 0, u64::from(u32::MAX) << 10, 0] {
        let lease = store
            .acquire(
                FLEET,
                &holder(),
                Acquire {
                    take_over: true,
                    above,
                },
            )
            .unwrap();
        assert!(lease.token > last && lease.token > above);
        last = lease.token;
        store.release(&lease).unwrap();
    }
}

#[test]
fn a_lease_that_was_given_back_is_free() {
    let store = Place::new().open();
    let lease = begin(&store);
    assert_eq!(store.lease(FLEET).unwrap().unwrap().run.as_deref(), Some(RUN));
    store.release(&lease).unwrap();
    assert_eq!(store.lease(FLEET).unwrap(), None);
    assert!(store.acquire(FLEET, &holder(), Acquire::default()).unwrap().token > lease.token);
}

#[test]
fn the_lease_of_a_killed_process_is_free_at_once() {
    let place = Place::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "holds_a_lease_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env("STORE", place.directory.path().join("deep/down/store.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut seen = String::new();
    while !seen.contains("HOLDING") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        seen.push(byte[0] as char);
    }
    let store = place.open();
    assert!(matches!(
        store.acquire(FLEET, &holder(), Acquire::default()),
        Err(StoreError::Held(_))
    ));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(store.lease(FLEET).unwrap().unwrap().holder.has_ended());
    store.acquire(FLEET, &holder(), Acquire::default()).unwrap();
}

/// The other process of the test above.
#[test]
#[ignore = "started by another test"]
fn holds_a_lease_until_killed() {
    let store = Store::open(std::path::Path::new(&std::env::var("STORE").unwrap())).unwrap();
    begin(&store);
    println!("HOLDING");
    std::io::stdout().flush().unwrap();
    // Until it is killed.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn what_an_operator_says_becomes_an_event_exactly_once() {
    let place = Place::new();
    let store = place.open();
    let lease = begin(&store);
    let operator = place.open();
    operator.say(RUN, "ann", &OperatorCommand::Pause).unwrap();
    operator.say(RUN, "bob", &OperatorCommand::Abort).unwrap();
    let taken = store.take_commands(&lease, RUN, Millis(7)).unwrap();
    let said = |who: &str, command| Event {
        at: Millis(7),
        kind: EventKind::Operator {
            who: who.to_owned(),
            command,
        },
    };
    assert_eq!(
        taken,
        [
            said("ann", OperatorCommand::Pause),
            said("bob", OperatorCommand::Abort)
        ]
    );
    assert_eq!(store.take_commands(&lease, RUN, Millis(8)).unwrap(), []);
    let journal: Vec<Event> = store
        .events(RUN, 1)
        .unwrap()
        .into_iter()
        .map(|recorded| recorded.event)
        .collect();
    assert_eq!(journal, taken);
    let error = operator.say("nope", "ann", &OperatorCommand::Pause).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no run `nope`; `upshift history` lists them"
    );
}

#[test]
fn runs_are_listed_newest_first_with_their_outcome() {
    let store = Place::new().open();
    let lease = begin(&store);
    create(&store, &lease, "run-2");
    store.set_outcome(&lease, RUN, Some(&Outcome::Upgraded)).unwrap();
    let runs = store.runs(Some(FLEET)).unwrap();
    assert_eq!(
        runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(),
        ["run-2", RUN]
    );
    assert_eq!(runs[1].outcome, Some(Outcome::Upgraded));
    assert_eq!(runs[1].setting["fleet_file"], "fleet.yaml");
    assert_eq!(store.runs(Some("other")).unwrap(), []);
    store.set_outcome(&lease, RUN, None).unwrap();
    assert_eq!(store.run(RUN).unwrap().outcome, None);
    assert_eq!(store.plan(RUN).unwrap(), plan());
}

#[test]
fn names_of_runs_are_not_taken_twice_on_whichever_machine() {
    let (store, elsewhere) = (Place::new().open(), Place::new().open());
    let lease = begin(&store);
    let first = store.fresh_run_id("my Fleet").unwrap();
    assert!(first.starts_with("20") && first.contains("-my-fleet-"), "{first}");
    create(&store, &lease, &first);
    assert_ne!(store.fresh_run_id("my Fleet").unwrap(), first);
    assert_ne!(elsewhere.fresh_run_id("my Fleet").unwrap(), first);
}

#[test]
fn a_journal_is_the_same_after_export_and_import() {
    let (here, there) = (Place::new(), Place::new());
    let store = here.open();
    let lease = begin(&store);
    store
        .append(
            &lease,
            RUN,
            &(1..=20).map(event).collect::<Vec<_>>(),
            Lasting::Always,
        )
        .unwrap();
    let mut text = Vec::new();
    store.export(RUN, &mut text).unwrap();
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 21);
    let other = there.open();
    assert_eq!(other.import(&mut &text[..]).unwrap(), RUN);
    assert_eq!(other.events(RUN, 1).unwrap(), store.events(RUN, 1).unwrap());
    assert_eq!(other.plan(RUN).unwrap(), store.plan(RUN).unwrap());
    assert!(matches!(
        other.import(&mut &text[..]),
        Err(StoreError::RunExists(_))
    ));
}

#[test]
fn a_damaged_export_is_refused_with_its_line() {
    let place = Place::new();
    let store = place.open();
    let lease = begin(&store);
    store
        .append(&lease, RUN, &[event(1), event(2), event(3)], Lasting::Always)
        .unwrap();
    let mut text = Vec::new();
    store.export(RUN, &mut text).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let gap = [lines[0], lines[1], lines[3]].concat();
    let error = Place::new().open().import(&mut &gap[..]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3 of the journal cannot be read: event 2 was expected, not 3"
    );
}

#[test]
fn other_databases_and_newer_stores_are_left_alone() {
    let place = Place::new();
    let path = place.open().path().to_owned();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&path).err().unwrap().to_string();
    assert!(
        error.ends_with("(format 99, this one knows 2): upgrade the program"),
        "{error}"
    );
    connection.pragma_update(None, "application_id", 1).unwrap();
    let error = Store::open(&path).err().unwrap().to_string();
    assert!(error.ends_with("is not a store of this program"), "{error}");
    assert!(matches!(
        Store::open_existing(&path.with_extension("none")),
        Err(StoreError::Missing(_))
    ));
}

#[test]
fn a_store_can_be_read_while_another_process_writes() {
    let place = Place::new();
    let store = place.open();
    let lease = begin(&store);
    let reader = Store::open_existing(store.path()).unwrap();
    for number in 1..=20 {
        store
            .append(&lease, RUN, &[event(number)], Lasting::Always)
            .unwrap();
        assert_eq!(numbers(&reader).len() as u64, number);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever two controllers and take-overs do in whatever order: the journal is what the holders of the time appended.
    #[test]
    fn the_journal_is_what_the_holders_appended(moves in prop::collection::vec((0usize..2, 0u8..4), 1..40)) {
        let place = Place::new();
        let stores = [place.open(), place.open()];
        let mut leases = [Some(begin(&stores[0])), None];
        let mut holder_now = Some(0);
        let mut expected = Vec::new();
        for (number, (who, what)) in (1u64..).zip(moves) {
            match what {
                0 => {
                    leases[who] = Some(stores[who].acquire(FLEET, &holder(), TAKE_OVER).unwrap());
                    holder_now = Some(who);
                }
                1 => if let Some(lease) = leases[who].take() {
                    stores[who].release(&lease).unwrap();
                    holder_now = holder_now.filter(|now| *now != who);
                },
                _ => if let Some(lease) = &leases[who] {
                    let appended = stores[who].append(lease, RUN, &[event(number)], Lasting::Always);
                    prop_assert_eq!(appended.is_ok(), holder_now == Some(who));
                    if appended.is_ok() {
                        expected.push(number);
                    }
                },
            }
        }
        prop_assert_eq!(numbers(&stores[0]), expected);
    }
}

/// The write-ahead log must be flushed by the append that lasts always, with everything that the ones before it have left there.
#[test]
fn an_append_that_lasts_always_is_flushed_and_the_next_one_again_on_its_own_terms() {
    let place = Place::new();
    let store = place.open();
    let lease = begin(&store);
    for (number, lasting) in [
        (1, Lasting::UntilTheMachineDies),
        (2, Lasting::Always),
        (3, Lasting::UntilTheMachineDies),
    ] {
        store.append(&lease, RUN, &[event(number)], lasting).unwrap();
    }
    assert_eq!(numbers(&place.open()), [1, 2, 3]);
}
