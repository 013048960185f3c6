//! `switch`: one window for all servers, because the two versions cannot run side by side.

use upshift_model::profile::Slot;

use super::hop::Windows;
use super::together::{self, Slots};
use super::verbs::Verbs;
use crate::types::{NoReturnPlan, NodeIndex};

const SLOTS: Slots = Slots {
    forward: &[
        Slot::Save,
        Slot::Pause,
        Slot::Stop,
        Slot::BackUp,
        Slot::Switch,
        // Where the product can take its data as a copy, the old directories stay untouched.
        Slot::FreshData,
        Slot::MigrateConfig,
        Slot::Start,
        Slot::Verify,
        Slot::Resume,
    ],
    back: &[
        Slot::Pause,
        Slot::Stop,
        Slot::Switch,
        Slot::OldData,
        Slot::MigrateConfig,
        Slot::Start,
        Slot::Verify,
        Slot::Resume,
    ],
    alone: &[
        Slot::Stop,
        Slot::Switch,
        Slot::OldData,
        Slot::MigrateConfig,
        Slot::Start,
        Slot::Resume,
    ],
};

pub(super) fn lay_out(
    verbs: &mut Verbs<'_, '_>,
    order: &[NodeIndex],
    no_return: Option<&NoReturnPlan>,
) -> Windows {
    together::lay_out(verbs, order, no_return, &SLOTS)
}
