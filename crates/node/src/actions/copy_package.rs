//! Copying a package to where the product's own tool looks for it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use serde_json::{Value, json};
use upshift_model::action::CopyPackage;

use crate::digest;
use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::failpoint;
use crate::layout::Layout;
use crate::store;

/// Copies; done already where the file is the package, byte for byte. The file appears whole or not at all.
pub fn copy(layout: &Layout, order: &CopyPackage) -> Result<Value> {
    let Some(manifest) = store::manifest(layout, &order.release)? else {
        return Err(NodeError::refused(format!(
            "release {} is not unpacked on this host",
            order.release
        )));
    };
    let target = Path::new(&order.file);
    let done = |already: bool| json!({ "file": order.file, "sha256": manifest.sha256, "already": already });
    if is_package(target, &manifest.sha256) {
        return Ok(done(true));
    }
    let package = layout.packages().join(&manifest.sha256);
    let temporary = durable::temporary_beside(target);
    let copied = copy_to(&package, &temporary, target);
    failpoint::hit("package-copied");
    if copied.is_err() {
        // Best effort: the name is never used again.
        let _ = fs::remove_file(&temporary);
    }
    copied.context(|| format!("cannot copy the package of {} to {}", order.release, order.file))?;
    if !is_package(target, &manifest.sha256) {
        return Err(NodeError::Transient(format!(
            "{} has another digest than the package that it was copied from",
            order.file
        )));
    }
    Ok(done(false))
}

fn is_package(file: &Path, sha256: &str) -> bool {
    digest::of_file(file).is_ok_and(|found| found == sha256)
}

fn copy_to(package: &Path, temporary: &Path, target: &Path) -> io::Result<()> {
    let mut source = File::open(package)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(temporary)?;
    io::copy(&mut source, &mut file)?;
    if rustix::process::geteuid().is_root() {
        let directory = fs::metadata(target.parent().unwrap_or(Path::new(".")))?;
        fchown(&file, Some(directory.uid()), Some(directory.gid()))?;
    }
    file.sync_all()?;
    fs::rename(temporary, target)?;
    target
        .parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Manifest, publish};

    #[test]
    fn the_file_is_the_package_whatever_was_there() {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        let target = state.path().join("emqx-1.0.zip");
        let order = CopyPackage {
            release: "1.0".to_owned(),
            file: target.display().to_string(),
        };
        assert!(
            copy(&layout, &order)
                .unwrap_err()
                .to_string()
                .contains("not unpacked")
        );
        let sha256 = digest::of_bytes(b"package");
        fs::write(layout.packages().join(&sha256), b"package").unwrap();
        let staged = layout.staging().join("1.0");
        fs::create_dir_all(&staged).unwrap();
        let manifest = Manifest {
            sha256,
            strip: 0,
            bytes: 0,
            entries: 0,
            used: false,
        };
        publish(&layout, "1.0", &staged, &manifest).unwrap();
        fs::write(&target, b"half a pack").unwrap();
        assert_eq!(copy(&layout, &order).unwrap()["already"], false);
        assert_eq!(fs::read(&target).unwrap(), b"package");
        assert_eq!(copy(&layout, &order).unwrap()["already"], true);
        let left = fs::read_dir(state.path()).unwrap().flatten();
        assert!(
            !left
                .into_iter()
                .any(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
        );
    }
}
