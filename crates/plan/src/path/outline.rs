//! The way between two versions by the profile alone, whatever packages are at hand: for telling which releases must be fetched.

use serde::{Deserialize, Serialize};
use upshift_model::profile::{PathEdge, Profile, Source, Strategy};
use upshift_model::version::{Range, Version};

use super::graph::{self, Rules};
use crate::refusal::Refusals;

/// One hop of an outline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlineHop {
    /// The lowest version that the hop may lead to and that the next hop may lead out of; the target itself for the last one.
    pub lowest: String,
    /// Whether later versions do as well.
    pub or_newer: bool,
    /// The range of versions that the hop may lead to, as the profile has it.
    pub range: String,
    /// How the hop is done.
    pub strategy: Strategy,
    /// Where the claim comes from.
    pub source: Source,
    /// What an operator should know about it.
    pub note: Option<String>,
}

impl OutlineHop {
    /// The version to fetch, in words: `3.12.1 or newer (3.12.x)`.
    pub fn words(&self) -> String {
        if self.or_newer {
            format!("{} or newer ({})", self.lowest, self.range)
        } else {
            self.lowest.clone()
        }
    }
}

/// The hops from one version to another that the profile's paths allow, conditions on servers left aside. Nothing where the
/// versions cannot be read or no way leads there.
pub fn outline(profile: &Profile, from: &str, to: &str) -> Option<Vec<OutlineHop>> {
    let scheme = profile.versions.scheme;
    let from = Version::parse(scheme, from).ok()?;
    let to = Version::parse(scheme, to).ok()?;
    let rules = Rules::read(profile, &mut Refusals::default());
    between(profile, &rules, &from, &to, &mut |_, _, _| true)
}

/// As [`outline`], with a say in which edges may be used.
pub(super) fn between(
    profile: &Profile,
    rules: &Rules<'_>,
    from: &Version,
    to: &Version,
    allowed: &mut dyn FnMut(&PathEdge, &Version, &Version) -> bool,
) -> Option<Vec<OutlineHop>> {
    let samples = samples(profile, from, to);
    let hops = graph::shortest(rules, &samples, from, to, allowed)?;
    let fits = |edge: &PathEdge, next: &PathEdge, version: &Version| {
        let holds =
            |text: &str| Range::parse(version.scheme(), text).is_ok_and(|range| range.contains(version));
        let never = rules.never.iter().any(|range| range.contains(version));
        holds(&edge.to) && holds(&next.from) && !never && from < version && version < to
    };
    let outline = hops.iter().enumerate().map(|(position, hop)| {
        let fitting: Vec<&Version> = match hops.get(position + 1) {
            Some(next) => samples
                .iter()
                .filter(|version| fits(hop.edge, next.edge, version))
                .collect(),
            None => Vec::new(),
        };
        OutlineHop {
            lowest: fitting.first().unwrap_or(&&hop.to).to_string(),
            or_newer: fitting.len() > 1,
            range: hop.edge.to.clone(),
            strategy: hop.edge.strategy,
            source: hop.edge.source.clone(),
            note: hop.edge.note.clone(),
        }
    });
    Some(outline.collect())
}

/// Versions that stand for all others: every version that the profile's ranges name, and the one after it. Ranges change what they
/// contain only there, so a way exists between real versions where one exists between these.
fn samples(profile: &Profile, from: &Version, to: &Version) -> Vec<Version> {
    let edges = profile
        .paths
        .iter()
        .flat_map(|edge| [Some(&edge.from), Some(&edge.to)]);
    let blocked = profile
        .blocked
        .iter()
        .flat_map(|blocked| [blocked.from.as_ref(), blocked.to.as_ref()]);
    let mut all: Vec<Version> = edges
        .chain(blocked)
        .flatten()
        .flat_map(|range| named(range))
        .flat_map(|text| [Some(text.clone()), after(&text)])
        .flatten()
        .filter_map(|text| Version::parse(from.scheme(), &text).ok())
        .collect();
    all.push(from.clone());
    all.push(to.clone());
    all.sort();
    all.dedup();
    all
}

/// The versions that a range names, with zeros in the place of what it leaves open.
fn named(range: &str) -> Vec<String> {
    range
        .split(|c: char| c.is_whitespace() || c == ',' || c == '|')
        .map(|word| word.trim_start_matches(['<', '>', '=']))
        .filter(|word| !word.is_empty() && *word != "*")
        .map(|word| {
            let parts: Vec<&str> = word
                .split('.')
                .map(|part| {
                    if matches!(part, "x" | "X" | "*") {
                        "0"
                    } else {
                        part
                    }
                })
                .collect();
            parts.join(".")
        })
        .flat_map(|text| {
            // A version of two numbers may need a third to be one of its scheme.
            let longer = format!("{text}.0");
            [text, longer]
        })
        .collect()
}

/// The version after this one, by its last number.
fn after(text: &str) -> Option<String> {
    let (head, last) = text.rsplit_once('.')?;
    let next = last.parse::<u64>().ok()?.checked_add(1)?;
    Some(format!("{head}.{next}"))
}
