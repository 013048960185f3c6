//! What of a release is run: its programs, scripts and libraries, with their digests, so that a release that was altered on disk is
//! never started.
//!
//! Configuration and data inside a release are left out, since they change on purpose. What a release's own tools change in its code
//! while it is in use (a release installed into the running node does) is recorded when the link is pointed elsewhere.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, NodeError, Result};
use crate::layout::{Layout, component, make_directory};
use crate::{digest, durable};

/// One file that is run, or that what is run loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Code {
    /// Relative to the release.
    name: String,
    /// Digest of its contents; for a link, its text.
    content: Content,
    /// What changes with every change of the file, and cannot be set back by who changes it.
    stamp: Stamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Sha256(String),
    Link(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    size: u64,
    mode: u32,
    /// Time of the last change of contents or metadata, in seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Stamp {
            inode: metadata.ino(),
            size: metadata.len(),
            mode: metadata.mode(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_run(self) -> bool {
        self.mode & 0o111 != 0
    }
}

/// How a release is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every file is read: while nothing is waiting for it.
    Contents,
    /// Files whose time of change, size and inode are as they were recorded are not read again: inside a window.
    Changed,
}

/// Whether a release may hold more than was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Additions {
    /// It has not been used yet: preparing it and carrying an installation's own libraries over add to it.
    Expected,
    /// It has been used, and was recorded when it was left.
    Refused,
}

fn record_path(layout: &Layout, version: &str) -> Result<PathBuf> {
    Ok(layout.digests().join(format!("{}.json", component(version)?)))
}

/// Records the digests of an unpacked release, which lies at `directory` as yet.
///
/// # Errors
/// Where a file cannot be read, or the record not be written.
pub fn record(layout: &Layout, version: &str, directory: &Path) -> Result<()> {
    write(layout, version, &take(directory, &[])?)
}

/// Records again what a release holds that was in use: only what has changed is read. A release without a record stays without.
///
/// # Errors
/// As [`record`].
pub fn renew(layout: &Layout, version: &str, directory: &Path) -> Result<()> {
    let Some(known) = read(layout, version)? else {
        return Ok(());
    };
    let now = take(directory, &known)?;
    if now == known {
        return Ok(());
    }
    write(layout, version, &now)
}

/// Forgets a release.
///
/// # Errors
/// Where its record cannot be removed.
pub fn forget(layout: &Layout, version: &str) -> Result<()> {
    durable::remove(&record_path(layout, version)?).map(|_| ())
}

/// Whether the code of a release is as it was recorded; false where an older agent recorded nothing.
///
/// # Errors
/// A refusal that names the first file that differs; also where one cannot be read.
pub fn verify(
    layout: &Layout,
    version: &str,
    directory: &Path,
    depth: Depth,
    additions: Additions,
) -> Result<bool> {
    let Some(known) = read(layout, version)? else {
        return Ok(false);
    };
    let trusted: &[Code] = match depth {
        Depth::Contents => &[],
        Depth::Changed => &known,
    };
    let found = take(directory, trusted)?;
    match difference(&known, &found, additions) {
        None => Ok(true),
        Some(what) => Err(NodeError::refused(format!(
            "release {version} in {} is not what was unpacked: {what}; look who has changed it, then remove it with \
             `upshift release uninstall {version}` and unpack it again from its package",
            directory.display()
        ))),
    }
}

/// One of a list that is sorted by name.
fn named<'a>(list: &'a [Code], name: &str) -> Option<&'a Code> {
    let position = list.binary_search_by(|code| code.name.as_str().cmp(name)).ok()?;
    list.get(position)
}

/// The first difference of contents, as the end of a sentence.
fn difference(known: &[Code], found: &[Code], additions: Additions) -> Option<String> {
    for code in known {
        match named(found, &code.name) {
            None => {
                return Some(format!(
                    "{} is gone, or is no program or library any more",
                    code.name
                ));
            }
            Some(now) if now.content != code.content => {
                return Some(format!("{} has been altered", code.name));
            }
            // That one can be run which could not is no difference: zips have no such bits, and preparing a release gives them.
            Some(now) if code.stamp.is_run() && !now.stamp.is_run() => {
                return Some(format!("{} cannot be run any more", code.name));
            }
            Some(_) => {}
        }
    }
    let new = found.iter().find(|code| named(known, &code.name).is_none());
    match (additions, new) {
        (Additions::Refused, Some(new)) => Some(format!("{} has been added", new.name)),
        _ => None,
    }
}

fn read(layout: &Layout, version: &str) -> Result<Option<Vec<Code>>> {
    durable::read_json(&record_path(layout, version)?)
}

fn write(layout: &Layout, version: &str, codes: &[Code]) -> Result<()> {
    make_directory(&layout.digests(), 0o755)?;
    durable::write_json(&record_path(layout, version)?, &codes)
}

/// What is run below a directory, sorted by name. A file whose stamp is that of a trusted one is not read.
fn take(directory: &Path, trusted: &[Code]) -> Result<Vec<Code>> {
    let mut codes = Vec::new();
    walk(directory, "", trusted, &mut codes).context(|| format!("cannot read {}", directory.display()))?;
    codes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(codes)
}

fn walk(directory: &Path, below: &str, trusted: &[Code], codes: &mut Vec<Code>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        // A name that is no text is still told from the others.
        let name = match (below, entry.file_name().to_string_lossy()) {
            ("", name) => name.into_owned(),
            (below, name) => format!("{below}/{name}"),
        };
        let metadata = path.symlink_metadata()?;
        if metadata.is_dir()
            && CHANGES.contains(
                &path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default(),
            )
        {
            continue;
        }
        if metadata.is_dir() {
            walk(&path, &name, trusted, codes)?;
        } else if let Some(content) = content(&path, &name, &metadata, trusted)? {
            let stamp = Stamp::of(&metadata);
            codes.push(Code { name, content, stamp });
        }
    }
    Ok(())
}

fn content(path: &Path, name: &str, metadata: &Metadata, trusted: &[Code]) -> io::Result<Option<Content>> {
    if metadata.is_symlink() {
        let target = fs::read_link(path)?;
        let code = is_library(name) || is_library(&target.to_string_lossy()) || is_program(path, name)?;
        return Ok(code.then(|| Content::Link(target.to_string_lossy().into_owned())));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    let stamp = Stamp::of(metadata);
    if let Some(known) = named(trusted, name).filter(|known| known.stamp == stamp) {
        return Ok(Some(known.content.clone()));
    }
    if is_library(name) || is_program(path, name)? {
        return digest::of_file(path).map(|sha256| Some(Content::Sha256(sha256)));
    }
    Ok(None)
}

/// Directories that hold what changes on purpose: scripts that set variables are configuration, too.
const CHANGES: [&str; 9] = [
    "conf", "config", "etc", "data", "log", "logs", "tmp", "var", "work",
];

/// Files that interpreters and virtual machines load, whatever their mode.
fn is_library(name: &str) -> bool {
    const ENDINGS: [&str; 7] = ["so", "jar", "war", "beam", "ez", "class", "pyc"];
    let file = name.rsplit('/').next().unwrap_or(name);
    file.contains(".so.")
        || file
            .rsplit_once('.')
            .is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

/// Whether a file can be run, or lies where programs lie: zips have no executable bits. Some vendors' archives make every file
/// executable, so its first bytes count, too.
fn is_program(path: &Path, name: &str) -> io::Result<bool> {
    let among_programs = name.split('/').any(|part| matches!(part, "bin" | "sbin"));
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && (among_programs || metadata.mode() & 0o111 != 0) => {}
        Ok(_) => return Ok(false),
        // A link that leads nowhere.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let mut first = [0; 4];
    let mut file = File::open(path)?;
    let mut count = 0;
    while count < first.len() {
        match file.read(&mut first[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(&first == b"\x7fELF" || first.starts_with(b"#!"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Store {
        state: tempfile::TempDir,
        layout: Layout,
    }

    impl Store {
        fn new() -> Self {
            let state = tempfile::tempdir().unwrap();
            let layout = Layout::open(state.path()).unwrap();
            let store = Store { state, layout };
            for (name, text, mode) in [
                ("bin/server", "#!/bin/sh\n", 0o755),
                ("lib/a.jar", "PK", 0o644),
                ("conf/server.conf", "port=1", 0o755),
                ("data/x", "y", 0o644),
            ] {
                let path = store.path(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            symlink("server", store.path("bin/alias")).unwrap();
            symlink("../conf/server.conf", store.path("bin/conf")).unwrap();
            record(&store.layout, "1.0", &store.path("")).unwrap();
            store
        }

        fn path(&self, name: &str) -> PathBuf {
            self.state.path().join("release").join(name)
        }

        fn verify(&self, depth: Depth) -> std::result::Result<bool, String> {
            self.verify_with(depth, Additions::Refused)
        }

        fn verify_with(&self, depth: Depth, additions: Additions) -> std::result::Result<bool, String> {
            verify(&self.layout, "1.0", &self.path(""), depth, additions).map_err(|error| error.to_string())
        }
    }

    #[test]
    fn code_that_was_altered_removed_or_added_is_named() {
        type Change = fn(&Store);
        let changes: [(Change, &str); 6] = [
            (
                |store| fs::write(store.path("bin/server"), "#!/bin/su\n").unwrap(),
                "bin/server has been altered",
            ),
            (
                |store| fs::write(store.path("lib/a.jar"), "PQ").unwrap(),
                "lib/a.jar has been altered",
            ),
            (
                |store| fs::remove_file(store.path("lib/a.jar")).unwrap(),
                "lib/a.jar is gone",
            ),
            (
                |store| fs::write(store.path("lib/b.jar"), "PK").unwrap(),
                "lib/b.jar has been added",
            ),
            (
                |store| {
                    fs::remove_file(store.path("bin/alias")).unwrap();
                    symlink("../lib/a.jar", store.path("bin/alias")).unwrap();
                },
                "bin/alias has been altered",
            ),
            (
                |store| {
                    fs::set_permissions(store.path("bin/server"), fs::Permissions::from_mode(0o644)).unwrap()
                },
                "bin/server cannot be run any more",
            ),
        ];
        for (change, expected) in changes {
            for depth in [Depth::Contents, Depth::Changed] {
                let store = Store::new();
                assert_eq!(store.verify(depth), Ok(true));
                change(&store);
                let refusal = store.verify(depth).unwrap_err();
                assert!(refusal.contains(expected), "{refusal}");
                assert!(refusal.contains("upshift release uninstall 1.0"), "{refusal}");
            }
        }
    }

    /// A zip has no executable bits; preparing a release gives them.
    #[test]
    fn programs_are_known_before_they_can_be_run() {
        let store = Store::new();
        let set = |mode| {
            fs::set_permissions(store.path("bin/server"), fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o644);
        record(&store.layout, "1.0", &store.path("")).unwrap();
        set(0o755);
        for depth in [Depth::Contents, Depth::Changed] {
            assert_eq!(store.verify(depth), Ok(true));
        }
        fs::write(store.path("bin/server"), "#!/bin/su\n").unwrap();
        assert!(
            store
                .verify(Depth::Changed)
                .unwrap_err()
                .contains("has been altered")
        );
    }

    #[test]
    fn configuration_and_data_may_change_and_a_touched_file_is_read_again() {
        let store = Store::new();
        fs::write(store.path("conf/server.conf"), "port=2").unwrap();
        fs::write(store.path("data/new"), "z").unwrap();
        fs::write(store.path("conf/env.sh"), "#!/bin/sh\nexport HEAP=1g\n").unwrap();
        fs::set_permissions(store.path("conf/env.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(store.path("bin/server"), "#!/bin/sh\n").unwrap();
        for depth in [Depth::Contents, Depth::Changed] {
            assert_eq!(store.verify(depth), Ok(true));
        }
        forget(&store.layout, "1.0").unwrap();
        assert_eq!(store.verify(Depth::Contents), Ok(false), "nothing was recorded");
        renew(&store.layout, "1.0", &store.path("")).unwrap();
        assert_eq!(store.verify(Depth::Contents), Ok(false), "and nothing is made up");
    }

    #[test]
    fn what_a_release_changed_in_itself_while_it_ran_is_recorded_when_it_is_left() {
        let store = Store::new();
        fs::write(store.path("lib/patch.jar"), "PK").unwrap();
        assert!(store.verify(Depth::Changed).is_err());
        assert_eq!(
            store.verify_with(Depth::Changed, Additions::Expected),
            Ok(true),
            "before it is used"
        );
        renew(&store.layout, "1.0", &store.path("")).unwrap();
        assert_eq!(store.verify(Depth::Contents), Ok(true));
    }
}
