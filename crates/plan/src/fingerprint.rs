//! Digests: of the facts that a plan stands on, and of plans themselves.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};
use upshift_model::facts::{Facts, NodeFacts};
use upshift_model::fleet::Fleet;
use upshift_model::profile::Profile;

use crate::survey::group_of;
use crate::types::{Plan, Refusal};

/// SHA-256 in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 of something's JSON, without holding that JSON in memory.
fn digest_json<T: Serialize>(item: &T) -> String {
    let mut hasher = Hasher(Sha256::new());
    match serde_json::to_writer(&mut hasher, item) {
        Ok(()) => hexadecimal(&hasher.0.finalize()),
        // Plans and facts have only text keys and finite numbers, so this cannot happen; a digest that fits nothing is the safe answer.
        Err(error) => digest(error.to_string().as_bytes()),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What must not have changed on a server between planning and doing. Free disk, clocks, load and who leads are left out:
/// they change by themselves.
#[derive(Serialize)]
struct Stable<'a> {
    version: Option<&'a str>,
    variant: &'a BTreeMap<String, String>,
    places: &'a BTreeMap<String, String>,
    config_digests: &'a BTreeMap<String, String>,
    os: &'a str,
    arch: &'a str,
    state_directory: &'a str,
}

impl<'a> Stable<'a> {
    fn of(facts: &'a NodeFacts) -> Self {
        Stable {
            version: facts.version.as_deref(),
            variant: &facts.variant,
            places: &facts.places,
            config_digests: &facts.config_digests,
            os: &facts.host.os,
            arch: &facts.host.arch,
            state_directory: &facts.host.state_directory,
        }
    }
}

/// Digest of what must not change in the cluster: which servers there are, and for each its version, variant, places,
/// configuration, operating system and architecture.
pub fn of_facts(profile: &Profile, fleet: &Fleet, facts: &Facts) -> String {
    let nodes: BTreeMap<&String, Option<Stable<'_>>> = fleet
        .servers(group_of(profile))
        .map(|(name, _)| (name, facts.nodes.get(name).map(Stable::of)))
        .collect();
    digest_json(&nodes)
}

impl Plan {
    /// Adds what was found out about the hosts after the plan was made, such as what the tried needs of its steps showed. It stands in
    /// the plan, so the plan is known by it from then on.
    pub fn add_remarks(&mut self, remarks: impl IntoIterator<Item = String>) {
        self.warnings.extend(remarks);
        self.fingerprint = self.compute_fingerprint();
    }

    /// The plan's fingerprint, computed anew; [`Plan::fingerprint`] is what it was when the plan was made.
    pub fn compute_fingerprint(&self) -> String {
        /// The plan as it is, but for its own fingerprint.
        struct Rest<'a>(&'a Plan);
        impl Serialize for Rest<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let plan = self.0;
                let parts = (
                    (
                        plan.format,
                        &plan.product,
                        &plan.title,
                        plan.scheme,
                        &plan.fleet,
                        &plan.request,
                        &plan.facts,
                    ),
                    (
                        &plan.nodes,
                        &plan.recipes,
                        &plan.prepare,
                        &plan.hops,
                        &plan.finalize,
                        &plan.finalize_notes,
                    ),
                    (&plan.estimate, &plan.warnings),
                );
                // What a plan has none of leaves the fingerprint that it has always had.
                let no_balancers = plan.balancers.is_empty();
                if !plan.notices.is_empty() {
                    let rest = (&plan.balancers, &plan.risks, &plan.proof, &plan.config_changes);
                    return (parts, rest, &plan.notices).serialize(serializer);
                }
                if !plan.config_changes.is_empty() {
                    let rest = (&plan.balancers, &plan.risks, &plan.proof, &plan.config_changes);
                    return (parts, rest).serialize(serializer);
                }
                match (no_balancers, plan.risks.is_empty(), plan.proof.is_empty()) {
                    (true, true, true) => parts.serialize(serializer),
                    (false, true, true) => (parts, &plan.balancers).serialize(serializer),
                    (_, false, true) => (parts, &plan.balancers, &plan.risks).serialize(serializer),
                    (_, _, false) => (parts, &plan.balancers, &plan.risks, &plan.proof).serialize(serializer),
                }
            }
        }
        digest_json(&Rest(self))
    }
}

/// Whether a plan may still be executed: it is intact, and nothing that it stands on has changed.
///
/// # Errors
/// One refusal for each thing that changed, naming the hosts.
pub fn verify_unchanged(
    plan: &Plan,
    profile: &Profile,
    fleet: &Fleet,
    facts: &Facts,
) -> Result<(), Vec<Refusal>> {
    crate::changes::find(plan, profile, fleet, facts)
}
