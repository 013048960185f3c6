//! `rolling`: one window per batch. The others serve meanwhile.

use upshift_model::Millis;
use upshift_model::profile::Slot;

use super::guard;
use super::hop::Windows;
use super::verbs::Verbs;
use super::window::{DISTURBING, NEW_MAY_RUN, WindowLayout, batches, other_than};
use crate::types::{NoReturnPlan, NodeIndex};

const FORWARD: [Slot; 11] = [
    Slot::Save,
    Slot::Drain,
    Slot::HandOver,
    Slot::Stop,
    Slot::BackUp,
    Slot::Switch,
    Slot::MigrateConfig,
    Slot::Start,
    Slot::Rejoin,
    Slot::Recover,
    Slot::Undrain,
];

/// What a server does to roll back alone.
const ALONE: [Slot; 5] = [
    Slot::Stop,
    Slot::Switch,
    Slot::MigrateConfig,
    Slot::Start,
    Slot::Undrain,
];

pub(super) fn lay_out(
    verbs: &mut Verbs<'_, '_>,
    order: &[NodeIndex],
    no_return: Option<&NoReturnPlan>,
) -> Windows {
    let mut result = Windows::default();
    let Some(first) = order.first().copied() else {
        return result;
    };
    let arming = guard::arming(verbs, &ALONE, first, true, no_return);
    let batches = batches(verbs);
    let slot = verbs
        .survey
        .request
        .timing
        .slot
        .unwrap_or(verbs.survey.profile.window.slot);
    let between = verbs
        .survey
        .request
        .timing
        .between
        .unwrap_or(verbs.survey.profile.soak.between);
    let last = batches.len().saturating_sub(1);
    for (position, nodes) in batches.into_iter().enumerate() {
        // The last upgraded rolls back first, when the ones before it still serve on the new version.
        let offset = slot.times((last - position) as u64);
        result.offsets.extend(nodes.iter().map(|node| (*node, offset)));
        let other = other_than(verbs, &nodes, order);
        let mut window = WindowLayout::begin(verbs, nodes, first, other, arming);
        window.forward(&FORWARD);
        window.turn(arming);
        // A server that takes no clients any more need not be drained again.
        let in_service = if window.has(Slot::Undrain) {
            Slot::Undrain
        } else {
            Slot::Start
        };
        let drains = window.back(Slot::Drain, &[in_service]);
        if drains {
            window.ask_again_back(&NEW_MAY_RUN);
        }
        window.back(Slot::Stop, &NEW_MAY_RUN);
        window.back(Slot::Switch, &[Slot::Switch]);
        window.back(Slot::MigrateConfig, &[Slot::MigrateConfig, Slot::Start]);
        window.back(Slot::Start, &DISTURBING);
        window.back(Slot::Rejoin, &DISTURBING);
        window.back(Slot::Recover, &DISTURBING);
        window.back(Slot::Undrain, &[&[Slot::Drain], &DISTURBING[..]].concat());
        // The last window's watch is that of the hop.
        let soak = if position == last { Millis::ZERO } else { between };
        result.windows.push(window.finish(soak));
    }
    result
}
