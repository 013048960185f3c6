//! Putting back what was saved, in place, file by file: a restore that was cut short is finished by the next one.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::copy::{copy_attributes, copy_contents, dress};
use super::{Manifest, Root, copy_of, read};
use crate::digest;
use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::failpoint;
use crate::inventory::{self, Item, Kind};
use crate::layout::{Layout, make_directory};

/// Puts back what was saved under a name, and compares the result with what was saved. Where nothing was saved, nothing is changed.
pub fn restore(layout: &Layout, run: &str, name: &str) -> Result<Value> {
    let saved = layout.saved(run, name)?;
    // A guard that fires before anything was copied aside takes the same rollback as one that fires later.
    let Some(manifest) = read(&saved)? else {
        return Ok(json!({"restored": false}));
    };
    check_copies(&saved, &manifest)?;
    for (index, root) in manifest.roots.iter().enumerate() {
        let cannot = || format!("cannot restore {}", root.path.display());
        restore_root(root, &copy_of(&saved, index)).context(cannot)?;
        failpoint::hit("restored-path");
        let now = inventory::take(&root.path).context(cannot)?;
        if now != root.items {
            let different = now.iter().find(|item| !root.items.contains(item));
            let name = different
                .map(|item| format!(" (first: `{}`)", item.name))
                .unwrap_or_default();
            return Err(NodeError::refused(format!(
                "{} is not as it was saved, though it was restored{name}; somebody else writes there",
                root.path.display()
            )));
        }
    }
    Ok(manifest.summary())
}

/// Nothing is touched where the copy is not what was saved.
fn check_copies(saved: &Path, manifest: &Manifest) -> Result<()> {
    for (index, root) in manifest.roots.iter().enumerate() {
        let copies = copy_of(saved, index);
        for item in &root.items {
            let Kind::File { sha256, .. } = &item.kind else {
                continue;
            };
            let copy = below(&copies, &item.name);
            let found =
                digest::of_file(&copy).context(|| format!("cannot read the saved {}", copy.display()))?;
            if found != *sha256 {
                return Err(NodeError::refused(format!(
                    "the saved copy of {} is damaged; nothing was changed",
                    below(&root.path, &item.name).display()
                )));
            }
        }
    }
    Ok(())
}

fn below(path: &Path, name: &str) -> PathBuf {
    if name.is_empty() {
        path.to_owned()
    } else {
        path.join(name)
    }
}

fn restore_root(root: &Root, copies: &Path) -> io::Result<()> {
    if root.items.is_empty() {
        return remove_any(&root.path);
    }
    if let Some(parent) = root.path.parent() {
        make_directory(parent, 0o755).map_err(io::Error::other)?;
    }
    for item in &root.items {
        put(&below(&root.path, &item.name), &below(copies, &item.name), item)?;
    }
    remove_others(root)?;
    // Owners, modes and times last, the deepest first: what is written into a directory changes its time.
    for item in root.items.iter().rev() {
        let place = below(&root.path, &item.name);
        copy_attributes(&below(copies, &item.name), &place)?;
        dress(&place, item)?;
        if item.kind == Kind::Directory {
            File::open(&place)?.sync_all()?;
        }
    }
    durable::sync_parent(&root.path).map_err(io::Error::other)
}

fn put(place: &Path, copy: &Path, item: &Item) -> io::Result<()> {
    let now = match place.symlink_metadata() {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(now) = &now {
        if holds(place, now, item)? {
            return Ok(());
        }
        // A file is replaced in one step; only what is of another kind has to go first.
        if now.is_dir() || item.kind == Kind::Directory {
            remove_any(place)?;
        }
    }
    let temporary = durable::temporary_beside(place);
    match &item.kind {
        Kind::Directory => return fs::create_dir(place),
        Kind::File { .. } => copy_contents(copy, &temporary)?,
        Kind::Link { target } => symlink(target, &temporary)?,
    }
    // In its final form before it has its name: a service that starts now must be able to read it.
    dress(&temporary, item)?;
    fs::rename(&temporary, place).inspect_err(|_| {
        // Best effort: the name is never used again.
        let _ = fs::remove_file(&temporary);
    })
}

fn holds(place: &Path, now: &Metadata, item: &Item) -> io::Result<bool> {
    Ok(match &item.kind {
        Kind::Directory => now.is_dir(),
        Kind::Link { target } => now.is_symlink() && fs::read_link(place)?.as_os_str() == target.as_str(),
        Kind::File { size, sha256 } => {
            now.is_file() && now.len() == *size && digest::of_file(place)? == *sha256
        }
    })
}

/// Removes what was not there when it was saved.
fn remove_others(root: &Root) -> io::Result<()> {
    let known: BTreeSet<&str> = root.items.iter().map(|item| item.name.as_str()).collect();
    for directory in root.items.iter().filter(|item| item.kind == Kind::Directory) {
        let place = below(&root.path, &directory.name);
        for entry in inventory::sorted(&place)? {
            let name = if directory.name.is_empty() {
                entry.clone()
            } else {
                format!("{}/{entry}", directory.name)
            };
            let path = place.join(&entry);
            let metadata = path.symlink_metadata()?;
            let counts = metadata.is_dir() || metadata.is_file() || metadata.is_symlink();
            if counts && !known.contains(name.as_str()) {
                remove_any(&path)?;
            }
        }
    }
    Ok(())
}

fn remove_any(path: &Path) -> io::Result<()> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}
