//! What each host must have: places, disk space, a clock that agrees.

use std::collections::BTreeMap;

use upshift_model::profile::{Place, PlaceSource};

use crate::packages::Assignment;
use crate::refusal::{Reason, Refusals};
use crate::show;
use crate::survey::{Server, Survey};
use crate::types::NodeIndex;

/// Clocks that are further apart than this are worth a warning.
const CLOCK_SKEW_MS: u64 = 60_000;

/// The places that the profile cannot do without.
pub(super) fn places(survey: &Survey<'_>, refusals: &mut Refusals) {
    let required = survey.profile.places.iter().filter(|(_, place)| place.required);
    for (name, place) in required {
        for server in &survey.servers {
            if !server.facts.places.contains_key(name) {
                missing_place(name, place, server, refusals);
            }
        }
    }
}

/// A place that was not found, whoever asks for it.
pub(super) fn missing_place(
    name: &str,
    place: &Place,
    server: &Server<'_>,
    refusals: &mut Refusals,
) -> Reason {
    let variables = place.sources.iter().filter_map(|source| match source {
        PlaceSource::Variable(variable) => Some(variable.as_str()),
        _ => None,
    });
    let variable = variables.into_iter().next().unwrap_or(name);
    refusals.note(
        "missing-place",
        Some(server.name),
        format!("{} (`{name}`) was not found on the host", place.description),
        format!("set the variable `{variable}` of the host in the fleet file"),
        None,
    )
}

/// Clocks decide nothing here, but logs are read side by side, and products have rules of their own.
pub(super) fn clocks(survey: &Survey<'_>, warnings: &mut Vec<String>) {
    let offsets = survey
        .servers
        .iter()
        .map(|server| (server.name, server.facts.host.clock_offset_ms));
    for (name, offset) in offsets.filter(|(_, offset)| offset.unsigned_abs() > CLOCK_SKEW_MS) {
        let direction = if offset > 0 { "ahead of" } else { "behind" };
        warnings.push(format!(
            "the clock of {name} is {} s {direction} this machine's: check its time service",
            offset.unsigned_abs() / 1000
        ));
    }
}

/// A server whose program was replaced on disk starts another one after a crash or a reboot, whatever is planned.
pub(super) fn replaced_programs(survey: &Survey<'_>, warnings: &mut Vec<String>) {
    for server in &survey.servers {
        let process = server.facts.probes.get("process");
        let Some(process) = process.filter(|process| process["replaced"] == true) else {
            continue;
        };
        let program = process["exe"].as_str().unwrap_or("its program");
        warnings.push(format!(
            "{} runs a program that was removed or replaced on disk since it was started ({program}): a crash or a reboot would start \
             what lies there now; find out who has changed it before you go on",
            server.name
        ));
    }
}

/// Bytes that must be sent to a server, and bytes that must be free on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub download: u64,
    pub disk: u64,
}

/// What each server needs for the packages that it has not got yet.
pub(crate) fn needs(survey: &Survey<'_>, packages: &[Assignment<'_>]) -> BTreeMap<NodeIndex, Need> {
    let mut needs: BTreeMap<NodeIndex, Need> = BTreeMap::new();
    for (node, artifact) in packages.iter().flat_map(|assignment| &assignment.packages) {
        let host = &survey.servers[node.0 as usize].facts.host;
        let need = needs.entry(*node).or_default();
        if !host.cached.contains(&artifact.sha256) {
            need.download = need.download.saturating_add(artifact.size);
        }
        if !host.releases.contains_key(&artifact.version) {
            need.disk = need
                .disk
                .saturating_add(artifact.size.saturating_mul(survey.profile.disk_factor));
        }
    }
    needs
}

/// Whether the packages of all hops fit, packed and unpacked.
pub(super) fn disk(survey: &Survey<'_>, packages: &[Assignment<'_>], refusals: &mut Refusals) {
    for (node, need) in needs(survey, packages) {
        let server = &survey.servers[node.0 as usize];
        let host = &server.facts.host;
        if need.disk > host.disk_free {
            let missing = need.disk - host.disk_free;
            refusals.add_host(
                "disk",
                server.name,
                format!(
                    "{} must be free under {}, and {} are: {} are missing",
                    show::bytes(need.disk),
                    host.state_directory,
                    show::bytes(host.disk_free),
                    show::bytes(missing)
                ),
                "remove what is not needed, or give the host a state directory on a larger file system",
            );
        }
    }
}
