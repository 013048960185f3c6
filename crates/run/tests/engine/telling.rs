//! What a run tells of itself: phases, reasons, times.

use serde_json::{Value, json};
use upshift_model::action::Report;
use upshift_run::{OperatorCommand, Pause};

use crate::puppet::{Builder, Puppet, rolled_back, seconds, without};

/// The phases that a run goes through, each once in a row.
fn phases(puppet: &mut Puppet) -> Vec<String> {
    let mut phases: Vec<String> = Vec::new();
    puppet.start().until(|puppet| {
        let phase = puppet.state.view().phase;
        if phases.last() != Some(&phase) {
            phases.push(phase);
        }
        false
    });
    phases
}

#[test]
fn every_phase_has_a_name() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    assert_eq!(
        phases(&mut puppet),
        [
            "preparing",
            "before window 1 of 3 (1.0.0 → 2.0.0)",
            "window 1 of 3 (1.0.0 → 2.0.0)",
            "before window 2 of 3 (1.0.0 → 2.0.0)",
            "window 2 of 3 (1.0.0 → 2.0.0)",
            "before window 3 of 3 (1.0.0 → 2.0.0)",
            "window 3 of 3 (1.0.0 → 2.0.0)",
            "deciding (1.0.0 → 2.0.0)",
            "in doubt: disarming guards (1.0.0 → 2.0.0)",
            "soaking (1.0.0 → 2.0.0)",
        ]
    );
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    assert_eq!(
        phases(&mut puppet)[5..],
        [
            "rolling back: window 2 of 3 (1.0.0 → 2.0.0)",
            "rolling back: before window 1 of 3 (1.0.0 → 2.0.0)",
            "rolling back: window 1 of 3 (1.0.0 → 2.0.0)",
        ]
    );
}

#[test]
fn why_names_the_host_and_what_is_missing_there() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.start().until(|puppet| puppet.now >= seconds(30));
    let why = puppet.state.view().why;
    let waits = |host: &str, what: &str| {
        why.iter()
            .any(|why| why.host.as_deref() == Some(host) && why.what.contains(what))
    };
    assert!(waits("h2", "waiting for recovered"), "{why:?}");
    assert!(why.iter().all(|why| !why.what.contains("paused")), "{why:?}");
    assert!(why.iter().all(|why| why.host.as_deref() != Some("h3")), "{why:?}");
    puppet.run();
    let why = puppet.state.view().why;
    assert_eq!(why.len(), 1, "how it ended: {why:?}");

    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start().operator(OperatorCommand::Pause);
    puppet.until(|puppet| puppet.state.view().pause == Pause::Reached);
    let why = puppet.state.view().why;
    assert!(why.iter().any(|why| why.what.contains("paused")), "{why:?}");
}

#[test]
fn a_server_is_told_with_its_guard_its_step_and_how_long_it_was_disturbed() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.start().until(|puppet| puppet.now >= seconds(10));
    let view = puppet.state.view();
    let node = |name: &str| {
        view.nodes
            .iter()
            .find(|node| node.name == name)
            .expect("a server")
    };
    assert_eq!(
        node("h2").guard,
        Some(seconds(80)),
        "of ninety, ten seconds after it was armed"
    );
    assert_eq!(node("h2").disturbed, Some(seconds(10)));
    let step = node("h2").step.as_ref().expect("a step");
    assert_eq!((step.title.as_str(), step.stage.as_str()), ("recover", "proving"));
    assert_eq!((step.since, step.remaining), (seconds(10), seconds(50)));
    assert!(node("h1").done && !node("h2").done && !node("h3").done);
    assert_eq!(
        (&node("h3").guard, &node("h3").step, &node("h3").disturbed),
        (&None, &None, &None)
    );
    assert_eq!(
        (node("h1").version.as_str(), node("h2").version.as_str()),
        ("2.0.0", "1.0.0")
    );
}

#[test]
fn a_step_of_which_nothing_was_seen_says_so() {
    let mut plan = Builder::rolling();
    plan.recipe_mut("recover").within = seconds(1);
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| (probe != "recovered@h1").then(|| Ok(json!({"ok": true}))));
    puppet.start().run();
    let reason = rolled_back(&puppet);
    assert!(reason.contains("after 1.0 s: nothing was observed"), "{reason}");
}

#[test]
fn times_say_how_many_clients_the_rollback_has_cost() {
    let mut puppet = without(Builder::rolling(), "recovered@h2");
    puppet.on_order = Box::new(|_, _| {
        Some(Report::Done {
            output: json!({"connections": 3}),
        })
    });
    puppet.start().run();
    for time in puppet.state.times() {
        let undo = matches!(time.kind, upshift_plan::StepKind::Undo(_));
        assert_eq!(time.disconnected, undo.then_some(3), "{}", time.title);
    }
}

#[test]
fn long_values_are_cut_short_where_they_are_told() {
    for (length, cut) in [(10, false), (1000, true)] {
        let mut puppet = Puppet::new(Builder::rolling().plan);
        puppet.on_probe = Box::new(move |probe, _| {
            Some(Ok(
                json!({"ok": probe != "recovered@h1", "text": "x".repeat(length)}),
            ))
        });
        puppet.start().run();
        let reason = rolled_back(&puppet);
        assert!(reason.contains(&"x".repeat(10)), "{reason}");
        assert_eq!(reason.contains('…'), cut, "{reason}");
        assert!(reason.len() < 400, "{reason}");
    }
}

/// A run that waits costs nothing: it is looked at when something is due, not all the time.
#[test]
fn who_waits_is_woken_when_something_is_due() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| (title != "drain").then_some(Report::Done { output: Value::Null }));
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"drain"));
    let (events, began) = (puppet.journal.len(), puppet.now);
    puppet.until(|puppet| puppet.state.rolling_back());
    assert_eq!(puppet.now.minus(began), seconds(60), "its time is over");
    let woken = puppet.journal.len() - events;
    assert!(woken < 25, "woken {woken} times in a minute");
}

#[test]
fn a_look_is_not_taken_before_its_time() {
    let mut puppet = without(Builder::rolling(), "recovered@h1");
    puppet.start().until(|puppet| puppet.now >= seconds(5));
    let looks = |puppet: &Puppet| {
        let asked = puppet.asked.iter();
        asked.filter(|(probe, _)| probe == "recovered@h1").count()
    };
    let before = looks(&puppet);
    for _ in 0..10 {
        puppet.tell(upshift_run::EventKind::Woke);
    }
    assert_eq!(looks(&puppet), before, "half a second lies between two");
}
