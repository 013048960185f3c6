//! The order in which a plan is done: forward, and back.

use std::collections::BTreeMap;
use std::ops::Range;

use upshift_model::Millis;
use upshift_model::profile::Slot;
use upshift_plan::{Group, Hop, NodeIndex, OwnRollbackPlan, Plan, Step, StepId, StepKind, Window};

use crate::state::State;

/// One thing that the program does; the next begins when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A group of steps.
    Group(GroupAt),
    /// The explicit yes to the hop's point of no return.
    Consent { hop: u32 },
    /// Service is disturbed from here on.
    Open { hop: u32, window: u32 },
    /// The window's servers serve on the new version.
    Close { hop: u32, window: u32 },
    /// Watch for a while.
    Watch { hop: u32, duration: Millis },
    /// Confirm every guard, then record that the new version stays.
    Decide { hop: u32 },
    /// Disarm every guard of the hop, in one round trip.
    Disarm { hop: u32 },
    /// Forward: the hop is done.
    HopDone,
    /// Back: find out whether the point of no return has been crossed.
    Crossed { hop: u32 },
    /// Back: the window's servers serve on the old version; their guards are disarmed.
    CloseBack { hop: u32, window: u32 },
    /// Back: every server of the hop is on the old version.
    BackDone { hop: u32 },
}

/// Which group of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupAt {
    pub(crate) part: Part,
    pub(crate) hop: u32,
    pub(crate) window: u32,
    pub(crate) index: u32,
}

/// Part of a plan that consists of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Prepare,
    Protect,
    Gate,
    Forward,
    RollbackGate,
    Rearm,
    Rollback,
    Stay,
    Settle,
    /// Back, past the point of no return: the product's own rollback makes way for the old version.
    BeginDowngrade,
    /// Back, past the point of no return: the product's own rollback has ended.
    EndDowngrade,
    /// The last act of a run that says that every server runs the new version: every server is observed.
    Prove,
    /// The last act of a run that says that it was rolled back.
    ProveBack,
    Finalize,
}

impl Part {
    /// Whether orders of this part lead back.
    pub(crate) fn leads_back(self) -> bool {
        matches!(
            self,
            Part::RollbackGate | Part::Rollback | Part::BeginDowngrade | Part::EndDowngrade | Part::ProveBack
        )
    }

    /// Whether the part belongs to a window, whose servers it is about.
    pub(crate) fn has_window(self) -> bool {
        matches!(
            self,
            Part::Gate | Part::Forward | Part::RollbackGate | Part::Rearm | Part::Rollback
        )
    }
}

fn groups_of(plan: &Plan, part: Part, hop: u32, window: u32) -> &[Group] {
    let the_hop = || &plan.hops[hop as usize];
    let the_window = || &the_hop().windows[window as usize];
    match part {
        Part::Prepare => &plan.prepare,
        Part::Prove => &plan.proof,
        Part::Finalize => &plan.finalize,
        Part::Protect => &the_hop().protect,
        Part::Stay => &the_hop().stay,
        Part::Settle => &the_hop().settle,
        Part::ProveBack => &the_hop().rolled_back,
        Part::BeginDowngrade => own_rollback(the_hop()).map_or(&[], |own| &own.begin),
        Part::EndDowngrade => own_rollback(the_hop()).map_or(&[], |own| &own.end),
        Part::Gate => &the_window().gate,
        Part::Forward => &the_window().forward,
        Part::RollbackGate => &the_window().rollback_gate,
        Part::Rearm => &the_window().rearm,
        Part::Rollback => &the_window().rollback,
    }
}

fn own_rollback(hop: &Hop) -> Option<&OwnRollbackPlan> {
    hop.no_return.as_ref()?.own_rollback.as_ref()
}

impl GroupAt {
    /// The group itself.
    pub(crate) fn of(self, plan: &Plan) -> &Group {
        &groups_of(plan, self.part, self.hop, self.window)[self.index as usize]
    }
}

/// Some groups of a part.
fn groups(part: Part, hop: u32, window: u32, indices: Range<u32>) -> impl Iterator<Item = Item> {
    indices.map(move |index| {
        Item::Group(GroupAt {
            part,
            hop,
            window,
            index,
        })
    })
}

fn push(items: &mut Vec<Item>, plan: &Plan, part: Part, hop: u32, window: u32) {
    items.extend(groups_at(plan, part, hop, window).map(Item::Group));
}

/// All groups of a part.
pub(crate) fn groups_at(
    plan: &Plan,
    part: Part,
    hop: u32,
    window: u32,
) -> impl Iterator<Item = GroupAt> + use<> {
    let count = groups_of(plan, part, hop, window).len() as u32;
    (0..count).map(move |index| GroupAt {
        part,
        hop,
        window,
        index,
    })
}

/// Where the program comes to a window: its gate, or where it has none, its opening.
pub(crate) fn beginning_of(program: &[Item], hop: u32, window: u32) -> Option<usize> {
    let is_of = |item: &Item| match item {
        Item::Group(at) => at.part == Part::Gate && (at.hop, at.window) == (hop, window),
        Item::Open {
            hop: of,
            window: which,
        } => (*of, *which) == (hop, window),
        _ => false,
    };
    program.iter().position(is_of)
}

/// What is asked before a window's servers are taken down for a rollback, of those that serve all the same.
pub(crate) fn gate_where_it_serves(plan: &Plan, hop: u32, window: u32) -> Vec<Item> {
    let gates = groups_at(plan, Part::RollbackGate, hop, window);
    gates
        .filter(|at| conditional(plan, at.of(plan)))
        .map(Item::Group)
        .collect()
}

fn push_window(items: &mut Vec<Item>, plan: &Plan, hop: u32, window: u32) {
    push(items, plan, Part::Gate, hop, window);
    items.push(Item::Open { hop, window });
    push(items, plan, Part::Forward, hop, window);
    items.push(Item::Close { hop, window });
    let soak = window_of(plan, hop, window).soak;
    if soak > Millis::ZERO {
        items.push(Item::Watch { hop, duration: soak });
    }
}

/// The window itself.
pub(crate) fn window_of(plan: &Plan, hop: u32, window: u32) -> &Window {
    &plan.hops[hop as usize].windows[window as usize]
}

/// The way forward.
pub(crate) fn forward(plan: &Plan) -> Vec<Item> {
    let mut items = Vec::new();
    push(&mut items, plan, Part::Prepare, 0, 0);
    if plan.request.prepare_only {
        return items;
    }
    for (position, the_hop) in plan.hops.iter().enumerate() {
        let hop = position as u32;
        push(&mut items, plan, Part::Protect, hop, 0);
        if the_hop.no_return.is_some() {
            items.push(Item::Consent { hop });
        }
        for window in 0..the_hop.windows.len() as u32 {
            push_window(&mut items, plan, hop, window);
        }
        items.push(Item::Decide { hop });
        items.push(Item::Disarm { hop });
        push(&mut items, plan, Part::Stay, hop, 0);
        if the_hop.soak.duration > Millis::ZERO {
            items.push(Item::Watch {
                hop,
                duration: the_hop.soak.duration,
            });
        }
        push(&mut items, plan, Part::Settle, hop, 0);
        items.push(Item::HopDone);
    }
    push(&mut items, plan, Part::Prove, last_hop(plan), 0);
    items
}

fn last_hop(plan: &Plan) -> u32 {
    plan.hops.len().saturating_sub(1) as u32
}

/// Where each step of a plan stands: its group, and its position in it.
pub(crate) type Index = BTreeMap<StepId, (GroupAt, u32)>;

/// Every step of a plan by its number.
pub(crate) fn index(plan: &Plan) -> Index {
    let mut items = Vec::new();
    push(&mut items, plan, Part::Prepare, 0, 0);
    for (hop, the_hop) in (0u32..).zip(&plan.hops) {
        push(&mut items, plan, Part::Protect, hop, 0);
        for window in 0..the_hop.windows.len() as u32 {
            for part in [
                Part::Gate,
                Part::Forward,
                Part::RollbackGate,
                Part::Rearm,
                Part::Rollback,
            ] {
                push(&mut items, plan, part, hop, window);
            }
        }
        push(&mut items, plan, Part::Stay, hop, 0);
        push(&mut items, plan, Part::Settle, hop, 0);
        push(&mut items, plan, Part::ProveBack, hop, 0);
        push(&mut items, plan, Part::BeginDowngrade, hop, 0);
        push(&mut items, plan, Part::EndDowngrade, hop, 0);
    }
    push(&mut items, plan, Part::Prove, last_hop(plan), 0);
    items.extend(finalize(plan));
    let mut index = Index::new();
    for item in items {
        if let Item::Group(at) = item {
            index.extend(
                (0u32..)
                    .zip(&at.of(plan).steps)
                    .map(|(position, step)| (step.id, (at, position))),
            );
        }
    }
    index
}

/// What `finalize` does.
pub(crate) fn finalize(plan: &Plan) -> Vec<Item> {
    let mut items = Vec::new();
    push(&mut items, plan, Part::Finalize, last_hop(plan), 0);
    items
}

/// Arms the guards of every window of a hop that was opened and is not rolled back yet, where they do not stand.
pub(crate) fn rearm(state: &State, hop: u32) -> Vec<Item> {
    let mut items = Vec::new();
    for (&(_, window), _) in state
        .windows
        .range((hop, 0)..=(hop, u32::MAX))
        .filter(|(_, window)| !window.rolled_back)
    {
        let the_window = window_of(&state.plan, hop, window);
        // Where nothing was begun that has to be taken back, nothing needs a guard: the guard may be what could not be armed.
        let begun = the_window
            .rollback
            .iter()
            .flat_map(|group| &group.steps)
            .flat_map(|step| &step.undoes)
            .any(|id| state.steps.get(id).is_some_and(|step| step.ordered));
        let guarded = |node| state.guards.contains_key(node);
        if begun && !the_window.nodes.iter().all(guarded) {
            push(&mut items, &state.plan, Part::Rearm, hop, window);
        }
    }
    items
}

/// The rollback for a hop: the window that failed first, since its servers are down anyway; then the completed ones,
/// newest first, each once the cluster can bear it, or all of them at once.
///
/// Where the hop before is rolled back next, its end is the one at which every server is observed.
pub(crate) fn back(state: &State, hop: u32, through: bool, at_once: bool) -> Vec<Item> {
    let mut items = vec![Item::Crossed { hop }];
    // Before the guards stand: until the product makes way for the old version, they would stand down.
    push(&mut items, &state.plan, Part::BeginDowngrade, hop, 0);
    items.extend(rearm(state, hop));
    let opened: Vec<(u32, bool)> = state
        .windows
        .range((hop, 0)..=(hop, u32::MAX))
        .filter(|(_, window)| !window.rolled_back)
        .map(|(&(_, window), window_state)| (window, window_state.closed.is_some()))
        .collect();
    let failed = opened.iter().rev().filter(|(_, closed)| !closed);
    let completed = opened.iter().rev().filter(|(_, closed)| *closed);
    let plan = &state.plan;
    if at_once {
        // A server may need the others before it serves: all of them run the old version first.
        let windows: Vec<u32> = failed.chain(completed).map(|(window, _)| *window).collect();
        // All of them stop, so that none waits until the others serve, not even one that serves itself.
        for &window in &windows {
            let started = started_after(plan, hop, window);
            for index in 0..started {
                if !asks(plan, &window_of(plan, hop, window).rollback[index as usize]) {
                    items.extend(groups(Part::Rollback, hop, window, index..index + 1));
                }
            }
        }
        for &window in &windows {
            let rest = started_after(plan, hop, window)..window_of(plan, hop, window).rollback.len() as u32;
            items.extend(groups(Part::Rollback, hop, window, rest));
            items.push(Item::CloseBack { hop, window });
        }
    } else {
        for &(window, closed) in failed.chain(completed) {
            push_rollback_gate(&mut items, plan, hop, window, closed);
            let all = 0..window_of(plan, hop, window).rollback.len() as u32;
            push_rollback(&mut items, plan, hop, window, all, closed);
            items.push(Item::CloseBack { hop, window });
        }
    }
    push(&mut items, plan, Part::EndDowngrade, hop, 0);
    if !through || hop == 0 {
        push(&mut items, plan, Part::ProveBack, hop, 0);
    }
    items.push(Item::BackDone { hop });
    items
}

/// After how many groups of its rollback the window's servers have been started; all of them where none starts a server.
fn started_after(plan: &Plan, hop: u32, window: u32) -> u32 {
    let groups = &window_of(plan, hop, window).rollback;
    let starts = |step: &Step| plan.recipe(step.recipe).kind == StepKind::Undo(Slot::Start);
    let last = groups.iter().rposition(|group| group.steps.iter().any(starts));
    last.map_or(groups.len(), |last| last + 1) as u32
}

/// What must hold before a window's servers are taken down for the rollback. Where the window has failed they are mostly down,
/// and nothing is waited for but what the plan asks of a server that serves all the same.
fn push_rollback_gate(items: &mut Vec<Item>, plan: &Plan, hop: u32, window: u32, closed: bool) {
    for (index, group) in (0u32..).zip(&window_of(plan, hop, window).rollback_gate) {
        if closed || conditional(plan, group) {
            items.extend(groups(Part::RollbackGate, hop, window, index..index + 1));
        }
    }
}

/// Some groups of a window's rollback. What is asked again in the middle of it is asked under the same rule as its gate.
fn push_rollback(items: &mut Vec<Item>, plan: &Plan, hop: u32, window: u32, which: Range<u32>, closed: bool) {
    for index in which {
        let group = &window_of(plan, hop, window).rollback[index as usize];
        if !asks(plan, group) || closed || conditional(plan, group) {
            items.extend(groups(Part::Rollback, hop, window, index..index + 1));
        }
    }
}

/// Whether a group asks if the cluster can bear that a server stops.
fn asks(plan: &Plan, group: &Group) -> bool {
    let mut steps = group.steps.iter();
    steps.any(|step| plan.recipe(step.recipe).is_gate())
}

/// Whether every step of a group is done under a condition only.
fn conditional(plan: &Plan, group: &Group) -> bool {
    let mut steps = group.steps.iter();
    steps.all(|step| plan.recipe(step.recipe).only_if.is_some())
}

/// Servers of a window.
pub(crate) fn nodes_of(plan: &Plan, hop: u32, window: u32) -> &[NodeIndex] {
    &window_of(plan, hop, window).nodes
}
