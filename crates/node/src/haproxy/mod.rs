//! Servers behind an HAProxy: taken out of it, and put back as they were found.
//!
//! What was found is written down before the first order of a run about a server changes anything, so that an agent or a
//! controller that is killed in between still knows it. Once a server has been put back, the record says so, and the next order
//! of the run looks anew: an operator may have changed something since.

mod socket;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use upshift_model::balancer::{HaproxyOrder, HaproxyProbe, HaproxyState};

use crate::digest;
use crate::durable;
use crate::error::{NodeError, Result};
use crate::layout::{Layout, make_directory};
use socket::{Administered, Seen, Socket};

/// What was found before a run's first order about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    state: Administered,
    /// Whether its health checks let connections through.
    up: bool,
    /// It has been put back since.
    returned: bool,
}

type Record = BTreeMap<String, Found>;

/// Does what an order says. The output is what the servers were before and are now.
pub fn order(layout: &Layout, run: &str, order: &HaproxyOrder) -> Result<Value> {
    let socket = Socket(&order.socket);
    let servers = chosen(&socket, &order.servers)?;
    let path = record_path(layout, run, &order.socket)?;
    make_directory(&records(layout, run)?, 0o700)?;
    let mut record: Record = durable::read_json(&path)?.unwrap_or_default();
    if order.state != HaproxyState::AsFound {
        for (name, seen) in &servers {
            note(&mut record, name, seen);
        }
        durable::write_json(&path, &record)?;
    }
    let mut done = BTreeMap::new();
    for (name, seen) in &servers {
        let Some(found) = record.get(name) else { continue };
        let wanted = seen.administered.after(order.state, found.state);
        if wanted != seen.administered {
            socket.administer(name, wanted)?;
        }
        done.insert(name, json!({ "was": seen.administered, "is": wanted }));
    }
    if order.state == HaproxyState::AsFound {
        let returned = record.iter_mut().filter(|(name, _)| servers.contains_key(*name));
        returned.for_each(|(_, found)| found.returned = true);
        durable::write_json(&path, &record)?;
    }
    Ok(json!(done))
}

/// What HAProxy says of servers, and whether that is what the run found.
pub fn look(layout: &Layout, run: Option<&str>, probe: &HaproxyProbe) -> Result<Value> {
    let servers = chosen(&Socket(&probe.socket), &probe.servers)?;
    let record: Record = match run {
        Some(run) => durable::read_json(&record_path(layout, run, &probe.socket)?)?.unwrap_or_default(),
        None => Record::new(),
    };
    let all = |holds: &dyn Fn(&String, &Seen) -> bool| servers.iter().all(|(name, seen)| holds(name, seen));
    let sessions: u64 = servers.values().map(|seen| seen.sessions).sum();
    let shown: BTreeMap<&String, Value> = servers
        .iter()
        .map(|(name, seen)| {
            let found = record.get(name).map(|found| found.state);
            let value = json!({
                "state": seen.administered, "status": seen.status, "sessions": seen.sessions, "address": seen.address, "found": found,
            });
            (name, value)
        })
        .collect();
    Ok(json!({
        "servers": shown,
        "sessions": sessions,
        "drained": all(&|_, seen| seen.administered != Administered::Ready),
        "maintenance": all(&|_, seen| seen.administered == Administered::Maintenance),
        "as_found": all(&|name, seen| record.get(name).is_none_or(|found| is_as_found(found, seen))),
    }))
}

/// Writes down what a server is, where nothing is on record since it was put back last.
fn note(record: &mut Record, name: &str, seen: &Seen) {
    let found = Found {
        state: seen.administered,
        up: seen.is_up(),
        returned: false,
    };
    match record.get_mut(name) {
        Some(known) if !known.returned => {}
        Some(known) => *known = found,
        None => {
            record.insert(name.to_owned(), found);
        }
    }
}

fn is_as_found(found: &Found, seen: &Seen) -> bool {
    let serves = !found.up || found.state != Administered::Ready || seen.is_up();
    found.state == seen.administered && serves
}

/// The servers that are meant, as HAProxy sees them.
fn chosen(socket: &Socket<'_>, names: &str) -> Result<BTreeMap<String, Seen>> {
    let all = socket.servers()?;
    let mut chosen = BTreeMap::new();
    for name in names.split([',', ' ']).filter(|name| !name.is_empty()) {
        let wanted = |known: &str| match name.strip_prefix("*/") {
            Some(server) => known.split_once('/').is_some_and(|(_, known)| known == server),
            None => known == name,
        };
        let before = chosen.len();
        let found = all.iter().filter(|(known, _)| wanted(known));
        chosen.extend(found.map(|(known, seen)| (known.clone(), seen.clone())));
        if chosen.len() == before && !chosen.keys().any(|known| wanted(known)) {
            let known: Vec<&str> = all.keys().map(String::as_str).take(20).collect();
            return Err(NodeError::refused(format!(
                "HAProxy at {} knows no server {name}; it knows {}",
                socket.0,
                known.join(", ")
            )));
        }
    }
    match chosen.is_empty() {
        true => Err(NodeError::refused(format!(
            "no server of HAProxy at {} is named",
            socket.0
        ))),
        false => Ok(chosen),
    }
}

fn records(layout: &Layout, run: &str) -> Result<PathBuf> {
    Ok(layout.run(run)?.join("haproxy"))
}

fn record_path(layout: &Layout, run: &str, socket: &str) -> Result<PathBuf> {
    let name = format!("{}.json", digest::of_bytes(socket.as_bytes()));
    Ok(records(layout, run)?.join(name))
}

#[cfg(test)]
mod tests;
