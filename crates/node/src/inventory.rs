//! What lies below a path: kinds, modes, owners, times and digests.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest;

/// One name below a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Relative to the path; empty for the path itself.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Permissions, set-user, set-group and sticky bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// When it was changed: seconds and nanoseconds since 1970.
    pub changed: (i64, i64),
}

/// What a name stands for. Sockets, pipes and devices are left out everywhere: they hold nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// In bytes.
        size: u64,
        /// Digest of its contents.
        sha256: String,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        target: String,
    },
}

impl Item {
    /// Whether both hold the same, whenever it was written.
    pub fn same_contents(&self, other: &Item) -> bool {
        // Nobody can choose the mode of a link.
        let same_mode = self.mode == other.mode || matches!(self.kind, Kind::Link { .. });
        self.name == other.name && self.kind == other.kind && same_mode && self.owner == other.owner
    }
}

/// Everything at and below a path, sorted by name; nothing where the path does not exist.
pub fn take(path: &Path) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    match path.symlink_metadata() {
        Ok(metadata) => walk(path, String::new(), &metadata, &mut items)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(items)
}

fn walk(path: &Path, name: String, metadata: &Metadata, items: &mut Vec<Item>) -> io::Result<()> {
    let Some(item) = item(path, &name, metadata, digest::of_file)? else {
        return Ok(());
    };
    let directory = item.kind == Kind::Directory;
    items.push(item);
    if !directory {
        return Ok(());
    }
    for entry in sorted(path)? {
        let below = path.join(&entry);
        let name = if name.is_empty() {
            entry
        } else {
            format!("{name}/{entry}")
        };
        match below.symlink_metadata() {
            Ok(metadata) => walk(&below, name, &metadata, items)?,
            // Somebody else removed it in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Names in a directory, sorted.
pub fn sorted(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().into_string().map_err(|name| {
            let text = format!(
                "the name {} in {} is not UTF-8",
                name.display(),
                directory.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// One item, with its digest computed by `sha256`; nothing for what is left out.
pub fn item(
    path: &Path,
    name: &str,
    metadata: &Metadata,
    sha256: impl FnOnce(&Path) -> io::Result<String>,
) -> io::Result<Option<Item>> {
    let kind = if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_symlink() {
        Kind::Link {
            target: fs::read_link(path)?.to_string_lossy().into_owned(),
        }
    } else if metadata.is_file() {
        Kind::File {
            size: metadata.len(),
            sha256: sha256(path)?,
        }
    } else {
        return Ok(None);
    };
    Ok(Some(Item {
        name: name.to_owned(),
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        changed: (metadata.mtime(), metadata.mtime_nsec()),
    }))
}

/// One digest over names, modes and contents.
pub fn digest(items: &[Item]) -> String {
    let mut hasher = Sha256::new();
    let mut text = |text: &str| {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    };
    for item in items {
        text(&item.name);
        match &item.kind {
            Kind::Directory => text("directory"),
            Kind::File { sha256, .. } => text(sha256),
            Kind::Link { target } => text(&format!("link {target}")),
        }
        match item.kind {
            Kind::Link { .. } => {}
            Kind::Directory | Kind::File { .. } => text(&format!("{:o}", item.mode)),
        }
    }
    digest::hexadecimal(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_digest_covers_names_modes_contents_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/f"), "one").unwrap();
        symlink("d/f", path("l")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let now = || digest(&take(directory.path()).unwrap());
        let mut seen = vec![now()];
        assert_eq!(
            take(directory.path())
                .unwrap()
                .iter()
                .map(|item| item.name.as_str())
                .collect::<Vec<_>>(),
            ["", "d", "d/f", "l"]
        );
        fs::write(path("d/f"), "two").unwrap();
        seen.push(now());
        fs::set_permissions(path("d/f"), fs::Permissions::from_mode(0o600)).unwrap();
        seen.push(now());
        fs::rename(path("d/f"), path("d/g")).unwrap();
        seen.push(now());
        fs::remove_file(path("l")).unwrap();
        symlink("d/g", path("l")).unwrap();
        seen.push(now());
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "every change changes the digest");
        assert!(take(&path("nothing")).unwrap().is_empty());
    }
}
