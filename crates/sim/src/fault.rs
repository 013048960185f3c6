//! Faults: what goes wrong, and when.

use upshift_model::Millis;
use upshift_run::{EventKind, OperatorCommand};

use crate::product::{Behaviour, CONFIG_FILE};
use crate::world::{Happening, World};

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When the run's journal has so many records, and what followed from the last one has been asked for.
    Journal(usize),
    /// After so many milliseconds.
    At(u64),
}

/// Where a controller is killed relative to a record of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the event is on record.
    BeforeRecord,
    /// The event is on record; nothing of what follows from it has been asked for.
    AfterRecord,
    /// Half of what follows has been asked for.
    HalfPerformed,
    /// All of it has.
    AfterPerforming,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The controller is killed; another takes the run up after so many milliseconds, or nobody ever does.
    ControllerKilled(Moment, Option<u64>),
    /// Another controller takes the run up while the first one is alive. Where `fork` is set, the first one's journal is a
    /// copy of its own, so that only the hosts can stop it.
    SecondController {
        /// Whether the store cannot tell.
        fork: bool,
    },
    /// The agents of all hosts die with a controller's sessions.
    AllAgentsKilled,
    /// The agent of a host is killed.
    AgentKilled(usize),
    /// The guard's process is killed; its supervisor starts it again after five seconds.
    GuardKilled(usize),
    /// A host is rebooted and is up again after so many milliseconds.
    HostRebooted(usize, u64),
    /// A host is cut off, from controllers and from the other hosts.
    HostCutOff(usize, u64),
    /// All controllers are cut off from all hosts.
    ControllersCutOff(u64),
    /// A host's disk is full for so many milliseconds.
    DiskFull(usize, u64),
    /// The next messages are lost.
    MessagesLost(u32),
    /// The next messages arrive twice.
    MessagesDoubled(u32),
    /// The next messages arrive late, so that later ones overtake them.
    MessagesLate(u32, u64),
    /// From now on, so many of a hundred messages are lost, doubled, late.
    Noise(u64, u64, u64),
    /// The next action on a host says that it was done, and was not.
    VerbLies(usize),
    /// A release misbehaves on a host, or everywhere.
    Misbehaves(Option<usize>, String, Behaviour),
    /// A server dies by itself; its service manager starts it again after so many milliseconds, or does not.
    ServerDies(usize, Option<u64>),
    /// The leader changes.
    LeaderMoves,
    /// A host's wall clock jumps.
    ClockJumps(usize, i64),
    /// The next snapshot is spoilt.
    SnapshotSpoilt,
    /// The next restore brings fewer entries than there were.
    RestoreShort,
    /// The command that moves the leader away says that it did, and did not.
    LeaderStays,
    /// Somebody has edited the configuration of a host by hand, before the run.
    ConfigCustomised(usize),
    /// After a change of version, servers convert their data in the background for so many milliseconds.
    ConversionTakes(u64),
    /// The operator speaks.
    Operator(OperatorCommand),
    /// What the operator has said while there was no controller is said again.
    OperatorWaits,
    /// Something that ends: a partition, a full disk, a dead server or guard.
    Ends(Box<Fault>),
}

impl World {
    /// Plans a fault.
    pub fn plan_fault(&mut self, when: When, fault: Fault) {
        match when {
            When::At(at) => self.after(at.saturating_sub(self.now), Happening::Fault(fault)),
            When::Journal(_) => self.faults.push((when, fault)),
        }
        self.faults_due += 1;
    }

    /// Whether a controller is to be killed here.
    pub fn kill_due(&self, controller: usize, journaled: usize, moment: Moment) -> bool {
        let is_latest = controller + 1 == self.controllers.len();
        let due = |(when, fault): &(When, Fault)| {
            *when == When::Journal(journaled)
                && matches!(fault, Fault::ControllerKilled(at, _) if *at == moment)
        };
        is_latest && self.faults.iter().any(due)
    }

    /// Kills a controller where a fault says so.
    pub fn killed_at(&mut self, controller: usize, journaled: usize, moment: Moment) -> bool {
        if !self.kill_due(controller, journaled, moment) {
            return false;
        }
        let mut back_after = None;
        self.faults.retain(|(when, fault)| match fault {
            Fault::ControllerKilled(at, back) if *at == moment && *when == When::Journal(journaled) => {
                back_after = *back;
                false
            }
            _ => true,
        });
        self.faults_due -= 1;
        self.controller_dies(controller);
        self.schedule_takeover(back_after);
        true
    }

    fn schedule_takeover(&mut self, after: Option<u64>) {
        if let Some(after) = after {
            self.takeovers_due += 1;
            self.after(after, Happening::Takeover);
        }
    }

    /// Injects the faults that wait for this length of the journal.
    pub fn inject_at_journal(&mut self, controller: usize, journaled: usize) {
        if controller + 1 != self.controllers.len() {
            return;
        }
        let (due, waiting) = std::mem::take(&mut self.faults)
            .into_iter()
            .partition(|(when, fault)| {
                *when == When::Journal(journaled) && !matches!(fault, Fault::ControllerKilled(..))
            });
        self.faults = waiting;
        let due: Vec<(When, Fault)> = due;
        for (_, fault) in due {
            self.inject(&fault);
        }
    }

    /// A fault begins.
    pub fn inject(&mut self, fault: &Fault) {
        if !matches!(fault, Fault::Ends(_)) {
            self.faults_due -= 1;
        }
        let text = fault_words(fault);
        self.trace.tell(self.now, "fault", || text);
        match fault {
            Fault::ControllerKilled(_, back) => {
                if let Some(last) = self.controllers.iter().rposition(|controller| controller.alive) {
                    self.controller_dies(last);
                }
                self.schedule_takeover(*back);
            }
            Fault::SecondController { fork } => {
                if let (true, Some(last)) = (*fork, self.controllers.last_mut()) {
                    last.own_journal = Some(self.journal.clone());
                }
                self.schedule_takeover(Some(1));
            }
            Fault::AllAgentsKilled => (0..self.hosts.len()).for_each(|host| self.agent_dies(host)),
            Fault::AgentKilled(host) => self.agent_dies(*host),
            Fault::GuardKilled(host) => {
                self.guard_process_ends(*host);
                self.ends_after(5_000, fault);
            }
            Fault::HostRebooted(host, down) => self.reboot(*host, *down),
            Fault::HostCutOff(host, time) => {
                self.network.cut_from_controllers.insert(*host);
                self.network.cut_from_peers.insert(*host);
                self.ends_after(*time, fault);
            }
            Fault::ControllersCutOff(time) => {
                self.network.cut_from_controllers.extend(0..self.hosts.len());
                self.ends_after(*time, fault);
            }
            Fault::DiskFull(host, time) => {
                self.hosts[*host].disk.full = true;
                self.ends_after(*time, fault);
            }
            Fault::MessagesLost(count) => self.network.lose += count,
            Fault::MessagesDoubled(count) => self.network.double += count,
            Fault::MessagesLate(count, by) => self.network.delay = (*count, Millis(*by)),
            Fault::Noise(loss, doubling, lateness) => {
                self.network.loss = *loss;
                self.network.doubling = *doubling;
                self.network.lateness = *lateness;
            }
            Fault::VerbLies(host) => self.hosts[*host].lies += 1,
            Fault::Misbehaves(host, version, behaviour) => self.behaviours.set(*host, version, *behaviour),
            Fault::ServerDies(host, back) => {
                self.server_dies(*host, "killed by somebody else");
                if let Some(after) = back {
                    self.ends_after(*after, fault);
                }
            }
            Fault::LeaderMoves => {
                self.cluster.leader = None;
                self.cluster.leaderless_since = self.now;
            }
            Fault::ClockJumps(host, by) => self.hosts[*host].clock_ahead += by,
            Fault::SnapshotSpoilt => self.record.spoil_snapshot = true,
            Fault::RestoreShort => self.record.short_restore = true,
            Fault::LeaderStays => self.record.leader_stays = true,
            Fault::ConfigCustomised(host) => edit_by_hand(self, *host),
            Fault::ConversionTakes(time) => self.cluster.conversion = *time,
            Fault::Operator(command) => {
                self.unheard.push(command.clone());
                if !self.operator_is_heard() && self.unheard.len() == 1 {
                    self.plan_fault(When::At(self.now + 1_000), Fault::OperatorWaits);
                }
            }
            Fault::OperatorWaits => {
                if !self.operator_is_heard() && !self.unheard.is_empty() {
                    self.plan_fault(When::At(self.now + 1_000), Fault::OperatorWaits);
                }
            }
            Fault::Ends(fault) => self.end(fault),
        }
    }

    fn ends_after(&mut self, time: u64, fault: &Fault) {
        if time < u64::MAX {
            self.ends_due += 1;
            self.after(time, Happening::Fault(Fault::Ends(Box::new(fault.clone()))));
        }
    }

    fn end(&mut self, fault: &Fault) {
        self.ends_due -= 1;
        match fault {
            Fault::GuardKilled(host) if self.hosts[*host].up => self.guard_process_starts(*host),
            Fault::HostCutOff(host, _) => {
                self.network.cut_from_controllers.remove(host);
                self.network.cut_from_peers.remove(host);
                self.session_returns(*host);
            }
            Fault::ControllersCutOff(_) => {
                self.network.cut_from_controllers.clear();
                (0..self.hosts.len()).for_each(|host| self.session_returns(host));
            }
            Fault::DiskFull(host, _) => self.hosts[*host].disk.full = false,
            // A service manager starts again what it was told to run, not what somebody has stopped meanwhile.
            Fault::ServerDies(host, _) if self.hosts[*host].up && self.cluster.died.contains_key(host) => {
                self.start_server(*host);
            }
            _ => {}
        }
    }

    fn reboot(&mut self, host: usize, down: u64) {
        let machine = &mut self.hosts[host];
        if !machine.up {
            return;
        }
        machine.up = false;
        machine.process = None;
        machine.ended = false;
        machine.job = None;
        machine.queue.clear();
        self.guard_process_ends(host);
        self.ends_due += 1;
        self.after(down, Happening::HostUp(host));
    }

    /// A host is up again: its guard first, then its server.
    pub fn host_up(&mut self, host: usize) {
        self.ends_due -= 1;
        let now = self.now;
        let machine = &mut self.hosts[host];
        machine.up = true;
        machine.boot += 1;
        machine.booted_at = now;
        self.tell(host, || "the host is up again".to_owned());
        self.guard_process_starts(host);
        if self.hosts[host].starts_with_host {
            self.start_server(host);
        }
        self.session_returns(host);
    }

    /// What the operator has said reaches a controller, in the order in which it was said; whether there was one. Where one is still to come,
    /// the words wait for it; where none is, nobody hears them.
    fn operator_is_heard(&mut self) -> bool {
        let Some(latest) = self.controllers.iter().rposition(|controller| controller.alive) else {
            if self.takeovers_due == 0 {
                self.unheard.clear();
            }
            return false;
        };
        for command in std::mem::take(&mut self.unheard) {
            self.controllers[latest].resting = None;
            let kind = EventKind::Operator {
                who: "operator".to_owned(),
                command,
            };
            self.feed(latest, kind);
        }
        true
    }
}

/// A fault as a sentence.
pub fn fault_words(fault: &Fault) -> String {
    let host = |host: &usize| format!("n{}", host + 1);
    match fault {
        Fault::ControllerKilled(..) => "the controller is killed".to_owned(),
        Fault::SecondController { fork: false } => "a second controller is started".to_owned(),
        Fault::SecondController { fork: true } => {
            "a second controller is started on a copy of the journal".to_owned()
        }
        Fault::AllAgentsKilled => "all agents are killed".to_owned(),
        Fault::AgentKilled(at) => format!("the agent of {} is killed", host(at)),
        Fault::GuardKilled(at) => format!("the guard's process on {} is killed", host(at)),
        Fault::HostRebooted(at, _) => format!("{} is rebooted", host(at)),
        Fault::HostCutOff(at, time) => format!("{} is cut off{}", host(at), for_time(*time)),
        Fault::ControllersCutOff(time) => format!("the controller reaches no host{}", for_time(*time)),
        Fault::DiskFull(at, time) => format!("the disk of {} is full{}", host(at), for_time(*time)),
        Fault::MessagesLost(count) => format!("the next {count} messages are lost"),
        Fault::MessagesDoubled(count) => format!("the next {count} messages arrive twice"),
        Fault::MessagesLate(count, by) => format!("the next {count} messages arrive {} late", Millis(*by)),
        Fault::Noise(loss, doubling, late) => {
            format!("of a hundred messages {loss} are lost, {doubling} doubled, {late} late")
        }
        Fault::VerbLies(at) => format!(
            "the next action on {} will exit 0 without doing anything",
            host(at)
        ),
        Fault::Misbehaves(at, version, behaviour) => {
            let place = at
                .as_ref()
                .map_or_else(|| "everywhere".to_owned(), |at| format!("on {}", host(at)));
            format!("{version} will misbehave {place}: {behaviour:?}")
        }
        Fault::ServerDies(at, _) => format!("the server of {} is killed", host(at)),
        Fault::LeaderMoves => "the leader steps down".to_owned(),
        Fault::ClockJumps(at, by) => format!("the wall clock of {} jumps by {by} ms", host(at)),
        Fault::SnapshotSpoilt => "the next snapshot will be spoilt".to_owned(),
        Fault::RestoreShort => "the next restore will bring fewer entries".to_owned(),
        Fault::LeaderStays => "the leader will not move".to_owned(),
        Fault::ConfigCustomised(at) => format!("somebody edits the configuration of {} by hand", host(at)),
        Fault::ConversionTakes(time) => {
            format!("data will be converted in the background for {}", Millis(*time))
        }
        Fault::Operator(command) => format!("the operator says {command:?}"),
        Fault::OperatorWaits => "the operator waits for a controller".to_owned(),
        Fault::Ends(fault) => format!("over: {}", fault_words(fault)),
    }
}

fn for_time(time: u64) -> String {
    if time == u64::MAX {
        " for good".to_owned()
    } else {
        format!(" for {}", Millis(time))
    }
}

/// The configuration that a person edited by hand on a host.
pub fn edit_by_hand(world: &mut World, host: usize) {
    if let Some(text) = world.hosts[host].disk.text(CONFIG_FILE).map(str::to_owned) {
        let edited = format!("{text}extra = 1\n");
        world.record.configs.entry(0).or_default()[host].clone_from(&edited);
        world.hosts[host]
            .disk
            .files
            .insert(CONFIG_FILE.to_owned(), crate::disk::File::Text(edited));
    }
}
