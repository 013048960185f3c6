//! One hop: protect, windows, what makes it permanent, what is watched, and what must have settled before the next.

use std::collections::BTreeMap;

use upshift_model::Millis;
use upshift_model::profile::{NoReturn, On, Slot, Source, Strategy};

use super::verbs::{Line, Verbs, Way};
use super::{Builder, Leg, hot, rebuild, rolling, switch, without_empty};
use crate::order;
use crate::refusal::Refusals;
use crate::survey::Survey;
use crate::types::{
    Crossed, Group, Hop, NoReturnPlan, NodeIndex, OwnRollbackPlan, Recipe, RecipeIndex, SoakPlan, StepId,
    Window,
};

/// The windows of a hop, and by how much each guard fires later.
#[derive(Debug, Default)]
pub(super) struct Windows {
    pub windows: Vec<Window>,
    pub offsets: BTreeMap<NodeIndex, Millis>,
    /// The steps that take up service again, where it was paused for all servers.
    pub resumed: Vec<StepId>,
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
    // A switch whose data is copied into new directories leaves the old ones behind, too.
    let copied = strategy == Strategy::Switch && !verbs.own(Slot::FreshData).is_empty();
    if (strategy == Strategy::Rebuild || copied) && no_return.is_none() {
        no_return = Some(left_behind(&verbs, windows.resumed));
    }
    let any_window = survey
        .profile
        .point_of_no_return
        .as_ref()
        .is_some_and(|rule| rule.any_window);
    if let Some(point) = no_return.as_mut().filter(|_| !any_window) {
        point.window = windows.windows.len().saturating_sub(1) as u32;
    }
    let stay = match strategy {
        Strategy::Hot => make_permanent(&mut verbs, &order),
        _ => Vec::new(),
    };
    let everybody: Vec<NodeIndex> = survey.servers.iter().map(|server| server.index).collect();
    let settle = groups(&mut verbs, Slot::Settle, &everybody, &order);
    let rolled_back = vec![runs_old(&mut verbs)];
    if let Some(point) = &mut no_return {
        own_rollback(&mut verbs, point, &order);
    }
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
        rolled_back,
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
    groups_on(verbs, Way::Forward, slot, nodes, order)
}

fn groups_on(
    verbs: &mut Verbs<'_, '_>,
    way: Way,
    slot: Slot,
    nodes: &[NodeIndex],
    order: &[NodeIndex],
) -> Vec<Group> {
    let lines = verbs.lines(way, slot);
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

/// The batches again: what makes a release permanent is done to no more servers at once than were installed at once. Then every
/// server is looked at once more: one that was restarted after the installation has come back on the old release.
fn make_permanent(verbs: &mut Verbs<'_, '_>, order: &[NodeIndex]) -> Vec<Group> {
    let batches = super::window::batches(verbs);
    let mut all: Vec<Group> = batches
        .iter()
        .flat_map(|nodes| groups(verbs, Slot::MakePermanent, nodes, order))
        .collect();
    let title = format!("see that it still runs {}", verbs.leg.to);
    let look = runs_new(verbs, Slot::MakePermanent, title);
    all.push(verbs.builder.group(look, order.iter().copied()));
    all
}

/// An observation of what a server runs.
pub(super) fn runs_new(verbs: &mut Verbs<'_, '_>, slot: Slot, title: String) -> RecipeIndex {
    let blank = verbs.blank(Way::Forward, slot, title);
    runs_wanted(verbs, blank)
}

/// The last observation of a rollback, of every server: one that was further than the hop's old version already was left out of it, and
/// runs what it ran.
fn runs_old(verbs: &mut Verbs<'_, '_>) -> Group {
    let mut recipes: BTreeMap<String, RecipeIndex> = BTreeMap::new();
    let mut steps = Vec::new();
    for server in &verbs.survey.servers {
        let version = match verbs.leg.servers.contains(&server.index) {
            true => verbs.leg.from.to_string(),
            false => server.version.to_string(),
        };
        let recipe = match recipes.get(&version) {
            Some(recipe) => *recipe,
            None => {
                let title = format!("see that it runs {version}");
                let blank = Recipe {
                    want: version.clone(),
                    ..verbs.blank(Way::Back, Slot::Verify, title)
                };
                let recipe = runs_wanted(verbs, blank);
                recipes.insert(version, recipe);
                recipe
            }
        };
        steps.push(verbs.builder.step(server.index, recipe, Vec::new()));
    }
    Group { steps }
}

fn runs_wanted(verbs: &mut Verbs<'_, '_>, blank: Recipe) -> RecipeIndex {
    let running = &verbs.survey.profile.versions.running;
    let probe = verbs.probe(&running.probe);
    let expect = format!("({}) == want", running.expression);
    let proof = super::defaults::here(&running.probe, probe, expect, "it does not run {{ want }}");
    let recipe = Recipe {
        proof: vec![proof],
        ..blank
    };
    verbs.builder.recipe(recipe)
}

/// Before anything is disturbed: the whole cluster is healthy, then snapshots are taken and proven.
fn protect(verbs: &mut Verbs<'_, '_>, order: &[NodeIndex]) -> Vec<Group> {
    let everybody: Vec<NodeIndex> = verbs.survey.servers.iter().map(|server| server.index).collect();
    let first = order.first().copied();
    let mut all = gate(verbs, Way::Forward, &everybody, first, first);
    if verbs.leg.edge.strategy == Strategy::Rolling {
        let looks = super::balancers::look(verbs);
        all.extend(looks.into_iter().map(|recipe| {
            let recipe = verbs.builder.recipe(recipe);
            verbs.builder.group(recipe, order.iter().copied())
        }));
    }
    all.extend(groups(verbs, Slot::Protect, &everybody, order));
    all.extend(super::snapshots::groups(verbs, order));
    all
}

/// The gate for some servers: each verb on each of them. What looks at other servers, too, is looked at from one of them, not from
/// each: that would be the square of their number.
pub(super) fn gate(
    verbs: &mut Verbs<'_, '_>,
    way: Way,
    nodes: &[NodeIndex],
    one: Option<NodeIndex>,
    other: Option<NodeIndex>,
) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in verbs.lines(way, Slot::Gate) {
        match line.on {
            On::One => groups.push(verbs.builder.group(line.recipe, one)),
            On::OneOther => groups.push(verbs.builder.group(line.recipe, other)),
            On::Each if nodes.len() < 2 => {
                groups.push(verbs.builder.group(line.recipe, nodes.iter().copied()))
            }
            On::Each => {
                let (own, cluster) = verbs.split(line.recipe);
                groups.extend(own.map(|recipe| verbs.builder.group(recipe, nodes.iter().copied())));
                groups
                    .extend(cluster.map(|recipe| verbs.builder.group(recipe, nodes.iter().copied().take(1))));
            }
        }
    }
    without_empty(groups)
}

fn soak(verbs: &mut Verbs<'_, '_>) -> SoakPlan {
    let soak = &verbs.survey.profile.soak;
    // A hot hop is watched before it is made permanent, by its window; see `hot`.
    let duration = match verbs.leg.edge.strategy {
        Strategy::Hot => Millis::ZERO,
        _ => verbs.survey.request.timing.soak.unwrap_or(soak.duration),
    };
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
        rollback: rule.rollback.clone(),
        window: 0,
        crossed: Crossed::Observed(Box::new(crossed)),
        source: rule.source.clone(),
        own_rollback: None,
    })
}

/// The product's own rollback over the point of no return, where the profile has verbs for this hop. It is about the servers of the hop:
/// those are rolled back, the first of the order last.
fn own_rollback(verbs: &mut Verbs<'_, '_>, point: &mut NoReturnPlan, order: &[NodeIndex]) {
    let rule = verbs.survey.profile.point_of_no_return.as_ref();
    let Some(own) = rule.and_then(|rule| rule.own_rollback.as_ref()) else {
        return;
    };
    if point.crossed.observed().is_none() {
        return;
    }
    let begin = groups_on(verbs, Way::Back, Slot::BeginDowngrade, order, order);
    if begin.is_empty() {
        return;
    }
    point.rollback = format!(
        "`upshift rollback` does it, and no write is lost: {}. Where that cannot be done: {}",
        own.description, point.rollback
    );
    point.own_rollback = Some(OwnRollbackPlan {
        begin,
        end: groups_on(verbs, Way::Back, Slot::EndDowngrade, order, order),
        give_up: own.give_up.clone(),
        source: own.source.clone(),
    });
}

/// The point of no return that every rebuild has, and every switch onto a copy of the data, also where the profile names none: the old data directories stay as they
/// were, without what is written from then on.
fn left_behind(verbs: &Verbs<'_, '_>, resumed: Vec<StepId>) -> NoReturnPlan {
    let (from, to) = (&verbs.leg.from, &verbs.leg.to);
    NoReturnPlan {
        description: format!(
            "once service is taken up again on {to}, what is written is in the new data directories only; rolling back to {from} \
             loses those writes"
        ),
        rollback: format!(
            "`upshift rollback --accept-loss` points the servers at the data of {from} again, without what was written since"
        ),
        window: 0,
        crossed: Crossed::Begun(resumed),
        source: Source {
            title: "what new data directories are".to_owned(),
            link: None,
        },
        own_rollback: None,
    }
}
