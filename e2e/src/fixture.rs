//! A cluster with an operator, ready to be upgraded.

use std::fs;
use std::path::Path;
use std::time::Duration;

use upshift_lab::cluster::{Cluster, Place, Product};
use upshift_lab::fetch::{self, Cache, Unavailable};
use upshift_lab::nats::Connection;
use upshift_lab::package::Package;
use upshift_lab::releases::lab_package;
use upshift_lab::server::Manifest;

use crate::program::{Upshift, built};

/// A cluster, its packages, and an operator. Everything ends when it is dropped.
pub struct Fixture {
    /// The cluster.
    pub cluster: Cluster,
    /// The operator.
    pub upshift: Upshift,
    // Last, so that processes have ended when their files are removed.
    directory: tempfile::TempDir,
}

impl Fixture {
    /// Three members of the lab server, release 1.0.0.
    pub fn lab() -> Self {
        Fixture::lab_of(&Manifest::plain("1.0.0"))
    }

    /// Three members of the lab server.
    pub fn lab_of(manifest: &Manifest) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let package = lab_release(&directory.path().join("packages"), &manifest.version, manifest);
        Fixture::with(Product::Lab, directory, Place::local(3), &package)
    }

    /// Three members of real etcd on this machine, with the packages of other versions at hand.
    pub fn etcd(version: &str, others: &[&str]) -> Result<Self, Unavailable> {
        Fixture::etcd_of(3, version, others)
    }

    /// So many members of real etcd on this machine.
    pub fn etcd_of(members: usize, version: &str, others: &[&str]) -> Result<Self, Unavailable> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let package = etcd_packages(directory.path(), version, others)?;
        Ok(Fixture::with(
            Product::Etcd,
            directory,
            Place::local(members),
            &package,
        ))
    }

    /// Three servers of real NATS with JetStream and a replicated stream, with the packages of other versions at hand.
    pub fn nats(version: &str, others: &[&str]) -> Result<Self, Unavailable> {
        let failed = |error: std::io::Error| Unavailable::new("NATS", error);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let packages = directory.path().join("packages");
        fs::create_dir_all(&packages).map_err(failed)?;
        let cache = Cache::open().map_err(failed)?;
        let put = |version: &str| -> Result<Package, Unavailable> {
            let package = fetch::nats(&cache, version, &|words| println!("{words}"))?;
            copy(&package, &packages).map_err(failed)
        };
        for other in others {
            put(other)?;
        }
        let package = put(version)?;
        let fixture = Fixture::with(Product::Nats, directory, Place::local(3), &package);
        let address = fixture.cluster.members()[0].data_endpoint();
        let created = || {
            Connection::open(&address, Duration::from_secs(2))
                .and_then(|mut connection| connection.create_stream())
                .is_ok()
        };
        assert!(
            upshift_lab::processes::poll(Duration::from_secs(30), created),
            "no stream could be made"
        );
        Ok(fixture)
    }

    /// A cluster at given places.
    pub fn with(
        product: Product,
        directory: tempfile::TempDir,
        places: Vec<Place>,
        package: &Package,
    ) -> Self {
        let cluster = Cluster::start(product, &directory.path().join("cluster"), places, package)
            .unwrap_or_else(|error| panic!("{error}"));
        let upshift = Upshift {
            fleet: cluster.fleet_file().to_owned(),
            packages: directory.path().join("packages"),
            state: directory.path().join("operator"),
            environment: vec![("NO_COLOR".to_owned(), "1".to_owned())],
        };
        Fixture {
            cluster,
            upshift,
            directory,
        }
    }

    /// Everything lies below this directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Adds a release of the lab server to the operator's packages.
    pub fn add_release(&self, version: &str, change: impl FnOnce(&mut Manifest)) -> Package {
        let mut manifest = Manifest::plain(version);
        change(&mut manifest);
        lab_release(&self.upshift.packages, version, &manifest)
    }

    /// Fails the test unless every member runs a version and is healthy.
    #[track_caller]
    pub fn expect_all(&self, version: &str) {
        if let Err(error) = self.cluster.wait_healthy(Duration::from_secs(10)) {
            panic!("{error}");
        }
        let expected = vec![Some(version.to_owned()); self.cluster.members().len()];
        assert_eq!(self.cluster.versions(), expected);
    }

    /// Fails the test unless nothing but the members runs: no agent, no guard.
    #[track_caller]
    pub fn expect_nothing_left(&self) {
        let count = self.cluster.members().len();
        let only_members = || self.cluster.processes().len() == count;
        assert!(
            upshift_lab::processes::poll(Duration::from_secs(10), only_members),
            "left: {:?}",
            self.cluster
                .processes()
                .iter()
                .map(|pid| command_line(*pid))
                .collect::<Vec<_>>()
        );
    }

    /// A text with `[DIR]` in the place of this fixture's directory.
    pub fn replace(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "[DIR]")
    }
}

/// The arguments of a process, in a line.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Packs a release of the lab server.
pub fn lab_release(packages: &Path, named: &str, manifest: &Manifest) -> Package {
    lab_package(packages, &built("upshift-lab-server"), named, manifest).expect("a package is written")
}

/// Puts packages of real etcd into an operator's directory; gives the first.
pub fn etcd_packages(directory: &Path, version: &str, others: &[&str]) -> Result<Package, Unavailable> {
    let failed = |error: std::io::Error| Unavailable::new("etcd", error);
    let cache = Cache::open().map_err(failed)?;
    let packages = directory.join("packages");
    fs::create_dir_all(&packages).map_err(failed)?;
    let say = |text: &str| println!("{text}");
    let put = |version: &str| -> Result<Package, Unavailable> {
        let package = fetch::etcd(&cache, version, &say)?;
        copy(&package, &packages).map_err(failed)
    };
    for other in others {
        put(other)?;
    }
    put(version)
}

/// Copies a package into a directory.
pub fn copy(package: &Package, directory: &Path) -> std::io::Result<Package> {
    let name = package.path.file_name().unwrap_or_default();
    let target = directory.join(name);
    fs::copy(&package.path, &target)?;
    Package::of(&package.version, target)
}
