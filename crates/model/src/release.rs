//! The life of releases on a host, outside of upgrades: what can be asked, and how it is answered.
//!
//! The statuses mean what EMQX's mean. What is `permanent` is what a start of the service runs; what is `current` runs now, and is gone
//! after a restart of the service or the host; `old` ran before; `unpacked` never did.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::{Artifact, Command};
use crate::facts::ReleaseStatus;

/// The product's own tool that keeps releases, where it has one. Templates may use `version` beside the names that actions may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseHandler {
    /// The directory that holds its releases.
    pub root: String,
    /// Lists the releases.
    pub list: Command,
    /// Regular expression over the lines of that list, with the version in its first group and the status in its second.
    pub line: String,
    /// The file at which it looks for a package; it is there only while the package is unpacked.
    pub package: String,
    /// Files that it makes of the package, removed afterwards.
    #[serde(default)]
    pub leftovers: Vec<String>,
    /// Unpacks a release.
    pub unpack: Command,
    /// Installs a release, and makes it permanent.
    pub install: Command,
    /// Installs a release until the next restart.
    pub install_for_now: Command,
    /// Removes a release.
    pub uninstall: Command,
}

/// What is asked of a host about releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCall {
    /// Which there are.
    List,
    /// Where they are.
    Root,
    /// Have the release's package unpacked.
    Unpack {
        /// The package, in the host's cache; absent where none is at hand.
        artifact: Option<Artifact>,
        /// Version of the release.
        version: String,
        /// Leading directories of the archive that are dropped.
        strip: u32,
    },
    /// Run a release from now on.
    Install {
        /// The package, for a release that is not unpacked.
        artifact: Option<Artifact>,
        /// Version of the release.
        version: String,
        /// Leading directories of the archive that are dropped.
        strip: u32,
        /// Whether the next start runs it, too.
        permanent: bool,
    },
    /// Remove a release that is neither current nor permanent.
    Uninstall {
        /// Version of the release.
        version: String,
    },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseOutcome {
    /// It is as asked, now or already.
    Done,
    /// Nothing was changed.
    Refused,
    /// It was tried and went wrong, and what ran before runs again.
    RolledBack,
    /// It went wrong; the words say how.
    Failed,
}

/// What a host answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseAnswer {
    /// How it ended.
    pub outcome: ReleaseOutcome,
    /// What the release handler says, line by line.
    pub lines: Vec<String>,
    /// The releases afterwards, by version.
    pub releases: BTreeMap<String, ReleaseStatus>,
    /// The directory that holds them.
    pub root: String,
}
