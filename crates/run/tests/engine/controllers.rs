//! Controllers that die, come back, or are not the only one.

use serde_json::Value;
use upshift_model::action::{GuardStatus, Report};
use upshift_run::{EventKind, Outcome};

use crate::puppet::{Builder, FORWARD, Puppet, rolled_back, seconds};

#[test]
fn a_controller_that_dies_anywhere_is_resumed_without_doing_anything_twice() {
    let mut whole = Puppet::new(Builder::rolling().plan);
    whole.start().run();
    for crash in 1..whole.journal.len() {
        let mut puppet = Puppet::new(Builder::rolling().plan);
        puppet.start().until(|puppet| puppet.journal.len() == crash);
        puppet.crash().start_as(2).run();
        assert_eq!(puppet.outcome(), Outcome::Upgraded, "crash after event {crash}");
        for host in ["h1", "h2", "h3"] {
            let mut orders = puppet.orders_to(host);
            orders.dedup();
            assert_eq!(orders, FORWARD, "crash after event {crash}");
        }
        assert!(
            puppet.orders.iter().all(|(.., attempt)| *attempt == 1),
            "crash after event {crash}"
        );
    }
}

#[test]
fn a_new_controller_gives_an_open_order_again_at_once() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| (title != "stop").then_some(Report::Done { output: Value::Null }));
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"stop"));
    let given = puppet.now;
    puppet.crash().start_as(2);
    puppet.until(|puppet| puppet.orders_to("h1").ends_with(&["stop", "stop"]));
    assert_eq!(puppet.now, given);
    let tokens: Vec<u64> = puppet
        .sent
        .iter()
        .rev()
        .take(2)
        .map(|order| order.token)
        .collect();
    assert_eq!(tokens, [2, 1], "under its own token");
}

#[test]
fn time_without_a_controller_is_nobodys_fault_and_what_was_open_is_asked_again_at_once() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| (title != "stop").then_some(Report::Done { output: Value::Null }));
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h1").contains(&"stop"));
    puppet.crash();
    puppet.now = seconds(200);
    puppet.on_order = Box::new(|_, _| Some(Report::Done { output: Value::Null }));
    puppet.renewed = 0;
    puppet
        .start_as(2)
        .until(|puppet| puppet.orders_to("h1").contains(&"switch"));
    assert_eq!(puppet.now, seconds(200));
    assert_eq!(puppet.renewed, 3, "every host hears of the new controller, once");
    puppet.run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert!(puppet.orders.iter().all(|(.., attempt)| *attempt == 1));
}

#[test]
fn a_younger_controller_is_obeyed_and_an_older_one_rests() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.on_order = Box::new(|_, title| {
        Some(if title == "stop" {
            Report::Fenced { token: 7 }
        } else {
            Report::Done { output: Value::Null }
        })
    });
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Superseded { token: 7 });
    let orders = puppet.orders.len();
    puppet.tell(EventKind::Woke);
    assert_eq!(
        puppet.orders.len(),
        orders,
        "a superseded controller orders nothing"
    );

    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet.start_as(3).tell(EventKind::Superseded { token: 2 });
    assert_eq!(puppet.state.outcome(), None);
    puppet.tell(EventKind::Superseded { token: 4 });
    assert_eq!(puppet.outcome(), Outcome::Superseded { token: 4 });
    puppet.start_as(5).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

#[test]
fn a_new_controller_asks_the_guards_before_it_goes_on() {
    let mut puppet = Puppet::new(Builder::rolling().plan);
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h2").contains(&"drain"));
    puppet.crash();
    puppet.now = seconds(100);
    puppet.on_guard = Box::new(|_, _| None);
    puppet.start_as(2);
    let orders = puppet.orders.len();
    puppet.until(|puppet| puppet.now >= seconds(115));
    assert!(
        puppet.orders[orders..]
            .iter()
            .all(|(_, title, _)| title == "drain"),
        "nothing new before the guards answer"
    );
    puppet.on_guard = Box::new(|_, _| Some(GuardStatus::RolledBack));
    puppet.run();
    rolled_back(&puppet);
}
