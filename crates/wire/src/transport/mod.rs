//! Ways to reach an agent: on this machine, through the user's own ssh, or through any command that leads to a shell.
//!
//! A remote host needs nothing but a shell and coreutils. One session carries everything: the shell that looks for the
//! agent, the agent's program where it is missing, and then the agent's frames.

mod bootstrap;
mod error;
mod process;
mod sharing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;
use upshift_model::facts::HostFacts;
use upshift_model::fleet::{Host, SshTransport, Transport};

use crate::binary::AgentBinary;
use crate::client::{Agent, CallError};
use crate::protocol::{PROTOCOL, Request, Response};
use bootstrap::{Bootstrap, LOGIN_LIMIT};
use process::{Listener, Process, Shutdown};
use sharing::Shared;

pub use error::{ConnectError, ConnectFailure};
pub use sharing::Sharing;

/// The agent's state directory where the fleet names none.
pub const DEFAULT_STATE_DIRECTORY: &str = "/var/lib/upshift";

/// How long a started agent may take to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(30);
/// How long a shell may take to answer through a connection that stands already. Where the host or the way to it has gone since,
/// ssh notices late; a login of its own then finds out at once.
const STANDING_LIMIT: Duration = Duration::from_secs(5);

/// A new connection to an agent.
#[derive(Clone)]
pub struct Connected {
    /// The agent.
    pub agent: Agent,
    /// What it said of its host, with the clock's offset filled in.
    pub host: HostFacts,
}

/// Whether a connection may be shared with another one below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// ssh may go through a connection that already stands.
    Any,
    /// A login of its own, which proves that the host can be reached now.
    Fresh,
}

/// Something that leads to an agent.
pub trait Connect: Send + Sync {
    /// Name of the host in the fleet.
    fn host(&self) -> &str;

    /// Reaches the agent. May be asked any number of times; connections do not depend on each other.
    fn connect(&self, freshness: Freshness) -> BoxFuture<'_, Result<Connected, ConnectError>>;
}

/// Leads to the agent of one host of a fleet.
pub struct Reach {
    name: String,
    transport: Transport,
    state_directory: String,
    sudo: bool,
    binary: Arc<AgentBinary>,
    sharing: Option<Sharing>,
}

/// How ssh logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    /// Whatever the user's configuration says of shared connections.
    AsConfigured,
    /// A connection of its own.
    Own,
    /// Through a shared connection of ours, which is made where it does not stand.
    Shared(Shared),
}

impl Reach {
    /// The way to a host.
    pub fn new(name: &str, host: &Host, binary: Arc<AgentBinary>) -> Self {
        Reach {
            name: name.to_owned(),
            transport: host.transport.clone(),
            state_directory: host
                .state_directory
                .clone()
                .unwrap_or_else(|| DEFAULT_STATE_DIRECTORY.to_owned()),
            sudo: host.sudo,
            binary,
            sharing: None,
        }
    }

    /// Has ssh share connections with later commands, unless the user has said otherwise.
    #[must_use]
    pub fn sharing(self, sharing: Option<Sharing>) -> Self {
        Reach { sharing, ..self }
    }

    fn error(&self, failure: ConnectFailure) -> ConnectError {
        let by_hand = match &self.transport {
            Transport::Local => "upshift-node serve".to_owned(),
            Transport::Ssh(ssh) => {
                let mut words = vec!["ssh".to_owned(), "-o".to_owned(), "BatchMode=yes".to_owned()];
                words.extend(ssh_destination(ssh));
                words.push("true".to_owned());
                words.join(" ")
            }
            Transport::Command(argv) => format!("echo true | {}", argv.join(" ")),
            Transport::Unusable(_) => String::new(),
        };
        ConnectError {
            host: self.name.clone(),
            by_hand,
            failure,
        }
    }

    async fn try_connect(&self, freshness: Freshness) -> Result<Connected, ConnectFailure> {
        if self.state_directory.chars().any(char::is_control) || self.state_directory.is_empty() {
            let reason = "its name is empty or holds control characters".to_owned();
            return Err(ConnectFailure::StateDirectory {
                directory: self.state_directory.clone(),
                reason,
            });
        }
        let agent = match &self.transport {
            Transport::Local => self.start_here()?,
            Transport::Ssh(ssh) => self.log_in(ssh, freshness).await?,
            Transport::Command(argv) => self.bootstrap(argv, LOGIN_LIMIT).await?,
            Transport::Unusable(unusable) => return Err(ConnectFailure::NoTransport(unusable.clone())),
        };
        self.greet(agent).await
    }

    /// Starts the agent on this machine.
    fn start_here(&self) -> Result<Started, ConnectFailure> {
        let mut argv: Vec<String> = Vec::new();
        if self.sudo {
            argv.extend(["sudo", "-n", "--"].map(str::to_owned));
        }
        argv.push(self.binary.path().display().to_string());
        argv.extend(
            self.binary
                .arguments()
                .iter()
                .map(|argument| (*argument).to_owned()),
        );
        argv.extend([
            "serve".to_owned(),
            "--state".to_owned(),
            self.state_directory.clone(),
        ]);
        Process::start(&argv).map(Started::new)
    }

    /// Logs in with ssh, and has the shell become the agent.
    async fn log_in(&self, ssh: &SshTransport, freshness: Freshness) -> Result<Started, ConnectFailure> {
        let start = async |login: &Login, limit| self.bootstrap(&ssh_command(ssh, login), limit).await;
        if freshness == Freshness::Fresh {
            return match start(&Login::Own, LOGIN_LIMIT).await {
                // Who must type a code at every login has ssh share one connection; a new session in it is then the
                // freshest that can be had. A shared connection of ours proves nothing here.
                Err(ConnectFailure::LoginRefused(_)) => start(&Login::AsConfigured, LOGIN_LIMIT).await,
                outcome => outcome,
            };
        }
        let shared = match &self.sharing {
            Some(sharing) => {
                sharing
                    .shared(ssh, &ssh_arguments(ssh, &Login::AsConfigured))
                    .await
            }
            None => None,
        };
        let Some(shared) = shared else {
            return start(&Login::AsConfigured, LOGIN_LIMIT).await;
        };
        let stood = shared.stands();
        let login = Login::Shared(shared.clone());
        if stood {
            if let Ok(started) = start(&login, STANDING_LIMIT).await {
                return Ok(started);
            }
            // Whatever is wrong with a connection that stood, a new one tells the truth of the host.
            shared.forget();
        }
        start(&login, LOGIN_LIMIT).await
    }

    /// Reaches a shell, which must answer in time, and has it become the agent.
    async fn bootstrap(&self, argv: &[String], limit: Duration) -> Result<Started, ConnectFailure> {
        let mut process = Process::start(argv)?;
        // While ssh logs in, the program's digest is computed.
        let identity = self
            .binary
            .identified()
            .await
            .map_err(|error| ConnectFailure::Binary(error.to_string()))?;
        let bootstrap = Bootstrap {
            state_directory: &self.state_directory,
            sudo: self.sudo,
            binary: &self.binary,
            identity,
            nonce: &nonce(),
            limit,
        };
        let outcome = bootstrap.run(&mut process.stdout, &mut process.stdin).await;
        match outcome {
            Ok(()) => Ok(Started::new(process)),
            Err(known) => {
                let Process {
                    stdin,
                    stdout,
                    shutdown,
                } = process;
                drop((stdin, stdout));
                let said = shutdown.end().await;
                Err(known.map_or_else(
                    || error::classify(&said),
                    |failure| with_last_words(failure, &said),
                ))
            }
        }
    }

    /// Exchanges the first frames.
    async fn greet(&self, started: Started) -> Result<Connected, ConnectFailure> {
        let Started { agent, listener } = started;
        let asked = SystemTime::now();
        let call = agent.call(Request::Hello { protocol: PROTOCOL });
        let answer = tokio::time::timeout(HELLO_LIMIT, call)
            .await
            .map_err(|_| ConnectFailure::NoAnswer {
                seconds: HELLO_LIMIT.as_secs(),
                said: process::last_line(&listener.said()).unwrap_or_default(),
            })?;
        match answer {
            Ok(Response::Hello { protocol, .. }) if protocol != PROTOCOL => Err(ConnectFailure::Protocol {
                theirs: protocol,
                ours: PROTOCOL,
            }),
            Ok(Response::Hello { host, clock_ms, .. }) => {
                let host = HostFacts {
                    clock_offset_ms: clock_offset(asked, SystemTime::now(), clock_ms),
                    ..*host
                };
                Ok(Connected { agent, host })
            }
            Ok(_) => Err(ConnectFailure::AgentEnded(
                "it answered something else".to_owned(),
            )),
            Err(CallError::Disconnected { reason }) => Err(match error::classify(&reason) {
                failure @ (ConnectFailure::NotExecutable(_) | ConnectFailure::NoSudo(_)) => failure,
                _ => ConnectFailure::AgentEnded(reason),
            }),
            Err(error) => Err(ConnectFailure::AgentEnded(error.to_string())),
        }
    }
}

impl Connect for Reach {
    fn host(&self) -> &str {
        &self.name
    }

    fn connect(&self, freshness: Freshness) -> BoxFuture<'_, Result<Connected, ConnectError>> {
        async move {
            let outcome = self.try_connect(freshness).await;
            outcome.map_err(|failure| self.error(failure))
        }
        .boxed()
    }
}

/// An agent that was started and has not said hello yet.
struct Started {
    agent: Agent,
    listener: Listener,
}

impl Started {
    fn new(process: Process) -> Self {
        let Process {
            stdin,
            stdout,
            shutdown,
        } = process;
        let listener = shutdown.listener();
        let agent = Agent::with_shutdown(stdout, stdin, move |reason| last_words(shutdown, reason));
        Started { agent, listener }
    }
}

/// The reason for which a connection ended, with what the process said last.
async fn last_words(shutdown: Shutdown, reason: String) -> String {
    let said = shutdown.end().await;
    match process::last_line(&said) {
        Some(line) => line,
        None => reason,
    }
}

fn with_last_words(failure: ConnectFailure, said: &str) -> ConnectFailure {
    match failure {
        ConnectFailure::NoAnswer {
            seconds,
            said: before,
        } if before.is_empty() => ConnectFailure::NoAnswer {
            seconds,
            said: process::last_line(said).unwrap_or_default(),
        },
        failure => failure,
    }
}

/// The ssh command that leads to a shell.
fn ssh_command(ssh: &SshTransport, login: &Login) -> Vec<String> {
    let mut argv = vec!["ssh".to_owned(), "-T".to_owned()];
    argv.extend(ssh_arguments(ssh, login));
    argv.push("sh".to_owned());
    argv
}

/// Options for ssh, and where to.
fn ssh_arguments(ssh: &SshTransport, login: &Login) -> Vec<String> {
    let mut options = [
        "BatchMode=yes",
        "ConnectTimeout=10",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "ClearAllForwardings=yes",
    ]
    .map(str::to_owned)
    .to_vec();
    match login {
        Login::AsConfigured => (),
        Login::Own => options.extend(["ControlMaster=no", "ControlPath=none"].map(str::to_owned)),
        Login::Shared(shared) => options.extend(shared.options()),
    }
    let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]);
    options.chain(ssh_destination(ssh)).collect()
}

/// The part of an ssh command that says where to.
fn ssh_destination(ssh: &SshTransport) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(port) = ssh.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &ssh.user {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(file) = &ssh.key_file {
        words.extend(["-i".to_owned(), file.clone()]);
    }
    words.extend(ssh.arguments.iter().cloned());
    words.extend(["--".to_owned(), ssh.host.clone()]);
    words
}

/// A word that no banner prints: process, moment and a counter.
fn nonce() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    format!(
        "{:x}-{now:x}-{:x}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

/// Milliseconds that the host's clock is ahead of ours, which was read before and after it.
fn clock_offset(before: SystemTime, after: SystemTime, theirs: u64) -> i64 {
    let millis = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    theirs as i64 - (millis(before) + millis(after)) / 2
}
