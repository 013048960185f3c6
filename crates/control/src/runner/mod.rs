//! Carries a run: event → engine → journal → effects.
//!
//! Nothing is done that the journal does not know of: what follows from an event is performed only once the event is in the
//! journal, and on disk where anything but a look follows. So a controller may be killed at any instruction, and its machine
//! may lose power; the next one replays the journal and goes on.

mod begin;
mod perform;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use upshift_model::Millis;
use upshift_model::action::Artifact;
use upshift_run::{Decision, Effect, Event, EventKind, OperatorCommand, Outcome, State, step};
use upshift_store::{HEARTBEAT_EVERY, Lasting, Lease, Store, StoreError};

use crate::clock::RunClock;
use crate::hosts::Hosts;
use crate::progress::Progress;
use perform::{Performer, Signal};

/// How often it is looked whether an operator said something.
const INBOX_EVERY: Duration = Duration::from_millis(300);
/// How often progress is shown while nothing happens, and how often at most in large fleets.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// Fleets up to this size are shown after every event.
const SMALL_FLEET: usize = 64;
/// The most events that share one write of the journal.
const BATCH: usize = 512;

/// Why a run could not be carried on. The run itself is as its journal has it, and can be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store failed, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plan names a host that the fleet does not have any more.
    #[error(
        "the plan names the host `{0}`, which the fleet does not have; give the fleet that the plan was made for"
    )]
    UnknownHost(String),
}

/// How the carrying of a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The run has ended, or rests until an operator speaks.
    Rested(Outcome),
    /// It was left where it is, on request ([`Handle::leave`]). Guards that stand take their hosts back unless it is
    /// taken up again in time.
    Left,
}

/// Where the packages of a plan lie on this machine, by digest.
#[derive(Clone, Debug, Default)]
pub struct Artifacts {
    paths: BTreeMap<String, PathBuf>,
}

impl Artifacts {
    /// No packages.
    pub fn new() -> Self {
        Artifacts::default()
    }

    /// Adds the file that is an artifact.
    pub fn add(&mut self, artifact: &Artifact, path: impl Into<PathBuf>) -> &mut Self {
        self.paths.insert(artifact.sha256.clone(), path.into());
        self
    }

    /// The file of an artifact.
    pub fn path(&self, artifact: &Artifact) -> Option<&Path> {
        self.paths.get(&artifact.sha256).map(PathBuf::as_path)
    }
}

/// What a run is carried with.
pub struct Setup<'a> {
    /// Where its journal is.
    pub store: &'a Store,
    /// The lease on its fleet, which stays with the runner until [`Runner::drive`] returns.
    pub lease: Lease,
    /// The way to its hosts.
    pub hosts: Hosts,
    /// Where its packages lie.
    pub artifacts: Artifacts,
    /// Who carries it, for people: `ann@desk`.
    pub who: String,
}

/// Speaks to a run that this process carries. Clones speak to the same run.
///
/// For Ctrl-C: first [`Handle::say`] with [`OperatorCommand::Pause`], which stops at the next safe point, never inside a
/// window; when asked again, [`Handle::leave`], which stops at once as a crash would: nothing is lost, what hosts are
/// doing they finish, and `resume` goes on.
#[derive(Clone)]
pub struct Handle {
    spoken: mpsc::UnboundedSender<OperatorCommand>,
    leaving: Arc<Notify>,
}

impl Handle {
    /// Says something to the run. Without effect once it has ended.
    pub fn say(&self, command: OperatorCommand) {
        // Nobody listens once the run has ended.
        let _ended = self.spoken.send(command);
    }

    /// Stops carrying the run at once, wherever it is.
    pub fn leave(&self) {
        self.leaving.notify_one();
    }
}

/// Carries one run.
pub struct Runner<'a> {
    store: &'a Store,
    lease: Lease,
    who: String,
    state: Current,
    clock: RunClock,
    performer: Performer,
    signals: mpsc::UnboundedReceiver<Signal>,
    spoken: mpsc::UnboundedReceiver<OperatorCommand>,
    handle: Handle,
    wake: Option<Millis>,
    shown: Option<Instant>,
}

/// The state of the run; it is never copied, because that of a large fleet is large.
struct Current(Option<State>);

impl Current {
    fn take_in(&mut self, event: Event) -> Vec<Effect> {
        let Some(state) = self.0.take() else {
            return Vec::new();
        };
        let (state, effects) = step(state, event);
        self.0 = Some(state);
        effects
    }
}

impl std::ops::Deref for Current {
    type Target = State;

    fn deref(&self) -> &State {
        // It is away only while the engine, which does not return without it, has it.
        self.0
            .as_ref()
            .unwrap_or_else(|| unreachable!("the engine always returns the state"))
    }
}

/// What the loop woke up for.
enum Turn {
    Signals(Vec<Signal>),
    Spoken(OperatorCommand),
    Woke,
    Inbox,
    Heartbeat,
    Show,
    Leave,
}

impl Runner<'_> {
    /// Speaks to this run while it is carried.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The state as of the last event.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Carries the run until it ends, rests, is left or taken over. Gives the lease back.
    ///
    /// # Errors
    /// Where the store fails: then the run is left as a crash would leave it.
    pub async fn drive(mut self, progress: &mut dyn Progress) -> Result<Ended, ControlError> {
        let ended = match self.loop_until_end(progress).await {
            // Whoever has taken the fleet over carries the run on.
            Err(ControlError::Store(StoreError::Superseded { token, .. })) => {
                Ok(Ended::Rested(Outcome::Superseded { token }))
            }
            ended => ended,
        };
        if let Ok(Ended::Rested(outcome)) = &ended {
            self.performer.note_end(outcome).await;
        }
        self.performer.stop();
        let released = self.store.release(&self.lease);
        let ended = ended?;
        released?;
        progress.ended(&ended, &self.state);
        Ok(ended)
    }

    async fn loop_until_end(&mut self, progress: &mut dyn Progress) -> Result<Ended, ControlError> {
        let started = EventKind::Started {
            controller: self.who.clone(),
            token: self.lease.token,
        };
        let mut inbox = every(INBOX_EVERY);
        let mut heartbeat = every(HEARTBEAT_EVERY);
        let mut show = every(SHOW_EVERY);
        self.take_in(vec![started], progress)?;
        // What was said while nobody carried the run may move one that rests.
        let mut ended = self.hear(progress)?;
        while ended.is_none() {
            ended = match self.next_turn(&mut inbox, &mut heartbeat, &mut show).await {
                Turn::Signals(signals) => self.obey(signals, progress)?,
                Turn::Woke => {
                    self.wake = None;
                    self.take_in(vec![EventKind::Woke], progress)?
                }
                Turn::Spoken(command) => {
                    self.store.say(self.state.run(), &self.who, &command)?;
                    self.hear(progress)?
                }
                Turn::Inbox => self.hear(progress)?,
                Turn::Heartbeat => {
                    self.store.heartbeat(&self.lease)?;
                    None
                }
                Turn::Show => {
                    progress.tick(self.clock.now());
                    self.show(progress, false);
                    None
                }
                Turn::Leave => return Ok(Ended::Left),
            };
        }
        self.show(progress, true);
        let Some(outcome) = ended else {
            return Ok(Ended::Left);
        };
        self.store
            .set_outcome(&self.lease, self.state.run(), Some(&outcome))?;
        Ok(Ended::Rested(outcome))
    }

    async fn next_turn(
        &mut self,
        inbox: &mut Interval,
        heartbeat: &mut Interval,
        show: &mut Interval,
    ) -> Turn {
        let wake = self.wake.map(|at| self.clock.instant(at));
        let woken = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let mut signals = Vec::new();
        tokio::select! {
            biased;
            () = self.handle.leaving.notified() => Turn::Leave,
            _ = heartbeat.tick() => Turn::Heartbeat,
            Some(command) = self.spoken.recv() => Turn::Spoken(command),
            _ = self.signals.recv_many(&mut signals, BATCH) => Turn::Signals(signals),
            () = woken => Turn::Woke,
            _ = inbox.tick() => Turn::Inbox,
            _ = show.tick() => Turn::Show,
        }
    }

    /// Tells what only people want to know, and takes in what is news for the engine.
    fn obey(
        &mut self,
        signals: Vec<Signal>,
        progress: &mut dyn Progress,
    ) -> Result<Option<Outcome>, ControlError> {
        let mut news = Vec::with_capacity(signals.len());
        for signal in signals {
            match signal {
                Signal::Event(kind) => news.push(kind),
                Signal::Transfer { host, received, size } => progress.transfer(&host, received, size),
                Signal::Link { host, state } => progress.link(&host, &state),
            }
        }
        self.take_in(news, progress)
    }

    /// What operators said becomes events in the same moment as it leaves the inbox.
    fn hear(&mut self, progress: &mut dyn Progress) -> Result<Option<Outcome>, ControlError> {
        let events = self
            .store
            .take_commands(&self.lease, self.state.run(), self.now())?;
        let effects = self.consider(&events);
        let decisions = self.follow(&events, effects, progress);
        self.settle(decisions, progress)
    }

    /// Takes news in. Yields how the run ended, if it did.
    fn take_in(
        &mut self,
        news: Vec<EventKind>,
        progress: &mut dyn Progress,
    ) -> Result<Option<Outcome>, ControlError> {
        let decisions = self.record(news, progress)?;
        self.settle(decisions, progress)
    }

    /// Records decisions, and those that follow from them, until there are none.
    fn settle(
        &mut self,
        decisions: VecDeque<Decision>,
        progress: &mut dyn Progress,
    ) -> Result<Option<Outcome>, ControlError> {
        let mut decisions = decisions;
        while let Some(decision) = decisions.pop_front() {
            decisions.extend(self.record(vec![EventKind::Decided(decision)], progress)?);
        }
        self.show(progress, self.state.plan().nodes.len() <= SMALL_FLEET);
        Ok(self.state.outcome().cloned())
    }

    /// Lets the engine see news, appends them to the journal, and performs what follows from them.
    fn record(
        &mut self,
        news: Vec<EventKind>,
        progress: &mut dyn Progress,
    ) -> Result<VecDeque<Decision>, ControlError> {
        let at = self.now();
        let events: Vec<Event> = news.into_iter().map(|kind| Event { at, kind }).collect();
        let effects = self.consider(&events);
        let lasting = if effects.iter().all(Effect::changes_nothing) {
            Lasting::UntilTheMachineDies
        } else {
            Lasting::Always
        };
        // Where this fails nothing has followed, and the state, which is ahead of the journal then, is given up.
        self.store
            .append(&self.lease, self.state.run(), &events, lasting)?;
        Ok(self.follow(&events, effects, progress))
    }

    /// What follows from events. Nothing of it is done before the journal has them.
    fn consider(&mut self, events: &[Event]) -> Vec<Effect> {
        let mut all = Vec::new();
        for event in events {
            let effects = self.state.take_in(event.clone());
            // Every event says anew when the engine wants to be woken.
            all.retain(|effect| !matches!(effect, Effect::Wake { .. }));
            all.extend(effects);
        }
        all
    }

    /// Performs what follows from events that the journal has. Yields the decisions to be recorded next.
    fn follow(
        &mut self,
        events: &[Event],
        effects: Vec<Effect>,
        progress: &mut dyn Progress,
    ) -> VecDeque<Decision> {
        let mut decisions = VecDeque::new();
        if !events.is_empty() {
            self.wake = None;
        }
        for effect in effects {
            match effect {
                Effect::Order(order) => self.performer.order(*order),
                Effect::Observe {
                    ask,
                    node,
                    host,
                    hop,
                    probe,
                } => self.performer.observe(ask, node, host.as_deref(), hop, *probe),
                Effect::Renew { node, token, hop } => self.performer.renew(node, token, hop),
                Effect::Disarm {
                    node,
                    token,
                    hop,
                    sequence,
                } => self.performer.disarm(node, token, hop, sequence),
                Effect::Wake { at } => self.wake = Some(at),
                Effect::Record(decision) => decisions.push_back(decision),
                // It shows in the state.
                Effect::Rest(_) => {}
            }
        }
        for event in events {
            progress.event(event);
        }
        decisions
    }

    /// The time of the run, no earlier than the engine has seen already.
    fn now(&self) -> Millis {
        self.clock.now().max(self.state.now())
    }

    /// Shows the run as it is; not too often unless `at_once`.
    fn show(&mut self, progress: &mut dyn Progress, at_once: bool) {
        let now = Instant::now();
        if at_once || self.shown.is_none_or(|last| now - last >= SHOW_EVERY) {
            self.shown = Some(now);
            progress.view(&self.state.view(), &self.state);
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
