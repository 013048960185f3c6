//! The directory in which fetched things are kept.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::package;

/// The cache: `$UPSHIFT_CACHE`, `$XDG_CACHE_HOME/upshift` or `~/.cache/upshift`. Safe to remove at any time.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens this user's cache.
    ///
    /// # Errors
    /// Where no directory can be made for it.
    pub fn open() -> io::Result<Self> {
        let set = |name: &str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = set("UPSHIFT_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("upshift")))
            .or_else(|| set("HOME").map(|path| path.join(".cache/upshift")))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    "neither UPSHIFT_CACHE, XDG_CACHE_HOME nor HOME is set",
                )
            })?;
        Cache::at(&root)
    }

    /// Opens a cache in a directory.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn at(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Cache {
            root: root.canonicalize()?,
        })
    }

    /// A place in the cache.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Holds a lock of this name until the value is dropped, so that two processes do not fetch the same thing at once.
    ///
    /// # Errors
    /// Where the lock's file cannot be made.
    pub fn lock(&self, name: &str) -> io::Result<File> {
        let directory = self.root.join("locks");
        fs::create_dir_all(&directory)?;
        let file = File::create(directory.join(name))?;
        file.lock()?;
        Ok(file)
    }

    /// A directory for work in progress, on the same file system, removed when dropped.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn scratch(&self) -> io::Result<tempfile::TempDir> {
        let directory = self.root.join("scratch");
        fs::create_dir_all(&directory)?;
        tempfile::tempdir_in(directory)
    }

    /// Whether the cache holds a file with this digest at a place.
    pub fn holds(&self, name: &str, sha256: &str) -> bool {
        package::digest(&self.path(name)).is_ok_and(|(found, _)| found == sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_only_with_its_digest() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path()).unwrap();
        fs::write(cache.path("file"), b"abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(cache.holds("file", right));
        fs::write(cache.path("file"), b"abd").unwrap();
        assert!(!cache.holds("file", right));
        assert!(!cache.holds("other", right));
    }

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path()).unwrap();
        let held = cache.lock("etcd").unwrap();
        let file = File::create(directory.path().join("locks/etcd")).unwrap();
        assert!(file.try_lock().is_err());
        drop(held);
        assert!(file.try_lock().is_ok());
    }
}
