//! Whether a host has what steps need: programs, and the right to read and to write.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use serde_json::{Value, json};
use upshift_model::probe::NeedsProbe;

use crate::filesystem::nearest_existing;

/// How many files and directories below the paths are tried: more would take long on a network file system, and who may read so many
/// may most likely read the rest.
const MOST_TRIED: usize = 100_000;

/// How many of each kind are named.
const MOST_NAMED: usize = 5;

pub(super) fn look(probe: &NeedsProbe) -> Value {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&search).collect();
    let programs: Vec<&String> = probe
        .programs
        .iter()
        .filter(|program| !can_be_run(program, &directories))
        .collect();
    let mut tried = MOST_TRIED;
    let mut unreadable = Vec::new();
    for path in &probe.readable {
        try_to_read(Path::new(path), &mut tried, &mut unreadable);
    }
    let mut unwritable: Vec<String> = probe
        .writable
        .iter()
        .filter_map(|path| not_writable(Path::new(path)))
        .collect();
    unwritable.dedup();
    unwritable.truncate(MOST_NAMED);
    let managers = &probe.package_managers;
    let root = Path::new("/");
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let busy: Vec<String> = managers
        .iter()
        .filter_map(|manager| held(root, manager, &locks))
        .collect();
    let automatic: Vec<&str> = managers
        .iter()
        .filter(|manager| *manager == "dpkg" && upgrades_by_itself(root))
        .map(|_| "unattended-upgrades")
        .collect();
    json!({
        "programs": programs,
        "unreadable": unreadable,
        "unwritable": unwritable,
        "busy": busy,
        "automatic": automatic,
    })
}

/// The files that a package manager locks while it works (dpkg(1) and apt's source; rpm's source, `rpmtxn`).
fn lock_files(manager: &str) -> &'static [&'static str] {
    match manager {
        "dpkg" => &["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock"],
        "rpm" => &["var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock"],
        _ => &[],
    }
}

/// Who holds a package manager's lock, where anybody does. The kernel's own list is read: trying to take the lock could be in the way of others.
fn held(root: &Path, manager: &str, locks: &str) -> Option<String> {
    let files = lock_files(manager).iter().map(|file| root.join(file));
    let inodes: Vec<u64> = files
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.ino())
        .collect();
    let pid = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // `1: POSIX  ADVISORY  WRITE 812 fe:00:1053 0 EOF`; who only waits for a lock has `->` in the second place.
        let (kind, pid, file) = (words.get(1)?, words.get(4)?, words.get(5)?);
        let inode: u64 = file.rsplit(':').next()?.parse().ok()?;
        (*kind == "POSIX" && inodes.contains(&inode)).then(|| (*pid).to_owned())
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim();
    Some(match name {
        "" => format!("{manager} is held by process {pid}"),
        name => format!("{manager} is held by process {pid} ({name})"),
    })
}

/// Whether Debian's own job upgrades packages: `APT::Periodic::Unattended-Upgrade` is not `0`, and its program is there.
fn upgrades_by_itself(root: &Path) -> bool {
    let said = fs::read_to_string(root.join("etc/apt/apt.conf.d/20auto-upgrades")).unwrap_or_default();
    let on = said.lines().map(str::trim).any(|line| {
        let value = line.strip_prefix("APT::Periodic::Unattended-Upgrade");
        value.is_some_and(|value| !value.trim().trim_matches(['"', ';', ' ']).starts_with('0'))
    });
    on && root.join("usr/bin/unattended-upgrade").exists()
}

fn can_be_run(program: &str, directories: &[PathBuf]) -> bool {
    let runs = |path: &Path| path.is_file() && may(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return runs(Path::new(program));
    }
    directories.iter().any(|directory| runs(&directory.join(program)))
}

/// Asked of the kernel, which knows of read-only file systems and of rights that are no bits.
fn may(path: &Path, access: Access) -> Result<(), Errno> {
    accessat(CWD, path, access, AtFlags::EACCESS)
}

/// Links are copied as links, so that what they point at does not matter.
fn try_to_read(path: &Path, left: &mut usize, found: &mut Vec<String>) {
    if *left == 0 || found.len() >= MOST_NAMED {
        return;
    }
    *left -= 1;
    // What is not there, or vanishes meanwhile, is not copied.
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return found.push(said(path, &error));
        }
        Err(_) => return,
    };
    if metadata.is_symlink() {
        return;
    }
    let access = if metadata.is_dir() {
        Access::READ_OK | Access::EXEC_OK
    } else {
        Access::READ_OK
    };
    match may(path, access) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return found.push(said(path, &error)),
    }
    if metadata.is_dir()
        && let Ok(entries) = fs::read_dir(path)
    {
        for entry in entries.flatten() {
            try_to_read(&entry.path(), left, found);
        }
    }
}

/// Why a path cannot be written to or made, where it cannot. A file is replaced by a rename, so that its directory must take a new one.
fn not_writable(path: &Path) -> Option<String> {
    let wrong = |path: &Path, access| may(path, access).err().map(|error| said(path, &error));
    let is_link = path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_symlink());
    if path.is_dir()
        && !is_link
        && let Some(why) = wrong(path, Access::WRITE_OK | Access::EXEC_OK)
    {
        return Some(why);
    }
    let above = nearest_existing(path.parent()?);
    wrong(above, Access::WRITE_OK | Access::EXEC_OK)
}

fn said(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{} ({error})", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn looked(programs: &[&str], readable: &[&Path], writable: &[&Path]) -> Value {
        let texts = |paths: &[&Path]| paths.iter().map(|path| path.display().to_string()).collect();
        look(&NeedsProbe {
            programs: programs.iter().map(|program| (*program).to_owned()).collect(),
            readable: texts(readable),
            writable: texts(writable),
            package_managers: Vec::new(),
        })
    }

    #[test]
    fn programs_that_are_missing_or_may_not_be_run_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("plain");
        fs::write(&plain, "").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
        let plain = plain.display().to_string();
        let found = looked(
            &["sh", "no-such-program", &plain, "/no/such", "/bin/sh"],
            &[],
            &[],
        );
        assert_eq!(found["programs"], json!(["no-such-program", plain, "/no/such"]));
    }

    #[test]
    fn what_is_not_there_can_be_read_and_made_where_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("a/b/c");
        let looked = looked(&[], &[&absent], &[&absent]);
        for member in ["programs", "unreadable", "unwritable", "busy", "automatic"] {
            assert_eq!(looked[member], json!([]), "{member}");
        }
        assert!(!directory.path().join("a").exists(), "nothing was made");
    }

    #[test]
    fn what_cannot_be_made_is_named_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a file");
        fs::write(&file, "").unwrap();
        let found = looked(&[], &[], &[&file.join("below"), &file]);
        let text = found["unwritable"][0].as_str().unwrap();
        assert!(text.starts_with(&format!("{} (", file.display())), "{text}");
        assert_eq!(found["unwritable"].as_array().unwrap().len(), 1, "{found}");
    }

    #[test]
    fn a_package_manager_that_somebody_holds_is_named_with_the_holder() {
        let root = tempfile::tempdir().unwrap();
        let lock = root.path().join("var/lib/dpkg/lock-frontend");
        fs::create_dir_all(lock.parent().unwrap()).unwrap();
        fs::write(&lock, "").unwrap();
        let inode = lock.metadata().unwrap().ino();
        let own = std::process::id();
        let held_by = |kind: &str| format!("1: {kind}  ADVISORY  WRITE {own} fe:00:{inode} 0 EOF\n");
        let text = held(root.path(), "dpkg", &held_by("POSIX")).unwrap();
        assert!(
            text.starts_with(&format!("dpkg is held by process {own} (")),
            "{text}"
        );
        assert_eq!(held(root.path(), "rpm", &held_by("POSIX")), None);
        assert_eq!(held(root.path(), "dpkg", &held_by("->")), None, "it only waits");
        assert_eq!(held(root.path(), "dpkg", ""), None);
    }

    #[test]
    fn upgrades_that_debian_makes_by_itself_are_seen() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("etc/apt/apt.conf.d/20auto-upgrades");
        let program = root.path().join("usr/bin/unattended-upgrade");
        for path in [&file, &program] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        assert!(!upgrades_by_itself(root.path()));
        fs::write(&file, "APT::Periodic::Unattended-Upgrade \"1\";\n").unwrap();
        assert!(!upgrades_by_itself(root.path()), "there is no program");
        fs::write(&program, "").unwrap();
        assert!(upgrades_by_itself(root.path()));
        fs::write(&file, "APT::Periodic::Unattended-Upgrade \"0\";\n").unwrap();
        assert!(!upgrades_by_itself(root.path()));
    }
}
