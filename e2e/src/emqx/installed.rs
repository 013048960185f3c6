//! The double as a `.deb` and as an `.rpm`, laid out as EMQX's packages are: the program under `/usr/lib/emqx`, configuration in
//! `/etc/emqx`, data in `/var/lib/emqx`. Their scripts do what EMQX's do: removing the package stops nothing, and purging the `.deb`
//! takes configuration and data away.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use upshift_lab::fetch::{self, Cache, Unavailable};
use upshift_lab::overlay::Overlay;
use upshift_lab::package::Package;
use upshift_lab::processes;

use super::{Answer, cached};

const LIMIT: Duration = Duration::from_secs(120);

/// What a purge leaves behind, so that a test can see that there was one. The real package also kills every process of the user
/// `emqx`.
pub const PURGED: &str = "var/tmp/emqx-was-purged";

const POSTRM: &str = "#!/bin/sh
set -e
if [ \"$1\" = purge ]; then
    rm -rf /etc/emqx /var/lib/emqx /var/log/emqx
    touch /var/tmp/emqx-was-purged
fi
";

/// What installs packages on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// `dpkg`, this machine's own.
    Dpkg,
    /// `rpm`, as Debian builds it.
    Rpm,
}

impl Manager {
    fn format(self) -> &'static str {
        match self {
            Manager::Dpkg => "deb",
            Manager::Rpm => "rpm",
        }
    }

    /// Builds the package of a version in a directory.
    ///
    /// # Errors
    /// Where the double or the manager cannot be had.
    pub fn build(self, directory: &Path, version: &str) -> Result<Package, Unavailable> {
        let what = || format!("a package of the double of EMQX {version}");
        let built = cached(version)?;
        let io = |error: io::Error| Unavailable::new(what(), error);
        fs::create_dir_all(directory).map_err(io)?;
        let os = super::packages::operating_system();
        let format = self.format();
        let name = match version.starts_with("4.3.") {
            true => format!("emqx-{os}-{version}-amd64.{format}"),
            false => format!("emqx-{version}-otp{}-{os}-amd64.{format}", fetch::OTP),
        };
        let target = directory.join(name);
        match self {
            Manager::Dpkg => {
                let scratch = tempfile::tempdir().map_err(io)?;
                lay_out(&built, scratch.path()).map_err(io)?;
                describe_deb(scratch.path(), version).map_err(io)?;
                let mut command = Command::new("dpkg-deb");
                command
                    .args(["--build", "--root-owner-group", "-Zgzip", "-z1"])
                    .arg(scratch.path())
                    .arg(&target);
                processes::run(&mut command, LIMIT).map_err(|error| Unavailable::new(what(), error))?;
            }
            Manager::Rpm => {
                let builder = Overlay::mount()?;
                add_rpm(&builder)?;
                let stage = builder.root().join("var/tmp/stage");
                lay_out(&built, &stage).map_err(io)?;
                let file = build_rpm(&builder, &spec(version))?;
                fs::copy(builder.root().join(file), &target).map_err(io)?;
            }
        }
        Package::of(version, target).map_err(io)
    }

    /// Installs a package over what is there, as an operator does.
    fn install(self, host: &PackagedHost, file: &str) -> Answer {
        match self {
            Manager::Dpkg => host.run("dpkg", &["--force-confold", "--install", file]),
            Manager::Rpm => host.run("rpm", &["-i", file]),
        }
    }
}

/// A package that provides what every host of Red Hat's family has, for rpm's database knows nothing of Debian's packages.
const BASE: &str = "Name: base
Version: 1
Release: 1
Summary: what every host has
License: Apache-2.0
Provides: /bin/sh
%description
What every host has.
%files
";

/// Builds a package of a specification in a root with rpmbuild; its path in there.
fn build_rpm(overlay: &Overlay, spec: &str) -> Result<&'static str, Unavailable> {
    let failed = |error: String| Unavailable::new("a package of rpm", error);
    fs::write(overlay.root().join("var/tmp/built.spec"), spec).map_err(|error| failed(error.to_string()))?;
    let mut command = overlay.command("rpmbuild");
    command.args(["-bb", "--quiet", "--define", "_topdir /var/tmp/top"]);
    command.args(["--define", "_rpmfilename built.rpm", "/var/tmp/built.spec"]);
    processes::run(&mut command, LIMIT).map_err(|error| failed(error.to_string()))?;
    Ok("var/tmp/top/RPMS/built.rpm")
}

/// Has rpm on a host that has Debian's packages alone.
fn add_rpm(overlay: &Overlay) -> Result<(), Unavailable> {
    let failed = |error: String| Unavailable::new("a host with rpm", error);
    let cache = Cache::open().map_err(|error| failed(error.to_string()))?;
    for deb in fetch::rpm(&cache, &|text| println!("    {text}"))? {
        overlay.unpack(&deb).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// The files of the package below a directory.
fn lay_out(built: &Package, stage: &Path) -> io::Result<()> {
    let library = stage.join("usr/lib");
    fs::create_dir_all(&library)?;
    let archive = fs::File::open(&built.path)?;
    zip::ZipArchive::new(io::BufReader::new(archive))
        .and_then(|mut archive| archive.extract(&library))
        .map_err(io::Error::other)?;
    let root = library.join("emqx");
    super::node::make_executable(&root)?;
    for directory in ["etc", "var/lib", "var/log/emqx", "usr/bin"] {
        fs::create_dir_all(stage.join(directory))?;
    }
    fs::rename(root.join("etc"), stage.join("etc/emqx"))?;
    fs::rename(root.join("data"), stage.join("var/lib/emqx"))?;
    for program in ["emqx", "emqx_ctl"] {
        symlink(
            format!("/usr/lib/emqx/bin/{program}"),
            stage.join("usr/bin").join(program),
        )?;
    }
    let vars = root.join("releases/emqx_vars");
    let text = fs::read_to_string(&vars)?
        .replace("$RUNNER_ROOT_DIR/etc", "/etc/emqx")
        .replace("$RUNNER_ROOT_DIR/data", "/var/lib/emqx")
        .replace("$RUNNER_ROOT_DIR/log", "/var/log/emqx");
    fs::write(vars, text)?;
    let releases = fs::read_to_string(root.join("releases/RELEASES.in"))?;
    fs::write(
        root.join("releases/RELEASES"),
        releases.replace("@ROOT@", "/usr/lib/emqx"),
    )
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn describe_deb(stage: &Path, version: &str) -> io::Result<()> {
    let control = stage.join("DEBIAN");
    fs::create_dir(&control)?;
    fs::write(
        control.join("control"),
        format!(
            "Package: emqx\nVersion: {version}\nArchitecture: amd64\nMaintainer: Upshift <tests@upshift.invalid>\n\
             Description: a double of EMQX, for tests\n"
        ),
    )?;
    // Debian's tools call every file below /etc configuration.
    let mut configuration = Vec::new();
    files_below(&stage.join("etc"), &mut configuration)?;
    let listed: String = configuration
        .iter()
        .filter_map(|file| file.strip_prefix(stage).ok())
        .map(|file| format!("/{}\n", file.display()))
        .collect();
    fs::write(control.join("conffiles"), listed)?;
    fs::write(control.join("postrm"), POSTRM)?;
    fs::set_permissions(control.join("postrm"), fs::Permissions::from_mode(0o755))
}

/// As EMQX's: what it brings in `/etc/emqx` and `/var/lib/emqx` is configuration that rpm neither overwrites nor deletes where it was
/// changed, and the last removal takes all of `/usr/lib/emqx`.
fn spec(version: &str) -> String {
    format!(
        "%global __os_install_post %{{nil}}
%global debug_package %{{nil}}
%global _build_id_links none
Name: emqx
Version: {version}
Release: 1
Summary: a double of EMQX, for tests
License: Apache-2.0
AutoReqProv: no
%description
A double of EMQX, for tests.
%install
cp -a /var/tmp/stage/. %{{buildroot}}/
%postun
if [ $1 = 0 ]; then
    rm -rf /usr/lib/emqx
fi
exit 0
%files
%defattr(-,root,root)
/usr/lib/emqx
/usr/bin/emqx
/usr/bin/emqx_ctl
%dir /etc/emqx
%config(noreplace) /etc/emqx/*
%dir /var/lib/emqx
%config(noreplace) /var/lib/emqx/*
%dir /var/log/emqx
"
    )
}

/// A host with a root file system of its own, on which the double is installed by a package manager.
pub struct PackagedHost {
    /// Name of the host in the fleet.
    pub name: String,
    /// Address of its node.
    pub address: Ipv4Addr,
    /// Its root.
    pub overlay: Overlay,
    /// What installs packages there.
    pub manager: Manager,
}

impl PackagedHost {
    /// A host without the package.
    ///
    /// # Errors
    /// Where no root file system can be mounted, or the manager cannot be had.
    pub fn new(manager: Manager, number: u8) -> Result<Self, Unavailable> {
        let [a, b] = super::cluster::own_network();
        let overlay = Overlay::mount()?;
        let host = PackagedHost {
            name: format!("n{number}"),
            address: Ipv4Addr::new(127, a, b, number),
            overlay,
            manager,
        };
        if manager == Manager::Rpm {
            add_rpm(&host.overlay)?;
            let base = build_rpm(&host.overlay, BASE)?;
            host.run("rpm", &["-i", &format!("/{base}")]).expect(0);
        }
        Ok(host)
    }

    /// A path on the host, as it is seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.overlay.root().join(path.trim_start_matches('/'))
    }

    /// Runs a program on the host.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Answer {
        let mut command = self.overlay.command(program);
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .env("WAIT_FOR_ERLANG", "60");
        super::node::answer(&mut command, &self.path("var/tmp"))
    }

    /// Starts the node without the questions that `emqx start` asks, and waits until its broker runs.
    pub fn start(&self) {
        let mut command = self.overlay.command("emqx");
        command
            .arg("start")
            .env("LC_ALL", "C")
            .env("EMQX_DOUBLE_QUICK", "1");
        super::node::answer(&mut command, &self.path("var/tmp")).expect(0);
        super::node::wait_for_broker(&self.path("/usr/lib/emqx"), self.address);
    }

    /// Joins the cluster of another host's node.
    pub fn join(&self, other: &PackagedHost) {
        super::node::join(&self.path("/usr/lib/emqx"), self.address, &other.node_name());
    }

    /// Installs the package of a version as an operator does, from a directory of packages: changed configuration files stay.
    pub fn install(&self, packages: &Path, version: &str) {
        let file = fs::read_dir(packages)
            .expect("packages")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.display().to_string().contains(version))
            .expect("the version is there");
        fs::copy(&file, self.path("/var/tmp/package")).expect("copied");
        self.manager.install(self, "/var/tmp/package").expect(0);
    }

    /// What the manager's database says of the package: its status and version.
    pub fn status(&self) -> String {
        match self.manager {
            Manager::Dpkg => {
                let format = "-f=${db:Status-Status} ${Version}";
                self.run("dpkg-query", &["-W", format, "emqx"]).stdout
            }
            Manager::Rpm => {
                self.run("rpm", &["-q", "--qf", "installed %{VERSION}", "emqx"])
                    .stdout
            }
        }
    }

    /// What the manager says of files that are not as the package has them, a line each.
    pub fn differing(&self) -> String {
        match self.manager {
            Manager::Dpkg => self.run("dpkg", &["--verify", "emqx"]).stdout,
            Manager::Rpm => self.run("rpm", &["-V", "--nomtime", "emqx"]).stdout,
        }
    }

    /// Name of the Erlang node.
    pub fn node_name(&self) -> String {
        format!("emqx@{}", self.address)
    }

    /// The version of the code that runs, as the node itself says.
    pub fn running(&self) -> Option<String> {
        let root = self.path("/usr/lib/emqx");
        let version = super::node::ask(&root, self.address, "io:put_chars(emqx_sys:version())");
        Some(version).filter(|version| !version.is_empty())
    }
}
