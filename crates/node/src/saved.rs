//! Copying files and directories aside, and putting them back byte for byte.
//!
//! A copy is complete when its directory has its name. What is saved under a name stays as it was first saved: saving again
//! after half an upgrade would otherwise overwrite what there is to roll back to.

mod copy;
mod restore;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use upshift_model::action::SavePaths;

use crate::durable;
use crate::error::{Context, NodeError, Result, is_full};
use crate::failpoint;
use crate::filesystem;
use crate::inventory::{self, Item, Kind};
use crate::layout::{Layout, component, make_directory};

pub use copy::copy as copy_path;
pub use restore::restore;

const MANIFEST: &str = "manifest.json";

/// What was saved under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    roots: Vec<Root>,
}

/// One path that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Root {
    path: PathBuf,
    /// Empty where the path did not exist.
    items: Vec<Item>,
}

impl Manifest {
    fn sha256(&self) -> String {
        let all: Vec<Item> = self
            .roots
            .iter()
            .flat_map(|root| root.items.iter().cloned())
            .collect();
        inventory::digest(&all)
    }

    fn files(&self) -> usize {
        let items = self.roots.iter().flat_map(|root| &root.items);
        items
            .filter(|item| matches!(item.kind, Kind::File { .. }))
            .count()
    }

    fn summary(&self) -> Value {
        json!({ "sha256": self.sha256(), "files": self.files() })
    }
}

/// Where the copy of a root lies.
fn copy_of(saved: &Path, index: usize) -> PathBuf {
    saved.join("data").join(index.to_string())
}

fn read(saved: &Path) -> Result<Option<Manifest>> {
    durable::read_json(&saved.join(MANIFEST))
}

/// Copies paths aside.
pub fn save(layout: &Layout, run: &str, order: &SavePaths) -> Result<Value> {
    let saved = layout.saved(run, &order.name)?;
    if let Some(manifest) = read(&saved)? {
        return Ok(manifest.summary());
    }
    let paths = expand(layout, &order.paths)?;
    let staging = layout
        .saved_root()
        .join(component(run)?)
        .join(format!(".{}.saving", order.name));
    remove_all(&staging)?;
    make_directory(&staging.join("data"), 0o700)?;
    let manifest = copy_all(&paths, &staging).inspect_err(|_| {
        // Best effort: what is left is removed by the next try.
        let _ = remove_all(&staging);
    })?;
    durable::write_json(&staging.join(MANIFEST), &manifest)?;
    failpoint::hit("saved");
    fs::rename(&staging, &saved).context(|| format!("cannot keep {}", saved.display()))?;
    durable::sync_parent(&saved)?;
    Ok(manifest.summary())
}

fn copy_all(paths: &[PathBuf], staging: &Path) -> Result<Manifest> {
    let mut roots = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let items = copy::copy(path, &copy_of(staging, index)).map_err(|error| match is_full(&error) {
            true => filesystem::full(staging, &format!("saving {}", path.display()), size(path)),
            false => NodeError::Io {
                what: format!("cannot save {}", path.display()),
                source: error,
            },
        })?;
        roots.push(Root {
            path: path.clone(),
            items,
        });
    }
    durable::sync_directory(&staging.join("data"))?;
    Ok(Manifest { roots })
}

fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    inventory::sorted(path)
        .unwrap_or_default()
        .iter()
        .map(|name| size(&path.join(name)))
        .sum()
}

/// The paths, and what links among them point at: a restored link to a changed file would not be the old state.
fn expand(layout: &Layout, paths: &[String]) -> Result<Vec<PathBuf>> {
    let mut expanded: Vec<PathBuf> = Vec::new();
    for text in paths {
        let path = PathBuf::from(text);
        let plain = path.is_absolute() && !path.components().any(|part| part.as_os_str() == "..");
        let above_state = layout.root().starts_with(&path)
            || path
                .canonicalize()
                .is_ok_and(|real| layout.root().starts_with(real));
        if !plain || above_state {
            return Err(NodeError::refused(format!(
                "`{text}` cannot be saved: only absolute paths can, and none that holds the agent's own directory"
            )));
        }
        let target = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
        for path in [Some(path), target].into_iter().flatten() {
            if !expanded.contains(&path) {
                expanded.push(path);
            }
        }
    }
    Ok(expanded)
}

/// Removes what was saved.
pub fn remove(layout: &Layout, run: &str, name: &str) -> Result<Value> {
    let saved = layout.saved(run, name)?;
    let existed = saved.exists();
    if existed {
        let doomed = durable::temporary_beside(&saved);
        fs::rename(&saved, &doomed).context(|| format!("cannot move {} away", saved.display()))?;
        remove_all(&doomed)?;
        durable::sync_parent(&saved)?;
    }
    Ok(json!({ "removed": existed }))
}

fn remove_all(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// What is saved, and whether it is what is in place now.
pub fn probe(layout: &Layout, run: &str, name: &str) -> Result<Value> {
    let Some(manifest) = read(&layout.saved(run, name)?)? else {
        return Ok(json!({ "exists": false, "identical": false, "sha256": null, "files": 0 }));
    };
    let mut identical = true;
    for root in &manifest.roots {
        let now = inventory::take(&root.path).context(|| format!("cannot read {}", root.path.display()))?;
        identical &= now.len() == root.items.len()
            && now
                .iter()
                .zip(&root.items)
                .all(|(now, before)| now.same_contents(before));
    }
    Ok(
        json!({ "exists": true, "identical": identical, "sha256": manifest.sha256(), "files": manifest.files() }),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    struct World {
        directory: tempfile::TempDir,
        layout: Layout,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let layout = Layout::open(&directory.path().join("state")).unwrap();
            World { directory, layout }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn order(&self, names: &[&str]) -> SavePaths {
            let paths = names
                .iter()
                .map(|name| self.path(name).to_str().unwrap().to_owned())
                .collect();
            SavePaths {
                name: "config".to_owned(),
                paths,
            }
        }

        fn save(&self, names: &[&str]) -> Value {
            save(&self.layout, "r1", &self.order(names)).unwrap()
        }

        fn identical(&self) -> bool {
            probe(&self.layout, "r1", "config").unwrap()["identical"] == true
        }
    }

    #[test]
    fn everything_comes_back_as_it_was() {
        let world = World::new();
        let etc = world.path("etc");
        fs::create_dir_all(etc.join("empty/deep")).unwrap();
        fs::write(etc.join("a.conf"), "a=1\r\n\0\u{e9}").unwrap();
        fs::set_permissions(etc.join("a.conf"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(etc.join("b.conf"), "b").unwrap();
        symlink("a.conf", etc.join("link")).unwrap();
        fs::write(world.path("single"), "single").unwrap();
        let before = inventory::take(&etc).unwrap();
        let summary = world.save(&["etc", "single", "absent"]);
        assert_eq!(summary["files"], 3);
        assert!(world.identical());

        fs::write(etc.join("a.conf"), "changed").unwrap();
        fs::remove_file(etc.join("b.conf")).unwrap();
        fs::create_dir(etc.join("b.conf")).unwrap();
        fs::remove_file(etc.join("link")).unwrap();
        fs::remove_dir_all(etc.join("empty")).unwrap();
        fs::write(etc.join("empty"), "now a file").unwrap();
        fs::create_dir_all(etc.join("new/dir")).unwrap();
        fs::remove_file(world.path("single")).unwrap();
        fs::create_dir_all(world.path("absent/now/here")).unwrap();
        assert!(!world.identical());
        assert_eq!(
            world.save(&["etc", "single", "absent"]),
            summary,
            "a second save keeps the first"
        );

        restore(&world.layout, "r1", "config").unwrap();
        assert!(world.identical());
        assert_eq!(inventory::take(&etc).unwrap(), before, "times too");
        assert!(!world.path("absent").exists());
        assert_eq!(fs::read_to_string(world.path("single")).unwrap(), "single");
        restore(&world.layout, "r1", "config").unwrap();
        assert_eq!(inventory::take(&etc).unwrap(), before);
    }

    #[test]
    fn a_damaged_copy_is_found_before_anything_is_changed() {
        let world = World::new();
        fs::write(world.path("one"), "one").unwrap();
        fs::write(world.path("two"), "two").unwrap();
        world.save(&["one", "two"]);
        fs::write(copy_of(&world.layout.saved("r1", "config").unwrap(), 1), "owt").unwrap();
        fs::write(world.path("one"), "new").unwrap();
        let error = restore(&world.layout, "r1", "config").unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("two"), "{error}");
        assert_eq!(fs::read_to_string(world.path("one")).unwrap(), "new");
    }

    #[test]
    fn what_a_link_points_at_is_saved_too() {
        let world = World::new();
        fs::write(world.path("real"), "old").unwrap();
        symlink(world.path("real"), world.path("link")).unwrap();
        world.save(&["link"]);
        fs::write(world.path("real"), "new").unwrap();
        assert!(!world.identical());
        restore(&world.layout, "r1", "config").unwrap();
        assert_eq!(fs::read_to_string(world.path("link")).unwrap(), "old");
        assert!(world.path("link").is_symlink());
    }

    #[test]
    fn the_owner_comes_back() {
        let world = World::new();
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let file = world.path("file");
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::lchown(&file, Some(1234), Some(4321)).unwrap();
        world.save(&["file"]);
        std::os::unix::fs::lchown(&file, Some(0), Some(0)).unwrap();
        assert!(!world.identical());
        restore(&world.layout, "r1", "config").unwrap();
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321));
    }

    #[test]
    fn the_agents_own_directory_is_never_saved() {
        let world = World::new();
        for path in [
            "/",
            world.layout.root().to_str().unwrap(),
            "relative",
            "/etc/../etc",
        ] {
            let order = SavePaths {
                name: "config".to_owned(),
                paths: vec![path.to_owned()],
            };
            assert!(save(&world.layout, "r1", &order).is_err(), "{path}");
        }
    }

    #[test]
    fn removing_is_done_once_and_restoring_then_changes_nothing() {
        let world = World::new();
        fs::write(world.path("one"), "one").unwrap();
        world.save(&["one"]);
        assert_eq!(
            remove(&world.layout, "r1", "config").unwrap(),
            json!({"removed": true})
        );
        assert_eq!(
            remove(&world.layout, "r1", "config").unwrap(),
            json!({"removed": false})
        );
        fs::write(world.path("one"), "changed").unwrap();
        assert_eq!(
            restore(&world.layout, "r1", "config").unwrap(),
            json!({"restored": false})
        );
        assert_eq!(fs::read_to_string(world.path("one")).unwrap(), "changed");
        assert_eq!(probe(&world.layout, "r1", "config").unwrap()["exists"], false);
    }
}
