//! Pointing a link at a directory.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use serde_json::{Value, json};
use upshift_model::action::Relink;

use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::layout::make_directory;
use crate::store::point;

/// Points the link. A link that points there already is done, whatever has come into the directory since.
pub fn relink(order: &Relink) -> Result<Value> {
    let (link, target) = (Path::new(&order.link), Path::new(&order.target));
    let previous = match link.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => {
            Some(fs::read_link(link).context(|| format!("cannot read the link {}", link.display()))?)
        }
        Ok(_) => {
            return Err(NodeError::refused(format!(
                "{} is not a link, so it cannot be pointed elsewhere; move it away and make it a link first",
                link.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).context(|| format!("cannot read {}", link.display())),
    };
    let already = previous.as_deref() == Some(target);
    if !already {
        if order.create_empty {
            make_empty(target, link)?;
        }
        if let Some(parent) = link.parent() {
            make_directory(parent, 0o755)?;
        }
        point(link, target)?;
    }
    Ok(json!({ "previous": previous, "target": target, "already": already }))
}

/// Makes a new, empty directory with the owner and mode of the one that the link pointed at.
fn make_empty(target: &Path, link: &Path) -> Result<()> {
    let what = || format!("cannot make the directory {}", target.display());
    match fs::read_dir(target) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(NodeError::refused(format!(
                    "{} exists and is not empty; nothing was changed",
                    target.display()
                )));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(target, 0o755)?,
        Err(error) => return Err(error).context(what),
    }
    if let Ok(before) = fs::metadata(link) {
        let own = fs::metadata(target).context(what)?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            lchown(target, Some(before.uid()), Some(before.gid())).context(what)?;
        }
        fs::set_permissions(target, fs::Permissions::from_mode(before.mode() & 0o7777)).context(what)?;
    }
    durable::sync_directory(target)?;
    durable::sync_parent(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_pointed_at_a_new_directory_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let text = |name: &str| path(name).to_str().unwrap().to_owned();
        fs::create_dir(path("old")).unwrap();
        fs::set_permissions(path("old"), fs::Permissions::from_mode(0o700)).unwrap();
        let order = |target: &str, create_empty| Relink {
            link: text("data"),
            target: text(target),
            create_empty,
        };
        relink(&order("old", false)).unwrap();
        relink(&order("new", true)).unwrap();
        assert_eq!(fs::metadata(path("data")).unwrap().mode() & 0o777, 0o700);
        fs::write(path("new/file"), "x").unwrap();
        assert_eq!(relink(&order("new", true)).unwrap()["already"], true);
        relink(&order("old", false)).unwrap();
        let refused = relink(&order("new", true)).unwrap_err().to_string();
        assert!(refused.contains("not empty"), "{refused}");
        assert_eq!(fs::read_link(path("data")).unwrap(), path("old"));
    }

    #[test]
    fn a_directory_is_never_replaced_by_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().to_str().unwrap().to_owned();
        let order = Relink {
            link,
            target: "/tmp".to_owned(),
            create_empty: false,
        };
        assert!(relink(&order).unwrap_err().to_string().contains("is not a link"));
    }
}
