//! What holds for every plan.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use upshift_model::facts::Facts;
use upshift_model::fleet::Fleet;
use upshift_model::profile::{Profile, Strategy as Way};
use upshift_plan::{Plan, Request, plan, testing};

use crate::common::{groups, plan_of, recipe};

/// Everything that a plan is made from.
#[derive(Clone, Debug)]
struct Input {
    profile: Profile,
    fleet: Fleet,
    facts: Facts,
    request: Request,
}

impl Input {
    fn plan(&self) -> Result<Plan, Vec<upshift_plan::Refusal>> {
        plan(&self.profile, "test", &self.fleet, &self.facts, &self.request)
    }
}

const VERSIONS: [&str; 9] = [
    "1.0.0", "1.0.1", "1.0.2", "1.1.0", "1.1.2", "1.2.0", "2.0.0", "3.0.0", "3.0.1",
];

prop_compose! {
    fn input()(
        servers in 1usize..12,
        from in 0usize..VERSIONS.len() - 1,
        step in prop_oneof![1 => Just(0usize), 9 => 1usize..4],
        at_hand in vec(prop::bool::weighted(0.8), VERSIONS.len()),
        max_unavailable in 1u32..4,
        batch in proptest::option::weighted(0.3, 1u32..4),
        canary in proptest::option::weighted(0.3, 1usize..12),
        zones in any::<bool>(),
        unlabelled in vec(any::<bool>(), 12),
        leaders in vec(any::<bool>(), 12),
        ahead in vec(prop::bool::weighted(0.1), 12),
        free in prop_oneof![4 => Just(10_000_000_000u64), 1 => 0..200_000_000u64],
        skip in prop::bool::weighted(0.9),
    ) -> Input {
        // Mostly forward by a little; now and then to where it is, or past the newest version.
        let to = (from + step).min(VERSIONS.len() - 1);
        let mut profile = testing::profile();
        profile.checks.clear();
        profile.capacity.max_unavailable = max_unavailable;
        if !zones {
            profile.capacity.failure_domain = None;
        }
        let mut fleet = testing::fleet(servers);
        let mut facts = testing::facts(servers, VERSIONS[from]);
        for (position, (name, host)) in fleet.hosts.iter_mut().enumerate() {
            if unlabelled[position] {
                host.labels.clear();
            }
            let node = facts.nodes.get_mut(name).unwrap();
            node.leader = leaders[position];
            node.host.disk_free = free;
            // Some servers have been upgraded already.
            if ahead[position] && from < to {
                node.version = Some(VERSIONS[to].to_owned());
            }
        }
        let at_hand: Vec<&str> =
            VERSIONS.into_iter().zip(at_hand).filter(|(_, there)| *there).map(|(version, _)| version).collect();
        let mut request = testing::request(VERSIONS[to], &at_hand);
        request.batch = batch;
        request.canary = canary.map(testing::name);
        if skip {
            request.accepted = vec![upshift_model::fleet::Acceptance {
                name: "capacity".to_owned(),
                reason: "a test".to_owned(),
                until: None,
            }];
        }
        Input { profile, fleet, facts, request }
    }
}

fn holds_for_every_plan(input: &Input, plan: &Plan) {
    let mut last = None;
    for group in groups(plan) {
        assert!(!group.steps.is_empty(), "an empty group");
        let nodes: BTreeSet<_> = group.steps.iter().map(|step| step.node).collect();
        assert_eq!(
            nodes.len(),
            group.steps.len(),
            "two steps on one server in a group"
        );
        for step in &group.steps {
            assert!(last < Some(step.id), "numbers of steps do not grow");
            last = Some(step.id);
            assert!(step.undoes.iter().all(|undone| *undone < step.id));
        }
    }
    let mut at: BTreeMap<&str, &str> = plan
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.version.as_str()))
        .collect();
    for hop in &plan.hops {
        // A rollback ends with an observation of every server, of what it ran before the hop.
        let observing = hop.rolled_back.iter().flat_map(|group| &group.steps);
        let observed: BTreeMap<&str, &str> = observing
            .map(|step| {
                (
                    plan.node(step.node).name.as_str(),
                    recipe(plan, step).want.as_str(),
                )
            })
            .collect();
        assert_eq!(observed, at);
        let most = input
            .request
            .batch
            .unwrap_or(input.profile.capacity.max_unavailable) as usize;
        let mut seen = BTreeSet::new();
        let mut leader_seen = false;
        for window in &hop.windows {
            for node in &window.nodes {
                let node = plan.node(*node);
                assert!(seen.insert(node.name.clone()), "{} twice in a hop", node.name);
                assert_eq!(
                    at[node.name.as_str()],
                    hop.from,
                    "{} is not where the hop begins",
                    node.name
                );
                at.insert(&node.name, &hop.to);
                let canary = input.request.canary.as_ref() == Some(&node.name);
                assert!(node.leader || canary || !leader_seen, "a leader before others");
                leader_seen |= node.leader && !canary;
            }
            if hop.strategy == Way::Rolling {
                assert!(window.nodes.len() <= most, "more down than allowed");
                let domains: BTreeSet<_> = window
                    .nodes
                    .iter()
                    .map(|node| plan.node(*node).failure_domain.clone())
                    .collect();
                assert!(
                    window.nodes.len() == 1 || domains.len() == 1,
                    "two failure domains in one batch"
                );
            }
            if hop.strategy == Way::Hot {
                assert!(
                    window.forward[1..window.forward.len() - 1]
                        .iter()
                        .filter(|group| !group.steps.iter().all(|step| plan.recipe(step.recipe).is_gate()))
                        .all(|group| group.steps.len() <= most)
                );
            }
        }
        if let (Some(canary), Some(window)) = (&input.request.canary, hop.windows.first())
            && seen.contains(canary)
        {
            assert_eq!(&plan.node(window.nodes[0]).name, canary);
        }
    }
    assert!(
        at.values().all(|version| *version == input.request.to),
        "a server is left behind"
    );
    let text = serde_json::to_string(plan).unwrap();
    assert_eq!(&serde_json::from_str::<Plan>(&text).unwrap(), plan);
    assert_eq!(plan.compute_fingerprint(), plan.fingerprint);
    assert_eq!(
        text,
        serde_json::to_string(&input.plan().unwrap()).unwrap(),
        "not the same plan twice"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn plans_keep_their_promises_and_refusals_say_what_to_do(input in input()) {
        match input.plan() {
            Ok(plan) => holds_for_every_plan(&input, &plan),
            Err(refusals) => {
                assert!(!refusals.is_empty());
                assert!(refusals.is_sorted());
                assert_eq!(input.plan().unwrap_err(), refusals);
                for refusal in refusals {
                    assert!(!refusal.code.is_empty() && !refusal.message.is_empty() && !refusal.remedy.is_empty());
                    assert!(refusal.hosts.iter().all(|host| input.fleet.hosts.contains_key(host)));
                }
            }
        }
    }
}

#[test]
fn enough_of_the_inputs_are_planned() {
    // A generator that only makes refused inputs would test nothing.
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let planned = (0..300)
        .filter(|_| input().new_tree(&mut runner).unwrap().current().plan().is_ok())
        .count();
    assert!(planned > 60, "{planned} of 300");
}

/// Steps of a plan for so many servers.
fn steps(servers: usize, from: &str, to: &str) -> usize {
    let request = testing::request(to, &[]);
    let facts = testing::facts(servers, from);
    let plan = plan_of(&testing::profile(), &facts, &request).unwrap();
    groups(&plan)
        .iter()
        .map(|group| group.steps.len() + group.steps.iter().map(|step| step.undoes.len()).sum::<usize>())
        .sum()
}

#[test]
fn plans_grow_with_the_number_of_servers_and_no_faster() {
    for (from, to) in [
        ("1.0.0", "1.0.1"),
        ("1.0.0", "1.1.0"),
        ("1.1.0", "2.0.0"),
        ("2.0.0", "3.0.0"),
    ] {
        let (small, large) = (steps(1000, from, to), steps(2000, from, to));
        assert!(
            large <= 2 * small + 100,
            "{from} to {to}: {small} steps for 1,000 servers, {large} for 2,000"
        );
        assert!(large > small);
    }
}

#[test]
fn servers_that_do_the_same_share_their_recipes() {
    let plan_of = |servers| {
        let facts = testing::facts(servers, "1.0.0");
        plan_of(&testing::profile(), &facts, &testing::request("1.1.0", &[])).unwrap()
    };
    assert_eq!(plan_of(5).recipes.len(), plan_of(500).recipes.len());
}
