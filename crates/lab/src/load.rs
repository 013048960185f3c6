//! A client that writes and reads without pause, and knows afterwards what was lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::client::{Client, ClientError};

/// What a load saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Writes that the cluster acknowledged.
    pub acknowledged: u64,
    /// Acknowledged writes that could not be read afterwards, or not as they were written.
    pub lost: u64,
    /// Requests that no member answered as it should.
    pub failed_requests: u64,
    /// The longest time between two acknowledged writes, in milliseconds.
    pub longest_gap_ms: u64,
    /// Reads of acknowledged writes while the load ran.
    pub reads: u64,
}

#[derive(Default)]
struct Seen {
    acknowledged: BTreeSet<u64>,
    wrong: BTreeSet<u64>,
    failed: u64,
    reads: u64,
    longest_gap: Duration,
    last: Option<Instant>,
    reasons: Vec<String>,
}

impl Seen {
    /// How many different reasons are kept.
    const REASONS: usize = 8;

    fn fail(&mut self, error: &ClientError) {
        self.failed += 1;
        let reason = error.to_string();
        if self.reasons.len() < Seen::REASONS && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

/// A load that runs until it is finished or dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<thread::JoinHandle<()>>,
    client: Client,
    prefix: String,
}

impl Load {
    /// Starts writing keys `prefix/1`, `prefix/2`, … at most `rate` times a second, and reading every tenth of them again.
    pub fn start(client: &Client, prefix: &str, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut writer = Writer {
            client: client.clone(),
            prefix: prefix.to_owned(),
            seen: Arc::clone(&seen),
        };
        let stopping = Arc::clone(&stop);
        let pause = Duration::from_secs(1) / rate.max(1);
        let thread = thread::spawn(move || {
            let mut number = 0;
            let mut due = Instant::now();
            while !stopping.load(Ordering::Relaxed) {
                number += 1;
                writer.write(number);
                if number % 10 == 0 {
                    writer.read_again(number);
                }
                due = (due + pause).max(Instant::now() - Duration::from_millis(100));
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        Load {
            stop,
            seen,
            thread: Some(thread),
            client: client.clone(),
            prefix: prefix.to_owned(),
        }
    }

    /// What it has seen so far; `lost` counts only what reads have shown.
    pub fn so_far(&self) -> LoadReport {
        let seen = lock(&self.seen);
        let open = seen.last.map_or(Duration::ZERO, |last| last.elapsed());
        report(&seen, seen.longest_gap.max(open), &seen.wrong)
    }

    /// The first few different reasons why requests failed.
    pub fn reasons(&self) -> Vec<String> {
        lock(&self.seen).reasons.clone()
    }

    /// Stops, and reads every acknowledged write.
    ///
    /// # Errors
    /// Where the cluster cannot be read within half a minute: then nobody knows what is lost.
    pub fn finish(mut self) -> Result<LoadReport, ClientError> {
        self.halt();
        let deadline = Instant::now() + Duration::from_secs(30);
        let kept = loop {
            match self.client.all(&format!("{}/", self.prefix)) {
                Ok(kept) => break kept,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        };
        let seen = lock(&self.seen);
        let mut lost = seen.wrong.clone();
        lost.extend(
            seen.acknowledged
                .iter()
                .filter(|number| kept.get(&key(&self.prefix, **number)) != Some(&value(**number))),
        );
        Ok(report(&seen, seen.longest_gap, &lost))
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.halt();
    }
}

struct Writer {
    client: Client,
    prefix: String,
    seen: Arc<Mutex<Seen>>,
}

impl Writer {
    fn write(&mut self, number: u64) {
        let written = self.client.put(&key(&self.prefix, number), &value(number));
        let mut seen = lock(&self.seen);
        if let Err(error) = written {
            seen.fail(&error);
            return;
        }
        let now = Instant::now();
        if let Some(last) = seen.last {
            seen.longest_gap = seen.longest_gap.max(now - last);
        }
        seen.last = Some(now);
        seen.acknowledged.insert(number);
    }

    /// Reads an earlier write: half as old as the newest.
    fn read_again(&mut self, number: u64) {
        let earlier = {
            let seen = lock(&self.seen);
            seen.acknowledged.range(number / 2..).next().copied()
        };
        let Some(earlier) = earlier else { return };
        let found = self.client.get(&key(&self.prefix, earlier));
        let mut seen = lock(&self.seen);
        match found {
            Ok(found) => {
                seen.reads += 1;
                if found.as_ref() != Some(&value(earlier)) {
                    seen.wrong.insert(earlier);
                }
            }
            Err(error) => seen.fail(&error),
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(prefix: &str, number: u64) -> String {
    format!("{prefix}/{number}")
}

fn value(number: u64) -> String {
    format!("value-{}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn report(seen: &Seen, gap: Duration, lost: &BTreeSet<u64>) -> LoadReport {
    LoadReport {
        acknowledged: seen.acknowledged.len() as u64,
        lost: lost.len() as u64,
        failed_requests: seen.failed,
        longest_gap_ms: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
        reads: seen.reads,
    }
}
