//! Observes a fleet: everything that planning and checking start from.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use serde_json::{Map, Value, json};
use upshift_model::expr::{self, Scope};
use upshift_model::facts::{Facts, HostFacts, NodeFacts};
use upshift_model::fleet::{Fleet, Host};
use upshift_model::package::PackagePattern;
use upshift_model::probe::{Observation, Probe, ProbeFailure, ProcessProbe};
use upshift_model::profile::{FactExpression, Profile};
use upshift_model::template;
use upshift_wire::protocol::{Located, Request, Response};
use upshift_wire::session::{Session, SessionError};
use upshift_wire::transport::ConnectError;

use crate::hosts::Hosts;

/// How many hosts are observed at a time: each is a login first.
const AT_ONCE: usize = 64;
/// How long a host's answer may take that has no limit of its own, in seconds; the first one waits for the login and the agent, too.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Added to a probe's own limit for the way there and back.
const WAY: Duration = Duration::from_secs(15);

/// What was observed.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The facts, with an entry for every server; [`Facts::rolled_back`] is left to who knows the history
    /// ([`crate::rolled_back_versions`]).
    pub facts: Facts,
    /// Hosts that could not be reached, with what to do about each.
    pub unreachable: BTreeMap<String, ConnectError>,
}

/// Observes all servers of a product at once. A host that cannot be reached is recorded, no error. `seen` is told of every
/// host when it is done with.
pub async fn gather(
    hosts: &Hosts,
    fleet: &Fleet,
    profile: &Profile,
    seen: &(dyn Fn(&str, Result<(), &ConnectError>) + Send + Sync),
) -> Gathered {
    let group = profile.group.as_deref().unwrap_or(&profile.product);
    let servers = fleet
        .servers(group)
        .filter_map(|(name, host)| Some((name, host, hosts.get(name)?)));
    let observed = stream::iter(servers.map(|(name, host, session)| async move {
        let look = Look {
            profile,
            name,
            host,
            session,
        };
        let facts = look.at_host().await;
        seen(name, facts.as_ref().map(drop));
        (name.clone(), facts)
    }))
    .buffer_unordered(AT_ONCE)
    .collect::<Vec<_>>()
    .await;
    let mut gathered = Gathered::default();
    for (name, error) in balancers_unreachable(hosts, fleet, group).await {
        let reason = error.to_string();
        gathered.facts.unreachable_balancers.insert(name.clone(), reason);
        gathered.unreachable.insert(name, error);
    }
    for (name, facts) in observed {
        let facts = facts.unwrap_or_else(|error| {
            let facts = NodeFacts {
                unreachable: Some(error.to_string()),
                ..NodeFacts::default()
            };
            gathered.unreachable.insert(name.clone(), error);
            facts
        });
        gathered.facts.nodes.insert(name, facts);
    }
    gathered
}

/// The load balancers in front of the servers that cannot be reached.
async fn balancers_unreachable(hosts: &Hosts, fleet: &Fleet, group: &str) -> Vec<(String, ConnectError)> {
    let balancers = fleet.load_balancers(group);
    let sessions = balancers.filter_map(|(name, _)| Some((name, hosts.get(name)?)));
    stream::iter(sessions.map(|(name, session)| async move {
        let error = session.connected().await.err()?;
        Some((name.clone(), error))
    }))
    .buffer_unordered(AT_ONCE)
    .filter_map(std::future::ready)
    .collect()
    .await
}

/// Name of the probe of the product's process, which every profile has without saying so.
const PROCESS: &str = "process";

fn process_probe(profile: &Profile) -> Probe {
    Probe::Process(ProcessProbe {
        service: profile.service.clone(),
        version_arguments: profile.versions.arguments.clone(),
        version_pattern: profile.versions.pattern.clone(),
    })
}

/// One host under observation.
pub(crate) struct Look<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) name: &'a str,
    pub(crate) host: &'a Host,
    pub(crate) session: &'a Session,
}

impl Look<'_> {
    async fn at_host(&self) -> Result<NodeFacts, ConnectError> {
        let host = self.session.connected().await?.host;
        let mut names = self.names(&host);
        let (located, unlocated) = match self.locate(&names).await? {
            Ok(located) => (located, None),
            Err(reason) => (BTreeMap::new(), Some(reason)),
        };
        let places: BTreeMap<String, String> = located
            .iter()
            .map(|(name, located)| (name.clone(), located.value.clone()))
            .collect();
        names.insert("places".to_owned(), json!(places));
        let names = Value::Object(names);
        let (probes, config_digests) = tokio::join!(self.probes(&names), self.config_digests(&places));
        let version = self.text(&self.profile.versions.running, &probes, &names);
        let leader = self
            .profile
            .leader
            .as_ref()
            .is_some_and(|leader| self.holds(leader, &probes, &names));
        Ok(NodeFacts {
            unreachable: None,
            unlocated,
            variant: self.variant(&host, &places),
            version,
            place_sources: located
                .into_iter()
                .map(|(name, located)| (name, located.source))
                .collect(),
            places,
            leader,
            probes,
            config_digests,
            host,
        })
    }

    /// The names that templates and expressions may use before there is a plan.
    pub(crate) fn names(&self, host: &HostFacts) -> Map<String, Value> {
        let mut node: Map<String, Value> = self
            .host
            .variables
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        node.insert("name".to_owned(), json!(self.name));
        let mut names = Map::new();
        names.insert("node".to_owned(), Value::Object(node));
        names.insert("places".to_owned(), json!({}));
        names.insert("state_directory".to_owned(), json!(host.state_directory));
        names
    }

    pub(crate) async fn locate(
        &self,
        names: &Map<String, Value>,
    ) -> Result<Result<BTreeMap<String, Located>, String>, ConnectError> {
        let request = Request::Locate {
            places: self.profile.places.clone(),
            service: Box::new(self.profile.service.clone()),
            context: Value::Object(names.clone()),
        };
        match tokio::time::timeout(PATIENCE, self.session.call(request)).await {
            Ok(Ok(Response::Places(places))) => Ok(Ok(places)),
            Ok(Err(SessionError::Connect(error))) => Err(error),
            Ok(Ok(_)) => Ok(Err("the agent answered something else".to_owned())),
            Ok(Err(SessionError::Call(error))) => Ok(Err(error.to_string())),
            Err(_) => Ok(Err(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn probes(&self, names: &Value) -> BTreeMap<String, Value> {
        let process = process_probe(self.profile);
        let own = self
            .profile
            .probes
            .iter()
            .map(|(name, probe)| (name.as_str(), probe));
        let implied = (!self.profile.probes.contains_key(PROCESS)).then_some((PROCESS, &process));
        let observed = own.chain(implied).map(|(name, probe)| async move {
            // What cannot be filled in most often names the target of an upgrade, which there is none of yet.
            let observation = match template::render(probe, names) {
                Ok(probe) => observe(self.session, None, None, probe).await,
                Err(error) => Err(ProbeFailure::Failed(error.to_string())),
            };
            let value = observation.unwrap_or_else(|failure| json!({"error": failure.reason()}));
            (name.to_owned(), value)
        });
        join_all(observed).await.into_iter().collect()
    }

    async fn config_digests(&self, places: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let carried = self
            .profile
            .config
            .carry
            .iter()
            .filter_map(|name| Some((name, places.get(name)?)));
        let digests = carried.map(|(name, path)| async move {
            let value = observe(self.session, None, None, Probe::File(path.clone()))
                .await
                .ok()?;
            let digest = value.get("sha256").and_then(Value::as_str).unwrap_or("absent");
            Some((name.clone(), digest.to_owned()))
        });
        join_all(digests).await.into_iter().flatten().collect()
    }

    /// Named parts of the running release's package: what the fleet says of the host, then places of that name, then what the
    /// host is.
    fn variant(&self, host: &HostFacts, places: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut variant = BTreeMap::from([
            ("os".to_owned(), host.os.clone()),
            ("arch".to_owned(), host.arch.clone()),
        ]);
        let patterns: Vec<PackagePattern> = self
            .profile
            .packages
            .iter()
            .filter_map(|rule| PackagePattern::parse(&rule.pattern).ok())
            .collect();
        let is_part = |name: &str| name != "version" && patterns.iter().any(|pattern| pattern.has_part(name));
        for (name, place) in places.iter().filter(|(name, _)| is_part(name)) {
            variant.insert(name.clone(), place.clone());
        }
        for (name, value) in self.host.variables.iter().filter(|(name, _)| is_part(name)) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            variant.insert(name.clone(), text);
        }
        variant.retain(|_, value| !value.is_empty());
        variant
    }

    fn scope(&self, probe: &str, probes: &BTreeMap<String, Value>, names: &Value) -> Option<Scope> {
        let value = probes.get(probe)?;
        let mut scope = Scope::from_value(self.profile.versions.scheme, names.clone());
        scope.set("value", value.clone());
        Some(scope)
    }

    fn text(&self, of: &FactExpression, probes: &BTreeMap<String, Value>, names: &Value) -> Option<String> {
        let scope = self.scope(&of.probe, probes, names)?;
        match expr::value(&of.expression, &scope).ok()? {
            Value::String(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn holds(&self, of: &FactExpression, probes: &BTreeMap<String, Value>, names: &Value) -> bool {
        self.scope(&of.probe, probes, names)
            .is_some_and(|scope| expr::holds(&of.expression, &scope).unwrap_or(false))
    }
}

/// Asks servers for something, each for its own; a server that cannot be reached is an observation, too.
pub async fn ask_each<K: Copy + Ord>(
    hosts: &Hosts,
    questions: impl IntoIterator<Item = (K, String, Probe)>,
) -> BTreeMap<K, Observation> {
    let asked = questions.into_iter().map(|(key, name, probe)| async move {
        let observation = match hosts.get(&name) {
            Some(session) => observe(session, None, None, probe).await,
            None => Err(ProbeFailure::Unreachable(format!(
                "there is no connection to {name}"
            ))),
        };
        (key, observation)
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

/// Observes once, with a limit that fits the probe.
pub(crate) async fn observe(
    session: &Session,
    run: Option<String>,
    hop: Option<u32>,
    probe: Probe,
) -> Observation {
    let limit = patience(&probe);
    let call = session.call(Request::Observe {
        run,
        hop,
        probe: Box::new(probe),
    });
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(Response::Observation(observation))) => observation,
        Ok(Ok(_)) => Err(ProbeFailure::Failed(
            "the agent answered something else".to_owned(),
        )),
        Ok(Err(SessionError::Connect(error))) => Err(ProbeFailure::Unreachable(error.to_string())),
        Ok(Err(SessionError::Call(error @ upshift_wire::client::CallError::Disconnected { .. }))) => {
            Err(ProbeFailure::Unreachable(error.to_string()))
        }
        Ok(Err(SessionError::Call(error))) => Err(ProbeFailure::Failed(error.to_string())),
        Err(_) => Err(ProbeFailure::Unreachable(format!(
            "no answer within {} s",
            limit.as_secs()
        ))),
    }
}

fn patience(probe: &Probe) -> Duration {
    match probe {
        Probe::Command(command) => Duration::from_millis(command.timeout.0) + WAY,
        Probe::Http(http) => Duration::from_millis(http.timeout.0) + WAY,
        Probe::Connect(connect) => Duration::from_millis(connect.timeout.0) + WAY,
        _ => PATIENCE,
    }
}
