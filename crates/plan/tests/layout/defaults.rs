//! What is done in a slot where the profile does not say, and that nothing is added where it does.

use upshift_model::action::Action;
use upshift_model::probe::Probe;
use upshift_model::profile::{ConfigMerge, NoReturn, Profile, Slot, Verb, VerbWay};
use upshift_plan::{Plan, Recipe, StepKind, testing};

use crate::common::{plan_of, planned};

/// The recipes of a slot, forward and back.
fn recipes(plan: &Plan, kind: fn(Slot) -> StepKind, slot: Slot) -> Vec<&Recipe> {
    let all = plan.recipes.iter();
    all.filter(|recipe| recipe.kind == kind(slot)).collect()
}

fn titles(plan: &Plan, kind: fn(Slot) -> StepKind, slot: Slot) -> Vec<&str> {
    let recipes = recipes(plan, kind, slot);
    recipes.iter().map(|recipe| recipe.title.as_str()).collect()
}

/// The plan from 1.0.0 to 1.1.0 of a profile that is changed in one thing.
fn changed(change: impl FnOnce(&mut Profile)) -> Plan {
    let mut profile = testing::profile();
    change(&mut profile);
    plan_of(
        &profile,
        &testing::facts(3, "1.0.0"),
        &testing::request("1.1.0", &[]),
    )
    .unwrap()
}

/// Gives the profile a verb of its own for a slot.
fn own(profile: &mut Profile, slot: Slot) {
    let verb = Verb {
        title: format!("{slot:?} in a way of its own"),
        ..profile.verbs[&Slot::Drain][0].clone()
    };
    profile.verbs.insert(slot, vec![verb]);
}

#[test]
fn a_verb_of_the_profile_takes_the_place_of_the_default() {
    let slots = [Slot::Stop, Slot::Switch, Slot::Start];
    let plan = changed(|profile| slots.into_iter().for_each(|slot| own(profile, slot)));
    for slot in slots {
        let expected = [format!("{slot:?} in a way of its own")];
        assert_eq!(titles(&plan, StepKind::Do, slot), expected);
        assert_eq!(titles(&plan, StepKind::Undo, slot), expected);
    }
    let plan = planned("1.0.0", "1.1.0");
    for (slot, forward, back) in [
        (Slot::Stop, "stop Ledger", "stop Ledger"),
        (
            Slot::Switch,
            "switch to the release 1.1.0",
            "switch back to the release 1.0.0",
        ),
        (Slot::Start, "start Ledger 1.1.0", "start Ledger 1.0.0"),
    ] {
        assert_eq!(titles(&plan, StepKind::Do, slot), [forward]);
        assert_eq!(titles(&plan, StepKind::Undo, slot), [back]);
    }
}

#[test]
fn a_verb_for_one_way_alone_takes_the_place_of_the_default_on_both() {
    let plan = changed(|profile| {
        own(profile, Slot::Switch);
        let verbs = profile.verbs.get_mut(&Slot::Switch).unwrap();
        verbs[0].way = Some(VerbWay::Forward);
        verbs[0].fails_on = Some(verbs[0].proof[0].clone());
    });
    assert_eq!(
        titles(&plan, StepKind::Do, Slot::Switch),
        ["Switch in a way of its own"]
    );
    assert!(titles(&plan, StepKind::Undo, Slot::Switch).is_empty());
    let recipe = recipes(&plan, StepKind::Do, Slot::Switch)[0];
    assert_eq!(recipe.fails_on, recipe.proof.first().cloned());
    let back = changed(|profile| {
        own(profile, Slot::Switch);
        profile.verbs.get_mut(&Slot::Switch).unwrap()[0].way = Some(VerbWay::Back);
    });
    assert!(titles(&back, StepKind::Do, Slot::Switch).is_empty());
}

/// The rule's own word decides which window may be the first to lead over the point of no return.
#[test]
fn a_point_of_no_return_lies_in_the_last_window_or_in_any() {
    let window = |any: bool| {
        let plan = changed(|profile| {
            profile.point_of_no_return = Some(NoReturn {
                description: "data is converted".to_owned(),
                rollback: "none".to_owned(),
                own_rollback: None,
                to: None,
                patch: true,
                probe: "status".to_owned(),
                crossed: "true".to_owned(),
                any_window: any,
                source: profile.paths[0].source.clone(),
            });
        });
        plan.hops[0].no_return.as_ref().unwrap().window
    };
    assert_eq!((window(false), window(true)), (2, 0));
}

#[test]
fn a_started_server_is_asked_for_its_release_and_its_version_where_they_can_be_seen() {
    let expected = |plan: &Plan| {
        recipes(plan, StepKind::Do, Slot::Start)[0].proof[0]
            .expect
            .clone()
    };
    let (release, version) = ("value.release == want", "value.version == want");
    let both = expected(&planned("1.0.0", "1.1.0"));
    assert!(both.contains(release) && both.contains(version), "{both}");
    let elsewhere = expected(&changed(|profile| own(profile, Slot::Switch)));
    assert!(
        !elsewhere.contains(release) && elsewhere.contains(version),
        "{elsewhere}"
    );
    let silent = expected(&changed(|profile| profile.versions.arguments.clear()));
    assert!(silent.contains(release) && !silent.contains(version), "{silent}");
}

#[test]
fn a_profile_that_switches_binaries_itself_needs_no_release_in_the_store() {
    let mut profile = testing::profile();
    let mut facts = testing::facts(3, "1.0.0");
    for node in facts.nodes.values_mut() {
        node.host.releases.clear();
    }
    let request = testing::request("1.1.0", &[]);
    let refusals = plan_of(&profile, &facts, &request).unwrap_err();
    assert_eq!(refusals[0].code, "no-rollback");
    own(&mut profile, Slot::Switch);
    let plan = plan_of(&profile, &facts, &request).unwrap();
    let removes = |plan: &Plan| {
        let mut actions = plan.recipes.iter().filter_map(|recipe| recipe.action.as_ref());
        actions.any(|action| matches!(action, Action::RemoveRelease(_)))
    };
    assert!(!removes(&plan) && removes(&planned("1.0.0", "1.1.0")));
}

#[test]
fn a_profile_whose_verbs_are_missing_has_not_decided_on_the_store() {
    let mut profile = testing::profile();
    profile.verbs_missing = Some("they come later".to_owned());
    let mut facts = testing::facts(3, "1.0.0");
    for node in facts.nodes.values_mut() {
        node.host.releases.clear();
    }
    let refusals = plan_of(&profile, &facts, &testing::request("1.1.0", &[])).unwrap_err();
    let codes: Vec<&str> = refusals.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(codes, ["no-verbs"]);
}

#[test]
fn on_the_rollback_only_a_server_that_runs_is_drained() {
    let plan = planned("1.0.0", "1.1.0");
    let condition = |kind| {
        let drain = recipes(&plan, kind, Slot::Drain);
        drain[0].only_if.as_ref().map(|proof| proof.expect.as_str())
    };
    assert_eq!(condition(StepKind::Do), None);
    assert_eq!(condition(StepKind::Undo), Some("value.running"));
}

#[test]
fn every_file_that_a_hop_edits_is_saved_once_and_looked_at_afterwards() {
    let plan = changed(|profile| {
        let config = &mut profile.config;
        let mut edit = config.migrate[0].clone();
        edit.to = None;
        edit.drop = vec!["old.key".to_owned()];
        edit.comment = vec!["a[0]".to_owned()];
        for file in ["{{places.config}}", "/etc/ledger/extra.conf"] {
            edit.file = file.to_owned();
            config.migrate.push(edit.clone());
        }
    });
    let Some(Action::Save(save)) = &recipes(&plan, StepKind::Do, Slot::Save)[0].action else {
        panic!("the configuration is saved");
    };
    assert_eq!(save.paths, ["{{ places.config }}", "/etc/ledger/extra.conf"]);
    let edits = recipes(&plan, StepKind::Do, Slot::MigrateConfig);
    assert_eq!(edits.len(), 2, "the edit for 2.0.0 is not made");
    assert_eq!(edits[1].title, "take out of the configuration: old.key, a[0]");
    assert_eq!(
        edits[1].proof[0].waiting,
        "/etc/ledger/extra.conf still has one of: old.key, a[0]"
    );
    // A dot is no joker, and a bracket opens no class of characters.
    let look = serde_json::to_string(&edits[1].proof[0].probe).unwrap();
    assert!(
        look.contains(r"(old\\.key|a\\[0\\])") && look.contains("/etc/ledger/extra.conf"),
        "{look}"
    );
}

#[test]
fn nothing_is_saved_or_put_back_where_there_is_no_configuration() {
    let plan = changed(|profile| {
        profile.config.carry.clear();
        profile.config.migrate.clear();
    });
    assert!(titles(&plan, StepKind::Do, Slot::Save).is_empty());
    assert!(titles(&plan, StepKind::Undo, Slot::MigrateConfig).is_empty());
    assert_eq!(plan.finalize_notes, ["remove the release 1.0.0 from 3 servers"]);
}

#[test]
fn a_new_default_is_seen_to_be_mergeable_before_the_window_and_merged_before_keys_are_taken_out() {
    let plan = changed(|profile| {
        let migration = &mut profile.config.migrate[0];
        migration.to = None;
        migration.drop = vec!["old.key".to_owned()];
        migration.merge = Some(ConfigMerge {
            base: "/old/{{ from }}".to_owned(),
            new: "/new/{{ to }}".to_owned(),
        });
    });
    let order = titles(&plan, StepKind::Do, Slot::MigrateConfig);
    assert_eq!(order[0], "merge the new default configuration");
    assert!(order[1].starts_with("take out of the configuration"), "{order:?}");
    let merge = recipes(&plan, StepKind::Do, Slot::MigrateConfig)[0];
    let Some(Action::MergeConfig(order)) = &merge.action else {
        panic!("{merge:?}");
    };
    assert_eq!(merge.proof[0].expect, "value.clean && !value.changed");
    let before = recipes(&plan, StepKind::Do, Slot::Protect);
    let proofs = before.iter().flat_map(|recipe| &recipe.proof);
    let expects: Vec<&str> = proofs
        .filter(|proof| proof.probe == Probe::MergedConfig(order.clone()))
        .map(|proof| proof.expect.as_str())
        .collect();
    assert_eq!(expects, ["value.clean"]);
}
