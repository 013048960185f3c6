//! What goes wrong on a host, in the operator's words.

use std::fmt::Display;
use std::io::{self, Write};

use upshift_host::guard::Refusal;
use upshift_model::action::Report;

/// Why something was not done on this host.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file system is full.
    #[error("{0}")]
    Full(String),
    /// Trying again may help.
    #[error("{0}")]
    Transient(String),
    /// Trying again does not help.
    #[error("{0}")]
    Refused(String),
}

/// The usual result on a host.
pub type Result<T> = std::result::Result<T, NodeError>;

impl From<Refusal> for NodeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            // A newer order to arm may follow.
            Refusal::DisarmedSince => NodeError::Transient(refusal.to_string()),
            Refusal::GuardOfGuards | Refusal::Firing => NodeError::Refused(refusal.to_string()),
        }
    }
}

impl NodeError {
    /// Something that trying again does not help.
    pub fn refused(text: impl Into<String>) -> Self {
        NodeError::Refused(text.into())
    }

    /// Whether a full file system is the reason.
    pub fn is_full(&self) -> bool {
        match self {
            NodeError::Full(_) => true,
            NodeError::Io { source, .. } => is_full(source),
            NodeError::Transient(_) | NodeError::Refused(_) => false,
        }
    }

    /// The report of an order that ended so.
    pub fn report(&self) -> Report {
        let reason = self.to_string();
        match self {
            NodeError::Transient(_) => Report::Transient { reason },
            NodeError::Io { .. } | NodeError::Full(_) | NodeError::Refused(_) => Report::Failed { reason },
        }
    }
}

/// One line on standard error: the guard's log, or what the controller shows where a session cannot begin. A full disk or a
/// listener that has gone must not end what is being done.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether the operating system says that a file system, or a user's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Says what was tried when the operating system refused it.
pub trait Context<T> {
    /// Adds what was tried: `cannot read /etc/hosts`.
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|source| NodeError::Io {
            what: what().to_string(),
            source: source.into(),
        })
    }
}
