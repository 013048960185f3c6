//! What the demo plays with: a release to start from, a good one, and a bad one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use upshift_lab::cluster::Product;
use upshift_lab::fetch::{self, Cache, Unavailable};
use upshift_lab::package::{self, Contents, Entry, Package};
use upshift_lab::releases::lab_package;
use upshift_lab::server::{MANIFEST, Manifest};

use super::stand_in;
use crate::args::DemoArgs;

/// Versions of real etcd.
const ETCD_FROM: &str = "3.4.23";
const ETCD_TO: &str = "3.5.16";
/// A version that does not exist.
const ETCD_BAD: &str = "3.5.99";
/// Versions of the lab server.
const LAB: [&str; 3] = ["1.0.0", "1.1.0", "1.1.9"];

/// What the demo plays with.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Real etcd, or the lab server.
    pub product: Product,
    /// Why it is not real etcd.
    pub excuse: Option<String>,
    /// What the cluster runs at first.
    pub start: Package,
    /// What it is upgraded to.
    pub good: String,
    /// What it is upgraded to then, and does not stay on.
    pub bad: String,
    /// Where the packages of both lie.
    pub packages: PathBuf,
}

impl Stage {
    /// Gets real etcd, or makes the lab server's releases where that is wished or etcd cannot be had.
    pub fn set(arguments: &DemoArgs, directory: &Path, say: fetch::Say<'_>) -> anyhow::Result<Self> {
        let packages = directory.join("packages");
        std::fs::create_dir_all(&packages).context("cannot make a directory for the packages")?;
        let excuse = if arguments.lab {
            "as asked with --lab".to_owned()
        } else {
            match Stage::etcd(arguments, directory, &packages, say)? {
                Ok(stage) => return Ok(stage),
                Err(unavailable) => unavailable.to_string(),
            }
        };
        Stage::lab(packages, excuse)
    }

    fn etcd(
        arguments: &DemoArgs,
        directory: &Path,
        packages: &Path,
        say: fetch::Say<'_>,
    ) -> anyhow::Result<Result<Self, Unavailable>> {
        let cache = match &arguments.cache {
            Some(path) => Cache::at(path),
            None => Cache::open(),
        };
        let cache = cache.context("cannot open the cache for downloads")?;
        let offers = fetch::etcd_offers(&cache);
        let download: u64 = offers
            .iter()
            .filter(|offer| [ETCD_FROM, ETCD_TO].contains(&offer.version))
            .map(|offer| offer.download)
            .sum();
        if download > 0 {
            say(&format!(
                "Fetching etcd {ETCD_FROM} and {ETCD_TO}: {}, once; kept in {}.",
                fetch::megabytes(download),
                cache.path("").display()
            ));
        }
        let fetched = fetch::etcd(&cache, ETCD_FROM, say)
            .and_then(|start| Ok((start, fetch::etcd(&cache, ETCD_TO, say)?)));
        let (start, good) = match fetched {
            Ok(both) => both,
            Err(unavailable) => return Ok(Err(unavailable)),
        };
        let name = good.path.file_name().context("the package has no name")?;
        std::os::unix::fs::symlink(&good.path, packages.join(name))
            .context("cannot put the package into place")?;
        bad_etcd(&good, directory, packages).context("cannot make the bad release")?;
        Ok(Ok(Stage {
            product: Product::Etcd,
            excuse: None,
            start,
            good: ETCD_TO.to_owned(),
            bad: ETCD_BAD.to_owned(),
            packages: packages.to_owned(),
        }))
    }

    fn lab(packages: PathBuf, excuse: String) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let [from, to, bad] = LAB;
        let make = |version: &str, manifest: &Manifest| {
            lab_package(&packages, &program, version, manifest)
                .with_context(|| format!("cannot make release {version} of the lab server"))
        };
        let start = make(from, &Manifest::plain(from))?;
        make(to, &Manifest::plain(to))?;
        make(bad, &never_healthy(bad))?;
        Ok(Stage {
            product: Product::Lab,
            excuse: Some(excuse),
            start,
            good: to.to_owned(),
            bad: bad.to_owned(),
            packages,
        })
    }
}

fn never_healthy(version: &str) -> Manifest {
    let mut manifest = Manifest::plain(version);
    manifest.misbehaviour.never_healthy = true;
    manifest
}

/// A release like the good one, but for its server: that starts, says its version, and never serves.
fn bad_etcd(good: &Package, directory: &Path, packages: &Path) -> anyhow::Result<()> {
    let unpacked = directory.join("good");
    package::unpack(&good.path, &unpacked)?;
    let good_name = single(&unpacked)?;
    let bad_name = good_name.replace(&good.version, ETCD_BAD);
    let program = std::env::current_exe()?;
    let manifest = serde_json::to_vec_pretty(&never_healthy(ETCD_BAD))?;
    let (server, beside) = (
        format!("{bad_name}/{}", stand_in::PROGRAM),
        format!("{bad_name}/{MANIFEST}"),
    );
    let mut entries = vec![
        Entry {
            name: &server,
            mode: 0o755,
            contents: Contents::File(&program),
        },
        Entry {
            name: &beside,
            mode: 0o644,
            contents: Contents::Bytes(&manifest),
        },
    ];
    let tools: Vec<(String, PathBuf)> = ["etcdctl", "etcdutl"]
        .into_iter()
        .map(|tool| (format!("{bad_name}/{tool}"), unpacked.join(&good_name).join(tool)))
        .filter(|(_, path)| path.exists())
        .collect();
    for (name, path) in &tools {
        entries.push(Entry {
            name,
            mode: 0o755,
            contents: Contents::File(path),
        });
    }
    package::write_tar_gz(&packages.join(format!("{bad_name}.tar.gz")), &entries)?;
    std::fs::remove_dir_all(&unpacked)?;
    Ok(())
}

/// Name of the only entry of a directory.
fn single(directory: &Path) -> anyhow::Result<String> {
    let mut entries = std::fs::read_dir(directory)?;
    let entry = entries.next().context("the package is empty")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}
