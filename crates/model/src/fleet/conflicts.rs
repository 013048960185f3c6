//! Hosts that are one and the same.

use std::collections::BTreeMap;

use super::report::{Place, Sources};
use super::{DEFAULT_STATE_DIRECTORY, Fleet, Host, Transport};

/// Which hosts may not share an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Any two.
    Everywhere,
    /// Two that are in one group: inventories often know a machine under several names for different ends.
    WithinGroups,
}

/// Refuses two names for one agent: what is done to one host would be done to the other.
pub(super) fn refuse_shared_agents(
    sources: &mut Sources,
    fleet: &Fleet,
    places: &BTreeMap<String, Place>,
    scope: Scope,
) {
    let mut seen: BTreeMap<(String, &str), Vec<(&String, &Host)>> = BTreeMap::new();
    for (name, host) in &fleet.hosts {
        let Some(reached_by) = reached_by(host) else {
            continue;
        };
        let directory = host.state_directory.as_deref().unwrap_or(DEFAULT_STATE_DIRECTORY);
        let earlier = seen.entry((reached_by, directory)).or_default();
        let conflicts = |other: &Host| scope == Scope::Everywhere || !host.groups.is_disjoint(&other.groups);
        if let Some((first, _)) = earlier.iter().find(|(_, other)| conflicts(other)) {
            let how = in_words(host);
            let message =
                format!("`{name}` is the same host as `{first}`: {how}, state directory {directory}");
            let place = places.get(name).cloned().unwrap_or_else(|| sources.main(0..0));
            sources.error(
                place,
                message,
                "give it its own address, or its own state directory, or take it out",
            );
        }
        earlier.push((name, host));
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
