//! How long a window over all servers must be: the way forward, a lost controller, and a rollback.

use upshift_model::profile::Strategy;

use super::verbs::Verbs;
use crate::types::Window;

/// Divides a window's length into the way forward and what is kept free for rolling back, and refuses one that is too short for both.
///
/// By the end of the window it is finished or rolled back: by the controller, which begins to roll back while there is time for it, or
/// by the guards, which begin once their lease has passed after the last renewal. How long each part takes is what the profile says:
/// `estimate` and `patience` for the way forward, `slot` and `patience` for rolling back, the lease for a lost controller.
pub(super) fn divide(verbs: &mut Verbs<'_, '_>, window: &mut Window) {
    if verbs.leg.edge.strategy != Strategy::Switch {
        return;
    }
    let rules = &verbs.survey.profile.window;
    let slot = verbs.survey.request.timing.slot.unwrap_or(rules.slot);
    let forward = rules.patience.plus(rules.estimate);
    let rollback = rules.patience.plus(slot);
    let reserve = window.lease.plus(rollback);
    let needed = forward.plus(reserve);
    if window.limit.0 >= needed.0 {
        window.limit = window.limit.minus(reserve);
        window.reserve = reserve;
        return;
    }
    let (from, to) = (&verbs.leg.from, &verbs.leg.to);
    let message = format!(
        "the window of {from} to {to} is {} long and must be {needed}: {forward} for the way forward, {} until the guards act where the \
         controller is lost, and {rollback} for rolling back",
        window.limit, window.lease,
    );
    let remedy = format!(
        "give it that time (`--window {needed}`), or give the guards a shorter lease (`--guard-lease`)"
    );
    verbs.refusals.add("window-too-short", message, remedy);
}
