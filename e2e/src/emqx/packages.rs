//! Packages of the double, built from its sources with real Erlang and kept in the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use upshift_lab::fetch::{self, Cache, Unavailable};
use upshift_lab::package::Package;
use upshift_lab::processes;

/// Building one release takes a few seconds.
const LIMIT: Duration = Duration::from_secs(240);

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/emqx")
}

/// What packages of this machine are for, as the agent names it.
pub(super) fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    field("ID") + &field("VERSION_ID")
}

/// One digest of all sources: packages of other sources are other packages.
fn digest_of_sources() -> io::Result<String> {
    let mut whole = String::new();
    for directory in ["", "src", "bin"] {
        let mut files: Vec<PathBuf> = fs::read_dir(sources().join(directory))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file() && path.extension().is_none_or(|extension| extension != "md"))
            .collect();
        files.sort();
        for file in files {
            whole.push_str(&upshift_lab::package::digest(&file)?.0);
        }
    }
    let scratch = tempfile::NamedTempFile::new()?;
    fs::write(scratch.path(), &whole)?;
    Ok(upshift_lab::package::digest(scratch.path())?.0[..16].to_owned())
}

/// A version without the `ee-` that asks for the enterprise edition, and that word.
pub(super) fn edition(version: &str) -> (&str, &str) {
    match version.strip_prefix("ee-") {
        Some(version) => (version, "ee-"),
        None => (version, ""),
    }
}

fn file_name(version: &str) -> String {
    let os = operating_system();
    let (version, edition) = edition(version);
    if version.starts_with("4.3.") {
        format!("emqx-{edition}{os}-{version}-amd64.zip")
    } else {
        format!("emqx-{edition}{version}-otp{}-{os}-amd64.zip", fetch::OTP)
    }
}

/// Has the package of a version in the cache; `ee-4.4.16` is the enterprise edition's. What is special about each version is said in `build.escript`.
///
/// # Errors
/// Where Erlang cannot be had on this machine.
pub fn cached(version: &str) -> Result<Package, Unavailable> {
    let what = format!("the double of EMQX {version}");
    let failed = |reason: String| Unavailable::new(what.clone(), reason);
    let io = |error: io::Error| failed(error.to_string());
    let cache = Cache::open().map_err(io)?;
    let erlang = fetch::erlang(&cache, &|text| println!("    {text}"))?;
    let directory = cache.path(&format!("doubles/emqx-{}", digest_of_sources().map_err(io)?));
    let _lock = cache.lock("emqx-double").map_err(io)?;
    let target = directory.join(file_name(version));
    if !target.exists() {
        fs::create_dir_all(&directory).map_err(io)?;
        let scratch = cache.scratch().map_err(io)?;
        let escript = fetch::erlang_programs(&erlang).map_err(failed)?.join("escript");
        let mut command = Command::new(escript);
        command
            .arg(sources().join("build.escript"))
            .args([sources(), erlang, scratch.path().to_owned()])
            .arg(edition(version).0)
            .env("PACKAGE_EDITION", edition(version).1)
            .env("PACKAGE_OS", operating_system())
            .env("PACKAGE_ARCH", "amd64");
        // A source that does not compile is a fault of the test, not of this machine.
        processes::run(&mut command, LIMIT).unwrap_or_else(|error| panic!("{error}"));
        fs::rename(scratch.path().join(file_name(version)), &target).map_err(io)?;
    }
    Package::of(edition(version).0, target).map_err(io)
}

/// Copies the package of a version into a directory, under its own name.
///
/// # Errors
/// Where it cannot be had, or cannot be written.
pub fn package(directory: &Path, version: &str) -> Result<Package, Unavailable> {
    fs::create_dir_all(directory).map_err(|error| Unavailable::new(version, error))?;
    let built = cached(version)?;
    crate::fixture::copy(&built, directory).map_err(|error| Unavailable::new(version, error))
}

/// Copies the packages of some versions into a directory.
///
/// # Errors
/// Where one of them cannot be had, or cannot be written.
pub fn copy_packages(directory: &Path, versions: &[&str]) -> Result<(), Unavailable> {
    versions
        .iter()
        .try_for_each(|version| package(directory, version).map(|_| ()))
}
