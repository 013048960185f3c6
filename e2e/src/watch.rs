//! An observer that asks every member, again and again, while something is done to the cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use upshift_lab::http;

/// The most members that were down at once.
pub struct Watch {
    stop: Arc<AtomicBool>,
    most: Arc<Mutex<usize>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watch {
    /// Begins to ask members, as `host:port`, for their version, which they tell whenever they run.
    pub fn start(endpoints: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let most = Arc::new(Mutex::new(0));
        let (stopping, worst) = (Arc::clone(&stop), Arc::clone(&most));
        let thread = thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let down = endpoints
                    .iter()
                    .filter(|endpoint| http::get(endpoint, "/version", Duration::from_secs(2)).is_err())
                    .count();
                let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
                *worst = down.max(*worst);
                drop(worst);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Watch {
            stop,
            most,
            thread: Some(thread),
        }
    }

    /// Ends, and says how many members were down at once at the most.
    pub fn finish(mut self) -> usize {
        self.halt();
        *self.most.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.halt();
    }
}
