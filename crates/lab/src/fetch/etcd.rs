//! Real etcd, packed as its project packs it: `etcd-v3.4.23-linux-amd64.tar.gz` with `etcd` and `etcdctl` in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::apt::{self, DebPin};
use super::{Cache, Say, Unavailable, python};
use crate::package::{self, Contents, Entry, Package};
use crate::processes;

/// Where a version of etcd comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdSource {
    /// The named Debian suite, by a pinned checksum.
    Debian(&'static str),
    /// Built with this machine's Go toolchain from the module proxy, whose checksum database vouches for the source.
    Go,
}

/// A version of etcd that can be asked for, and what fetching it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// The version.
    pub version: &'static str,
    /// Where it comes from first of all.
    pub source: EtcdSource,
    /// Bytes to fetch; 0 once it is in the cache.
    pub download: u64,
}

struct Pinned {
    version: &'static str,
    debs: [DebPin; 2],
}

macro_rules! pinned {
    ($version:literal, $suite:literal, $debian:literal, $server:literal $server_size:literal, $client:literal $client_size:literal) => {
        Pinned {
            version: $version,
            debs: [
                DebPin {
                    suite: $suite,
                    package: "etcd-server",
                    version: $debian,
                    sha256: $server,
                    size: $server_size,
                },
                DebPin {
                    suite: $suite,
                    package: "etcd-client",
                    version: $debian,
                    sha256: $client,
                    size: $client_size,
                },
            ],
        }
    };
}

const PINNED: [Pinned; 3] = [
    pinned!("3.3.25", "bullseye", "3.3.25+dfsg-6+b6",
        "26ebaf2c5482e1ded1c7d9a65a47d06cdb9dc99d78aa3c280ee61bae39d4e44c" 5_553_636,
        "df59b04f745046e77d27919bf50364b91a5dcacaa812fbcd946574f85b23fe1c" 4_175_708),
    pinned!("3.4.23", "bookworm", "3.4.23-4+b4",
        "3a9445d4560ad6de1c375756b2a17d97713df44cbd20a658c871fe108af7ef5d" 8_438_488,
        "db3a484d5d924b50bf71f459ee544ecd7b11c25dc2f6becc0c50352d67299cc8" 4_644_128),
    pinned!("3.5.16", "trixie", "3.5.16-4",
        "0875921bb0d023f2af9b8e15cdfbe417a03e65731345fb832c40f9c2dd72967b" 11_302_964,
        "7eb67e305ba2ce523a5a0b29bf88750ded3f724769c7111a83382b7909f9977b" 5_371_528),
];

/// The version with the known data inconsistency that the tests ask for, to see it refused.
const BLOCKED: &str = "3.5.1";

/// The versions with pinned checksums, oldest first.
pub fn etcd_offers(cache: &Cache) -> Vec<Etcd> {
    PINNED
        .iter()
        .map(|pinned| Etcd {
            version: pinned.version,
            source: EtcdSource::Debian(pinned.debs[0].suite),
            download: pinned
                .debs
                .iter()
                .filter(|pin| !pin.is_cached(cache))
                .map(|pin| pin.size)
                .sum(),
        })
        .collect()
}

/// Has a version of etcd in the cache, as a package.
///
/// # Errors
/// Where neither the package clients nor a Go toolchain can get it. The versions 3.5.0 to 3.5.2 are never fetched here,
/// because their data can become inconsistent; see [`etcd_blocked`].
pub fn etcd(cache: &Cache, version: &str, say: Say<'_>) -> Result<Package, Unavailable> {
    let what = format!("etcd {version}");
    if matches!(version, "3.5.0" | "3.5.1" | "3.5.2") {
        return Err(Unavailable::new(
            what,
            "its data can become inconsistent (3.5.0 to 3.5.2)",
        ));
    }
    let target = cache.path(&format!("releases/{}.tar.gz", stem(version)));
    let failed = |error: std::io::Error| Unavailable::new(what.clone(), error);
    let _lock = cache.lock(&format!("etcd-{version}")).map_err(failed)?;
    if !target.exists() {
        let scratch = cache.scratch().map_err(failed)?;
        obtain(cache, version, scratch.path(), say)?;
        verify(scratch.path(), version).map_err(|reason| Unavailable::new(what.clone(), reason))?;
        pack(scratch.path(), version, &target).map_err(failed)?;
    }
    Package::of(version, target).map_err(failed)
}

/// Has etcd 3.5.1 in the cache, packed like the others: nothing but a target that every plan must refuse.
///
/// # Errors
/// Where pip cannot get it.
pub fn etcd_blocked(cache: &Cache, say: Say<'_>) -> Result<Package, Unavailable> {
    let what = format!("etcd {BLOCKED}");
    let target = cache.path(&format!("blocked/{}.tar.gz", stem(BLOCKED)));
    let failed = |error: std::io::Error| Unavailable::new(what.clone(), error);
    let _lock = cache.lock(&format!("etcd-{BLOCKED}")).map_err(failed)?;
    if !target.exists() {
        let scratch = cache.scratch().map_err(failed)?;
        python::etcd_wheel(cache, scratch.path(), say)
            .map_err(|reason| Unavailable::new(what.clone(), reason))?;
        pack(scratch.path(), BLOCKED, &target).map_err(failed)?;
    }
    Package::of(BLOCKED, target).map_err(failed)
}

fn stem(version: &str) -> String {
    format!("etcd-v{version}-linux-{}", architecture())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Puts `etcd` and `etcdctl` into a directory.
fn obtain(cache: &Cache, version: &str, directory: &Path, say: Say<'_>) -> Result<(), Unavailable> {
    let pinned = PINNED.iter().find(|pinned| pinned.version == version);
    let from_debian = match pinned {
        Some(pinned) if architecture() == "amd64" => from_debian(cache, pinned, directory, say),
        Some(_) => Err("Debian's build is pinned for amd64 alone".to_owned()),
        None => Err("no Debian suite is known to have it".to_owned()),
    };
    let Err(debian) = from_debian else {
        return Ok(());
    };
    from_go(version, directory, say)
        .map_err(|go| Unavailable::new(format!("etcd {version}"), format!("{debian}; and with Go: {go}")))
}

fn from_debian(cache: &Cache, pinned: &Pinned, directory: &Path, say: Say<'_>) -> Result<(), String> {
    let debs = apt::debs(cache, &pinned.debs, say).map_err(|error| error.reason)?;
    let unpacked = directory.join("unpacked");
    for deb in debs {
        apt::unpack(&deb, &unpacked)?;
    }
    for program in PROGRAMS {
        fs::rename(unpacked.join("usr/bin").join(program), directory.join(program))
            .map_err(|error| format!("{program}: {error}"))?;
    }
    Ok(())
}

const PROGRAMS: [&str; 2] = ["etcd", "etcdctl"];

/// Builds the three programs in a module of their own: `go install` refuses modules with `replace` lines, which etcd's have.
fn from_go(version: &str, directory: &Path, say: Say<'_>) -> Result<(), String> {
    if !["3.5.", "3.6.", "3.7."]
        .iter()
        .any(|minor| version.starts_with(minor))
    {
        return Err("only 3.5 and newer can be built as modules".to_owned());
    }
    say(&format!(
        "building etcd {version} with the Go toolchain: about 60 MB of modules, some minutes"
    ));
    let module = tempfile::tempdir_in(directory).map_err(|error| error.to_string())?;
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command
            .args(arguments)
            .current_dir(module.path())
            .env("GOFLAGS", "-trimpath -mod=mod")
            // The toolchain at hand, and no other one fetched for it.
            .env("GOTOOLCHAIN", "local")
            .env("CGO_ENABLED", "0");
        processes::run(&mut command, Duration::from_secs(1200)).map_err(|error| error.to_string())
    };
    go(&["mod", "init", "etcd-build"])?;
    let modules = BUILT.map(|(module, _)| format!("go.etcd.io/etcd/{module}/v3@v{version}"));
    go(&["get", &modules[0], &modules[1], &modules[2]])?;
    for (module, program) in BUILT {
        let target = directory.join(program).display().to_string();
        let package = format!("go.etcd.io/etcd/{module}/v3");
        go(&["build", "-ldflags", "-s -w", "-o", &target, &package])?;
    }
    Ok(())
}

/// The modules that hold a program each, and the programs' names.
const BUILT: [(&str, &str); 3] = [("server", "etcd"), ("etcdctl", "etcdctl"), ("etcdutl", "etcdutl")];

/// The programs run here and say that they are what was asked for.
fn verify(directory: &Path, version: &str) -> Result<(), String> {
    let mut command = Command::new(directory.join("etcd"));
    command.arg("--version");
    let output = processes::run(&mut command, Duration::from_secs(20)).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = format!("etcd Version: {version}");
    if text.lines().any(|found| found == line) {
        Ok(())
    } else {
        Err(format!(
            "the program says `{}`",
            text.lines().next().unwrap_or("nothing")
        ))
    }
}

fn pack(directory: &Path, version: &str, target: &Path) -> std::io::Result<()> {
    // Debian's builds have no etcdutl.
    let programs = PROGRAMS.into_iter().chain(["etcdutl"]);
    let files: Vec<(String, PathBuf)> = programs
        .filter(|program| directory.join(program).exists())
        .map(|program| (format!("{}/{program}", stem(version)), directory.join(program)))
        .collect();
    let entries: Vec<Entry<'_>> = files
        .iter()
        .map(|(name, path)| Entry {
            name,
            mode: 0o755,
            contents: Contents::File(path),
        })
        .collect();
    package::write_tar_gz(target, &entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_with_inconsistent_data_are_never_fetched() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path()).unwrap();
        for version in ["3.5.0", "3.5.1", "3.5.2"] {
            let error = etcd(&cache, version, &|_| panic!("nothing is fetched")).unwrap_err();
            assert!(error.reason.contains("inconsistent"), "{error}");
        }
    }

    #[test]
    fn offers_say_what_is_to_be_fetched() {
        let directory = tempfile::tempdir().unwrap();
        let offers = etcd_offers(&Cache::at(directory.path()).unwrap());
        let versions: Vec<&str> = offers.iter().map(|offer| offer.version).collect();
        assert_eq!(versions, ["3.3.25", "3.4.23", "3.5.16"]);
        assert!(offers.iter().all(|offer| offer.download > 5_000_000));
    }
}
