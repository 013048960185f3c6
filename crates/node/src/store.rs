//! The release store: unpacked releases, the link to the current one, and the link to the permanent one.
//!
//! Services run through the link `current`. A start that is not part of an installation first points it at the permanent release, so
//! that what was installed without being made permanent is gone after a restart of the service or the host. [`switch`], which upgrades
//! use, moves both links at once: a server whose data the new version may have touched must come up on that version again. A server
//! is rolled back by its run or its guard, never by chance of a restart.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use upshift_model::facts::ReleaseStatus;

use crate::code::{self, Additions, Depth};
use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::failpoint;
use crate::layout::{Layout, component};
use crate::process::{ProcessId, all};

/// What was unpacked from which file. Written before the release gets its name, so that a release without one is a left-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Digest of the file.
    pub sha256: String,
    /// Leading directories that were dropped.
    pub strip: u32,
    /// Bytes unpacked.
    pub bytes: u64,
    /// Files, directories and links unpacked.
    pub entries: u64,
    /// Whether the link has ever pointed at it.
    pub used: bool,
}

/// Directory of a release.
pub fn directory(layout: &Layout, version: &str) -> Result<PathBuf> {
    Ok(layout.releases().join(component(version)?))
}

fn manifest_path(layout: &Layout, version: &str) -> Result<PathBuf> {
    Ok(layout.manifests().join(format!("{}.json", component(version)?)))
}

/// What is known of an unpacked release; nothing where it is not unpacked, or not to its end.
pub fn manifest(layout: &Layout, version: &str) -> Result<Option<Manifest>> {
    if !directory(layout, version)?.is_dir() {
        return Ok(None);
    }
    durable::read_json(&manifest_path(layout, version)?)
}

/// Gives a completely unpacked staging directory its name.
pub fn publish(layout: &Layout, version: &str, staged: &Path, manifest: &Manifest) -> Result<()> {
    let release = directory(layout, version)?;
    if release.exists() {
        for (word, linked) in [("current", current(layout)?), ("permanent", permanent(layout)?)] {
            if linked.as_deref() == Some(version) {
                return Err(NodeError::refused(format!(
                    "release {version} is the {word} one, and was unpacked from another file; give the new file another version"
                )));
            }
        }
        discard(layout, &release)?;
    }
    code::record(layout, version, staged)?;
    durable::write_json(&manifest_path(layout, version)?, manifest)?;
    fs::rename(staged, &release).context(|| format!("cannot move the release to {}", release.display()))?;
    durable::sync_parent(&release)
}

/// The version that the link `current` points at.
pub fn current(layout: &Layout) -> Result<Option<String>> {
    linked(&layout.current())
}

/// The version that a start of the service runs.
pub fn permanent(layout: &Layout) -> Result<Option<String>> {
    match linked(&layout.permanent())? {
        Some(version) => Ok(Some(version)),
        None => current(layout),
    }
}

fn linked(link: &Path) -> Result<Option<String>> {
    match fs::read_link(link) {
        Ok(target) => Ok(target.file_name().map(|name| name.to_string_lossy().into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("cannot read the link {}", link.display())),
    }
}

/// Makes a release the current and the permanent one. The link `permanent` goes first: a host that loses its power in between starts
/// the release that was asked for.
///
/// A release that was altered since it was unpacked, or since it was last in use, is refused; nothing was changed then.
pub fn switch(layout: &Layout, version: &str) -> Result<Value> {
    let previous = current(layout)?;
    leave_for(layout, previous.as_deref(), version)?;
    note_used(layout, version)?;
    make_permanent(layout, version)?;
    failpoint::hit("switch-between-links");
    point_at(layout, &layout.current(), version)?;
    Ok(json!({ "previous": previous, "current": version }))
}

/// Verifies the release that is to be used, and records what the one in use has become.
fn leave_for(layout: &Layout, previous: Option<&str>, version: &str) -> Result<()> {
    let Some(known) = manifest(layout, version)?.filter(|_| previous != Some(version)) else {
        return Ok(());
    };
    let release = directory(layout, version)?;
    code::verify(layout, version, &release, Depth::Changed, additions(&known))?;
    // What is in use may be no release of this store.
    if let Some(previous) = previous
        && manifest(layout, previous)?.is_some()
    {
        code::renew(layout, previous, &directory(layout, previous)?)?;
    }
    Ok(())
}

/// Reads an unpacked release, and refuses it where it was altered since. Nothing is refused where nothing was recorded.
pub fn verify(layout: &Layout, version: &str) -> Result<()> {
    let Some(known) = manifest(layout, version)? else {
        return Ok(());
    };
    let release = directory(layout, version)?;
    code::verify(layout, version, &release, Depth::Contents, additions(&known)).map(|_| ())
}

fn additions(manifest: &Manifest) -> Additions {
    match manifest.used {
        true => Additions::Refused,
        false => Additions::Expected,
    }
}

/// Makes a release the current one until the next start.
pub fn make_current(layout: &Layout, version: &str) -> Result<()> {
    leave_for(layout, current(layout)?.as_deref(), version)?;
    note_used(layout, version)?;
    // A store from before there were two links: what is current was permanent, too.
    if linked(&layout.permanent())?.is_none()
        && let Some(permanent) = current(layout)?
    {
        point_at(layout, &layout.permanent(), &permanent)?;
    }
    point_at(layout, &layout.current(), version)
}

/// Makes a release the one that every start runs.
pub fn make_permanent(layout: &Layout, version: &str) -> Result<()> {
    note_used(layout, version)?;
    point_at(layout, &layout.permanent(), version)
}

/// Before the service is started: what is not permanent is gone, unless it is an installation that starts it.
pub fn before_start(layout: &Layout) -> Result<()> {
    let (now, permanent) = (current(layout)?, permanent(layout)?);
    match permanent {
        Some(permanent) if now.as_deref() != Some(&permanent) && !layout.installing().exists() => {
            point_at(layout, &layout.current(), &permanent)
        }
        _ => Ok(()),
    }
}

fn point_at(layout: &Layout, link: &Path, version: &str) -> Result<()> {
    let release = Path::new("releases").join(component(version)?);
    if linked(link)?.as_deref() == Some(version) {
        return Ok(());
    }
    debug_assert!(link.starts_with(layout.store()));
    point(link, &release)
}

/// Remembers that a release was used.
fn note_used(layout: &Layout, version: &str) -> Result<()> {
    let Some(manifest) = manifest(layout, version)? else {
        return Err(NodeError::refused(format!(
            "release {version} is not unpacked on this host"
        )));
    };
    if !manifest.used {
        durable::write_json(
            &manifest_path(layout, version)?,
            &Manifest {
                used: true,
                ..manifest
            },
        )?;
    }
    Ok(())
}

/// Makes a link, or changes where it points, in one step.
pub fn point(link: &Path, target: &Path) -> Result<()> {
    let temporary = durable::temporary_beside(link);
    let made = symlink(target, &temporary).and_then(|()| fs::rename(&temporary, link));
    if made.is_err() {
        // Best effort: the name is never used again.
        let _ = fs::remove_file(&temporary);
    }
    made.context(|| format!("cannot point {} at {}", link.display(), target.display()))?;
    durable::sync_parent(link)
}

/// Whether one of the links points at a release, or a process runs it.
pub fn is_in_use(layout: &Layout, version: &str) -> Result<bool> {
    let release = directory(layout, version)?;
    let links = [current(layout)?, permanent(layout)?];
    Ok(links.iter().any(|linked| linked.as_deref() == Some(version))
        || running().iter().any(|(_, path)| path.starts_with(&release)))
}

/// Removes a release; the current one, the permanent one, and one that a process runs, is refused.
pub fn remove(layout: &Layout, version: &str) -> Result<Value> {
    let release = directory(layout, version)?;
    for (word, linked) in [("current", current(layout)?), ("permanent", permanent(layout)?)] {
        if linked.as_deref() == Some(version) {
            return Err(NodeError::refused(format!(
                "release {version} is the {word} one; it is not removed"
            )));
        }
    }
    if let Some(process) = running().into_iter().find(|(_, path)| path.starts_with(&release)) {
        return Err(NodeError::refused(format!(
            "process {} runs release {version}; it is not removed",
            process.0
        )));
    }
    let existed = release.exists();
    if existed {
        discard(layout, &release)?;
    }
    durable::remove(&manifest_path(layout, version)?)?;
    code::forget(layout, version)?;
    Ok(json!({ "removed": existed }))
}

/// Takes a directory's name away first, so that nobody finds half of it.
fn discard(layout: &Layout, directory: &Path) -> Result<()> {
    let staging = layout.staging();
    crate::layout::make_directory(&staging, 0o700)?;
    let doomed = durable::temporary_beside(&staging.join("discarded"));
    fs::rename(directory, &doomed).context(|| format!("cannot move {} away", directory.display()))?;
    durable::sync_parent(directory)?;
    fs::remove_dir_all(&doomed).context(|| format!("cannot remove {}", doomed.display()))
}

fn running() -> Vec<(u32, PathBuf)> {
    all()
        .into_iter()
        .filter_map(|pid| Some((pid, ProcessId::of(pid)?.executable()?)))
        .collect()
}

/// The release that a path lies in, with links in the path followed.
pub fn release_of(layout: &Layout, path: &Path) -> Option<String> {
    let below = path.strip_prefix(layout.releases()).ok()?;
    below
        .components()
        .next()
        .map(|name| name.as_os_str().to_string_lossy().into_owned())
}

/// All releases and what they are. One that only the other link points at, or only a process still runs, is current until the next
/// start.
pub fn statuses(layout: &Layout) -> Result<BTreeMap<String, ReleaseStatus>> {
    let (now, permanent) = (current(layout)?, permanent(layout)?);
    let in_use: Vec<String> = running()
        .iter()
        .filter_map(|(_, path)| release_of(layout, path))
        .collect();
    let entries = fs::read_dir(layout.releases()).context(|| "cannot list the release store")?;
    let mut statuses = BTreeMap::new();
    for entry in entries.flatten() {
        let version = entry.file_name().to_string_lossy().into_owned();
        let Some(manifest) = component(&version)
            .ok()
            .and_then(|version| manifest(layout, version).ok().flatten())
        else {
            continue;
        };
        let status = if permanent.as_deref() == Some(&version) {
            ReleaseStatus::Permanent
        } else if now.as_deref() == Some(&version) || in_use.contains(&version) {
            ReleaseStatus::Current
        } else if manifest.used {
            ReleaseStatus::Old
        } else {
            ReleaseStatus::Unpacked
        };
        statuses.insert(version, status);
    }
    Ok(statuses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(layout: &Layout, version: &str, used: bool) {
        let staged = layout.staging().join(version);
        fs::create_dir_all(&staged).unwrap();
        let manifest = Manifest {
            sha256: String::new(),
            strip: 0,
            bytes: 0,
            entries: 0,
            used,
        };
        publish(layout, version, &staged, &manifest).unwrap();
    }

    #[test]
    fn releases_are_switched_listed_and_removed() {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        assert_eq!(current(&layout).unwrap(), None);
        assert!(
            switch(&layout, "1.0")
                .unwrap_err()
                .to_string()
                .contains("not unpacked")
        );
        for version in ["1.0", "2.0", "3.0"] {
            unpacked(&layout, version, false);
        }
        assert_eq!(
            switch(&layout, "1.0").unwrap(),
            json!({"previous": null, "current": "1.0"})
        );
        assert_eq!(
            switch(&layout, "2.0").unwrap(),
            json!({"previous": "1.0", "current": "2.0"})
        );
        assert_eq!(
            switch(&layout, "2.0").unwrap(),
            json!({"previous": "2.0", "current": "2.0"})
        );
        assert_eq!(
            fs::read_link(layout.current()).unwrap(),
            Path::new("releases/2.0")
        );
        let statuses = statuses(&layout).unwrap();
        assert_eq!(statuses["1.0"], ReleaseStatus::Old);
        assert_eq!(statuses["2.0"], ReleaseStatus::Permanent);
        assert_eq!(statuses["3.0"], ReleaseStatus::Unpacked);
        assert!(
            remove(&layout, "2.0")
                .unwrap_err()
                .to_string()
                .contains("current")
        );
        assert_eq!(remove(&layout, "1.0").unwrap(), json!({"removed": true}));
        assert_eq!(remove(&layout, "1.0").unwrap(), json!({"removed": false}));
        assert!(remove(&layout, "../records").is_err());
    }

    #[test]
    fn what_is_not_permanent_is_gone_with_the_next_start() {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        for version in ["1.0", "2.0"] {
            unpacked(&layout, version, false);
        }
        // As an older agent has left it: one link.
        point(&layout.current(), Path::new("releases/1.0")).unwrap();
        assert_eq!(permanent(&layout).unwrap().as_deref(), Some("1.0"));
        make_current(&layout, "2.0").unwrap();
        let statuses_now = statuses(&layout).unwrap();
        assert_eq!(statuses_now["1.0"], ReleaseStatus::Permanent);
        assert_eq!(statuses_now["2.0"], ReleaseStatus::Current);
        assert!(
            remove(&layout, "2.0")
                .unwrap_err()
                .to_string()
                .contains("current")
        );
        assert!(
            remove(&layout, "1.0")
                .unwrap_err()
                .to_string()
                .contains("permanent")
        );
        fs::write(layout.installing(), "{}").unwrap();
        before_start(&layout).unwrap();
        assert_eq!(current(&layout).unwrap().as_deref(), Some("2.0"));
        fs::remove_file(layout.installing()).unwrap();
        before_start(&layout).unwrap();
        assert_eq!(current(&layout).unwrap().as_deref(), Some("1.0"));
        assert_eq!(statuses(&layout).unwrap()["2.0"], ReleaseStatus::Old);
        switch(&layout, "2.0").unwrap();
        assert_eq!(permanent(&layout).unwrap().as_deref(), Some("2.0"));
    }

    #[test]
    fn a_directory_without_a_manifest_is_no_release() {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        fs::create_dir_all(layout.releases().join("1.0/bin")).unwrap();
        assert!(statuses(&layout).unwrap().is_empty());
        assert!(switch(&layout, "1.0").is_err());
        unpacked(&layout, "1.0", false);
        assert!(!layout.releases().join("1.0/bin").exists());
    }
}
