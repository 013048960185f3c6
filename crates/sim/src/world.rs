//! The simulated world: hosts, network, controllers and time. Events happen one after the other; nothing sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use upshift_plan::{NodeIndex, Plan, RecipeIndex, StepId};
use upshift_run::{AskId, Event};

use crate::controller::Controller;
use crate::data::{DataDirectory, Entries};
use crate::disk::{Disk, File};
use crate::fault::{Fault, When};
use crate::host::Host;
use crate::network::{Answer, Network, Question};
use crate::planted::PlantedFaults;
use crate::product::{self, Behaviours};
use crate::promises::Violation;
use crate::record::Record;
use crate::rng::Rng;
use crate::trace::{Level, Trace};

/// Time between two looks at the servers, in milliseconds.
pub const TICK: u64 = 250;

/// Something that happens at a moment.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Servers, clients and guards move on.
    Tick,
    /// A piece of work on a host takes its next step.
    Work {
        /// Where.
        host: usize,
        /// Which.
        job: u64,
    },
    /// A question of a controller reaches a host.
    ToHost {
        /// Where.
        host: usize,
        /// Who asks.
        controller: usize,
        /// What.
        question: Question,
    },
    /// An answer reaches a controller.
    ToController {
        /// From where.
        host: usize,
        /// Who is told.
        controller: usize,
        /// What.
        answer: Answer,
    },
    /// A controller asked to be woken.
    Wake {
        /// Which.
        controller: usize,
        /// Number of the wish; only the latest counts.
        number: u64,
    },
    /// A question has not been answered for long.
    AskTimeout {
        /// Who asked.
        controller: usize,
        /// What.
        ask: AskId,
        /// Where.
        node: NodeIndex,
    },
    /// A host that was rebooted is up again.
    HostUp(usize),
    /// A controller takes the run up.
    Takeover,
    /// A fault begins.
    Fault(Fault),
}

/// The balancer in front of the servers; it stands on a host of its own.
#[derive(Clone, Debug, Default)]
pub struct Balancer {
    /// Servers that get no new sessions.
    pub drained: BTreeSet<usize>,
    /// Whether no writes are taken at all.
    pub paused: bool,
}

/// The cluster, as its servers see it together.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The leader.
    pub leader: Option<usize>,
    /// Since when there has been none.
    pub leaderless_since: u64,
    /// Since when every member has supported a higher cluster version.
    pub may_rise_since: Option<u64>,
    /// How long servers convert their data after they have started on a new version.
    pub conversion: u64,
    /// Servers that died by themselves or by a fault, and since when.
    pub died: BTreeMap<usize, u64>,
}

/// Everything there is.
pub struct World {
    /// Milliseconds since the beginning.
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    next: u64,
    /// Numbers of jobs, processes and wishes.
    pub counter: u64,
    /// The source of chance.
    pub rng: Rng,
    /// What the operator has said and no controller has heard yet.
    pub unheard: Vec<upshift_run::OperatorCommand>,
    /// What happened, for people.
    pub trace: Trace,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The balancer.
    pub balancer: Balancer,
    /// The cluster.
    pub cluster: Cluster,
    /// The network.
    pub network: Network,
    /// How releases misbehave.
    pub behaviours: Behaviours,
    /// The controllers, in the order in which they came.
    pub controllers: Vec<Controller>,
    /// The shared journal.
    pub journal: Vec<Event>,
    /// Greatest token given out by the store.
    pub token: u64,
    /// The plan.
    pub plan: Arc<Plan>,
    /// Name of the run.
    pub run: String,
    /// Bookkeeping for the promises.
    pub record: Record,
    /// Bugs planted on purpose.
    pub planted: PlantedFaults,
    /// Faults that wait for their moment.
    pub faults: Vec<(When, Fault)>,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
    /// How many things have happened.
    pub events: u64,
    /// Where, what and in which hop each step of the plan is.
    pub steps: BTreeMap<StepId, (NodeIndex, RecipeIndex, u32)>,
    /// Whether every event is replayed from its text, too.
    pub check_replay: bool,
    /// Controllers that will still come.
    pub takeovers_due: u32,
    /// Faults that have not begun.
    pub faults_due: u32,
    /// Faults that have not ended.
    pub ends_due: u32,
}

impl World {
    /// A world with a healthy cluster on one version, before any controller.
    pub fn new(servers: usize, version: &str, seed: u64, level: Level) -> Self {
        let hosts: Vec<Host> = (0..servers).map(|index| new_host(index, version)).collect();
        let configs = hosts
            .iter()
            .filter_map(|host| host.disk.text(product::CONFIG_FILE).map(str::to_owned))
            .collect();
        let mut world = World {
            now: 0,
            queue: BTreeMap::new(),
            next: 0,
            counter: 0,
            rng: Rng::new(seed),
            unheard: Vec::new(),
            trace: Trace::new(level),
            hosts,
            balancer: Balancer::default(),
            cluster: Cluster::default(),
            network: Network::default(),
            behaviours: Behaviours::default(),
            controllers: Vec::new(),
            journal: Vec::new(),
            token: 0,
            plan: Arc::new(no_plan()),
            run: "run-1".to_owned(),
            record: Record::new(configs),
            planted: PlantedFaults::default(),
            faults: Vec::new(),
            violations: Vec::new(),
            events: 0,
            steps: BTreeMap::new(),
            check_replay: true,
            takeovers_due: 0,
            faults_due: 0,
            ends_due: 0,
        };
        (0..servers).for_each(|host| world.start_server(host));
        world.after(TICK, Happening::Tick);
        world
    }

    /// Lets something happen after so many milliseconds.
    pub fn after(&mut self, delay: u64, happening: Happening) {
        self.next += 1;
        self.queue.insert((self.now + delay, self.next), happening);
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Name of a host.
    pub fn name(&self, host: usize) -> &str {
        &self.hosts[host].name
    }

    /// Writes down what a person should read, at a host.
    pub fn tell(&mut self, host: usize, text: impl FnOnce() -> String) {
        let name = &self.hosts[host].name;
        self.trace.tell(self.now, name, text);
    }

    /// Lets the next thing happen.
    pub fn advance(&mut self) {
        let Some(((at, _), happening)) = self.queue.pop_first() else {
            return;
        };
        self.now = at;
        self.events += 1;
        match happening {
            Happening::Tick => {
                self.tick();
                self.after(TICK, Happening::Tick);
            }
            Happening::Work { host, job } => self.work(host, job),
            Happening::ToHost {
                host,
                controller,
                question,
            } => self.host_hears(host, controller, question),
            Happening::ToController {
                host,
                controller,
                answer,
            } => self.controller_hears(host, controller, answer),
            Happening::Wake { controller, number } => self.wake(controller, number),
            Happening::AskTimeout {
                controller,
                ask,
                node,
            } => self.ask_timed_out(controller, ask, node),
            Happening::HostUp(host) => self.host_up(host),
            Happening::Takeover => self.take_over(),
            Happening::Fault(fault) => self.inject(&fault),
        }
        self.check_promises();
    }
}

fn new_host(index: usize, version: &str) -> Host {
    let name = format!("n{}", index + 1);
    let mut disk = Disk {
        current: version.to_owned(),
        ..Disk::default()
    };
    disk.releases
        .insert(version.to_owned(), upshift_model::facts::ReleaseStatus::Permanent);
    let release = product::release(version);
    let mut config = product::FIRST_CONFIG.replace("{name}", &name);
    if let Some(key) = release.rejects_key {
        config = config
            .lines()
            .filter(|line| !product::is_line_of(line, key))
            .map(|line| format!("{line}\n"))
            .collect();
    }
    let mut entries = Entries::default();
    (0..1000).for_each(|write| entries.push(write));
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    let data = DataDirectory {
        format: release.writes,
        cluster_version: format!("{minor}.0"),
        generation: 1,
        entries,
        accounts: 7,
    };
    disk.files
        .insert(product::CONFIG_FILE.to_owned(), File::Text(config));
    disk.files
        .insert(product::FIRST_DATA_DIRECTORY.to_owned(), File::Data(data));
    disk.files.insert(
        product::DATA_LINK.to_owned(),
        File::Link(product::FIRST_DATA_DIRECTORY.to_owned()),
    );
    Host::new(name, disk)
}

/// The plan of a world in which nobody has planned anything.
fn no_plan() -> Plan {
    Plan {
        format: upshift_plan::PLAN_FORMAT,
        product: String::new(),
        title: String::new(),
        scheme: upshift_model::version::Scheme::Semver,
        fleet: String::new(),
        request: upshift_plan::Request::default(),
        facts: String::new(),
        fingerprint: String::new(),
        nodes: Vec::new(),
        balancers: Vec::new(),
        recipes: Vec::new(),
        prepare: Vec::new(),
        hops: Vec::new(),
        proof: Vec::new(),
        finalize: Vec::new(),
        finalize_notes: Vec::new(),
        estimate: upshift_plan::Estimate::default(),
        warnings: Vec::new(),
        risks: Vec::new(),
        config_changes: Vec::new(),
        notices: Vec::new(),
    }
}
