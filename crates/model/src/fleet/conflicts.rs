//! Hosts that are one and the same.

use std::collections::BTreeMap;

use super::report::{Place, Sources};
use super::{DEFAULT_STATE_DIRECTORY, Fleet, Host, Transport};

/// Two names of a group for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameHost {
    /// The name that comes first.
    pub first: String,
    /// The other one.
    pub second: String,
    /// What they have in common, in words: `address 10.0.0.1, state directory /var/lib/upshift`.
    pub how: String,
}

/// Finds two names for one agent among the hosts of a group.
pub(super) fn same_host_twice(fleet: &Fleet, group: &str) -> Vec<SameHost> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<(String, &str), &String> = BTreeMap::new();
    let members = fleet.hosts.iter().filter(|(_, host)| host.groups.contains(group));
    for (name, host) in members {
        let Some(reached_by) = reached_by(host) else {
            continue;
        };
        let directory = host.state_directory.as_deref().unwrap_or(DEFAULT_STATE_DIRECTORY);
        let first = *seen.entry((reached_by, directory)).or_insert(name);
        if first != name {
            found.push(SameHost {
                first: first.clone(),
                second: name.clone(),
                how: format!("{}, state directory {directory}", in_words(host)),
            });
        }
    }
    found
}

/// Refuses two names for one agent in the group of a product: what is done to one host would be done to the other.
pub(super) fn refuse_shared_agents<'g>(
    sources: &mut Sources,
    fleet: &Fleet,
    places: &BTreeMap<String, Place>,
    groups: impl Iterator<Item = &'g String>,
) {
    for SameHost { first, second, how } in groups.flat_map(|group| same_host_twice(fleet, group)) {
        let place = places.get(&second).cloned().unwrap_or_else(|| sources.main(0..0));
        sources.error(
            place,
            format!("`{second}` is the same host as `{first}`: {how}"),
            "give it its own address, or its own state directory, or take it out",
        );
    }
}

/// Equal where two hosts are reached in the same way.
fn reached_by(host: &Host) -> Option<String> {
    match &host.transport {
        Transport::Local => Some("local".to_owned()),
        Transport::Ssh(ssh) => Some(format!(
            "ssh {} {}",
            ssh.host.to_lowercase(),
            ssh.port.unwrap_or(22)
        )),
        Transport::Command(arguments) => Some(format!("command {arguments:?}")),
        Transport::Unusable(_) => None,
    }
}

fn in_words(host: &Host) -> String {
    match &host.transport {
        Transport::Local => "this machine".to_owned(),
        Transport::Ssh(ssh) => match ssh.port {
            Some(port) => format!("address {} port {port}", ssh.host),
            None => format!("address {}", ssh.host),
        },
        Transport::Command(_) | Transport::Unusable(_) => "the same command".to_owned(),
    }
}
