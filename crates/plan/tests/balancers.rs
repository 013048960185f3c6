//! Load balancers in front of the servers: what a plan does with them, and what its rollback does.

use serde_json::json;
use upshift_model::action::Action;
use upshift_model::balancer::HaproxyState;
use upshift_model::facts::Facts;
use upshift_model::fleet::{Fleet, Host};
use upshift_model::probe::Probe;
use upshift_model::profile::{At, Otherwise, Profile, Slot};
use upshift_plan::{Plan, PlanProof, Recipe, Refusal, Step, StepKind, Window, plan, testing};

fn balanced(balancers: &[&str]) -> Fleet {
    let mut fleet = testing::fleet(3);
    for name in balancers {
        let host = Host {
            groups: ["ledger".to_owned()].into(),
            roles: ["load_balancer".to_owned()].into(),
            variables: [
                ("haproxy_patience".to_owned(), json!("2m")),
                ("password".to_owned(), json!("secret")),
            ]
            .into(),
            ..Host::default()
        };
        fleet.hosts.insert((*name).to_owned(), host);
    }
    fleet
}

fn planned(profile: &Profile, fleet: &Fleet, facts: &Facts) -> Result<Plan, Vec<Refusal>> {
    plan(profile, "test", fleet, facts, &testing::request("1.1.0", &[]))
}

fn plan_of(fleet: &Fleet) -> Plan {
    planned(&testing::profile(), fleet, &testing::facts(3, "1.0.0"))
        .unwrap_or_else(|refusals| panic!("{refusals:#?}"))
}

/// The steps of a slot, with their recipes, in the order in which they are done.
fn steps<'p>(plan: &'p Plan, groups: &'p [upshift_plan::Group], slot: Slot) -> Vec<(&'p Step, &'p Recipe)> {
    let all = groups.iter().flat_map(|group| &group.steps);
    let with_recipes = all.map(|step| (step, plan.recipe(step.recipe)));
    with_recipes
        .filter(
            |(_, recipe)| matches!(recipe.kind, StepKind::Do(found) | StepKind::Undo(found) if found == slot),
        )
        .collect()
}

/// What a step does, in short.
fn word((_, recipe): &(&Step, &Recipe)) -> String {
    let place = recipe.balancer.as_deref().unwrap_or("server");
    match &recipe.action {
        Some(Action::Haproxy(order)) => format!("{place}: {:?}", order.state),
        Some(action) => format!("{place}: {}", action.word()),
        None => format!("{place}: wait"),
    }
}

fn words(plan: &Plan, groups: &[upshift_plan::Group], slot: Slot) -> Vec<String> {
    steps(plan, groups, slot).iter().map(word).collect()
}

fn window(plan: &Plan) -> &Window {
    &plan.hops[0].windows[0]
}

#[test]
fn a_server_is_taken_out_of_every_balancer_and_put_back_as_it_was_found() {
    let plan = plan_of(&balanced(&["lb1", "lb2"]));
    assert_eq!(
        words(&plan, &window(&plan).forward, Slot::Drain),
        [
            "lb1: Drain",
            "lb2: Drain",
            "lb1: wait",
            "lb2: wait",
            "lb1: Maintenance",
            "lb2: Maintenance",
            "server: command",
        ]
    );
    let back_in = ["server: command", "lb1: AsFound", "lb2: AsFound"];
    assert_eq!(words(&plan, &window(&plan).forward, Slot::Undrain), back_in);
    assert_eq!(words(&plan, &window(&plan).rollback, Slot::Undrain), back_in);
    let names: Vec<&str> = plan
        .balancers
        .iter()
        .map(|balancer| balancer.name.as_str())
        .collect();
    assert_eq!(names, ["lb1", "lb2"]);
    assert!(
        !plan.balancers[0].variables.contains_key("password"),
        "no more than what is named"
    );
    assert_eq!(plan.nodes.len(), 3, "a balancer is no server");
}

#[test]
fn where_the_profile_says_so_sessions_that_are_left_end_while_the_server_still_serves() {
    let mut profile = testing::profile();
    profile.load_balancers.end_sessions = true;
    let plan = planned(&profile, &balanced(&["lb1"]), &testing::facts(3, "1.0.0")).expect("a plan");
    let ends = |groups| -> Vec<(String, bool, String)> {
        let drains = steps(&plan, groups, Slot::Drain).into_iter();
        drains
            .filter_map(|(_, recipe)| match &recipe.action {
                Some(Action::Haproxy(order)) => Some((
                    format!("{:?}", order.state),
                    order.end_sessions,
                    recipe.proof[0].expect.clone(),
                )),
                _ => None,
            })
            .collect()
    };
    let drained = ("Drain".to_owned(), false, "value.drained".to_owned());
    let ended = (
        "Maintenance".to_owned(),
        true,
        "value.maintenance && value.sessions == 0".to_owned(),
    );
    assert_eq!(ends(&window(&plan).forward), [drained, ended]);
    // Otherwise they end with the server.
    let plan = plan_of(&balanced(&["lb1"]));
    let orders = plan.recipes.iter().filter_map(|recipe| match &recipe.action {
        Some(Action::Haproxy(order)) => Some(order.end_sessions),
        _ => None,
    });
    assert!(orders.into_iter().all(|ends| !ends));
}

#[test]
fn every_step_at_a_balancer_is_proven_by_what_the_balancer_shows() {
    let plan = plan_of(&balanced(&["lb1"]));
    let window = window(&plan);
    let told = |groups, slot| -> Vec<(&str, &str)> {
        let found = steps(&plan, groups, slot).into_iter().map(|(_, recipe)| recipe);
        let at_balancer = found.filter(|recipe| recipe.balancer.is_some());
        let proofs = at_balancer.flat_map(|recipe| {
            let observed = |proof: &&PlanProof| matches!(proof.probe, Probe::Haproxy(_));
            let proofs = recipe.proof.iter().filter(observed);
            proofs.map(|proof| (recipe.title.as_str(), proof.waiting.as_str()))
        });
        proofs.collect()
    };
    assert_eq!(
        told(&window.forward, Slot::Drain),
        [
            (
                "drain at lb1",
                "{{ node.name }} still gets new connections at lb1"
            ),
            (
                "wait until the sessions have ended at lb1",
                "{{ node.name }} still has sessions at lb1"
            ),
            (
                "put into maintenance at lb1",
                "{{ node.name }} is not in maintenance yet at lb1"
            ),
        ]
    );
    let back = [(
        "put back as it was found at lb1",
        "{{ node.name }} is not as it was found at lb1",
    )];
    assert_eq!(told(&window.forward, Slot::Undrain), back);
    assert_eq!(told(&window.rollback, Slot::Undrain), back);
    let look = ("look at the server at lb1", "{{ node.name }} is not known at lb1");
    assert_eq!(told(&plan.hops[0].protect, Slot::Protect), [look; 3]);
}

#[test]
fn clients_may_take_as_long_to_leave_as_the_fleet_says_and_no_longer() {
    let plan = plan_of(&balanced(&["lb1"]));
    let drain = steps(&plan, &window(&plan).forward, Slot::Drain);
    let (_, wait) = drain.iter().find(|(_, recipe)| recipe.action.is_none()).unwrap();
    assert_eq!(
        (wait.within, wait.otherwise),
        (upshift_model::Millis::seconds(120), Otherwise::GoOn)
    );
    assert!(
        drain
            .iter()
            .filter(|(_, recipe)| recipe.balancer.is_some())
            .all(|(_, recipe)| { recipe.proof.iter().all(|proof| proof.at == At::LoadBalancer) })
    );
}

#[test]
fn only_what_was_taken_out_of_a_balancer_is_put_back_into_it() {
    let plan = plan_of(&balanced(&["lb1", "lb2"]));
    let window = window(&plan);
    for groups in [&window.forward, &window.rollback] {
        for (step, recipe) in steps(&plan, groups, Slot::Undrain) {
            let Some(balancer) = &recipe.balancer else {
                continue;
            };
            let drains: Vec<_> = steps(&plan, &window.forward, Slot::Drain)
                .into_iter()
                .filter(|(_, other)| other.balancer.as_ref() == Some(balancer) && other.action.is_some())
                .map(|(drain, _)| drain.id)
                .collect();
            assert_eq!(drains.len(), 2);
            assert_eq!(step.undoes, drains, "{balancer}");
        }
    }
}

#[test]
fn before_anything_is_changed_every_balancer_is_asked_for_every_server() {
    let plan = plan_of(&balanced(&["lb1"]));
    let looks: Vec<_> = steps(&plan, &plan.hops[0].protect, Slot::Protect)
        .into_iter()
        .filter(|(_, recipe)| recipe.balancer.is_some())
        .collect();
    assert_eq!(looks.len(), 3);
    assert!(looks.iter().all(|(_, recipe)| recipe.action.is_none()));
}

#[test]
fn guards_act_on_their_server_alone_unless_it_speaks_to_the_balancer_itself() {
    let armed = |plan: &Plan| {
        let recipes = plan.recipes.iter().filter_map(|recipe| match &recipe.action {
            Some(Action::ArmGuard(guard)) => Some(guard.rollback.clone()),
            _ => None,
        });
        let actions: Vec<Action> = recipes.flatten().collect();
        actions
            .iter()
            .any(|action| matches!(action, Action::Haproxy(order) if order.state == HaproxyState::AsFound))
    };
    let by_host = plan_of(&balanced(&["lb1"]));
    assert!(!armed(&by_host));
    assert!(
        by_host.warnings.iter().any(|warning| warning.contains("lb1")),
        "{:?}",
        by_host.warnings
    );
    let mut fleet = testing::fleet(3);
    for host in fleet.hosts.values_mut() {
        host.variables
            .insert("haproxy_socket".to_owned(), json!("10.0.0.9:9999"));
    }
    let by_servers = plan_of(&fleet);
    assert!(armed(&by_servers));
    assert_eq!(
        words(&by_servers, &window(&by_servers).forward, Slot::Drain),
        [
            "server: Drain",
            "server: wait",
            "server: Maintenance",
            "server: command"
        ]
    );
    assert!(by_servers.balancers.is_empty());
}

#[test]
fn a_profile_that_drains_through_balancers_itself_gets_nothing_added() {
    let mut profile = testing::profile();
    let own = upshift_model::profile::Via::LoadBalancers;
    for verbs in [Slot::Drain, Slot::Undrain] {
        for verb in profile.verbs.get_mut(&verbs).into_iter().flatten() {
            verb.via = own;
        }
    }
    let plan = planned(&profile, &balanced(&["lb1"]), &testing::facts(3, "1.0.0")).unwrap();
    assert_eq!(
        words(&plan, &window(&plan).forward, Slot::Drain),
        ["lb1: command"]
    );
    let plan = planned(&profile, &testing::fleet(3), &testing::facts(3, "1.0.0")).unwrap();
    assert!(
        words(&plan, &window(&plan).forward, Slot::Drain).is_empty(),
        "no balancer, nothing to do"
    );
}

#[test]
fn a_balancer_that_cannot_be_reached_is_a_reason_against() {
    let mut facts = testing::facts(3, "1.0.0");
    facts
        .unreachable_balancers
        .insert("lb1".to_owned(), "no route to host".to_owned());
    let refusals = planned(&testing::profile(), &balanced(&["lb1"]), &facts).unwrap_err();
    assert!(
        refusals
            .iter()
            .any(|refusal| refusal.code == "unreachable" && refusal.hosts == ["lb1"]),
        "{refusals:?}"
    );
}

#[test]
fn the_last_server_that_takes_traffic_is_not_drained() {
    let plan = plan_of(&balanced(&["lb1"]));
    let asks = |groups: &[upshift_plan::Group]| {
        let gates = steps(&plan, groups, Slot::Gate);
        let on_balancer = gates.iter().filter(|(_, recipe)| recipe.balancer.is_some());
        on_balancer
            .map(|(_, recipe)| (recipe.proof[0].at, recipe.proof[0].expect.clone()))
            .collect::<Vec<_>>()
    };
    let once = vec![(At::LoadBalancer, "size(value.leaves) == 0".to_owned())];
    let window = window(&plan);
    assert_eq!(asks(&window.gate), once, "before the window");
    assert_eq!(
        asks(&window.forward),
        [once.clone(), once.clone()].concat(),
        "before it is drained, and before it stops"
    );
    assert_eq!(asks(&window.rollback_gate), once, "and in a rollback");
    assert_eq!(
        asks(&window.rollback),
        once,
        "until clients have left much can happen"
    );
}
