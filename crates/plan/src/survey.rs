//! The servers as they are: who is there, what runs, and what stands in the way of knowing it.

use serde_json::{Value, json};
use upshift_model::expr::{self, Scope};
use upshift_model::facts::{Facts, NodeFacts};
use upshift_model::fleet::{Fleet, Host};
use upshift_model::profile::{PROCESS_PROBE, Profile};
use upshift_model::template;
use upshift_model::version::{Scheme, Version};

use crate::refusal::Refusals;
use crate::types::{NodeIndex, Request};

/// One server of the product.
#[derive(Clone, Debug)]
pub(crate) struct Server<'a> {
    pub index: NodeIndex,
    pub name: &'a str,
    pub host: &'a Host,
    pub facts: &'a NodeFacts,
    /// The version that runs.
    pub version: Version,
}

/// Everything that planning starts from.
#[derive(Clone, Debug)]
pub(crate) struct Survey<'a> {
    pub profile: &'a Profile,
    pub fleet_name: &'a str,
    pub fleet: &'a Fleet,
    pub facts: &'a Facts,
    pub request: &'a Request,
    /// How many servers the fleet has, known or not.
    pub total: usize,
    /// The servers of which everything is known that planning needs, in the order of their names.
    pub servers: Vec<Server<'a>>,
}

impl<'a> Survey<'a> {
    /// Looks at every server of the fleet; those that cannot be planned for are refused.
    pub fn take(
        profile: &'a Profile,
        fleet_name: &'a str,
        fleet: &'a Fleet,
        facts: &'a Facts,
        request: &'a Request,
        refusals: &mut Refusals,
    ) -> Self {
        let group = group_of(profile);
        let mut servers: Vec<Server<'a>> = Vec::new();
        let mut total = 0;
        for (name, host) in fleet.hosts.iter().filter(|(_, host)| is_server(host, group)) {
            total += 1;
            if let Some((facts, version)) = known(profile, name, facts, refusals) {
                let index = NodeIndex(servers.len() as u32);
                servers.push(Server {
                    index,
                    name,
                    host,
                    facts,
                    version,
                });
            }
        }
        for (name, reason) in &facts.unreachable_balancers {
            refusals.add_host(
                "unreachable",
                name,
                format!("the load balancer cannot be reached: {reason}"),
                "make the host reachable, or take it out of the fleet if it no longer balances this cluster",
            );
        }
        if total == 0 {
            refusals.add(
                "no-servers",
                format!(
                    "no host of the fleet `{fleet_name}` is a server of {}",
                    profile.title
                ),
                format!("put the servers into the group `{group}` of the fleet file or inventory"),
            );
        }
        Survey {
            profile,
            fleet_name,
            fleet,
            facts,
            request,
            total,
            servers,
        }
    }

    /// The load balancers in front of the servers, in the order of their names.
    pub fn balancers(&self) -> impl Iterator<Item = (&'a String, &'a Host)> {
        self.fleet.load_balancers(group_of(self.profile))
    }

    /// How versions order.
    pub fn scheme(&self) -> Scheme {
        self.profile.versions.scheme
    }

    /// Whether everything is known of every server; otherwise nothing can be said of the cluster as a whole.
    pub fn is_complete(&self) -> bool {
        self.total > 0 && self.servers.len() == self.total
    }

    /// Whether the fleet has a server of this name, known or not.
    pub fn has_server(&self, name: &str) -> bool {
        self.fleet
            .hosts
            .get(name)
            .is_some_and(|host| is_server(host, group_of(self.profile)))
    }

    /// The versions that run, the oldest first, each once.
    pub fn running(&self) -> Vec<&Version> {
        let mut versions: Vec<&Version> = self.servers.iter().map(|server| &server.version).collect();
        versions.sort();
        versions.dedup();
        versions
    }
}

/// The group of the fleet whose hosts are the product's servers.
pub(crate) fn group_of(profile: &Profile) -> &str {
    profile.group.as_deref().unwrap_or(&profile.product)
}

fn is_server(host: &Host, group: &str) -> bool {
    host.groups.contains(group) && (host.roles.is_empty() || host.roles.contains("server"))
}

/// What is known of one server, where that is enough to plan.
fn known<'a>(
    profile: &Profile,
    name: &str,
    facts: &'a Facts,
    refusals: &mut Refusals,
) -> Option<(&'a NodeFacts, Version)> {
    let Some(facts) = facts.nodes.get(name) else {
        refusals.add_host(
            "unreachable",
            name,
            "nothing was observed on the host",
            "gather the facts of all servers before planning",
        );
        return None;
    };
    if let Some(reason) = &facts.unreachable {
        refusals.add_host(
            "unreachable",
            name,
            format!("the host cannot be reached: {reason}"),
            "make the host reachable, or take it out of the fleet if it no longer belongs to the cluster",
        );
        return None;
    }
    let Some(version) = &facts.version else {
        without_version(profile, name, facts, refusals);
        return None;
    };
    match Version::parse(profile.versions.scheme, version) {
        Ok(version) => Some((facts, version)),
        Err(error) => {
            refusals.add_host(
                "unknown-version",
                name,
                format!("the running version cannot be read: {error}"),
                "check `versions` in the profile: its scheme, and the pattern that reads the running version",
            );
            None
        }
    }
}

/// Why no version is known of a server. That it does not run is said only where that was seen.
fn without_version(profile: &Profile, name: &str, facts: &NodeFacts, refusals: &mut Refusals) {
    if let Some(reason) = &facts.unlocated {
        return refusals.add_host(
            "not-located",
            name,
            format!(
                "where {} lies on the host cannot be found out: {reason}",
                profile.title
            ),
            "mend that; nothing else could be observed",
        );
    }
    let names = json!({ "probes": facts.probes, "places": facts.places, "node": { "name": name } });
    let scope = Scope::from_value(profile.versions.scheme, names.clone());
    let known = profile
        .versions
        .absent
        .iter()
        .find(|absent| expr::holds(&absent.holds, &scope) == Ok(true));
    if let Some(absent) = known {
        let filled = |text: &String| template::render_text(text, &names).unwrap_or_else(|_| text.clone());
        return refusals.add_host(
            &absent.name,
            name,
            filled(&absent.message),
            filled(&absent.remedy),
        );
    }
    match unseen(profile, facts) {
        Some(reason) => refusals.add_host(
            "version-unknown",
            name,
            format!(
                "which version of {} runs on the host cannot be told: {reason}",
                profile.title
            ),
            "try again when the host is less busy; mend what the reason names",
        ),
        None => refusals.add_host(
            "not-running",
            name,
            format!(
                "no {} runs on the host, so its version is not known",
                profile.title
            ),
            "start the server and wait until it is healthy, or take the host out of the fleet",
        ),
    }
}

/// Why the version could not be observed, unless the process was seen to be absent.
fn unseen(profile: &Profile, facts: &NodeFacts) -> Option<String> {
    let process = facts.probes.get(PROCESS_PROBE)?;
    if let Some(reason) = process.get("error").and_then(Value::as_str) {
        return Some(reason.to_owned());
    }
    if process.get("running") != Some(&Value::Bool(true)) {
        return None;
    }
    let asked = facts.probes.get(&profile.versions.running.probe);
    let text = |key: &str| asked.and_then(|value| value.get(key)).and_then(Value::as_str);
    let reason = text("error")
        .or_else(|| text("stderr"))
        .filter(|reason| !reason.is_empty());
    Some(
        reason
            .unwrap_or("its process runs, and says nothing of it")
            .to_owned(),
    )
}
