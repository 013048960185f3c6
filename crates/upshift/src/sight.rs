//! What the hosts of a run say just now, where its journal may be behind them: no controller drives it, it is held, or another
//! controller has it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use upshift_control::{Hosts, ask_each, known_runs};
use upshift_model::action::GuardStatus;
use upshift_model::probe::Probe;
use upshift_model::runs::HostRuns;
use upshift_plan::{Names, NodeIndex, Plan, render_probe};
use upshift_run::{Outcome, State};
use upshift_store::{RunRecord, Store};

use crate::args::Global;
use crate::cluster;
use crate::commands::operate::fleet_now;
use crate::commands::upgrade::Kept;
use crate::exit::Failure;
use crate::lease;
use crate::moment;
use crate::report::seconds;

/// How long a host may take to say what it knows; it is an operator who waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was observed of a run's hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sight {
    /// Since when no controller drives the run, RFC 3339; nothing where one does, or where it has ended.
    pub no_controller_since: Option<String>,
    /// The servers, by name; empty where they were not asked.
    pub hosts: BTreeMap<String, Seen>,
}

/// What one host says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The version that runs; nothing where it could not be observed.
    pub version: Option<String>,
    /// What its guard did or will do, in words.
    pub guard: Option<String>,
    /// Why it could not be asked.
    pub unreachable: Option<String>,
}

impl Sight {
    /// Asks the hosts of a run, where its journal alone may not say how they are.
    pub fn of(record: &RunRecord, state: &State, store: &Store, global: &Global) -> Result<Self, Failure> {
        let open = state.outcome().is_none();
        let driven = open && lease::carrier(store, &record.fleet, &record.id)?.is_some();
        let behind = matches!(
            state.outcome(),
            None | Some(Outcome::Held { .. } | Outcome::Superseded { .. } | Outcome::EndedElsewhere { .. })
        );
        if driven || !behind {
            return Ok(Sight::default());
        }
        let kept: Kept = serde_json::from_value(record.setting.clone())?;
        let fleet = fleet_now(&kept, global)?;
        let plan = state.plan().clone();
        let hosts = cluster::wait(async {
            let hosts = cluster::hosts(&fleet, &kept.group, cluster::sharing(global).as_ref())?;
            Ok(ask(&plan, &record.id, &hosts).await)
        })?;
        Ok(Sight {
            no_controller_since: open.then(|| moment::rfc3339(record.created_ms + state.now().0)),
            hosts,
        })
    }

    /// For people: a line for each host.
    pub fn text(&self, run: &str) -> String {
        let mut text = String::new();
        if let Some(since) = &self.no_controller_since {
            text.push_str(&format!("no controller drives {run} since {since}\n"));
        }
        if !self.hosts.is_empty() {
            text.push_str("observed just now:\n");
        }
        for (host, seen) in &self.hosts {
            text.push_str(&format!("  {host}: {}\n", seen.words()));
        }
        text
    }
}

impl Seen {
    fn words(&self) -> String {
        if let Some(reason) = &self.unreachable {
            return format!("cannot be asked: {reason}");
        }
        let runs = match &self.version {
            Some(version) => format!("runs {version}"),
            None => "the version that runs could not be observed".to_owned(),
        };
        match &self.guard {
            Some(guard) => format!("{runs}; {guard}"),
            None => runs,
        }
    }
}

async fn ask(plan: &Plan, run: &str, hosts: &Hosts) -> BTreeMap<String, Seen> {
    let nodes = (0_u32..).zip(&plan.nodes);
    let questions = nodes.filter_map(|(index, node)| {
        let probe = process_probe(plan, NodeIndex(index), run)?;
        Some((index, node.name.clone(), probe))
    });
    let (known, observed) = tokio::join!(
        known_runs(hosts, PATIENCE),
        tokio::time::timeout(PATIENCE, ask_each(hosts, questions))
    );
    let observed = observed.unwrap_or_default();
    let seen = (0_u32..).zip(&plan.nodes).map(|(index, node)| {
        let value = observed
            .get(&index)
            .and_then(|observation| observation.as_ref().ok());
        let version = value.and_then(|value| value["version"].as_str());
        let seen = Seen {
            version: version.map(str::to_owned),
            guard: known.hosts.get(&node.name).and_then(|known| guard(known, run)),
            unreachable: known.silent.get(&node.name).cloned(),
        };
        (node.name.clone(), seen)
    });
    seen.collect()
}

/// The question which process of the product runs, and in which version.
fn process_probe(plan: &Plan, node: NodeIndex, run: &str) -> Option<Probe> {
    let mut proofs = plan.recipes.iter().flat_map(|recipe| &recipe.proof);
    let process =
        |probe: &Probe| matches!(probe, Probe::Process(process) if !process.version_arguments.is_empty());
    let proof = proofs.find(|proof| process(&proof.probe))?;
    let hop = plan.hops.first()?;
    let names = Names {
        from: &hop.from,
        to: &hop.to,
        want: &hop.from,
        run,
        hop: 0,
        balancer: None,
    };
    render_probe(plan, node, &proof.probe, &names).ok()
}

/// What the guard of the latest hop did or will do.
fn guard(known: &HostRuns, run: &str) -> Option<String> {
    let guards = known
        .runs
        .iter()
        .filter(|known| known.run == run)
        .flat_map(|known| &known.guards);
    let latest = guards.max_by_key(|guard| guard.hop)?;
    match &latest.status {
        GuardStatus::Armed { remaining } => Some(format!(
            "its guard stands, and rolls it back in {} where nobody resumes the run",
            seconds(*remaining)
        )),
        GuardStatus::Firing => Some("its guard has fired and is rolling it back".to_owned()),
        GuardStatus::RolledBack => Some("its guard has fired and rolled it back".to_owned()),
        GuardStatus::StoodDown => {
            Some("its guard stood down: the point of no return had been crossed".to_owned())
        }
        GuardStatus::Failed { reason } => Some(format!(
            "its guard has fired and could not roll it back: {reason}"
        )),
        GuardStatus::Disarmed | GuardStatus::Absent => None,
    }
}
