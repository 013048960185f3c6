//! Reaching the hosts of a fleet.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use upshift_control::{
    FIRST_ANSWER, Gathered, Hosts, KnownRuns, ask_each, gather, known_runs, rolled_back_versions,
};
use upshift_model::facts::Facts;
use upshift_model::fleet::Fleet;
use upshift_model::probe::Probe;
use upshift_plan::{Plan, Previewed, Refusal};
use upshift_store::Store;
use upshift_wire::binary::AgentBinary;
use upshift_wire::transport::Sharing;

use crate::args::Global;
use crate::exit::Failure;
use crate::fleets;
use crate::foreign;
use crate::runs;
use crate::setting::Setting;

/// Runs what waits for hosts.
pub fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // One thread: hosts are waited for, nothing is computed. Steps were measured to be no slower than with one thread a core.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the threads that talk to hosts")?;
    let result = runtime.block_on(work);
    // An ssh that does not answer is not waited for.
    runtime.shutdown_background();
    result
}

/// Logins are shared with other commands that keep their runs in the same state directory, where there is one.
pub fn sharing(global: &Global) -> Option<Sharing> {
    Sharing::below(&runs::state_directory(global).ok()?)
}

/// The ways to the servers of the setting's product.
pub fn hosts(fleet: &Fleet, group: &str, sharing: Option<&Sharing>) -> Result<Hosts, Failure> {
    let binary = Arc::new(AgentBinary::find()?);
    Ok(Hosts::servers(fleet, group, &binary, sharing))
}

/// What was observed on a fleet.
pub struct Surveyed {
    /// The facts.
    pub facts: Facts,
    /// Why no run may begin now: other runs, and guards that stand.
    pub barred: Vec<Refusal>,
    /// The newest fencing token that any host has seen.
    pub token: u64,
}

/// Observes all servers, and asks every host for runs that have not ended. What earlier runs rolled back from is taken from the
/// store, where there is one.
pub async fn observe(setting: &Setting, hosts: &Hosts, store: Option<&Store>) -> Result<Surveyed, Failure> {
    let (gathered, known) = tokio::join!(
        gather(hosts, &setting.fleet, &setting.profile, &|_, _| {}),
        // Over the same logins: a host that is slow to be reached is not refused for one question alone.
        known_runs(hosts, FIRST_ANSWER)
    );
    let Gathered {
        mut facts,
        unreachable,
    } = gathered;
    if let Some(store) = store {
        facts.rolled_back = rolled_back_versions(store, &setting.fleet.name, &setting.profile.product)
            .map_err(|error| runs::failure(error, &[]))?;
    }
    // Those that cannot be reached are refused by their own name.
    let known = KnownRuns {
        silent: known
            .silent
            .into_iter()
            .filter(|(host, _)| !unreachable.contains_key(host))
            .collect(),
        ..known
    };
    Ok(Surveyed {
        facts,
        barred: foreign::bars_a_new_run(setting, &known, store)?,
        token: known.newest_token(),
    })
}

/// Why the steps of a plan cannot be done on the servers, and what else is worth knowing; nothing is changed for it.
pub async fn try_needs(plan: &Plan, hosts: &Hosts) -> (Vec<Refusal>, Vec<String>) {
    let needs = upshift_plan::needs(plan);
    let questions = needs
        .into_iter()
        .map(|(node, needs)| (node, plan.node(node).name.clone(), Probe::Needs(needs)));
    let observed = ask_each(hosts, questions).await;
    (
        upshift_plan::unmet(plan, &observed),
        upshift_plan::remarks(plan, &observed),
    )
}

/// What the merges of a plan will change on the servers; nothing is changed for it. The new defaults come out of the packages, since no server
/// need have them yet.
pub async fn preview_merges(plan: &Plan, hosts: &Hosts, setting: &Setting) -> Result<Previewed, Failure> {
    let mut merges = upshift_plan::merges(plan);
    let mut texts = BTreeMap::new();
    for ((node, _), order) in &mut merges {
        let releases = format!("{}/store/releases/", plan.node(*node).state_directory);
        let Some((version, file)) = order
            .new
            .strip_prefix(&releases)
            .and_then(|rest| rest.split_once('/'))
        else {
            continue;
        };
        let key = (version.to_owned(), file.to_owned());
        if !texts.contains_key(&key) {
            let text = setting.packages.text_of(&setting.profile, version, file)?;
            texts.insert(key.clone(), text);
        }
        order.new_text = texts.get(&key).cloned().flatten();
    }
    let questions = merges.iter().map(|(at, order)| {
        let name = plan.node(at.0).name.clone();
        (*at, name, Probe::MergedConfig(order.clone()))
    });
    let observed = ask_each(hosts, questions.collect::<Vec<_>>()).await;
    Ok(upshift_plan::previewed(plan, &merges, &observed))
}

/// The ways to the servers of a setting.
pub fn hosts_of(setting: &Setting) -> Result<Hosts, Failure> {
    hosts(
        &setting.fleet,
        fleets::group(&setting.profile),
        setting.sharing.as_ref(),
    )
}
