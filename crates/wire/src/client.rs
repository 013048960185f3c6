//! The controller's end of a connection to an agent: many requests at once, told apart by their numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use upshift_model::action::{GuardStatus, Report};
use upshift_model::probe::{Observation, Probe};

use crate::frame::{self, FrameError};
use crate::protocol::{ExecuteOrder, GuardCall, Request, RequestFrame, Response, ResponseFrame};

/// How long the end of the agent's output is waited for once its input takes nothing any more.
const GRACE: Duration = Duration::from_secs(3);

/// Why a request was not answered as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection is gone. Nobody knows whether the request was carried out; asking the same again is always safe.
    #[error("the connection was lost: {reason}")]
    Disconnected {
        /// What ended it, as far as known.
        reason: String,
    },
    /// The agent refuses the request; its own sentence.
    #[error("{0}")]
    Refused(String),
    /// The agent answered something else than what was asked; a defect.
    #[error("the agent answered a {asked} request with something else")]
    Unexpected {
        /// The request.
        asked: &'static str,
    },
    /// The request itself could not be sent, because it is too large.
    #[error("the request could not be sent: {0}")]
    Unsendable(String),
}

type Outcome = Result<Response, String>;

/// A connection to one agent. Clones share the connection; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

struct Shared {
    outgoing: mpsc::Sender<Vec<u8>>,
    pending: Arc<Pending>,
    reader: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer ends by itself, because nobody can send any more; then the agent sees its input end.
        self.reader.abort();
    }
}

/// Requests that wait for their answers.
struct Pending {
    state: Mutex<PendingState>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct PendingState {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    /// Why the connection ended, once it has.
    ended: Option<String>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, PendingState> {
        // The state is consistent after every statement, so that a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(self: &Arc<Self>) -> Result<Answer, CallError> {
        let mut state = self.lock();
        if let Some(reason) = &state.ended {
            return Err(CallError::Disconnected {
                reason: reason.clone(),
            });
        }
        state.last_id += 1;
        let id = state.last_id;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(id, sender);
        Ok(Answer {
            pending: Arc::clone(self),
            id,
            receiver,
        })
    }

    fn answer(&self, frame: ResponseFrame) {
        let waiting = self.lock().waiting.remove(&frame.id);
        if let Some(sender) = waiting {
            // Nobody listens where the caller has given up.
            let _given_up = sender.send(frame.response);
        }
    }

    /// Fails everything that waits. The first reason stays.
    fn end(&self, reason: String) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.ended = Some(reason);
        }
        state.waiting.clear();
        drop(state);
        self.closed.send_replace(true);
    }

    fn reason(&self) -> String {
        self.lock()
            .ended
            .clone()
            .unwrap_or_else(|| "it was closed".to_owned())
    }
}

/// An answer that is still to come. Dropping it gives the request up; the agent is not told.
pub struct Answer {
    pending: Arc<Pending>,
    id: u64,
    receiver: oneshot::Receiver<Outcome>,
}

impl Answer {
    /// Waits for it.
    pub async fn wait(mut self) -> Result<Response, CallError> {
        match (&mut self.receiver).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(sentence)) => Err(CallError::Refused(sentence)),
            Err(_) => Err(CallError::Disconnected {
                reason: self.pending.reason(),
            }),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.pending.lock().waiting.remove(&self.id);
    }
}

impl Agent {
    /// Speaks frames over a pair of streams. Must be called inside a tokio runtime.
    pub fn new<R, W>(reader: R, writer: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        Agent::with_shutdown(reader, writer, std::future::ready)
    }

    /// As [`Agent::new`]; `shutdown` turns the reason for which the connection ended into words that say more.
    pub(crate) fn with_shutdown<R, W, F, T>(reader: R, writer: W, shutdown: F) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(String) -> T + Send + 'static,
        T: Future<Output = String> + Send + 'static,
    {
        let pending = Arc::new(Pending {
            state: Mutex::new(PendingState::default()),
            closed: watch::Sender::new(false),
        });
        let (outgoing, frames) = mpsc::channel(32);
        tokio::spawn(write_all(writer, frames, Arc::clone(&pending)));
        let reader = tokio::spawn(read_all(reader, Arc::clone(&pending), shutdown)).abort_handle();
        Agent {
            shared: Arc::new(Shared {
                outgoing,
                pending,
                reader,
            }),
        }
    }

    /// Whether the connection still stands, as far as known.
    pub fn is_connected(&self) -> bool {
        self.shared.pending.lock().ended.is_none()
    }

    /// Returns when the connection has ended.
    pub async fn ended(&self) -> String {
        let mut closed = self.shared.pending.closed.subscribe();
        // The sender lives as long as `self`.
        drop(closed.wait_for(|closed| *closed).await);
        self.shared.pending.reason()
    }

    /// Asks, and waits for the answer. Without a limit of its own: who needs one puts it around the call.
    pub async fn call(&self, request: Request) -> Result<Response, CallError> {
        self.call_with(request, Bytes::new()).await
    }

    /// As [`Agent::call`], with raw bytes after the header.
    pub async fn call_with(&self, request: Request, tail: Bytes) -> Result<Response, CallError> {
        self.post(request, tail).await?.wait().await
    }

    /// Asks, and returns as soon as the request is on its way: requests leave in the order in which they are posted.
    pub async fn post(&self, request: Request, tail: Bytes) -> Result<Answer, CallError> {
        let pending = &self.shared.pending;
        let answer = pending.register()?;
        let frame = frame::encode(
            &RequestFrame {
                id: answer.id,
                request,
            },
            &tail,
        )
        .map_err(|error| CallError::Unsendable(error.to_string()))?;
        let disconnected = |_| CallError::Disconnected {
            reason: pending.reason(),
        };
        self.shared.outgoing.send(frame).await.map_err(disconnected)?;
        Ok(answer)
    }

    /// Gives an order; see [`Request::Execute`].
    pub async fn execute(&self, order: ExecuteOrder) -> Result<Report, CallError> {
        match self.call(Request::Execute(Box::new(order))).await? {
            Response::Report(report) => Ok(report),
            _ => Err(CallError::Unexpected { asked: "execute" }),
        }
    }

    /// Observes; see [`Request::Observe`].
    pub async fn observe(&self, run: Option<String>, probe: Probe) -> Result<Observation, CallError> {
        match self
            .call(Request::Observe {
                run,
                hop: None,
                probe: Box::new(probe),
            })
            .await?
        {
            Response::Observation(observation) => Ok(observation),
            _ => Err(CallError::Unexpected { asked: "observe" }),
        }
    }

    /// Renews a guard; see [`Request::Renew`].
    pub async fn renew(&self, call: GuardCall) -> Result<GuardStatus, CallError> {
        guard_status(self.call(Request::Renew(call)).await?, "renew")
    }

    /// Disarms a guard; see [`Request::Disarm`].
    pub async fn disarm(&self, guard: GuardCall, sequence: u64) -> Result<GuardStatus, CallError> {
        guard_status(self.call(Request::Disarm { guard, sequence }).await?, "disarm")
    }
}

fn guard_status(response: Response, asked: &'static str) -> Result<GuardStatus, CallError> {
    match response {
        Response::Guard(status) => Ok(status),
        _ => Err(CallError::Unexpected { asked }),
    }
}

async fn write_all<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut frames: mpsc::Receiver<Vec<u8>>,
    pending: Arc<Pending>,
) {
    while let Some(frame) = frames.recv().await {
        let written = async {
            writer.write_all(&frame).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            // The reader will most often see the end, too, and knows more about it; but a half-closed stream has no end.
            let mut closed = pending.closed.subscribe();
            // What it yields is a lock on the value: it must not be held while the value is set.
            drop(tokio::time::timeout(GRACE, closed.wait_for(|closed| *closed)).await);
            pending.end(format!("sending failed: {error}"));
            return;
        }
    }
    // Nobody can send any more: tell the agent so. A failure means that it is gone already.
    let _already_gone = writer.shutdown().await;
}

async fn read_all<R, F, T>(reader: R, pending: Arc<Pending>, shutdown: F)
where
    R: AsyncRead + Unpin,
    F: FnOnce(String) -> T,
    T: Future<Output = String>,
{
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let reason = loop {
        match frame::read_frame::<_, ResponseFrame>(&mut reader).await {
            Ok(Some(frame)) => pending.answer(frame.header),
            Ok(None) => break "the other side closed it".to_owned(),
            Err(FrameError::Io(error)) => break error.to_string(),
            Err(error) => break error.to_string(),
        }
    };
    pending.end(shutdown(reason).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{read_frame, write_frame};
    use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

    type AgentSide = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

    fn pair() -> (Agent, AgentSide) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(ours);
        (Agent::new(reader, writer), tokio::io::split(theirs))
    }

    async fn next(side: &mut AgentSide) -> RequestFrame {
        read_frame::<_, RequestFrame>(&mut side.0)
            .await
            .unwrap()
            .unwrap()
            .header
    }

    fn put(received: u64) -> Response {
        Response::Put {
            received,
            complete: false,
        }
    }

    fn ask(number: u64) -> Request {
        Request::PutChunk {
            sha256: String::new(),
            offset: number,
        }
    }

    #[tokio::test]
    async fn answers_reach_their_requests_in_any_order() {
        let (agent, mut side) = pair();
        let calls: Vec<_> = (0..50)
            .map(|number| {
                let agent = agent.clone();
                tokio::spawn(async move { (number, agent.call(ask(number)).await) })
            })
            .collect();
        let mut requests = Vec::new();
        for _ in 0..50 {
            requests.push(next(&mut side).await);
        }
        requests.reverse();
        for RequestFrame { id, request } in requests {
            let Request::PutChunk { offset, .. } = request else {
                panic!("{request:?}")
            };
            write_frame(
                &mut side.1,
                &ResponseFrame {
                    id,
                    response: Ok(put(offset)),
                },
                b"",
            )
            .await
            .unwrap();
        }
        for call in calls {
            let (number, answer) = call.await.unwrap();
            assert_eq!(answer, Ok(put(number)));
        }
    }

    #[tokio::test]
    async fn the_end_of_the_stream_fails_everything_that_waits_and_all_that_follows() {
        let (agent, mut side) = pair();
        let waiting = tokio::spawn({
            let agent = agent.clone();
            async move { agent.call(ask(1)).await }
        });
        next(&mut side).await;
        drop(side);
        assert!(matches!(
            waiting.await.unwrap(),
            Err(CallError::Disconnected { .. })
        ));
        assert_eq!(agent.ended().await, "the other side closed it");
        assert!(!agent.is_connected());
        assert!(matches!(
            agent.call(ask(2)).await,
            Err(CallError::Disconnected { .. })
        ));
    }

    #[tokio::test]
    async fn a_refusal_is_the_agents_own_sentence() {
        let (agent, mut side) = pair();
        let waiting = tokio::spawn(async move { agent.call(ask(1)).await });
        let id = next(&mut side).await.id;
        let response = Err("no such file".to_owned());
        write_frame(&mut side.1, &ResponseFrame { id, response }, b"")
            .await
            .unwrap();
        assert_eq!(
            waiting.await.unwrap(),
            Err(CallError::Refused("no such file".to_owned()))
        );
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_leaves_nothing_behind() {
        let (agent, mut side) = pair();
        let waiting = tokio::spawn({
            let agent = agent.clone();
            async move { agent.call(ask(1)).await }
        });
        let late = next(&mut side).await.id;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert!(agent.shared.pending.lock().waiting.is_empty());
        write_frame(
            &mut side.1,
            &ResponseFrame {
                id: late,
                response: Ok(put(1)),
            },
            b"",
        )
        .await
        .unwrap();
        let again = tokio::spawn(async move { agent.call(ask(2)).await });
        let id = next(&mut side).await.id;
        write_frame(
            &mut side.1,
            &ResponseFrame {
                id,
                response: Ok(put(2)),
            },
            b"",
        )
        .await
        .unwrap();
        assert_eq!(again.await.unwrap(), Ok(put(2)));
    }

    #[tokio::test]
    async fn dropping_the_last_handle_ends_the_agents_input() {
        let (agent, mut side) = pair();
        drop(agent);
        assert!(
            read_frame::<_, RequestFrame>(&mut side.0)
                .await
                .unwrap()
                .is_none()
        );
    }
}
