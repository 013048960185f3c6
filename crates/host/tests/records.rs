//! Records of orders and guards: what is repeated, refused, renewed, and what is void.

use serde_json::json;
use upshift_host::guard::{Decided, Effect, Event, Key, Record, Refusal, State, decide};
use upshift_host::orders::{Admission, Asked, Ledger, admit, of_way_forward};
use upshift_host::{Clocks, Place};
use upshift_model::action::{GuardRecipe, GuardStatus, Report};

fn key() -> Key {
    Key {
        run: "run".to_owned(),
        hop: 0,
    }
}

fn at(since_boot: u64) -> Clocks {
    Clocks {
        boot: "a".to_owned(),
        since_boot,
        wall: since_boot + 1_000_000,
    }
}

fn place(token: u64, sequence: u64) -> Place {
    Place { token, sequence }
}

fn recipe() -> GuardRecipe {
    let recipe = json!({"scheme": "semver", "lease": "60s", "stagger": "20s", "rollback": []});
    serde_json::from_value(recipe).unwrap()
}

fn arming(recipe: &GuardRecipe, place: Place) -> Event<'_> {
    Event::Arm {
        fleet: "fleet",
        place,
        recipe,
    }
}

fn disarming(place: Place) -> Event<'static> {
    Event::Disarm {
        fleet: "fleet",
        place,
    }
}

/// What becomes of a record.
fn after(before: Option<&Record>, event: &Event<'_>, now: u64) -> Option<Record> {
    let decided = decide(before, &key(), event, &at(now)).unwrap();
    decided.record.or_else(|| before.cloned())
}

fn armed(sequence: u64) -> Record {
    after(None, &arming(&recipe(), place(1, sequence)), 0).unwrap()
}

fn fired() -> Record {
    let firing = after(Some(&armed(1)), &Event::Woke, 80_000);
    let overtakes = after(firing.as_ref(), &Event::Overtakes(place(1, 7)), 80_000);
    after(overtakes.as_ref(), &Event::Ended(State::RolledBack), 90_000).unwrap()
}

#[test]
fn a_renewal_counts_as_long_as_the_guard_has_not_begun_to_fire() {
    let guard = armed(1);
    assert_eq!(guard.deadline.remaining(&at(0)).0, 80_000);
    let late = after(Some(&guard), &Event::Renew, 95_000).unwrap();
    assert!(matches!(late.status(&at(95_000)), GuardStatus::Armed { remaining } if remaining.0 == 80_000));
    let early = after(Some(&guard), &Event::Woke, 79_999).unwrap();
    assert_eq!(early.state, State::Armed);
    let firing = after(Some(&guard), &Event::Woke, 80_000).unwrap();
    let renewed = decide(Some(&firing), &key(), &Event::Renew, &at(80_001)).unwrap();
    let unchanged = Decided {
        record: None,
        effect: Effect::StartProcess,
    };
    assert_eq!(
        renewed, unchanged,
        "it fires all the same, and its process is looked after"
    );
}

#[test]
fn an_order_to_arm_that_the_disarming_has_overtaken_arms_nothing() {
    let disarmed = after(None, &disarming(place(1, 7)), 0).unwrap();
    let recipe = recipe();
    let late = decide(Some(&disarmed), &key(), &arming(&recipe, place(1, 7)), &at(1));
    assert_eq!(late, Err(Refusal::DisarmedSince));
    let newer = after(Some(&disarmed), &arming(&recipe, place(1, 8)), 1).unwrap();
    assert_eq!(newer.state, State::Armed);
    let older = after(Some(&newer), &disarming(place(1, 7)), 2).unwrap();
    assert_eq!(older.state, State::Armed, "a disarming that comes late leaves it");
    let gone = after(Some(&newer), &disarming(place(1, 8)), 2).unwrap();
    assert_eq!(gone.state, State::Disarmed);
}

#[test]
fn a_guard_that_fires_cannot_be_disarmed_or_armed_and_one_that_has_fired_can_be_armed_again() {
    let firing = after(Some(&armed(1)), &Event::Woke, 80_000).unwrap();
    let still = after(Some(&firing), &disarming(place(2, 1)), 80_001).unwrap();
    assert_eq!(still.state, State::Firing);
    let recipe = recipe();
    let refused = decide(Some(&firing), &key(), &arming(&recipe, place(2, 1)), &at(80_001));
    assert_eq!(refused, Err(Refusal::Firing));
    let again = after(Some(&fired()), &arming(&recipe, place(2, 1)), 100_000).unwrap();
    assert_eq!((&again.state, again.fired), (&State::Armed, true));
    assert_eq!(
        again.overtook,
        Some(place(1, 7)),
        "what it has overtaken stays void"
    );
}

fn ledger() -> Ledger<Report> {
    let mut ledger = Ledger::default();
    ledger.begin((1, 1), place(1, 6));
    ledger.end((1, 1), done());
    ledger.begin((2, 1), place(1, 7));
    ledger
}

fn done() -> Report {
    Report::Done { output: json!(null) }
}

fn asked(attempt: (u32, u32), token: u64, sequence: u64, forward: bool) -> Asked {
    Asked {
        attempt,
        place: place(token, sequence),
        forward,
        arms: false,
        again: false,
    }
}

#[test]
fn an_attempt_is_done_once_and_repeated_with_its_report() {
    let ledger = ledger();
    let admit = |asked: Asked| admit(&ledger, 1, None, &asked);
    assert_eq!(admit(asked((1, 1), 1, 9, true)), Admission::Repeat(&done()));
    let interrupted = Admission::Answer(Report::Interrupted);
    assert_eq!(
        admit(asked((2, 1), 1, 9, true)),
        interrupted,
        "its agent has died"
    );
    assert_eq!(admit(asked((2, 2), 1, 9, true)), Admission::Perform);
    let late = Admission::Answer(Report::Fenced { token: 1 });
    assert_eq!(admit(asked((3, 1), 1, 6, true)), late, "a newer order was begun");
}

#[test]
fn an_older_controller_is_refused_whatever_it_asks() {
    let ledger = ledger();
    let fenced = Admission::Answer(Report::Fenced { token: 2 });
    for attempt in [(1, 1), (2, 1), (3, 1)] {
        assert_eq!(admit(&ledger, 2, None, &asked(attempt, 1, 9, false)), fenced);
    }
}

#[test]
fn after_the_guard_has_fired_older_records_are_void() {
    let (ledger, guard) = (ledger(), fired());
    let admit = |asked: Asked| admit(&ledger, 1, Some(&guard), &asked);
    let interrupted = Admission::Answer(Report::Interrupted);
    for attempt in [(1, 1), (2, 1)] {
        assert_eq!(
            admit(asked(attempt, 1, 9, false)),
            interrupted,
            "its proof is observed"
        );
        let refused = Admission::Answer(Report::GuardFired);
        assert_eq!(admit(asked(attempt, 1, 9, true)), refused, "no way forward");
    }
    assert_eq!(admit(asked((3, 1), 1, 9, false)), Admission::Perform);
    let arms = |forward: bool| {
        admit(Asked {
            arms: true,
            ..asked((4, 1), 1, 9, forward)
        })
    };
    assert_eq!(arms(false), Admission::Perform, "a rollback arms it again");
    assert_eq!(arms(true), Admission::Answer(Report::GuardFired));
}

#[test]
fn an_order_to_arm_that_an_operator_stands_behind_lets_the_hop_go_forward_again() {
    let (ledger, before) = (ledger(), fired());
    let arms = |again: bool| Asked {
        arms: true,
        again,
        ..asked((4, 1), 2, 1, true)
    };
    let refused = Admission::Answer(Report::GuardFired);
    assert_eq!(admit(&ledger, 2, Some(&before), &arms(false)), refused);
    assert_eq!(admit(&ledger, 2, Some(&before), &arms(true)), Admission::Perform);
    // It is the order to arm that counts, no other that claims the same.
    let other = Asked {
        again: true,
        ..asked((4, 1), 2, 1, true)
    };
    assert_eq!(admit(&ledger, 2, Some(&before), &other), refused);

    let recipe = GuardRecipe {
        again: true,
        ..recipe()
    };
    let after = after(Some(&before), &arming(&recipe, place(2, 1)), 100_000).unwrap();
    assert_eq!((&after.state, after.fired), (&State::Armed, false));
    let forward = asked((5, 1), 2, 2, true);
    assert_eq!(admit(&ledger, 2, Some(&after), &forward), Admission::Perform);
    let old = asked((1, 1), 2, 3, true);
    assert_eq!(
        admit(&ledger, 2, Some(&after), &old),
        Admission::Answer(Report::Interrupted),
        "what the guard has overtaken stays void"
    );
    assert_eq!(of_way_forward(Some(&after), Ok(json!(1))), Ok(json!(1)));
}

#[test]
fn records_of_before_are_read() {
    let old = json!({
        "key": {"run": "run", "hop": 0}, "fleet": "fleet", "recipe": null, "disarmed": null,
        "deadline": {"boot": "a", "since_boot": 5, "wall": 6, "longest": "1s"}, "state": "armed", "fired": false,
    });
    let record: Record = serde_json::from_value(old).unwrap();
    assert_eq!((record.armed, record.overtook), (Place::default(), None));
}

#[test]
fn a_controller_without_the_journal_lets_a_guard_fire_that_stands_was_disarmed_or_has_failed() {
    let standing = armed(1);
    let disarmed = after(Some(&standing), &disarming(place(1, 9)), 10).unwrap();
    let failed = State::Failed {
        reason: "no disk".to_owned(),
    };
    let failed = after(Some(&fired()), &Event::Ended(failed), 20).unwrap();
    for before in [standing, disarmed, failed] {
        let decided = decide(Some(&before), &key(), &Event::RollBack, &at(30)).unwrap();
        assert_eq!(decided.effect, Effect::StartProcess, "{:?}", before.state);
        let due = decided.record.unwrap();
        let firing = after(Some(&due), &Event::Woke, 30).unwrap();
        assert_eq!(firing.state, State::Firing, "{:?}", before.state);
    }
    for ended in [State::RolledBack, State::StoodDown] {
        let before = after(Some(&fired()), &Event::Ended(ended), 20).unwrap();
        let decided = decide(Some(&before), &key(), &Event::RollBack, &at(30)).unwrap();
        assert_eq!((decided.record, decided.effect), (None, Effect::Nothing));
    }
    let never_armed = after(None, &disarming(place(1, 1)), 10).unwrap();
    let decided = decide(Some(&never_armed), &key(), &Event::RollBack, &at(30)).unwrap();
    assert_eq!(decided.record, None);
}
