//! The installed release: installed by the host's package manager, or the one that the release store's link points at.

mod manager;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use upshift_model::installation::{InstallRelease, InstalledProbe};

use crate::error::{NodeError, Result};
use crate::failpoint;
use crate::layout::Layout;
use crate::process::{self, ProcessId};
use crate::{packages, store};
use manager::{Differing, Installed, Manager};

pub use manager::PATIENCE;

/// Has a release installed. Where a package manager does it, the old package is removed first, and the link says the same as its
/// database afterwards.
pub fn install(layout: &Layout, order: &InstallRelease, mark: &str) -> Result<Value> {
    let Some(manager) = Manager::named(&order.manager)? else {
        return store::switch(layout, &order.release);
    };
    let file = file_of(layout, &order.release)?;
    let wanted = manager.describe(&file)?;
    if wanted.name != order.package {
        return Err(NodeError::refused(format!(
            "the package of {} is of {}, not of {}; nothing was changed",
            order.release, wanted.name, order.package
        )));
    }
    let before = manager.installed(&order.package)?;
    let is_wanted = |found: &Option<Installed>| {
        found
            .as_ref()
            .is_some_and(|found| found.whole && found.version == wanted.version)
    };
    if !is_wanted(&before) {
        if before.is_some() {
            nothing_runs(manager, &order.package)?;
            manager.remove(&order.package, mark)?;
        }
        failpoint::hit("package-removed");
        manager.install(&file, mark)?;
        if !is_wanted(&manager.installed(&order.package)?) {
            return Err(NodeError::refused(format!(
                "{} says that it installed {} {}, and its database does not",
                manager.name(),
                wanted.name,
                wanted.version
            )));
        }
    }
    store::switch(layout, &order.release)?;
    let before = before.map(|installed| installed.version);
    Ok(json!({ "previous": before, "current": wanted.version }))
}

/// What is installed: `{manager, status, version, release, intact, differing, configuration}`.
pub fn look(layout: &Layout, probe: &InstalledProbe) -> Result<Value> {
    let Some(manager) = Manager::named(&probe.manager)? else {
        let release = store::current(layout)?;
        let status = if release.is_some() { "installed" } else { "absent" };
        return Ok(json!({
            "manager": "store", "status": status, "version": release, "release": release, "intact": release.is_some(),
            "differing": [], "configuration": [],
        }));
    };
    let Some(installed) = manager.installed(&probe.package)? else {
        return Ok(json!({
            "manager": manager.name(), "status": "absent", "version": null, "release": null, "intact": false,
            "differing": [], "configuration": [],
        }));
    };
    let Differing { files, configuration } = manager.differing(&probe.package)?;
    Ok(json!({
        "manager": manager.name(),
        "status": if installed.whole { "installed" } else { "broken" },
        "release": release_of(layout, manager, probe, &installed),
        "version": installed.version,
        "intact": installed.whole && files.is_empty(),
        "differing": files,
        "configuration": configuration,
    }))
}

/// The package manager that installed a package on this host, by name; nothing where none did.
pub fn manager_of(package: &str) -> Option<&'static str> {
    [Manager::Dpkg, Manager::Rpm]
        .into_iter()
        // A manager that is not there has installed nothing.
        .find(|manager| {
            manager
                .installed(package)
                .is_ok_and(|installed| installed.is_some())
        })
        .map(Manager::name)
}

/// The release of the store whose package is the installed one.
fn release_of(
    layout: &Layout,
    manager: Manager,
    probe: &InstalledProbe,
    installed: &Installed,
) -> Option<String> {
    let is_it = |release: &String| {
        let described = file_of(layout, release).and_then(|file| manager.describe(&file));
        described.is_ok_and(|file| file.name == probe.package && file.version == installed.version)
    };
    store::statuses(layout).ok()?.into_keys().find(is_it)
}

/// The file that a release was unpacked from.
fn file_of(layout: &Layout, release: &str) -> Result<PathBuf> {
    let missing = || {
        NodeError::refused(format!(
            "the package of {release} is not on this host; `upshift prepare` or `upshift adopt` bring it"
        ))
    };
    let manifest = store::manifest(layout, release)?.ok_or_else(missing)?;
    let file = packages::path(layout, &manifest.sha256)?;
    match file.is_file() {
        true => Ok(file),
        false => Err(missing()),
    }
}

/// Removing a package takes the files away from under a running process, and does not stop it.
fn nothing_runs(manager: Manager, package: &str) -> Result<()> {
    let files: BTreeSet<PathBuf> = manager.files(package)?.iter().map(|file| real(file)).collect();
    match running_one_of(&files) {
        None => Ok(()),
        Some((pid, executable)) => Err(NodeError::refused(format!(
            "process {pid} runs {}, which is of the package {package}; removing a package does not stop what runs",
            executable.display()
        ))),
    }
}

/// A process whose executable is one of these files.
fn running_one_of(files: &BTreeSet<PathBuf>) -> Option<(u32, PathBuf)> {
    let running = process::all().into_iter().filter_map(ProcessId::of);
    running
        .filter_map(|process| Some((process.pid, process.executable()?)))
        .find(|(_, executable)| files.contains(executable))
}

fn real(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(manager: &str) -> InstallRelease {
        InstallRelease {
            manager: manager.to_owned(),
            package: "emqx".to_owned(),
            release: "4.4.16".to_owned(),
        }
    }

    #[test]
    fn a_release_whose_package_is_not_on_the_host_is_refused_before_anything_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(directory.path()).unwrap();
        for manager in ["dpkg", "rpm"] {
            let error = install(&layout, &order(manager), "mark").unwrap_err().to_string();
            assert!(error.contains("upshift adopt"), "{error}");
        }
        let error = install(&layout, &order("store"), "mark").unwrap_err().to_string();
        assert!(error.contains("not unpacked"), "{error}");
        let error = install(&layout, &order("portage"), "mark")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("portage") && error.contains("dpkg and rpm"),
            "{error}"
        );
    }

    #[test]
    fn where_no_manager_installs_the_store_says_what_is_installed() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(directory.path()).unwrap();
        let probe = InstalledProbe {
            manager: String::new(),
            package: "emqx".to_owned(),
        };
        let seen = look(&layout, &probe).unwrap();
        assert_eq!(
            (&seen["manager"], &seen["status"]),
            (&json!("store"), &json!("absent"))
        );
    }

    #[test]
    fn what_runs_is_found_by_its_file() {
        let own = real(&std::env::current_exe().unwrap());
        let (_, found) = running_one_of(&[own.clone()].into()).unwrap();
        assert_eq!(found, own);
        assert_eq!(running_one_of(&[PathBuf::from("/no/such/program")].into()), None);
    }
}
