//! HAProxy's own view of its servers, looked at again and again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::tell;

/// A server in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `UP`, `DRAIN`, `MAINT`, `DOWN`, …
    pub status: String,
    /// Sessions that it has.
    pub sessions: u64,
    /// Sessions that it was ever given.
    pub given: u64,
}

impl Server {
    fn is_out(&self) -> bool {
        self.status.starts_with("DRAIN") || self.status.starts_with("MAINT")
    }
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewReport {
    /// Sessions that a server was given although HAProxy showed it out of service, before and after.
    pub given_while_out: u64,
    /// The servers that were out of service at some time, in that order, each time anew.
    pub taken_out: Vec<String>,
    /// Looks.
    pub looks: u64,
}

/// An observer of a balancer.
pub struct View {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<ViewReport>>,
    thread: Option<JoinHandle<()>>,
}

impl View {
    /// Begins to look.
    pub fn start(socket: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(Mutex::new(ViewReport::default()));
        let (stopping, seen) = (Arc::clone(&stop), Arc::clone(&report));
        let thread = thread::spawn(move || {
            let mut before: BTreeMap<String, Server> = BTreeMap::new();
            while !stopping.load(Ordering::Relaxed) {
                if let Ok(now) = servers(&socket) {
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .note(&before, &now);
                    before = now;
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        View {
            stop,
            report,
            thread: Some(thread),
        }
    }

    /// Ends, and says what was seen.
    pub fn finish(mut self) -> ViewReport {
        self.halt();
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.halt();
    }
}

impl ViewReport {
    fn note(&mut self, before: &BTreeMap<String, Server>, now: &BTreeMap<String, Server>) {
        self.looks += 1;
        for (name, server) in now {
            let Some(last) = before.get(name) else { continue };
            if last.is_out() && server.is_out() {
                self.given_while_out += server.given.saturating_sub(last.given);
            }
            if server.is_out() && !last.is_out() {
                self.taken_out.push(name.clone());
            }
        }
    }
}

/// The servers in one look: state and counters are of one moment.
pub(super) fn servers(socket: &Path) -> io::Result<BTreeMap<String, Server>> {
    let text = tell(socket, "show stat -1 4 -1")?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("# ")
        .split(',')
        .collect();
    let servers = lines.filter(|line| !line.is_empty()).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &str| {
            let position = header.iter().position(|column| *column == name);
            position
                .and_then(|position| cells.get(position).copied())
                .unwrap_or_default()
        };
        let server = Server {
            status: cell("status").to_owned(),
            sessions: cell("scur").parse().unwrap_or(0),
            given: cell("stot").parse().unwrap_or(0),
        };
        (cell("svname").to_owned(), server)
    });
    Ok(servers.collect())
}
