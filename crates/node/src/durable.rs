//! Files that are either old or new after a crash, and locks that end with their holder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Crc;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, NodeError, Result};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A name beside `path` that nobody else uses.
pub fn temporary_beside(path: &Path) -> PathBuf {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

/// Writes a file so that a reader, or a host that lost its power, sees the old contents or the new ones.
pub fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Best effort: the name is never used again.
        let _ = fs::remove_file(&temporary);
    }
    written.context(|| format!("cannot write {}", path.display()))?;
    sync_parent(path)
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Writes a value as JSON; see [`write()`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let contents = serde_json::to_vec(value)
        .map_err(|error| NodeError::refused(format!("cannot write {}: {error}", path.display())))?;
    write(path, &contents)
}

/// The checksum of a line of a record.
pub fn checksum(words: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(words.as_bytes());
    crc.sum()
}

/// Reads a value back; nothing where the file does not exist.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let contents = match fs::read(path) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_slice(&contents)
        .map(Some)
        .map_err(|error| NodeError::refused(format!("{} is damaged: {error}", path.display())))
}

/// Removes a file; one that does not exist is removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove {}", path.display()))
        }
        _ => sync_parent(path),
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .context(|| format!("cannot make {} durable", path.display()))
}

/// Makes the name of a file durable.
pub fn sync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

/// An exclusive lock on a file, across processes. It ends when it is dropped, and when its holder dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock.
    pub fn take(path: &Path) -> Result<Self> {
        let file = Self::file(path)?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| format!("cannot lock {}", path.display())),
            }
        }
    }

    /// Whether somebody holds the lock. Any number of processes may look at the same time.
    pub fn is_held(path: &Path) -> Result<bool> {
        match Self::file(path)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => {
                Err(error).context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    fn file(path: &Path) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .context(|| format!("cannot open {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_no_temporary_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1).unwrap();
        write_json(&path, &2).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        write(&path, b"{").unwrap();
        assert!(
            read_json::<u32>(&path)
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = Lock::take(&path).unwrap();
        assert!(Lock::is_held(&path).unwrap());
        drop(held);
        assert!(!Lock::is_held(&path).unwrap());
    }
}
