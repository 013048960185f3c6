//! What a controller must never forget: the journals of runs, who holds which fleet, and what operators said.
//!
//! One SQLite file, written ahead and flushed to disk with every commit. Any number of processes may read it while one
//! works; who writes a journal shows with every write that its lease on the fleet still stands.

mod acceptances;
mod error;
mod export;
mod failpoint;
mod journal;
mod lease;
mod process;
mod runs;
mod schema;

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub use acceptances::Accepted;
pub use error::{Held, StoreError};
pub use journal::{Lasting, Recorded};
pub use lease::{Acquire, HEARTBEAT_EVERY, Holder, Lease, LeaseInfo, STALE_AFTER};
pub use runs::{NewRun, RunRecord};

/// How long a write waits for another process that is writing.
const BUSY: Duration = Duration::from_secs(10);

/// The store of one user or machine.
pub struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the store, and makes it where there is none, together with its directory.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let directory = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty());
        make_private(directory, path).map_err(|reason| StoreError::Directory {
            path: directory.unwrap_or(path).to_owned(),
            reason,
        })?;
        Store::prepare(path, Connection::open(path))
    }

    /// Opens a store that exists, to look at it.
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Store::prepare(path, Connection::open_with_flags(path, flags))
    }

    fn prepare(path: &Path, connection: rusqlite::Result<Connection>) -> Result<Self, StoreError> {
        let open = || -> Result<Connection, StoreError> {
            let mut connection = connection?;
            connection.busy_timeout(BUSY)?;
            schema::prepare(&mut connection, path)?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Store {
                path: path.to_owned(),
                connection: Mutex::new(connection),
            }),
            Err(StoreError::Database(error)) => Err(StoreError::Open {
                path: path.to_owned(),
                error,
            }),
            Err(error) => Err(error),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic rolls the transaction at hand back; the connection stays usable.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction that is alone in writing from its first statement on, and on disk at its end.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_lasting(Lasting::Always, work)
    }

    fn write_lasting<T>(
        &self,
        lasting: Lasting,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        schema::synchronize(&connection, lasting)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Makes the file and its directory where they are missing, for their owner alone: plans and journals say much of a cluster.
fn make_private(directory: Option<&Path>, file: &Path) -> std::io::Result<()> {
    if let Some(directory) = directory {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
    {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
