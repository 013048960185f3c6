//! Unpacking a distributed file into the release store.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};
use upshift_model::action::{Artifact, UnpackRelease};

use crate::archive::{self, ArchiveError, Limits, Totals, Tree};
use crate::error::{Context, NodeError, Result, is_full};
use crate::failpoint;
use crate::layout::{Layout, component, make_directory};
use crate::store::{self, Manifest};
use crate::{filesystem, packages};

/// Unpacks; done already where the same file was unpacked to its end.
pub fn unpack(layout: &Layout, order: &UnpackRelease) -> Result<Value> {
    let artifact = &order.artifact;
    let version = component(&artifact.version)?;
    clean_up(layout)?;
    if let Some(manifest) = store::manifest(layout, version)?
        && manifest.sha256 == artifact.sha256
        && manifest.strip == order.strip
    {
        match store::verify(layout, version) {
            Ok(()) => {
                return Ok(json!({ "bytes": manifest.bytes, "entries": manifest.entries, "already": true }));
            }
            // What is in use is not replaced, and not passed over either.
            Err(altered) if store::is_in_use(layout, version)? => return Err(altered),
            Err(_) => {}
        }
    }
    if !packages::verify(layout, artifact)? {
        return Err(not_sent(artifact));
    }
    let staging = layout.staging();
    make_directory(&staging, 0o700)?;
    let staged = staging.join(version);
    let totals = unpack_into(layout, order, &staged).map_err(|error| {
        // Best effort: what is left is removed by the next unpacking.
        let _ = remove_all(&staging);
        explain(layout, order, error)
    })?;
    failpoint::hit("unpacked");
    let manifest = Manifest {
        sha256: artifact.sha256.clone(),
        strip: order.strip,
        bytes: totals.bytes,
        entries: totals.entries,
        used: false,
    };
    store::publish(layout, version, &staged, &manifest)?;
    clean_up(layout)?;
    Ok(json!({ "bytes": totals.bytes, "entries": totals.entries, "already": false }))
}

/// What is said where a file is not in the host's cache.
pub fn not_sent(artifact: &Artifact) -> NodeError {
    NodeError::Transient(format!(
        "{} has not been sent to this host yet",
        artifact.file_name
    ))
}

fn unpack_into(
    layout: &Layout,
    order: &UnpackRelease,
    staged: &Path,
) -> std::result::Result<Totals, ArchiveError> {
    let artifact = &order.artifact;
    fs::create_dir(staged)?;
    let mut tree = Tree::new(staged, order.strip, Limits::for_package(artifact.size));
    let package = layout.packages().join(&artifact.sha256);
    archive::unpack(&package, &artifact.file_name, &artifact.version, &mut tree)?;
    tree.finish(owner(layout))
}

/// A new release belongs to whom the current one belongs, as far as the agent may give things away.
fn owner(layout: &Layout) -> Option<(u32, u32)> {
    let current = fs::metadata(layout.current()).ok()?;
    rustix::process::geteuid()
        .is_root()
        .then(|| (current.uid(), current.gid()))
}

/// Removes what an unpacking left that did not come to its end. Only called while orders are locked.
fn clean_up(layout: &Layout) -> Result<()> {
    remove_all(&layout.staging()).context(|| "cannot remove what an earlier unpacking left")
}

/// Removes a directory, also where the archive has closed directories inside to everybody.
fn remove_all(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_directories(directory)?;
            fs::remove_dir_all(directory)
        }
        done => done,
    }
}

fn open_directories(directory: &Path) -> std::io::Result<()> {
    fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_directories(&entry.path())?;
        }
    }
    Ok(())
}

fn explain(layout: &Layout, order: &UnpackRelease, error: ArchiveError) -> NodeError {
    let name = &order.artifact.file_name;
    match error {
        ArchiveError::Io(error) if is_full(&error) => filesystem::full(
            &layout.store(),
            &format!("unpacking {name}"),
            needed(layout, order),
        ),
        ArchiveError::Io(error) => NodeError::Io {
            what: format!("cannot unpack {name}"),
            source: error,
        },
        error => NodeError::refused(format!("{name} cannot be unpacked: {error}")),
    }
}

/// Bytes that the whole release needs: only asked when there was no room for it, because the file must be read once more.
fn needed(layout: &Layout, order: &UnpackRelease) -> u64 {
    let artifact = &order.artifact;
    let mut tree = Tree::counting(order.strip, Limits::for_package(artifact.size));
    let package = layout.packages().join(&artifact.sha256);
    let counted = archive::unpack(&package, &artifact.file_name, &artifact.version, &mut tree)
        .and_then(|()| tree.finish(None))
        .map(|totals| totals.bytes);
    counted.unwrap_or(artifact.size)
}
