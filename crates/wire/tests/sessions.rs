//! Sessions and file distribution against agents in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::io::{AsyncRead, AsyncWrite};
use upshift_model::action::Artifact;
use upshift_model::facts::HostFacts;
use upshift_model::probe::Probe;
use upshift_wire::client::Agent;
use upshift_wire::frame::{Frame, read_frame, write_frame};
use upshift_wire::protocol::{Request, RequestFrame, Response, ResponseFrame};
use upshift_wire::put::put;
use upshift_wire::session::{LinkState, Session, SessionError};
use upshift_wire::transport::{Connect, ConnectError, ConnectFailure, Connected, Freshness};

/// A host in memory: its file, and how it misbehaves.
#[derive(Default)]
struct FakeHost {
    file: Mutex<Vec<u8>>,
    logins: AtomicU32,
    /// Logins that fail before one succeeds.
    unreachable_for: AtomicU32,
    /// Frames after which the connection is cut, once.
    cut_after: AtomicU64,
    /// Requests that the agent dies of.
    deaths: AtomicU32,
    observed: AtomicU32,
}

impl FakeHost {
    fn answer(&self, frame: Frame<RequestFrame>, size: u64) -> ResponseFrame {
        let RequestFrame { id, request } = frame.header;
        let mut file = self.file.lock().unwrap();
        let response = match request {
            Request::Observe { .. } => {
                let number = self.observed.fetch_add(1, Ordering::Relaxed);
                Ok(Response::Observation(Ok(number.into())))
            }
            Request::PutChunk { offset, .. } if offset != file.len() as u64 => {
                Err(format!("hole at {offset}"))
            }
            Request::PutChunk { .. } => {
                file.extend_from_slice(&frame.tail);
                Ok(Response::Put {
                    received: file.len() as u64,
                    complete: false,
                })
            }
            Request::PutBegin(_) | Request::PutEnd { .. } => Ok(Response::Put {
                received: file.len() as u64,
                complete: file.len() as u64 == size,
            }),
            other => Err(format!("unexpected {other:?}")),
        };
        ResponseFrame { id, response }
    }

    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin, size: u64) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        while let Ok(Some(frame)) = read_frame::<_, RequestFrame>(&mut reader).await {
            if self.deaths.load(Ordering::Relaxed) > 0 {
                self.deaths.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            if self.cut_after.load(Ordering::Relaxed) > 0
                && self.cut_after.fetch_sub(1, Ordering::Relaxed) == 1
            {
                return;
            }
            let response = self.answer(frame, size);
            if write_frame(&mut writer, &response, b"").await.is_err() {
                return;
            }
        }
    }
}

struct FakeConnect {
    name: String,
    host: Arc<FakeHost>,
    size: u64,
}

impl Connect for FakeConnect {
    fn host(&self) -> &str {
        &self.name
    }

    fn connect(&self, _: Freshness) -> BoxFuture<'_, Result<Connected, ConnectError>> {
        async move {
            self.host.logins.fetch_add(1, Ordering::Relaxed);
            // Others may ask meanwhile.
            tokio::task::yield_now().await;
            if self.host.unreachable_for.load(Ordering::Relaxed) > 0 {
                self.host.unreachable_for.fetch_sub(1, Ordering::Relaxed);
                let failure = ConnectFailure::Unreachable("No route to host".to_owned());
                return Err(ConnectError {
                    host: self.name.clone(),
                    by_hand: "ssh h1 true".to_owned(),
                    failure,
                });
            }
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            tokio::spawn(Arc::clone(&self.host).serve(theirs, self.size));
            let (reader, writer) = tokio::io::split(ours);
            Ok(Connected {
                agent: Agent::new(reader, writer),
                host: HostFacts::default(),
            })
        }
        .boxed()
    }
}

fn session(host: &Arc<FakeHost>, size: u64) -> Session {
    Session::new(Arc::new(FakeConnect {
        name: "h1".to_owned(),
        host: Arc::clone(host),
        size,
    }))
}

fn observe() -> Request {
    Request::Observe {
        hop: None,
        run: None,
        probe: Box::new(Probe::Host),
    }
}

#[tokio::test]
async fn a_thousand_hosts_are_asked_at_once_by_one_thread() {
    let hosts: Vec<Arc<FakeHost>> = (0..1000).map(|_| Arc::default()).collect();
    let sessions: Vec<Session> = hosts.iter().map(|host| session(host, 0)).collect();
    for round in 0..3u32 {
        let answers = join_all(sessions.iter().map(|session| session.call(observe()))).await;
        assert!(
            answers
                .into_iter()
                .all(|answer| answer == Ok(Response::Observation(Ok(round.into()))))
        );
    }
    assert!(hosts.iter().all(|host| host.logins.load(Ordering::Relaxed) == 1));
}

#[tokio::test]
async fn requests_of_one_host_share_one_login() {
    let host = Arc::<FakeHost>::default();
    let session = session(&host, 0);
    let answers = join_all((0..50).map(|_| session.call(observe()))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(host.logins.load(Ordering::Relaxed), 1);
    assert_eq!(*session.watch().borrow(), LinkState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_reached_fails_everybody_who_waits_with_one_attempt() {
    let host = Arc::<FakeHost>::default();
    host.unreachable_for.store(1, Ordering::Relaxed);
    let session = session(&host, 0);
    let answers = join_all((0..20).map(|_| session.call(observe()))).await;
    for answer in answers {
        let Err(SessionError::Connect(error)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(error.to_string(), "h1 cannot be reached: No route to host");
    }
    assert_eq!(host.logins.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_host_with_growing_pauses() {
    let host = Arc::<FakeHost>::default();
    host.unreachable_for.store(10, Ordering::Relaxed);
    let session = session(&host, 0);
    let began = tokio::time::Instant::now();
    session.call_until_answered(observe()).await.unwrap();
    assert_eq!(host.logins.load(Ordering::Relaxed), 11);
    // 0.1 + 0.2 + … + 3.2 + four times 5 seconds.
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_secs(26) && waited < Duration::from_secs(27),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_the_request_asked_again() {
    let host = Arc::<FakeHost>::default();
    let session = session(&host, 0);
    host.cut_after.store(2, Ordering::Relaxed);
    assert_eq!(
        session.call(observe()).await,
        Ok(Response::Observation(Ok(0.into())))
    );
    assert_eq!(
        session.call(observe()).await,
        Ok(Response::Observation(Ok(1.into())))
    );
    assert_eq!(host.logins.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_of_every_request_is_not_started_without_end() {
    let host = Arc::<FakeHost>::default();
    let session = session(&host, 0);
    let began = tokio::time::Instant::now();
    host.deaths.store(12, Ordering::Relaxed);
    let answer = tokio::time::timeout(Duration::from_secs(600), session.call_until_answered(observe())).await;
    assert!(matches!(answer, Ok(Ok(_))), "{answer:?}");
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
}

fn file_of(size: usize) -> (tempfile::TempDir, std::path::PathBuf, Artifact, Vec<u8>) {
    let bytes: Vec<u8> = (0..size).map(|position| (position * 31 % 251) as u8).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("release.tar.gz");
    std::fs::write(&path, &bytes).unwrap();
    let artifact = Artifact {
        file_name: "release.tar.gz".to_owned(),
        version: "1".to_owned(),
        variant: BTreeMap::new(),
        sha256: "00".repeat(32),
        size: size as u64,
    };
    (directory, path, artifact, bytes)
}

#[tokio::test]
async fn a_file_arrives_whole_and_is_not_sent_twice() {
    let (_directory, path, artifact, bytes) = file_of(5_000_001);
    let host = Arc::<FakeHost>::default();
    let session = session(&host, artifact.size);
    let seen = AtomicU64::new(0);
    let progress = |received| {
        seen.fetch_max(received, Ordering::Relaxed);
    };
    assert_eq!(
        put(&session, &artifact, &path, &progress).await.unwrap().bytes,
        artifact.size
    );
    assert_eq!(*host.file.lock().unwrap(), bytes);
    assert_eq!(seen.load(Ordering::Relaxed), artifact.size);
    assert_eq!(put(&session, &artifact, &path, &progress).await.unwrap().bytes, 0);
}

#[tokio::test]
async fn a_file_goes_on_where_a_lost_connection_left_it() {
    let (_directory, path, artifact, bytes) = file_of(20 * 512 * 1024);
    let host = Arc::<FakeHost>::default();
    let session = session(&host, artifact.size);
    host.cut_after.store(12, Ordering::Relaxed);
    let sent = put(&session, &artifact, &path, &|_| ()).await.unwrap().bytes;
    assert_eq!(*host.file.lock().unwrap(), bytes);
    assert_eq!(host.logins.load(Ordering::Relaxed), 2);
    // What was on its way when the connection was cut is sent again, no more.
    assert!(sent < artifact.size + 9 * 512 * 1024, "{sent}");
}

#[tokio::test]
async fn a_file_that_changed_since_the_plan_is_refused() {
    let (_directory, path, mut artifact, _) = file_of(1000);
    artifact.size = 999;
    let host = Arc::<FakeHost>::default();
    let error = put(&session(&host, 999), &artifact, &path, &|_| ())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("release.tar.gz has 1000 bytes, but 999 were planned with: it was changed since"),
        "{error}"
    );
    assert!(host.file.lock().unwrap().is_empty());
}
