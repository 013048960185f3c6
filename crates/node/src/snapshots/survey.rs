//! What lies at and below some paths, with all that a snapshot must bring back.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Timespec, Timestamps, fallocate, futimens, lgetxattr, llistxattr};
use sha2::{Digest, Sha256};
use upshift_host::snapshot::{Entry, EntryKind};

use crate::digest;
use crate::inventory;

/// Bytes of a block of a file system; holes are made of whole ones.
const BLOCK: usize = 4096;
/// How much of a file is looked at in one go.
const PIECE: usize = 256 * BLOCK;
/// What the system's own policy says about a file, not what somebody has said of it.
const POLICY: &str = "security.selinux";

/// Everything at and below these absolute paths, sorted. `below` is the directory that their tree was restored into, if it was.
pub fn survey(roots: &[PathBuf], below: Option<&Path>) -> io::Result<Vec<Entry>> {
    let mut seen = Seen {
        below,
        entries: Vec::new(),
        first: BTreeMap::new(),
    };
    for root in roots {
        match seen.real(root).symlink_metadata() {
            Ok(metadata) => seen.walk(root, &metadata)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    seen.entries.sort_by(|a, b| a.path.cmp(&b.path));
    seen.entries.dedup_by(|a, b| a.path == b.path);
    Ok(seen.entries)
}

/// Where a path of a snapshot lies once it was restored into a directory.
pub fn restored(below: &Path, path: &Path) -> PathBuf {
    below.join(path.strip_prefix("/").unwrap_or(path))
}

struct Seen<'a> {
    below: Option<&'a Path>,
    entries: Vec<Entry>,
    /// The first path of each file that has several.
    first: BTreeMap<(u64, u64), String>,
}

impl Seen<'_> {
    fn real(&self, path: &Path) -> PathBuf {
        match self.below {
            Some(below) => restored(below, path),
            None => path.to_owned(),
        }
    }

    fn walk(&mut self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let real = self.real(path);
        let name = text(path)?;
        let kind = if metadata.is_dir() {
            EntryKind::Directory
        } else if metadata.is_symlink() {
            EntryKind::Link {
                target: text(&fs::read_link(&real)?)?,
            }
        } else if metadata.is_file() {
            EntryKind::File {
                size: metadata.len(),
                sha256: digest::of_file(&real)?,
                sparse: metadata.blocks() * 512 < metadata.len(),
            }
        } else {
            // Sockets, pipes and devices hold nothing.
            return Ok(());
        };
        let linked = match metadata.is_file() && metadata.nlink() > 1 {
            true => {
                let first = self
                    .first
                    .entry((metadata.dev(), metadata.ino()))
                    .or_insert_with(|| name.clone());
                (*first != name).then(|| first.clone())
            }
            false => None,
        };
        self.entries.push(Entry {
            path: name,
            kind,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            attributes: attributes(&real)?,
            linked,
        });
        if metadata.is_dir() {
            for entry in inventory::sorted(&real)? {
                let below = path.join(&entry);
                match real.join(&entry).symlink_metadata() {
                    Ok(metadata) => self.walk(&below, &metadata)?,
                    // Somebody else removed it in between.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn text(path: &Path) -> io::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let text = format!("the name {} is not UTF-8", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// The digest of each extended attribute: a value may be large, or a secret.
fn attributes(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    names.truncate(length);
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        if name == POLICY {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let length = lgetxattr(path, name.as_str(), &mut value[..])?;
        found.insert(name, digest::hexadecimal(&Sha256::digest(&value[..length])));
    }
    Ok(found)
}

/// Makes holes again where files had them: what is restored is written in full by older versions of restic.
pub fn make_sparse(entries: &[Entry], below: &Path) -> io::Result<()> {
    for entry in entries {
        if let EntryKind::File { sparse: true, .. } = entry.kind {
            punch(&restored(below, Path::new(&entry.path)), entry.changed)?;
        }
    }
    Ok(())
}

fn punch(path: &Path, changed: (i64, i64)) -> io::Result<()> {
    let mut file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        // That it is missing is for the comparison to say.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut piece = vec![0_u8; PIECE];
    let mut at = 0_u64;
    loop {
        let length = fill(&mut file, &mut piece)?;
        if length == 0 {
            break;
        }
        for (index, block) in piece[..length].chunks(BLOCK).enumerate() {
            if block.len() == BLOCK && block.iter().all(|byte| *byte == 0) {
                let offset = at + (index * BLOCK) as u64;
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                match fallocate(&file, flags, offset, BLOCK as u64) {
                    // A file system without holes holds the same bytes.
                    Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
                    outcome => outcome?,
                }
            }
        }
        at += length as u64;
    }
    let time = Timespec {
        tv_sec: changed.0,
        tv_nsec: changed.1,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(futimens(&file, &times)?)
}

fn fill(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < piece.len() {
        match file.read(&mut piece[length..])? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}
