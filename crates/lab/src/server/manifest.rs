//! What a release of the lab server is.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Name of the manifest's file, beside the executable.
pub const MANIFEST: &str = "release.json";

/// One release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version that it says it is.
    pub version: String,
    /// The data format that it writes once the whole cluster runs it.
    pub format: u32,
    /// The oldest data format that it reads.
    pub reads_from: u32,
    /// Keys of the configuration with which it does not start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_keys: Vec<String>,
    /// What is wrong with it.
    #[serde(default)]
    pub misbehaviour: Misbehaviour,
}

/// What is wrong with a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Misbehaviour {
    /// It replicates, and never says that it is healthy.
    pub never_healthy: bool,
    /// It ends by itself so many milliseconds after its start.
    pub crash_after_ms: Option<u64>,
    /// It recovers for at least so many milliseconds.
    pub slow_recovery_ms: u64,
    /// It does not end when asked to.
    pub ignore_sigterm: bool,
    /// It serves without the data that it had, and says that all is well.
    pub lose_data: bool,
    /// It starts only on a data directory that it has made itself.
    pub refuses_to_start: bool,
}

impl Manifest {
    /// A release without misbehaviour. The data format is the version's first number.
    pub fn plain(version: &str) -> Self {
        let major = version
            .split('.')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(1);
        Manifest {
            version: version.to_owned(),
            format: major,
            reads_from: 1,
            refused_keys: if major > 1 {
                vec!["legacy_cache".to_owned()]
            } else {
                Vec::new()
            },
            misbehaviour: Misbehaviour::default(),
        }
    }

    /// The manifest beside an executable. One that stands alone is release 1.0.0.
    pub(super) fn beside(executable: &Path) -> io::Result<Self> {
        let path = executable.with_file_name(MANIFEST);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Manifest::plain("1.0.0")),
            Err(error) => Err(error),
        }
    }

    /// The version's first two numbers with a zero, as a cluster version: `1.2.0`.
    pub(super) fn minor(&self) -> String {
        minor_of(&self.version)
    }
}

/// The first two numbers of a version with a zero after them.
pub(super) fn minor_of(version: &str) -> String {
    let (major, minor) = numbers(version);
    format!("{major}.{minor}.0")
}

/// The first two numbers of a version.
pub(super) fn numbers(version: &str) -> (u64, u64) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_survive_being_written() {
        let mut manifest = Manifest::plain("2.1.3");
        manifest.misbehaviour.crash_after_ms = Some(5);
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        assert_eq!((manifest.minor(), manifest.format), ("2.1.0".to_owned(), 2));
        assert!(minor_of("1.10.0") != minor_of("1.1.0") && numbers("1.10.0") > numbers("1.9.4"));
    }
}
