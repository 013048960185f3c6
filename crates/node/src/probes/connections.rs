//! The TCP connections that others have opened to a service's process, as the kernel knows them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};
use upshift_model::probe::ConnectionsProbe;

use crate::digest;
use crate::error::{Context, Result};
use crate::layout::Layout;
use crate::process::{ProcessId, service};

/// The most that are named.
const NAMED: usize = 1000;

/// States of sockets in the kernel's table.
const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";

pub fn look(layout: &Layout, probe: &ConnectionsProbe) -> Result<Value> {
    let Some(process) = service::find(layout, &probe.service)? else {
        let of = asked_after(&probe.of).count();
        return Ok(json!({ "running": false, "count": 0, "peers": [], "of": of, "kept": 0 }));
    };
    let rows = rows_of(&process)?;
    let peers = incoming(&rows, &probe.except);
    // Those that are asked after came in, also where nobody listens at their port any more.
    let there: BTreeSet<String> = rows
        .iter()
        .filter(|row| row.state == ESTABLISHED)
        .map(Row::name)
        .collect();
    let of = asked_after(&probe.of).count();
    let kept = asked_after(&probe.of)
        .filter(|peer| there.contains(*peer))
        .count();
    let count = peers.len();
    Ok(json!({ "running": true, "count": count, "peers": named(peers), "of": of, "kept": kept }))
}

fn asked_after(of: &str) -> impl Iterator<Item = &str> {
    of.split(',').filter(|peer| !peer.is_empty())
}

/// How many connections others have opened to a process.
pub fn count(process: &ProcessId) -> Result<usize> {
    Ok(incoming(&rows_of(process)?, &[]).len())
}

/// The sockets of a process.
fn rows_of(process: &ProcessId) -> Result<Vec<Row>> {
    let own = sockets_of(process)?;
    let mut rows = Vec::new();
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/{}/net/{table}", process.pid);
        // A kernel without IPv6 has no such table.
        let text = fs::read_to_string(path).unwrap_or_default();
        rows.extend(text.lines().skip(1).filter_map(Row::parse));
    }
    rows.retain(|row| own.contains(&row.inode));
    Ok(rows)
}

/// Numbers of the sockets that a process has open.
fn sockets_of(process: &ProcessId) -> Result<BTreeSet<u64>> {
    let directory = format!("/proc/{}/fd", process.pid);
    let entries = fs::read_dir(&directory).context(|| format!("cannot list {directory}"))?;
    let number = |link: &str| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Ok(entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| number(&link.to_string_lossy()))
        .collect())
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    peer: SocketAddr,
    state: String,
    inode: u64,
}

impl Row {
    fn name(&self) -> String {
        format!("{}→{}", self.peer, self.local.port())
    }

    fn parse(line: &str) -> Option<Row> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        Some(Row {
            local: address(words.get(1)?)?,
            peer: address(words.get(2)?)?,
            state: (*words.get(3)?).to_owned(),
            inode: words.get(9)?.parse().ok()?,
        })
    }
}

/// `0100007F:1F90`: words of the address in the machine's order of bytes, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok();
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, piece) in bytes.chunks_mut(4).enumerate() {
                piece.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// The peers whose connections came in at a port that the process listens on.
fn incoming(rows: &[Row], except: &[String]) -> Vec<String> {
    let ports: BTreeSet<u16> = rows
        .iter()
        .filter(|row| row.state == LISTENING)
        .map(|row| row.local.port())
        .filter(|port| !except.iter().any(|ports| covers(ports, *port)))
        .collect();
    rows.iter()
        .filter(|row| row.state == ESTABLISHED && ports.contains(&row.local.port()))
        .map(Row::name)
        .collect()
}

/// Whether a port is the one that a text names, or one of the range `first-last`.
fn covers(ports: &str, port: u16) -> bool {
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.trim().parse::<u16>();
    matches!((number(first), number(last)), (Ok(first), Ok(last)) if (first..=last).contains(&port))
}

/// At most [`NAMED`] of them. Which ones does not depend on the others, so that what is named now is named later, too, as long as it
/// is there and not many more have come.
fn named(mut peers: Vec<String>) -> Vec<String> {
    if peers.len() > NAMED {
        peers.sort_by_cached_key(|peer| digest::of_bytes(peer.as_bytes()));
        peers.truncate(NAMED);
    }
    peers.sort();
    peers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_kernels_table_are_read() {
        let line = "   0: 0200007F:075B 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 20";
        let row = Row::parse(line).unwrap();
        assert_eq!(row.local, "127.0.0.2:1883".parse().unwrap());
        assert_eq!(row.peer, "127.0.0.1:40000".parse().unwrap());
        assert_eq!((row.state.as_str(), row.inode), (ESTABLISHED, 4711));
        assert_eq!(
            address("0000000000000000FFFF00000100007F:0016").unwrap(),
            "127.0.0.1:22".parse().unwrap()
        );
        assert_eq!(address("xyz"), None);
    }

    #[test]
    fn only_what_came_in_counts() {
        let row = |local: &str, peer: &str, state: &str| Row {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            state: state.to_owned(),
            inode: 1,
        };
        let rows = [
            row("0.0.0.0:1883", "0.0.0.0:0", LISTENING),
            row("0.0.0.0:6369", "0.0.0.0:0", LISTENING),
            row("10.0.0.1:1883", "10.0.0.9:5000", ESTABLISHED),
            row("10.0.0.1:6369", "10.0.0.2:5001", ESTABLISHED),
            row("10.0.0.1:40000", "10.0.0.3:6369", ESTABLISHED),
        ];
        for except in ["6369", "6300-6400"] {
            assert_eq!(incoming(&rows, &[except.to_owned()]), ["10.0.0.9:5000→1883"]);
        }
        for except in ["", "636", "6370-6400", "x-y"] {
            assert_eq!(incoming(&rows, &[except.to_owned()]).len(), 2, "{except}");
        }
    }

    #[test]
    fn of_many_the_same_are_named_again() {
        let peers = |from: u32, to: u32| (from..to).map(|peer| format!("peer-{peer}")).collect::<Vec<_>>();
        let (before, after) = (named(peers(0, 3000)), named(peers(0, 3100)));
        assert_eq!((before.len(), after.len()), (NAMED, NAMED));
        let still = before.iter().filter(|peer| after.contains(peer)).count();
        assert!(still > 900, "{still}");
    }
}
