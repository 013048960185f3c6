//! What hosts know of runs: asked of all at once, and written down on those that a run changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use upshift_model::action::Report;
use upshift_model::runs::{HostRuns, RunNote, RunState};
use upshift_plan::Plan;
use upshift_run::{Direction, Outcome, State};
use upshift_wire::client::CallError;
use upshift_wire::protocol::{Request, Response};
use upshift_wire::session::{LinkState, Session};

use crate::hosts::Hosts;

/// How many hosts are asked at a time: each may be a login first.
const AT_ONCE: usize = 64;
/// How long a host may take to write down that a run has ended. Where it does not, the controller's journal still says so.
const ENDING: Duration = Duration::from_secs(5);

/// What the hosts of a fleet know of runs.
#[derive(Clone, Debug, Default)]
pub struct KnownRuns {
    /// What each host that answered knows.
    pub hosts: BTreeMap<String, HostRuns>,
    /// Hosts that could not be asked, with the reason.
    pub silent: BTreeMap<String, String>,
}

impl KnownRuns {
    /// The newest fencing token that any host has seen, of any fleet.
    pub fn newest_token(&self) -> u64 {
        let tokens = self.hosts.values().flat_map(|known| known.tokens.values());
        tokens.max().copied().unwrap_or(0)
    }
}

/// Asks all hosts what they know of runs, for at most so long.
pub async fn known_runs(hosts: &Hosts, patience: Duration) -> KnownRuns {
    let asked = hosts.iter().map(|(name, session)| async move {
        let answer = match tokio::time::timeout(patience, session.call(Request::Runs)).await {
            Ok(Ok(Response::Runs(runs))) => Ok(runs),
            Ok(Ok(_)) => Err("the agent answered something else".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
        };
        (name.clone(), answer)
    });
    let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let mut known = KnownRuns::default();
    for (host, answer) in answers {
        match answer {
            Ok(runs) => drop(known.hosts.insert(host, runs)),
            Err(reason) => drop(known.silent.insert(host, reason)),
        }
    }
    known
}

/// What a run writes down on its hosts.
pub(crate) struct Notes {
    note: RunNote,
    noted: Mutex<BTreeSet<String>>,
}

impl Notes {
    /// What is to be written down of a run.
    pub(crate) fn of(state: &State, fleet: &str, token: u64, by: &str, began_ms: u64) -> Self {
        Notes {
            note: RunNote {
                run: state.run().to_owned(),
                fleet: fleet.to_owned(),
                product: state.plan().product.clone(),
                token,
                by: by.to_owned(),
                began_ms,
                hops: hops(state.plan()),
                state: RunState::Open,
            },
            noted: Mutex::default(),
        }
    }

    /// Writes the run down on a host before its first order there. Where that fails, a rollback goes on all the same: the
    /// host refuses orders of a run that was closed by itself.
    pub(crate) async fn tell(&self, session: &Session, direction: Direction) -> Result<(), Report> {
        if self.lock().contains(session.host()) {
            return Ok(());
        }
        let request = Request::Note(Box::new(self.note.clone()));
        match session.call_until_answered(request).await {
            Ok(Response::Noted) => {
                self.lock().insert(session.host().to_owned());
                Ok(())
            }
            Ok(Response::Fenced { token }) => Err(Report::Fenced { token }),
            Err(CallError::Refused(_)) if direction == Direction::Back => Ok(()),
            Err(CallError::Refused(reason)) => Err(Report::Transient { reason }),
            Ok(_) | Err(_) => Err(Report::Transient {
                reason: "the agent does not write down which run this is".to_owned(),
            }),
        }
    }

    /// Writes down how the run ended, or that it is held, on the hosts that can be reached.
    pub(crate) async fn end(&self, outcome: &Outcome, sessions: impl Iterator<Item = &Session>) {
        let Some(state) = ending(outcome, &self.note.hops) else {
            return;
        };
        let note = RunNote {
            state,
            ..self.note.clone()
        };
        let reached = sessions.filter(|session| *session.watch().borrow() == LinkState::Connected);
        let told = reached.map(|session| {
            let request = Request::Note(Box::new(note.clone()));
            // Best effort: see `ENDING`.
            async move { drop(tokio::time::timeout(ENDING, session.call(request)).await) }
        });
        stream::iter(told)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hops(plan: &Plan) -> Vec<(String, String)> {
    plan.hops
        .iter()
        .map(|hop| (hop.from.clone(), hop.to.clone()))
        .collect()
}

/// What an outcome means for whoever reads it on a host.
fn ending(outcome: &Outcome, hops: &[(String, String)]) -> Option<RunState> {
    let ended = |outcome: String, changed| Some(RunState::Ended { outcome, changed });
    match outcome {
        Outcome::Upgraded => ended("upgraded".to_owned(), !hops.is_empty()),
        Outcome::Finalized => ended("finalized".to_owned(), !hops.is_empty()),
        Outcome::EndedAsIs { .. } => ended("ended as it was".to_owned(), true),
        Outcome::Prepared => ended("prepared".to_owned(), false),
        Outcome::Refused { .. } => ended("refused".to_owned(), false),
        Outcome::RolledBack { to, .. } => {
            let changed = hops.first().is_some_and(|(from, _)| from != to);
            ended(format!("rolled back to {to}"), changed)
        }
        Outcome::Held { reason, .. } => Some(RunState::Held {
            reason: reason.clone(),
        }),
        Outcome::Superseded { .. } | Outcome::EndedElsewhere { .. } => None,
    }
}
