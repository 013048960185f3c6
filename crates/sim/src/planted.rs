//! Bugs planted on purpose: a simulator that cannot fail proves nothing.

use upshift_model::profile::Slot;
use upshift_plan::{Plan, Step, StepKind};
use upshift_run::Decision;

/// Which bugs are planted.
#[derive(Clone, Debug, Default)]
pub struct PlantedFaults {
    /// Unpacking does nothing, and the release store says that it did.
    pub unpack_nothing: bool,
    /// The agent reads the version of the running process from the link, not from the process.
    pub read_the_link: bool,
    /// The cluster acknowledges writes that only the leader has.
    pub careless_commits: bool,
    /// Hosts do not look at their records before they act.
    pub run_twice: bool,
    /// The journal loses records.
    pub forget_in_replay: bool,
    /// Hosts do as every controller says, however old its token.
    pub ignore_fencing: bool,
    /// Whether others serve is always answered with yes.
    pub blind_gate: bool,
    /// The controller reports success, however the run ended.
    pub claim_success: bool,
    /// Servers are not put back into the balancer, and the balancer says that they were.
    pub sticky_drain: bool,
    /// The decision to roll back never reaches the engine.
    pub forget_rollbacks: bool,
    /// Guards never fire.
    pub guards_sleep: bool,
    /// A step that only waits is taken for done at once.
    pub skip_waiting: bool,
    /// Whether the others serve is asked by no step.
    pub ignore_gates: bool,
    /// What an action says of itself is its proof.
    pub trust_exit_codes: bool,
    /// Guards are disarmed before the decision to stay is on record.
    pub disarm_early: bool,
    /// The controller answers for the guards itself.
    pub ask_no_guard: bool,
    /// The server of the next host is stopped, too.
    pub stop_two: bool,
    /// A rollback leaves the servers out of the balancer.
    pub forget_undrain: bool,
    /// Guards that have fired do not know that they have.
    pub guards_fire_twice: bool,
}

impl PlantedFaults {
    /// Plants those that are mistakes of a plan.
    pub fn spoil(&self, plan: &mut Plan) {
        for recipe in &mut plan.recipes {
            let slot = match recipe.kind {
                StepKind::Do(slot) | StepKind::Undo(slot) => slot,
                StepKind::Distribute | StepKind::Unpack | StepKind::Arm => continue,
            };
            let waits = recipe.action.is_none();
            if self.skip_waiting && waits
                || self.ignore_gates && slot == Slot::Gate
                || self.trust_exit_codes && !waits
            {
                recipe.proof.clear();
            }
        }
        let (recipes, windows) = (
            &plan.recipes,
            plan.hops.iter_mut().flat_map(|hop| &mut hop.windows),
        );
        let undrains = |step: &Step| recipes[step.recipe.0 as usize].kind == StepKind::Undo(Slot::Undrain);
        for group in windows.flat_map(|window| &mut window.rollback) {
            group
                .steps
                .retain(|step| !(self.forget_undrain && undrains(step)));
        }
    }

    /// Whether a decision never reaches the engine.
    pub fn forgets(&self, decision: &Decision) -> bool {
        self.forget_rollbacks && matches!(decision, Decision::Rollback { .. })
    }
}
