//! Which recipes fill a slot, on the way forward and in a rollback.

use std::collections::BTreeMap;

use upshift_model::Millis;
use upshift_model::probe::Probe;
use upshift_model::profile::{At, On, Otherwise, Proof, Slot, Strategy, Verb, VerbWay, Via};
use upshift_model::version::{Range, Version};

use super::{Builder, Leg, balancers, defaults};
use crate::refusal::Refusals;
use crate::survey::Survey;
use crate::types::{PlanProof, Recipe, RecipeIndex, StepKind};

/// Forward to the new version or back to the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Forward,
    Back,
}

/// Whether a verb is for hops of a strategy. What puts old data back is about new data directories, unless it says that it is for a
/// switch, too.
fn takes(verb: &Verb, slot: Slot, strategy: Strategy) -> bool {
    let all = verb.strategies.is_empty() && !(slot == Slot::OldData && strategy == Strategy::Switch);
    all || verb.strategies.contains(&strategy)
}

/// One thing done in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub on: On,
    pub recipe: RecipeIndex,
}

/// The recipes of one hop, made once and shared by all its windows.
pub(super) struct Verbs<'a, 'b> {
    pub survey: &'b Survey<'a>,
    pub leg: &'b Leg<'a>,
    pub builder: &'b mut Builder,
    pub refusals: &'b mut Refusals,
    lines: BTreeMap<(Way, Slot), Vec<Line>>,
    splits: BTreeMap<RecipeIndex, (Option<RecipeIndex>, Option<RecipeIndex>)>,
}

impl<'a, 'b> Verbs<'a, 'b> {
    pub fn new(
        survey: &'b Survey<'a>,
        leg: &'b Leg<'a>,
        builder: &'b mut Builder,
        refusals: &'b mut Refusals,
    ) -> Self {
        Verbs {
            survey,
            leg,
            builder,
            refusals,
            lines: BTreeMap::new(),
            splits: BTreeMap::new(),
        }
    }

    /// What is done in a slot: the profile's verbs for this hop, and the defaults.
    pub fn lines(&mut self, way: Way, slot: Slot) -> Vec<Line> {
        if let Some(lines) = self.lines.get(&(way, slot)) {
            return lines.clone();
        }
        let mut recipes = self.of_profile(way, slot);
        defaults::complete(self, way, slot, &mut recipes);
        let lines: Vec<Line> = recipes
            .into_iter()
            .map(|(on, recipe)| Line {
                on,
                recipe: self.builder.recipe(recipe),
            })
            .collect();
        self.lines.insert((way, slot), lines.clone());
        lines
    }

    /// The part of a recipe that looks at its own server, and the part that looks at others. One that does something, or only under
    /// a condition, stays whole.
    pub fn split(&mut self, index: RecipeIndex) -> (Option<RecipeIndex>, Option<RecipeIndex>) {
        if let Some(split) = self.splits.get(&index) {
            return *split;
        }
        let recipe = self.builder.recipes[index.0 as usize].clone();
        let (own, cluster): (Vec<PlanProof>, Vec<PlanProof>) = recipe
            .proof
            .iter()
            .cloned()
            .partition(|proof| matches!(proof.at, At::Node | At::LoadBalancer));
        let whole = recipe.action.is_some() || recipe.only_if.is_some();
        let split = match (own.is_empty(), cluster.is_empty()) {
            _ if whole => (Some(index), None),
            (_, true) => (Some(index), None),
            (true, false) => (None, Some(index)),
            (false, false) => {
                let own = Recipe {
                    proof: own,
                    ..recipe.clone()
                };
                let cluster = Recipe {
                    proof: cluster,
                    fails_on: None,
                    ..recipe
                };
                (Some(self.builder.recipe(own)), Some(self.builder.recipe(cluster)))
            }
        };
        self.splits.insert(index, split);
        split
    }

    /// The profile's own verbs of a slot that apply to this hop.
    pub fn own(&mut self, slot: Slot) -> Vec<&'a Verb> {
        let verbs = self
            .survey
            .profile
            .verbs
            .get(&slot)
            .map_or(&[][..], Vec::as_slice);
        let kept = crate::snapshots::kept(self.survey);
        verbs
            .iter()
            .filter(|verb| !(verb.without_repository && kept))
            .filter(|verb| takes(verb, slot, self.leg.edge.strategy))
            .filter(|verb| self.applies(&verb.from, &verb.to))
            .collect()
    }

    fn of_profile(&mut self, way: Way, slot: Slot) -> Vec<(On, Recipe)> {
        // The rollback of a configuration is to put back what was saved; see `defaults`.
        if way == Way::Back && matches!(slot, Slot::MigrateConfig | Slot::Save | Slot::BackUp) {
            return Vec::new();
        }
        let mut recipes = Vec::new();
        let other = match way {
            Way::Forward => VerbWay::Back,
            Way::Back => VerbWay::Forward,
        };
        for verb in self.own(slot) {
            if verb.way == Some(other) {
                continue;
            }
            let recipe = self.of_verb(way, slot, verb);
            match verb.via {
                Via::Node => recipes.push((verb.on, recipe)),
                Via::LoadBalancers => {
                    let each = balancers::on_each(self.survey, &recipe);
                    recipes.extend(each.map(|recipe| (verb.on, recipe)));
                }
            }
        }
        recipes
    }

    fn of_verb(&mut self, way: Way, slot: Slot, verb: &Verb) -> Recipe {
        let only_if = verb.only_if.as_ref().map(|proof| self.proof(proof));
        let proof = verb.proof.iter().map(|proof| self.proof(proof)).collect();
        let fails_on = verb.fails_on.as_ref().map(|proof| self.proof(proof));
        Recipe {
            only_if,
            fails_on,
            bindings: verb.bindings.clone(),
            action: verb.action.clone(),
            proof,
            within: self.within(verb.within),
            otherwise: verb.otherwise,
            retry: verb.retry,
            ..self.blank(way, slot, verb.title.clone())
        }
    }

    /// A recipe of this hop without contents.
    pub fn blank(&self, way: Way, slot: Slot, title: String) -> Recipe {
        let (from, to) = (self.leg.from.to_string(), self.leg.to.to_string());
        let (kind, want) = match way {
            Way::Forward => (StepKind::Do(slot), to.clone()),
            Way::Back => (StepKind::Undo(slot), from.clone()),
        };
        Recipe {
            kind,
            title,
            from,
            to,
            want,
            balancer: None,
            only_if: None,
            bindings: BTreeMap::new(),
            action: None,
            proof: Vec::new(),
            fails_on: None,
            within: self.within(Millis::seconds(60)),
            otherwise: Otherwise::Fail,
            retry: Default::default(),
        }
    }

    /// A limit of the profile, shortened where the operator asks for it.
    pub fn within(&self, within: Millis) -> Millis {
        self.survey
            .request
            .timing
            .within
            .map_or(within, |most| within.min(most))
    }

    /// A proof with its probe looked up.
    pub fn proof(&mut self, proof: &Proof) -> PlanProof {
        PlanProof {
            name: proof.probe.clone(),
            probe: self.probe(&proof.probe),
            at: proof.at,
            expect: proof.expect.clone(),
            waiting: proof.waiting.clone(),
            stable: proof.stable,
            every: proof.every,
            progress: proof.progress.clone(),
        }
    }

    /// A probe of the profile, by name.
    pub fn probe(&mut self, name: &str) -> Probe {
        if let Some(probe) = self.survey.profile.probes.get(name) {
            return probe.clone();
        }
        if name != defaults::PROCESS {
            self.refusals.add(
                "bad-profile",
                format!(
                    "the profile of {} uses the probe `{name}` and does not say what it is",
                    self.survey.profile.title
                ),
                format!("add `{name}` to `probes` in the profile"),
            );
        }
        defaults::process_probe(self.survey.profile)
    }

    /// Whether a rule with these ranges applies to the hop.
    pub fn applies(&mut self, from: &Option<String>, to: &Option<String>) -> bool {
        let leg = self.leg;
        self.contains(from, &leg.from) && self.contains(to, &leg.to)
    }

    fn contains(&mut self, range: &Option<String>, version: &Version) -> bool {
        let Some(text) = range else { return true };
        match Range::parse(self.survey.scheme(), text) {
            Ok(range) => range.contains(version),
            Err(error) => {
                let message = format!(
                    "the profile of {} has a bad range: {error}",
                    self.survey.profile.title
                );
                self.refusals
                    .add("bad-profile", message, "correct the range in the profile");
                false
            }
        }
    }
}
