//! Journals as text: one JSON document per line, to be kept, sent and looked at.
//!
//! The first line is the run with its plan, each further line one event.

use std::io::{BufRead, Write};

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use upshift_plan::Plan;
use upshift_run::{Event, JOURNAL_FORMAT};

use crate::error::StoreError;
use crate::journal::{encode, insert};
use crate::{Store, now_ms};

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    run: String,
    created_ms: u64,
    created_by: String,
    setting: Value,
    plan: Plan,
}

/// A further line.
#[derive(Serialize, Deserialize)]
struct Line {
    seq: u64,
    event: Event,
}

impl Store {
    /// Writes a run with its journal out.
    pub fn export(&self, run: &str, to: &mut dyn Write) -> Result<(), StoreError> {
        let record = self.run(run)?;
        let head = Head {
            format: JOURNAL_FORMAT,
            run: record.id,
            created_ms: record.created_ms,
            created_by: record.created_by,
            setting: record.setting,
            plan: self.plan(run)?,
        };
        writeln!(to, "{}", encode("run", &head)?).map_err(StoreError::Export)?;
        for recorded in self.events(run, 1)? {
            let line = Line {
                seq: recorded.sequence,
                event: recorded.event,
            };
            writeln!(to, "{}", encode("event", &line)?).map_err(StoreError::Export)?;
        }
        to.flush().map_err(StoreError::Export)
    }

    /// Reads what [`Store::export`] wrote into this store, to look at it. No lease is involved: a run that is already
    /// here is refused. Yields the run's name.
    pub fn import(&self, from: &mut dyn BufRead) -> Result<String, StoreError> {
        let mut lines = from.lines().enumerate().map(|(number, line)| (number + 1, line));
        let (number, first) = lines.next().ok_or_else(|| StoreError::Import {
            line: 1,
            reason: "it is empty".to_owned(),
        })?;
        let head: Head = parse(number, first)?;
        if head.format != JOURNAL_FORMAT {
            let reason = format!(
                "it has format {}, this program reads {JOURNAL_FORMAT}",
                head.format
            );
            return Err(StoreError::Import { line: 1, reason });
        }
        let mut events = Vec::new();
        for (number, text) in lines {
            let line: Line = parse(number, text)?;
            let expected = events.len() as u64 + 1;
            if line.seq != expected {
                let reason = format!("event {expected} was expected, not {}", line.seq);
                return Err(StoreError::Import { line: number, reason });
            }
            events.push(line.event);
        }
        self.insert_run(&head, &events)?;
        Ok(head.run)
    }

    fn insert_run(&self, head: &Head, events: &[Event]) -> Result<(), StoreError> {
        let (plan, setting) = (encode("plan", &head.plan)?, encode("setting", &head.setting)?);
        self.write(|transaction| {
            let added = transaction.execute(
                "INSERT OR IGNORE INTO runs (id, fleet, product, plan, fingerprint, setting, created_ms, created_by, outcome_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    head.run,
                    head.plan.fleet,
                    head.plan.product,
                    plan,
                    head.plan.fingerprint,
                    setting,
                    head.created_ms,
                    head.created_by,
                    now_ms()
                ],
            )?;
            if added == 0 {
                return Err(StoreError::RunExists(head.run.clone()));
            }
            insert(transaction, &head.run, events).map(drop)
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    line: usize,
    text: std::io::Result<String>,
) -> Result<T, StoreError> {
    let error = |reason: String| StoreError::Import { line, reason };
    let text = text.map_err(|reason| error(reason.to_string()))?;
    serde_json::from_str(&text).map_err(|reason| error(reason.to_string()))
}
