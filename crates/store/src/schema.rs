//! The tables.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;
use crate::journal::Lasting;

/// `Upsh`: tells our files from other databases.
const APPLICATION: i32 = 0x5570_7368;

/// How a store of each format becomes one of the next. The format is the number of scripts that were run.
const MIGRATIONS: [&str; 2] = [
    "
CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    fleet       TEXT NOT NULL,
    product     TEXT NOT NULL,
    -- The plan as JSON, as it was confirmed.
    plan        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    -- What the controller needs to take the run up again: where packages lie, which fleet and profile files; JSON.
    setting     TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    -- How it ended or why it rests, as JSON. The journal is the truth; this is for listings.
    outcome     TEXT,
    outcome_ms  INTEGER
);
CREATE INDEX runs_by_fleet ON runs (fleet, created_ms);

CREATE TABLE events (
    run  TEXT NOT NULL REFERENCES runs (id),
    seq  INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;

-- One row per fleet, for ever: its token only grows.
CREATE TABLE leases (
    fleet        TEXT PRIMARY KEY,
    token        INTEGER NOT NULL,
    run          TEXT,
    who          TEXT NOT NULL,
    host         TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    process      TEXT NOT NULL,
    since_ms     INTEGER NOT NULL,
    heartbeat_ms INTEGER NOT NULL,
    held         INTEGER NOT NULL
);

-- What operators said to a run; `seq` is the event that it became.
CREATE TABLE commands (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run        TEXT NOT NULL REFERENCES runs (id),
    who        TEXT NOT NULL,
    command    TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    seq        INTEGER
);
CREATE INDEX commands_open ON commands (run) WHERE seq IS NULL;
",
    "
-- Risks that operators take upon themselves in the upgrades to come; a plan holds those that it was made with.
CREATE TABLE acceptances (
    fleet       TEXT NOT NULL,
    product     TEXT NOT NULL,
    name        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    -- The last day on which it counts, as YYYY-MM-DD; for good where null.
    until       TEXT,
    who         TEXT NOT NULL,
    accepted_ms INTEGER NOT NULL,
    PRIMARY KEY (fleet, product, name)
) WITHOUT ROWID;
",
];

/// How the next transactions are written. With `FULL` the write-ahead log is flushed with every commit, and with it what commits
/// under `NORMAL` have left in it; see "PRAGMA synchronous" in SQLite's documentation.
pub(crate) fn synchronize(connection: &Connection, lasting: Lasting) -> Result<(), StoreError> {
    let mode = match lasting {
        Lasting::Always => "FULL",
        Lasting::UntilTheMachineDies => "NORMAL",
    };
    Ok(connection.pragma_update(None, "synchronous", mode)?)
}

/// Makes the database durable and brings its tables to the newest format.
pub(crate) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    synchronize(connection, Lasting::Always)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i32 = transaction.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let format: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: u32 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (tables > 0 || format > 0) {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    let known = MIGRATIONS.len() as u32;
    if format > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: format,
            known,
        });
    }
    if format < known {
        for script in &MIGRATIONS[format as usize..] {
            transaction.execute_batch(script)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", known)?;
    }
    transaction.commit()?;
    Ok(())
}
