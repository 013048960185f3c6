//! Distributed files: taken in piece by piece, kept under their digest.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sha2::{Digest, Sha256};
use upshift_model::action::Artifact;

use crate::digest::{self, hexadecimal};
use crate::durable;
use crate::error::{Context, NodeError, Result, is_full};
use crate::filesystem;
use crate::layout::Layout;

/// How much of a file the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes.
    pub bytes: u64,
    /// Whether that is all, with the right digest.
    pub complete: bool,
}

/// Path of a distributed file.
pub fn path(layout: &Layout, sha256: &str) -> Result<PathBuf> {
    let valid = sha256.len() == 64
        && sha256
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !valid {
        return Err(NodeError::refused(format!("`{sha256}` is no SHA-256 digest")));
    }
    Ok(layout.packages().join(sha256))
}

fn partial_path(layout: &Layout, sha256: &str) -> Result<PathBuf> {
    Ok(path(layout, sha256)?.with_extension("part"))
}

/// A file as it was when its digest was computed: any change gives it another time of change, which nobody can set.
type Seen = (u64, u64, u64, i64, i64);

/// Digests that this agent has computed: sending, distributing and unpacking ask for the same one after each other.
static COMPUTED: Mutex<BTreeMap<Seen, String>> = Mutex::new(BTreeMap::new());

fn seen(path: &Path) -> io::Result<Seen> {
    let metadata = fs::metadata(path)?;
    Ok((
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

fn digest_of(path: &Path) -> io::Result<String> {
    let seen = seen(path)?;
    if let Some(digest) = COMPUTED
        .lock()
        .ok()
        .and_then(|computed| computed.get(&seen).cloned())
    {
        return Ok(digest);
    }
    let digest = digest::of_file(path)?;
    remember(seen, &digest);
    Ok(digest)
}

fn remember(seen: Seen, digest: &str) {
    if let Ok(mut computed) = COMPUTED.lock() {
        computed.insert(seen, digest.to_owned());
    }
}

/// Whether the file is there, whole and undamaged. A damaged one is removed, so that it can be sent again.
pub fn verify(layout: &Layout, artifact: &Artifact) -> Result<bool> {
    let path = path(layout, &artifact.sha256)?;
    match digest_of(&path) {
        Ok(found) if found == artifact.sha256 => Ok(true),
        Ok(_) => durable::remove(&path).map(|()| false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context(|| format!("cannot read {}", path.display())),
    }
}

/// Digests of all files that are here whole.
pub fn list(layout: &Layout) -> Result<Vec<String>> {
    let entries = fs::read_dir(layout.packages()).context(|| "cannot list the distributed files")?;
    let mut digests: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| path(layout, name).is_ok())
        .collect();
    digests.sort();
    Ok(digests)
}

/// A file that is being taken in.
pub struct Incoming {
    artifact: Artifact,
    file: File,
    hasher: Sha256,
    received: u64,
}

impl Incoming {
    /// Begins, or goes on with what an earlier session left. Nothing where the file is here already.
    pub fn begin(layout: &Layout, artifact: &Artifact) -> Result<Option<Self>> {
        if verify(layout, artifact)? {
            return Ok(None);
        }
        let path = partial_path(layout, &artifact.sha256)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .context(|| format!("cannot open {}", path.display()))?;
        let mut received = file
            .metadata()
            .context(|| format!("cannot read {}", path.display()))?
            .len();
        if received > artifact.size {
            file.set_len(0)
                .context(|| format!("cannot write {}", path.display()))?;
            received = 0;
        }
        let begun = digest::of_reader(file.by_ref().take(received));
        let hasher = begun.context(|| format!("cannot read {}", path.display()))?;
        let free = filesystem::space(&path)?.free;
        if free < artifact.size - received {
            durable::remove(&path)?;
            return Err(filesystem::full(&path, &artifact.file_name, artifact.size));
        }
        Ok(Some(Incoming {
            artifact: artifact.clone(),
            file,
            hasher,
            received,
        }))
    }

    /// Bytes that are here.
    pub fn received(&self) -> Received {
        Received {
            bytes: self.received,
            complete: false,
        }
    }

    /// Takes a piece in. What is here already is skipped; a gap is refused.
    pub fn chunk(&mut self, layout: &Layout, offset: u64, bytes: &[u8]) -> Result<Received> {
        let name = &self.artifact.file_name;
        if offset > self.received {
            return Err(NodeError::refused(format!(
                "a piece of {name} begins at byte {offset}, but only {} bytes are here",
                self.received
            )));
        }
        let known = usize::try_from(self.received - offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let fresh = &bytes[known..];
        if self.received + fresh.len() as u64 > self.artifact.size {
            return Err(NodeError::refused(format!(
                "{name} is longer than the {} bytes announced",
                self.artifact.size
            )));
        }
        if let Err(error) = self.file.write_all_at(fresh, self.received) {
            return Err(self.cannot_write(layout, error));
        }
        self.hasher.update(fresh);
        self.received += fresh.len() as u64;
        Ok(self.received())
    }

    fn cannot_write(&self, layout: &Layout, error: io::Error) -> NodeError {
        let Ok(path) = partial_path(layout, &self.artifact.sha256) else {
            return NodeError::refused(error.to_string());
        };
        if !is_full(&error) {
            return NodeError::Io {
                what: format!("cannot write {}", path.display()),
                source: error,
            };
        }
        // Best effort: what is full must not stay full because of us.
        let _ = durable::remove(&path);
        filesystem::full(&path, &self.artifact.file_name, self.artifact.size)
    }

    /// Ends: the digest is compared, and the file gets its name. A file with a wrong digest is removed.
    pub fn end(self, layout: &Layout) -> Result<Received> {
        let partial = partial_path(layout, &self.artifact.sha256)?;
        if self.received < self.artifact.size {
            return Err(NodeError::refused(format!(
                "{} is not complete: {} of {} bytes are here",
                self.artifact.file_name, self.received, self.artifact.size
            )));
        }
        let found = hexadecimal(&self.hasher.finalize());
        if found != self.artifact.sha256 {
            durable::remove(&partial)?;
            return Err(NodeError::refused(format!(
                "{} has the digest {found}, not {}: it is not the file that was announced, or was damaged on its way",
                self.artifact.file_name, self.artifact.sha256
            )));
        }
        let path = path(layout, &self.artifact.sha256)?;
        let kept = self
            .file
            .set_permissions(fs::Permissions::from_mode(0o644))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&partial, &path));
        match kept {
            Ok(()) => {
                durable::sync_parent(&path)?;
                if let Ok(seen) = seen(&path) {
                    remember(seen, &found);
                }
            }
            Err(error) if is_full(&error) => {
                return Err(filesystem::full(
                    &path,
                    &self.artifact.file_name,
                    self.artifact.size,
                ));
            }
            Err(error) => return Err(error).context(|| format!("cannot keep {}", path.display())),
        }
        Ok(Received {
            bytes: self.artifact.size,
            complete: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(contents: &[u8]) -> Artifact {
        Artifact {
            file_name: "product-1.tar.gz".to_owned(),
            version: "1".to_owned(),
            variant: BTreeMap::new(),
            sha256: digest::of_bytes(contents),
            size: contents.len() as u64,
        }
    }

    fn layout() -> (tempfile::TempDir, Layout) {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        (state, layout)
    }

    #[test]
    fn a_file_goes_on_where_the_last_session_ended_and_is_never_sent_twice() {
        let (_state, layout) = layout();
        let contents = b"0123456789";
        let artifact = artifact(contents);
        let mut first = Incoming::begin(&layout, &artifact).unwrap().unwrap();
        first.chunk(&layout, 0, &contents[..4]).unwrap();
        drop(first);
        let mut second = Incoming::begin(&layout, &artifact).unwrap().unwrap();
        assert_eq!(
            second.received(),
            Received {
                bytes: 4,
                complete: false
            }
        );
        assert!(
            second
                .chunk(&layout, 5, b"x")
                .unwrap_err()
                .to_string()
                .contains("begins at byte 5")
        );
        second.chunk(&layout, 2, &contents[2..]).unwrap();
        assert_eq!(
            second.end(&layout).unwrap(),
            Received {
                bytes: 10,
                complete: true
            }
        );
        assert!(Incoming::begin(&layout, &artifact).unwrap().is_none());
        assert_eq!(list(&layout).unwrap(), std::slice::from_ref(&artifact.sha256));
        fs::write(path(&layout, &artifact.sha256).unwrap(), b"0123456780").unwrap();
        assert!(
            !verify(&layout, &artifact).unwrap(),
            "a damaged file counts as absent"
        );
    }

    #[test]
    fn a_wrong_digest_leaves_nothing_behind() {
        let (_state, layout) = layout();
        let artifact = artifact(b"0123456789");
        let mut incoming = Incoming::begin(&layout, &artifact).unwrap().unwrap();
        incoming.chunk(&layout, 0, b"012345678X").unwrap();
        assert!(incoming.end(&layout).unwrap_err().to_string().contains("digest"));
        assert_eq!(fs::read_dir(layout.packages()).unwrap().count(), 0);
    }

    #[test]
    fn a_truncated_file_is_refused_and_a_longer_one_too() {
        let (_state, layout) = layout();
        let artifact = artifact(b"0123456789");
        let mut incoming = Incoming::begin(&layout, &artifact).unwrap().unwrap();
        incoming.chunk(&layout, 0, b"01234").unwrap();
        assert!(incoming.end(&layout).unwrap_err().to_string().contains("5 of 10"));
        let mut incoming = Incoming::begin(&layout, &artifact).unwrap().unwrap();
        assert!(
            incoming
                .chunk(&layout, 5, b"567890")
                .unwrap_err()
                .to_string()
                .contains("longer")
        );
    }

    #[test]
    fn what_is_no_digest_is_no_path() {
        let (_state, layout) = layout();
        for text in ["", "../../etc/passwd", &"A".repeat(64), &"0".repeat(63)] {
            assert!(path(&layout, text).is_err(), "{text}");
        }
    }
}
