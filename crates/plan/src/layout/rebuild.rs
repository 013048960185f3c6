//! `rebuild`: as `switch`, into new and empty data directories, restored from a snapshot. The old directories stay untouched, and
//! going back is to point at them again.

use upshift_model::Millis;
use upshift_model::profile::Slot;

use super::guard;
use super::hop::Windows;
use super::verbs::Verbs;
use super::window::{DISTURBING, NEW_MAY_RUN, WindowLayout, other_than};
use crate::types::{NoReturnPlan, NodeIndex};

const FORWARD: [Slot; 12] = [
    Slot::Pause,
    Slot::FinalSnapshot,
    Slot::Stop,
    Slot::Save,
    Slot::Switch,
    Slot::FreshData,
    Slot::MigrateConfig,
    Slot::Restore,
    Slot::Start,
    Slot::Load,
    Slot::Verify,
    Slot::Resume,
];

const ALONE: [Slot; 6] = [
    Slot::Stop,
    Slot::Switch,
    Slot::OldData,
    Slot::MigrateConfig,
    Slot::Start,
    Slot::Resume,
];

pub(super) fn lay_out(
    verbs: &mut Verbs<'_, '_>,
    order: &[NodeIndex],
    no_return: Option<&NoReturnPlan>,
) -> Windows {
    require(verbs);
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
    window.back(Slot::OldData, &[Slot::FreshData, Slot::Restore, Slot::Load]);
    window.back(Slot::MigrateConfig, &[Slot::MigrateConfig, Slot::Start]);
    window.back(Slot::Start, &DISTURBING);
    window.back(Slot::Verify, &DISTURBING);
    window.back(Slot::Resume, &[&[Slot::Pause], &DISTURBING[..]].concat());
    Windows {
        windows: vec![window.finish(Millis::ZERO)],
        ..Windows::default()
    }
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
            "the way back to the old data directory (`old_data`)",
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
