//! Erlang/OTP of Debian, unpacked into the cache: nothing is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::apt::{self, DebPin};
use super::{Cache, Say, Unavailable};
use crate::processes;

/// Release of OTP, as package names of servers built with it say it.
pub const OTP: &str = "25.2.3";

macro_rules! pinned {
    ($package:literal, $digest:literal, $size:literal) => {
        DebPin {
            suite: "bookworm",
            package: $package,
            version: "1:25.2.3+dfsg-1+deb12u4",
            sha256: $digest,
            size: $size,
        }
    };
}

/// The runtime with SASL and the compiler; what TLS and the database need.
const PINNED: [DebPin; 6] = [
    pinned!(
        "erlang-base",
        "71731cddaf081836028de905052c69135a4d288fa804fdae5982ea83bf5b8b61",
        9_697_280
    ),
    pinned!(
        "erlang-asn1",
        "a35e1f628f9ee52616be4a00560f9a9a8a0ba484b1b1e1b02696325d0c32ec41",
        896_944
    ),
    pinned!(
        "erlang-crypto",
        "130d7dd83071a2ec545ba1c4f2e9e77be847554b7c04316a870b2e11b5e30e39",
        165_548
    ),
    pinned!(
        "erlang-mnesia",
        "94b059c51c41db8b3592e6a070b9341112da4c084d5642c1abffb5069cc642ac",
        873_324
    ),
    pinned!(
        "erlang-public-key",
        "37cb5fcaafa3745918d65c6bafc66a161069944d996074996762697b93128031",
        731_304
    ),
    pinned!(
        "erlang-ssl",
        "98c91964be7a4c7f8be1f05ce12318e9dc7aa268ea2814e495c3d0dd54f8a2fe",
        1_606_224
    ),
];

/// Debian's own `erl` runs only where it was installed; this one runs where it lies.
const ERL: &str = "#!/bin/sh
BINDIR=$(cd \"$(dirname \"$(readlink -f \"$0\")\")\" && pwd -P)
ROOTDIR=$(cd \"$BINDIR/../..\" && pwd -P)
EMU=beam
PROGNAME=erl
export BINDIR ROOTDIR EMU PROGNAME
exec \"$BINDIR/erlexec\" \"$@\"
";

/// Has Erlang/OTP in the cache; gives its root directory, with `erts-…/bin/escript` below it.
///
/// # Errors
/// Where apt cannot get it, or it does not run here.
pub fn erlang(cache: &Cache, say: Say<'_>) -> Result<PathBuf, Unavailable> {
    let what = format!("Erlang/OTP {OTP}");
    let failed = |reason: String| Unavailable::new(what.clone(), reason);
    let _lock = cache.lock("erlang").map_err(|error| failed(error.to_string()))?;
    let target = cache.path(&format!("erlang-{OTP}"));
    if !target.exists() {
        if std::env::consts::ARCH != "x86_64" {
            return Err(failed("Debian's build is pinned for amd64 alone".to_owned()));
        }
        let debs = apt::debs(cache, &PINNED, say)?;
        let scratch = cache.scratch().map_err(|error| failed(error.to_string()))?;
        for deb in debs {
            apt::unpack(&deb, scratch.path()).map_err(failed)?;
        }
        let root = scratch.path().join("usr/lib/erlang");
        make_movable(&root).map_err(failed)?;
        fs::rename(&root, &target).map_err(|error| failed(error.to_string()))?;
    }
    Ok(target)
}

/// The directory with the programs of an Erlang/OTP or of a release with a runtime of its own.
///
/// # Errors
/// Where there is none.
pub fn erlang_programs(root: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(root).map_err(|error| format!("{}: {error}", root.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("erts-"))
        })
        .map(|path| path.join("bin"))
        .ok_or_else(|| format!("{} has no runtime", root.display()))
}

fn make_movable(root: &Path) -> Result<(), String> {
    let programs = erlang_programs(root)?;
    let erl = programs.join("erl");
    // Debian's is a link into /usr/bin or a file; either way it goes.
    let _ = fs::remove_file(&erl);
    fs::write(&erl, ERL)
        .and_then(|()| fs::set_permissions(&erl, fs::Permissions::from_mode(0o755)))
        .map_err(|error| error.to_string())?;
    let mut command = Command::new(&erl);
    command.args([
        "-noinput",
        "-eval",
        "io:put_chars(erlang:system_info(otp_release)), halt().",
    ]);
    let output = processes::run(&mut command, Duration::from_secs(30)).map_err(|error| error.to_string())?;
    let release = String::from_utf8_lossy(&output.stdout);
    if OTP.starts_with(release.trim()) && !release.trim().is_empty() {
        Ok(())
    } else {
        Err(format!("the runtime says that it is release `{release}`"))
    }
}
