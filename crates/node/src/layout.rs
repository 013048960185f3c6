//! Where things lie under the state directory.
//!
//! ```text
//! store/packages/<sha256>        distributed files
//! store/releases/<version>/      unpacked releases
//! store/manifests/<version>.json what was unpacked from which file
//! store/digests/<version>.json   digests of what is run of a release
//! store/staging/                 being unpacked; removed by the next unpacking
//! store/current                  link to releases/<version>: what runs, or is run by the next start of an installation
//! store/permanent                link to releases/<version>: what every other start runs; absent: the same as `current`
//! store/installing               an installation in progress, or one whose agent has died
//! saved/<run>/<name>/            copied aside
//! backups/                       the repository of snapshots, its password, what is known of each, and what is being tried
//! services/<name>.json           processes that the agent started
//! logs/<name>.log                what they print
//! records/last-run               the run that has begun the last attempt
//! records/fences                 the newest fencing token of each fleet
//! records/runs/<run>/            attempts begun and ended; where logs stood when the run began; what load balancers were found in
//! records/known/<run>            what controllers wrote down of their runs: whose, from which version to which, how far
//! records/guards/                guards
//! records/orders.lock            held while an order is performed, or a guard rolls back
//! records/records.lock           held for a moment while fences and guards are read and written
//! ```

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, NodeError, Result};

/// The state directory of a host.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the state directory where it does not exist. Records and saved files are for the agent's user alone.
    ///
    /// # Errors
    /// Where a directory cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        make_directory(root, 0o755)?;
        let root = root
            .canonicalize()
            .context(|| format!("cannot open {}", root.display()))?;
        let layout = Layout { root };
        layout.open_the_way()?;
        for path in [
            layout.packages(),
            layout.releases(),
            layout.manifests(),
            layout.logs(),
        ] {
            make_directory(&path, 0o755)?;
        }
        for path in [
            layout.saved_root(),
            layout.services(),
            layout.runs(),
            layout.known(),
            layout.guards(),
        ] {
            make_directory(&path, 0o700)?;
        }
        for path in [
            layout.root(),
            &layout.store(),
            &layout.releases(),
            &layout.manifests(),
        ] {
            refuse_others(path)?;
        }
        for path in [
            layout.records(),
            layout.known(),
            layout.guards(),
            layout.services(),
        ] {
            refuse_others(&path)?;
        }
        let records = layout.records();
        fs::set_permissions(&records, fs::Permissions::from_mode(0o700))
            .context(|| format!("cannot protect {}", records.display()))?;
        Ok(layout)
    }

    /// Lets the users of services through to their releases: a login's mask may have made the directory for its user alone.
    fn open_the_way(&self) -> Result<()> {
        let what = || format!("cannot open {} for the users of services", self.root.display());
        let mode = fs::metadata(&self.root).context(what)?.permissions().mode();
        if mode & 0o011 == 0o011 {
            return Ok(());
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode((mode & 0o7777) | 0o011)).context(what)
    }

    /// The state directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub(crate) fn packages(&self) -> PathBuf {
        self.root.join("store/packages")
    }

    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join("store/releases")
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.root.join("store/manifests")
    }

    pub(crate) fn digests(&self) -> PathBuf {
        self.root.join("store/digests")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("store/staging")
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.root.join("store/current")
    }

    pub(crate) fn permanent(&self) -> PathBuf {
        self.root.join("store/permanent")
    }

    pub(crate) fn installing(&self) -> PathBuf {
        self.root.join("store/installing")
    }

    pub(crate) fn saved_root(&self) -> PathBuf {
        self.root.join("saved")
    }

    pub(crate) fn saved(&self, run: &str, name: &str) -> Result<PathBuf> {
        Ok(self.saved_root().join(component(run)?).join(component(name)?))
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("backups")
    }

    pub(crate) fn services(&self) -> PathBuf {
        self.root.join("services")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("records/runs")
    }

    pub(crate) fn run(&self, run: &str) -> Result<PathBuf> {
        Ok(self.runs().join(component(run)?))
    }

    pub(crate) fn known(&self) -> PathBuf {
        self.root.join("records/known")
    }

    pub(crate) fn guards(&self) -> PathBuf {
        self.root.join("records/guards")
    }

    pub(crate) fn orders_lock(&self) -> PathBuf {
        self.root.join("records/orders.lock")
    }

    pub(crate) fn records_lock(&self) -> PathBuf {
        self.root.join("records/records.lock")
    }
}

/// Makes a directory and those above it; one that exists is left as it is.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .context(|| format!("cannot make the directory {}", path.display()))
}

/// Refuses a directory that is a link, belongs to another user, or may be written to by others: what lies in it is run.
fn refuse_others(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).context(|| format!("cannot look at {}", path.display()))?;
    let own = rustix::process::geteuid().as_raw();
    let what = if !found.is_dir() {
        "is not a directory".to_owned()
    } else if found.uid() != 0 && found.uid() != own {
        format!("belongs to user {}", found.uid())
    } else if found.permissions().mode() & 0o022 != 0 {
        "may be written to by other users".to_owned()
    } else {
        return Ok(());
    };
    Err(NodeError::refused(format!(
        "{} {what}: others could have changed what is run from there; look who has written there, then mend that, or set another \
         `state_directory` for the host",
        path.display()
    )))
}

/// A name that is used as one component of a path: never a way out of the directory.
pub(crate) fn component(name: &str) -> Result<&str> {
    let plain = !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control());
    plain
        .then_some(name)
        .ok_or_else(|| NodeError::refused(format!("`{name}` cannot be the name of a file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", "/etc", "a\0b", ".hidden"] {
            assert!(component(name).is_err(), "{name:?}");
        }
        assert_eq!(
            component("RELEASE.2024-01-11T07-46-16Z").unwrap(),
            "RELEASE.2024-01-11T07-46-16Z"
        );
    }

    #[test]
    fn a_store_that_others_may_write_to_is_refused() {
        for mode in [0o777, 0o775] {
            let state = tempfile::tempdir().unwrap();
            let layout = Layout::open(state.path()).unwrap();
            fs::set_permissions(layout.releases(), fs::Permissions::from_mode(mode)).unwrap();
            let refusal = Layout::open(state.path()).unwrap_err().to_string();
            assert!(refusal.contains("may be written to by other users"), "{refusal}");
        }
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        fs::remove_dir(layout.releases()).unwrap();
        std::os::unix::fs::symlink("/tmp", layout.releases()).unwrap();
        assert!(
            Layout::open(state.path())
                .unwrap_err()
                .to_string()
                .contains("is not a directory")
        );
    }

    #[test]
    fn records_are_for_the_agent_alone() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&directory.path().join("deep/state")).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(layout.records()), 0o700);
        assert_eq!(mode(layout.saved_root()), 0o700);
        assert_eq!(mode(layout.releases()), 0o755);
        fs::set_permissions(layout.root(), fs::Permissions::from_mode(0o700)).unwrap();
        let layout = Layout::open(layout.root()).unwrap();
        assert_eq!(mode(layout.root().to_owned()), 0o711);
    }
}
