//! `hot`: install in the running process, without making it permanent until the decision to stay. Connections stay.
//!
//! It is one window, because nothing is taken out of service; but since a failed installation may restart a server, no more
//! servers are touched at once than may be down at once.

use upshift_model::profile::Slot;

use super::guard;
use super::hop::Windows;
use super::verbs::Verbs;
use super::window::{WindowLayout, batches, other_than};
use crate::types::{NoReturnPlan, NodeIndex};

pub(super) fn lay_out(
    verbs: &mut Verbs<'_, '_>,
    order: &[NodeIndex],
    no_return: Option<&NoReturnPlan>,
) -> Windows {
    require(verbs);
    let Some(first) = order.first().copied() else {
        return Windows::default();
    };
    let arming = guard::arming(verbs, &[Slot::Uninstall], first, true, no_return);
    let batches = batches(verbs);
    let slot = verbs
        .survey
        .request
        .timing
        .slot
        .unwrap_or(verbs.survey.profile.window.slot);
    let last = batches.len().saturating_sub(1);
    let mut result = Windows::default();
    for (position, nodes) in batches.iter().enumerate() {
        let offset = slot.times((last - position) as u64);
        result.offsets.extend(nodes.iter().map(|node| (*node, offset)));
    }
    let other = other_than(verbs, order, order);
    let mut window = WindowLayout::begin(verbs, order.to_vec(), first, other, arming);
    window.ask_again();
    for nodes in &batches {
        window.forward_on(Slot::Install, nodes);
    }
    window.forward(&[Slot::Verify]);
    window.turn(arming);
    for nodes in batches.iter().rev() {
        window.back_on(Slot::Uninstall, &[Slot::Install], nodes);
    }
    window.back(Slot::Verify, &[Slot::Install]);
    // Watched while the guards still stand and nothing is permanent: a restart, by whomever, leads back.
    let soak = window
        .verbs
        .survey
        .request
        .timing
        .soak
        .unwrap_or(window.verbs.survey.profile.soak.duration);
    result.windows.push(window.finish(soak));
    result
}

fn require(verbs: &mut Verbs<'_, '_>) {
    // A profile that has no verbs at all says so once.
    if verbs.survey.profile.verbs_missing.is_none() && verbs.own(Slot::Install).is_empty() {
        let (title, leg) = (&verbs.survey.profile.title, verbs.leg);
        verbs.refusals.add(
            "no-verbs",
            format!(
                "{} to {} is installed hot, and the profile of {title} does not say how",
                leg.from, leg.to
            ),
            "add verbs for the slot `install` to the profile",
        );
    }
}
