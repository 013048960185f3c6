//! `rebuild`: as `switch`, into new and empty data directories, restored from a snapshot. The old directories stay untouched, and
//! rolling back is to point at them again.

use upshift_model::profile::Slot;

use super::hop::Windows;
use super::together::{self, Slots};
use super::verbs::Verbs;
use crate::types::{NoReturnPlan, NodeIndex};

const SLOTS: Slots = Slots {
    forward: &[
        Slot::Save,
        Slot::Pause,
        Slot::FinalSnapshot,
        Slot::Stop,
        Slot::BackUp,
        Slot::Switch,
        Slot::FreshData,
        Slot::MigrateConfig,
        Slot::Restore,
        Slot::Start,
        Slot::Load,
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
    require(verbs);
    together::lay_out(verbs, order, no_return, &SLOTS)
}

/// Without these verbs the new version would be let loose on the old data.
fn require(verbs: &mut Verbs<'_, '_>) {
    if verbs.survey.profile.verbs_missing.is_some() {
        // Said once, for the whole profile.
        return;
    }
    let needed: [(&str, &[Slot]); 4] = [
        (
            "a snapshot (`protect` or `final_snapshot`)",
            &[Slot::FinalSnapshot, Slot::Protect],
        ),
        ("a new data directory (`fresh_data`)", &[Slot::FreshData]),
        (
            "the restoring of the snapshot (`restore` or `load`)",
            &[Slot::Restore, Slot::Load],
        ),
        (
            "the rollback to the old data directory (`old_data`)",
            &[Slot::OldData],
        ),
    ];
    for (what, slots) in needed {
        if slots.iter().all(|slot| verbs.own(*slot).is_empty()) {
            let (title, leg) = (&verbs.survey.profile.title, verbs.leg);
            verbs.refusals.add(
                "no-verbs",
                format!(
                    "{} to {} is a rebuild, and the profile of {title} does not say how to do {what}",
                    leg.from, leg.to
                ),
                "add the verbs to the profile",
            );
        }
    }
}
