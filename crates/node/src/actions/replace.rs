//! Putting an unpacked release in the place of a directory that keeps its path, and the old directory back.
//!
//! The old directory is moved aside by one rename, so that rolling back is to move it back: nothing in it is copied, and nothing of it
//! changes. What the new directory gets from it is copied before anything is moved.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use upshift_model::action::{CarryFiles, ReplaceDirectory};

use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::failpoint;
use crate::inventory;
use crate::layout::Layout;
use crate::probes::fits;
use crate::saved::copy_path;
use crate::store;

/// The directory, where its old one lies, and where the new one is made.
struct Paths<'a> {
    directory: &'a Path,
    aside: &'a Path,
    staged: PathBuf,
}

/// Does it, forward or back.
pub fn replace(layout: &Layout, order: &ReplaceDirectory) -> Result<Value> {
    let (directory, aside) = (Path::new(&order.directory), Path::new(&order.aside));
    for path in [directory, aside] {
        if !path.is_absolute() || path.parent() != directory.parent() {
            return Err(NodeError::refused(format!(
                "{} and {} must be absolute paths in one directory, so that one can be renamed to the other",
                directory.display(),
                aside.display()
            )));
        }
    }
    if directory.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        return Err(NodeError::refused(format!(
            "{} is a link; name the directory that it points at",
            directory.display()
        )));
    }
    let paths = Paths {
        directory,
        aside,
        staged: beside(aside, "new"),
    };
    match order.release == order.old {
        true => back(&paths),
        false => forward(layout, order, &paths),
    }
}

fn beside(aside: &Path, word: &str) -> PathBuf {
    let name = aside.file_name().unwrap_or_default().to_string_lossy();
    aside.with_file_name(format!("{name}.{word}"))
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    failpoint::hit("replace-rename");
    fs::rename(from, to).context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
    durable::sync_parent(to)
}

fn forward(layout: &Layout, order: &ReplaceDirectory, paths: &Paths<'_>) -> Result<Value> {
    if there(paths.aside) && there(paths.directory) {
        return Ok(json!({ "already": true }));
    }
    let mut carried = Vec::new();
    if !there(paths.aside) {
        remove(&paths.staged)?;
        carried = stage(layout, order, paths)?;
        rename(paths.directory, paths.aside)?;
    }
    rename(&paths.staged, paths.directory)?;
    Ok(json!({ "already": false, "carried": carried }))
}

/// Where the old directory does not lie aside, nothing has been replaced: nothing is done.
fn back(paths: &Paths<'_>) -> Result<Value> {
    if !there(paths.aside) {
        remove(&paths.staged)?;
        return Ok(json!({ "already": true }));
    }
    let failed = beside(paths.aside, "failed");
    if there(paths.directory) {
        remove(&failed)?;
        rename(paths.directory, &failed)?;
    }
    rename(paths.aside, paths.directory)?;
    remove(&paths.staged)?;
    Ok(json!({ "already": false, "kept": failed }))
}

/// Removes what an attempt made that did not come to its end, or that was rolled back earlier.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes the new directory beside the old one: the release, owned as the old directory is, with the files that are carried over.
fn stage(layout: &Layout, order: &ReplaceDirectory, paths: &Paths<'_>) -> Result<Vec<String>> {
    if store::manifest(layout, &order.release)?.is_none() {
        return Err(NodeError::refused(format!(
            "{} is not unpacked on this host",
            order.release
        )));
    }
    let release = store::directory(layout, &order.release)?;
    let failed = || format!("cannot make {}", paths.staged.display());
    let owner =
        fs::metadata(paths.directory).context(|| format!("cannot read {}", paths.directory.display()))?;
    let items = copy_path(&release, &paths.staged).context(failed)?;
    for item in &items {
        let path = paths.staged.join(&item.name);
        lchown(&path, Some(owner.uid()), Some(owner.gid())).context(failed)?;
    }
    let mut carried = Vec::new();
    for rule in &order.carry {
        for name in matching(paths.directory, rule)? {
            let (from, to) = (paths.directory.join(&name), paths.staged.join(&name));
            carry(&from, &to).context(|| format!("cannot carry {} over", from.display()))?;
            carried.push(name);
        }
    }
    durable::sync_directory(&paths.staged)?;
    Ok(carried)
}

/// Copies a file, or what is in a directory, over what the release has in its place.
fn carry(from: &Path, to: &Path) -> io::Result<()> {
    let found = from.symlink_metadata()?;
    if found.is_dir() {
        if !there(to) {
            return copy_path(from, to).map(|_| ());
        }
        for name in inventory::sorted(from)? {
            carry(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    if there(to) {
        fs::remove_file(to)?;
    }
    copy_path(from, to).map(|_| ())
}

/// The paths below a directory that a rule names. A `*` in the last part stands for anything.
fn matching(directory: &Path, rule: &CarryFiles) -> Result<Vec<String>> {
    let (parent, pattern) = rule.path.rsplit_once('/').unwrap_or(("", &rule.path));
    let below = directory.join(parent);
    let pieces: Vec<&str> = pattern.split('*').collect();
    let names = match inventory::sorted(&below) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| format!("cannot read {}", below.display())),
    };
    let mut found = Vec::new();
    for name in names
        .into_iter()
        .filter(|name| name == pattern || fits(name, &pieces))
    {
        if let Some(text) = &rule.containing {
            let path = below.join(&name);
            let contents = fs::read(&path).context(|| format!("cannot read {}", path.display()))?;
            let (contents, text) = (contents.to_ascii_lowercase(), text.to_ascii_lowercase());
            if !contents
                .windows(text.len().max(1))
                .any(|window| window == text.as_bytes())
            {
                continue;
            }
        }
        found.push(if parent.is_empty() {
            name
        } else {
            format!("{parent}/{name}")
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stage {
        directory: tempfile::TempDir,
        layout: Layout,
    }

    impl Stage {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let layout = Layout::open(&directory.path().join("state")).unwrap();
            let staged = directory.path().join("staged");
            let write = |path: &str, text: &str| {
                let path = directory.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("staged/VERSION", "2");
            write("staged/conf/a.properties", "new default");
            write("home/VERSION", "1");
            write("home/conf/a.properties", "mine");
            write("home/tomcat/lib/tomcat-redis-1.jar", "jar");
            write("home/tomcat/lib/catalina.jar", "old");
            write("home/tomcat/context.xml", "<Manager className=\"RedisSession\"/>");
            write("home/tomcat/content.xml", "<Context/>");
            let manifest = store::Manifest {
                sha256: String::new(),
                strip: 1,
                bytes: 1,
                entries: 2,
                used: false,
            };
            store::publish(&layout, "2", &staged, &manifest).unwrap();
            Stage { directory, layout }
        }

        fn order(&self, release: &str) -> ReplaceDirectory {
            let home = self.directory.path().join("home");
            let carry = |path: &str, containing: Option<&str>| CarryFiles {
                path: path.to_owned(),
                containing: containing.map(str::to_owned),
            };
            ReplaceDirectory {
                directory: home.display().to_string(),
                release: release.to_owned(),
                old: "1".to_owned(),
                aside: format!("{}.before-2", home.display()),
                carry: vec![
                    carry("conf", None),
                    carry("tomcat/lib/*redis*.jar", None),
                    carry("tomcat/context.xml", Some("redis")),
                    carry("tomcat/content.xml", Some("redis")),
                    carry("nothing/there", None),
                ],
            }
        }

        fn read(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.directory.path().join("home").join(path)).ok()
        }
    }

    #[test]
    fn what_is_named_is_carried_over_and_the_old_directory_comes_back_as_it_was() {
        let stage = Stage::new();
        let home = stage.directory.path().join("home");
        let before = inventory::digest(&inventory::take(&home).unwrap());
        for _ in 0..2 {
            replace(&stage.layout, &stage.order("2")).unwrap();
            assert_eq!(stage.read("VERSION").unwrap(), "2");
            assert_eq!(stage.read("conf/a.properties").unwrap(), "mine");
            assert_eq!(stage.read("tomcat/lib/tomcat-redis-1.jar").unwrap(), "jar");
            assert!(stage.read("tomcat/context.xml").unwrap().contains("Redis"));
            assert!(
                stage.read("tomcat/content.xml").is_none() && stage.read("tomcat/lib/catalina.jar").is_none()
            );
        }
        for _ in 0..2 {
            replace(&stage.layout, &stage.order("1")).unwrap();
            assert_eq!(inventory::digest(&inventory::take(&home).unwrap()), before);
            assert!(!stage.directory.path().join("home.before-2").exists());
        }
    }

    #[test]
    fn a_crash_between_the_two_renames_is_finished_or_taken_back() {
        for release in ["2", "1"] {
            let stage = Stage::new();
            replace(&stage.layout, &stage.order("2")).unwrap();
            let path = |name: &str| stage.directory.path().join(name);
            fs::rename(path("home"), path("home.before-2.new")).unwrap();
            replace(&stage.layout, &stage.order(release)).unwrap();
            assert_eq!(stage.read("VERSION").unwrap(), release);
            assert!(!path("home.before-2.new").exists());
        }
    }

    #[test]
    fn without_the_release_nothing_is_moved() {
        let stage = Stage::new();
        let error = replace(&stage.layout, &stage.order("3")).unwrap_err().to_string();
        assert!(error.contains("not unpacked"), "{error}");
        assert_eq!(stage.read("VERSION").unwrap(), "1");
    }
}
