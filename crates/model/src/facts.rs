//! Facts: what was observed on hosts and in the cluster before a plan is made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything observed, by host name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// One entry per host of the fleet that has the product.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// Load balancers of the product that could not be reached, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreachable_balancers: BTreeMap<String, String>,
    /// Versions that earlier runs on this fleet rolled back from, with the run that did.
    #[serde(default)]
    pub rolled_back: BTreeMap<String, String>,
}

/// What was observed on one host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Why the host could not be reached, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// Why the places of the profile could not be looked for, if they could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlocated: Option<String>,
    /// The host itself.
    #[serde(default)]
    pub host: HostFacts,
    /// The version that runs, read from the process; absent where nothing runs.
    #[serde(default)]
    pub version: Option<String>,
    /// Named parts of the running release's package: edition, otp, os, arch, … as far as known.
    #[serde(default)]
    pub variant: BTreeMap<String, String>,
    /// The places of the profile (data directory, configuration file, …), as found on this host.
    #[serde(default)]
    pub places: BTreeMap<String, String>,
    /// Where each place was found: `environment variable ETCD_DATA_DIR`, `default`, …
    #[serde(default)]
    pub place_sources: BTreeMap<String, String>,
    /// Whether the profile's `leader` expression holds for this host.
    #[serde(default)]
    pub leader: bool,
    /// Values of the profile's probes, by name. A probe that failed is `{"error": "…"}`.
    #[serde(default)]
    pub probes: BTreeMap<String, Value>,
    /// SHA-256 of each configuration place, by place name; part of the plan's fingerprint.
    #[serde(default)]
    pub config_digests: BTreeMap<String, String>,
}

/// The host itself; the value of [`crate::probe::Probe::Host`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Operating system as `/etc/os-release` names it: `debian12`, `ubuntu22.04`, `el8`, …
    pub os: String,
    /// Machine architecture as packages name it: `amd64`, `arm64`.
    pub arch: String,
    /// The agent's state directory, under which the release store lies.
    pub state_directory: String,
    /// Free bytes of the file system that holds the state directory.
    pub disk_free: u64,
    /// Total bytes of that file system.
    pub disk_total: u64,
    /// Available memory in bytes.
    pub memory_available: u64,
    /// Milliseconds that the host's clock is ahead of the controller's (negative: behind).
    #[serde(default)]
    pub clock_offset_ms: i64,
    /// Whether systemd is the init system.
    pub systemd: bool,
    /// Host name as the host itself says.
    #[serde(default)]
    pub host_name: String,
    /// Releases in the store and their status.
    #[serde(default)]
    pub releases: BTreeMap<String, ReleaseStatus>,
    /// SHA-256 of each file in the host's cache of distributed artifacts.
    #[serde(default)]
    pub cached: Vec<String>,
    /// Version of the agent.
    #[serde(default)]
    pub agent: String,
    /// Where restic is, which keeps snapshots; empty where it is not on the host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub restic: String,
}

/// What a release in the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Unpacked, never used since.
    Unpacked,
    /// In use now, gone after a restart.
    Current,
    /// In use after a restart.
    Permanent,
    /// Was in use.
    Old,
}
