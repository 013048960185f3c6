//! A connection that comes back: requests go on where they were when it is lost.
//!
//! Every request of the protocol may be asked again: an order is told apart by run, step and attempt and is done at
//! most once, a probe changes nothing, a file goes on where it ended. So a lost connection is no event for who asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::client::CallError;
use crate::protocol::{Request, Response};
use crate::transport::{Connect, ConnectError, Connected, Freshness};

/// Wait after the first failed attempt to connect; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest wait between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses that grow, for what is tried again and again.
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Pause(FIRST_PAUSE)
    }
}

impl Pause {
    /// Waits; twice as long the next time.
    pub(crate) async fn take(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The host could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The host could be reached, and the request failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What is known of the connection to a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Nobody has tried yet.
    #[default]
    Idle,
    /// It stands.
    Connected,
    /// The last attempt failed.
    Failing(ConnectError),
}

/// The way to one host, for the length of a run. All requests share one connection, which is made when it is needed.
pub struct Session {
    connector: Arc<dyn Connect>,
    link: Mutex<Link>,
    state: watch::Sender<LinkState>,
}

#[derive(Default)]
struct Link {
    connected: Option<Connected>,
    failure: Option<Failure>,
}

/// Failed attempts in a row.
struct Failure {
    error: ConnectError,
    when: Instant,
    pause: Duration,
}

impl Session {
    /// A session that has not connected yet.
    pub fn new(connector: Arc<dyn Connect>) -> Self {
        Session {
            connector,
            link: Mutex::default(),
            state: watch::Sender::default(),
        }
    }

    /// Name of the host in the fleet.
    pub fn host(&self) -> &str {
        self.connector.host()
    }

    /// What is known of the connection, now and later.
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// The connection that stands, or a new one. Who asks while another attempt is under way shares its outcome; after a
    /// failure the next attempt waits a little, longer each time.
    pub async fn connected(&self) -> Result<Connected, ConnectError> {
        let under_way = self.link.try_lock().is_err();
        let mut link = self.link.lock().await;
        if let Some(connected) = link
            .connected
            .as_ref()
            .filter(|connected| connected.agent.is_connected())
        {
            return Ok(connected.clone());
        }
        link.connected = None;
        if let Some(failure) = &link.failure {
            if under_way {
                return Err(failure.error.clone());
            }
            tokio::time::sleep_until(failure.when + failure.pause).await;
        }
        match self.connector.connect(Freshness::Any).await {
            Ok(connected) => {
                link.connected = Some(connected.clone());
                link.failure = None;
                self.state.send_replace(LinkState::Connected);
                Ok(connected)
            }
            Err(error) => {
                let pause = link
                    .failure
                    .as_ref()
                    .map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
                link.failure = Some(Failure {
                    error: error.clone(),
                    when: Instant::now(),
                    pause,
                });
                self.state.send_replace(LinkState::Failing(error.clone()));
                Err(error)
            }
        }
    }

    /// Another connection, which shares nothing with the one that stands.
    pub async fn fresh(&self) -> Result<Connected, ConnectError> {
        self.connector.connect(Freshness::Fresh).await
    }

    /// Asks, over a new connection where the old one is lost meanwhile. Fails when the host cannot be reached.
    pub async fn call(&self, request: Request) -> Result<Response, SessionError> {
        let connected = self.connected().await?;
        match connected.agent.call(request.clone()).await {
            Err(CallError::Disconnected { .. }) => Ok(self.connected().await?.agent.call(request).await?),
            answer => Ok(answer?),
        }
    }

    /// Asks until there is an answer, however long the host cannot be reached. Who waits for the answer decides when to
    /// give up.
    pub async fn call_until_answered(&self, request: Request) -> Result<Response, CallError> {
        let mut pause = Pause::default();
        loop {
            match self.call(request.clone()).await {
                Ok(response) => return Ok(response),
                // The next attempt to connect waits by itself.
                Err(SessionError::Connect(_)) => (),
                // Logins work, and yet there is no answer: an agent that dies of the request, say.
                Err(SessionError::Call(CallError::Disconnected { .. })) => pause.take().await,
                Err(SessionError::Call(error)) => return Err(error),
            }
        }
    }

    /// Closes the connection; the next request makes a new one.
    pub async fn close(&self) {
        self.link.lock().await.connected = None;
        self.state.send_replace(LinkState::Idle);
    }
}
