//! File systems: how full they are, and what to say when one is.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, NodeError, Result};

/// Space of a file system, in bytes, as the agent's user may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may still be written.
    pub free: u64,
    /// The whole.
    pub total: u64,
}

/// Space of the file system that holds a path, or would hold it: the nearest directory that exists is asked.
pub fn space(path: &Path) -> Result<Space> {
    let existing = nearest_existing(path);
    let figures = rustix::fs::statvfs(existing)
        .context(|| format!("cannot ask for the space of {}", existing.display()))?;
    Ok(Space {
        free: figures.f_bavail.saturating_mul(figures.f_frsize),
        total: figures.f_blocks.saturating_mul(figures.f_frsize),
    })
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"))
}

/// The directory at which the file system that holds a path is mounted.
pub fn mount_point(path: &Path) -> PathBuf {
    let Ok(path) = nearest_existing(path).canonicalize() else {
        return PathBuf::from("/");
    };
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    let own = device(&path);
    path.ancestors()
        .take_while(|ancestor| device(ancestor) == own)
        .last()
        .unwrap_or(&path)
        .to_owned()
}

/// What an operator reads when a file system is full.
pub fn full(path: &Path, what: &str, needed: u64) -> NodeError {
    let free = space(path).map(|space| space.free).unwrap_or(0);
    NodeError::Full(format!(
        "the file system {} is full: {what} needs {needed} bytes, {free} bytes are free; nothing of it was kept",
        mount_point(path).display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_exist_is_asked_for_its_parent() {
        let here = space(Path::new("/proc/../tmp")).unwrap();
        assert!(here.free <= here.total && here.total > 0);
        assert_eq!(space(Path::new("/tmp/not/there")).unwrap().total, here.total);
        assert_eq!(mount_point(Path::new("/proc/self")), Path::new("/proc"));
    }
}
