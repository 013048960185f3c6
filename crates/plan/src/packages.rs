//! Which package each server gets for each version.

use std::collections::BTreeMap;

use upshift_model::action::Artifact;
use upshift_model::facts::{HostFacts, NodeFacts};
use upshift_model::package::PackageRules;
use upshift_model::profile::{Slot, Strategy};

use crate::layout::Leg;
use crate::refusal::Refusals;
use crate::survey::{Server, Survey};
use crate::types::NodeIndex;

/// For one version, which package each server gets.
#[derive(Clone, Debug)]
pub(crate) struct Assignment<'a> {
    pub packages: Vec<(NodeIndex, &'a Artifact)>,
}

/// The packages of a version, by name.
fn at_hand<'a>(survey: &Survey<'a>, version: &str) -> Vec<&'a Artifact> {
    let mut found: Vec<&Artifact> = survey
        .request
        .artifacts
        .iter()
        .filter(|artifact| artifact.version == version)
        .collect();
    found.sort_by(|a, b| (&a.file_name, &a.sha256).cmp(&(&b.file_name, &b.sha256)));
    found
}

/// Whether there is a package of this version at hand, whatever hosts it is for.
pub(crate) fn has_package(survey: &Survey<'_>, version: &str) -> bool {
    survey
        .request
        .artifacts
        .iter()
        .any(|artifact| artifact.version == version)
}

/// Chooses a package of `version` for each of these servers, or says why there is none.
pub(crate) fn assign<'a>(
    survey: &Survey<'a>,
    version: &str,
    servers: &[NodeIndex],
    refusals: &mut Refusals,
) -> Assignment<'a> {
    let candidates = at_hand(survey, version);
    let mut assignment = Assignment {
        packages: Vec::with_capacity(servers.len()),
    };
    if candidates.is_empty() {
        return assignment;
    }
    for index in servers {
        let server = &survey.servers[index.0 as usize];
        match choose(&candidates, server.facts) {
            Choice::One(artifact) => assignment.packages.push((*index, artifact)),
            Choice::None => refuse_platform(server, version, &candidates, refusals),
            Choice::Several(several) => refuse_several(server, version, &several, refusals),
        }
    }
    assignment
}

/// The package that a server would get, where exactly one fits.
pub(crate) fn for_server<'a>(
    survey: &Survey<'a>,
    version: &str,
    server: &Server<'_>,
) -> Option<&'a Artifact> {
    match choose(&at_hand(survey, version), server.facts) {
        Choice::One(artifact) => Some(artifact),
        Choice::None | Choice::Several(_) => None,
    }
}

enum Choice<'a> {
    One(&'a Artifact),
    None,
    Several(Vec<&'a Artifact>),
}

/// The packages built for the host; of several the one that has most in common with what runs.
fn choose<'a>(candidates: &[&'a Artifact], facts: &NodeFacts) -> Choice<'a> {
    let fitting: Vec<&Artifact> = candidates
        .iter()
        .copied()
        .filter(|artifact| fits(artifact, facts))
        .collect();
    let alike = |artifact: &Artifact| {
        artifact
            .variant
            .iter()
            .filter(|(part, value)| facts.variant.get(*part) == Some(value))
            .count()
    };
    let Some(most) = fitting.iter().map(|artifact| alike(artifact)).max() else {
        return Choice::None;
    };
    let best: Vec<&Artifact> = fitting
        .into_iter()
        .filter(|artifact| alike(artifact) == most)
        .collect();
    // A file that is given under several names is one package.
    if best.iter().all(|artifact| artifact.sha256 == best[0].sha256) {
        Choice::One(best[0])
    } else {
        Choice::Several(best)
    }
}

/// Whether a package is built for the host's operating system and architecture.
fn fits(artifact: &Artifact, facts: &NodeFacts) -> bool {
    fits_host(artifact, &facts.host)
}

/// Whether a package is built for a host's operating system and architecture.
pub fn fits_host(artifact: &Artifact, facts: &HostFacts) -> bool {
    let built_for = |part: &str| artifact.variant.get(part).map(String::as_str);
    let os = built_for("os").is_none_or(|os| same_os(os, &facts.os));
    let arch = built_for("arch").is_none_or(|arch| same_arch(arch, &facts.arch));
    os && arch
}

fn same_os(package: &str, host: &str) -> bool {
    matches!(package, "linux" | "any" | "all") || host.is_empty() || package.eq_ignore_ascii_case(host)
}

fn same_arch(package: &str, host: &str) -> bool {
    let package = canonical_arch(package);
    matches!(package, "any" | "all" | "noarch") || host.is_empty() || package == canonical_arch(host)
}

/// One name for each architecture, whoever names it.
fn canonical_arch(arch: &str) -> &str {
    match arch {
        "x86_64" | "x64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn refuse_several(server: &Server<'_>, version: &str, several: &[&Artifact], refusals: &mut Refusals) {
    if several
        .iter()
        .all(|artifact| artifact.variant == several[0].variant)
    {
        // Said once for all servers; see `check`.
        return;
    }
    let names: Vec<&str> = several
        .iter()
        .map(|artifact| artifact.file_name.as_str())
        .collect();
    refusals.add_host(
        "ambiguous-package",
        server.name,
        format!(
            "there are several packages of {version} that fit: {}",
            names.join(", ")
        ),
        "give only the one that is meant",
    );
}

fn refuse_platform(server: &Server<'_>, version: &str, candidates: &[&Artifact], refusals: &mut Refusals) {
    let host = &server.facts.host;
    let names: Vec<&str> = candidates
        .iter()
        .map(|artifact| artifact.file_name.as_str())
        .collect();
    refusals.add_host(
        "wrong-platform",
        server.name,
        format!(
            "the host is {} on {}, and no package of {version} is: {}",
            host.os,
            host.arch,
            names.join(", ")
        ),
        format!("fetch the package of {version} for {} on {}", host.os, host.arch),
    );
}

/// Refuses packages that state one version and one variant and still differ: nobody can say which is meant.
pub(crate) fn check(survey: &Survey<'_>, refusals: &mut Refusals) {
    let mut seen: BTreeMap<(&str, &BTreeMap<String, String>), &Artifact> = BTreeMap::new();
    for artifact in &survey.request.artifacts {
        let key = (artifact.version.as_str(), &artifact.variant);
        match seen.get(&key) {
            Some(other) if other.sha256 != artifact.sha256 => {
                let mut names = [other.file_name.as_str(), artifact.file_name.as_str()];
                names.sort_unstable();
                refusals.add(
                    "ambiguous-package",
                    format!(
                        "two packages are both {} and differ in content: {} and {}",
                        artifact.version, names[0], names[1]
                    ),
                    "give only one of them",
                );
            }
            Some(_) => {}
            None => {
                seen.insert(key, artifact);
            }
        }
    }
}

/// How many leading directories of a package's archive are dropped: as the rule says that its name was read by.
pub(crate) fn strip(survey: &Survey<'_>, artifact: &Artifact) -> u32 {
    let rules = &survey.profile.packages;
    let read = PackageRules::parse(survey.scheme(), rules)
        .ok()
        .and_then(|read| read.read(&artifact.file_name));
    read.and_then(|(rule, _)| rules.get(rule))
        .map_or(0, |rule| rule.strip)
}

/// The packages that every server needs: those of all hops, and, where a rollback would need it, that of the running version.
pub(crate) fn for_path<'a>(
    survey: &Survey<'a>,
    legs: &[Leg<'_>],
    refusals: &mut Refusals,
) -> Vec<Assignment<'a>> {
    let mut assignments = Vec::new();
    if needs_store(survey) {
        assignments.extend(rollback(survey, legs, refusals));
    }
    assignments.extend(
        legs.iter()
            .map(|leg| assign(survey, leg.to.as_str(), &leg.servers, refusals)),
    );
    assignments
}

/// Whether binaries come from the release store: the profile has packages, and no verbs of its own that switch them. A profile whose
/// verbs are still missing has not decided that.
fn needs_store(survey: &Survey<'_>) -> bool {
    if survey.profile.verbs_missing.is_some() && survey.profile.verbs_missing_for.is_empty() {
        return false;
    }
    !survey.profile.packages.is_empty() && !survey.profile.verbs.contains_key(&Slot::Switch)
}

/// The running releases that are not in the store of their host: without them a server could not roll back. A server that has the
/// target already is not touched, and a hot hop leaves the store as it is.
fn rollback<'a>(survey: &Survey<'a>, legs: &[Leg<'_>], refusals: &mut Refusals) -> Vec<Assignment<'a>> {
    let mut absent: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
    for server in &survey.servers {
        let first = legs.iter().find(|leg| server.version <= leg.from);
        let switched = first.is_some_and(|leg| leg.edge.strategy != Strategy::Hot);
        let version = server.version.as_str();
        if switched && !server.facts.host.releases.contains_key(version) {
            absent.entry(version).or_default().push(server.index);
        }
    }
    let mut assignments = Vec::new();
    for (version, servers) in absent {
        if has_package(survey, version) {
            assignments.push(assign(survey, version, &servers, refusals));
            continue;
        }
        for index in servers {
            refusals.add_host(
                "no-rollback",
                survey.servers[index.0 as usize].name,
                format!("the running release {version} is not in the release store, so the server could not roll back to it"),
                format!("give the package of {version}, too, with `--packages`: it is unpacked beside the new one"),
            );
        }
    }
    assignments
}
