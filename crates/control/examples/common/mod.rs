//! What the benchmarks share: their arguments, and the way to the hosts.

#![allow(dead_code, reason = "not every benchmark needs all of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use upshift_model::action::{Action, Report};
use upshift_model::fleet::{Fleet, Host, SshTransport, Transport};
use upshift_wire::binary::AgentBinary;
use upshift_wire::protocol::{ExecuteOrder, Request, Response};
use upshift_wire::session::Session;
use upshift_wire::transport::{Connect, Reach};

const FLEET: &str = "bench";

/// The command line: `[--NAME VALUE]… HOST…`, where a host is `[USER@]ADDRESS[:PORT]`, or `local`.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Options that are not common to all benchmarks.
    pub options: BTreeMap<String, String>,
    hosts: Vec<String>,
    ssh_arguments: Vec<String>,
    key_file: Option<String>,
    state: Option<String>,
    sudo: bool,
}

pub const USAGE: &str = "\
common options:
  --key FILE          private key for ssh
  --ssh-argument ARG  passed to ssh; again for each
  --state DIR         where agents keep their state; each host gets a directory of its own in it [default: /var/tmp/upshift-bench]
  --sudo yes          agents run under sudo
The agent's program is found as `upshift` finds it; UPSHIFT_AGENT names another.";

impl Arguments {
    /// Reads the command line of this process.
    pub fn read() -> Result<Self> {
        let mut arguments = Arguments::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                arguments.hosts.push(word);
                continue;
            };
            let value = words
                .next()
                .with_context(|| format!("--{name} has no value\n{USAGE}"))?;
            match name {
                "key" => arguments.key_file = Some(value),
                "ssh-argument" => arguments.ssh_arguments.push(value),
                "state" => arguments.state = Some(value),
                "sudo" => arguments.sudo = value == "yes",
                _ => drop(arguments.options.insert(name.to_owned(), value)),
            }
        }
        if arguments.hosts.is_empty() {
            bail!("name the hosts, as [USER@]ADDRESS[:PORT]\n{USAGE}");
        }
        Ok(arguments)
    }

    /// A number among the options.
    pub fn number(&self, name: &str, default: u64) -> Result<u64> {
        let Some(text) = self.options.get(name) else {
            return Ok(default);
        };
        text.parse()
            .with_context(|| format!("--{name} {text} is not a number"))
    }

    /// The words that lead `ssh` or `scp` to the first host (`-P` for the port where `capital` is set), and its name; none
    /// where it is this machine.
    pub fn first_by_ssh(&self, capital: bool) -> Option<(Vec<String>, String)> {
        let Transport::Ssh(ssh) = self.transport(self.hosts.first()?) else {
            return None;
        };
        let mut words = ssh.arguments;
        words.extend(["-o".to_owned(), "BatchMode=yes".to_owned()]);
        if let Some(port) = ssh.port {
            words.extend([if capital { "-P" } else { "-p" }.to_owned(), port.to_string()]);
        }
        if let Some(key) = ssh.key_file {
            words.extend(["-i".to_owned(), key]);
        }
        let user = ssh.user.map_or_else(String::new, |user| format!("{user}@"));
        Some((words, format!("{user}{}", ssh.host)))
    }

    fn transport(&self, host: &str) -> Transport {
        if host == "local" {
            return Transport::Local;
        }
        let (user, address) = host
            .rsplit_once('@')
            .map_or((None, host), |(user, rest)| (Some(user), rest));
        let (address, port) = match address.rsplit_once(':') {
            Some((address, port)) if !address.contains(':') => (address, port.parse().ok()),
            _ => (address, None),
        };
        Transport::Ssh(SshTransport {
            host: address.to_owned(),
            port,
            user: user.map(str::to_owned),
            key_file: self.key_file.clone(),
            arguments: self.ssh_arguments.clone(),
        })
    }

    /// The hosts as a fleet.
    pub fn fleet(&self) -> Fleet {
        let state = self.state.as_deref().unwrap_or("/var/tmp/upshift-bench");
        let hosts = self.hosts.iter().map(|name| {
            let directory: String = name
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() || c == '.' {
                        c
                    } else {
                        '-'
                    }
                })
                .collect();
            let host = Host {
                transport: self.transport(name),
                state_directory: Some(format!("{state}/{directory}")),
                sudo: self.sudo,
                ..Host::default()
            };
            (name.clone(), host)
        });
        Fleet {
            name: FLEET.to_owned(),
            hosts: hosts.collect(),
        }
    }

    /// New sessions to all hosts; nobody is logged in yet.
    pub fn sessions(&self) -> Result<Vec<Session>> {
        let binary = Arc::new(AgentBinary::find()?);
        let reach = |(name, host): (&String, &Host)| {
            Session::new(Arc::new(Reach::new(name, host, Arc::clone(&binary))) as Arc<dyn Connect>)
        };
        Ok(self.fleet().hosts.iter().map(reach).collect())
    }
}

/// Logs in to all hosts at once.
pub async fn connect(sessions: &[Session]) -> Result<()> {
    try_join_all(sessions.iter().map(|session| async {
        session
            .connected()
            .await
            .map(drop)
            .map_err(|error| anyhow::anyhow!("{error}\n{}", error.remedy()))
    }))
    .await
    .map(drop)
}

/// Orders of one made-up run.
pub struct Orders {
    run: String,
    token: u64,
}

impl Orders {
    /// A run that no host knows.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Orders {
            run: format!("bench-{}", now.as_nanos()),
            token: now.as_millis() as u64,
        }
    }

    /// Gives one order, and waits until it is done.
    pub async fn give(&self, session: &Session, step: u32, action: Action) -> Result<()> {
        let order = ExecuteOrder {
            run: self.run.clone(),
            step,
            attempt: 1,
            token: self.token,
            sequence: u64::from(step),
            fleet: FLEET.to_owned(),
            forward: true,
            hop: 0,
            action,
        };
        match session.call(Request::Execute(Box::new(order))).await? {
            Response::Report(Report::Done { .. }) => Ok(()),
            other => bail!("{} did not do it: {other:?}", session.host()),
        }
    }
}

/// Seconds since a moment.
pub fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// Rounded for people who read the line.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
