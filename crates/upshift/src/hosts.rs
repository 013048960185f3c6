//! What was observed on the servers, as a table.

use serde::Serialize;
use upshift_model::facts::Facts;
use upshift_plan::show;

use crate::table::Table;

/// A server as it was observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Name of the host.
    pub host: String,
    /// The version that runs.
    pub version: Option<String>,
    /// Whether it leads.
    pub leader: bool,
    /// Operating system and architecture.
    pub platform: String,
    /// Free bytes where the release store lies.
    pub disk_free: u64,
    /// Why it could not be reached.
    pub unreachable: Option<String>,
    /// Its places, with what said where they are.
    pub places: Vec<Place>,
    /// Whether the version is not known although the product was not seen to be stopped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cannot_tell: bool,
}

/// Where something lives on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// What it is.
    pub name: String,
    /// Where it is.
    pub value: String,
    /// What said so.
    pub source: String,
}

/// Whether it was observed that the product's process is not there.
fn seen_stopped(node: &upshift_model::facts::NodeFacts) -> bool {
    let process = node.probes.get(upshift_model::profile::PROCESS_PROBE);
    process.is_some_and(|process| process["running"] == serde_json::json!(false))
}

/// The servers of the facts, in the order of their names.
pub fn observed(facts: &Facts) -> Vec<Observed> {
    let place = |node: &upshift_model::facts::NodeFacts, name: &String, value: &String| Place {
        name: name.clone(),
        value: value.clone(),
        source: node.place_sources.get(name).cloned().unwrap_or_default(),
    };
    facts
        .nodes
        .iter()
        .map(|(name, node)| Observed {
            host: name.clone(),
            version: node.version.clone(),
            leader: node.leader,
            platform: format!("{} {}", node.host.os, node.host.arch).trim().to_owned(),
            disk_free: node.host.disk_free,
            unreachable: node.unreachable.clone(),
            cannot_tell: node.version.is_none() && node.unreachable.is_none() && !seen_stopped(node),
            places: node
                .places
                .iter()
                .map(|(name, value)| place(node, name, value))
                .collect(),
        })
        .collect()
}

/// For people.
pub fn table(hosts: &[Observed]) -> String {
    let mut table = Table::new(["HOST", "VERSION", "ROLE", "PLATFORM", "DISK FREE"]);
    for host in hosts {
        let seen = host.unreachable.is_none();
        table.row([
            host.host.clone(),
            match (&host.version, seen) {
                (Some(version), _) => version.clone(),
                (None, true) if host.cannot_tell => "cannot tell".to_owned(),
                (None, true) => "not running".to_owned(),
                (None, false) => "not reached".to_owned(),
            },
            if host.leader {
                "leader".to_owned()
            } else {
                String::new()
            },
            host.platform.clone(),
            if seen {
                show::bytes(host.disk_free)
            } else {
                String::new()
            },
        ]);
    }
    table.to_string()
}
