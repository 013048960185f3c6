//! Snapshots: what a profile says of them, what a host is asked for, and what it keeps on record.
//!
//! A snapshot lies in a repository of restic's format. It counts only once it is *proven*: restored into a directory of its own, found
//! the same as what was taken, and read by the product's own reader.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Millis;
use crate::action::Command;
use crate::probe::Probe;
use crate::profile::On;
use crate::version::Scheme;

/// One kind of snapshot that a profile names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRule {
    /// Name under which it is asked for, such as `data`.
    pub name: String,
    /// What it holds, in words.
    pub title: String,
    /// On which servers: each has its own, or one holds it for the whole cluster.
    #[serde(default)]
    pub on: On,
    /// The versions of the product that it is taken of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Files and directories that it holds: templates. What does not exist is left out, and said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The product's own backup command. It writes into `{{ snapshot.output }}`, a new and empty directory, which belongs to the
    /// snapshot then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// What must hold right before it is taken and right after: that the data is still of the version that the snapshot is labelled with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<SnapshotCheck>,
    /// What shows that it can be used, asked of its trial restore: a file `/etc/a` of it lies at `{{ snapshot.restored }}/etc/a`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<SnapshotCheck>,
    /// The versions that can read it, as a range; where absent, those of the same minor version as the one that it was taken of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readable_by: Option<String>,
    /// Version of the format that the data is in, such as `3.4`; where absent, the version that it was taken of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether a run takes it before a hop; `upshift backup` always does.
    #[serde(default = "yes")]
    pub in_runs: bool,
    /// Time for the backup command, the snapshot and its proof, each.
    #[serde(default = "default_within")]
    pub within: Millis,
}

fn yes() -> bool {
    true
}

fn default_within() -> Millis {
    Millis::seconds(3600)
}

/// One observation about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCheck {
    /// What is observed.
    pub probe: Probe,
    /// Expression over the observation (`value`), `version`, `node`, `places`.
    pub expect: String,
    /// What is wrong where it does not hold.
    pub otherwise: String,
}

/// Where snapshots are kept, and how they are protected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// A directory, or any place that restic knows (`sftp:user@host:/path`, `s3:…`, `rest:…`). Where empty, the host's own directory
    /// `snapshots/repository` below the agent's state directory.
    #[serde(default)]
    pub location: String,
    /// The file on the host that holds the password. Where empty, the agent makes one for the host's own repository.
    #[serde(default)]
    pub password_file: String,
    /// Digest of the restic program in the host's cache; where absent, the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// Whose snapshot it is, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Name of the snapshot rule.
    pub name: String,
    /// What it holds, in words.
    pub title: String,
    /// Name of the fleet.
    pub fleet: String,
    /// Name of the host in the fleet.
    pub host: String,
    /// Short name of the product.
    pub product: String,
    /// How its versions order.
    pub scheme: Scheme,
    /// The version that it was taken of.
    pub version: String,
    /// Version of the data's format.
    pub format: String,
    /// The versions that can read it, as a range; where empty, those of the same minor version.
    #[serde(default)]
    pub readable_by: String,
    /// The run that took it, if one did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
}

/// Which snapshot is taken, and how it is proven. Templates are filled in when a host is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeSnapshot {
    /// Whose, and of what.
    pub labels: Labels,
    /// See [`SnapshotRule::paths`].
    #[serde(default)]
    pub paths: Vec<String>,
    /// See [`SnapshotRule::command`].
    #[serde(default)]
    pub command: Option<Command>,
    /// See [`SnapshotRule::state`].
    #[serde(default)]
    pub state: Vec<SnapshotCheck>,
    /// See [`SnapshotRule::proof`].
    #[serde(default)]
    pub proof: Vec<SnapshotCheck>,
    /// Where it is kept.
    pub repository: Repository,
    /// See [`SnapshotRule::within`].
    pub within: Millis,
    /// The names that the expressions may use.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub scope: Map<String, Value>,
}

/// What a host keeps on record of a snapshot. Its repository holds the same, but whether it is proven: that is found out anew where the
/// record is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its id in the repository.
    pub id: String,
    /// Digest of the tree that it holds: a record is about this one and no other.
    pub tree: String,
    /// Whose, and of what.
    pub labels: Labels,
    /// When it was taken, in milliseconds since 1970.
    pub taken_at: u64,
    /// The paths that it holds.
    pub paths: Vec<String>,
    /// How many files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Digest over names, modes and contents.
    pub sha256: String,
    /// When it was proven, in milliseconds since 1970; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<u64>,
    /// Why it does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

impl SnapshotRecord {
    /// Whether it counts.
    pub fn proven(&self) -> bool {
        self.proven_at.is_some() && self.reasons.is_empty()
    }
}

/// What is asked of a host about snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotCall {
    /// Take one, and prove it.
    Take(Box<TakeSnapshot>),
    /// Which there are.
    List,
    /// Restore one into a directory of its own, compare it with what was taken, and ask the product's reader; nothing stays of it.
    Verify {
        /// Its id.
        id: String,
    },
    /// Read everything that the repository holds.
    Check,
    /// Put one back.
    Restore(Box<RestoreSnapshot>),
    /// Remove these from the repository, and what only they needed.
    Forget {
        /// Their ids.
        ids: Vec<String>,
    },
}

/// Which snapshot is put back, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreSnapshot {
    /// Its id.
    pub id: String,
    /// The directory that gets its tree; where absent, each path is restored where it was.
    pub to: Option<String>,
    /// Whether what lies there is moved aside. It is never removed.
    pub move_aside: bool,
    /// The version that is to read it, where the operator says.
    pub version: Option<String>,
    /// The service that must not run where its files are put back.
    pub service: Option<crate::action::Service>,
}

/// What a host answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotAnswer {
    /// The repository, in words.
    pub repository: String,
    /// Where its password lives.
    pub password: String,
    /// The snapshots that the call was about.
    pub snapshots: Vec<SnapshotRecord>,
    /// What was done, in sentences.
    pub lines: Vec<String>,
}
