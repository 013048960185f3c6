//! One window for all servers, as `switch` and `rebuild` have it. Every slot is a barrier: all servers have stopped before the
//! first one switches.

use upshift_model::Millis;
use upshift_model::profile::{Slot, Strategy};

use super::bounds;
use super::guard;
use super::hop::Windows;
use super::verbs::Verbs;
use super::window::{DISTURBING, NEW_MAY_RUN, WindowLayout, other_than};
use crate::types::{NoReturnPlan, NodeIndex};

/// What is done in the window.
pub(super) struct Slots {
    pub forward: &'static [Slot],
    pub back: &'static [Slot],
    /// What a server does to roll back alone. All guards fire together: no server can wait for another that is down, too.
    pub alone: &'static [Slot],
}

pub(super) fn lay_out(
    verbs: &mut Verbs<'_, '_>,
    order: &[NodeIndex],
    no_return: Option<&NoReturnPlan>,
    slots: &Slots,
) -> Windows {
    let Some(first) = order.first().copied() else {
        return Windows::default();
    };
    let arming = guard::arming(verbs, slots.alone, first, false, no_return);
    let other = other_than(verbs, order, order);
    let mut window = WindowLayout::begin(verbs, order.to_vec(), first, other, arming);
    window.forward(slots.forward);
    window.turn(arming);
    let in_service = if window.has(Slot::Resume) {
        Slot::Resume
    } else {
        Slot::Start
    };
    let switch = window.verbs.leg.edge.strategy == Strategy::Switch;
    for slot in slots.back {
        window.back(*slot, &triggers(*slot, in_service, switch));
    }
    let resumed = window.begun_anywhere(&[Slot::Resume]);
    let mut window = window.finish(Millis::ZERO);
    bounds::divide(verbs, &mut window);
    Windows {
        resumed,
        windows: vec![window],
        ..Windows::default()
    }
}

/// What of the way forward makes a slot of the rollback necessary. `in_service` is the slot that takes up service.
fn triggers(slot: Slot, in_service: Slot, switch: bool) -> Vec<Slot> {
    match slot {
        Slot::Pause => vec![in_service],
        Slot::Stop => NEW_MAY_RUN.to_vec(),
        Slot::Switch => vec![Slot::Switch],
        // What a switch puts back is what was saved before the new version ran.
        Slot::OldData if switch => vec![Slot::Start],
        Slot::OldData => vec![Slot::FreshData, Slot::Restore, Slot::Load],
        Slot::MigrateConfig => vec![Slot::MigrateConfig, Slot::Start],
        // The product may suspend service while it takes a snapshot, and leave it so.
        Slot::Resume => [&[Slot::Pause, Slot::FinalSnapshot], &DISTURBING[..]].concat(),
        _ => DISTURBING.to_vec(),
    }
}
