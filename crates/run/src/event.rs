//! What the engine is told, and what it asks for.

use serde::{Deserialize, Serialize};
use upshift_model::Millis;
use upshift_model::action::{Action, GuardStatus, Report};
use upshift_model::probe::{Observation, Probe};
use upshift_plan::{NodeIndex, StepId};

/// Version of the journal's records.
pub const JOURNAL_FORMAT: u32 = 1;

/// Something that happened. The journal of a run is the list of its events; the state is their fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since the run began. Never goes backwards; across controllers it is the controller's duty to
    /// keep it so.
    pub at: Millis,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A controller took the run up: for the first time, or again after the last one was lost.
    Started {
        /// Name of the controller, for people.
        controller: String,
        /// Its fencing token; greater than those of all controllers before it.
        token: u64,
    },
    /// A host reported on an order.
    Reported {
        /// Which step.
        step: StepId,
        /// Which attempt at it.
        attempt: u32,
        /// How it ended.
        report: Report,
    },
    /// A probe yielded something.
    Observed {
        /// Which question it answers.
        ask: AskId,
        /// Where.
        node: NodeIndex,
        /// What.
        observation: Observation,
    },
    /// A guard answered to a renewal or to being disarmed.
    Guard {
        /// Where.
        node: NodeIndex,
        /// What it says of itself.
        status: GuardStatus,
    },
    /// Time has passed.
    Woke,
    /// An operator said something.
    Operator {
        /// Who.
        who: String,
        /// What.
        command: OperatorCommand,
    },
    /// A decision of the engine, recorded before anything follows from it; see [`Effect::Record`].
    Decided(Decision),
    /// Another controller has taken the run over (the store or a host says so).
    Superseded {
        /// Its token.
        token: u64,
    },
    /// A controller without this journal has ended the run from the hosts' records.
    EndedElsewhere {
        /// Who.
        by: String,
        /// How it ended, in words.
        how: String,
    },
}

/// What an operator may say during a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorCommand {
    /// Stop at the next safe point: never inside a window.
    Pause,
    /// Go on.
    Resume,
    /// Go forward again from a rollback that is held.
    ResumeForward,
    /// Roll back: undo what this hop has changed, and end.
    Abort,
    /// Roll back after the run had ended well, before `finalize`.
    #[serde(alias = "revert")]
    Rollback,
    /// Roll back with every server at once, whether the others serve or not: for a cluster that does not serve any more. As
    /// [`OperatorCommand::Rollback`] where the run is not in its rollback yet.
    #[serde(alias = "revert_all_at_once")]
    RollbackAllAtOnce,
    /// The explicit yes to crossing the point of no return of a hop.
    Consent,
    /// Stop at the next safe point, and let go of the hosts: guards that stand are disarmed, so that no controller is needed.
    PauseAndLeave,
    /// The explicit yes to a rollback that drops what was written since.
    AcceptLoss,
    /// End a held run as it is, with nothing else done.
    EndAsIs {
        /// Why, in the operator's words.
        reason: String,
    },
    /// Clean up; afterwards rolling back needs a snapshot.
    Finalize,
}

/// A decision that must be on record before it is acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The hop's new version stays: guards may be disarmed.
    Stay {
        /// Position of the hop.
        hop: u32,
    },
    /// The hop is rolled back.
    #[serde(alias = "revert")]
    Rollback {
        /// Position of the hop.
        hop: u32,
        /// Why.
        reason: String,
    },
    /// Nothing moves until an operator decides.
    Hold {
        /// Why.
        reason: String,
        /// What an operator can do.
        remedies: Vec<String>,
    },
}

/// Number of a question; answers to older questions are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AskId(pub u64);

/// Whether an order leads to the new version or back to the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the new version. Refused by a host whose guard has fired for this hop.
    Forward,
    /// Back to the old version.
    Back,
}

/// An order to a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The server that it is about, and where it is done unless `host` says otherwise.
    pub node: NodeIndex,
    /// Name of the load balancer's host that it is done on instead.
    pub host: Option<String>,
    /// Which step. One (step, attempt) is done at most once; asked again, the host answers with what it has recorded.
    pub step: StepId,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Fencing token of the controller.
    pub token: u64,
    /// Grows with every order of a run; a host refuses one that is older than the newest it has seen.
    pub sequence: u64,
    /// Where it leads.
    pub direction: Direction,
    /// What is to be done, templates filled in.
    pub action: Action,
    /// Position of the hop; guards are armed per hop.
    pub hop: u32,
}

/// Something the engine asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Give an order; answered by [`EventKind::Reported`].
    Order(Box<Order>),
    /// Observe something; answered by [`EventKind::Observed`].
    Observe {
        /// The question.
        ask: AskId,
        /// The server that it is about, and where it is observed unless `host` says otherwise.
        node: NodeIndex,
        /// Name of the load balancer's host that it is observed on instead.
        host: Option<String>,
        /// The hop whose way forward the answer is to prove, where the server's guard stands: an answer from after it has fired proves
        /// nothing.
        hop: Option<u32>,
        /// What, templates filled in.
        probe: Box<Probe>,
    },
    /// Renew a guard's lease; answered by [`EventKind::Guard`]. No answer where the host cannot be reached.
    Renew {
        /// Where.
        node: NodeIndex,
        /// Fencing token.
        token: u64,
        /// For which hop.
        hop: u32,
    },
    /// Disarm a guard over a **fresh** connection; answered by [`EventKind::Guard`].
    Disarm {
        /// Where.
        node: NodeIndex,
        /// Fencing token.
        token: u64,
        /// For which hop.
        hop: u32,
        /// Number of the run's newest order: an order to arm that is not newer, and arrives after this, is void.
        sequence: u64,
    },
    /// Tell the time again at this moment. Only the latest `Wake` counts.
    Wake {
        /// When.
        at: Millis,
    },
    /// Append this to the journal, then feed it back as the next event.
    Record(Decision),
    /// The run has ended, or rests until an operator speaks.
    Rest(Outcome),
}

impl Effect {
    /// Whether it may be performed again, or not at all, without anybody noticing: looks, and renewals of leases. Whatever else
    /// follows from an event must wait until the event is on disk.
    pub fn changes_nothing(&self) -> bool {
        match self {
            Effect::Observe { .. } | Effect::Renew { .. } | Effect::Wake { .. } => true,
            Effect::Order(_) | Effect::Disarm { .. } | Effect::Record(_) | Effect::Rest(_) => false,
        }
    }
}

/// How a run ended, or why it rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All servers on the new version, proven. `finalize` and `rollback` are still possible.
    Upgraded,
    /// Every server has the packages, unpacked; nothing that runs was changed.
    Prepared,
    /// Finalized.
    Finalized,
    /// Nothing was changed.
    Refused {
        /// Why.
        reason: String,
    },
    /// All servers back on the version that the failed hop led out of, proven.
    #[serde(alias = "reverted")]
    RolledBack {
        /// That version.
        to: String,
        /// Why.
        reason: String,
    },
    /// An operator must decide.
    Held {
        /// Why.
        reason: String,
        /// What an operator can do.
        remedies: Vec<String>,
    },
    /// An operator has ended the run as it was. Servers may run different versions.
    EndedAsIs {
        /// Who, and why.
        reason: String,
    },
    /// Another controller has taken the fleet over.
    Superseded {
        /// Its token.
        token: u64,
    },
    /// A controller without this journal has ended the run from the hosts' records.
    EndedElsewhere {
        /// Who.
        by: String,
        /// How it ended, in words.
        how: String,
    },
}
