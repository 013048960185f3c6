//! What can be observed on a host. A probe changes nothing.

mod connect;
pub mod connections;
mod file;
mod log;
mod needs;
mod process;
mod records;

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use upshift_host::orders;
use upshift_model::probe::{Observation, Probe, ProbeFailure};

use crate::error::{NodeError, Result};
use crate::host::{self, Host};
use crate::process::command;
use crate::{filesystem, guard, haproxy, http, installation, saved, snapshots, store};

pub(crate) use log::fits;

/// Observes one thing. `run` is the run that asks, where one does.
pub fn observe(host: &Host, run: Option<&str>, probe: &Probe) -> Observation {
    look(host, run, probe).map_err(|error| ProbeFailure::Failed(error.to_string()))
}

/// Observes one thing that is to prove the way forward in a hop of a run.
pub fn observe_forward(host: &Host, run: &str, hop: u32, probe: &Probe) -> Observation {
    let seen = observe(host, Some(run), probe);
    // Only afterwards: what was seen before the guard fired was seen of the way forward.
    match guard::of(&host.layout, run, hop) {
        Ok(guard) => orders::of_way_forward(guard.as_ref(), seen),
        Err(error) => Err(ProbeFailure::Failed(error.to_string())),
    }
}

fn look(host: &Host, run: Option<&str>, probe: &Probe) -> Result<Value> {
    let layout = &host.layout;
    let asking = || run.ok_or_else(|| NodeError::refused("this can only be asked by a run"));
    match probe {
        Probe::Process(probe) => process::look(layout, probe),
        Probe::Command(command) => command::observe(command),
        Probe::Http(probe) => http::look(probe),
        Probe::Connect(probe) => connect::look(probe),
        Probe::Connections(probe) => connections::look(layout, probe),
        Probe::Haproxy(probe) => haproxy::look(layout, run, probe),
        Probe::File(path) => file::look(path),
        Probe::Releases => Ok(json!({
            "current": store::current(layout)?,
            "permanent": store::permanent(layout)?,
            "releases": store::statuses(layout)?,
        })),
        Probe::Installed(probe) => installation::look(layout, probe),
        Probe::Saved(name) => saved::probe(layout, asking()?, name),
        Probe::Snapshot(name) => snapshots::probe(host, asking()?, name),
        Probe::MergedConfig(order) => crate::actions::merged_config(order),
        Probe::Guard => value(&guard::status(layout, asking()?)?),
        Probe::Records(path) => records::look(path),
        Probe::Disk(path) => {
            let space = filesystem::space(path.as_ref())?;
            Ok(json!({ "free": space.free, "total": space.total }))
        }
        Probe::Usage(paths) => {
            let usage = filesystem::usage(paths.iter().map(Path::new))?;
            Ok(json!({ "bytes": usage.bytes, "files": usage.files }))
        }
        Probe::Needs(probe) => Ok(needs::look(probe)),
        Probe::Log(probe) => log::look(layout, run, probe),
        Probe::Host => value(&host::facts(host)?),
    }
}

fn value(item: &impl Serialize) -> Result<Value> {
    serde_json::to_value(item).map_err(|error| NodeError::refused(error.to_string()))
}
