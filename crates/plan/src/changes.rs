//! What has changed between the making of a plan and its execution.

use std::collections::BTreeMap;

use upshift_model::facts::{Facts, NodeFacts};
use upshift_model::fleet::Fleet;
use upshift_model::profile::Profile;

use crate::fingerprint;
use crate::refusal::Refusals;
use crate::survey::group_of;
use crate::types::{Plan, PlanNode, Refusal};

const REMEDY: &str = "make a new plan from the cluster as it is now, look at it, and execute that";

/// See [`crate::verify_unchanged`].
pub(crate) fn find(plan: &Plan, profile: &Profile, fleet: &Fleet, facts: &Facts) -> Result<(), Vec<Refusal>> {
    let mut refusals = Refusals::default();
    if plan.format != crate::PLAN_FORMAT {
        refusals.add(
            "plan-format",
            format!(
                "the plan has format {}, this program executes format {}",
                plan.format,
                crate::PLAN_FORMAT
            ),
            "make a new plan with this version of the program",
        );
    } else if plan.compute_fingerprint() != plan.fingerprint {
        refusals.add(
            "plan-edited",
            "the plan is not the one that was made: its fingerprint does not fit its contents",
            "make a new plan; a plan is never edited by hand",
        );
    }
    if plan.product != profile.product {
        refusals.add(
            "changed",
            format!(
                "the plan is for {}, the profile for {}",
                plan.product, profile.product
            ),
            "give the plan's own profile",
        );
    }
    let planned: BTreeMap<&str, &PlanNode> =
        plan.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    for (name, _) in fleet.servers(group_of(profile)) {
        match (planned.get(name.as_str()), facts.nodes.get(name)) {
            (None, _) => refusals.add_host(
                "changed",
                name,
                "the server was added after the plan was made",
                REMEDY,
            ),
            (Some(_), None) => {
                refusals.add_host("unreachable", name, "nothing was observed on the host", REMEDY)
            }
            (Some(node), Some(facts)) => compare(node, facts, &mut refusals),
        }
    }
    let group = group_of(profile);
    for name in planned.keys() {
        if !fleet
            .hosts
            .get(*name)
            .is_some_and(|host| host.groups.contains(group))
        {
            refusals.add_host("changed", name, "the server is no longer in the fleet", REMEDY);
        }
    }
    if refusals.is_empty() && fingerprint::of_facts(profile, fleet, facts) != plan.facts {
        refusals.add(
            "changed",
            "the cluster is not as it was when the plan was made",
            REMEDY,
        );
    }
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(refusals.into_sorted())
    }
}

fn compare(node: &PlanNode, facts: &NodeFacts, refusals: &mut Refusals) {
    if let Some(reason) = &facts.unreachable {
        let message = format!("the host cannot be reached: {reason}");
        refusals.add_host("unreachable", &node.name, message, "make the host reachable");
        return;
    }
    let mut changed = |what: &str, before: &str, now: &str| {
        if before != now {
            refusals.add_host(
                "changed",
                &node.name,
                format!("{what} was {before}, and is now {now}"),
                REMEDY,
            );
        }
    };
    changed(
        "the running version",
        &node.version,
        facts.version.as_deref().unwrap_or("not running"),
    );
    changed("the operating system", &node.stamp.os, &facts.host.os);
    changed("the architecture", &node.stamp.arch, &facts.host.arch);
    changed(
        "the agent's state directory",
        &node.state_directory,
        &facts.host.state_directory,
    );
    for (what, before, now) in [
        ("the place", &node.places, &facts.places),
        ("the running release's", &node.stamp.variant, &facts.variant),
    ] {
        for (name, before, now) in differences(before, now) {
            changed(&format!("{what} `{name}`"), before, now);
        }
    }
    for (name, _, _) in differences(&node.stamp.config_digests, &facts.config_digests) {
        let message = format!("the configuration `{name}` has been edited since the plan was made");
        refusals.add_host("changed", &node.name, message, REMEDY);
    }
}

/// The names whose values differ, with both values.
fn differences<'a>(
    before: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> Vec<(&'a str, &'a str, &'a str)> {
    const NOTHING: &str = "not there";
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let value = |map: &'a BTreeMap<String, String>| map.get(name).map_or(NOTHING, String::as_str);
            (name.as_str(), value(before), value(now))
        })
        .filter(|(_, before, now)| before != now)
        .collect()
}
