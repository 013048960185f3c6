//! The vocabulary of probes: everything that can be observed on a host. A probe changes nothing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Millis;
use crate::action::{Command, MergeConfig, Service};
use crate::balancer::HaproxyProbe;
use crate::installation::InstalledProbe;

/// One thing observed on a host. The value it yields is JSON; each variant says its shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// The process of a service: `{running, pid, exe, replaced, release, uptime_ms, version, names}`, and where nothing
    /// runs also `{ended, log}`: whether the process that was started last has ended since the host booted and nothing starts it
    /// again (null where that cannot be told), and the last lines of what it printed. `replaced` says whether the program
    /// that runs is no longer the file at `exe`: that was removed, or replaced by another one. `release` is the release of the store that
    /// the process's executable belongs to (read from the process, not from the link), null where it is none of them.
    /// `version` is what `version` below prints, run with the executable of the process itself. Where the service has several
    /// processes, `names` lists those that run, in order; `pid` is the one that started first, and `release` is null unless all run the same.
    Process(ProcessProbe),
    /// A program's output: `{exit, value, stderr, at_ms}`, with `value` as the command's output format says, and in `at_ms` when it
    /// was observed, in milliseconds since the host has booted: what a program says of its age can be compared over time.
    Command(Command),
    /// An HTTP GET: `{status, value}`, with `value` parsed where it is JSON, and text otherwise.
    Http(HttpProbe),
    /// What an HAProxy says of servers: `{servers, sessions, drained, maintenance, as_found, leaves}`. `servers` has for each `backend/server`
    /// its `state` (`ready`, `drain`, `maintenance`), `status` (`UP`, `DOWN`, …), `sessions`, `address`, and what the run `found` it
    /// in (null before the run's first order). `sessions` is their sum; `drained` says that none takes new connections,
    /// `maintenance` that all are in maintenance, `as_found` that all are as the run found them: those that were up are up again.
    /// `leaves` names the backends that have other servers, none of which takes traffic: without these servers they serve no client.
    Haproxy(HaproxyProbe),
    /// A file or directory: `{exists, kind, size, sha256, target}`; the digest of a directory covers names, modes and contents.
    File(String),
    /// The release store: `{current, permanent, releases: {version: status}}`.
    Releases,
    /// A connection made for the purpose and closed again: `{connected, tls, reason}`. `tls` is the version of the protocol that was
    /// agreed on, null without TLS; `reason` says why there is no connection. Whose certificate it is is not judged.
    Connect(ConnectProbe),
    /// The TCP connections that others have opened to a service's process: `{running, count, peers, of, kept}`, as the kernel knows
    /// them. `peers` names them `10.0.0.7:40112→1883`, at most 1000: where there are more, always the same choice of them. Of the `of`
    /// connections that were asked after, `kept` are still there.
    Connections(ConnectionsProbe),
    /// What the package manager's own database says: `{manager, status, version, release, intact, differing, configuration}`. `status` is
    /// `installed`, `broken` or `absent`; `release` the release of the store whose package it is; `intact` says that all files
    /// but configuration have the package's digests, `differing` and `configuration` name those that have not.
    Installed(InstalledProbe),
    /// What `save` copied aside: `{exists, identical, sha256, files}`; `identical` compares it with what is in place now.
    Saved(String),
    /// The run's snapshot of this name: `{exists, proven, id, version, files, bytes, reason}`. `proven` says that it was restored into a
    /// directory of its own, compared with what was taken and read by the product's own reader; `reason` why it does not count.
    Snapshot(String),
    /// What a merge of configuration would come to: `{clean, changed, diff, conflicts}`. Nothing is written.
    MergedConfig(MergeConfig),
    /// The guard: see [`crate::action::GuardStatus`].
    Guard,
    /// What a gzip file holds as records, each behind its length (Protocol Buffers' delimited form): `{exists, whole, records, bytes,
    /// sha256, reason}`. The file is read to its end: `whole` says that the gzip checksums hold and the last record is complete, and
    /// `reason` why not. `records` is what was read until then; `sha256` is the digest of the file itself. A `*` in the file's name stands
    /// for anything, and more than one such file is a failure.
    Records(String),
    /// Free and total bytes of the file system that holds a path: `{free, total}`.
    Disk(String),
    /// What lies at and below some paths, a path below another one counted once: `{bytes, files}`. `bytes` is what a copy takes on most
    /// file systems: whole blocks of 4 KiB. What does not exist counts as nothing.
    Usage(Vec<String>),
    /// What the host lacks of what steps need: `{programs, unreadable, unwritable, busy, automatic}`, lists of texts. `busy` says which package manager
    /// somebody else holds the lock of, `automatic` what installs packages there by itself. Nothing is run and nothing is written.
    Needs(NeedsProbe),
    /// Lines of a log that match any of the patterns since the run began: `{matches: [text], count}`.
    Log(LogProbe),
    /// The host itself: see [`crate::facts::HostFacts`].
    Host,
}

/// Which process, and how its version is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessProbe {
    /// The service whose process is meant.
    pub service: Service,
    /// Arguments that make the executable print its version, such as `["--version"]`.
    #[serde(default)]
    pub version_arguments: Vec<String>,
    /// Regular expression whose first group is the version in that output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_pattern: Option<String>,
}

/// An HTTP GET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// Where to ask.
    pub url: String,
    /// Time after which the answer counts as failed.
    #[serde(default = "default_http_timeout")]
    pub timeout: Millis,
    /// Where nothing listens, or the connection is closed without an answer, the value is `{status: 0, value: null}` and not a failure: for
    /// products of which one server alone answers. No answer in time stays a failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_closed: bool,
    /// Request headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// File on the host with the value of the header `Authorization`, so that no secret is in a profile, a plan or a journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_file: Option<String>,
    /// File with the certificate authorities to trust, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// File with the client's certificate, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// File with the client's key, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

fn default_http_timeout() -> Millis {
    Millis::seconds(5)
}

/// A connection to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectProbe {
    /// Where to, as `host:port`. A port alone, and an address that stands for all of the host's, mean the host itself. Where it is
    /// empty, nothing is tried, and `connected` is null.
    pub address: String,
    /// Whether TLS is spoken.
    #[serde(default)]
    pub tls: bool,
    /// Time after which it counts as failed.
    #[serde(default = "default_http_timeout")]
    pub timeout: Millis,
}

/// Whose connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsProbe {
    /// The service whose process is meant.
    pub service: Service,
    /// Ports of the service that do not count, such as those that servers of the cluster reach each other at: `4370`, or all from one
    /// to another, `4370-4399`.
    #[serde(default)]
    pub except: Vec<String>,
    /// Connections that are asked after: `peers` of an earlier look, joined with commas.
    #[serde(default)]
    pub of: String,
}

/// What steps need of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NeedsProbe {
    /// Programs that the agent's user must be able to run, by name or path.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Files and directories that the agent's user must be able to read, with all that lies below. What does not exist needs nothing.
    #[serde(default)]
    pub readable: Vec<String>,
    /// Files and directories that the agent's user must be able to replace. Where one does not exist, it must be possible to make it.
    #[serde(default)]
    pub writable: Vec<String>,
    /// Package managers that must be free to install: `dpkg`, `rpm`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package_managers: Vec<String>,
}

/// Which log, and what to look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogProbe {
    /// The file. A `*` in its name stands for anything: all those files are looked at.
    pub path: String,
    /// Regular expressions.
    pub patterns: Vec<String>,
}

/// A probe together with what it must show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeCheck {
    /// What is observed.
    pub probe: Probe,
    /// Expression over the observation (`value`), the host (`node`), `places`, `from`, `to`; see [`crate::expr`].
    pub expect: String,
}

/// Why a probe yielded nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeFailure {
    /// The host did not answer.
    Unreachable(String),
    /// The host answered, but the probe could not be done.
    Failed(String),
    /// The host's guard has fired in the hop that was asked for: what it shows now says nothing of the way forward.
    GuardFired,
}

impl ProbeFailure {
    /// Why, in words.
    pub fn reason(&self) -> &str {
        match self {
            ProbeFailure::Unreachable(reason) | ProbeFailure::Failed(reason) => reason,
            ProbeFailure::GuardFired => "the host's guard has fired",
        }
    }
}

/// What a probe yielded.
pub type Observation = Result<serde_json::Value, ProbeFailure>;
