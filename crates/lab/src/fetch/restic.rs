//! restic, as Debian builds it, unpacked into the cache.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::apt::{self, DebPin};
use super::{Cache, Say, Unavailable};
use crate::processes;

const VERSION: &str = "0.14.0-1+b5";

const DEB: DebPin = DebPin {
    suite: "bookworm",
    package: "restic",
    version: VERSION,
    sha256: "9d7e8c210736f3f15ed7cf425ab56aa5259b07d8422b958494bfd4359b5024d1",
    size: 7_486_864,
};

/// Has restic in the cache, unpacked, and seen that it runs here; gives the program.
///
/// # Errors
/// Where the package client cannot get it, or it does not run on this machine.
pub fn restic(cache: &Cache, say: Say<'_>) -> Result<PathBuf, Unavailable> {
    let what = || format!("restic {VERSION}");
    let failed = |error: std::io::Error| Unavailable::new(what(), error);
    if std::env::consts::ARCH != "x86_64" {
        return Err(Unavailable::new(
            what(),
            "Debian's build is pinned for amd64 alone",
        ));
    }
    let _lock = cache.lock("restic").map_err(failed)?;
    let root = cache.path(&format!("restic/{VERSION}"));
    if !root.exists() {
        let debs = apt::debs(cache, &[DEB], say)?;
        let scratch = cache.scratch().map_err(failed)?;
        let unpacked = scratch.path().join("root");
        for deb in debs {
            apt::unpack(&deb, &unpacked).map_err(|reason| Unavailable::new(what(), reason))?;
        }
        fs::create_dir_all(cache.path("restic"))
            .and_then(|()| fs::rename(&unpacked, &root))
            .map_err(failed)?;
    }
    let program = root.join("usr/bin/restic");
    let mut command = Command::new(&program);
    command.arg("version");
    processes::run(&mut command, Duration::from_secs(20)).map_err(|error| Unavailable::new(what(), error))?;
    Ok(program)
}
