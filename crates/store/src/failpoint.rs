//! Places at which tests may kill the process.
//!
//! With the feature `failpoints`, the environment variable `UPSHIFT_FAILPOINT` says when: `journal:N=abort-before` right
//! before the N-th write of a journal by this process is committed, `journal:N=abort` right after, before anybody learns
//! that it was. N counts from 1.

/// On which side of a commit a failpoint lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// Kills the process if it was asked to be killed here. `Before` begins the next write, `After` ends it.
#[cfg(feature = "failpoints")]
pub(crate) fn journal(side: Side) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WRITES: AtomicU64 = AtomicU64::new(0);
    static WANTED: OnceLock<Option<(u64, Side)>> = OnceLock::new();
    let write = match side {
        Side::Before => WRITES.fetch_add(1, Ordering::SeqCst) + 1,
        Side::After => WRITES.load(Ordering::SeqCst),
    };
    let wanted = WANTED.get_or_init(|| {
        std::env::var("UPSHIFT_FAILPOINT")
            .ok()
            .and_then(|text| parse(&text))
    });
    if *wanted == Some((write, side)) {
        // As `kill -9`: nothing is unwound, nothing flushed.
        let _dies_before_it_answers =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}

/// Does nothing: there are no failpoints in this build.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn journal(_: Side) {}

#[cfg(feature = "failpoints")]
fn parse(text: &str) -> Option<(u64, Side)> {
    let (number, what) = text.strip_prefix("journal:")?.split_once('=')?;
    let side = match what {
        "abort" | "abort-after" => Side::After,
        "abort-before" => Side::Before,
        _ => return None,
    };
    Some((number.parse().ok()?, side))
}
