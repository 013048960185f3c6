//! The way with the least disruption over a graph of versions.

use std::ops::Add;

use petgraph::algo::dijkstra;
use petgraph::graph::DiGraph;
use petgraph::visit::{EdgeRef, Reversed};
use upshift_model::profile::{PathEdge, Profile, Strategy};
use upshift_model::version::{Range, Version};

use crate::refusal::Refusals;

/// The profile's edges with their ranges read.
pub(super) struct Rules<'a> {
    pub edges: Vec<Rule<'a>>,
    /// Versions that are never a target, whatever the way: troubles without conditions.
    pub never: Vec<Range>,
}

/// One edge of the profile.
pub(super) struct Rule<'a> {
    pub from: Range,
    pub to: Range,
    pub edge: &'a PathEdge,
}

/// One hop of a way.
#[derive(Clone, Debug)]
pub(super) struct Hop<'a> {
    pub from: Version,
    pub to: Version,
    pub edge: &'a PathEdge,
}

impl<'a> Rules<'a> {
    /// Reads the ranges; what cannot be read is refused, and left out.
    pub fn read(profile: &'a Profile, refusals: &mut Refusals) -> Self {
        let scheme = profile.versions.scheme;
        let mut read = |text: &str| {
            Range::parse(scheme, text)
                .map_err(|error| {
                    let message = format!("the profile of {} has a bad range: {error}", profile.title);
                    refusals.add("bad-profile", message, "correct the range in the profile");
                })
                .ok()
        };
        let mut edges = Vec::new();
        for edge in &profile.paths {
            if let (Some(from), Some(to)) = (read(&edge.from), read(&edge.to)) {
                edges.push(Rule { from, to, edge });
            }
        }
        let mut never = Vec::new();
        for blocked in &profile.blocked {
            let from = blocked.from.as_deref().and_then(&mut read);
            let to = blocked.to.as_deref().and_then(&mut read);
            // One that an operator may take upon themselves is asked about for each way.
            let always = blocked.when.is_empty() && blocked.strategies.is_empty() && !blocked.acceptable;
            let whatever = from.is_none() && always;
            never.extend(to.filter(|_| whatever));
        }
        Rules { edges, never }
    }
}

/// How much a way disrupts: hops of each strategy, the worst first. Fewer of a worse strategy always win.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost([u32; 4]);

impl Cost {
    fn of(strategy: Strategy) -> Self {
        Cost(match strategy {
            Strategy::Rebuild => [1, 0, 0, 0],
            Strategy::Switch => [0, 1, 0, 0],
            Strategy::Rolling => [0, 0, 1, 0],
            Strategy::Hot => [0, 0, 0, 1],
        })
    }
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost(std::array::from_fn(|index| self.0[index] + other.0[index]))
    }
}

/// The way with the fewest disruptive hops over these versions (sorted); of equal ones the one through the highest versions.
pub(super) fn shortest<'a>(
    rules: &Rules<'a>,
    versions: &[Version],
    from: &Version,
    to: &Version,
    allowed: &mut dyn FnMut(&PathEdge, &Version, &Version) -> bool,
) -> Option<Vec<Hop<'a>>> {
    let mut graph: DiGraph<usize, (Cost, &'a PathEdge)> = DiGraph::new();
    let on_the_way: Vec<&Version> = versions
        .iter()
        .filter(|version| from <= version && version <= &to)
        .collect();
    let nodes: Vec<_> = (0..on_the_way.len())
        .map(|position| graph.add_node(position))
        .collect();
    let masks: Vec<Vec<(bool, bool)>> = on_the_way.iter().map(|version| mask(rules, version)).collect();
    for (a, source) in on_the_way.iter().enumerate() {
        for (b, goal) in on_the_way.iter().enumerate().skip(a + 1) {
            let mut fitting: Vec<&'a PathEdge> = (0..rules.edges.len())
                .filter(|rule| masks[a][*rule].0 && masks[b][*rule].1)
                .map(|rule| rules.edges[rule].edge)
                .collect();
            fitting.sort_by_key(|edge| edge.strategy);
            if let Some(edge) = fitting.into_iter().find(|edge| allowed(edge, source, goal)) {
                graph.add_edge(nodes[a], nodes[b], (Cost::of(edge.strategy), edge));
            }
        }
    }
    let start = nodes[on_the_way.iter().position(|version| *version == from)?];
    let end = nodes[on_the_way.iter().position(|version| *version == to)?];
    // How far each version is from the target. Only looked up, never iterated: the order of a hash map must not show.
    let distance = dijkstra(Reversed(&graph), end, None, |edge| edge.weight().0);
    let mut at = start;
    let mut hops = Vec::new();
    while at != end {
        let left = *distance.get(&at)?;
        let next = graph
            .edges(at)
            .filter(|edge| {
                distance
                    .get(&edge.target())
                    .is_some_and(|rest| edge.weight().0 + *rest == left)
            })
            .max_by_key(|edge| graph[edge.target()])?;
        let version = |index: petgraph::graph::NodeIndex| on_the_way[graph[index]].clone();
        hops.push(Hop {
            from: version(at),
            to: version(next.target()),
            edge: next.weight().1,
        });
        at = next.target();
    }
    Some(hops)
}

/// For each rule, whether it leads out of a version, and whether it leads to it.
fn mask(rules: &Rules<'_>, version: &Version) -> Vec<(bool, bool)> {
    let never = rules.never.iter().any(|range| range.contains(version));
    rules
        .edges
        .iter()
        .map(|rule| (rule.from.contains(version), !never && rule.to.contains(version)))
        .collect()
}
