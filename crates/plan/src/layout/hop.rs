//! One hop: protect, windows, what makes it permanent, what is watched, and what must have settled before the next.

use std::collections::BTreeMap;

use upshift_model::Millis;
use upshift_model::profile::{At, NoReturn, On, Slot, Strategy};

use super::verbs::{Line, Verbs, Way};
use super::{Builder, Leg, hot, rebuild, rolling, switch, without_empty};
use crate::order;
use crate::refusal::Refusals;
use crate::survey::Survey;
use crate::types::{Group, Hop, NoReturnPlan, NodeIndex, PlanProof, SoakPlan, Window};

/// The windows of a hop, and by how much each guard fires later.
#[derive(Debug, Default)]
pub(super) struct Windows {
    pub windows: Vec<Window>,
    pub offsets: BTreeMap<NodeIndex, Millis>,
}

/// Lays one hop out.
pub(super) fn lay_out(
    survey: &Survey<'_>,
    leg: &Leg<'_>,
    builder: &mut Builder,
    refusals: &mut Refusals,
) -> Hop {
    let mut verbs = Verbs::new(survey, leg, builder, refusals);
    let order = order::order(survey, &leg.servers);
    let mut no_return = no_return(&mut verbs);
    let protect = protect(&mut verbs, &order);
    let strategy = leg.edge.strategy;
    let windows = match strategy {
        Strategy::Hot => hot::lay_out(&mut verbs, &order, no_return.as_ref()),
        Strategy::Rolling => rolling::lay_out(&mut verbs, &order, no_return.as_ref()),
        Strategy::Switch => switch::lay_out(&mut verbs, &order, no_return.as_ref()),
        Strategy::Rebuild => rebuild::lay_out(&mut verbs, &order, no_return.as_ref()),
    };
    if let Some(point) = &mut no_return {
        point.window = windows.windows.len().saturating_sub(1) as u32;
    }
    let stay = match strategy {
        Strategy::Hot => make_permanent(&mut verbs, &order),
        _ => Vec::new(),
    };
    let everybody: Vec<NodeIndex> = survey.servers.iter().map(|server| server.index).collect();
    let settle = groups(&mut verbs, Slot::Settle, &everybody, &order);
    Hop {
        from: leg.from.to_string(),
        to: leg.to.to_string(),
        strategy,
        source: leg.edge.source.clone(),
        protect,
        windows: windows.windows,
        stay,
        soak: soak(&mut verbs),
        settle,
        guard_offsets: windows.offsets,
        no_return,
    }
}

/// A slot that is done outside of windows: each verb on these servers, or on the first of the order.
pub(super) fn groups(
    verbs: &mut Verbs<'_, '_>,
    slot: Slot,
    nodes: &[NodeIndex],
    order: &[NodeIndex],
) -> Vec<Group> {
    let lines = verbs.lines(Way::Forward, slot);
    let groups = lines
        .into_iter()
        .map(|line| verbs.builder.group(line.recipe, targets(line, nodes, order)));
    without_empty(groups.collect())
}

fn targets(line: Line, nodes: &[NodeIndex], order: &[NodeIndex]) -> Vec<NodeIndex> {
    match line.on {
        On::Each => nodes.to_vec(),
        On::One | On::OneOther => order.first().copied().into_iter().collect(),
    }
}

/// The batches again: what makes a release permanent is done to no more servers at once than were installed at once.
fn make_permanent(verbs: &mut Verbs<'_, '_>, order: &[NodeIndex]) -> Vec<Group> {
    let batches = super::window::batches(verbs);
    batches
        .iter()
        .flat_map(|nodes| groups(verbs, Slot::MakePermanent, nodes, order))
        .collect()
}

/// Before anything is disturbed: the whole cluster is healthy, then snapshots are taken and proven.
fn protect(verbs: &mut Verbs<'_, '_>, order: &[NodeIndex]) -> Vec<Group> {
    let everybody: Vec<NodeIndex> = verbs.survey.servers.iter().map(|server| server.index).collect();
    let mut all = Vec::new();
    for line in verbs.lines(Way::Forward, Slot::Gate) {
        all.extend(health(verbs, line, &everybody, order));
    }
    all.extend(groups(verbs, Slot::Protect, &everybody, order));
    all
}

/// The gate for the whole cluster. What looks at all servers is looked at from one of them, not from each: that would be the
/// square of their number.
fn health(verbs: &mut Verbs<'_, '_>, line: Line, nodes: &[NodeIndex], order: &[NodeIndex]) -> Vec<Group> {
    let recipe = verbs.builder.recipes[line.recipe.0 as usize].clone();
    let whole = recipe.action.is_some() || recipe.only_if.is_some() || line.on != On::Each;
    if whole {
        return vec![verbs.builder.group(line.recipe, targets(line, nodes, order))];
    }
    let (own, cluster): (Vec<PlanProof>, Vec<PlanProof>) = recipe
        .proof
        .iter()
        .cloned()
        .partition(|proof| proof.at == At::Node);
    let mut groups = Vec::new();
    for (proof, nodes) in [(own, nodes), (cluster, order.get(..1).unwrap_or_default())] {
        if !proof.is_empty() {
            let index = match proof.len() == recipe.proof.len() {
                true => line.recipe,
                false => verbs.builder.recipe(crate::types::Recipe {
                    proof,
                    ..recipe.clone()
                }),
            };
            groups.push(verbs.builder.group(index, nodes.iter().copied()));
        }
    }
    groups
}

fn soak(verbs: &mut Verbs<'_, '_>) -> SoakPlan {
    let soak = &verbs.survey.profile.soak;
    let duration = verbs.survey.request.timing.soak.unwrap_or(soak.duration);
    let watch = soak.watch.iter().map(|proof| verbs.proof(proof)).collect();
    SoakPlan {
        duration,
        lasting: soak.lasting,
        watch,
    }
}

/// The hop's point of no return, if it has one.
fn no_return(verbs: &mut Verbs<'_, '_>) -> Option<NoReturnPlan> {
    let rule: &NoReturn = verbs.survey.profile.point_of_no_return.as_ref()?;
    let within_minor = verbs.leg.from.same_minor(&verbs.leg.to);
    if !verbs.applies(&None, &rule.to) || (within_minor && !rule.patch) {
        return None;
    }
    let probe = verbs.probe(&rule.probe);
    let waiting = "whether the point of no return has been crossed";
    let mut crossed = super::defaults::here(&rule.probe, probe, rule.crossed.clone(), waiting);
    crossed.name = rule.probe.clone();
    Some(NoReturnPlan {
        description: rule.description.clone(),
        way_back: rule.way_back.clone(),
        window: 0,
        crossed,
        source: rule.source.clone(),
    })
}
