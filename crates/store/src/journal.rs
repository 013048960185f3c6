//! Journals: the events of runs, in order, each on disk before anything follows from it.

use rusqlite::{Transaction, params};
use upshift_model::Millis;
use upshift_run::{Event, EventKind, OperatorCommand};

use crate::error::StoreError;
use crate::failpoint::{self, Side};
use crate::lease::{self, Lease};
use crate::{Store, now_ms};

/// What events survive once they are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Everything: they are on disk. So are those appended before.
    Always,
    /// The end of this process. A crash of the machine may lose them, the newest first, until the next append that lasts
    /// always: enough where nothing but a look follows from them.
    UntilTheMachineDies,
}

/// An event with its place in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its number, counted from 1 without gaps.
    pub sequence: u64,
    /// The event.
    pub event: Event,
}

impl Store {
    /// Appends events to a run's journal, all or none. [`StoreError::Superseded`] where the lease was taken over, and then nothing was
    /// written.
    pub fn append(
        &self,
        lease: &Lease,
        run: &str,
        events: &[Event],
        lasting: Lasting,
    ) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        failpoint::journal(Side::Before);
        self.write_lasting(lasting, |transaction| {
            lease::check(transaction, lease)?;
            insert(transaction, run, events).map(drop)
        })?;
        failpoint::journal(Side::After);
        Ok(())
    }

    /// Leaves a word for a run. Whoever carries the run takes it from here, soon or when it is taken up again.
    pub fn say(&self, run: &str, who: &str, command: &OperatorCommand) -> Result<(), StoreError> {
        let text = encode("command", command)?;
        self.write(|transaction| {
            exists(transaction, run)?;
            transaction.execute(
                "INSERT INTO commands (run, who, command, created_ms) VALUES (?1, ?2, ?3, ?4)",
                params![run, who, text, now_ms()],
            )?;
            Ok(())
        })
    }

    /// Turns what operators said since into events of the journal, each exactly once, in one transaction. Returns them.
    pub fn take_commands(&self, lease: &Lease, run: &str, at: Millis) -> Result<Vec<Event>, StoreError> {
        // Asked several times a second: most often there is nothing, and that needs no write.
        if self.spoken(run)?.is_empty() {
            return Ok(Vec::new());
        }
        failpoint::journal(Side::Before);
        let events = self.write(|transaction| {
            lease::check(transaction, lease)?;
            let spoken = spoken(transaction, run)?;
            let mut events = Vec::with_capacity(spoken.len());
            for (id, who, text) in spoken {
                let command = decode("command", &text)?;
                let event = Event {
                    at,
                    kind: EventKind::Operator { who, command },
                };
                let sequence = insert(transaction, run, std::slice::from_ref(&event))?;
                transaction.execute(
                    "UPDATE commands SET seq = ?2 WHERE id = ?1",
                    params![id, sequence],
                )?;
                events.push(event);
            }
            Ok(events)
        })?;
        failpoint::journal(Side::After);
        Ok(events)
    }

    /// The journal of a run from an event on (numbers count from 1), in order.
    pub fn events(&self, run: &str, from: u64) -> Result<Vec<Recorded>, StoreError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT seq, body FROM events WHERE run = ?1 AND seq >= ?2 ORDER BY seq")?;
        let rows = statement.query_map(params![run, from], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?))
        })?;
        let mut events = Vec::new();
        for row in rows {
            let (sequence, body) = row?;
            let event = decode(&format!("{sequence} of run {run}"), &body)?;
            events.push(Recorded { sequence, event });
        }
        Ok(events)
    }

    fn spoken(&self, run: &str) -> Result<Vec<(i64, String, String)>, StoreError> {
        let mut connection = self.lock();
        spoken(&connection.transaction()?, run)
    }
}

fn spoken(transaction: &Transaction<'_>, run: &str) -> Result<Vec<(i64, String, String)>, StoreError> {
    let mut statement = transaction
        .prepare_cached("SELECT id, who, command FROM commands WHERE run = ?1 AND seq IS NULL ORDER BY id")?;
    let rows = statement.query_map([run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds events at the end of a journal; yields the number of the last one.
pub(crate) fn insert(transaction: &Transaction<'_>, run: &str, events: &[Event]) -> Result<u64, StoreError> {
    let mut sequence: u64 = transaction
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events WHERE run = ?1")?
        .query_row([run], |row| row.get(0))?;
    let mut statement =
        transaction.prepare_cached("INSERT INTO events (run, seq, body) VALUES (?1, ?2, ?3)")?;
    for event in events {
        sequence += 1;
        statement.execute(params![run, sequence, encode("event", event)?])?;
    }
    Ok(sequence)
}

fn exists(transaction: &Transaction<'_>, run: &str) -> Result<(), StoreError> {
    let found: bool =
        transaction.query_row("SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)", [run], |row| {
            row.get(0)
        })?;
    if found {
        Ok(())
    } else {
        Err(StoreError::UnknownRun(run.to_owned()))
    }
}

pub(crate) fn encode<T: serde::Serialize>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|reason| StoreError::Record {
        what: what.to_owned(),
        reason,
    })
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|reason| StoreError::Record {
        what: what.to_owned(),
        reason,
    })
}
