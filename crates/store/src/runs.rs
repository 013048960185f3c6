//! The runs, past and present.

use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;
use upshift_plan::Plan;
use upshift_run::Outcome;

use crate::error::StoreError;
use crate::journal::{decode, encode};
use crate::lease::{self, Lease};
use crate::{Store, now_ms};

/// A run to be begun.
#[derive(Clone, Debug)]
pub struct NewRun<'a> {
    /// Its name; see [`Store::fresh_run_id`].
    pub id: &'a str,
    /// The plan, as it was confirmed.
    pub plan: &'a Plan,
    /// Whatever the controller needs to take the run up again; the store does not look into it.
    pub setting: &'a Value,
    /// Who began it.
    pub created_by: &'a str,
}

/// A run without its plan and journal.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Its name.
    pub id: String,
    /// Name of the fleet.
    pub fleet: String,
    /// Short name of the product.
    pub product: String,
    /// Fingerprint of the plan.
    pub fingerprint: String,
    /// See [`NewRun::setting`].
    pub setting: Value,
    /// When it began, milliseconds since 1970.
    pub created_ms: u64,
    /// Who began it.
    pub created_by: String,
    /// How it ended or why it rests, as far as known.
    pub outcome: Option<Outcome>,
    /// When that was written, milliseconds since 1970.
    pub outcome_ms: Option<u64>,
}

const COLUMNS: &str = "id, fleet, product, fingerprint, setting, created_ms, created_by, outcome, outcome_ms";

impl Store {
    /// A name for a new run of a fleet that no run has yet, on whichever machine: `20261120-0415-etcd-7f3a9c`.
    pub fn fresh_run_id(&self, fleet: &str) -> Result<String, StoreError> {
        let connection = self.lock();
        let stamp: String =
            connection.query_row("SELECT strftime('%Y%m%d-%H%M', 'now')", [], |row| row.get(0))?;
        let fleet: String = fleet
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        loop {
            let random: String =
                connection.query_row("SELECT lower(hex(randomblob(3)))", [], |row| row.get(0))?;
            let id = format!("{stamp}-{fleet}-{random}");
            let taken: bool =
                connection.query_row("SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)", [&id], |row| {
                    row.get(0)
                })?;
            if !taken {
                return Ok(id);
            }
        }
    }

    /// Begins a run under a lease of its fleet.
    pub fn create_run(&self, lease: &Lease, run: &NewRun<'_>) -> Result<(), StoreError> {
        let plan = encode("plan", run.plan)?;
        let setting = encode("setting", run.setting)?;
        self.write(|transaction| {
            lease::check(transaction, lease)?;
            let added = transaction.execute(
                "INSERT OR IGNORE INTO runs (id, fleet, product, plan, fingerprint, setting, created_ms, created_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    run.id,
                    run.plan.fleet,
                    run.plan.product,
                    plan,
                    run.plan.fingerprint,
                    setting,
                    now_ms(),
                    run.created_by
                ],
            )?;
            if added == 0 {
                return Err(StoreError::RunExists(run.id.to_owned()));
            }
            lease::carry(transaction, lease, run.id)
        })
    }

    /// Notes that the holder of the lease carries this run from now on.
    pub fn take_up(&self, lease: &Lease, run: &str) -> Result<(), StoreError> {
        self.write(|transaction| {
            lease::check(transaction, lease)?;
            lease::carry(transaction, lease, run)
        })
    }

    /// Notes how a run ended or why it rests; `None` when it goes on. For listings: the journal is the truth.
    pub fn set_outcome(&self, lease: &Lease, run: &str, outcome: Option<&Outcome>) -> Result<(), StoreError> {
        let text = outcome.map(|outcome| encode("outcome", outcome)).transpose()?;
        self.write(|transaction| {
            lease::check(transaction, lease)?;
            transaction.execute(
                "UPDATE runs SET outcome = ?2, outcome_ms = ?3 WHERE id = ?1",
                params![run, text, text.as_ref().map(|_| now_ms())],
            )?;
            Ok(())
        })
    }

    /// One run.
    pub fn run(&self, id: &str) -> Result<RunRecord, StoreError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached(&format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"))?;
        let row = statement.query_row([id], raw).optional()?;
        row.ok_or_else(|| StoreError::UnknownRun(id.to_owned()))?.read()
    }

    /// All runs of a fleet, or of all fleets, the newest first.
    pub fn runs(&self, fleet: Option<&str>) -> Result<Vec<RunRecord>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM runs WHERE ?1 IS NULL OR fleet = ?1 ORDER BY created_ms DESC, rowid DESC"
        ))?;
        let rows: Vec<Raw> = statement.query_map([fleet], raw)?.collect::<Result<_, _>>()?;
        rows.into_iter().map(Raw::read).collect()
    }

    /// The plan of a run.
    pub fn plan(&self, run: &str) -> Result<Plan, StoreError> {
        let connection = self.lock();
        let text: Option<String> = connection
            .query_row("SELECT plan FROM runs WHERE id = ?1", [run], |row| row.get(0))
            .optional()?;
        decode(
            &format!("plan of run {run}"),
            &text.ok_or_else(|| StoreError::UnknownRun(run.to_owned()))?,
        )
    }
}

/// A row with its JSON still as text.
struct Raw {
    record: RunRecord,
    setting: String,
    outcome: Option<String>,
}

impl Raw {
    fn read(self) -> Result<RunRecord, StoreError> {
        let what = |part: &str| format!("{part} of run {}", self.record.id);
        let setting = decode(&what("setting"), &self.setting)?;
        let outcome = self
            .outcome
            .as_deref()
            .map(|text| decode(&what("outcome"), text))
            .transpose()?;
        Ok(RunRecord {
            setting,
            outcome,
            ..self.record
        })
    }
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let record = RunRecord {
        id: row.get("id")?,
        fleet: row.get("fleet")?,
        product: row.get("product")?,
        fingerprint: row.get("fingerprint")?,
        setting: Value::Null,
        created_ms: row.get("created_ms")?,
        created_by: row.get("created_by")?,
        outcome: None,
        outcome_ms: row.get("outcome_ms")?,
    };
    Ok(Raw {
        record,
        setting: row.get("setting")?,
        outcome: row.get("outcome")?,
    })
}
