//! Runs of trivial steps, by the real engine, with a real journal, through real agents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use upshift_control::progress::Silent;
use upshift_control::{Artifacts, Ended, Hosts, Runner, Setup};
use upshift_model::Millis;
use upshift_model::action::{Action, Artifact, Command, OutputFormat};
use upshift_lab::testbed::Testbed;
use upshift_model::fleet::{Fleet, Host, SshTransport, Transport};
use upshift_model::profile::{Retry, Slot};
use upshift_model::version::Scheme;
use upshift_plan::{
    Estimate, Group, NodeIndex, NodeStamp, PLAN_FORMAT, Plan, PlanNode, Recipe, RecipeIndex, Request, Step, StepId, StepKind,
};
use upshift_run::Outcome;
use upshift_store::{Acquire, Holder, Store};
use upshift_wire::binary::AgentBinary;

/// Group of the fleet whose hosts take part.
pub const GROUP: &str = "bench";

/// The hosts of a test bed, reached over ssh, with their state directories below a directory.
pub fn fleet(bed: &Testbed, directory: &Path) -> Fleet {
    let hosts = bed.hosts().iter().map(|host| {
        let ssh = SshTransport {
            host: host.name.clone(),
            arguments: vec!["-F".to_owned(), bed.ssh_config().display().to_string()],
            ..SshTransport::default()
        };
        let reached = Host {
            groups: [GROUP.to_owned()].into(),
            transport: Transport::Ssh(ssh),
            state_directory: Some(directory.join(&host.name).display().to_string()),
            ..Host::default()
        };
        (host.name.clone(), reached)
    });
    Fleet { name: GROUP.to_owned(), hosts: hosts.collect() }
}

/// A plan that does an action so many times on every host, one after the other.
pub fn plan(fleet: &Fleet, action: &Action, times: u32) -> Plan {
    let names: Vec<String> = fleet.servers(GROUP).map(|(name, _)| name.clone()).collect();
    let count = names.len() as u32;
    let group = |number: u32| Group {
        steps: (0..count)
            .map(|node| Step {
                id: StepId(1 + number * count + node),
                node: NodeIndex(node),
                recipe: RecipeIndex(0),
                undoes: Vec::new(),
            })
            .collect(),
    };
    Plan {
        format: PLAN_FORMAT,
        product: GROUP.to_owned(),
        title: "trivial steps".to_owned(),
        scheme: Scheme::Semver,
        fleet: fleet.name.clone(),
        request: Request { prepare_only: true, ..Request::default() },
        facts: String::new(),
        fingerprint: String::new(),
        nodes: names.into_iter().map(node).collect(),
        recipes: vec![recipe(action)],
        prepare: (0..times).map(group).collect(),
        hops: Vec::new(),
        finalize: Vec::new(),
        finalize_notes: Vec::new(),
        estimate: Estimate::default(),
        warnings: Vec::new(),
    }
}

fn node(name: String) -> PlanNode {
    PlanNode {
        name,
        version: String::new(),
        leader: false,
        failure_domain: None,
        state_directory: String::new(),
        places: BTreeMap::new(),
        variables: BTreeMap::new(),
        stamp: NodeStamp::default(),
        before: BTreeMap::new(),
    }
}

fn recipe(action: &Action) -> Recipe {
    Recipe {
        kind: StepKind::Do(Slot::Prepare),
        title: action.word().to_owned(),
        from: String::new(),
        to: String::new(),
        want: String::new(),
        only_if: None,
        bindings: BTreeMap::new(),
        action: Some(action.clone()),
        proof: Vec::new(),
        within: Millis::seconds(600),
        retry: Retry::default(),
    }
}

/// The trivial step: a program that does nothing, recorded on the host and in the journal like any other.
pub fn nothing() -> Action {
    Action::Command(Command {
        argv: vec!["true".to_owned()],
        env: BTreeMap::new(),
        directory: None,
        timeout: Millis::seconds(10),
        exit: BTreeMap::new(),
        output: OutputFormat::Text,
    })
}

/// Carries such a plan to its end.
///
/// # Errors
/// Where it does not end well.
pub async fn carry(fleet: &Fleet, plan: Plan, state: &Path, package: Option<(&Artifact, &Path)>) -> Result<()> {
    let store = Store::open(&state.join("journal.db"))?;
    let lease = store.acquire(&fleet.name, &Holder::this_process("bench"), Acquire { take_over: false, above: 0 })?;
    let hosts = Hosts::servers(fleet, GROUP, &Arc::new(AgentBinary::find()?));
    let mut artifacts = Artifacts::new();
    if let Some((artifact, path)) = package {
        artifacts.add(artifact, path);
    }
    let run = store.fresh_run_id(&fleet.name)?;
    let setup = Setup { store: &store, lease, hosts, artifacts, who: "bench".to_owned() };
    let runner = Runner::begin(setup, &run, Arc::new(plan), &json!({}))?;
    let ended = runner.carry(&mut Silent).await.context("the run")?;
    ensure!(ended == Ended::Rested(Outcome::Prepared), "the run ended so: {ended:?}");
    Ok(())
}
