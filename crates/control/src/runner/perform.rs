//! Performs effects, each in a task of its own, and signals what came of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use upshift_model::action::{Action, Artifact, GuardStatus, Report};
use upshift_model::probe::Probe;
use upshift_plan::NodeIndex;
use upshift_run::{AskId, Direction, EventKind, Order, Outcome, State};
use upshift_store::Lease;
use upshift_wire::client::CallError;
use upshift_wire::protocol::{ExecuteOrder, GuardCall, Request, Response};
use upshift_wire::put::{PutError, put};
use upshift_wire::session::{LinkState, Session};

use super::Artifacts;
use crate::gather::observe;
use crate::hosts::Hosts;
use crate::known::Notes;

/// How long a guard may take to answer before the question counts as unanswered; the engine asks again.
const GUARD_PATIENCE: Duration = Duration::from_secs(20);
/// How many fresh logins may be under way at once.
const LOGINS: usize = 64;

/// What comes back.
pub(crate) enum Signal {
    /// News for the engine.
    Event(EventKind),
    /// How much of a file a host has; for people.
    Transfer {
        /// Name of the host.
        host: String,
        /// Bytes that it has.
        received: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// The connection to a host has come or gone; for people.
    Link {
        /// Name of the host.
        host: String,
        /// What is known.
        state: LinkState,
    },
}

type Signals = mpsc::UnboundedSender<Signal>;

/// Performs the effects of one run.
pub(crate) struct Performer {
    run: String,
    lease: Lease,
    /// By the plan's numbers.
    sessions: Vec<Arc<Session>>,
    /// Of load balancers, by name.
    balancers: BTreeMap<String, Arc<Session>>,
    artifacts: Arc<Artifacts>,
    notes: Arc<Notes>,
    signals: Signals,
    tasks: JoinSet<()>,
    /// The order that each host was given last. It makes those before it void: hosts refuse them.
    orders: BTreeMap<NodeIndex, AbortHandle>,
    /// Guards that are being disarmed.
    disarming: BTreeMap<NodeIndex, AbortHandle>,
    logins: Arc<Semaphore>,
}

impl Performer {
    pub(crate) fn new(
        state: &State,
        lease: &Lease,
        hosts: Hosts,
        artifacts: Artifacts,
        notes: Notes,
        signals: Signals,
    ) -> Self {
        let sessions: Vec<Arc<Session>> = state
            .plan()
            .nodes
            .iter()
            .filter_map(|node| hosts.get(&node.name).cloned())
            .collect();
        let names = state.plan().balancers.iter().map(|balancer| &balancer.name);
        let balancers: BTreeMap<String, Arc<Session>> = names
            .filter_map(|name| Some((name.clone(), Arc::clone(hosts.get(name)?))))
            .collect();
        let mut performer = Performer {
            run: state.run().to_owned(),
            lease: lease.clone(),
            sessions,
            balancers,
            artifacts: Arc::new(artifacts),
            notes: Arc::new(notes),
            signals,
            tasks: JoinSet::new(),
            orders: BTreeMap::new(),
            disarming: BTreeMap::new(),
            logins: Arc::new(Semaphore::new(LOGINS)),
        };
        let balancers: Vec<Arc<Session>> = performer.balancers.values().cloned().collect();
        for session in performer.sessions.clone().into_iter().chain(balancers) {
            performer.spawn(watch_link(session, performer.signals.clone()));
        }
        performer
    }

    /// Writes down on the hosts how the run ended.
    pub(crate) async fn note_end(&self, outcome: &Outcome) {
        let sessions = self.sessions.iter().chain(self.balancers.values());
        self.notes.end(outcome, sessions.map(Arc::as_ref)).await;
    }

    /// Ends everything that is under way. Hosts finish what they are doing.
    pub(crate) fn stop(&mut self) {
        self.tasks.abort_all();
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        // What has ended is dropped, so that the set holds no more than what is under way.
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(work)
    }

    /// The hosts of the plan are all known; see `Setup::know_hosts`.
    fn session(&self, node: NodeIndex) -> Option<Arc<Session>> {
        self.sessions.get(node.0 as usize).cloned()
    }

    /// Where something about a server is done: on a load balancer, where one is named.
    fn place(&self, node: NodeIndex, host: Option<&str>) -> Option<Arc<Session>> {
        match host {
            Some(name) => self.balancers.get(name).cloned(),
            None => self.session(node),
        }
    }

    pub(crate) fn order(&mut self, order: Order) {
        let Some(session) = self.place(order.node, order.host.as_deref()) else {
            return;
        };
        let node = order.node;
        let signals = self.signals.clone();
        let artifacts = Arc::clone(&self.artifacts);
        let notes = Arc::clone(&self.notes);
        let request = self.execute_order(&order);
        let task = self.spawn(async move {
            let report = match notes.tell(&session, order.direction).await {
                Ok(()) => match distribute(&session, &order.action, &artifacts, &signals).await {
                    Ok(()) => execute(&session, request).await,
                    Err(report) => report,
                },
                Err(report) => report,
            };
            let reported = EventKind::Reported {
                step: order.step,
                attempt: order.attempt,
                report,
            };
            signal(&signals, Signal::Event(reported));
        });
        if let Some(void) = self.orders.insert(node, task) {
            void.abort();
        }
    }

    fn execute_order(&self, order: &Order) -> ExecuteOrder {
        ExecuteOrder {
            run: self.run.clone(),
            step: order.step.0,
            attempt: order.attempt,
            token: order.token,
            sequence: order.sequence,
            fleet: self.lease.fleet.clone(),
            forward: order.direction == Direction::Forward,
            hop: order.hop,
            action: order.action.clone(),
        }
    }

    pub(crate) fn observe(
        &mut self,
        ask: AskId,
        node: NodeIndex,
        host: Option<&str>,
        hop: Option<u32>,
        probe: Probe,
    ) {
        let Some(session) = self.place(node, host) else {
            return;
        };
        let (signals, run) = (self.signals.clone(), self.run.clone());
        self.spawn(async move {
            let observation = observe(&session, Some(run), hop, probe).await;
            signal(
                &signals,
                Signal::Event(EventKind::Observed {
                    ask,
                    node,
                    observation,
                }),
            );
        });
    }

    pub(crate) fn renew(&mut self, node: NodeIndex, token: u64, hop: u32) {
        let Some(session) = self.session(node) else { return };
        let (signals, call) = (self.signals.clone(), self.guard_call(token, hop));
        self.spawn(async move {
            let answer = tokio::time::timeout(GUARD_PATIENCE, session.call(Request::Renew(call))).await;
            // No answer is no event: the engine knows when the guard would fire.
            let news = match answer {
                Ok(Ok(Response::Guard(status))) => EventKind::Guard { node, status },
                Ok(Ok(Response::Fenced { token })) => EventKind::Superseded { token },
                _ => return,
            };
            signal(&signals, Signal::Event(news));
        });
    }

    pub(crate) fn disarm(&mut self, node: NodeIndex, token: u64, hop: u32, sequence: u64) {
        let Some(session) = self.session(node) else { return };
        // Asked again before the last login came through: that one goes on.
        if self.disarming.get(&node).is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (signals, call, logins) = (
            self.signals.clone(),
            self.guard_call(token, hop),
            Arc::clone(&self.logins),
        );
        let task = self.spawn(async move {
            if let Some(status) = disarm_over_fresh_connection(&session, call, sequence, &logins).await {
                signal(&signals, Signal::Event(EventKind::Guard { node, status }));
            }
        });
        self.disarming.insert(node, task);
    }

    fn guard_call(&self, token: u64, hop: u32) -> GuardCall {
        GuardCall {
            run: self.run.clone(),
            hop,
            fleet: self.lease.fleet.clone(),
            token,
        }
    }
}

fn signal(signals: &Signals, signal: Signal) {
    // Nobody listens once the run has ended.
    let _ended = signals.send(signal);
}

async fn watch_link(session: Arc<Session>, signals: Signals) {
    let mut states = session.watch();
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        signal(
            &signals,
            Signal::Link {
                host: session.host().to_owned(),
                state,
            },
        );
    }
}

/// Gives an order, and waits for its report for as long as it takes. The engine knows the step's deadline.
async fn execute(session: &Session, order: ExecuteOrder) -> Report {
    match session
        .call_until_answered(Request::Execute(Box::new(order)))
        .await
    {
        Ok(Response::Report(report)) => report,
        Ok(_) => Report::Failed {
            reason: "the agent answered something else".to_owned(),
        },
        Err(CallError::Refused(reason)) => Report::Transient { reason },
        Err(error) => Report::Failed {
            reason: error.to_string(),
        },
    }
}

/// Where the order is to have a file on the host: sends it there first.
async fn distribute(
    session: &Session,
    action: &Action,
    artifacts: &Artifacts,
    signals: &Signals,
) -> Result<(), Report> {
    let Action::Distribute(artifact) = action else {
        return Ok(());
    };
    let Some(path) = artifacts.path(artifact) else {
        let reason = format!(
            "the package {} is not at hand; give it with --packages",
            artifact.file_name
        );
        return Err(Report::Failed { reason });
    };
    let progress = |received| told(signals, session, artifact, received);
    match put(session, artifact, path, &progress).await {
        Ok(_) => Ok(()),
        Err(error @ PutError::Call(_)) => Err(Report::Transient {
            reason: error.to_string(),
        }),
        Err(error) => Err(Report::Failed {
            reason: error.to_string(),
        }),
    }
}

fn told(signals: &Signals, session: &Session, artifact: &Artifact, received: u64) {
    let host = session.host().to_owned();
    signal(
        signals,
        Signal::Transfer {
            host,
            received,
            size: artifact.size,
        },
    );
}

/// The login of its own is the proof that the host can still be reached.
async fn disarm_over_fresh_connection(
    session: &Session,
    call: GuardCall,
    sequence: u64,
    logins: &Semaphore,
) -> Option<GuardStatus> {
    // The semaphore is never closed.
    let _login = logins.acquire().await.ok()?;
    let connected = session.fresh().await.ok()?;
    tokio::time::timeout(GUARD_PATIENCE, connected.agent.disarm(call, sequence))
        .await
        .ok()?
        .ok()
}
