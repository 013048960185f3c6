//! Real `.deb` and `.rpm` packages of the double, installed and removed by real dpkg and rpm on hosts with root file systems of their
//! own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use upshift_e2e::emqx::{Client, Manager, PURGED, PackagedHost, behind};
use upshift_e2e::harness::{Case, NoVerdict, Outcome, only_when_exhaustive};
use upshift_e2e::program::Upshift;
use upshift_lab::balancer::{Balancer, Clients, View};
use upshift_lab::fetch::OTP;
use upshift_lab::{ports, processes};

pub const TRIALS: &[Case] = &[
    ("dpkg_removes_a_package_without_stopping_what_runs", as_dpkg_does),
    ("rpm_removes_a_package_without_stopping_what_runs", as_rpm_does),
    ("real_dpkg_installs_the_new_package_and_the_old_one_again", || {
        only_when_exhaustive("two minutes")?;
        rolls(Manager::Dpkg)
    }),
    ("real_rpm_installs_the_new_package_and_the_old_one_again", || {
        only_when_exhaustive(
            "two to four minutes; a rolling upgrade from zip behind HAProxy is shown always",
        )?;
        rolls(Manager::Rpm)
    }),
];

const OLD: &str = "4.3.22";
const NEW: &str = "4.4.16";

/// Two hosts with the old package, joined and running behind HAProxy, and an operator with both packages.
struct Stage {
    hosts: Vec<PackagedHost>,
    balancer: Balancer,
    upshift: Upshift,
    mqtt: u16,
    // Last, so that hosts have ended when the operator's files are removed.
    _directory: tempfile::TempDir,
}

fn packages(manager: Manager, directory: &Path) -> Result<PathBuf, NoVerdict> {
    let packages = directory.join("packages");
    for version in [OLD, NEW] {
        manager.build(&packages, version)?;
    }
    Ok(packages)
}

fn configure(host: &PackagedHost, [mqtt, http, dashboard]: [u16; 3]) {
    let address = host.address;
    let text = format!(
        "## EMQX configuration\n\nnode.name = {}\nnode.cookie = emqxsecretcookie\n\
         node.data_dir = /var/lib/emqx\ncluster.autoclean = 5m\n\
         listener.tcp.external = {address}:{mqtt}\nmanagement.listener.http = {address}:{http}\n\
         management.default_application.id = admin\nmanagement.default_application.secret = public\n",
        host.node_name()
    );
    fs::write(host.path("/etc/emqx/emqx.conf"), text).expect("written");
    let dashboard = format!("dashboard.listener.http = {address}:{dashboard}\n");
    fs::write(host.path("/etc/emqx/plugins/emqx_dashboard.conf"), dashboard).expect("written");
}

fn stage(manager: Manager) -> Result<Stage, NoVerdict> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let packages = packages(manager, directory.path())?;
    let hosts = vec![PackagedHost::new(manager, 1)?, PackagedHost::new(manager, 2)?];
    let free = ports::free(3).expect("ports");
    let mut fleet = "name: brokers\nproducts:\n  emqx:\n    hosts: [n1, n2]\nhosts:\n".to_owned();
    for host in &hosts {
        host.install(&packages, OLD);
        configure(host, [free[0], free[1], free[2]]);
        host.start();
        let variables = json!({ "emqx_user": "root", "edition": "ce", "otp": OTP });
        let transport = json!({ "command": ["chroot", host.overlay.root(), "sh"] });
        fleet += &format!(
            "  {}:\n    transport: {transport}\n    vars: {variables}\n",
            host.name
        );
    }
    hosts[1].join(&hosts[0]);
    let servers: Vec<(String, String)> = hosts
        .iter()
        .map(|host| (host.name.clone(), format!("{}:{}", host.address, free[0])))
        .collect();
    let (balancer, fleet) = behind(&directory.path().join("balancer"), &servers, &fleet)?;
    let path = directory.path().join("fleet.yaml");
    fs::write(&path, fleet).expect("a fleet is written");
    Ok(Stage {
        hosts,
        balancer,
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

/// A host on which the old version was installed and started, and the process of its node.
fn started(manager: Manager, packages: &Path) -> Result<(PackagedHost, u32), NoVerdict> {
    let host = PackagedHost::new(manager, 3)?;
    host.install(packages, OLD);
    let free = ports::free(3).expect("ports");
    configure(&host, [free[0], free[1], free[2]]);
    host.start();
    let pid = host.run("emqx", &["pid"]).expect(0);
    Ok((host, pid.stdout.trim().parse().expect("a process")))
}

/// Why packages are only removed once nothing of them runs, and never purged.
fn as_dpkg_does() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let packages = packages(Manager::Dpkg, directory.path())?;
    let (host, pid) = started(Manager::Dpkg, &packages)?;
    let read = || fs::read(host.path("/etc/emqx/emqx.conf")).expect("a configuration");
    let configuration = read();

    host.run("dpkg", &["--remove", "emqx"]).expect(0);
    assert!(processes::runs(pid), "removing stops nothing");
    assert_eq!(host.status(), format!("config-files {OLD}"));
    assert!(!host.path("/usr/lib/emqx/bin/emqx").exists());
    assert_eq!(read(), configuration);
    assert!(
        host.path("/var/lib/emqx/mnesia").exists(),
        "data that the package did not bring stays"
    );

    host.install(&packages, NEW);
    assert_eq!(host.status(), format!("installed {NEW}"));
    assert_eq!(read(), configuration);

    host.run("dpkg", &["--purge", "emqx"]).expect(0);
    assert!(!host.path("/etc/emqx").exists() && !host.path("/var/lib/emqx").exists());
    assert!(host.path(PURGED).exists());
    Ok(())
}

/// Why configuration is saved before a package is removed, and brought back after the next one is installed.
fn as_rpm_does() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let packages = packages(Manager::Rpm, directory.path())?;
    let (host, pid) = started(Manager::Rpm, &packages)?;
    let read = |file: &str| fs::read(host.path(file)).expect("it can be read");
    let configuration = read("/etc/emqx/emqx.conf");

    host.run("rpm", &["-e", "emqx"]).expect(0);
    assert!(processes::runs(pid), "removing stops nothing");
    assert!(host.status().contains("not installed"), "{}", host.status());
    assert!(!host.path("/usr/lib/emqx").exists());
    assert!(!host.path("/etc/emqx/emqx.conf").exists());
    assert_eq!(read("/etc/emqx/emqx.conf.rpmsave"), configuration);
    assert!(
        !host.path("/etc/emqx/acl.conf").exists(),
        "what was not changed goes"
    );
    assert!(
        host.path("/var/lib/emqx/mnesia").exists(),
        "data that the package did not bring stays"
    );

    host.install(&packages, NEW);
    assert_eq!(host.status(), format!("installed {NEW}"));
    assert_ne!(
        read("/etc/emqx/emqx.conf"),
        configuration,
        "the package's own configuration"
    );
    Ok(())
}

/// What must be as it was: the configuration with owner and mode, and what the broker keeps.
fn kept(stage: &Stage) -> Vec<(Vec<u8>, u32, u32, String)> {
    let look = |host: &PackagedHost| {
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
        let differing = host.differing();
        // To rpm, what the package brings below the data directory is configuration, too.
        let configuration: &[&str] = match host.manager {
            Manager::Dpkg => &[" c /etc/emqx/"],
            Manager::Rpm => &[" c /etc/emqx/", " c /var/lib/emqx/"],
        };
        let is_configuration = |line: &str| configuration.iter().any(|place| line.contains(place));
        assert!(differing.lines().all(is_configuration), "{differing}");
        let left = fs::read_dir(host.path("/etc/emqx"))
            .expect("configuration")
            .flatten();
        let left: Vec<_> = left
            .filter(|entry| entry.file_name().to_string_lossy().contains(".rpm"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!host.path(PURGED).exists());
    }
}

fn rolls(manager: Manager) -> Outcome {
    let stage = stage(manager)?;
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
        "there is no rollback yet: {}",
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
    let clients = Clients::start(stage.balancer.port, "hello\n", 2, 4);
    let answered = || clients.so_far().answered > 20;
    assert!(processes::poll(Duration::from_secs(10), answered));
    let view = View::start(stage.balancer.socket());
    let running = stage.upshift.start(&upgrade);
    let ran = running.finish(Duration::from_secs(500)).expect(0);
    ran.keep("emqx-packages");
    let (seen, met) = (view.finish(), clients.finish());
    assert!(met.refused.is_empty(), "{:?}\n{}", met.refused, ran.text());
    assert_eq!(seen.given_while_out, 0, "{seen:?}");
    assert_eq!(seen.taken_out, ["n1", "n2"]);
    assert!(met.returned >= 2, "{met:?}");

    expect_installed(&stage, NEW);
    assert_eq!(kept(&stage), before);
    let owner = acl.metadata().expect("it is there");
    assert_eq!((owner.uid(), owner.gid()), (1234, 4321));

    stage.upshift.run(&["rollback", "--yes"]).expect(0);
    expect_installed(&stage, OLD);
    assert_eq!(kept(&stage), before);
    Ok(())
}
