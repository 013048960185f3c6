//! The double as a `.deb`, laid out as EMQX's: the program under `/usr/lib/emqx`, configuration in `/etc/emqx`, data in
//! `/var/lib/emqx`. Its scripts do what EMQX's do: removing it stops nothing, and purging it takes configuration and data away.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use upshift_lab::fetch::{self, Unavailable};
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

/// Builds the package of a version in a directory.
///
/// # Errors
/// Where the double cannot be had, or dpkg-deb is not there.
pub fn deb(directory: &Path, version: &str) -> Result<Package, Unavailable> {
    let what = || format!("a package of the double of EMQX {version}");
    let built = cached(version)?;
    let io = |error: io::Error| Unavailable::new(what(), error);
    let scratch = tempfile::tempdir().map_err(io)?;
    lay_out(&built, scratch.path(), version).map_err(io)?;
    fs::create_dir_all(directory).map_err(io)?;
    let os = super::packages::operating_system();
    let name = match version.starts_with("4.3.") {
        true => format!("emqx-{os}-{version}-amd64.deb"),
        false => format!("emqx-{version}-otp{}-{os}-amd64.deb", fetch::OTP),
    };
    let target = directory.join(name);
    let mut command = Command::new("dpkg-deb");
    command
        .args(["--build", "--root-owner-group", "-Zgzip", "-z1"])
        .arg(scratch.path())
        .arg(&target);
    processes::run(&mut command, LIMIT).map_err(|error| Unavailable::new(what(), error))?;
    Package::of(version, target).map_err(io)
}

fn lay_out(built: &Package, stage: &Path, version: &str) -> io::Result<()> {
    let library = stage.join("usr/lib");
    fs::create_dir_all(&library)?;
    let archive = fs::File::open(&built.path)?;
    zip::ZipArchive::new(io::BufReader::new(archive))
        .and_then(|mut archive| archive.extract(&library))
        .map_err(io::Error::other)?;
    let root = library.join("emqx");
    super::node::make_executable(&root)?;
    for directory in ["etc", "var/lib", "var/log/emqx", "usr/bin", "DEBIAN"] {
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
    )?;
    let control = stage.join("DEBIAN");
    fs::write(
        control.join("control"),
        format!(
            "Package: emqx\nVersion: {version}\nArchitecture: amd64\nMaintainer: Upshift <tests@upshift.invalid>\n\
             Description: a double of EMQX, for tests\n"
        ),
    )?;
    fs::write(
        control.join("conffiles"),
        "/etc/emqx/emqx.conf\n/etc/emqx/acl.conf\n",
    )?;
    fs::write(control.join("postrm"), POSTRM)?;
    fs::set_permissions(control.join("postrm"), fs::Permissions::from_mode(0o755))
}

/// A host with a root file system of its own, on which the double is installed by dpkg.
pub struct Debian {
    /// Name of the host in the fleet.
    pub name: String,
    /// Address of its node.
    pub address: Ipv4Addr,
    /// Its root.
    pub overlay: Overlay,
}

impl Debian {
    /// A host without the package.
    ///
    /// # Errors
    /// Where no root file system can be mounted.
    pub fn new(number: u8) -> Result<Self, Unavailable> {
        let [a, b] = super::cluster::own_network();
        Ok(Debian {
            name: format!("n{number}"),
            address: Ipv4Addr::new(127, a, b, number),
            overlay: Overlay::mount()?,
        })
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

    /// What dpkg's database says of the package: its status and version.
    pub fn status(&self) -> String {
        let format = "-f=${db:Status-Status} ${Version}";
        self.run("dpkg-query", &["-W", format, "emqx"]).stdout
    }

    /// Name of the Erlang node.
    pub fn node_name(&self) -> String {
        format!("emqx@{}", self.address)
    }

    /// The version of the code that runs, as the node itself says.
    pub fn running(&self) -> Option<String> {
        let answer = self.run("emqx_ctl", &["broker"]);
        let line = answer.stdout.lines().find(|line| line.starts_with("version"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }
}
