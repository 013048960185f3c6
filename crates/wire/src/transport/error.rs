//! Why a host could not be reached, in operators' words.

use std::fmt;

use upshift_model::fleet::UnusableTransport;

/// A host that could not be reached, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// Name of the host in the fleet.
    pub host: String,
    /// What an operator can type to see the same.
    pub by_hand: String,
    /// What went wrong.
    pub failure: ConnectFailure,
}

/// What went wrong while a host was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// No connection to it: down, wrong address, a firewall.
    Unreachable(String),
    /// Its name has no address.
    UnknownName(String),
    /// It refused the login.
    LoginRefused(String),
    /// Its key is another one than the one known.
    HostKeyChanged(String),
    /// Its key is not known yet.
    HostKeyUnknown(String),
    /// `sudo` is missing, or asks for a password.
    NoSudo(String),
    /// The agent's state directory cannot be written.
    StateDirectory {
        /// The directory.
        directory: String,
        /// What the host says.
        reason: String,
    },
    /// Somebody else may change what lies in the agent's state directory.
    Unsafe {
        /// The directory.
        directory: String,
        /// What the host says.
        reason: String,
    },
    /// No space left for the agent.
    DiskFull {
        /// The directory.
        directory: String,
        /// What the host says.
        reason: String,
    },
    /// The agent arrived with other bytes than were sent.
    Corrupted(String),
    /// The agent was sent but cannot be run there.
    NotExecutable(String),
    /// The agent ran, and ended before it answered.
    AgentEnded(String),
    /// The agent speaks another version of the protocol.
    Protocol {
        /// The agent's.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// No answer in time.
    NoAnswer {
        /// How long was waited, in seconds.
        seconds: u64,
        /// What was said meanwhile.
        said: String,
    },
    /// The command that leads to the host cannot be started on this machine.
    Spawn {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
    /// The inventory reaches it in a way that this program cannot.
    NoTransport(UnusableTransport),
    /// The agent's program on this machine cannot be read.
    Binary(String),
    /// The connection ended before a shell answered, and none of the known reasons was given.
    Ended(String),
}

impl ConnectFailure {
    /// A short stable word, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            ConnectFailure::Unreachable(_) => "unreachable",
            ConnectFailure::UnknownName(_) => "unknown-name",
            ConnectFailure::LoginRefused(_) => "login-refused",
            ConnectFailure::HostKeyChanged(_) => "host-key-changed",
            ConnectFailure::HostKeyUnknown(_) => "host-key-unknown",
            ConnectFailure::NoSudo(_) => "no-sudo",
            ConnectFailure::StateDirectory { .. } => "state-directory",
            ConnectFailure::Unsafe { .. } => "unsafe-directory",
            ConnectFailure::DiskFull { .. } => "disk-full",
            ConnectFailure::Corrupted(_) => "corrupted",
            ConnectFailure::NotExecutable(_) => "not-executable",
            ConnectFailure::AgentEnded(_) => "agent-ended",
            ConnectFailure::Protocol { .. } => "protocol",
            ConnectFailure::NoAnswer { .. } => "no-answer",
            ConnectFailure::Spawn { .. } => "spawn",
            ConnectFailure::NoTransport(_) => "no-transport",
            ConnectFailure::Binary(_) => "binary",
            ConnectFailure::Ended(_) => "ended",
        }
    }
}

impl std::error::Error for ConnectError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.failure {
            ConnectFailure::Unreachable(said) => write!(f, "{host} cannot be reached: {said}"),
            ConnectFailure::UnknownName(said) => write!(f, "the address of {host} is unknown: {said}"),
            ConnectFailure::LoginRefused(said) => write!(f, "{host} refuses the login: {said}"),
            ConnectFailure::HostKeyChanged(said) => {
                write!(
                    f,
                    "{host} shows another host key than the one that ssh knows: {said}"
                )
            }
            ConnectFailure::HostKeyUnknown(said) => {
                write!(f, "ssh does not know the host key of {host} yet: {said}")
            }
            ConnectFailure::NoSudo(said) => {
                write!(f, "sudo without a password does not work on {host}: {said}")
            }
            ConnectFailure::StateDirectory { directory, reason } => {
                write!(
                    f,
                    "the state directory {directory} on {host} cannot be written: {reason}"
                )
            }
            ConnectFailure::Unsafe { directory, reason } => write!(
                f,
                "{host}: what Upshift runs must not be changed by other users, and something about the state directory \
                 {directory} lets them: {reason}"
            ),
            ConnectFailure::DiskFull { directory, reason } => {
                write!(f, "no space for the agent in {directory} on {host}: {reason}")
            }
            ConnectFailure::Corrupted(said) => write!(f, "the agent arrived damaged on {host}: {said}"),
            ConnectFailure::NotExecutable(said) => write!(f, "the agent cannot be run on {host}: {said}"),
            ConnectFailure::AgentEnded(said) => {
                write!(f, "the agent on {host} ended before it answered: {said}")
            }
            ConnectFailure::Protocol { theirs, ours } => {
                write!(
                    f,
                    "the agent on {host} speaks version {theirs} of the protocol, this program version {ours}"
                )
            }
            ConnectFailure::NoAnswer { seconds, said } if said.is_empty() => {
                write!(f, "{host} did not answer within {seconds} s")
            }
            ConnectFailure::NoAnswer { seconds, said } => {
                write!(f, "{host} did not answer within {seconds} s; last heard: {said}")
            }
            ConnectFailure::Spawn { program, reason } => {
                write!(
                    f,
                    "{host} cannot be reached: `{program}` cannot be started on this machine: {reason}"
                )
            }
            ConnectFailure::NoTransport(unusable) => {
                write!(f, "{host} cannot be reached: {}", unusable.reason)
            }
            ConnectFailure::Binary(reason) => write!(f, "no agent for {host}: {reason}"),
            ConnectFailure::Ended(said) if said.is_empty() => {
                write!(
                    f,
                    "the connection to {host} ended before a shell answered, without a word"
                )
            }
            ConnectFailure::Ended(said) => write!(
                f,
                "the connection to {host} ended before a shell answered: {said}"
            ),
        }
    }
}

impl ConnectError {
    /// What an operator can do about it.
    pub fn remedy(&self) -> String {
        let by_hand = &self.by_hand;
        match &self.failure {
            ConnectFailure::Unreachable(_) | ConnectFailure::NoAnswer { .. } => {
                format!("See that the host is up and its address is right; this must work: {by_hand}")
            }
            ConnectFailure::UnknownName(_) => {
                "Correct the address in the fleet file, or add a Host entry to ~/.ssh/config".to_owned()
            }
            ConnectFailure::LoginRefused(_) => format!(
                "Upshift uses your own ssh and never asks for a password: add your key to the host or to your ssh agent, until this works: {by_hand}"
            ),
            ConnectFailure::HostKeyChanged(_) => format!(
                "If the host was installed anew, remove the old key with `ssh-keygen -R`, then accept the new one: {by_hand}. If not, somebody may be in between"
            ),
            ConnectFailure::HostKeyUnknown(_) => {
                format!("Connect once by hand and compare the key: {by_hand}")
            }
            ConnectFailure::NoSudo(_) => {
                "Allow the user to run sudo without a password (NOPASSWD in sudoers), or log in as root"
                    .to_owned()
            }
            ConnectFailure::StateDirectory { .. } => {
                "Set `sudo: true` or another `state_directory` for the host in the fleet file".to_owned()
            }
            ConnectFailure::Unsafe { .. } => {
                "Look who has written there; then `chmod go-w`, or `chown root`, what is named, or set another `state_directory` for the host"
                    .to_owned()
            }
            ConnectFailure::DiskFull { .. } => {
                "Free some space there, or set another `state_directory` for the host".to_owned()
            }
            ConnectFailure::Corrupted(_) => {
                "Try again; if it stays so, look at the host's disk and network".to_owned()
            }
            ConnectFailure::NotExecutable(_) => format!(
                "The state directory must not be mounted noexec, and the agent must be built for the host's processor (set {})",
                crate::binary::AGENT_VARIABLE
            ),
            ConnectFailure::AgentEnded(_) => {
                format!("Look at what it says above; this shows the host as Upshift sees it: {by_hand}")
            }
            ConnectFailure::Protocol { .. } | ConnectFailure::Binary(_) => format!(
                "Use programs of one build; {} names the agent's program",
                crate::binary::AGENT_VARIABLE
            ),
            ConnectFailure::NoTransport(unusable) => unusable.remedy.clone(),
            ConnectFailure::Spawn { program, .. } => {
                format!("Install `{program}`, or correct the host's transport in the fleet file")
            }
            ConnectFailure::Ended(_) => format!("This must end without an error: {by_hand}"),
        }
    }

    /// Whether trying again by itself makes sense: true for trouble that passes.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.failure,
            ConnectFailure::Unreachable(_)
                | ConnectFailure::NoAnswer { .. }
                | ConnectFailure::Ended(_)
                | ConnectFailure::AgentEnded(_)
                | ConnectFailure::Corrupted(_)
                | ConnectFailure::DiskFull { .. }
        )
    }
}

/// Words to look for, and the failure that a line with one of them tells.
type Rule = (&'static [&'static str], fn(String) -> ConnectFailure);

/// Makes sense of what was said on standard error before the connection ended.
pub(crate) fn classify(said: &str) -> ConnectFailure {
    let meaningful = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('@') && !line.starts_with("Warning: Permanently added")
    };
    let last = said
        .lines()
        .rev()
        .find(meaningful)
        .unwrap_or("")
        .trim()
        .to_owned();
    let line_with = |needles: &[&str]| {
        said.lines()
            .find(|line| needles.iter().any(|needle| line.contains(needle)))
            .map(|line| line.trim().to_owned())
    };
    if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        let line = line_with(&["Offending"]).unwrap_or(last);
        return ConnectFailure::HostKeyChanged(line);
    }
    let rules: [Rule; 4] = [
        (
            &["host key is known", "Host key verification failed"],
            ConnectFailure::HostKeyUnknown,
        ),
        (&["Could not resolve hostname"], ConnectFailure::UnknownName),
        (
            &[
                "Permission denied (",
                "Too many authentication failures",
                "account is currently not available",
            ],
            ConnectFailure::LoginRefused,
        ),
        (
            &[
                "No route to host",
                "Connection timed out",
                "Connection refused",
                "Network is unreachable",
                "Connection reset",
                "Connection closed",
                "port 65535 timed out",
                "not responding",
            ],
            ConnectFailure::Unreachable,
        ),
    ];
    if let Some(line) = refused_by_sudo(said) {
        return ConnectFailure::NoSudo(line);
    }
    for (needles, failure) in rules {
        if let Some(line) = line_with(needles) {
            return failure(line);
        }
    }
    if let Some(line) = line_with(&["Exec format error", "cannot execute", "Permission denied"]) {
        return ConnectFailure::NotExecutable(line);
    }
    ConnectFailure::Ended(last)
}

/// What sudo says where it refuses. It warns first, of a host name that it cannot resolve for instance, and goes on; the reason
/// stands last.
fn refused_by_sudo(said: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["sudo:", "not in the sudoers file", "must have a tty to run sudo"];
    let refuses = |line: &&str| {
        WORDS.iter().any(|words| line.contains(words)) && !line.contains("unable to resolve host")
    };
    said.lines()
        .rev()
        .find(refuses)
        .map(|line| line.trim().to_owned())
}
