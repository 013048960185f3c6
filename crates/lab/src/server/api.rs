//! What clients and other members ask over HTTP.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::core::{Core, Role};
use super::election;
use super::log::Change;
use super::wire::Asked;
use crate::http;

const WRITE_LIMIT: Duration = Duration::from_secs(2);
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// A member's process.
pub(super) struct Member {
    core: Mutex<Core>,
    changed: Condvar,
    others: Vec<(String, String)>,
    crash_at: Option<Instant>,
}

impl Member {
    pub fn new(core: Core) -> Arc<Self> {
        let others = core
            .config
            .members
            .iter()
            .filter(|(name, _)| **name != core.config.name)
            .map(|(name, address)| (name.clone(), address.clone()))
            .collect();
        let crash_at = core.manifest.misbehaviour.crash_after_ms;
        Arc::new(Member {
            core: Mutex::new(core),
            changed: Condvar::new(),
            others,
            crash_at: crash_at.map(|after| Instant::now() + Duration::from_millis(after)),
        })
    }

    /// The state. A thread that panicked while it held it has ended the process; see [`Member::must`].
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names and addresses of the other members.
    pub fn others(&self) -> Vec<(String, String)> {
        self.others.clone()
    }

    /// Waits for a change.
    pub fn wait<'a>(&self, core: MutexGuard<'a, Core>, limit: Duration) -> MutexGuard<'a, Core> {
        self.changed
            .wait_timeout(core, limit)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Wakes those who wait for a change.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// A member whose disk fails, or that is too old for its cluster, must not go on.
    pub fn must<T>(&self, result: io::Result<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => {
                eprintln!("fatal: {error}");
                std::process::exit(1)
            }
        }
    }

    /// Ends the process where the release is made to crash.
    pub fn crash_if_due(&self) {
        if self.crash_at.is_some_and(|at| Instant::now() >= at) {
            eprintln!("fatal: index out of range");
            std::process::exit(134);
        }
    }

    /// Answers a request.
    pub fn answer(self: &Arc<Self>, asked: &Asked) -> (u16, Value) {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/peer/vote") => parsed(asked, |request| json!(self.must(self.core().vote(&request)))),
            ("POST", "/peer/append") => parsed(asked, |request| {
                let answer = self.must(self.core().append(&request));
                self.notify();
                json!(answer)
            }),
            ("POST", "/peer/stand") => self.stand_now(),
            ("GET", "/status") => (200, self.core().status()),
            ("GET", "/health") => {
                let mut core = self.core();
                let healthy = core.healthy();
                (
                    if healthy { 200 } else { 503 },
                    json!({ "healthy": healthy, "state": core.state() }),
                )
            }
            ("GET", "/version") => {
                let core = self.core();
                (
                    200,
                    json!({ "server": core.manifest.version, "cluster": core.cluster_version }),
                )
            }
            ("GET", "/hash") => self.hash(asked),
            ("GET", "/cluster") => self.cluster(asked),
            ("GET", "/dump") => {
                let core = self.core();
                let (revision, hash) = (core.revision(), core.hash_at(core.revision()));
                (
                    200,
                    json!({ "revision": revision, "hash": hash.map(hexadecimal), "values": core.values }),
                )
            }
            ("GET", "/get") => self.get(asked.parameter("key").unwrap_or_default()),
            ("POST", "/put") => self.put(asked),
            ("POST", "/leader/move") => self.move_leader(asked),
            ("POST", "/service/pause") => self.pause(true),
            ("POST", "/service/resume") => self.pause(false),
            _ => (404, json!({ "error": "there is no such path" })),
        }
    }

    fn not_leader(&self, core: &Core) -> (u16, Value) {
        let address = core
            .leader
            .as_ref()
            .and_then(|name| core.config.members.get(name));
        (
            421,
            json!({ "error": "this member does not lead", "leader": address }),
        )
    }

    /// While it is paused, a member takes no write.
    fn pause(&self, paused: bool) -> (u16, Value) {
        self.must(self.core().disk.pause(paused));
        (200, json!({ "paused": paused }))
    }

    fn put(&self, asked: &Asked) -> (u16, Value) {
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or(Value::Null);
        let (Some(key), Some(value)) = (body["key"].as_str(), body["value"].as_str()) else {
            return (400, json!({ "error": "`key` and `value` are needed" }));
        };
        let mut core = self.core();
        if core.role != Role::Leader {
            return self.not_leader(&core);
        }
        if core.disk.paused() {
            return (503, json!({ "error": "service is paused" }));
        }
        let change = Change::Put {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let index = self.must(core.propose(change));
        let term = core.ballot.term;
        self.notify();
        let deadline = Instant::now() + WRITE_LIMIT;
        while core.commit < index && core.ballot.term == term && Instant::now() < deadline {
            core = self.wait(core, Duration::from_millis(20));
        }
        if core.commit >= index && core.disk.term_of(index) == Some(term) {
            (200, json!({ "index": index }))
        } else {
            (
                503,
                json!({ "error": "no majority has it yet; it may or may not be kept" }),
            )
        }
    }

    fn get(&self, key: &str) -> (u16, Value) {
        let core = self.core();
        if core.role != Role::Leader {
            return self.not_leader(&core);
        }
        if !core.leads_surely() {
            return (
                503,
                json!({ "error": "the leader does not hear from a majority" }),
            );
        }
        (200, json!({ "value": core.values.get(key) }))
    }

    fn hash(&self, asked: &Asked) -> (u16, Value) {
        let core = self.core();
        let revision = asked
            .parameter("revision")
            .and_then(|text| text.parse().ok())
            .unwrap_or(core.revision());
        match core.hash_at(revision) {
            Some(hash) => (200, json!({ "revision": revision, "hash": hexadecimal(hash) })),
            None => (
                409,
                json!({ "error": "that revision has not been reached", "revision": core.revision() }),
            ),
        }
    }

    /// Status of every member, with its hash at a revision where one is given; asked from here.
    fn cluster(&self, asked: &Asked) -> (u16, Value) {
        let (own, name) = {
            let mut core = self.core();
            (core.status(), core.config.name.clone())
        };
        let hash_path = asked
            .parameter("revision")
            .map(|revision| format!("/hash?revision={revision}"));
        let own_hash = hash_path.as_ref().map(|_| self.hash(asked).1);
        let questions: Vec<_> = self
            .others()
            .into_iter()
            .map(|(name, address)| {
                let hash_path = hash_path.clone();
                thread::spawn(move || {
                    let ask = |path: &str| http::get(&address, path, ASK_LIMIT).map(|answer| answer.json());
                    let status = ask("/status").unwrap_or(Value::Null);
                    let hash = hash_path.map(|path| ask(&path).unwrap_or(Value::Null));
                    json!({ "name": name, "answers": !status.is_null(), "status": status, "hash": hash })
                })
            })
            .collect();
        let mut members = vec![json!({ "name": name, "answers": true, "status": own, "hash": own_hash })];
        members.extend(questions.into_iter().filter_map(|question| question.join().ok()));
        let complete = members.iter().all(|member| member["answers"] == true);
        (200, json!({ "complete": complete, "members": members }))
    }

    /// Hands leadership over to a member that has everything.
    fn move_leader(&self, asked: &Asked) -> (u16, Value) {
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or(Value::Null);
        let deadline = Instant::now() + WRITE_LIMIT;
        loop {
            let core = self.core();
            // Somebody else must lead: one that only stepped down may be elected again.
            if core
                .leader
                .as_ref()
                .is_some_and(|leader| *leader != core.config.name)
            {
                return (200, json!({ "leader": core.leader }));
            }
            let leads = core.role == Role::Leader;
            let fit = core
                .peers
                .iter()
                .filter(|_| leads)
                .filter(|(name, _)| body["to"].as_str().is_none_or(|to| to == *name))
                .max_by_key(|(_, peer)| peer.matched)
                .filter(|(_, peer)| peer.matched == core.disk.last())
                .and_then(|(name, _)| core.config.members.get(name).cloned());
            drop(core);
            if let Some(address) = fit {
                let _ = http::post(&address, "/peer/stand", &json!({}), ASK_LIMIT);
            }
            if Instant::now() > deadline {
                return (503, json!({ "error": "no member took leadership over" }));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn stand_now(self: &Arc<Self>) -> (u16, Value) {
        let request = {
            let mut core = self.core();
            if core.role == Role::Leader {
                return (200, json!({}));
            }
            self.must(core.stand())
        };
        election::stand(self, &request);
        (200, json!({}))
    }
}

/// A hash in words that survive every JSON reader.
fn hexadecimal(hash: u64) -> String {
    format!("{hash:016x}")
}

fn parsed<T: DeserializeOwned>(asked: &Asked, answer: impl FnOnce(T) -> Value) -> (u16, Value) {
    match serde_json::from_slice(&asked.body) {
        Ok(request) => (200, answer(request)),
        Err(error) => (400, json!({ "error": error.to_string() })),
    }
}
