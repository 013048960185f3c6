//! The snapshots of the profile before a hop: taken and proven before anything is disturbed.

use std::collections::BTreeMap;

use upshift_model::Millis;
use upshift_model::action::Action;
use upshift_model::probe::Probe;
use upshift_model::profile::{On, Retry, Slot};
use upshift_model::snapshot::SnapshotRule;

use super::verbs::{Verbs, Way};
use super::{Builder, defaults, prepare};
use crate::snapshots;
use crate::survey::Survey;
use crate::types::{Group, NodeIndex, Recipe};

/// The program that keeps snapshots, to every server that lacks it.
pub(super) fn send(survey: &Survey<'_>, builder: &mut Builder) -> Group {
    let lacking = survey
        .servers
        .iter()
        .filter_map(|server| Some((server.index, snapshots::sent(survey, server)?)));
    let lacking: Vec<_> = lacking.collect();
    match (lacking.first(), snapshots::kept(survey)) {
        (Some((_, tool)), true) => {
            let recipe = builder.recipe(prepare::distribute(survey, tool));
            builder.group(recipe, lacking.iter().map(|(node, _)| *node))
        }
        _ => Group::default(),
    }
}

/// Each snapshot of the version that the hop leads out of.
pub(super) fn groups(verbs: &mut Verbs<'_, '_>, order: &[NodeIndex]) -> Vec<Group> {
    let survey = verbs.survey;
    if !snapshots::kept(survey) {
        return Vec::new();
    }
    let mut groups = Vec::new();
    let rules = snapshots::rules(survey.profile, &verbs.leg.from).into_iter();
    for rule in rules.filter(|rule| rule.in_runs) {
        let nodes: Vec<NodeIndex> = match rule.on {
            On::Each => survey.servers.iter().map(|server| server.index).collect(),
            On::One | On::OneOther => order.first().copied().into_iter().collect(),
        };
        let mut recipes = BTreeMap::new();
        let mut group = Group::default();
        for node in nodes {
            let server = survey.servers.iter().find(|server| server.index == node);
            let tool = server
                .and_then(|server| snapshots::sent(survey, server))
                .map(|tool| tool.sha256.clone());
            let index = match recipes.get(&tool) {
                Some(index) => *index,
                None => {
                    let recipe = take(verbs, rule, tool.clone());
                    let index = verbs.builder.recipe(recipe);
                    recipes.insert(tool, index);
                    index
                }
            };
            group.steps.push(verbs.builder.step(node, index, Vec::new()));
        }
        groups.push(group);
    }
    groups
}

fn take(verbs: &Verbs<'_, '_>, rule: &SnapshotRule, tool: Option<String>) -> Recipe {
    let survey = verbs.survey;
    let mut order = snapshots::order(survey.profile, survey.fleet_name, rule, &verbs.leg.from);
    order.repository.tool = tool;
    let proof = defaults::here(
        "snapshot",
        Probe::Snapshot(rule.name.clone()),
        "value.exists && value.proven && value.version == from",
        "the snapshot is not proven to restore",
    );
    Recipe {
        action: Some(Action::Snapshot(Box::new(order))),
        proof: vec![proof],
        // The backup command, the snapshot itself, its restore.
        within: verbs.within(Millis(rule.within.0.saturating_mul(3))),
        retry: Retry {
            attempts: 1,
            ..Retry::default()
        },
        ..verbs.blank(
            Way::Forward,
            Slot::Protect,
            format!("take a snapshot and prove it: {}", rule.title),
        )
    }
}
