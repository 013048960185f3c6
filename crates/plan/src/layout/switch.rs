//! `switch`: one window for all servers, because the two versions cannot run side by side. Every slot is a barrier: all servers
//! have stopped before the first one switches.

use upshift_model::Millis;
use upshift_model::profile::Slot;

use super::guard;
use super::hop::Windows;
use super::verbs::Verbs;
use super::window::{DISTURBING, NEW_MAY_RUN, WindowLayout, other_than};
use crate::types::{NoReturnPlan, NodeIndex};

const FORWARD: [Slot; 8] = [
    Slot::Pause,
    Slot::Stop,
    Slot::Save,
    Slot::Switch,
    Slot::MigrateConfig,
    Slot::Start,
    Slot::Verify,
    Slot::Resume,
];

/// What a server does to go back alone. All guards fire together: no server can wait for another that is down, too.
const ALONE: [Slot; 5] = [
    Slot::Stop,
    Slot::Switch,
    Slot::MigrateConfig,
    Slot::Start,
    Slot::Resume,
];

pub(super) fn lay_out(
    verbs: &mut Verbs<'_, '_>,
    order: &[NodeIndex],
    no_return: Option<&NoReturnPlan>,
) -> Windows {
    let Some(first) = order.first().copied() else {
        return Windows::default();
    };
    let arming = guard::arming(verbs, &ALONE, first, false, no_return);
    let other = other_than(verbs, order, order);
    let mut window = WindowLayout::begin(verbs, order.to_vec(), first, other, arming);
    window.forward(&FORWARD);
    window.turn(arming);
    let in_service = if window.has(Slot::Resume) {
        Slot::Resume
    } else {
        Slot::Start
    };
    window.back(Slot::Pause, &[in_service]);
    window.back(Slot::Stop, &NEW_MAY_RUN);
    window.back(Slot::Switch, &[Slot::Switch]);
    window.back(Slot::MigrateConfig, &[Slot::MigrateConfig, Slot::Start]);
    window.back(Slot::Start, &DISTURBING);
    window.back(Slot::Verify, &DISTURBING);
    window.back(Slot::Resume, &[&[Slot::Pause], &DISTURBING[..]].concat());
    Windows {
        windows: vec![window.finish(Millis::ZERO)],
        ..Windows::default()
    }
}
