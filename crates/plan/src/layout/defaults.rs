//! What is done in a slot where the profile does not say: the release store's link, the profile's service, its configuration.
//! Each default has a proof of its own, observed from the process or the files, never from an exit status.

use std::collections::BTreeMap;

use upshift_model::Millis;
use upshift_model::action::{
    Action, Command, EditConfig, ExitMeaning, MergeConfig, MoveUnit, OutputFormat, RestorePaths, SavePaths,
    Service, StopService, SwitchRelease,
};
use upshift_model::probe::{Probe, ProcessProbe};
use upshift_model::profile::{At, ConfigMigration, On, Profile, Slot, Strategy};

use super::balancers;
use super::verbs::{Verbs, Way};
use crate::merges::ANSWERS;
use crate::types::{PlanProof, Recipe};

/// Name of the probe of the product's process, which every profile has without saying so.
pub(super) const PROCESS: &str = "process";

/// The process of the product's service, and the version that its executable prints.
pub(super) fn process_probe(profile: &Profile) -> Probe {
    Probe::Process(ProcessProbe {
        service: profile.service.clone(),
        version_arguments: profile.versions.arguments.clone(),
        version_pattern: profile.versions.pattern.clone(),
    })
}

/// A proof on the step's own server.
pub(super) fn here(
    name: &str,
    probe: Probe,
    expect: impl Into<String>,
    waiting: impl Into<String>,
) -> PlanProof {
    PlanProof {
        name: name.to_owned(),
        probe,
        at: At::Node,
        expect: expect.into(),
        waiting: waiting.into(),
        stable: 1,
        every: Millis(100),
        progress: None,
    }
}

/// Whether the hop's binaries are switched by the release store: the profile has no verbs of its own for that.
pub(super) fn uses_store(verbs: &mut Verbs<'_, '_>) -> bool {
    verbs.leg.edge.strategy != Strategy::Hot && verbs.own(Slot::Switch).is_empty()
}

/// Adds the defaults of a slot to what the profile says.
pub(super) fn complete(verbs: &mut Verbs<'_, '_>, way: Way, slot: Slot, recipes: &mut Vec<(On, Recipe)>) {
    // A verb for one way alone takes the place of the default on both.
    let none = recipes.is_empty() && verbs.own(slot).is_empty();
    match slot {
        Slot::Start if none => recipes.push((On::Each, start(verbs, way))),
        Slot::Drain => balancers::drain(verbs, way, recipes),
        Slot::Undrain => balancers::undrain(verbs, way, recipes),
        Slot::Gate => {
            throughout(verbs, way, recipes);
            balancers::gate(verbs, way, recipes);
        }
        _ => {}
    }
    match slot {
        Slot::Stop if none => recipes.push((On::Each, stop(verbs, way))),
        Slot::Switch if verbs.survey.request.move_services => {
            recipes.clear();
            recipes.extend(move_unit(verbs, way).map(|recipe| (On::Each, recipe)));
        }
        Slot::Switch if none => recipes.push((On::Each, switch(verbs, way))),
        Slot::Save if way == Way::Forward => {
            // Before anything of the profile's own, so that the configuration can be put back whatever comes after.
            if let Some(save) = save(verbs) {
                recipes.insert(0, (On::Each, save));
            }
        }
        // The version stays, and so does its configuration.
        Slot::MigrateConfig if way == Way::Forward && verbs.survey.request.move_services => recipes.clear(),
        Slot::MigrateConfig if way == Way::Forward => {
            for migration in migrations(verbs) {
                recipes.extend(merge(verbs, migration).map(|merge| (On::Each, merge)));
                if !(migration.drop.is_empty() && migration.comment.is_empty()) {
                    recipes.push((On::Each, edit(verbs, migration)));
                }
                recipes.extend(set(verbs, migration).map(|set| (On::Each, set)));
            }
        }
        Slot::Protect if way == Way::Forward => {
            let merges = migrations(verbs);
            let merges = merges
                .into_iter()
                .filter_map(|migration| mergeable(verbs, migration));
            recipes.extend(merges.map(|merge| (On::Each, merge)));
        }
        Slot::MigrateConfig => recipes.extend(restore(verbs).map(|restore| (On::Each, restore))),
        Slot::Uninstall if none && way == Way::Back => recipes.extend(restart(verbs)),
        Slot::Drain | Slot::Pause if way == Way::Back => only_where_running(verbs, recipes),
        Slot::Start | Slot::Rejoin | Slot::Recover => fail_with_the_process(verbs, recipes),
        _ => {}
    }
}

/// A server whose process has ended, and that nothing starts again, is not waited for until the time is over.
fn fail_with_the_process(verbs: &Verbs<'_, '_>, recipes: &mut [(On, Recipe)]) {
    let own = recipes
        .iter_mut()
        .filter(|(on, recipe)| *on == On::Each && recipe.balancer.is_none() && recipe.fails_on.is_none());
    for (_, recipe) in own {
        recipe.fails_on = Some(PlanProof {
            stable: 2,
            every: Millis(500),
            ..here(
                PROCESS,
                process_probe(verbs.survey.profile),
                "!value.running && value.ended == true",
                "its process has ended, and nothing starts it again",
            )
        });
    }
}

/// Checks that must hold for the whole run are asked again: of the other servers, for one that does not serve any more must not
/// keep itself from being brought back.
fn throughout(verbs: &mut Verbs<'_, '_>, way: Way, recipes: &mut Vec<(On, Recipe)>) {
    let survey = verbs.survey;
    for check in survey.profile.checks.iter().filter(|check| check.throughout) {
        let skipped = survey.request.accepted.iter().any(|risk| risk.name == check.name);
        let strategy = check.strategies.is_empty() || check.strategies.contains(&verbs.leg.edge.strategy);
        let Some((probe, expect)) = check.probe_alone().filter(|_| strategy && !skipped) else {
            continue;
        };
        if !verbs.applies(&check.from, &check.to) {
            continue;
        }
        let waiting = format!(
            "the check `{}` does not hold any more for {{{{ node.name }}}}",
            check.name
        );
        let proof = PlanProof {
            at: At::Others,
            every: Millis::seconds(1),
            ..here(&probe, verbs.probe(&probe), expect, waiting)
        };
        let recipe = Recipe {
            proof: vec![proof],
            ..verbs.blank(way, Slot::Gate, format!("the check `{}` still holds", check.name))
        };
        recipes.push((On::Each, recipe));
    }
}

fn stop(verbs: &Verbs<'_, '_>, way: Way) -> Recipe {
    let profile = verbs.survey.profile;
    let patience = profile.window.patience;
    Recipe {
        action: Some(Action::Stop(StopService {
            service: profile.service.clone(),
            patience,
        })),
        proof: vec![here(
            PROCESS,
            process_probe(profile),
            "!value.running",
            "the process is still there",
        )],
        within: verbs.within(patience.plus(Millis::seconds(30))),
        ..verbs.blank(way, Slot::Stop, format!("stop {}", profile.title))
    }
}

fn switch(verbs: &Verbs<'_, '_>, way: Way) -> Recipe {
    let title = match way {
        Way::Forward => format!("switch to the release {}", verbs.leg.to),
        Way::Back => format!("switch back to the release {}", verbs.leg.from),
    };
    let release = "{{ want }}".to_owned();
    let waiting = "the current release is not {{ want }}";
    Recipe {
        action: Some(Action::Switch(SwitchRelease { release })),
        proof: vec![here(
            "releases",
            Probe::Releases,
            "value.current == want",
            waiting,
        )],
        ..verbs.blank(way, Slot::Switch, title)
    }
}

/// Has the service's unit start the program of the store, or what it started before.
fn move_unit(verbs: &Verbs<'_, '_>, way: Way) -> Option<Recipe> {
    let Service::Supervised(service) = &verbs.survey.profile.service else {
        return None;
    };
    let order = MoveUnit {
        unit: service.unit.clone().unwrap_or_default(),
        program: service.argv.first()?.clone(),
    };
    // Asked of systemd, not of the file that was written.
    let script = r#"test -z "$1" || systemctl show --property=ExecStart --value -- "$1""#;
    let look = Command {
        argv: ["sh", "-c", script, "sh", &order.unit]
            .map(str::to_owned)
            .to_vec(),
        env: BTreeMap::new(),
        directory: None,
        timeout: Millis::seconds(10),
        exit: BTreeMap::new(),
        output: OutputFormat::Text,
    };
    let (title, action, expect) = match way {
        Way::Forward => (
            "let the service start from the release store",
            Action::MoveUnit(order),
            "output.unit == null || value.value.contains('path=' + output.program + ' ')",
        ),
        Way::Back => (
            "let the service start as it did before",
            Action::UnmoveUnit(order),
            "output.unit == null || !value.value.contains('/store/current/')",
        ),
    };
    Some(Recipe {
        action: Some(action),
        proof: vec![here(
            "unit",
            Probe::Command(look),
            expect,
            "systemd does not say so yet",
        )],
        ..verbs.blank(way, Slot::Switch, title.to_owned())
    })
}

fn start(verbs: &mut Verbs<'_, '_>, way: Way) -> Recipe {
    let profile = verbs.survey.profile;
    let mut expect = "value.running".to_owned();
    // A service that is moved is started from the store; taken back, from where it was started before.
    let moving = verbs.survey.request.move_services;
    if (moving && way == Way::Forward) || (!moving && uses_store(verbs)) {
        expect.push_str(" && value.release == want");
    }
    if !profile.versions.arguments.is_empty() {
        expect.push_str(" && value.version == want");
    }
    let version = match way {
        Way::Forward => &verbs.leg.to,
        Way::Back => &verbs.leg.from,
    };
    Recipe {
        action: Some(Action::Start(profile.service.clone())),
        proof: vec![here(
            PROCESS,
            process_probe(profile),
            expect,
            "no process runs {{ want }} yet",
        )],
        ..verbs.blank(way, Slot::Start, format!("start {} {version}", profile.title))
    }
}

/// The name under which a hop's configuration is kept.
pub(super) fn saved_name(to: &str) -> String {
    format!("config-before-{to}")
}

/// What is copied aside before the hop: the places that the profile carries over, and every file that the hop edits.
pub(super) fn saved_paths(verbs: &mut Verbs<'_, '_>) -> Vec<String> {
    let carry = &verbs.survey.profile.config.carry;
    let mut paths: Vec<String> = carry
        .iter()
        .map(|place| format!("{{{{ places.{place} }}}}"))
        .collect();
    for migration in migrations(verbs) {
        if !paths.iter().any(|path| same_template(path, &migration.file)) {
            paths.push(migration.file.clone());
        }
    }
    paths
}

fn same_template(a: &str, b: &str) -> bool {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    bare(a) == bare(b)
}

fn migrations<'a>(verbs: &mut Verbs<'a, '_>) -> Vec<&'a ConfigMigration> {
    let profile: &'a Profile = verbs.survey.profile;
    profile
        .config
        .migrate
        .iter()
        .filter(|migration| verbs.applies(&migration.from, &migration.to))
        .collect()
}

fn saved_proof(verbs: &Verbs<'_, '_>, waiting: &str) -> Vec<PlanProof> {
    let probe = Probe::Saved(saved_name(verbs.leg.to.as_str()));
    vec![here("saved", probe, "value.exists && value.identical", waiting)]
}

fn save(verbs: &mut Verbs<'_, '_>) -> Option<Recipe> {
    let paths = saved_paths(verbs);
    if paths.is_empty() {
        return None;
    }
    let name = saved_name(verbs.leg.to.as_str());
    Some(Recipe {
        action: Some(Action::Save(SavePaths { name, paths })),
        proof: saved_proof(verbs, "the saved copy is not identical yet"),
        ..verbs.blank(Way::Forward, Slot::Save, "save the configuration".to_owned())
    })
}

fn restore(verbs: &mut Verbs<'_, '_>) -> Option<Recipe> {
    if saved_paths(verbs).is_empty() {
        return None;
    }
    let name = saved_name(verbs.leg.to.as_str());
    Some(Recipe {
        action: Some(Action::Restore(RestorePaths { name })),
        proof: saved_proof(verbs, "the configuration is not what it was, byte for byte"),
        ..verbs.blank(
            Way::Back,
            Slot::MigrateConfig,
            "put the configuration back".to_owned(),
        )
    })
}

fn edit(verbs: &Verbs<'_, '_>, migration: &ConfigMigration) -> Recipe {
    let keys: Vec<&str> = migration
        .drop
        .iter()
        .chain(&migration.comment)
        .map(String::as_str)
        .collect();
    let alternatives: Vec<String> = keys.iter().map(|key| escaped(key)).collect();
    let pattern = format!("^[[:space:]]*({})[[:space:]]*[:=]", alternatives.join("|"));
    // `grep` says with 1 that there is no such line, which is what is wanted, and with 2 that it could not look.
    let look = Command {
        argv: ["grep", "-Ec", &pattern, &migration.file]
            .map(str::to_owned)
            .to_vec(),
        env: BTreeMap::new(),
        directory: None,
        timeout: Millis::seconds(10),
        exit: [(1, ExitMeaning::Done)].into(),
        output: OutputFormat::Text,
    };
    let names = keys.join(", ");
    let waiting = format!("{} still has one of: {names}", migration.file);
    Recipe {
        action: Some(Action::EditConfig(EditConfig {
            file: migration.file.clone(),
            drop: migration.drop.clone(),
            comment: migration.comment.clone(),
            set: BTreeMap::new(),
            reason: migration.reason.clone(),
        })),
        proof: vec![here(
            "edited_config",
            Probe::Command(look),
            "value.exit == 1",
            waiting,
        )],
        ..verbs.blank(
            Way::Forward,
            Slot::MigrateConfig,
            format!("take out of the configuration: {names}"),
        )
    }
}

/// The step that gives keys their values. Each line is looked for as it must stand, and no other line may set the key.
fn set(verbs: &Verbs<'_, '_>, migration: &ConfigMigration) -> Option<Recipe> {
    if migration.set.is_empty() {
        return None;
    }
    let count = |option: &str, pattern: String| {
        Probe::Command(Command {
            argv: ["grep", option, "-e", &pattern, &migration.file]
                .map(str::to_owned)
                .to_vec(),
            env: BTreeMap::new(),
            directory: None,
            timeout: Millis::seconds(10),
            exit: [(1, ExitMeaning::Done)].into(),
            output: OutputFormat::Text,
        })
    };
    // The line is there as it must be, and no other line sets the key.
    let proof = migration.set.iter().flat_map(|(key, value)| {
        let line = count("-Fxc", format!("{key}={value}"));
        let any = count("-Ec", format!("^[[:space:]]*{}[[:space:]]*[:=]", escaped(key)));
        let once = |probe, waiting| {
            here(
                "edited_config",
                probe,
                "value.exit == 0 && value.value == '1'",
                waiting,
            )
        };
        [
            once(line, format!("{key} does not have its new value")),
            once(any, format!("{key} stands in the configuration more than once")),
        ]
    });
    let keys: Vec<&str> = migration.set.keys().map(String::as_str).collect();
    Some(Recipe {
        proof: proof.collect(),
        action: Some(Action::EditConfig(EditConfig {
            file: migration.file.clone(),
            drop: Vec::new(),
            comment: Vec::new(),
            set: migration.set.clone(),
            reason: String::new(),
        })),
        ..verbs.blank(
            Way::Forward,
            Slot::MigrateConfig,
            format!("set in the configuration: {}", keys.join(", ")),
        )
    })
}

fn merge_order(migration: &ConfigMigration) -> Option<MergeConfig> {
    let merge = migration.merge.as_ref()?;
    Some(MergeConfig {
        file: migration.file.clone(),
        base: merge.base.clone(),
        new: merge.new.clone(),
        new_text: None,
        answers: format!("{{{{ node.{ANSWERS} | default({{}}) | tojson }}}}"),
    })
}

fn merge(verbs: &Verbs<'_, '_>, migration: &ConfigMigration) -> Option<Recipe> {
    let order = merge_order(migration)?;
    // Merged once more, a file that is merged stays what it is.
    let probe = Probe::MergedConfig(order.clone());
    let expect = "value.clean && !value.changed";
    let waiting = format!("{} does not have what the new default brings", migration.file);
    Some(Recipe {
        action: Some(Action::MergeConfig(order)),
        proof: vec![here("merged_config", probe, expect, waiting)],
        ..verbs.blank(
            Way::Forward,
            Slot::MigrateConfig,
            "merge the new default configuration".to_owned(),
        )
    })
}

/// Before anything is disturbed: whether the configuration can be merged at all.
fn mergeable(verbs: &Verbs<'_, '_>, migration: &ConfigMigration) -> Option<Recipe> {
    let probe = Probe::MergedConfig(merge_order(migration)?);
    let waiting = "the new default cannot be merged: {{ value.conflicts | join('; ') }}; decide by `config_answers` in the fleet file";
    Some(Recipe {
        proof: vec![here("merged_config", probe, "value.clean", waiting)],
        within: verbs.within(Millis::seconds(5)),
        ..verbs.blank(
            Way::Forward,
            Slot::Protect,
            "see that the new default configuration can be merged".to_owned(),
        )
    })
}

/// A key with the characters that mean something to a regular expression made plain.
fn escaped(key: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | ' ');
    key.chars()
        .flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c]))
        .collect()
}

/// In a rollback a server may be down, and then there is nothing to take out of service.
fn only_where_running(verbs: &Verbs<'_, '_>, recipes: &mut [(On, Recipe)]) {
    for (_, recipe) in recipes.iter_mut().filter(|(_, recipe)| recipe.balancer.is_none()) {
        let probe = process_probe(verbs.survey.profile);
        recipe
            .only_if
            .get_or_insert_with(|| here(PROCESS, probe, "value.running", "the process is looked for"));
    }
}

/// The rollback of a `hot` hop whose profile has no `uninstall`: since the new release was not made permanent, a restart runs
/// the old one.
fn restart(verbs: &mut Verbs<'_, '_>) -> [(On, Recipe); 2] {
    let title = &verbs.survey.profile.title;
    let titles = [
        format!("stop {title}, to restart it into the permanent release"),
        format!("start {title} {} again", verbs.leg.from),
    ];
    let [stop_title, start_title] = titles;
    let kind = crate::types::StepKind::Undo(Slot::Uninstall);
    let stop = Recipe {
        title: stop_title,
        kind,
        ..stop(verbs, Way::Back)
    };
    let start = Recipe {
        title: start_title,
        kind,
        ..start(verbs, Way::Back)
    };
    [(On::Each, stop), (On::Each, start)]
}
