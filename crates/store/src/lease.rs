//! Leases: one controller per fleet.
//!
//! A lease carries a fencing token that only grows. Every write of a journal shows its token, and so does every order to
//! a host: a controller that was taken over can do neither any more, whether it knows of it or not.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::error::{Held, StoreError};
use crate::{Store, now_ms, process};

/// How often a holder should show that it lives; see [`Store::heartbeat`].
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// A lease without a sign of life for this long may be taken over without asking, where its holder's process cannot be
/// looked at. Nothing is lost where it lives after all: it is fenced.
pub const STALE_AFTER: Duration = Duration::from_secs(60);

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The person or machine, as `user@host`.
    pub who: String,
    /// The machine that the controller runs on.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// What identifies that process.
    process: String,
}

impl Holder {
    /// This process, on behalf of somebody.
    pub fn this_process(who: &str) -> Self {
        let pid = std::process::id();
        Holder {
            who: who.to_owned(),
            host: process::host_name(),
            pid,
            process: process::identity(pid),
        }
    }

    /// Whether the process has ended for certain: only for processes of this machine.
    pub fn has_ended(&self) -> bool {
        self.host == process::host_name() && process::has_ended(self.pid, &self.process)
    }
}

/// A lease as anybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// Name of the fleet.
    pub fleet: String,
    /// Fencing token of the holder.
    pub token: u64,
    /// The run that it carries.
    pub run: Option<String>,
    /// Who holds it.
    pub holder: Holder,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// Last sign of life, milliseconds since 1970.
    pub heartbeat_ms: u64,
}

/// A lease that this process holds, or held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Name of the fleet.
    pub fleet: String,
    /// Fencing token.
    pub token: u64,
}

/// How a lease is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acquire {
    /// Take it even from a holder that may live.
    pub take_over: bool,
    /// The token must be greater than this: what hosts said they have seen of another store's controllers.
    pub above: u64,
}

impl Store {
    /// Takes the lease of a fleet. Refused with [`StoreError::Held`] where somebody holds it who may live, unless it is
    /// taken over.
    pub fn acquire(&self, fleet: &str, holder: &Holder, how: Acquire) -> Result<Lease, StoreError> {
        self.write(|transaction| {
            let now = now_ms();
            let row = read(transaction, fleet)?;
            let last = row.as_ref().map_or(0, |(lease, _)| lease.token);
            if let Some((lease, true)) = row
                && !how.take_over
                && !abandoned(&lease, now)
            {
                return Err(StoreError::Held(Box::new(Held { lease, now_ms: now })));
            }
            // Counted from the clock, so that a controller with another store (or a lost one) gets a younger token, too.
            let token = now.max(last + 1).max(how.above.saturating_add(1));
            transaction.execute(
                "INSERT OR REPLACE INTO leases
                 (fleet, token, run, who, host, pid, process, since_ms, heartbeat_ms, held)
                 VALUES (?1, ?2, NULL, ?3, ?4, ?5, ?6, ?7, ?7, 1)",
                params![
                    fleet,
                    token,
                    holder.who,
                    holder.host,
                    holder.pid,
                    holder.process,
                    now
                ],
            )?;
            Ok(Lease {
                fleet: fleet.to_owned(),
                token,
            })
        })
    }

    /// Shows that the holder lives. [`StoreError::Superseded`] where the lease was taken over.
    pub fn heartbeat(&self, lease: &Lease) -> Result<(), StoreError> {
        self.write(|transaction| {
            check(transaction, lease)?;
            transaction.execute(
                "UPDATE leases SET heartbeat_ms = ?2 WHERE fleet = ?1",
                params![lease.fleet, now_ms()],
            )?;
            Ok(())
        })
    }

    /// Gives the lease back. Nothing happens where it was taken over.
    pub fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE leases SET held = 0 WHERE fleet = ?1 AND token = ?2",
                params![lease.fleet, lease.token],
            )?;
            Ok(())
        })
    }

    /// Who holds a fleet, if anybody does. A holder that has ended without giving back still shows; see
    /// [`Holder::has_ended`].
    pub fn lease(&self, fleet: &str) -> Result<Option<LeaseInfo>, StoreError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        Ok(read(&transaction, fleet)?
            .filter(|(_, held)| *held)
            .map(|(lease, _)| lease))
    }
}

/// Whether the holder is gone, as far as can be told from here.
fn abandoned(lease: &LeaseInfo, now: u64) -> bool {
    if lease.holder.host == process::host_name() && !lease.holder.process.is_empty() {
        // It can be looked at: a process that stands still is not gone.
        return lease.holder.has_ended();
    }
    now.saturating_sub(lease.heartbeat_ms) > STALE_AFTER.as_millis() as u64
}

/// Fails where the lease is not ours any more. Called in every transaction that writes for a run.
pub(crate) fn check(transaction: &Transaction<'_>, lease: &Lease) -> Result<(), StoreError> {
    let row: Option<(u64, bool)> = transaction
        .prepare_cached("SELECT token, held FROM leases WHERE fleet = ?1")?
        .query_row([&lease.fleet], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match row {
        Some((token, true)) if token == lease.token => Ok(()),
        row => Err(StoreError::Superseded {
            fleet: lease.fleet.clone(),
            token: row.map_or(lease.token, |(token, _)| token),
        }),
    }
}

/// Notes which run the holder carries, for those who ask.
pub(crate) fn carry(transaction: &Transaction<'_>, lease: &Lease, run: &str) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE leases SET run = ?2 WHERE fleet = ?1",
        params![lease.fleet, run],
    )?;
    Ok(())
}

fn read(transaction: &Transaction<'_>, fleet: &str) -> Result<Option<(LeaseInfo, bool)>, StoreError> {
    let lease = |row: &Row<'_>| {
        let holder = Holder {
            who: row.get("who")?,
            host: row.get("host")?,
            pid: row.get("pid")?,
            process: row.get("process")?,
        };
        let info = LeaseInfo {
            fleet: row.get("fleet")?,
            token: row.get("token")?,
            run: row.get("run")?,
            holder,
            since_ms: row.get("since_ms")?,
            heartbeat_ms: row.get("heartbeat_ms")?,
        };
        Ok((info, row.get("held")?))
    };
    Ok(transaction
        .query_row("SELECT * FROM leases WHERE fleet = ?1", [fleet], lease)
        .optional()?)
}
