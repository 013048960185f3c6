//! Ending a run whose journal is somewhere else, or lost, from what its hosts know. What is done is decided in
//! [`upshift_plan::takeover`].

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use upshift_model::action::GuardStatus;
use upshift_model::fleet::Fleet;
use upshift_model::profile::Profile;
use upshift_model::runs::{RunNote, RunState};
use upshift_plan::takeover::{self, Course, Verdict, Versions};
use upshift_wire::protocol::{GuardCall, Request, Response};

use crate::gather::gather;
use crate::hosts::Hosts;
use crate::known::{KnownRuns, known_runs};

/// How long a host may take to say what it knows.
const ANSWER: Duration = Duration::from_secs(30);
/// Time between two questions for the guards.
const EVERY: Duration = Duration::from_millis(500);
/// How long the guards may take in all without one of them coming to its end.
const STILL: Duration = Duration::from_secs(600);

/// Which run is ended, by whom.
pub struct Take<'a> {
    /// The run.
    pub run: &'a str,
    /// The name of its fleet, as its own controller has it: the scope of tokens.
    pub fleet_name: &'a str,
    /// A fencing token that is younger than that of any controller before.
    pub token: u64,
    /// Who does it, for people.
    pub who: &'a str,
    /// Now, milliseconds since 1970.
    pub now_ms: u64,
    /// Its hosts.
    pub hosts: &'a Hosts,
    /// The fleet, for what is observed.
    pub fleet: &'a Fleet,
    /// The product, for what is observed.
    pub profile: &'a Profile,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenOver {
    /// Every server was observed to run one version, and no guard stands.
    Proven {
        /// The version.
        version: String,
        /// Whether it differs from the version before the run.
        changed: bool,
        /// The hosts that could not write this down, with the reasons.
        unwritten: BTreeMap<String, String>,
    },
    /// An operator must decide.
    Held {
        /// Why.
        reason: String,
    },
}

/// Fences every other controller, lets the guards bring the servers back or disarms those that stand after the decision to
/// stay, and observes every server. `say` is told what happens.
pub async fn take_over(take: &Take<'_>, say: &dyn Fn(&str)) -> TakenOver {
    let held = |reason: String| TakenOver::Held { reason };
    if let Err(reason) = take.fence().await {
        return held(reason);
    }
    // Read only now: the other controller may have gone on until it was fenced.
    let mut known = known_runs(take.hosts, ANSWER).await;
    if let Some((host, reason)) = known.silent.first_key_value() {
        return held(format!("{host} cannot be asked any more: {reason}"));
    }
    let versions = take.versions().await;
    match takeover::course(take.run, &known.hosts, &versions) {
        Course::Observe => {}
        Course::RollBack { hop, hosts } => {
            say(&format!("the guards bring {} back", hosts.join(", ")));
            if let Err(reason) = take.roll_back(hop, &hosts).await {
                return held(reason);
            }
            known = match take.await_guards(hop, say).await {
                Ok(known) => known,
                Err(reason) => return held(reason),
            };
            if let Some((host, reason)) = takeover::failures(take.run, hop, &known.hosts).first() {
                return held(format!("the guard of {host} could not bring it back: {reason}"));
            }
        }
        Course::Stay { hop, hosts } => {
            if !hosts.is_empty() {
                say(&format!(
                    "the new version stays; the guards of {} are disarmed",
                    hosts.join(", ")
                ));
            }
            if let Err(reason) = take.disarm(hop, &hosts).await {
                return held(reason);
            }
        }
    }
    let versions = take.versions().await;
    match takeover::verdict(take.run, &known.hosts, &versions) {
        Verdict::Mixed { versions } => held(format!("the servers do not all run one version: {versions}")),
        Verdict::All { version, changed } => {
            let unwritten = take.close(&version, changed).await;
            TakenOver::Proven {
                version,
                changed,
                unwritten,
            }
        }
    }
}

impl Take<'_> {
    async fn versions(&self) -> Versions {
        let gathered = gather(self.hosts, self.fleet, self.profile, &|_, _| {}).await;
        let nodes = gathered.facts.nodes.into_iter();
        nodes.map(|(host, facts)| (host, facts.version)).collect()
    }

    fn call(&self, hop: u32) -> GuardCall {
        GuardCall {
            run: self.run.to_owned(),
            hop,
            fleet: self.fleet_name.to_owned(),
            token: self.token,
        }
    }

    /// Asks one thing of each of these hosts at once, all of which must take it.
    async fn ask(&self, hosts: impl Iterator<Item = &String>, request: &Request) -> Result<(), String> {
        let asked = hosts.map(|host| async move {
            let session = self.hosts.get(host).ok_or_else(|| unknown(host))?;
            match tokio::time::timeout(ANSWER, session.call(request.clone())).await {
                Ok(Ok(Response::Guard(_) | Response::Noted)) => Ok(()),
                Ok(Ok(Response::Fenced { token })) => Err(fenced(token)),
                Ok(Ok(_)) => Err(format!("{host}: the agent answered something else")),
                Ok(Err(error)) => Err(format!("{host}: {error}")),
                Err(_) => Err(format!("{host}: no answer within {} s", ANSWER.as_secs())),
            }
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn fence(&self) -> Result<(), String> {
        let request = Request::Fence {
            fleet: self.fleet_name.to_owned(),
            token: self.token,
        };
        self.ask(self.hosts.iter().map(|(host, _)| host), &request).await
    }

    async fn roll_back(&self, hop: u32, hosts: &[String]) -> Result<(), String> {
        self.ask(hosts.iter(), &Request::RollBack(self.call(hop))).await
    }

    /// Waits until no guard of the hop is at work any more.
    async fn await_guards(&self, hop: u32, say: &dyn Fn(&str)) -> Result<KnownRuns, String> {
        let mut left: Option<Vec<String>> = None;
        let mut since = Instant::now();
        loop {
            let known = known_runs(self.hosts, ANSWER).await;
            let working = takeover::under_way(self.run, hop, &known.hosts);
            let silent: Vec<&String> = known.silent.keys().collect();
            if working.is_empty() && silent.is_empty() {
                return Ok(known);
            }
            let mut now = working.clone();
            now.extend(silent.into_iter().cloned());
            if left.as_ref() != Some(&now) {
                say(&format!("waiting for the guards of {}", now.join(", ")));
                left = Some(now.clone());
                since = Instant::now();
            }
            if since.elapsed() > STILL {
                return Err(format!(
                    "the guards of {} have not come to an end within {} s",
                    now.join(", "),
                    STILL.as_secs()
                ));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Over a fresh connection, as every disarming is.
    async fn disarm(&self, hop: u32, hosts: &[String]) -> Result<(), String> {
        let asked = hosts.iter().map(|host| async move {
            let session = self.hosts.get(host).ok_or_else(|| unknown(host))?;
            let connected = session
                .fresh()
                .await
                .map_err(|error| format!("{host}: {error}"))?;
            let disarm = connected.agent.disarm(self.call(hop), 0);
            match tokio::time::timeout(ANSWER, disarm).await {
                Ok(Ok(GuardStatus::Armed { .. } | GuardStatus::Firing)) => {
                    Err(format!("{host}: its guard could not be disarmed"))
                }
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("{host}: {error}")),
                Err(_) => Err(format!("{host}: no answer within {} s", ANSWER.as_secs())),
            }
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Writes down on every host that the run has ended. Yields those that could not.
    async fn close(&self, version: &str, changed: bool) -> BTreeMap<String, String> {
        let note = RunNote {
            run: self.run.to_owned(),
            fleet: self.fleet_name.to_owned(),
            product: self.profile.product.clone(),
            token: self.token,
            by: self.who.to_owned(),
            began_ms: self.now_ms,
            hops: Vec::new(),
            state: RunState::Closed {
                outcome: format!("every server runs {version}"),
                by: self.who.to_owned(),
                at_ms: self.now_ms,
                changed,
            },
        };
        let told = self.hosts.iter().map(|(host, session)| {
            let request = Request::Note(Box::new(note.clone()));
            async move {
                match tokio::time::timeout(ANSWER, session.call(request)).await {
                    Ok(Ok(Response::Noted)) => None,
                    Ok(Ok(_)) => Some((host.clone(), "another controller came in between".to_owned())),
                    Ok(Err(error)) => Some((host.clone(), error.to_string())),
                    Err(_) => Some((host.clone(), "no answer".to_owned())),
                }
            }
        });
        join_all(told).await.into_iter().flatten().collect()
    }
}

fn unknown(host: &str) -> String {
    format!("{host} is not in the fleet file")
}

fn fenced(token: u64) -> String {
    format!("another controller has taken the fleet over meanwhile (token {token})")
}
