//! The separate, explicit last step: what was kept for rolling back is removed.

use upshift_model::action::Action;
use upshift_model::probe::Probe;
use upshift_model::profile::{Slot, Strategy};

use super::verbs::{Verbs, Way};
use super::{Builder, Leg, defaults, hop};
use crate::order;
use crate::refusal::Refusals;
use crate::survey::Survey;
use crate::types::{Group, Recipe};

pub(super) fn lay_out(
    survey: &Survey<'_>,
    legs: &[Leg<'_>],
    builder: &mut Builder,
    refusals: &mut Refusals,
) -> (Vec<Group>, Vec<String>) {
    let (mut groups, mut notes) = (Vec::new(), Vec::new());
    for leg in legs {
        let mut verbs = Verbs::new(survey, leg, builder, refusals);
        let on = match leg.servers.len() {
            1 => "1 server".to_owned(),
            count => format!("{count} servers"),
        };
        // Services that were moved run that very release.
        if defaults::uses_store(&mut verbs) && !survey.request.move_services {
            let recipe = remove_release(&verbs);
            let recipe = verbs.builder.recipe(recipe);
            groups.push(verbs.builder.group(recipe, leg.servers.iter().copied()));
            notes.push(format!("remove the release {} from {on}", leg.from));
        }
        if leg.edge.strategy != Strategy::Hot && !defaults::saved_paths(&mut verbs).is_empty() {
            let recipe = remove_saved(&verbs);
            let recipe = verbs.builder.recipe(recipe);
            groups.push(verbs.builder.group(recipe, leg.servers.iter().copied()));
            notes.push(format!(
                "remove the configuration saved before {} from {on}",
                leg.to
            ));
        }
        let order = order::order(survey, &leg.servers);
        let own = verbs.own(Slot::Finalize);
        groups.extend(hop::groups(&mut verbs, Slot::Finalize, &leg.servers, &order));
        notes.extend(
            own.iter()
                .map(|verb| format!("{} (hop to {})", verb.title, leg.to)),
        );
    }
    (super::without_empty(groups), notes)
}

fn remove_release(verbs: &Verbs<'_, '_>) -> Recipe {
    let from = verbs.leg.from.to_string();
    let proof = defaults::here(
        "releases",
        Probe::Releases,
        "!(from in value.releases)",
        "the release {{ from }} is still in the store",
    );
    Recipe {
        proof: vec![proof],
        ..verbs.blank(Way::Forward, Slot::Finalize, format!("remove the release {from}"))
    }
    .doing(Action::RemoveRelease(from))
}

fn remove_saved(verbs: &Verbs<'_, '_>) -> Recipe {
    let name = defaults::saved_name(verbs.leg.to.as_str());
    let probe = Probe::Saved(name.clone());
    let proof = defaults::here("saved", probe, "!value.exists", "the saved copy is still there");
    Recipe {
        proof: vec![proof],
        ..verbs.blank(
            Way::Forward,
            Slot::Finalize,
            "remove the saved configuration".to_owned(),
        )
    }
    .doing(Action::RemoveSaved(name))
}

impl Recipe {
    fn doing(self, action: Action) -> Recipe {
        Recipe {
            action: Some(action),
            ..self
        }
    }
}
