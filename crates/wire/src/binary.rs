//! The agent's program on the controller: where it is, and what identifies it on hosts.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

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
    identity: OnceLock<Identity>,
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
            path: current,
            arguments: vec!["node"],
            identity: OnceLock::new(),
        })
    }

    /// The program at a path, which speaks `serve --state DIR` itself.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        AgentBinary {
            path: path.into(),
            arguments: Vec::new(),
            identity: OnceLock::new(),
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
    pub fn identity(&self) -> Result<&Identity, BinaryError> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let identity = identify(&self.path).map_err(|reason| BinaryError::Unreadable {
            path: self.path.clone(),
            reason,
        })?;
        Ok(self.identity.get_or_init(|| identity))
    }
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
