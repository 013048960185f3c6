//! Three hosts in memory: enough of an agent that a plan can be carried out on them.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use upshift_control::{Artifacts, Hosts, Setup};
use upshift_model::Millis;
use upshift_model::action::{Action, Artifact, GuardStatus, Report};
use upshift_model::facts::{HostFacts, ReleaseStatus};
use upshift_model::fleet::{Fleet, Host};
use upshift_model::probe::{Probe, ProbeFailure};
use upshift_model::profile::{self, Profile};
use upshift_model::runs::HostRuns;
use upshift_plan::{Plan, Request as PlanRequest};
use upshift_store::{Acquire, Holder, Lease, Store};
use upshift_wire::client::Agent;
use upshift_wire::frame::{read_frame, write_frame};
use upshift_wire::protocol::{ExecuteOrder, Located, Request, RequestFrame, Response, ResponseFrame};
use upshift_wire::transport::{Connect, ConnectError, ConnectFailure, Connected, Freshness};

pub const FLEET: &str = "dreams";
pub const NAMES: [&str; 3] = ["h1", "h2", "h3"];

/// What a host is like.
#[derive(Default)]
pub struct State {
    pub current: String,
    pub running: Option<String>,
    pub guard: Option<GuardStatus>,
    pub token: u64,
    pub has: u64,
    /// How often each (run, step, attempt) was really done, with the action's word and its report.
    pub done: BTreeMap<(String, u32, u32), (u32, &'static str, Report)>,
    /// Actions, by word and release, that fail.
    pub fails: BTreeMap<&'static str, String>,
}

/// A host in memory.
#[derive(Default)]
pub struct FakeHost {
    pub state: Mutex<State>,
    pub down: AtomicBool,
    pub logins: AtomicU32,
    /// Cuts every connection that stands.
    pub cut: Notify,
}

impl FakeHost {
    fn execute(&self, order: &ExecuteOrder) -> Report {
        let mut state = self.state.lock().unwrap();
        if order.token < state.token {
            return Report::Fenced { token: state.token };
        }
        state.token = order.token;
        let key = (order.run.clone(), order.step, order.attempt);
        if let Some((_, _, report)) = state.done.get(&key) {
            return report.clone();
        }
        let word = order.action.word();
        let report = match state.fails.get(word) {
            Some(reason) if order.forward => Report::Failed {
                reason: reason.clone(),
            },
            _ => Report::Done {
                output: state.perform(&order.action),
            },
        };
        state.done.entry(key).or_insert((0, word, report.clone())).0 += 1;
        report
    }

    fn answer(&self, request: Request, tail: &[u8]) -> Result<Response, String> {
        match request {
            Request::Execute(order) => Ok(Response::Report(self.execute(&order))),
            Request::Observe { probe, .. } => {
                Ok(Response::Observation(self.state.lock().unwrap().observe(&probe)))
            }
            Request::Locate { .. } => {
                let located = Located {
                    value: "/etc/sleeper.conf".to_owned(),
                    source: "default".to_owned(),
                };
                Ok(Response::Places(BTreeMap::from([("config".to_owned(), located)])))
            }
            Request::Renew(_) => {
                let mut state = self.state.lock().unwrap();
                if let Some(GuardStatus::Armed { remaining }) = &mut state.guard {
                    *remaining = Millis::seconds(30);
                }
                Ok(Response::Guard(
                    state.guard.clone().unwrap_or(GuardStatus::Absent),
                ))
            }
            Request::Disarm { .. } => {
                self.state.lock().unwrap().guard = None;
                Ok(Response::Guard(GuardStatus::Disarmed))
            }
            Request::PutBegin(artifact) => {
                let has = self.state.lock().unwrap().has;
                Ok(Response::Put {
                    received: has,
                    complete: has == artifact.size,
                })
            }
            Request::PutChunk { .. } => {
                let mut state = self.state.lock().unwrap();
                state.has += tail.len() as u64;
                Ok(Response::Put {
                    received: state.has,
                    complete: false,
                })
            }
            Request::PutEnd { .. } => {
                let has = self.state.lock().unwrap().has;
                Ok(Response::Put {
                    received: has,
                    complete: has == PACKAGE.len() as u64,
                })
            }
            Request::Runs => Ok(Response::Runs(HostRuns::default())),
            Request::Note(_) | Request::Fence { .. } => Ok(Response::Noted),
            Request::RollBack(_) => Ok(Response::Guard(GuardStatus::Absent)),
            Request::Hello { .. } => Err("not twice".to_owned()),
            Request::Release(_) => Err("this agent keeps no releases".to_owned()),
            Request::Snapshot(_) => Err("this agent keeps no snapshots".to_owned()),
        }
    }

    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        loop {
            let frame = tokio::select! {
                frame = read_frame::<_, RequestFrame>(&mut reader) => frame,
                () = self.cut.notified() => return,
            };
            let Ok(Some(frame)) = frame else { return };
            let response = self.answer(frame.header.request, &frame.tail);
            let response = ResponseFrame {
                id: frame.header.id,
                response,
            };
            if write_frame(&mut writer, &response, b"").await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn perform(&mut self, action: &Action) -> Value {
        match action {
            Action::Switch(switch) => self.current.clone_from(&switch.release),
            Action::Stop(_) => self.running = None,
            Action::Start(_) => self.running = Some(self.current.clone()),
            Action::ArmGuard(guard) => {
                self.guard = Some(GuardStatus::Armed {
                    remaining: guard.lease,
                })
            }
            Action::DisarmGuard => self.guard = None,
            _ => {}
        }
        Value::Null
    }

    fn observe(&self, probe: &Probe) -> Result<Value, ProbeFailure> {
        Ok(match probe {
            Probe::Process(_) => {
                json!({"running": self.running.is_some(), "release": self.running, "version": self.running,
                "pid": 7, "exe": "/x", "uptime_ms": 1000})
            }
            Probe::Releases => {
                json!({"current": self.current, "releases": {"1.0.0": "permanent", "1.1.0": "unpacked"}})
            }
            Probe::Saved(_) => json!({"exists": true, "identical": true, "sha256": "c0ffee", "files": 1}),
            Probe::File(_) => json!({"exists": true, "kind": "file", "size": 1, "sha256": "c0ffee"}),
            Probe::Guard => serde_json::to_value(self.guard.clone().unwrap_or(GuardStatus::Absent)).unwrap(),
            Probe::Needs(_) => {
                json!({"programs": [], "unreadable": [], "unwritable": [], "busy": [], "automatic": []})
            }
            Probe::Usage(_) => json!({"bytes": 4096, "files": 1}),
            Probe::Disk(_) => json!({"free": 10_000_000_000u64, "total": 20_000_000_000u64}),
            Probe::Host => {
                let cached = if self.has == PACKAGE.len() as u64 {
                    vec![artifact().sha256]
                } else {
                    Vec::new()
                };
                serde_json::to_value(HostFacts {
                    cached,
                    ..host_facts()
                })
                .unwrap()
            }
            other => return Err(ProbeFailure::Failed(format!("{other:?} is not known here"))),
        })
    }
}

struct FakeConnect {
    name: &'static str,
    host: Arc<FakeHost>,
}

impl Connect for FakeConnect {
    fn host(&self) -> &str {
        self.name
    }

    fn connect(&self, _: Freshness) -> BoxFuture<'_, Result<Connected, ConnectError>> {
        async move {
            self.host.logins.fetch_add(1, Ordering::Relaxed);
            if self.host.down.load(Ordering::Relaxed) {
                let failure = ConnectFailure::Unreachable("No route to host".to_owned());
                return Err(ConnectError {
                    host: self.name.to_owned(),
                    by_hand: "ssh h1 true".to_owned(),
                    failure,
                });
            }
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            tokio::spawn(Arc::clone(&self.host).serve(theirs));
            let (reader, writer) = tokio::io::split(ours);
            Ok(Connected {
                agent: Agent::new(reader, writer),
                host: host_facts(),
            })
        }
        .boxed()
    }
}

fn host_facts() -> HostFacts {
    HostFacts {
        os: "debian12".to_owned(),
        arch: "amd64".to_owned(),
        state_directory: "/var/lib/upshift".to_owned(),
        disk_free: 10_000_000_000,
        disk_total: 20_000_000_000,
        memory_available: 1_000_000_000,
        releases: [("1.0.0".to_owned(), ReleaseStatus::Permanent)].into(),
        ..HostFacts::default()
    }
}

const PACKAGE: &[u8] = b"the package of 1.1.0";

/// Three hosts, a store, a package.
pub struct Scene {
    pub directory: tempfile::TempDir,
    pub hosts: Vec<Arc<FakeHost>>,
    pub store: Store,
}

impl Scene {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("package"), PACKAGE).unwrap();
        let hosts = NAMES.map(|_| {
            let host = FakeHost::default();
            *host.state.lock().unwrap() = State {
                current: "1.0.0".to_owned(),
                running: Some("1.0.0".to_owned()),
                ..State::default()
            };
            Arc::new(host)
        });
        let store = Store::open(&directory.path().join("store.db")).unwrap();
        Scene {
            hosts: hosts.to_vec(),
            store,
            directory,
        }
    }

    pub fn reach(&self) -> Hosts {
        Hosts::reached_by(NAMES.iter().zip(&self.hosts).map(|(name, host)| {
            Arc::new(FakeConnect {
                name,
                host: Arc::clone(host),
            }) as Arc<dyn Connect>
        }))
    }

    pub fn lease(&self, take_over: bool) -> Lease {
        self.store
            .acquire(
                FLEET,
                &Holder::this_process("ann@desk"),
                Acquire { take_over, above: 0 },
            )
            .unwrap()
    }

    pub fn setup(&self, take_over: bool) -> Setup<'_> {
        self.setup_in(&self.store, take_over)
    }

    pub fn setup_in<'a>(&self, store: &'a Store, take_over: bool) -> Setup<'a> {
        let lease = store
            .acquire(
                FLEET,
                &Holder::this_process("ann@desk"),
                Acquire { take_over, above: 0 },
            )
            .unwrap();
        let mut artifacts = Artifacts::new();
        artifacts.add(&artifact(), self.directory.path().join("package"));
        Setup {
            store,
            lease,
            hosts: self.reach(),
            artifacts,
            who: "ann@desk".to_owned(),
        }
    }

    pub async fn plan(&self) -> Arc<Plan> {
        let profile = profile();
        let gathered = upshift_control::gather(&self.reach(), &fleet(), &profile, &|_, _| ()).await;
        let request = PlanRequest {
            to: "1.1.0".to_owned(),
            artifacts: vec![artifact()],
            ..PlanRequest::default()
        };
        Arc::new(upshift_plan::plan(&profile, FLEET, &fleet(), &gathered.facts, &request).unwrap())
    }

    /// What runs on each host.
    pub fn running(&self) -> Vec<Option<String>> {
        self.hosts
            .iter()
            .map(|host| host.state.lock().unwrap().running.clone())
            .collect()
    }

    /// Whether nothing that was begun is left.
    pub fn assert_nothing_left(&self) {
        for host in &self.hosts {
            let state = host.state.lock().unwrap();
            assert_eq!(state.guard, None);
            for (key, (times, word, _)) in &state.done {
                assert_eq!(*times, 1, "{word} of {key:?} was done {times} times");
            }
        }
    }
}

pub fn profile() -> Profile {
    profile::parse("sleeper.yaml", include_str!("sleeper.yaml")).unwrap_or_else(|errors| panic!("{errors:?}"))
}

pub fn fleet() -> Fleet {
    let host = Host {
        groups: ["sleeper".to_owned()].into(),
        ..Host::default()
    };
    Fleet {
        name: FLEET.to_owned(),
        accepted: Vec::new(),
        package_keys: Vec::new(),
        hosts: NAMES
            .iter()
            .map(|name| ((*name).to_owned(), host.clone()))
            .collect(),
    }
}

pub fn artifact() -> Artifact {
    Artifact {
        file_name: "sleeper-1.1.0.tar.gz".to_owned(),
        version: "1.1.0".to_owned(),
        variant: BTreeMap::new(),
        sha256: "11".repeat(32),
        size: PACKAGE.len() as u64,
    }
}

/// A second store on the same file, as another process would have it.
pub fn another(path: &Path) -> Store {
    Store::open(path).unwrap()
}
