//! Real HAProxy, as Debian builds it, unpacked into the cache with the libraries that machines seldom have.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::apt::{self, DebPin};
use super::{Cache, Say, Unavailable};
use crate::processes;

const VERSION: &str = "2.6.12-1+deb12u3";

const DEBS: [DebPin; 4] = [
    DebPin {
        suite: "bookworm",
        package: "haproxy",
        version: VERSION,
        sha256: "c8fa07420a78bfc47544b2a46e97151a8a12c3b4db62de610b2e37e78506f465",
        size: 2_042_876,
    },
    apt::LUA,
    DebPin {
        suite: "bookworm",
        package: "libopentracing-c-wrapper0",
        version: "1.1.3-3+b1",
        sha256: "68013bf6296a776923622c871bed26bc7b6bfe5f84b0fa2707a06382d1db2692",
        size: 29_584,
    },
    DebPin {
        suite: "bookworm",
        package: "libopentracing1",
        version: "1.6.0-4",
        sha256: "af62b62a99979253a79e3443f7dabe13f1f33bc2fc024f99039e3868a67f26f4",
        size: 53_356,
    },
];

/// HAProxy, and where its libraries lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Haproxy {
    /// The program.
    pub program: PathBuf,
    /// For `LD_LIBRARY_PATH`.
    pub libraries: PathBuf,
}

impl Haproxy {
    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command
    }
}

/// Has HAProxy in the cache, unpacked, and seen that it runs here.
///
/// # Errors
/// Where the package client cannot get it, or it does not run on this machine.
pub fn haproxy(cache: &Cache, say: Say<'_>) -> Result<Haproxy, Unavailable> {
    let what = || format!("HAProxy {VERSION}");
    let failed = |error: std::io::Error| Unavailable::new(what(), error);
    if std::env::consts::ARCH != "x86_64" {
        return Err(Unavailable::new(
            what(),
            "Debian's build is pinned for amd64 alone",
        ));
    }
    let _lock = cache.lock("haproxy").map_err(failed)?;
    let root = cache.path(&format!("haproxy/{VERSION}"));
    if !root.exists() {
        let debs = apt::debs(cache, &DEBS, say)?;
        let scratch = cache.scratch().map_err(failed)?;
        let unpacked = scratch.path().join("root");
        for deb in debs {
            apt::unpack(&deb, &unpacked).map_err(|reason| Unavailable::new(what(), reason))?;
        }
        fs::create_dir_all(cache.path("haproxy"))
            .and_then(|()| fs::rename(&unpacked, &root))
            .map_err(failed)?;
    }
    let haproxy = Haproxy {
        program: root.join("usr/sbin/haproxy"),
        libraries: root.join("usr/lib/x86_64-linux-gnu"),
    };
    let mut command = haproxy.command();
    command.arg("-v");
    processes::run(&mut command, Duration::from_secs(20)).map_err(|error| Unavailable::new(what(), error))?;
    Ok(haproxy)
}
