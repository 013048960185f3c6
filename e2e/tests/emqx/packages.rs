//! Real `.deb` packages of the double, installed and removed by real dpkg on hosts with root file systems of their own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use upshift_e2e::emqx::{Client, Debian, PURGED, deb};
use upshift_e2e::harness::{Case, Outcome, Skip};
use upshift_e2e::program::Upshift;
use upshift_lab::fetch::OTP;
use upshift_lab::{ports, processes};

pub const TRIALS: &[Case] = &[
    ("dpkg_removes_a_package_without_stopping_what_runs", as_dpkg_does),
    ("real_dpkg_installs_the_new_package_and_the_old_one_again", rolls),
];

const OLD: &str = "4.3.22";
const NEW: &str = "4.4.16";

/// Two hosts with the old package, joined and running, and an operator with both packages.
struct Stage {
    hosts: Vec<Debian>,
    upshift: Upshift,
    mqtt: u16,
    // Last, so that hosts have ended when the operator's files are removed.
    _directory: tempfile::TempDir,
}

fn packages(directory: &Path) -> Result<PathBuf, Skip> {
    let packages = directory.join("packages");
    for version in [OLD, NEW] {
        deb(&packages, version)?;
    }
    Ok(packages)
}

/// Puts a package's file where the host sees it, and installs it as an operator does.
fn install(host: &Debian, packages: &Path, version: &str) {
    let file = fs::read_dir(packages)
        .expect("packages")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.display().to_string().contains(version))
        .expect("the version is there");
    fs::copy(&file, host.path("/var/tmp/emqx.deb")).expect("copied");
    host.run("dpkg", &["--install", "/var/tmp/emqx.deb"]).expect(0);
}

fn configure(host: &Debian, [mqtt, http, dist]: [u16; 3]) {
    let address = host.address;
    let text = format!(
        "## EMQX configuration\n\nnode.name = {}\nnode.cookie = emqxsecretcookie\nnode.dist_listen_min = {dist}\n\
         listener.tcp.external = {address}:{mqtt}\nmanagement.listener.http = {address}:{http}\n\
         management.default_application.id = admin\nmanagement.default_application.secret = public\n",
        host.node_name()
    );
    fs::write(host.path("/etc/emqx/emqx.conf"), text).expect("written");
}

fn stage() -> Result<Stage, Skip> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let packages = packages(directory.path())?;
    let hosts = vec![Debian::new(1)?, Debian::new(2)?];
    let free = ports::free(3).expect("ports");
    let mut fleet = "name: brokers\nproducts:\n  emqx:\n    hosts: [n1, n2]\nhosts:\n".to_owned();
    for host in &hosts {
        install(host, &packages, OLD);
        configure(host, [free[0], free[1], free[2]]);
        host.run("emqx", &["start"]).expect(0);
        let variables = json!({ "emqx_unit": "", "emqx_user": "root", "edition": "ce", "otp": OTP });
        let transport = json!({ "command": ["chroot", host.overlay.root(), "sh"] });
        fleet += &format!(
            "  {}:\n    transport: {transport}\n    vars: {variables}\n",
            host.name
        );
    }
    let joined = hosts[1]
        .run("emqx_ctl", &["cluster", "join", &hosts[0].node_name()])
        .expect(0);
    assert!(
        joined.stdout.starts_with("Join the cluster successfully."),
        "{joined:?}"
    );
    let path = directory.path().join("fleet.yaml");
    fs::write(&path, fleet).expect("a fleet is written");
    Ok(Stage {
        hosts,
        upshift: Upshift {
            fleet: path,
            packages,
            state: directory.path().join("operator"),
            environment: vec![("NO_COLOR".to_owned(), "1".to_owned())],
        },
        mqtt: free[0],
        _directory: directory,
    })
}

/// Why packages are only removed once nothing of them runs, and never purged.
fn as_dpkg_does() -> Outcome {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let packages = packages(directory.path())?;
    let host = Debian::new(3)?;
    install(&host, &packages, OLD);
    let free = ports::free(3).expect("ports");
    configure(&host, [free[0], free[1], free[2]]);
    host.run("emqx", &["start"]).expect(0);
    let pid: u32 = host
        .run("emqx", &["pid"])
        .expect(0)
        .stdout
        .trim()
        .parse()
        .expect("a process");
    let configuration = fs::read(host.path("/etc/emqx/emqx.conf")).expect("a configuration");

    host.run("dpkg", &["--remove", "emqx"]).expect(0);
    assert!(processes::runs(pid), "removing stops nothing");
    assert_eq!(host.status(), format!("config-files {OLD}"));
    assert!(!host.path("/usr/lib/emqx/bin/emqx").exists());
    assert_eq!(
        fs::read(host.path("/etc/emqx/emqx.conf")).expect("it stays"),
        configuration
    );
    assert!(
        host.path("/var/lib/emqx/mnesia").exists(),
        "data that the package did not bring stays"
    );

    install_over(&host);
    assert_eq!(host.status(), format!("installed {NEW}"));
    assert_eq!(
        fs::read(host.path("/etc/emqx/emqx.conf")).expect("it stays"),
        configuration
    );

    host.run("dpkg", &["--purge", "emqx"]).expect(0);
    assert!(!host.path("/etc/emqx").exists() && !host.path("/var/lib/emqx").exists());
    assert!(host.path(PURGED).exists());
    Ok(())
}

/// The new package, keeping changed configuration files without a question.
fn install_over(host: &Debian) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let package = deb(directory.path(), NEW).expect("it was built before");
    fs::copy(&package.path, host.path("/var/tmp/emqx.deb")).expect("copied");
    host.run("dpkg", &["--force-confold", "--install", "/var/tmp/emqx.deb"])
        .expect(0);
}

/// What must be as it was: the configuration with owner and mode, and what the broker keeps.
fn kept(stage: &Stage) -> Vec<(Vec<u8>, u32, u32, String)> {
    let look = |host: &Debian| {
        let path = host.path("/etc/emqx/emqx.conf");
        let metadata = path.metadata().expect("a configuration");
        let mut client = Client::connect(SocketAddr::from((host.address, stage.mqtt))).expect("a client");
        let message = client.retained("site/1").expect("a retained message");
        (
            fs::read(&path).expect("it can be read"),
            metadata.uid(),
            metadata.mode(),
            message,
        )
    };
    stage.hosts.iter().map(look).collect()
}

#[track_caller]
fn expect_installed(stage: &Stage, version: &str) {
    for host in &stage.hosts {
        assert_eq!(host.status(), format!("installed {version}"));
        let running = || host.running().as_deref() == Some(version);
        assert!(
            processes::poll(Duration::from_secs(10), running),
            "{:?}",
            host.running()
        );
        let differing = host.run("dpkg", &["--verify", "emqx"]).stdout;
        assert!(
            differing.lines().all(|line| line.contains(" c /etc/emqx/")),
            "{differing}"
        );
        assert!(!host.path(PURGED).exists());
    }
}

fn rolls() -> Outcome {
    let stage = stage()?;
    let first = SocketAddr::from((stage.hosts[0].address, stage.mqtt));
    Client::connect(first)
        .and_then(|mut client| client.retain("site/1", "green"))
        .expect("the message is kept");
    let acl = stage.hosts[0].path("/etc/emqx/acl.conf");
    std::os::unix::fs::chown(&acl, Some(1234), Some(4321)).expect("another owner");
    let before = kept(&stage);

    let refused = stage.upshift.run(&["plan", "--to", NEW]).expect(3);
    assert!(
        refused.text().contains("upshift adopt"),
        "there is no way back yet: {}",
        refused.text()
    );
    stage.upshift.run(&["adopt"]).expect(0);
    let upgrade = [
        "upgrade",
        "--yes",
        "--to",
        NEW,
        "--soak",
        "2s",
        "--soak-between",
        "1s",
    ];
    stage.upshift.run(&upgrade).expect(0);

    expect_installed(&stage, NEW);
    assert_eq!(kept(&stage), before);
    let owner = acl.metadata().expect("it is there");
    assert_eq!((owner.uid(), owner.gid()), (1234, 4321));

    stage.upshift.run(&["revert", "--yes"]).expect(0);
    expect_installed(&stage, OLD);
    assert_eq!(kept(&stage), before);
    Ok(())
}
