//! Scenarios: a cluster, an upgrade, and what goes wrong in it; run until everything has come to rest.

use std::sync::Arc;

use upshift_host::guard::Key;
use upshift_model::action::Artifact;
use upshift_model::profile::{Profile, Strategy};
use upshift_plan::{Group, Plan, Request};
use upshift_run::Outcome;

use crate::fault::{Fault, When};
use crate::planted::PlantedFaults;
use crate::promises::Violation;
use crate::trace::Level;
use crate::world::{Happening, World};

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Seed of everything that is left to chance.
    pub seed: u64,
    /// How many servers.
    pub servers: usize,
    /// Version that runs.
    pub from: String,
    /// Version to reach.
    pub to: String,
    /// Whether the operator has said yes to crossing points of no return.
    pub consent: bool,
    /// What goes wrong.
    pub faults: Vec<(When, Fault)>,
    /// Bugs planted on purpose.
    pub planted: PlantedFaults,
    /// Whether every event is replayed from its text, too.
    pub check_replay: bool,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How the run ended for the last controller; none where it was lost for good.
    pub outcome: Option<Outcome>,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
    /// How many things happened.
    pub events: u64,
    /// Length of the journal.
    pub journal: usize,
    /// Simulated milliseconds.
    pub time: u64,
    /// The transcript.
    pub trace: String,
    /// Whether what is not decided by the protocol alone was met: a decision to stay whose disarming was cut off for good.
    pub in_doubt: bool,
    /// Where faults may be put.
    pub boundaries: Vec<crate::exhaustive::Boundary>,
    /// Version that every host points at in the end, where they agree.
    pub version: Option<String>,
}

/// The longest that a scenario may take, in milliseconds.
const LIMIT: u64 = 4 * 3_600_000;
/// How long nothing must happen before a scenario is over, in milliseconds.
const QUIET: u64 = 45_000;
/// When the run begins.
const BEGIN: u64 = 5_000;

impl Scenario {
    /// The hop of a strategy, nothing going wrong.
    pub fn of(strategy: Strategy) -> Self {
        let (from, to) = match strategy {
            Strategy::Hot => ("1.0.0", "1.0.1"),
            Strategy::Rolling => ("1.1.0", "1.1.1"),
            Strategy::Switch => ("1.1.0", "2.0.0"),
            Strategy::Rebuild => ("2.0.0", "3.0.0"),
        };
        Scenario::between(from, to)
    }

    /// An upgrade between two versions, nothing going wrong.
    pub fn between(from: &str, to: &str) -> Self {
        Scenario {
            seed: 1,
            servers: 3,
            from: from.to_owned(),
            to: to.to_owned(),
            consent: true,
            faults: Vec::new(),
            planted: PlantedFaults::default(),
            check_replay: true,
        }
    }

    /// The same, with a fault.
    #[must_use]
    pub fn with(mut self, when: When, fault: Fault) -> Self {
        self.faults.push((when, fault));
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// Where there is no plan: scenarios start from healthy clusters and legal paths.
    pub fn run(&self, level: Level) -> Summary {
        self.run_with(&profile(), level)
    }

    /// Runs it with a profile that has been read before.
    ///
    /// # Panics
    /// As [`Scenario::run`].
    pub fn run_with(&self, profile: &Profile, level: Level) -> Summary {
        let mut world = self.world(profile, level);
        let rested = settle(&mut world);
        self.conclude(world, rested)
    }

    /// The world at the beginning.
    ///
    /// # Panics
    /// As [`Scenario::run`].
    pub fn world(&self, profile: &Profile, level: Level) -> World {
        let mut world = World::new(self.servers, &self.from, self.seed, level);
        while world.now < BEGIN {
            world.advance();
        }
        let facts = world.facts(profile);
        let request = Request {
            to: self.to.clone(),
            artifacts: artifacts(),
            accept_no_return: self.consent,
            ..Request::default()
        };
        let fleet = world.fleet();
        let mut plan = upshift_plan::plan(profile, &fleet.name, &fleet, &facts, &request)
            .unwrap_or_else(|refusals| panic!("no plan from {} to {}: {refusals:#?}", self.from, self.to));
        self.planted.spoil(&mut plan);
        world.set_plan(plan);
        world.planted = self.planted.clone();
        world.check_replay = self.check_replay;
        for (when, fault) in &self.faults {
            world.plan_fault(*when, fault.clone());
        }
        world.takeovers_due = 1;
        world.after(0, Happening::Takeover);
        world
    }

    fn conclude(&self, mut world: World, rested: bool) -> Summary {
        let last = world.controllers.iter().rfind(|controller| controller.alive);
        let outcome = last.and_then(|controller| controller.resting.clone());
        if !rested {
            let why = last
                .and_then(|controller| controller.state.as_ref())
                .map(|state| format!("{:?}", state.why()));
            world.violated(
                7,
                format!("the run neither ends nor rests: {}", why.unwrap_or_default()),
            );
        }
        if let Some(what) = world.promise_3_all_new_or_all_old(outcome.as_ref()) {
            world.violated(3, what);
        }
        if let Some(what) = world.promise_8_nothing_is_left(outcome.as_ref()) {
            world.violated(8, what);
        }
        world.check_journal();
        let first = world.hosts[0].disk.current.clone();
        let agree = world.hosts.iter().all(|host| host.disk.current == first);
        Summary {
            outcome,
            in_doubt: world.in_doubt(),
            version: agree.then_some(first),
            boundaries: world.record.boundaries.iter().copied().collect(),
            events: world.events,
            journal: world.journal.len(),
            time: world.now,
            trace: world.trace.render(),
            violations: world.violations,
        }
    }
}

/// Lets things happen until all is quiet. Whether that came about.
fn settle(world: &mut World) -> bool {
    let mut quiet_since = None;
    while world.now < LIMIT {
        world.advance();
        if !world.is_quiet() {
            quiet_since = None;
        } else if *quiet_since.get_or_insert(world.now) + QUIET < world.now {
            return true;
        }
    }
    false
}

impl World {
    /// Takes the plan that is to be executed.
    pub fn set_plan(&mut self, plan: Plan) {
        let mut steps = std::collections::BTreeMap::new();
        let mut note = |group: &Group, hop: u32| {
            for step in &group.steps {
                steps.insert(step.id, (step.node, step.recipe, hop));
            }
        };
        let last = plan.hops.len().saturating_sub(1) as u32;
        plan.prepare.iter().for_each(|group| note(group, 0));
        plan.proof.iter().for_each(|group| note(group, last));
        plan.finalize.iter().for_each(|group| note(group, 0));
        for (position, hop) in (0u32..).zip(&plan.hops) {
            hop.groups().for_each(|group| note(group, position));
        }
        self.steps = steps;
        self.plan = Arc::new(plan);
    }

    /// Whether nothing is going on and nothing is to come.
    fn is_quiet(&self) -> bool {
        let controllers = self
            .controllers
            .iter()
            .all(|controller| !controller.alive || controller.resting.is_some());
        let pending = self.takeovers_due > 0 || self.ends_due > 0;
        let hosts = self.hosts.iter().all(|host| {
            let idle = host.job.is_none() && host.queue.is_empty();
            idle && host
                .disk
                .guards
                .values()
                .all(|guard| !guard.stands() || !host.up || self.waits_in_vain(host, &guard.key))
        });
        controllers && !pending && hosts && !self.elects() && !self.controllers.is_empty()
    }

    /// Whether a guard waits for its turn, and another server does not run: that does not change by itself, and nothing was changed.
    pub fn waits_in_vain(&self, host: &crate::host::Host, key: &Key) -> bool {
        let waits = host
            .firing
            .get(key)
            .is_some_and(|active| active.firing.waits_for_others());
        waits && self.hosts.iter().any(|host| host.process.is_none())
    }

    /// The whole journal, replayed at the end, gives the live state of the last controller that shares it.
    fn check_journal(&mut self) {
        let plan = self.plan.clone();
        let replayed = upshift_run::replay(
            upshift_run::State::new(plan, self.run.clone()),
            self.journal.iter().cloned(),
        );
        let last = self.controllers.last();
        let differs = last.is_some_and(|controller| {
            controller.alive
                && controller.own_journal.is_none()
                && controller.state.as_ref() != Some(&replayed)
        });
        if differs {
            self.violated(
                4,
                "the journal replayed at the end differs from the live state".to_owned(),
            );
        }
    }
}

/// The packages at hand.
fn artifacts() -> Vec<Artifact> {
    ["1.0.1", "1.1.0", "1.1.1", "2.0.0", "3.0.0"]
        .map(|version| Artifact {
            file_name: format!("ledger-{version}.tar.gz"),
            version: version.to_owned(),
            variant: std::collections::BTreeMap::new(),
            sha256: format!("{:0>64}", version.replace('.', "")),
            size: 20_000_000,
        })
        .into()
}

/// The profile of the simulated product.
///
/// # Panics
/// Never: the profile is part of the crate, and a test reads it.
pub fn profile() -> Profile {
    upshift_model::profile::parse("ledger.yaml", include_str!("ledger.yaml"))
        .unwrap_or_else(|errors| panic!("the profile of the simulation: {errors:#?}"))
}
