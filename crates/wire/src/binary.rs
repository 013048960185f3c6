//! The agent's program on the controller: where it is, and what identifies it on hosts.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// Environment variable that names the agent's program.
pub const AGENT_VARIABLE: &str = "UPSHIFT_AGENT";

/// File name of the agent's program.
pub const AGENT_FILE_NAME: &str = "upshift-node";

/// Why there is no agent to start.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// The environment names a file that is not there.
    #[error("{AGENT_VARIABLE} names {}, which is not a file; set it to the path of {AGENT_FILE_NAME}, or unset it", .0.display())]
    Missing(PathBuf),
    /// The current executable cannot be found.
    #[error(
        "the path of the running program is unknown: {0}; set {AGENT_VARIABLE} to the path of {AGENT_FILE_NAME}"
    )]
    Current(#[source] std::io::Error),
    /// The program cannot be read.
    #[error("the agent's program {} cannot be read: {reason}", .path.display())]
    Unreadable {
        /// The program.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

/// A file's digest and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// The agent's program.
#[derive(Debug)]
pub struct AgentBinary {
    path: PathBuf,
    arguments: Vec<&'static str>,
    identity: OnceCell<Identity>,
    packed: OnceCell<Bytes>,
}

impl AgentBinary {
    /// The program that `UPSHIFT_AGENT` names; else `upshift-node` beside the running program; else the running program
    /// itself, which is then run as `… node serve`.
    pub fn find() -> Result<Self, BinaryError> {
        if let Some(path) = std::env::var_os(AGENT_VARIABLE).map(PathBuf::from) {
            return if path.is_file() {
                Ok(AgentBinary::at(path))
            } else {
                Err(BinaryError::Missing(path))
            };
        }
        let current = std::env::current_exe().map_err(BinaryError::Current)?;
        let sibling = current.with_file_name(AGENT_FILE_NAME);
        if sibling.is_file() {
            return Ok(AgentBinary::at(sibling));
        }
        Ok(AgentBinary {
            arguments: vec!["node"],
            ..AgentBinary::at(current)
        })
    }

    /// The program at a path, which speaks `serve --state DIR` itself.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        AgentBinary {
            path: path.into(),
            arguments: Vec::new(),
            identity: OnceCell::new(),
            packed: OnceCell::new(),
        }
    }

    /// Where it is on this machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Arguments that come before `serve`.
    pub fn arguments(&self) -> &[&'static str] {
        &self.arguments
    }

    /// Digest and size. Reads the whole file the first time.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn identity(&self) -> Result<&Identity, BinaryError> {
        if self.identity.get().is_none() {
            let identity = identify(&self.path).map_err(|reason| unreadable(&self.path, reason))?;
            // Somebody else may have been faster, with the same.
            let _faster = self.identity.set(identity);
        }
        let missing = || unreadable(&self.path, std::io::ErrorKind::Interrupted.into());
        self.identity.get().ok_or_else(missing)
    }

    /// As [`AgentBinary::identity`], without holding the runtime up; computed once, however many hosts ask at once.
    pub(crate) async fn identified(&self) -> Result<&Identity, BinaryError> {
        self.identity.get_or_try_init(|| self.aside(identify)).await
    }

    /// The program as it is.
    pub(crate) async fn plain(&self) -> Result<Bytes, BinaryError> {
        self.aside(|path| std::fs::read(path).map(Bytes::from)).await
    }

    /// The program packed by gzip; done once, however many hosts ask at once.
    pub(crate) async fn packed(&self) -> Result<Bytes, BinaryError> {
        self.packed.get_or_try_init(|| self.aside(pack)).await.cloned()
    }

    /// Does work on the file on a thread of its own.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, BinaryError> {
        let path = self.path.clone();
        let done = spawn_blocking(move || work(&path))
            .await
            .map_err(std::io::Error::other);
        done.and_then(|outcome| outcome)
            .map_err(|reason| unreadable(&self.path, reason))
    }
}

fn unreadable(path: &Path, reason: std::io::Error) -> BinaryError {
    BinaryError::Unreadable {
        path: path.to_owned(),
        reason,
    }
}

fn pack(path: &Path) -> std::io::Result<Bytes> {
    // Most of what can be saved is saved by the fastest level.
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut std::fs::File::open(path)?, &mut packed)?;
    packed.finish().map(Bytes::from)
}

/// Digest and size of a file. Reads all of it.
pub fn identify(path: &Path) -> std::io::Result<Identity> {
    let mut file = std::fs::File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        size += read as u64;
    }
    let sha256 = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Identity { sha256, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_identified_by_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        std::fs::write(&path, b"abc").unwrap();
        let binary = AgentBinary::at(&path);
        let identity = binary.identity().unwrap();
        assert_eq!(
            identity.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(identity.size, 3);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = AgentBinary::at("/nonexistent/agent").identity().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the agent's program /nonexistent/agent cannot be read"),
            "{error}"
        );
    }
}
