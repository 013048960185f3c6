//! Taking a server out of the load balancers and putting it back as it was found.
//!
//! A fleet whose hosts include load balancers needs no profile of its own: an HAProxy is drained through its runtime socket, from
//! its own host, around whatever the profile does to drain a server. Where servers name the socket themselves, they speak to it
//! themselves; then their guards can put them back, too. A profile that drains through load balancers itself knows better, and
//! gets nothing added.

use upshift_model::Millis;
use upshift_model::action::Action;
use upshift_model::balancer::{HaproxyOrder, HaproxyProbe, HaproxyState};
use upshift_model::probe::Probe;
use upshift_model::profile::{At, On, Otherwise, Slot, Strategy, Verb, Via};

use super::verbs::{Verbs, Way};
use crate::survey::Survey;
use crate::types::{PlanProof, Recipe};

/// The variable that names the runtime socket: of a load balancer, or of a server that speaks to it itself.
const SOCKET: &str = "haproxy_socket";
/// How long clients may take to leave where the fleet does not say (`haproxy_patience`).
const PATIENCE: Millis = Millis::seconds(30);

/// Where an HAProxy is reached.
#[derive(Clone, Copy)]
enum Reach<'a> {
    /// From its own host, which bears this name.
    Balancer(&'a str, Millis),
    /// From each server.
    Server(Millis),
}

/// A recipe, once for each load balancer of the fleet.
pub(super) fn on_each<'s>(survey: &'s Survey<'_>, recipe: &'s Recipe) -> impl Iterator<Item = Recipe> + 's {
    survey.balancers().map(|(name, _)| Recipe {
        balancer: Some(name.clone()),
        title: format!("{} at {name}", recipe.title),
        ..recipe.clone()
    })
}

/// Adds what takes a server out of every HAProxy, before anything of the profile's own.
pub(super) fn drain(verbs: &mut Verbs<'_, '_>, way: Way, recipes: &mut Vec<(On, Recipe)>) {
    let mut added = Vec::new();
    let steps: [fn(&Verbs<'_, '_>, Way, Reach<'_>) -> Recipe; 3] = [drained, left, in_maintenance];
    let found = reached(verbs);
    for recipe in steps {
        added.extend(found.iter().map(|reach| (On::Each, recipe(verbs, way, *reach))));
    }
    recipes.splice(0..0, added);
}

/// Adds what puts a server back into every HAProxy, after anything of the profile's own.
pub(super) fn undrain(verbs: &mut Verbs<'_, '_>, way: Way, recipes: &mut Vec<(On, Recipe)>) {
    let found = reached(verbs);
    recipes.extend(
        found
            .into_iter()
            .map(|reach| (On::Each, as_found(verbs, way, reach))),
    );
}

/// Adds to the gate that no HAProxy is left without a server that takes traffic: what the servers say of themselves does not show
/// that.
pub(super) fn gate(verbs: &mut Verbs<'_, '_>, way: Way, recipes: &mut Vec<(On, Recipe)>) {
    let found = reached(verbs);
    recipes.extend(found.into_iter().map(|reach| {
        let waiting = "is the last one that takes traffic";
        let recipe = Recipe {
            proof: vec![seen(reach, "size(value.leaves) == 0", waiting)],
            balancer: reach.balancer(),
            ..verbs.blank(way, Slot::Gate, reach.title("see that others take traffic"))
        };
        (On::Each, recipe)
    }));
}

/// Before anything is changed: every HAProxy answers, and knows the servers.
pub(super) fn look(verbs: &mut Verbs<'_, '_>) -> Vec<Recipe> {
    reached(verbs)
        .into_iter()
        .map(|reach| Recipe {
            proof: vec![seen(reach, "size(value.servers) > 0", "is not known")],
            balancer: reach.balancer(),
            within: verbs.within(Millis::seconds(10)),
            ..verbs.blank(Way::Forward, Slot::Protect, reach.title("look at the server"))
        })
        .collect()
}

impl Reach<'_> {
    fn balancer(&self) -> Option<String> {
        match self {
            Reach::Balancer(name, _) => Some((*name).to_owned()),
            Reach::Server(_) => None,
        }
    }

    fn patience(&self) -> Millis {
        match self {
            Reach::Balancer(_, patience) | Reach::Server(patience) => *patience,
        }
    }

    fn place(&self) -> &str {
        match self {
            Reach::Balancer(name, _) => name,
            Reach::Server(_) => "the load balancer",
        }
    }

    fn title(&self, what: &str) -> String {
        format!("{what} at {}", self.place())
    }

    fn socket(&self) -> String {
        match self {
            // Where Debian's package puts it.
            Reach::Balancer(..) => {
                "{{ balancer.haproxy_socket | default('/run/haproxy/admin.sock') }}".to_owned()
            }
            Reach::Server(_) => "{{ node.haproxy_socket }}".to_owned(),
        }
    }
}

/// Where the fleet has an HAProxy that the profile does not speak to itself.
fn reached<'a>(verbs: &mut Verbs<'a, '_>) -> Vec<Reach<'a>> {
    let speaks =
        |verb: &Verb| verb.via == Via::LoadBalancers || matches!(verb.action, Some(Action::Haproxy(_)));
    if verbs.leg.edge.strategy != Strategy::Rolling || verbs.own(Slot::Drain).into_iter().any(speaks) {
        return Vec::new();
    }
    let survey = verbs.survey;
    let balancers: Vec<Reach<'a>> = survey
        .balancers()
        .map(|(name, host)| Reach::Balancer(name, patience(host.variables.get("haproxy_patience"))))
        .collect();
    let asks = survey
        .servers
        .iter()
        .find(|server| server.host.variables.contains_key(SOCKET));
    match asks {
        Some(server) if balancers.is_empty() => {
            vec![Reach::Server(patience(
                server.host.variables.get("haproxy_patience"),
            ))]
        }
        _ => balancers,
    }
}

fn patience(said: Option<&serde_json::Value>) -> Millis {
    let said = said.and_then(|value| serde_json::from_value(value.clone()).ok());
    said.unwrap_or(PATIENCE)
}

const SERVERS: &str = "{{ node.haproxy_servers | default('*/' ~ node.name) }}";

fn order(reach: Reach<'_>, state: HaproxyState) -> Option<Action> {
    Some(Action::Haproxy(HaproxyOrder {
        socket: reach.socket(),
        servers: SERVERS.to_owned(),
        state,
        end_sessions: false,
    }))
}

fn seen(reach: Reach<'_>, expect: &str, waiting: &str) -> PlanProof {
    let probe = Probe::Haproxy(HaproxyProbe {
        socket: reach.socket(),
        servers: SERVERS.to_owned(),
    });
    let waiting = format!("{{{{ node.name }}}} {waiting} at {}", reach.place());
    let at = match reach {
        Reach::Balancer(..) => At::LoadBalancer,
        Reach::Server(_) => At::Node,
    };
    PlanProof {
        at,
        every: Millis(250),
        ..super::defaults::here("haproxy", probe, expect, waiting)
    }
}

fn drained(verbs: &Verbs<'_, '_>, way: Way, reach: Reach<'_>) -> Recipe {
    Recipe {
        action: order(reach, HaproxyState::Drain),
        proof: vec![seen(reach, "value.drained", "still gets new connections")],
        balancer: reach.balancer(),
        ..verbs.blank(way, Slot::Drain, reach.title("drain"))
    }
}

fn left(verbs: &Verbs<'_, '_>, way: Way, reach: Reach<'_>) -> Recipe {
    Recipe {
        proof: vec![seen(reach, "value.sessions == 0", "still has sessions")],
        within: verbs.within(reach.patience()),
        otherwise: Otherwise::GoOn,
        balancer: reach.balancer(),
        ..verbs.blank(
            way,
            Slot::Drain,
            reach.title("wait until the sessions have ended"),
        )
    }
}

/// Where the profile says so, the sessions that are left end here, while the server still serves.
fn in_maintenance(verbs: &Verbs<'_, '_>, way: Way, reach: Reach<'_>) -> Recipe {
    let mut action = order(reach, HaproxyState::Maintenance);
    let ends = verbs.survey.profile.load_balancers.end_sessions;
    let (title, proof) = match ends {
        true => (
            "put into maintenance, and end the sessions that are left,",
            seen(
                reach,
                "value.maintenance && value.sessions == 0",
                "is not in maintenance yet, or still has sessions",
            ),
        ),
        false => (
            "put into maintenance",
            seen(reach, "value.maintenance", "is not in maintenance yet"),
        ),
    };
    if let Some(Action::Haproxy(told)) = &mut action {
        told.end_sessions = ends;
    }
    Recipe {
        action,
        proof: vec![proof],
        balancer: reach.balancer(),
        ..verbs.blank(way, Slot::Drain, reach.title(title))
    }
}

fn as_found(verbs: &Verbs<'_, '_>, way: Way, reach: Reach<'_>) -> Recipe {
    Recipe {
        action: order(reach, HaproxyState::AsFound),
        proof: vec![seen(reach, "value.as_found", "is not as it was found")],
        balancer: reach.balancer(),
        ..verbs.blank(way, Slot::Undrain, reach.title("put back as it was found"))
    }
}
