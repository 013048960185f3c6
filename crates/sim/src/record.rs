//! The simulation's own record: what truly happened, kept apart from what anybody in the simulation believes.

use std::collections::{BTreeMap, VecDeque};

use upshift_host::Place;
use upshift_host::guard::Key;
use upshift_plan::StepId;
use upshift_run::{Direction, Order};

use crate::data::Entries;
use crate::exhaustive::Boundary;

/// What was true of a host from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Version of the running code.
    pub loaded: Option<String>,
    /// Version of the executable of the running process.
    pub executable: Option<String>,
    /// What the link `current` points at.
    pub current: String,
    /// Whether the server serves.
    pub serves: bool,
    /// Whether it gets no new sessions.
    pub drained: bool,
    /// Whether no writes are taken.
    pub paused: bool,
    /// Whether it leads.
    pub leads: bool,
    /// Digest of the configuration.
    pub config: String,
    /// Where the data directory is.
    pub data: String,
}

/// The record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Every acknowledged write.
    pub acknowledged: Entries,
    /// The outcome that was reported last. One that is only repeated, because an operator speaks to a run that has ended, claims nothing.
    pub reported: Option<upshift_run::Outcome>,
    /// Number of the next write.
    pub next_write: u64,
    /// Configuration of each host when each hop began.
    pub configs: BTreeMap<u32, Vec<String>>,
    /// The next snapshot is spoilt.
    pub spoil_snapshot: bool,
    /// The next restore is short.
    pub short_restore: bool,
    /// The leader does not move when asked.
    pub leader_stays: bool,
    /// How often each attempt at each step was begun, by host.
    pub executions: BTreeMap<(usize, StepId, u32), u32>,
    /// When each guard was last asked, by host and hop.
    pub guards_asked: BTreeMap<(usize, u32), u64>,
    /// Guards that have fired to an end, by host, with the place of the order that had armed them.
    pub guards_ended: std::collections::BTreeSet<(usize, Key, Place)>,
    /// The greatest token that each host has been told of.
    pub tokens: BTreeMap<usize, u64>,
    /// Promises broken since they were last looked at.
    pub broken: Vec<(u8, String)>,
    /// What was true of each host, and from when on; the recent past only.
    pub history: Vec<VecDeque<(u64, Truth)>>,
    /// Records of the journal after which something was ordered, proven or decided, with the host that it was about.
    pub boundaries: std::collections::BTreeSet<Boundary>,
}

/// How long the past is remembered, in milliseconds.
const MEMORY: u64 = 30_000;

impl Record {
    /// Record for hosts with these configurations.
    pub fn new(configs: Vec<String>) -> Self {
        let mut acknowledged = Entries::default();
        (0..1000).for_each(|write| acknowledged.push(write));
        let history = configs.iter().map(|_| VecDeque::new()).collect();
        Record {
            acknowledged,
            next_write: 1000,
            configs: [(0, configs)].into(),
            history,
            ..Record::default()
        }
    }

    /// A host has let a token in.
    pub fn token_admitted(&mut self, host: usize, token: u64) {
        let seen = self.tokens.entry(host).or_default();
        *seen = token.max(*seen);
    }

    /// A host begins to do what it was ordered.
    pub fn execution_begins(&mut self, host: usize, order: &Order) {
        let times = self
            .executions
            .entry((host, order.step, order.attempt))
            .or_default();
        *times += 1;
        if *times > 1 {
            let what = format!(
                "step {} attempt {} is done for the {times}. time on one host",
                order.step.0, order.attempt
            );
            self.broken.push((4, what));
        }
        if self.tokens.get(&host).is_some_and(|seen| order.token < *seen) {
            let direction = if order.direction == Direction::Forward {
                "forward"
            } else {
                "back"
            };
            self.broken.push((
                5,
                format!(
                    "an order {direction} of an older controller is carried out: step {}",
                    order.step.0
                ),
            ));
        }
    }

    /// Writes down what is true of a host.
    pub fn note(&mut self, now: u64, host: usize, truth: Truth) {
        let past = &mut self.history[host];
        if past.back().is_none_or(|(_, last)| *last != truth) {
            past.push_back((now, truth));
        }
        while past.len() > 1 && past[1].0 + MEMORY < now {
            past.pop_front();
        }
    }

    /// Whether something was true of a host at any moment within the memory.
    pub fn was(&self, host: usize, holds: impl Fn(&Truth) -> bool) -> bool {
        self.history[host].iter().any(|(_, truth)| holds(truth))
    }
}
