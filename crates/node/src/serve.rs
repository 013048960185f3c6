//! A session: requests on standard input, answers on standard output, until the input ends.
//!
//! Orders are done by one thread, in the order in which they came. Observations are made meanwhile, each on a thread of its
//! own. Pieces of files are taken in as they come. When the input ends, the order that is being done is finished and written
//! down, and those that wait are dropped: nobody would hear of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::thread;

use bytes::Bytes;
use tokio::io::{AsyncWrite, BufReader, stdin, stdout};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;
use upshift_model::action::Artifact;
use upshift_wire::frame::{FrameError, MAXIMUM_FRAME, read_frame, write_frame};
use upshift_wire::protocol::{ExecuteOrder, PROTOCOL, Request, RequestFrame, Response, ResponseFrame};

use crate::error::{Context, NodeError, Result, say};
use crate::host::{self, Host};
use crate::packages::{Incoming, Received};
use crate::records::{self, known as known_runs};
use crate::{clock, guard, locate, orders, probes, releases, snapshots};

/// The most observations at a time; further ones wait.
const OBSERVERS: usize = 32;
/// Bytes of the input's buffer: small frames then cost one system call.
const BUFFER: usize = 64 * 1024;

/// The most bytes of an error that are sent.
const LONGEST_ERROR: usize = 64 * 1024;
const MEGABYTE: usize = 1024 * 1024;

/// Serves one session.
///
/// # Errors
/// Where the other side does not speak the protocol.
pub fn serve(host: Host) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(OBSERVERS)
        .enable_all()
        .build()
        .context(|| "cannot begin")?;
    let host = Arc::new(host);
    let closing = Arc::new(AtomicBool::new(false));
    let (orders, waiting) = blocking::channel();
    let (answers, answered) = unbounded_channel();
    let worker = thread::spawn({
        let (host, closing, answers) = (Arc::clone(&host), Arc::clone(&closing), answers.clone());
        move || work(&host, &waiting, &closing, &answers)
    });
    let session = Session {
        host,
        orders,
        answers,
        incoming: BTreeMap::new(),
    };
    let ended = runtime.block_on(async {
        let writer = tokio::spawn(write_answers(answered));
        let ended = session.read().await;
        closing.store(true, Ordering::Release);
        // Joined on a thread of its own, so that the answer of the last order can still be written.
        let finished = spawn_blocking(move || worker.join()).await;
        // Observations may still hold their end of the channel: what is left of them is not waited for.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(100), writer).await;
        finished
            .map_err(|error| NodeError::refused(error.to_string()))
            .and(ended)
    });
    runtime.shutdown_background();
    ended
}

/// An order with the number of its request.
type Numbered = (u64, Box<ExecuteOrder>);

fn work(
    host: &Host,
    waiting: &blocking::Receiver<Numbered>,
    closing: &AtomicBool,
    answers: &UnboundedSender<ResponseFrame>,
) {
    while let Ok((id, order)) = waiting.recv() {
        if closing.load(Ordering::Acquire) {
            return;
        }
        answer(answers, id, orders::execute(host, &order).map(Response::Report));
    }
}

fn answer(answers: &UnboundedSender<ResponseFrame>, id: u64, response: Result<Response>) {
    // Nobody listens any more only where the session has ended.
    let _ = answers.send(ResponseFrame {
        id,
        response: response.map_err(|error| bounded(error.to_string())),
    });
}

/// An error as it is sent: one that quotes something endless is cut off.
fn bounded(mut words: String) -> String {
    if words.len() > LONGEST_ERROR {
        words.truncate(words.floor_char_boundary(LONGEST_ERROR));
        words.push('…');
    }
    words
}

async fn write_answers(mut answered: UnboundedReceiver<ResponseFrame>) {
    write_answers_to(&mut stdout(), &mut answered).await;
}

async fn write_answers_to(
    output: &mut (impl AsyncWrite + Unpin),
    answered: &mut UnboundedReceiver<ResponseFrame>,
) {
    while let Some(frame) = answered.recv().await {
        let written = match write_frame(output, &frame, &[]).await {
            // Nothing of it has been written yet. Who asked must hear of it, or would wait for ever.
            Err(error @ (FrameError::TooLarge { .. } | FrameError::Encode(_))) => {
                let frame = ResponseFrame {
                    id: frame.id,
                    response: Err(unsendable(&error)),
                };
                write_frame(output, &frame, &[]).await
            }
            written => written,
        };
        if written.is_err() {
            return;
        }
    }
}

fn unsendable(error: &FrameError) -> String {
    match error {
        FrameError::TooLarge { length } => {
            let (length, most) = (length / MEGABYTE, MAXIMUM_FRAME / MEGABYTE);
            format!("the answer is too large: {length} MB, and {most} MB fit into a message; ask for less")
        }
        error => bounded(error.to_string()),
    }
}

struct Session {
    host: Arc<Host>,
    orders: blocking::Sender<Numbered>,
    answers: UnboundedSender<ResponseFrame>,
    incoming: BTreeMap<String, Incoming>,
}

impl Session {
    async fn read(mut self) -> Result<()> {
        let mut input = BufReader::with_capacity(BUFFER, stdin());
        loop {
            match read_frame::<_, RequestFrame>(&mut input).await {
                Ok(Some(frame)) => self.take(frame.header.id, frame.header.request, frame.tail).await,
                Ok(None) => return Ok(()),
                Err(error) => return Err(NodeError::refused(error.to_string())),
            }
        }
    }

    async fn take(&mut self, id: u64, request: Request, tail: Bytes) {
        match request {
            Request::Execute(order) => {
                // The worker ends only after this session has.
                let _ = self.orders.send((id, order));
            }
            Request::Hello { protocol } => self.aside(id, move |host| hello(host, protocol)),
            Request::Observe { run, hop, probe } => {
                self.aside(id, move |host| {
                    let run = run.as_deref();
                    let seen = match run.zip(hop) {
                        Some((run, hop)) => probes::observe_forward(host, run, hop, &probe),
                        None => probes::observe(host, run, &probe),
                    };
                    Ok(Response::Observation(seen))
                });
            }
            Request::Locate {
                places,
                service,
                context,
            } => self.aside(id, move |host| {
                locate::locate(&host.layout, &places, &service, &context).map(Response::Places)
            }),
            Request::Release(order) => {
                self.aside(id, move |host| {
                    releases::call(host, &order).map(Response::Release)
                });
            }
            Request::Snapshot(order) => {
                self.aside(id, move |host| {
                    snapshots::call(host, &order).map(Response::Snapshot)
                });
            }
            Request::Renew(call) => self.aside(id, move |host| {
                fenced(host, &call.fleet, call.token, || {
                    guard::renew(&host.layout, &call).map(Response::Guard)
                })
            }),
            Request::RollBack(call) => self.aside(id, move |host| {
                fenced(host, &call.fleet, call.token, || {
                    guard::roll_back(&host.layout, &call).map(Response::Guard)
                })
            }),
            Request::Runs => self.aside(id, move |host| {
                known_runs::known(&host.layout).map(Response::Runs)
            }),
            Request::Fence { fleet, token } => self.aside(id, move |host| {
                fenced(host, &fleet, token, || Ok(Response::Noted))
            }),
            Request::Note(note) => self.aside(id, move |host| {
                fenced(host, &note.fleet, note.token, || {
                    known_runs::write(&host.layout, &note).map(|()| Response::Noted)
                })
            }),
            Request::Disarm {
                guard: call,
                sequence,
            } => {
                self.aside(id, move |host| {
                    guard::disarm_for(&host.layout, &call, sequence).map(Response::Guard)
                });
            }
            Request::PutBegin(artifact) => {
                let received = self.put_begin(artifact).await;
                answer(&self.answers, id, received.map(put_response));
            }
            Request::PutChunk { sha256, offset } => {
                let received = self.put_chunk(&sha256, offset, tail);
                answer(&self.answers, id, received.map(put_response));
            }
            Request::PutEnd { sha256 } => {
                let received = self.put_end(&sha256).await;
                answer(&self.answers, id, received.map(put_response));
            }
        }
    }

    /// Answers a request on a thread of its own.
    fn aside(&self, id: u64, work: impl FnOnce(&Host) -> Result<Response> + Send + 'static) {
        let (host, answers) = (Arc::clone(&self.host), self.answers.clone());
        let working = spawn_blocking(move || work(&host));
        tokio::spawn(async move {
            let response = working.await.unwrap_or_else(|_| {
                Err(NodeError::refused(
                    "the agent has a defect: see its standard error",
                ))
            });
            answer(&answers, id, response);
        });
    }

    async fn put_begin(&mut self, artifact: Artifact) -> Result<Received> {
        let host = Arc::clone(&self.host);
        let size = artifact.size;
        let sha256 = artifact.sha256.clone();
        match spawn_blocking(move || Incoming::begin(&host.layout, &artifact))
            .await
            .map_err(interrupted)??
        {
            None => Ok(Received {
                bytes: size,
                complete: true,
            }),
            Some(incoming) => {
                let received = incoming.received();
                self.incoming.insert(sha256, incoming);
                Ok(received)
            }
        }
    }

    /// In place, without another thread: a piece goes to the kernel's memory, and the next one must not overtake it.
    fn put_chunk(&mut self, sha256: &str, offset: u64, bytes: Bytes) -> Result<Received> {
        let incoming = self.incoming.get_mut(sha256).ok_or_else(not_begun)?;
        let received = incoming.chunk(&self.host.layout, offset, &bytes);
        if received.is_err() {
            self.incoming.remove(sha256);
        }
        received
    }

    async fn put_end(&mut self, sha256: &str) -> Result<Received> {
        let incoming = self.incoming.remove(sha256).ok_or_else(not_begun)?;
        let host = Arc::clone(&self.host);
        spawn_blocking(move || incoming.end(&host.layout))
            .await
            .map_err(interrupted)?
    }
}

fn not_begun() -> NodeError {
    NodeError::refused("this file was not announced, or something went wrong with it; announce it again")
}

fn interrupted(error: tokio::task::JoinError) -> NodeError {
    NodeError::refused(format!("the agent has a defect: {error}"))
}

fn put_response(received: Received) -> Response {
    Response::Put {
        received: received.bytes,
        complete: received.complete,
    }
}

/// Does what carries a token, unless the host has seen a younger one.
fn fenced(host: &Host, fleet: &str, token: u64, work: impl FnOnce() -> Result<Response>) -> Result<Response> {
    match records::fence(&host.layout, fleet, token)? {
        Some(token) => Ok(Response::Fenced { token }),
        None => work(),
    }
}

fn hello(host: &Host, protocol: u32) -> Result<Response> {
    if protocol != PROTOCOL {
        return Err(NodeError::refused(format!(
            "this agent speaks version {PROTOCOL} of the protocol, the controller version {protocol}"
        )));
    }
    // After a reboot, and where somebody has killed them. A host whose guard does not come back must still be reached.
    if let Err(error) = guard::ensure_all(&host.layout) {
        say(format!("upshift-node: a guard cannot be started again: {error}"));
    }
    Ok(Response::Hello {
        protocol: PROTOCOL,
        host: Box::new(host::facts(host)?),
        clock_ms: clock::wall(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_is_too_large_is_an_error_that_arrives() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut written = Vec::new();
        let (answers, mut answered) = unbounded_channel();
        // Each of these bytes takes six in JSON.
        let zeros = "\0".repeat(4 * MEGABYTE);
        answer(
            &answers,
            7,
            Ok(Response::Observation(Ok(json!({ "value": zeros })))),
        );
        answer(&answers, 8, Err(NodeError::refused("x".repeat(20 * MEGABYTE))));
        drop(answers);
        runtime.block_on(write_answers_to(&mut written, &mut answered));
        let mut read = &written[..];
        let mut next = || {
            let frame = runtime.block_on(read_frame::<_, ResponseFrame>(&mut read));
            frame.unwrap().unwrap().header
        };
        let (first, second) = (next(), next());
        assert_eq!(
            (first.id, first.response),
            (
                7,
                Err("the answer is too large: 24 MB, and 16 MB fit into a message; ask for less".to_owned())
            )
        );
        assert!(
            second.id == 8
                && second
                    .response
                    .is_err_and(|words| words.len() < 2 * LONGEST_ERROR)
        );
    }
}
