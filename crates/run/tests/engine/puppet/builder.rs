//! The plan that the puppets carry out.

use std::collections::BTreeMap;

use serde_json::json;
use upshift_model::Millis;
use upshift_model::action::{Action, GuardRecipe, SwitchRelease};
use upshift_model::probe::Probe;
use upshift_model::profile::{At, Otherwise, Retry, Slot, Source, Strategy};
use upshift_model::version::Scheme;
use upshift_plan::{
    Crossed, Group, Hop, NoReturnPlan, NodeIndex, OwnRollbackPlan, PLAN_FORMAT, Plan, PlanNode, PlanProof,
    Recipe, RecipeIndex, SoakPlan, Step, StepId, StepKind, Window,
};

use super::seconds;

/// Added to the numbers of the steps of the first hop; no plan here has as many.
const SECOND_HOP: u32 = 1000;

/// Builds a plan: three servers, one rolling window each, with the steps that tests need.
pub struct Builder {
    pub plan: Plan,
    next: u32,
}

pub fn proof(name: &str, at: At, stable: u32) -> PlanProof {
    PlanProof {
        name: name.to_owned(),
        probe: Probe::File(format!("{name}@{{{{ node.name }}}}")),
        at,
        expect: "value.ok".to_owned(),
        waiting: format!("waiting for {name}"),
        stable,
        every: Millis(500),
        progress: None,
    }
}

pub fn recipe(kind: StepKind, title: &str, action: Option<Action>, proof_name: &str) -> Recipe {
    Recipe {
        kind,
        title: title.to_owned(),
        from: "1.0.0".to_owned(),
        to: "2.0.0".to_owned(),
        want: if matches!(kind, StepKind::Undo(_)) {
            "1.0.0"
        } else {
            "2.0.0"
        }
        .to_owned(),
        balancer: None,
        only_if: None,
        bindings: BTreeMap::new(),
        action,
        proof: vec![proof(proof_name, At::Node, 1)],
        fails_on: None,
        within: seconds(60),
        otherwise: Otherwise::Fail,
        retry: Retry {
            attempts: 3,
            pause: Millis(1000),
        },
    }
}

fn switch(release: &str) -> Option<Action> {
    Some(Action::Switch(SwitchRelease {
        release: release.to_owned(),
    }))
}

impl Builder {
    /// Steps of a window, forward: arm, drain, stop, switch, recover; back: drain, stop, switch, recover, undrain.
    pub fn rolling() -> Self {
        let node = |name: &str| PlanNode {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            stamp: upshift_plan::NodeStamp::default(),
            leader: false,
            failure_domain: None,
            state_directory: format!("/state/{name}"),
            places: BTreeMap::new(),
            variables: BTreeMap::new(),
            before: BTreeMap::new(),
        };
        let plan: Plan = serde_json::from_value(json!({
            "format": PLAN_FORMAT, "product": "puppet", "title": "Puppet", "scheme": Scheme::Semver, "fleet": "test",
            "request": {"to": "2.0.0"}, "facts": "", "fingerprint": "", "nodes": [], "recipes": [], "prepare": [], "hops": [],
            "finalize": [], "finalize_notes": [], "warnings": [],
            "estimate": upshift_plan::Estimate::default(),
        }))
        .unwrap();
        let mut builder = Builder { plan, next: 1 };
        builder.plan.nodes = vec![node("h1"), node("h2"), node("h3")];
        let fetch = builder.add(recipe(StepKind::Unpack, "unpack", switch("unpack"), "unpacked"));
        let arm = builder.add(Recipe {
            action: Some(Action::ArmGuard(Box::new(GuardRecipe {
                again: false,
                lease: seconds(90),
                stagger: Millis::ZERO,
                stand_down_if: None,
                serving_if: None,
                wait_until: None,
                rollback: vec![],
                until: None,
                proof: vec![],
                scheme: Scheme::Semver,
                scope: serde_json::Map::new(),
            }))),
            ..recipe(StepKind::Arm, "arm", None, "armed")
        });
        let forward = [
            (Slot::Drain, "drain"),
            (Slot::Stop, "stop"),
            (Slot::Switch, "switch"),
        ]
        .map(|(slot, title)| builder.add(recipe(StepKind::Do(slot), title, switch(title), title)));
        let recover = builder.add(recipe(StepKind::Do(Slot::Recover), "recover", None, "recovered"));
        let gate = builder.add(recipe(StepKind::Do(Slot::Gate), "gate", None, "settled"));
        let back = [
            (Slot::Stop, "stop back"),
            (Slot::Switch, "switch back"),
            (Slot::Undrain, "undrain"),
        ]
        .map(|(slot, title)| builder.add(recipe(StepKind::Undo(slot), title, switch(title), title)));
        let prepare = builder.group_all(fetch);
        let windows = (0..3)
            .map(NodeIndex)
            .map(|node| builder.window(node, gate, arm, &forward, recover, &back));
        let windows: Vec<Window> = windows.collect::<Vec<_>>();
        builder.plan.prepare = vec![prepare];
        builder.plan.hops = vec![Hop {
            from: "1.0.0".to_owned(),
            to: "2.0.0".to_owned(),
            strategy: Strategy::Rolling,
            source: Source {
                title: "test".to_owned(),
                link: None,
            },
            protect: vec![],
            windows,
            stay: vec![],
            soak: SoakPlan {
                duration: seconds(20),
                lasting: seconds(5),
                watch: vec![proof("watched", At::All, 1)],
            },
            settle: vec![],
            rolled_back: vec![],
            guard_offsets: BTreeMap::new(),
            no_return: None,
        }];
        let finalize = builder.add(recipe(
            StepKind::Do(Slot::Finalize),
            "clean up",
            switch("clean"),
            "cleaned",
        ));
        builder.plan.finalize = vec![builder.group_all(finalize)];
        builder
    }

    pub fn add(&mut self, recipe: Recipe) -> RecipeIndex {
        self.plan.recipes.push(recipe);
        RecipeIndex(self.plan.recipes.len() as u32 - 1)
    }

    pub fn step(&mut self, node: NodeIndex, recipe: RecipeIndex, undoes: Vec<StepId>) -> Step {
        let id = StepId(self.next);
        self.next += 1;
        Step {
            id,
            node,
            recipe,
            undoes,
        }
    }

    pub fn group_all(&mut self, recipe: RecipeIndex) -> Group {
        Group {
            steps: (0..3)
                .map(|node| self.step(NodeIndex(node), recipe, vec![]))
                .collect(),
        }
    }

    fn window(
        &mut self,
        node: NodeIndex,
        gate: RecipeIndex,
        arm: RecipeIndex,
        forward: &[RecipeIndex; 3],
        recover: RecipeIndex,
        back: &[RecipeIndex; 3],
    ) -> Window {
        let mut one = |recipe, undoes| Group {
            steps: vec![self.step(node, recipe, undoes)],
        };
        let the_gate = one(gate, vec![]);
        let arming = one(arm, vec![]);
        let steps: Vec<Group> = forward.iter().map(|recipe| one(*recipe, vec![])).collect();
        let [drain, stop, switch] = [0, 1, 2].map(|index: usize| steps[index].steps[0].id);
        let recovering = one(recover, vec![]);
        let rollback_gate = one(gate, vec![]);
        let rearm = one(arm, vec![]);
        let rollback = vec![
            one(back[0], vec![stop, switch]),
            one(back[1], vec![switch]),
            one(back[2], vec![drain]),
        ];
        Window {
            nodes: vec![node],
            gate: vec![the_gate],
            forward: [vec![arming], steps, vec![recovering]].concat(),
            rollback_gate: vec![rollback_gate],
            rearm: vec![rearm],
            rollback,
            limit: seconds(300),
            reserve: Millis::ZERO,
            soak: Millis::ZERO,
            lease: seconds(90),
        }
    }

    pub fn recipe_mut(&mut self, title: &str) -> &mut Recipe {
        self.plan
            .recipes
            .iter_mut()
            .find(|recipe| recipe.title == title)
            .expect("a recipe of that title")
    }

    /// The hop once more, from 2.0.0 to 3.0.0; what protects it looks at every host for `protected`.
    pub fn second_hop(mut self) -> Self {
        let protect = self.add(recipe(
            StepKind::Do(Slot::Protect),
            "protect",
            switch("protect"),
            "protected",
        ));
        let mut hop = self.plan.hops[0].clone();
        hop.from = "2.0.0".to_owned();
        hop.to = "3.0.0".to_owned();
        for window in &mut hop.windows {
            let groups = window
                .gate
                .iter_mut()
                .chain(&mut window.forward)
                .chain(&mut window.rollback_gate)
                .chain(&mut window.rearm)
                .chain(&mut window.rollback);
            for step in groups.flat_map(|group| &mut group.steps) {
                step.id.0 += SECOND_HOP;
                for undone in &mut step.undoes {
                    undone.0 += SECOND_HOP;
                }
            }
        }
        hop.protect = vec![self.group_all(protect)];
        self.plan.hops.push(hop);
        self
    }

    pub fn no_return(mut self) -> Self {
        self.plan.hops[0].no_return = Some(NoReturnPlan {
            description: "the format rises".to_owned(),
            rollback: "restore the snapshot".to_owned(),
            window: 2,
            crossed: Crossed::Observed(Box::new(proof("crossed", At::All, 1))),
            source: Source {
                title: "test".to_owned(),
                link: None,
            },
            own_rollback: None,
        });
        self
    }

    /// A point of no return that the product itself leads back over: `make way` on the first server, and `check the end` there.
    pub fn own_rollback(self) -> Self {
        let mut builder = self.no_return();
        builder.plan.request.accept_no_return = true;
        let mut on_first = |slot, title: &str, proof| {
            let recipe = builder.add(recipe(StepKind::Undo(slot), title, switch(title), proof));
            let step = builder.step(NodeIndex(0), recipe, vec![]);
            vec![Group { steps: vec![step] }]
        };
        let begin = on_first(Slot::BeginDowngrade, "make way", "lowered");
        let end = on_first(Slot::EndDowngrade, "check the end", "ended");
        if let Some(point) = &mut builder.plan.hops[0].no_return {
            point.own_rollback = Some(OwnRollbackPlan {
                begin,
                end,
                give_up: Some("`ctl cancel`".to_owned()),
                source: point.source.clone(),
            });
        }
        builder
    }
}
