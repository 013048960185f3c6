//! Servers behind an HAProxy: taken out of it, and put back as they were found.
//!
//! What was found is written down before the first order of a run about a server changes anything, so that an agent or a
//! controller that is killed in between still knows it. Once a server has been put back, the record says so, and the next order
//! of the run looks anew: an operator may have changed something since.

mod socket;

use std::collections::{BTreeMap, BTreeSet};
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
    let servers = chosen(&socket.servers()?, &order.socket, &order.servers)?;
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
        if order.end_sessions {
            socket.end_sessions(name)?;
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
    let all_servers = Socket(&probe.socket).servers()?;
    let servers = chosen(&all_servers, &probe.socket, &probe.servers)?;
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
        "leaves": leaves(&all_servers, &servers, &record),
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

/// The backends that have other servers, none of which takes traffic: without the servers that are meant, such a backend serves
/// no client. Servers that take no traffic, and took none when the run found them, leave nothing behind.
fn leaves(all: &BTreeMap<String, Seen>, meant: &BTreeMap<String, Seen>, record: &Record) -> BTreeSet<String> {
    let backend = |name: &str| name.split_once('/').map_or("", |(backend, _)| backend).to_owned();
    let served = meant.iter().filter(|(name, seen)| {
        let found = record.get(*name).filter(|found| !found.returned);
        seen.takes_traffic() || found.is_some_and(|found| found.up && found.state == Administered::Ready)
    });
    served
        .map(|(name, _)| backend(name))
        .filter(|left| {
            let others = all
                .iter()
                .filter(|(name, _)| backend(name) == *left && !meant.contains_key(*name));
            let mut any = false;
            let serves = others
                .inspect(|_| any = true)
                .any(|(_, seen)| seen.takes_traffic());
            any && !serves
        })
        .collect()
}

/// The servers that are meant, as HAProxy sees them.
fn chosen(all: &BTreeMap<String, Seen>, socket: &str, names: &str) -> Result<BTreeMap<String, Seen>> {
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
                "HAProxy at {socket} knows no server {name}; it knows {}",
                known.join(", ")
            )));
        }
    }
    match chosen.is_empty() {
        true => Err(NodeError::refused(format!(
            "no server of HAProxy at {socket} is named"
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
