//! Copies with everything that belongs to a file: owner, mode, times, extended attributes.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr, utimensat,
};

use crate::digest;
use crate::inventory::{self, Item};

/// Copies a path and what is below it; what was copied, as the source says it. Nothing where it does not exist.
pub fn copy(from: &Path, to: &Path) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    match from.symlink_metadata() {
        Ok(metadata) => copy_item(from, to, String::new(), &metadata, &mut items)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(items)
}

fn copy_item(
    from: &Path,
    to: &Path,
    name: String,
    metadata: &Metadata,
    items: &mut Vec<Item>,
) -> io::Result<()> {
    let Some(item) = inventory::item(from, &name, metadata, |from| copy_file(from, to, metadata))? else {
        return Ok(());
    };
    if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    }
    items.push(item);
    if metadata.is_dir() {
        fs::create_dir(to)?;
        for entry in inventory::sorted(from)? {
            let below = from.join(&entry);
            let name = if name.is_empty() {
                entry.clone()
            } else {
                format!("{name}/{entry}")
            };
            copy_item(&below, &to.join(&entry), name, &below.symlink_metadata()?, items)?;
        }
    }
    let item = inventory::item(from, &name, metadata, |_| Ok(String::new()))?;
    if let Some(item) = item {
        copy_attributes(from, to)?;
        dress(to, &item)?;
    }
    if metadata.is_dir() {
        File::open(to)?.sync_all()?;
    }
    Ok(())
}

/// Copies contents, and says the digest of the copy. A file that changes meanwhile is an error: nobody wants half of it.
fn copy_file(from: &Path, to: &Path, before: &Metadata) -> io::Result<String> {
    copy_contents(from, to)?;
    let after = from.symlink_metadata()?;
    let moment = |metadata: &Metadata| {
        (
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        )
    };
    if moment(before) != moment(&after) {
        return Err(io::Error::other(format!(
            "{} was changed while it was copied",
            from.display()
        )));
    }
    digest::of_file(to)
}

/// Copies contents into a new file, readable by nobody else, and makes them durable.
pub fn copy_contents(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::create_new(to)?;
    target.set_permissions(fs::Permissions::from_mode(0o600))?;
    // The kernel copies, or shares the blocks where the file system can.
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// Gives a copy the owner, mode and time of the item.
pub fn dress(path: &Path, item: &Item) -> io::Result<()> {
    let now = path.symlink_metadata()?;
    if (now.uid(), now.gid()) != item.owner {
        lchown(path, Some(item.owner.0), Some(item.owner.1))?;
    }
    if !now.is_symlink() {
        // After the owner: changing the owner takes set-user bits away.
        fs::set_permissions(path, fs::Permissions::from_mode(item.mode))?;
    }
    let moment = Timespec {
        tv_sec: item.changed.0,
        tv_nsec: item.changed.1,
    };
    let times = Timestamps {
        last_access: moment,
        last_modification: moment,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
}

/// Copies access lists, labels and the like; what the file system or the agent's user may not have is left out.
pub fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = vec![0; 64 * 1024];
    let length = match llistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0; 64 * 1024];
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let Ok(length) = lgetxattr(from, name, &mut value[..]) else {
            continue;
        };
        // Best effort: labels of a security module are often not ours to set.
        let _ = lsetxattr(to, name, &value[..length], XattrFlags::empty());
    }
    Ok(())
}
