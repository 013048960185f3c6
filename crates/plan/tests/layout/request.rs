//! What operators ask for, what is refused, and what they are warned of.

use upshift_model::Millis;
use upshift_model::fleet::Acceptance;
use upshift_model::profile::{Profile, Slot, Strategy};
use upshift_plan::{Finding, Request, Risk, plan, testing};

use crate::common::{armed, plan_of, planned, try_plan};

#[test]
fn the_canary_comes_first_and_leaders_last() {
    let names = |request: &Request| -> Vec<String> {
        let plan = try_plan("1.0.0", request, 5).unwrap();
        let windows = plan.hops[0].windows.iter().flat_map(|window| &window.nodes);
        windows.map(|node| plan.node(*node).name.clone()).collect()
    };
    let mut request = testing::request("1.1.0", &[]);
    assert_eq!(
        names(&request),
        ["n00004", "n00002", "n00005", "n00003", "n00001"]
    );
    request.canary = Some("n00003".to_owned());
    assert_eq!(
        names(&request),
        ["n00003", "n00004", "n00002", "n00005", "n00001"]
    );
    request.canary = Some("n00001".to_owned());
    assert_eq!(names(&request)[0], "n00001");
}

#[test]
fn an_operator_sets_times() {
    let mut request = testing::request("1.1.0", &[]);
    request.timing.limit = Some(Millis::seconds(11));
    request.timing.lease = Some(Millis::seconds(12));
    request.timing.slot = Some(Millis::seconds(13));
    request.timing.soak = Some(Millis::seconds(14));
    request.timing.between = Some(Millis::seconds(15));
    request.timing.within = Some(Millis::seconds(16));
    let plan = try_plan("1.0.0", &request, 3).unwrap();
    let hop = &plan.hops[0];
    assert_eq!(hop.soak.duration, Millis::seconds(14));
    let soaks: Vec<Millis> = hop.windows.iter().map(|window| window.soak).collect();
    assert_eq!(soaks, [Millis::seconds(15), Millis::seconds(15), Millis::ZERO]);
    assert!(
        hop.windows
            .iter()
            .all(|window| window.limit == Millis::seconds(11))
    );
    assert!(
        hop.windows
            .iter()
            .all(|window| window.lease == Millis::seconds(12))
    );
    assert_eq!(
        armed(&plan, 0, &hop.windows[0].forward[0].steps[0]).lease,
        Millis::seconds(12)
    );
    assert_eq!(hop.guard_offsets[&hop.windows[0].nodes[0]], Millis::seconds(26));
    assert!(
        plan.recipes
            .iter()
            .all(|recipe| recipe.within <= Millis::seconds(16))
    );
}

#[test]
fn a_profile_that_cannot_rebuild_is_refused() {
    let mut profile = testing::profile();
    profile.verbs.remove(&Slot::OldData);
    profile.verbs.remove(&Slot::Load);
    let request = testing::request("3.0.0", &[]);
    let refusals = plan_of(&profile, &testing::facts(3, "2.0.0"), &request).unwrap_err();
    let codes: Vec<&str> = refusals.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(codes, ["no-verbs", "no-verbs"]);
}

#[test]
fn a_profile_without_verbs_shows_the_way_and_is_refused() {
    let mut profile = testing::profile();
    profile.verbs_missing = Some("they come later".to_owned());
    let request = testing::request("1.2.0", &["1.1.0"]);
    let refusals = plan_of(&profile, &testing::facts(3, "1.0.0"), &request).unwrap_err();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].code, "no-verbs");
    assert!(refusals[0].message.contains("they come later"));
    assert!(
        refusals[0].message.contains("1.1.0 (rolling) → 1.2.0 (rolling)"),
        "{refusals:?}"
    );
}

#[test]
fn a_profile_with_verbs_for_some_strategies_refuses_the_others() {
    let mut profile = testing::profile();
    profile.verbs_missing = Some("they come later".to_owned());
    let request = testing::request("1.2.0", &["1.1.0"]);
    let facts = testing::facts(3, "1.0.0");
    profile.verbs_missing_for = vec![Strategy::Switch];
    plan_of(&profile, &facts, &request).unwrap();
    profile.verbs_missing_for = vec![Strategy::Switch, Strategy::Rolling];
    let refusals = plan_of(&profile, &facts, &request).unwrap_err();
    assert_eq!(refusals[0].code, "no-verbs");
    assert!(refusals[0].message.contains("they come later"));
}

/// A risk that an operator takes.
fn accepted(name: &str) -> Acceptance {
    Acceptance {
        name: name.to_owned(),
        reason: "seen before, and harmless".to_owned(),
        until: Some("2027-01-31".to_owned()),
    }
}

#[test]
fn a_risk_that_the_profile_calls_acceptable_may_be_taken() {
    let mut facts = testing::facts(3, "1.0.0");
    facts
        .nodes
        .get_mut("n00002")
        .unwrap()
        .probes
        .get_mut("status")
        .unwrap()["value"]["healthy"] = false.into();
    let mut request = testing::request("1.1.0", &[]);
    let mut profile = testing::profile();
    let attempt = |profile: &Profile, request: &Request| plan_of(profile, &facts, request);
    request.accepted = vec![accepted("healthy")];
    let refusals = attempt(&profile, &request).unwrap_err();
    assert_eq!(
        (refusals[0].code.as_str(), &refusals[0].hosts[..]),
        ("check:healthy", &["n00002".to_owned()][..])
    );
    assert!(!refusals[0].remedy.contains("accept"), "{refusals:?}");
    profile.checks[0].acceptable = true;
    let plan = attempt(&profile, &request).unwrap();
    assert_eq!(
        plan.risks,
        [Risk {
            acceptance: accepted("healthy"),
            hosts: vec!["n00002".to_owned()],
            found: "the server says that it is not healthy".to_owned(),
        }]
    );
    // Another server is in trouble, and the plan was made for this one alone: the fingerprint tells the two apart.
    let mut without = plan.clone();
    without.risks.clear();
    assert_ne!(without.compute_fingerprint(), plan.fingerprint);
    request.accepted.clear();
    let refusals = attempt(&profile, &request).unwrap_err();
    let how = "`upshift accept healthy --reason \"…\"`";
    assert!(refusals[0].remedy.contains(how), "{refusals:?}");
}

#[test]
fn a_name_that_means_nothing_is_told() {
    let mut request = testing::request("1.1.0", &[]);
    request.accepted = vec![accepted("helthy")];
    let plan = plan_of(&testing::profile(), &testing::facts(3, "1.0.0"), &request).unwrap();
    assert_eq!(
        plan.warnings,
        ["`helthy` is accepted, and the profile of Ledger calls no such thing acceptable"]
    );
}

#[test]
fn a_known_trouble_may_be_taken_where_the_profile_calls_it_acceptable() {
    let facts = testing::facts(3, "1.0.0");
    let mut profile = testing::profile();
    let mut request = testing::request("1.1.1", &[]);
    request.accepted = vec![accepted("ledger-lost-writes")];
    assert_eq!(
        plan_of(&profile, &facts, &request).unwrap_err()[0].code,
        "blocked"
    );
    profile.blocked[0].acceptable = true;
    let plan = plan_of(&profile, &facts, &request).unwrap();
    assert_eq!(plan.risks.len(), 1, "{:?}", plan.risks);
    assert_eq!(plan.risks[0].found, profile.blocked[0].reason);
    request.accepted.clear();
    let refusals = plan_of(&profile, &facts, &request).unwrap_err();
    assert!(
        refusals[0].remedy.contains("upshift accept ledger-lost-writes"),
        "{refusals:?}"
    );
}

/// Whatever cannot be judged without a look that failed is one thing to mend, and not several.
#[test]
fn a_look_that_fails_is_told_once_with_its_reason() {
    let mut facts = testing::facts(3, "1.0.0");
    let probes = &mut facts.nodes.get_mut("n00002").unwrap().probes;
    probes.insert(
        "status".to_owned(),
        serde_json::json!({"error": "no space left on device"}),
    );
    let refusals = plan_of(&testing::profile(), &facts, &testing::request("1.1.0", &[])).unwrap_err();
    let told: Vec<&str> = refusals.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(told, ["probe-failed"], "{refusals:#?}");
    assert_eq!(refusals[0].message, "cannot be observed: no space left on device");
    assert_eq!(refusals[0].finding, Finding::CannotTell);
    assert_eq!(refusals[0].hides, ["healthy", "one-leader"]);
}

#[test]
fn an_outage_may_be_accepted() {
    let mut request = testing::request("1.1.0", &[]);
    assert!(try_plan("1.0.0", &request, 1).is_err());
    request.accepted = vec![accepted("capacity")];
    assert_eq!(try_plan("1.0.0", &request, 1).unwrap().hops[0].windows.len(), 1);
}

#[test]
fn clocks_that_disagree_are_worth_a_warning() {
    let mut facts = testing::facts(3, "1.0.0");
    facts.nodes.get_mut("n00002").unwrap().host.clock_offset_ms = -61_000;
    facts.nodes.get_mut("n00003").unwrap().host.clock_offset_ms = 60_000;
    let request = testing::request("1.1.0", &[]);
    let plan = plan_of(&testing::profile(), &facts, &request).unwrap();
    assert_eq!(plan.warnings.len(), 1);
    assert!(
        plan.warnings[0].contains("n00002 is 61 s behind"),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn a_version_that_was_rolled_back_is_tried_again_only_when_asked() {
    let mut facts = testing::facts(3, "1.0.0");
    facts.rolled_back.insert("1.1.0".to_owned(), "run-7".to_owned());
    let mut request = testing::request("1.1.0", &[]);
    let attempt = |request: &Request| plan_of(&testing::profile(), &facts, request);
    assert_eq!(attempt(&request).unwrap_err()[0].code, "rolled-back-before");
    request.again = true;
    assert!(attempt(&request).is_ok());
}

#[test]
fn values_from_planning_time_are_kept_where_a_proof_asks_for_them() {
    let mut profile = testing::profile();
    profile.soak.watch[0].expect = "value.value.applied >= before.value.applied".to_owned();
    let request = testing::request("1.1.0", &[]);
    let plan = plan_of(&profile, &testing::facts(3, "1.0.0"), &request).unwrap();
    assert_eq!(plan.nodes[0].before["status"]["value"]["applied"], 100);
    assert!(planned("1.0.0", "1.1.0").nodes[0].before.is_empty());
}

#[test]
fn values_from_planning_time_are_kept_where_a_binding_asks_for_them() {
    let kept = |binding: &str| {
        let mut profile = testing::profile();
        let hand_over = &mut profile
            .verbs
            .get_mut(&upshift_model::profile::Slot::HandOver)
            .unwrap()[0];
        hand_over.bindings.insert("heir".to_owned(), binding.to_owned());
        let request = testing::request("1.1.0", &[]);
        let plan = plan_of(&profile, &testing::facts(3, "1.0.0"), &request).unwrap();
        plan.nodes[0].before.contains_key("status")
    };
    assert!(kept("befores['n2'].value.applied"));
    assert!(kept("before.value.applied"));
    assert!(!kept("'before.value.applied'"));
}

#[test]
fn a_plan_holds_no_variables_that_it_does_not_use() {
    let mut fleet = testing::fleet(3);
    for host in fleet.hosts.values_mut() {
        host.variables
            .insert("ansible_become_password".to_owned(), "secret".into());
        host.variables.insert("zone_url".to_owned(), "http://zone".into());
    }
    let mut profile = testing::profile();
    profile.soak.watch[0].waiting = "{{ node.zone_url }} is not reached".to_owned();
    let request = testing::request("1.1.0", &[]);
    let plan = plan(&profile, "test", &fleet, &testing::facts(3, "1.0.0"), &request).unwrap();
    assert_eq!(
        plan.nodes[0].variables,
        [("zone_url".to_owned(), "http://zone".into())].into()
    );
}

#[test]
fn a_switch_whose_window_cannot_hold_a_rollback_is_refused_with_the_length_it_needs() {
    let mut request = testing::request("2.0.0", &[]);
    // Forward 20 s and 20 s, the guards' lease of 60 s, back 20 s and 30 s.
    request.timing.limit = Some(Millis::seconds(149));
    let refusals = try_plan("1.1.0", &request, 3).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0].code, "window-too-short");
    insta::assert_snapshot!(upshift_plan::show::refusals(&refusals), @r"
    Refused, for 1 reason. Nothing was changed.

      1. the window of 1.1.0 to 2.0.0 is 149s long and must be 150s: 40s for the way forward, 1m until the guards act where
         the controller is lost, and 50s for rolling back [window-too-short]
         what to do: give it that time (`--window 150s`), or give the guards a shorter lease (`--guard-lease`)
    ");
    request.timing.limit = Some(Millis::seconds(150));
    let plan = try_plan("1.1.0", &request, 3).unwrap();
    let window = &plan.hops[0].windows[0];
    assert_eq!(
        (window.limit, window.reserve),
        (Millis::seconds(40), Millis::seconds(110))
    );
    // A shorter lease leaves more of the window for the way forward.
    request.timing.lease = Some(Millis::seconds(10));
    let plan = try_plan("1.1.0", &request, 3).unwrap();
    assert_eq!(plan.hops[0].windows[0].limit, Millis::seconds(90));
    // One server after the other: each window is decided by itself, as before.
    let mut request = testing::request("1.1.0", &[]);
    request.timing.limit = Some(Millis::seconds(11));
    let plan = try_plan("1.0.0", &request, 3).unwrap();
    assert_eq!(plan.hops[0].windows[0].reserve, Millis::ZERO);
}
