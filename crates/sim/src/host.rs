//! A host: its disk, its server's process, its agent and its guard's process.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use upshift_host::Clocks;
use upshift_host::fire::Firing;
use upshift_host::guard::Key;
use upshift_run::Order;

use crate::disk::Disk;
use crate::ops::Op;
use crate::product::Behaviour;

/// A running server.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Release of the store that its executable belongs to.
    pub executable: String,
    /// Version of the code that it runs: differs from the executable's after an installation in the running process.
    pub loaded: String,
    /// How the code that it runs misbehaves.
    pub behaviour: Behaviour,
    /// When it is up.
    pub up_at: u64,
    /// When it has been up long enough to crash, if it will.
    pub crash_at: Option<u64>,
    /// When it ends after having been asked to.
    pub ends_at: Option<u64>,
    /// Whether a broken code change has left it half new.
    pub half_changed: bool,
    /// Whether it has caught up with the leader.
    pub caught_up: bool,
}

/// Who does a piece of work on a host.
#[derive(Clone, Debug)]
pub enum Worker {
    /// The agent, for an order of a controller.
    Agent {
        /// Which controller is told.
        controller: usize,
        /// The order.
        order: Box<Order>,
        /// Its run.
        run: String,
    },
    /// A guard.
    Guard {
        /// Which.
        key: Key,
    },
}

/// A piece of work in progress. A host does one at a time.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number; late timers of jobs that were killed carry an older one.
    pub id: u64,
    /// For whom.
    pub worker: Worker,
    /// What is still to be done.
    pub ops: VecDeque<Op>,
    /// What the action returned.
    pub output: Value,
}

/// A guard that fires.
#[derive(Clone, Debug)]
pub struct ActiveGuard {
    /// Where it stands.
    pub firing: Firing,
    /// What it waits for.
    pub waits: Waits,
}

/// What a guard that fires waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// A moment.
    Until(u64),
    /// That no order is being done.
    Orders,
    /// That its action is over.
    Action,
}

/// Wall time at the beginning, in milliseconds since 1970.
const WALL: u64 = 1_700_000_000_000;

/// An order that waits for its turn.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which controller sent it.
    pub controller: usize,
    /// Its run.
    pub run: String,
    /// The order.
    pub order: Box<Order>,
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// What survives.
    pub disk: Disk,
    /// The server.
    pub process: Option<Process>,
    /// Whether the host is up.
    pub up: bool,
    /// Number of its boot.
    pub boot: u32,
    /// When it booted: its monotonic clock counts from here.
    pub booted_at: u64,
    /// How far its wall clock is ahead, in milliseconds.
    pub clock_ahead: i64,
    /// What is done at this moment.
    pub job: Option<Job>,
    /// Orders that wait.
    pub queue: VecDeque<Waiting>,
    /// Whether the guard's process runs.
    pub guard_runs: bool,
    /// The guards that fire at this moment.
    pub firing: BTreeMap<Key, ActiveGuard>,
    /// The guard that lets no order begin.
    pub orders_locked: Option<Key>,
    /// Whether the server starts with the host.
    pub starts_with_host: bool,
    /// Whether we stopped the server and it does not serve again yet.
    pub stopped_by_us: bool,
    /// Since when the server does not serve.
    pub not_serving_since: Option<u64>,
    /// Whether a process of the server has ended since the host booted, or did not come up.
    pub ended: bool,
    /// Lines of the server's log.
    pub log: Vec<String>,
    /// The next actions that say that they were done and were not.
    pub lies: u32,
}

impl Host {
    /// A host that is up, with this disk, and nothing running on it.
    pub fn new(name: String, disk: Disk) -> Self {
        Host {
            name,
            disk,
            process: None,
            up: true,
            boot: 1,
            booted_at: 0,
            clock_ahead: 0,
            job: None,
            queue: VecDeque::new(),
            guard_runs: true,
            firing: BTreeMap::new(),
            orders_locked: None,
            starts_with_host: true,
            stopped_by_us: false,
            not_serving_since: None,
            log: Vec::new(),
            ended: false,
            lies: 0,
        }
    }

    /// Its clocks.
    pub fn clocks(&self, now: u64) -> Clocks {
        Clocks {
            boot: self.boot.to_string(),
            since_boot: now - self.booted_at,
            wall: (now + WALL).saturating_add_signed(self.clock_ahead),
        }
    }

    /// Whether its server's process runs.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }
}
