//! What is done on a load balancer instead of the server, and waits that the run may go on without.

use serde_json::json;
use upshift_model::profile::{At, Otherwise};
use upshift_run::Outcome;

use crate::puppet::{Builder, Puppet, proof, seconds};

#[test]
fn what_is_done_on_a_load_balancer_is_ordered_and_observed_there() {
    let mut builder = Builder::rolling();
    let drain = builder.recipe_mut("drain");
    drain.balancer = Some("lb1".to_owned());
    drain.proof = vec![proof("drained", At::LoadBalancer, 1), proof("quiet", At::Node, 1)];
    let mut puppet = Puppet::new(builder.plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    for order in &puppet.sent {
        let title = &puppet
            .plan
            .recipes
            .iter()
            .find(|recipe| recipe.action.as_ref() == Some(&order.action));
        let expected = title.and_then(|recipe| recipe.balancer.as_deref());
        assert_eq!(order.host.as_deref(), expected);
    }
    let places = |name: &str| -> Vec<Option<&str>> {
        let asked = puppet.asked.iter().filter(|(asked, _)| asked.starts_with(name));
        asked.map(|(_, host)| host.as_deref()).collect()
    };
    assert_eq!(places("drained"), [Some("lb1"); 3]);
    assert_eq!(places("quiet"), [None; 3]);
}

#[test]
fn a_wait_that_the_run_may_go_on_without_ends_with_its_time() {
    for (otherwise, outcome) in [(Otherwise::GoOn, "upgraded"), (Otherwise::Fail, "rolled back")] {
        let mut builder = Builder::rolling();
        let drain = builder.recipe_mut("drain");
        drain.action = None;
        drain.within = seconds(5);
        drain.otherwise = otherwise;
        drain.proof = vec![proof("everybody has left", At::Node, 1)];
        let mut puppet = Puppet::new(builder.plan);
        puppet.on_probe = Box::new(|name, _| {
            Some(Ok(
                json!({ "ok": !name.starts_with("everybody has left@") && !name.starts_with("crossed@") }),
            ))
        });
        puppet.start().run();
        match puppet.outcome() {
            Outcome::Upgraded => {
                assert_eq!(outcome, "upgraded");
                let times = puppet.state.times();
                let waits = times.iter().filter(|time| time.title == "drain");
                assert!(
                    waits.clone().count() == 3 && waits.clone().all(|time| time.stage == "went on without")
                );
            }
            Outcome::RolledBack { reason, .. } => {
                assert_eq!(outcome, "rolled back");
                assert!(reason.contains("everybody has left"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A rollback may have to wait for the host's own guard, whose lease is long, but not for what it may go on without.
#[test]
fn a_rollback_waits_no_longer_for_what_it_may_go_on_without() {
    let mut builder = Builder::rolling();
    let back = builder.recipe_mut("undrain");
    back.action = None;
    back.within = seconds(5);
    back.otherwise = Otherwise::GoOn;
    back.proof = vec![proof("everybody is back", At::Node, 1)];
    let mut puppet = Puppet::new(builder.plan);
    puppet.on_probe = Box::new(|name, _| {
        let bad = ["everybody is back@", "crossed@", "recovered@h2"];
        Some(Ok(json!({ "ok": !bad.iter().any(|bad| name.starts_with(bad)) })))
    });
    puppet.start().run();
    assert!(matches!(puppet.outcome(), Outcome::RolledBack { .. }));
    let times = puppet.state.times();
    let waits: Vec<_> = times
        .iter()
        .filter(|time| time.title == "undrain" && time.stage == "went on without")
        .map(|time| time.ended.expect("it has ended").minus(time.began))
        .collect();
    assert!(
        waits.len() >= 2 && waits.iter().all(|wait| *wait == seconds(5)),
        "{waits:?}"
    );
}
