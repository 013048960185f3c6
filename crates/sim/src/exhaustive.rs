//! One fault at every step boundary of an otherwise good run, for every kind of fault.

use upshift_model::profile::{Profile, Strategy};
use upshift_run::Outcome;

use crate::fault::{Fault, Moment, When};
use crate::product::Behaviour;
use crate::scenario::{Scenario, Summary};
use crate::trace::Level;

/// A kind of fault, and what may come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The controller is killed at a record of its journal, and another goes on.
    ControllerKilledAndResumed(Moment),
    /// The controller is killed, and nobody ever comes back.
    ControllerGoneForGood(Moment),
    /// The controller and all agents are killed; another controller comes after the guards have acted.
    ControllerBackAfterGuards,
    /// The agent is killed while it does what it was ordered.
    AgentKilled,
    /// The host is rebooted.
    HostRebooted,
    /// The host is cut off for a while that its guard bears.
    ShortPartition,
    /// The host is cut off for longer than its guard bears.
    LongPartition,
    /// The controller reaches nobody for longer than the guards bear.
    ControllerPartition,
    /// The host's disk is full for a while.
    DiskFull,
    /// Messages are lost.
    MessageLost,
    /// Messages arrive twice.
    MessageDoubled,
    /// Messages overtake each other.
    MessageReordered,
    /// The next action exits 0 without having done anything.
    VerbLies,
    /// The new version never becomes healthy on the host.
    NewNeverHealthy,
    /// The old version no longer starts on the host.
    OldNoLongerStarts,
    /// Neither does the old version start, nor does the new one become healthy.
    NeitherWorks,
    /// Another server dies, and is started again after a while.
    AnotherServerDies,
    /// Another server dies for good.
    AnotherServerDiesForGood,
    /// A second controller takes over while the first one is alive.
    TwoControllers,
    /// A second controller takes over, and the first one's store cannot tell.
    TwoControllersForked,
    /// The leader changes.
    LeaderMoves,
}

/// All kinds.
pub const KINDS: [Kind; 27] = [
    Kind::ControllerKilledAndResumed(Moment::BeforeRecord),
    Kind::ControllerKilledAndResumed(Moment::AfterRecord),
    Kind::ControllerKilledAndResumed(Moment::HalfPerformed),
    Kind::ControllerKilledAndResumed(Moment::AfterPerforming),
    Kind::ControllerGoneForGood(Moment::BeforeRecord),
    Kind::ControllerGoneForGood(Moment::AfterRecord),
    Kind::ControllerGoneForGood(Moment::HalfPerformed),
    Kind::ControllerGoneForGood(Moment::AfterPerforming),
    Kind::ControllerBackAfterGuards,
    Kind::AgentKilled,
    Kind::HostRebooted,
    Kind::ShortPartition,
    Kind::LongPartition,
    Kind::ControllerPartition,
    Kind::DiskFull,
    Kind::MessageLost,
    Kind::MessageDoubled,
    Kind::MessageReordered,
    Kind::VerbLies,
    Kind::NewNeverHealthy,
    Kind::OldNoLongerStarts,
    Kind::NeitherWorks,
    Kind::AnotherServerDies,
    Kind::AnotherServerDiesForGood,
    Kind::TwoControllers,
    Kind::TwoControllersForked,
    Kind::LeaderMoves,
];

/// Where a fault may be put: a record of the journal, and the host that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boundary {
    /// Position in the journal.
    pub journal: usize,
    /// The host.
    pub host: usize,
}

/// One run of the matrix.
#[derive(Clone, Debug)]
pub struct Case {
    /// The strategy.
    pub strategy: Strategy,
    /// Where the fault is put.
    pub boundary: Boundary,
    /// Which.
    pub kind: Kind,
}

impl Case {
    /// The scenario.
    pub fn scenario(&self) -> Scenario {
        let base = Scenario::of(self.strategy);
        let (from, to) = (base.from.clone(), base.to.clone());
        let Boundary { journal, host } = self.boundary;
        let other = (host + 1) % base.servers;
        let at = When::Journal(journal);
        let with = |fault: Fault| base.clone().with(at, fault);
        match self.kind {
            Kind::ControllerKilledAndResumed(moment) => with(Fault::ControllerKilled(moment, Some(2_000))),
            Kind::ControllerGoneForGood(moment) => with(Fault::ControllerKilled(moment, None)),
            Kind::ControllerBackAfterGuards => with(Fault::AllAgentsKilled).with(
                at,
                Fault::ControllerKilled(Moment::AfterPerforming, Some(400_000)),
            ),
            Kind::AgentKilled => with(Fault::AgentKilled(host)),
            Kind::HostRebooted => with(Fault::HostRebooted(host, 20_000)),
            Kind::ShortPartition => with(Fault::HostCutOff(host, 20_000)),
            Kind::LongPartition => with(Fault::HostCutOff(host, 200_000)),
            Kind::ControllerPartition => with(Fault::ControllersCutOff(400_000)),
            Kind::DiskFull => with(Fault::DiskFull(host, 100_000)),
            Kind::MessageLost => with(Fault::MessagesLost(1)),
            Kind::MessageDoubled => with(Fault::MessagesDoubled(4)),
            Kind::MessageReordered => with(Fault::MessagesLate(2, 15_000)),
            Kind::VerbLies => with(Fault::VerbLies(host)),
            Kind::NewNeverHealthy => with(Fault::Misbehaves(Some(host), to, Behaviour::NeverHealthy)),
            Kind::OldNoLongerStarts => with(Fault::Misbehaves(None, from, Behaviour::DoesNotStart)),
            Kind::NeitherWorks => with(Fault::Misbehaves(Some(host), from, Behaviour::DoesNotStart))
                .with(at, Fault::Misbehaves(Some(host), to, Behaviour::NeverHealthy)),
            Kind::AnotherServerDies => with(Fault::ServerDies(other, Some(30_000))),
            Kind::AnotherServerDiesForGood => with(Fault::ServerDies(other, None)),
            Kind::TwoControllers => with(Fault::SecondController { fork: false }),
            Kind::TwoControllersForked => with(Fault::SecondController { fork: true }),
            Kind::LeaderMoves => with(Fault::LeaderMoves),
        }
    }

    /// Runs the case; what is wrong with the result, if anything is.
    pub fn judge(&self, profile: &Profile, level: Level) -> (Summary, Option<String>) {
        let summary = self.scenario().run_with(profile, level);
        let wrong = match summary.violations.first() {
            Some(violation) => Some(format!(
                "promise {} at {} ms: {}",
                violation.promise, violation.at, violation.what
            )),
            None if !self.allows(&summary) => Some(format!("ends as {:?}", summary.outcome)),
            None => None,
        };
        (summary, wrong)
    }

    /// Whether a run may end so after this fault. A promise kept is not enough: a run that one lost message holds up keeps
    /// all promises and is of no use.
    fn allows(&self, summary: &Summary) -> bool {
        let outcome = summary.outcome.as_ref();
        let upgraded = matches!(outcome, Some(Outcome::Upgraded));
        let back = matches!(
            outcome,
            Some(Outcome::RolledBack { .. } | Outcome::Refused { .. })
        );
        let held = matches!(outcome, Some(Outcome::Held { .. }));
        // Past the point of no return nothing rolls back by itself, whatever the fault.
        let past_return =
            matches!(outcome, Some(Outcome::Held { reason, .. }) if reason.contains("point of no return"));
        match self.kind {
            Kind::ControllerKilledAndResumed(_)
            | Kind::AgentKilled
            | Kind::MessageLost
            | Kind::MessageDoubled
            | Kind::MessageReordered
            | Kind::TwoControllers
            | Kind::TwoControllersForked => upgraded,
            Kind::ControllerGoneForGood(_) => outcome.is_none() || upgraded,
            Kind::ControllerBackAfterGuards
            | Kind::ControllerPartition
            | Kind::LongPartition
            | Kind::OldNoLongerStarts
            | Kind::NeitherWorks
            | Kind::AnotherServerDiesForGood => upgraded || back || held,
            Kind::HostRebooted
            | Kind::ShortPartition
            | Kind::DiskFull
            | Kind::VerbLies
            | Kind::NewNeverHealthy
            | Kind::AnotherServerDies
            | Kind::LeaderMoves => upgraded || back || past_return,
        }
    }
}

/// The boundaries of a strategy's good run: every record after which something was ordered, proven or decided.
pub fn boundaries(strategy: Strategy, profile: &Profile) -> Vec<Boundary> {
    let scenario = Scenario::of(strategy);
    scenario.run_with(profile, Level::Silent).boundaries
}

/// The whole matrix for a strategy.
pub fn cases(strategy: Strategy, profile: &Profile) -> Vec<Case> {
    let boundaries = boundaries(strategy, profile);
    let of_kind = |kind: Kind| {
        boundaries.iter().map(move |&boundary| Case {
            strategy,
            boundary,
            kind,
        })
    };
    KINDS.into_iter().flat_map(of_kind).collect()
}
