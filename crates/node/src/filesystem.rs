//! File systems: how full they are, and what to say when one is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
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

/// The path itself, or the nearest directory above it that exists.
pub fn nearest_existing(path: &Path) -> &Path {
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

/// What lies at and below some paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What a copy of it takes, in whole blocks.
    pub bytes: u64,
    /// How many files, without directories and links.
    pub files: u64,
}

/// Bytes of a block on most file systems.
const BLOCK: u64 = 4096;

/// What lies at and below these paths. A path below another one counts once, links are not followed, and what vanishes meanwhile does
/// not count.
///
/// # Errors
/// Where something cannot be read.
pub fn usage<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut last: Option<&Path> = None;
    // Sorted by their components, what lies below a path comes right after it.
    for path in paths.into_iter().collect::<BTreeSet<_>>() {
        if last.is_some_and(|last| path.starts_with(last)) {
            continue;
        }
        last = Some(path);
        add_usage(path, &mut usage).context(|| format!("cannot look through {}", path.display()))?;
    }
    Ok(usage)
}

/// What was asked of a path; nothing where there is no such path.
pub fn if_there<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn add_usage(path: &Path, usage: &mut Usage) -> io::Result<()> {
    let Some(metadata) = if_there(path.symlink_metadata())? else {
        return Ok(());
    };
    let length = if metadata.is_file() { metadata.len() } else { 1 };
    usage.bytes += length.div_ceil(BLOCK) * BLOCK;
    usage.files += u64::from(metadata.is_file());
    if metadata.is_dir() {
        for entry in if_there(fs::read_dir(path))?.into_iter().flatten() {
            add_usage(&entry?.path(), usage)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_some_paths_is_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("data")).unwrap();
        fs::write(path("data-old"), b"x").unwrap();
        fs::write(path("data/one"), vec![0; 5000]).unwrap();
        fs::write(path("data/two"), b"x").unwrap();
        fs::hard_link(path("data/two"), path("data/again")).unwrap();
        std::os::unix::fs::symlink("/", path("data/root")).unwrap();
        fs::write(path("alone"), b"").unwrap();
        let paths = [
            path("data"),
            path("data-old"),
            path("data/one"),
            path("data"),
            path("alone"),
            path("none"),
            path("alone/below"),
        ];
        let used = usage(paths.iter().map(PathBuf::as_path)).unwrap();
        // The directory, a file of two blocks, three of one block, a link; the empty file takes none.
        assert_eq!(
            used,
            Usage {
                bytes: 7 * BLOCK,
                files: 5
            }
        );
    }

    #[test]
    fn a_path_that_does_not_exist_is_asked_for_its_parent() {
        let here = space(Path::new("/proc/../tmp")).unwrap();
        assert!(here.free <= here.total && here.total > 0);
        assert_eq!(space(Path::new("/tmp/not/there")).unwrap().total, here.total);
        assert_eq!(mount_point(Path::new("/proc/self")), Path::new("/proc"));
    }
}
