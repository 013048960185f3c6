//! What can go wrong with the store.

use std::fmt;
use std::path::PathBuf;

use crate::lease::LeaseInfo;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the store failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file cannot be opened.
    #[error("the store {} cannot be opened: {error}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
    /// It or its directory cannot be made.
    #[error("the store cannot be made in {}: {reason}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// There is none.
    #[error("there is no store at {}: nothing was ever run from here", .0.display())]
    Missing(PathBuf),
    /// It was written by a newer program.
    #[error("the store {} was written by a newer version of this program (format {found}, this one knows {known}): upgrade the program", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The file is a database of something else.
    #[error("{} is not a store of this program", .0.display())]
    Foreign(PathBuf),
    /// A record cannot be read.
    #[error("the record {what} of the store cannot be read: {reason}")]
    Record {
        /// Which record.
        what: String,
        /// Why.
        reason: serde_json::Error,
    },
    /// Another controller holds the fleet.
    #[error(transparent)]
    Held(Box<Held>),
    /// Our lease was taken over: nothing can be written any more.
    #[error("another controller has taken the fleet `{fleet}` over (token {token})")]
    Superseded {
        /// Name of the fleet.
        fleet: String,
        /// The other controller's token.
        token: u64,
    },
    /// There is no such run.
    #[error("there is no run `{0}`; `upshift history` lists them")]
    UnknownRun(String),
    /// A run of this name exists.
    #[error("there is a run `{0}` already")]
    RunExists(String),
    /// An exported journal cannot be read.
    #[error("line {line} of the journal cannot be read: {reason}")]
    Import {
        /// Line, counted from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A journal cannot be written out.
    #[error("the journal cannot be written: {0}")]
    Export(#[source] std::io::Error),
}

/// A fleet that another controller holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What is known of the holder.
    pub lease: LeaseInfo,
    /// Milliseconds since 1970, when it was refused.
    pub now_ms: u64,
}

impl std::error::Error for Held {}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeaseInfo {
            fleet,
            run,
            holder,
            since_ms,
            heartbeat_ms,
            ..
        } = &self.lease;
        let run = run
            .as_ref()
            .map_or_else(String::new, |run| format!(" for run {run}"));
        write!(
            f,
            "the fleet `{fleet}` is held by {} (process {} on {}){run} since {} ago; its last sign of life was {} ago. \
             One run at a time: wait for it (`upshift status --watch`), or carry its run on yourself with `upshift resume --take-over`",
            holder.who,
            holder.pid,
            holder.host,
            ago(self.now_ms, *since_ms),
            ago(self.now_ms, *heartbeat_ms),
        )
    }
}

/// A length of time in words that are exact enough to decide on.
fn ago(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
