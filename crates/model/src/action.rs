//! The vocabulary of actions: everything that a host can be ordered to do.
//!
//! A profile writes actions with `{{ templates }}` in their texts; the planner keeps them so, and the run engine fills the
//! templates in when it orders the step (see [`crate::template`]). What reaches a host is always plain data: argument
//! vectors and paths, never a shell line.
//!
//! Every action is written so that doing it twice ends in the same state as doing it once ("make it so"), because a
//! retry after an observed failure is a new attempt at the same action.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Millis;
use crate::balancer::{HaproxyOrder, HttpOrder};
use crate::installation::InstallRelease;
use crate::probe::ProbeCheck;
use crate::snapshot::TakeSnapshot;
use crate::version::Scheme;

/// One release of a product as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// The file's name, as the vendor spells it.
    pub file_name: String,
    /// The version that the file's name states.
    pub version: String,
    /// The other named parts of the file's name: edition, otp, os, arch, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variant: BTreeMap<String, String>,
    /// SHA-256 of the whole file, lower-case hexadecimal.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// How a product's process is started and stopped on a host.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per plan and per order, and it is read more often than it is moved"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// A systemd unit, by its full name.
    Systemd(SystemdService),
    /// A process that the agent starts itself, in a session of its own so that it survives the login.
    Supervised(SupervisedService),
    /// The product's own start and stop commands.
    Commands(CommandService),
}

impl Service {
    /// Who runs the service on a host, templates filled in: a service that names a unit is that unit's.
    pub fn effective(&self) -> Cow<'_, Service> {
        match self {
            Service::Supervised(SupervisedService { unit: Some(unit), .. })
            | Service::Commands(CommandService { unit: Some(unit), .. })
                if !unit.is_empty() =>
            {
                Cow::Owned(Service::Systemd(SystemdService { unit: unit.clone() }))
            }
            other => Cow::Borrowed(other),
        }
    }
}

/// A service that systemd runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemdService {
    /// The unit's name, such as `etcd.service`.
    pub unit: String,
}

/// A service that the agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SupervisedService {
    /// Name of the service on this host; one process per name.
    pub name: String,
    /// The systemd unit that runs the service on hosts that have one, such as `etcd.service`; where it is absent or empty the
    /// agent runs the service itself. A template, so that each host of a fleet can say; see [`Service::effective`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Environment variables added to the agent's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working directory; the agent's state directory where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Where standard output and standard error go; appended to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Signal that asks the process to end, such as `TERM`.
    #[serde(default = "default_signal")]
    pub stop_signal: String,
}

fn default_signal() -> String {
    "TERM".to_owned()
}

/// A service behind the product's own commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandService {
    /// The systemd unit that runs the product on hosts that have one; where it is absent or empty the commands do. A template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Starts the product.
    pub start: Command,
    /// Stops the product.
    pub stop: Command,
    /// File that holds the process id of the running product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<String>,
    /// How the process is recognised where there is no such file, or where the file names another process: such a process is asked to
    /// end by a signal, because the product's own command would not find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessMatch>,
    /// How the processes are recognised where the product runs several on one host, by name, such as `master` and `worker`. Not every
    /// host runs all of them. The service runs while any of them does, and has stopped when none does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<String, ProcessMatch>,
}

/// How a process is recognised: by its program, by its arguments, or by both. Without any of them nothing is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessMatch {
    /// File name of its executable, such as `beam.smp`; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Arguments that it has, next to each other and in this order, such as `-name emqx@10.0.0.1`.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Further arguments that it has, anywhere and in any order, such as `-Dalluxio.conf.dir=/etc/alluxio`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Directory that its executable lies in, at any depth, with links followed; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
}

/// A program to run, as an argument vector. No shell is involved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Environment variables added to the agent's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Time after which the whole process group is killed.
    #[serde(default = "default_timeout")]
    pub timeout: Millis,
    /// What an exit status means; a status that is not named is a failure. Zero is always `done` unless named.
    /// An exit status alone never makes a step succeed: see the step's proof.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exit: BTreeMap<i32, ExitMeaning>,
    /// How standard output is read.
    #[serde(default)]
    pub output: OutputFormat,
}

fn default_timeout() -> Millis {
    Millis::seconds(60)
}

/// What an exit status of a vendor's command means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExitMeaning {
    /// The command says that it worked (the proof decides whether it did).
    Done,
    /// Trying again may help; the text says what happened.
    Transient(String),
    /// Trying again does not help; the text says what happened.
    Failed(String),
}

/// How a command's standard output becomes a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// One text, without the newline at its end. ANSI colours are removed.
    #[default]
    Text,
    /// A JSON document.
    Json,
    /// A list of lines; a `\r` that overwrites a line (progress bars) starts a new one.
    Lines,
    /// A map from `name: value` or `name = value` lines.
    KeyValue,
    /// The first Erlang term in it; see [`crate::erlang`].
    Erlang,
}

/// One thing done to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Have the file of a release in the host's cache, with the right digest; what is there already is not sent again.
    Distribute(Artifact),
    /// Unpack a distributed file into the release store.
    Unpack(UnpackRelease),
    /// Point the release store's link `current` at a release.
    Switch(SwitchRelease),
    /// Copy the package of an unpacked release, byte for byte, to where the product's own tool looks for it.
    CopyPackage(CopyPackage),
    /// Have a release installed by the package manager that installed the product; where none did, as `switch`. The old package is
    /// removed first, never purged, and only where nothing of it runs.
    Install(InstallRelease),
    /// Stop a service: ask, wait, and confirm by its process.
    Stop(StopService),
    /// Start a service.
    Start(Service),
    /// Copy files and directories aside, byte for byte with owner and mode, under a name.
    Save(SavePaths),
    /// Put back what `save` copied aside.
    Restore(RestorePaths),
    /// Change keys of a line-oriented configuration file.
    EditConfig(EditConfig),
    /// Merge the new release's default into a configuration file.
    MergeConfig(MergeConfig),
    /// Point a link at a directory, which may have to be made new and empty.
    Relink(Relink),
    /// Put an unpacked release in the place of a directory that keeps its path, or the old directory back.
    Replace(ReplaceDirectory),
    /// Run a program.
    Command(Command),
    /// Change what an HAProxy does with servers, and bring it back as it was found.
    Haproxy(HaproxyOrder),
    /// Make an HTTP call that changes something.
    Http(HttpOrder),
    /// Remove a release from the store; the current one is refused.
    RemoveRelease(String),
    /// Remove what `save` copied aside.
    RemoveSaved(String),
    /// Take a snapshot into the repository, and prove that it restores. One that does not count is a failure. The planner makes it of
    /// [`crate::profile::Profile::snapshots`].
    Snapshot(Box<TakeSnapshot>),
    /// Have systemd start the service from the release store, the rest of its command line as the unit has it. Nothing where no unit
    /// runs the service.
    MoveUnit(MoveUnit),
    /// Take that back.
    UnmoveUnit(MoveUnit),
    /// Arm the host's own dead-man's switch.
    ArmGuard(Box<GuardRecipe>),
    /// Disarm it.
    DisarmGuard,
}

/// Which file is unpacked, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnpackRelease {
    /// The distributed file. Its version names the release in the store.
    pub artifact: Artifact,
    /// How many leading directories of the archive are dropped; see [`crate::profile::PackageRule::strip`].
    #[serde(default)]
    pub strip: u32,
}

/// Which release becomes the current one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchRelease {
    /// Version of an unpacked release.
    pub release: String,
}

/// Which package is copied, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyPackage {
    /// Version of a release of the store; its package is in the host's cache.
    pub release: String,
    /// The file that it is copied to. It gets the owner of the directory that it lies in, and everybody may read it.
    pub file: String,
}

/// Which unit starts which program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveUnit {
    /// The systemd unit; empty where none runs the service.
    pub unit: String,
    /// The program, through the store's link.
    pub program: String,
}

/// How a service is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopService {
    /// Which service.
    pub service: Service,
    /// How long the process may take to end when asked; then the whole process group is killed.
    pub patience: Millis,
}

/// What is copied aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SavePaths {
    /// Name under which it is kept.
    pub name: String,
    /// Files and directories; one that does not exist is remembered as absent.
    pub paths: Vec<String>,
}

/// What is put back. Where nothing has been saved under the name, nothing is changed: a guard that fires before its host's files
/// were copied aside takes the same rollback as one that fires later. That the files are what they were is for the proof to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestorePaths {
    /// Name under which it was kept.
    pub name: String,
}

/// Keys to remove from, comment out or set in a file of `key = value`, `key: value` or `key=value` lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditConfig {
    /// The file.
    pub file: String,
    /// Keys whose lines are removed.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Keys whose lines are turned into comments.
    #[serde(default)]
    pub comment: Vec<String>,
    /// Keys that get a value, as a line `key=value`: in the place of the last line that sets the key, or at the end of the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Why; written as a comment above each line that is turned into one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A three-way merge of a configuration file. Comments and order stay; what the operator and the new default both changed is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeConfig {
    /// The operator's file, which gets the result.
    pub file: String,
    /// The default of the old release.
    pub base: String,
    /// The default of the new release.
    pub new: String,
    /// The default of the new release as text, where its file is not on the host yet: to see beforehand what a merge would come to. It is
    /// never written into an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_text: Option<String>,
    /// What the operator has decided, as JSON: for each key `yours` or `new`. Nothing where empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answers: String,
}

/// A directory in whose place a release is put. It is moved aside whole, by a rename, and moved back by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceDirectory {
    /// The directory.
    pub directory: String,
    /// Version of an unpacked release that shall be there, such as `{{ want }}`. Its files get the owner that the directory has.
    pub release: String,
    /// The version whose directory is moved aside, such as `{{ from }}`: where it is asked for, the old directory is put back. Where
    /// none lies aside then, nothing is done.
    pub old: String,
    /// Where the old directory is moved to, in the same parent directory. It stays there until it is removed.
    pub aside: String,
    /// What is copied from the old directory over the release's own.
    #[serde(default)]
    pub carry: Vec<CarryFiles>,
}

/// Files of an installation that are carried over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CarryFiles {
    /// Path below the directory; a `*` in its last part stands for anything. What is not there is not carried.
    pub path: String,
    /// Only files that hold this text, upper and lower case alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containing: Option<String>,
}

/// A link to a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relink {
    /// The link.
    pub link: String,
    /// What it points at.
    pub target: String,
    /// Make `target` as a new, empty directory first; one that exists and is not empty is refused.
    #[serde(default)]
    pub create_empty: bool,
}

/// What a host does by itself when nobody renews its guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardRecipe {
    /// How versions compare in the expressions below.
    pub scheme: Scheme,
    /// Names that the expressions may use beside `value`: `node`, `places`, `state_directory`, `from`, `to`, `want` (the
    /// version to roll back to), `run`, `hop`. Filled in when the order is given.
    #[serde(default)]
    pub scope: serde_json::Map<String, serde_json::Value>,
    /// How long an arming or renewal lasts.
    pub lease: Millis,
    /// Added to the lease, so that the guards of a fleet do not all fire at once.
    pub stagger: Millis,
    /// The point of no return, observed on this host: where it holds, the guard stands down and changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_down_if: Option<ProbeCheck>,
    /// Holds while this host serves; then `wait_until` must hold before it may be taken down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving_if: Option<ProbeCheck>,
    /// The others serve and have caught up, so that this host may be taken down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_until: Option<ProbeCheck>,
    /// The rollback, in order.
    #[serde(alias = "revert")]
    pub rollback: Vec<Action>,
    /// Looked at before each action of the rollback: where it holds, this action and those after it are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<ProbeCheck>,
    /// Proof that the old version serves again.
    #[serde(default)]
    pub proof: Vec<ProbeCheck>,
    /// An operator lets the hop go forward again after a rollback: that this host's guard has fired in it counts no more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// What the guard of a host says of itself; the value of [`crate::probe::Probe::Guard`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum GuardStatus {
    /// No guard stands for this run.
    Absent,
    /// It stands; it fires when `remaining` has passed without a renewal.
    Armed {
        /// Time until it fires.
        remaining: Millis,
    },
    /// It is rolling back the host just now.
    Firing,
    /// It has rolled back the host, and saw the old version serve.
    #[serde(alias = "reverted")]
    RolledBack,
    /// It stood down: the point of no return had been crossed.
    StoodDown,
    /// It tried to roll back the host and could not; the text says why.
    Failed {
        /// What went wrong.
        reason: String,
    },
    /// It was disarmed.
    Disarmed,
}

impl Action {
    /// A short word for the action, for listings.
    pub fn word(&self) -> &'static str {
        match self {
            Action::Distribute(_) => "distribute",
            Action::Unpack(_) => "unpack",
            Action::Switch(_) => "switch",
            Action::CopyPackage(_) => "copy package",
            Action::Install(_) => "install",
            Action::Stop(_) => "stop",
            Action::Start(_) => "start",
            Action::Save(_) => "save",
            Action::Restore(_) => "restore",
            Action::EditConfig(_) => "edit config",
            Action::MergeConfig(_) => "merge config",
            Action::Relink(_) => "relink",
            Action::Replace(_) => "replace",
            Action::Command(_) => "command",
            Action::Haproxy(_) => "haproxy",
            Action::Http(_) => "http",
            Action::RemoveRelease(_) => "remove release",
            Action::RemoveSaved(_) => "remove saved files",
            Action::Snapshot(_) => "take a snapshot",
            Action::MoveUnit(_) => "move unit",
            Action::UnmoveUnit(_) => "unmove unit",
            Action::ArmGuard(_) => "arm guard",
            Action::DisarmGuard => "disarm guard",
        }
    }
}

/// How an order ended on its host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The action says that it worked. `output` is what it returned.
    Done {
        /// The action's own result.
        output: serde_json::Value,
    },
    /// Trying again may help.
    Transient {
        /// What went wrong, in the operator's words.
        reason: String,
    },
    /// Trying again does not help.
    Failed {
        /// What went wrong, in the operator's words.
        reason: String,
    },
    /// The agent was killed while it did the action: nobody knows how far it came. The proof decides.
    Interrupted,
    /// The host has seen a younger controller.
    Fenced {
        /// The fencing token that the host has seen.
        token: u64,
    },
    /// The host's guard has fired (or is firing): the host takes no order forward for this hop any more.
    GuardFired,
}
