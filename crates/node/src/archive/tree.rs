//! The directory that an archive is unpacked into. Everything goes through here, whatever the format.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::name::{clean, relative_target, stays_inside};
use super::{ArchiveError, shown};
use crate::failpoint;

/// How much may be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in all files.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

impl Limits {
    /// Fit for a file of this size: no release grows to more than a hundred times its package.
    pub fn for_package(size: u64) -> Self {
        Limits {
            bytes: size.saturating_mul(100).saturating_add(64 << 20),
            entries: 2_000_000,
        }
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes in all files.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

/// The directory that is unpacked into.
pub struct Tree {
    /// Nothing where only the totals are wanted.
    root: Option<PathBuf>,
    strip: u32,
    limits: Limits,
    totals: Totals,
    /// Links are made last, so that nothing is ever written through one.
    links: BTreeMap<PathBuf, Vec<u8>>,
    modes: BTreeMap<PathBuf, u32>,
    /// Whether absolute links mean the package's own root, as in packages of an operating system.
    pub system_package: bool,
}

impl Tree {
    /// Unpacks into `root`, which must be empty and the agent's alone.
    pub fn new(root: &Path, strip: u32, limits: Limits) -> Self {
        Tree {
            root: Some(root.to_owned()),
            ..Self::counting(strip, limits)
        }
    }

    /// Only counts.
    pub fn counting(strip: u32, limits: Limits) -> Self {
        Tree {
            root: None,
            strip,
            limits,
            totals: Totals::default(),
            links: BTreeMap::new(),
            modes: BTreeMap::new(),
            system_package: false,
        }
    }

    /// Drops no leading directories.
    pub fn keep_all(&mut self) {
        self.strip = 0;
    }

    /// Takes one more entry into account; its path, where it is not dropped.
    fn enter(&mut self, raw: &[u8]) -> Result<Option<PathBuf>, ArchiveError> {
        self.totals.entries += 1;
        if self.totals.entries > self.limits.entries {
            return Err(ArchiveError::Entries(self.limits.entries));
        }
        clean(raw, self.strip)
    }

    fn place(&self, path: &Path) -> Result<Option<PathBuf>, ArchiveError> {
        let Some(root) = &self.root else { return Ok(None) };
        if path.ancestors().any(|above| self.links.contains_key(above)) {
            return Err(ArchiveError::ThroughLink(shown(
                path.as_os_str().as_encoded_bytes(),
            )));
        }
        let place = root.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(Some(place))
    }

    /// Makes a directory.
    pub fn directory(&mut self, raw: &[u8], mode: u32) -> Result<(), ArchiveError> {
        let Some(path) = self.enter(raw)? else {
            return Ok(());
        };
        if let Some(place) = self.place(&path)? {
            fs::create_dir_all(place)?;
            // Closed directories would be in the way of what comes into them.
            self.modes.insert(path, mode);
        }
        Ok(())
    }

    /// Makes a file.
    pub fn file(&mut self, raw: &[u8], mode: u32, contents: &mut dyn Read) -> Result<(), ArchiveError> {
        let path = self.enter(raw)?;
        let place = path.map(|path| self.place(&path)).transpose()?.flatten();
        let mut file = place.map(|place| create(&place, mode)).transpose()?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match contents.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ArchiveError::Damaged(error.to_string())),
            };
            self.totals.bytes += count as u64;
            if self.totals.bytes > self.limits.bytes {
                return Err(ArchiveError::Bytes(self.limits.bytes));
            }
            if let Some(file) = &mut file {
                file.write_all(&buffer[..count])?;
            }
        }
        failpoint::hit("unpack-file");
        Ok(())
    }

    /// Remembers a symbolic link.
    pub fn link(&mut self, raw: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let Some(path) = self.enter(raw)? else {
            return Ok(());
        };
        let target = match relative_target(&path, target, self.strip) {
            Some(relative) if self.system_package => relative.into_os_string().into_encoded_bytes(),
            None if self.system_package && target.starts_with(b"/") => return Ok(()),
            _ => target.to_owned(),
        };
        if !stays_inside(&path, &target) {
            return Err(ArchiveError::LinkOut {
                link: shown(path.as_os_str().as_encoded_bytes()),
                target: shown(&target),
            });
        }
        self.links.insert(path, target);
        Ok(())
    }

    /// Makes another name for a file that was unpacked before.
    pub fn hard_link(&mut self, raw: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let Some(path) = self.enter(raw)? else {
            return Ok(());
        };
        let refused = || ArchiveError::LinkOut {
            link: shown(path.as_os_str().as_encoded_bytes()),
            target: shown(target),
        };
        let Some(source) = clean(target, self.strip).map_err(|_| refused())? else {
            return Err(refused());
        };
        let (Some(source), Some(place)) = (self.place(&source)?, self.place(&path)?) else {
            return Ok(());
        };
        if !source.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(refused());
        }
        fs::hard_link(source, place)?;
        Ok(())
    }

    /// Makes the links, gives directories their modes and owners, and makes all of it durable.
    pub fn finish(self, owner: Option<(u32, u32)>) -> Result<Totals, ArchiveError> {
        let Some(root) = &self.root else {
            return Ok(self.totals);
        };
        for (path, target) in &self.links {
            let place = root.join(path);
            if path
                .ancestors()
                .skip(1)
                .any(|above| self.links.contains_key(above))
            {
                return Err(ArchiveError::ThroughLink(shown(
                    path.as_os_str().as_encoded_bytes(),
                )));
            }
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(target);
            symlink(target, &place).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    ArchiveError::ThroughLink(shown(path.as_os_str().as_encoded_bytes()))
                }
                _ => ArchiveError::Io(error),
            })?;
        }
        settle(root, owner)?;
        // The deepest first: a directory that is closed cannot be entered any more.
        for (path, mode) in self.modes.iter().rev() {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(harmless(*mode)))?;
        }
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
        Ok(self.totals)
    }
}

fn create(place: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(place) {
        // The last of several entries with one name counts.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(place)?;
    file.set_permissions(fs::Permissions::from_mode(harmless(mode)))?;
    Ok(file)
}

/// A mode without set-user, set-group and sticky bits, and not for everybody to write.
fn harmless(mode: u32) -> u32 {
    mode & 0o775
}

/// Gives everything its owner and makes it durable, files before the directories that name them.
fn settle(directory: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            // Whatever the agent's own mask is; directories that the archive names get their modes later.
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
            settle(&entry.path(), owner)?;
        } else {
            own(&entry.path(), owner)?;
            if kind.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
    }
    own(directory, owner)?;
    File::open(directory)?.sync_all()
}

fn own(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    owner.map_or(Ok(()), |(user, group)| {
        std::os::unix::fs::lchown(path, Some(user), Some(group))
    })
}
