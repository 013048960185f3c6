//! Bugs planted on purpose: a simulator that cannot fail proves nothing.

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
}

impl PlantedFaults {
    /// Whether a decision never reaches the engine.
    pub fn forgets(&self, decision: &Decision) -> bool {
        self.forget_rollbacks && matches!(decision, Decision::Rollback { .. })
    }
}
