//! Bugs planted on purpose: a simulator that cannot fail proves nothing.

use upshift_run::Decision;

/// Which bugs are planted.
#[derive(Clone, Debug, Default)]
pub struct Sabotage {
    /// Hosts do as every controller says, however old its token.
    pub ignore_fencing: bool,
    /// Hosts do not look at their records before they act.
    pub run_twice: bool,
    /// The decision to go back never reaches the engine.
    pub forget_reverts: bool,
    /// The controller takes every order for carried out and every proof for observed.
    pub believe_everything: bool,
    /// Hosts forget to put saved configuration back.
    pub skip_restore: bool,
    /// The journal loses records.
    pub forget_in_replay: bool,
    /// Guards never fire.
    pub guards_sleep: bool,
}

impl Sabotage {
    /// Whether a decision never reaches the engine.
    pub fn forgets(&self, decision: &Decision) -> bool {
        self.forget_reverts && matches!(decision, Decision::Revert { .. })
    }
}
