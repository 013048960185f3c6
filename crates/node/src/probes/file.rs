//! A file or directory.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Context, Result};
use crate::{digest, filesystem, inventory};

/// A link's size and digest are those of the file that it points at.
pub fn look(path: &str) -> Result<Value> {
    let cannot = || format!("cannot read {path}");
    let path_itself = Path::new(path);
    let Some(metadata) = filesystem::if_there(path_itself.symlink_metadata()).context(cannot)? else {
        return Ok(json!({ "exists": false, "kind": null, "size": null, "sha256": null, "target": null }));
    };
    let target = metadata
        .is_symlink()
        .then(|| fs::read_link(path_itself))
        .transpose()
        .context(cannot)?;
    let meant = fs::metadata(path_itself).ok();
    let (size, sha256) = match &meant {
        Some(meant) if meant.is_file() => (
            Some(meant.len()),
            Some(digest::of_file(path_itself).context(cannot)?),
        ),
        Some(meant) if meant.is_dir() && target.is_none() => (
            None,
            Some(inventory::digest(&inventory::take(path_itself).context(cannot)?)),
        ),
        _ => (None, None),
    };
    let kind = if metadata.is_symlink() {
        "link"
    } else if metadata.is_dir() {
        "directory"
    } else if metadata.is_file() {
        "file"
    } else {
        "special"
    };
    Ok(json!({ "exists": true, "kind": kind, "size": size, "sha256": sha256, "target": target }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_directories_and_links_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("file"), "abc").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
        let sha256 = digest::of_bytes(b"abc");
        assert_eq!(
            look(&path("file")).unwrap(),
            json!({"exists": true, "kind": "file", "size": 3, "sha256": sha256, "target": null})
        );
        assert_eq!(
            look(&path("link")).unwrap(),
            json!({"exists": true, "kind": "link", "size": 3, "sha256": sha256, "target": "file"})
        );
        assert_eq!(look(&path("dangling")).unwrap()["sha256"], Value::Null);
        assert_eq!(look(&path("file/below")).unwrap()["exists"], false);
        let whole = look(directory.path().to_str().unwrap()).unwrap();
        assert_eq!(
            (&whole["kind"], whole["sha256"].is_string()),
            (&json!("directory"), true)
        );
    }
}
