//! The point of no return: asked for, and never crossed backwards.

use serde_json::json;
use upshift_model::probe::ProbeFailure;
use upshift_plan::Crossed;
use upshift_run::{OperatorCommand, Outcome};

use crate::puppet::{BACK, Builder, Puppet, held, rolled_back, without};

#[test]
fn the_point_of_no_return_needs_a_yes_before_any_window() {
    let mut puppet = Puppet::new(Builder::rolling().no_return().plan);
    puppet.start().run();
    assert!(held(&puppet).contains("point of no return"));
    assert_eq!(puppet.orders_to("h1"), ["unpack"]);
    puppet.operator(OperatorCommand::Consent).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);

    let mut puppet = Puppet::new(Builder::rolling().no_return().plan);
    puppet.start().operator(OperatorCommand::Abort);
    assert!(
        matches!(puppet.outcome(), Outcome::Refused { .. }),
        "no is an answer, too"
    );
}

#[test]
fn what_was_said_beforehand_is_a_yes() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

#[test]
fn past_the_point_of_no_return_nothing_is_taken_back() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": !probe.starts_with("watched@")}))));
    puppet.start().run();
    let reason = held(&puppet);
    assert!(
        reason.contains("has been crossed") && reason.contains("the format rises"),
        "{reason}"
    );
    assert!(
        puppet
            .orders
            .iter()
            .all(|(_, title, _)| !BACK.contains(&title.as_str()))
    );
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(
        puppet.outcome(),
        Outcome::Upgraded,
        "forward is the only way left"
    );
}

#[test]
fn before_the_window_that_crosses_it_nobody_asks() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    let asked = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = asked.clone();
    puppet.on_probe = Box::new(move |probe, _| {
        count.set(count.get() + u32::from(probe.starts_with("crossed@")));
        Some(Ok(json!({"ok": probe != "recovered@h2"})))
    });
    puppet.start().run();
    rolled_back(&puppet);
    assert_eq!(asked.get(), 0);
}

#[test]
fn as_long_as_it_is_seen_that_it_was_not_crossed_everything_rolls_back_at_once() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = without(plan, "recovered@h3");
    puppet.start().until(|puppet| puppet.state.rolling_back());
    let failed = puppet.now;
    puppet.run();
    rolled_back(&puppet);
    assert!(puppet.orders_to("h3").ends_with(&BACK) && puppet.orders_to("h1").ends_with(&BACK));
    assert_eq!(puppet.now, failed, "one look at who can tell, and no waiting");
}

#[test]
fn where_nobody_can_tell_whether_it_was_crossed_an_operator_is_asked() {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let mut puppet = Puppet::new(plan.plan);
    puppet.on_probe = Box::new(|probe, _| {
        Some(if probe.starts_with("crossed@") {
            Err(ProbeFailure::Unreachable("gone".to_owned()))
        } else {
            Ok(json!({"ok": probe != "recovered@h3"}))
        })
    });
    puppet.start().run();
    assert!(held(&puppet).contains("no server can tell"));
    assert!(
        puppet
            .orders
            .iter()
            .all(|(_, title, _)| !BACK.contains(&title.as_str()))
    );
}

/// A plan whose point of no return is the switching of the last host.
fn marked_by_a_step() -> Builder {
    let mut plan = Builder::rolling().no_return();
    plan.plan.request.accept_no_return = true;
    let hop = &mut plan.plan.hops[0];
    let switch = hop.windows[2].forward[3].steps[0].id;
    if let Some(point) = &mut hop.no_return {
        point.crossed = Crossed::Begun(vec![switch]);
    }
    plan
}

#[test]
fn past_a_step_that_marks_it_only_an_operator_who_was_told_rolls_back() {
    let mut puppet = without(marked_by_a_step(), "recovered@h3");
    puppet.start().run();
    let reason = held(&puppet);
    assert!(
        reason.contains("has been crossed") && reason.contains("the format rises"),
        "{reason}"
    );
    assert!(
        puppet
            .orders
            .iter()
            .all(|(_, title, _)| !BACK.contains(&title.as_str()))
    );
    puppet.operator(OperatorCommand::Abort).run();
    assert!(rolled_back(&puppet).contains("ada asked"));
    assert!(puppet.orders_to("h3").ends_with(&BACK) && puppet.orders_to("h1").ends_with(&BACK));

    let mut puppet = Puppet::new(marked_by_a_step().plan);
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    puppet.operator(OperatorCommand::Rollback).run();
    assert_eq!(
        puppet.outcome(),
        Outcome::Upgraded,
        "refused, and nothing was changed"
    );
    let refusal = puppet.state.refusal().unwrap().to_owned();
    assert!(
        refusal.contains("the last 1 min would be lost") && refusal.contains("--accept-loss"),
        "{refusal}"
    );
    assert!(
        puppet
            .orders
            .iter()
            .all(|(_, title, _)| !BACK.contains(&title.as_str()))
    );
    puppet.operator(OperatorCommand::AcceptLoss);
    assert_eq!(puppet.state.refusal(), None);
    puppet.operator(OperatorCommand::Rollback).run();
    assert!(rolled_back(&puppet).contains("ada asked"));
}

#[test]
fn where_no_step_marks_it_the_end_of_the_window_does() {
    let plan = || {
        let mut plan = marked_by_a_step();
        if let Some(point) = &mut plan.plan.hops[0].no_return {
            point.crossed = Crossed::Begun(Vec::new());
        }
        plan
    };
    // The window has not ended, so that nothing can be lost.
    let mut puppet = without(plan(), "recovered@h3");
    puppet.start().run();
    rolled_back(&puppet);

    let mut puppet = Puppet::new(plan().plan);
    puppet.start().run();
    puppet.operator(OperatorCommand::Rollback).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    let refusal = puppet.state.refusal().unwrap().to_owned();
    assert!(
        refusal.contains("would be lost") && refusal.contains("--accept-loss"),
        "{refusal}"
    );
    puppet.operator(OperatorCommand::AcceptLoss);
    puppet.operator(OperatorCommand::Rollback).run();
    rolled_back(&puppet);
}

#[test]
fn a_rollback_past_the_point_of_no_return_is_refused_and_the_run_is_what_it_was() {
    let plan = || {
        let mut plan = Builder::rolling().no_return();
        plan.plan.request.accept_no_return = true;
        plan
    };
    // Ended well.
    let mut puppet = Puppet::new(plan().plan);
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.start().run();
    for command in [OperatorCommand::Rollback, OperatorCommand::Abort] {
        puppet.operator(command).run();
        assert_eq!(puppet.outcome(), Outcome::Upgraded);
        let refusal = puppet.state.refusal().unwrap();
        assert!(
            refusal.contains("the format rises") && refusal.contains("restore the snapshot"),
            "{refusal}"
        );
    }
    // Still soaking: it goes on, and ends well.
    let mut puppet = Puppet::new(plan().plan);
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet
        .start()
        .until(|puppet| puppet.state.view().phase.starts_with("soaking"));
    puppet
        .operator(OperatorCommand::Abort)
        .until(|puppet| puppet.state.refusal().is_some());
    assert!(!puppet.state.rolling_back());
    puppet.run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    // In the last window: what was given up is done again, and nothing was taken back.
    let mut puppet = Puppet::new(plan().plan);
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet
        .start()
        .until(|puppet| puppet.orders_to("h3").contains(&"switch"));
    puppet.operator(OperatorCommand::Abort).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    assert!(
        puppet
            .orders
            .iter()
            .all(|(_, title, _)| !BACK.contains(&title.as_str()))
    );
    // Held past it: it stays held, and resuming goes forward.
    let mut puppet = Puppet::new(plan().plan);
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": !probe.starts_with("watched@")}))));
    puppet.start().run();
    let before = held(&puppet);
    puppet.operator(OperatorCommand::Rollback).run();
    assert_eq!(held(&puppet), before);
    assert!(puppet.state.refusal().is_some());
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.operator(OperatorCommand::Resume).run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
}

#[test]
fn before_the_step_that_marks_it_a_failure_is_taken_back() {
    let mut puppet = without(marked_by_a_step(), "stop@h3");
    puppet.start().run();
    assert!(rolled_back(&puppet).contains("h3"));
}

/// The titles of all orders that lead back, in the order in which they were given.
fn back_orders(puppet: &Puppet) -> Vec<(String, String)> {
    let titles = ["make way", "check the end"];
    let leads_back = |title: &str| BACK.contains(&title) || titles.contains(&title);
    let orders = puppet.orders.iter();
    orders
        .filter(|(_, title, _)| leads_back(title))
        .map(|(host, title, _)| (host.clone(), title.clone()))
        .collect()
}

#[test]
fn the_products_own_rollback_leads_back_over_the_point_of_no_return() {
    let mut puppet = Puppet::new(Builder::rolling().own_rollback().plan);
    puppet.on_probe = Box::new(|_, _| Some(Ok(json!({"ok": true}))));
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    puppet.operator(OperatorCommand::Rollback).run();
    assert!(rolled_back(&puppet).contains("ada asked"));
    assert_eq!(puppet.state.refusal(), None);
    let orders = back_orders(&puppet);
    assert_eq!(orders.first(), Some(&("h1".to_owned(), "make way".to_owned())));
    assert_eq!(
        orders.last(),
        Some(&("h1".to_owned(), "check the end".to_owned()))
    );
    let stops: Vec<&str> = orders
        .iter()
        .filter(|(_, title)| title == "stop back")
        .map(|(host, _)| host.as_str())
        .collect();
    assert_eq!(
        stops,
        ["h3", "h2", "h1"],
        "the first that was upgraded is the last to go back"
    );
}

#[test]
fn before_the_point_of_no_return_the_products_own_rollback_is_not_needed() {
    let mut puppet = without(Builder::rolling().own_rollback(), "recovered@h3");
    puppet.start().run();
    rolled_back(&puppet);
    let orders = back_orders(&puppet);
    assert!(
        orders.iter().all(|(_, title)| BACK.contains(&title.as_str())),
        "{orders:?}"
    );
}

#[test]
fn a_fault_past_the_point_of_no_return_leads_back_by_itself_where_the_product_can() {
    let mut puppet = Puppet::new(Builder::rolling().own_rollback().plan);
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": !probe.starts_with("watched@")}))));
    puppet.start().run();
    rolled_back(&puppet);
    assert_eq!(back_orders(&puppet)[0].1, "make way");
}

#[test]
fn a_product_that_does_not_make_way_holds_the_run_and_no_server_is_touched() {
    let mut puppet = Puppet::new(Builder::rolling().own_rollback().plan);
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": probe != "lowered@h1"}))));
    puppet.start().run();
    assert_eq!(puppet.outcome(), Outcome::Upgraded);
    puppet.operator(OperatorCommand::Rollback).run();
    let Outcome::Held { reason, remedies } = puppet.outcome() else {
        panic!("{:?}", puppet.outcome());
    };
    assert!(reason.contains("make way"), "{reason}");
    assert!(
        remedies.iter().any(|remedy| remedy.contains("`ctl cancel`")),
        "{remedies:?}"
    );
    assert!(back_orders(&puppet).iter().all(|(_, title)| title == "make way"));
    // What the product did meanwhile is not asked for as a crossing again: the rollback goes on from there.
    puppet.on_probe = Box::new(|probe, _| Some(Ok(json!({"ok": !probe.starts_with("crossed@")}))));
    puppet.operator(OperatorCommand::Rollback).run();
    rolled_back(&puppet);
    assert_eq!(back_orders(&puppet).last().unwrap().1, "check the end");
}
