//! Packages of Debian suites other than the machine's own, through a private root for apt: nothing under `/etc` or
//! `/var/lib/apt` is touched, and no right beyond an ordinary user's is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Cache, Say, Unavailable, megabytes};
use crate::package;
use crate::processes;

/// A file of a Debian suite, pinned.
#[derive(Clone, Copy, Debug)]
pub(super) struct DebPin {
    /// The suite, such as `bookworm`.
    pub suite: &'static str,
    /// The package.
    pub package: &'static str,
    /// Its version in the suite.
    pub version: &'static str,
    /// SHA-256 of the file.
    pub sha256: &'static str,
    /// Size in bytes.
    pub size: u64,
}

/// The library of Lua, which several programs need.
pub(super) const LUA: DebPin = DebPin {
    suite: "bookworm",
    package: "liblua5.3-0",
    version: "5.3.6-2",
    sha256: "576ad8ef2e9f6ad21f29f0c90dac17448deefee8f3912877c2a0911b77e5d3ca",
    size: 122_984,
};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const LIMIT: Duration = Duration::from_secs(120);

/// About how large a suite's index is; for the announcement.
const INDEX_SIZE: u64 = 8_500_000;

impl DebPin {
    fn cached_name(&self) -> String {
        format!("debian/{}_{}_amd64.deb", self.package, self.version)
    }

    /// Whether it is in the cache already.
    pub(super) fn is_cached(&self, cache: &Cache) -> bool {
        cache.holds(&self.cached_name(), self.sha256)
    }
}

/// Has pinned packages, all of one suite, in the cache; gives the files.
pub(super) fn debs(cache: &Cache, pins: &[DebPin], say: Say<'_>) -> Result<Vec<PathBuf>, Unavailable> {
    let missing: Vec<&DebPin> = pins.iter().filter(|pin| !pin.is_cached(cache)).collect();
    if let Some(first) = missing.first() {
        let what = missing
            .iter()
            .map(|pin| format!("{} {}", pin.package, pin.version))
            .collect::<Vec<_>>()
            .join(", ");
        let size: u64 = missing.iter().map(|pin| pin.size).sum();
        say(&format!(
            "fetching {what} from Debian {} with apt-get: {} and the suite's index of about {}",
            first.suite,
            megabytes(size),
            megabytes(INDEX_SIZE),
        ));
        download(cache, first.suite, &missing).map_err(|reason| Unavailable::new(what, reason))?;
    }
    Ok(pins.iter().map(|pin| cache.path(&pin.cached_name())).collect())
}

fn download(cache: &Cache, suite: &str, pins: &[&DebPin]) -> Result<(), String> {
    let mirror = mirror()?;
    if !Path::new(KEYRING).exists() {
        return Err("Debian's archive keyring is not installed (package debian-archive-keyring)".to_owned());
    }
    let scratch = cache.scratch().map_err(|error| error.to_string())?;
    let root = scratch.path();
    let prepare = || -> std::io::Result<()> {
        for directory in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(root.join(directory))?;
        }
        fs::write(
            root.join("sources.list"),
            format!("deb [signed-by={KEYRING} arch=amd64] {mirror} {suite} main\n"),
        )
    };
    prepare().map_err(|error| error.to_string())?;
    let apt = |arguments: &[String]| {
        let mut command = Command::new("apt-get");
        command
            .args(options(root))
            .args(arguments)
            .current_dir(root.join("debs"));
        processes::run(&mut command, LIMIT).map_err(|error| error.to_string())
    };
    apt(&["update".to_owned()])?;
    let mut arguments = vec!["download".to_owned()];
    arguments.extend(pins.iter().map(|pin| format!("{}={}", pin.package, pin.version)));
    apt(&arguments)?;
    for pin in pins {
        keep(cache, &root.join("debs"), pin)?;
    }
    Ok(())
}

fn options(root: &Path) -> Vec<String> {
    let root = root.display();
    [
        format!("Dir::Etc::sourcelist={root}/sources.list"),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        format!("Dir::State::lists={root}/lists"),
        format!("Dir::Cache={root}/cache"),
        "APT::Sandbox::User=root".to_owned(),
        "APT::Update::Post-Invoke::=true".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "Acquire::Retries=2".to_owned(),
        "Acquire::http::Timeout=30".to_owned(),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect()
}

/// Moves a downloaded file into the cache if it is the pinned one.
fn keep(cache: &Cache, directory: &Path, pin: &DebPin) -> Result<(), String> {
    let prefix = format!("{}_", pin.package);
    let file = fs::read_dir(directory)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(&prefix))
        })
        .ok_or_else(|| format!("apt-get left no file of {}", pin.package))?;
    let (found, _) = package::digest(&file).map_err(|error| error.to_string())?;
    if found != pin.sha256 {
        return Err(format!(
            "{} {} has the digest {found}, not the pinned {}",
            pin.package, pin.version, pin.sha256
        ));
    }
    let target = cache.path(&pin.cached_name());
    fs::create_dir_all(cache.path("debian"))
        .and_then(|()| fs::rename(&file, target))
        .map_err(|error| error.to_string())
}

/// The Debian mirror that this machine uses, or the one named by `UPSHIFT_DEBIAN_MIRROR`.
fn mirror() -> Result<String, String> {
    if let Ok(mirror) = std::env::var("UPSHIFT_DEBIAN_MIRROR")
        && !mirror.is_empty()
    {
        return Ok(mirror);
    }
    let mut command = Command::new("apt-get");
    command.args([
        "indextargets",
        "--format",
        "$(SITE) $(ORIGIN) $(RELEASE)",
        "Created-By: Packages",
    ]);
    let output = processes::run(&mut command, Duration::from_secs(30)).map_err(|error| error.to_string())?;
    choose_mirror(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
        "this machine's apt knows no mirror of Debian; UPSHIFT_DEBIAN_MIRROR can name one".to_owned()
    })
}

/// Of lines `site origin release`: the site of Debian's main archive. The index need not have been fetched, and the origin
/// is unknown then, so a site whose path ends in `/debian` counts, too.
fn choose_mirror(targets: &str) -> Option<String> {
    let sites = || {
        targets.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.trim_end_matches('/'), words.next().unwrap_or("")))
        })
    };
    sites()
        .find(|(site, origin)| *origin == "Debian" && !site.ends_with("-security"))
        .or_else(|| sites().find(|(site, _)| site.ends_with("/debian")))
        .map(|(site, _)| site.to_owned())
}

/// Unpacks a `.deb`.
pub(super) fn unpack(deb: &Path, directory: &Path) -> Result<(), String> {
    let mut command = Command::new("dpkg-deb");
    command.arg("-x").arg(deb).arg(directory);
    processes::run(&mut command, Duration::from_secs(60))
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::choose_mirror;

    #[test]
    fn the_main_archive_is_the_mirror() {
        let lines = "http://mirror.test/debian-security/ Debian bookworm-security\nhttp://mirror.test/debian/ Debian bookworm\n";
        assert_eq!(choose_mirror(lines).unwrap(), "http://mirror.test/debian");
        let unfetched =
            "https://other.test/node $(ORIGIN) nodistro\nhttp://mirror.test/debian/ $(ORIGIN) $(RELEASE)\n";
        assert_eq!(choose_mirror(unfetched).unwrap(), "http://mirror.test/debian");
        assert_eq!(choose_mirror("http://archive.test/ubuntu Ubuntu noble\n"), None);
    }
}
