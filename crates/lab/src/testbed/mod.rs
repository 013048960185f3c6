//! Several hosts on one machine: network namespaces joined by a bridge, with a real sshd in each.
//!
//! The hosts share the file system and the process table, so state directories must differ. Needs the superuser. Everything is
//! named after this process, so that two beds can stand at once, and is taken down when the bed is dropped.

mod network;
mod user;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cleanup::Cleanup;
use crate::cluster::Place;
use crate::fetch::{Cache, HostTool, Say, Unavailable, host_tool};
use crate::processes::{self, RunError};

use network::Network;
use user::User;

/// Hosts with sshd.
pub struct Testbed {
    directory: tempfile::TempDir,
    network: Network,
    hosts: Vec<TestHost>,
    sshd: PathBuf,
    user: Option<User>,
    mounts: Vec<PathBuf>,
    _cleanup: Cleanup,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestHost {
    /// Its name in the ssh configuration.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its network namespace.
    pub namespace: String,
    /// The bridge's end of its link.
    pub link: String,
}

/// Takes down what is named after `$WHAT`.
const TAKE_DOWN: &str = r#"
for namespace in $(ip netns list | cut -d' ' -f1 | grep "^$WHAT-"); do
  kill -9 $(ip netns pids "$namespace") 2>/dev/null
  ip netns del "$namespace"
done
ip -o link show | grep -o " $WHAT[a-z0-9]*[@:]" | tr -d ' @:' | while read -r link; do ip link del "$link"; done
rm -f "/etc/sudoers.d/${WHAT}u"
userdel --force "${WHAT}u"
true
"#;

const LIMIT: Duration = Duration::from_secs(30);

impl Testbed {
    /// Sets up so many hosts `h1`, `h2`, … and one called `jump`.
    ///
    /// # Errors
    /// Where this is not the superuser, a program is missing, or the kernel gives no network namespaces.
    pub fn new(cache: &Cache, count: u8, say: Say<'_>) -> Result<Self, Unavailable> {
        let failed = |reason: String| Unavailable::new("a bed of several hosts", reason);
        if !rustix::process::geteuid().is_root() {
            return Err(failed("network namespaces need the superuser".to_owned()));
        }
        for tool in [HostTool::Ip, HostTool::Sshd] {
            host_tool(cache, tool, say)?;
        }
        let sshd = host_tool(cache, HostTool::Sshd, say)?;
        let directory = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let names: Vec<String> = (1..=count)
            .map(|number| format!("h{number}"))
            .chain(["jump".to_owned()])
            .collect();
        let (network, hosts) = Network::new(&names).map_err(|error| failed(error.to_string()))?;
        let _cleanup =
            Cleanup::new(TAKE_DOWN, Path::new(&network.tag())).map_err(|error| failed(error.to_string()))?;
        let bed = Testbed {
            directory,
            network,
            hosts,
            sshd,
            user: None,
            mounts: Vec::new(),
            _cleanup,
        };
        bed.prepare().map_err(failed)?;
        Ok(bed)
    }

    fn prepare(&self) -> Result<(), String> {
        let home = self.directory.path();
        for key in ["id", "host"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(home.join(key)))?;
        }
        let io = |error: std::io::Error| error.to_string();
        fs::create_dir_all("/run/sshd").map_err(io)?;
        fs::write(home.join("rc"), "").map_err(io)?;
        fs::write(home.join("ssh_config"), self.ssh_text("root")).map_err(io)?;
        // The directory's owner alone may look into it otherwise, and a host's user must read the public key.
        run(Command::new("chmod").arg("755").arg(home))?;
        for host in &self.hosts {
            self.start_sshd(host)?;
        }
        Ok(())
    }

    fn start_sshd(&self, host: &TestHost) -> Result<(), String> {
        let home = self.directory.path();
        // A shell's start-up file that takes long would falsify timings; the mount is private to the namespace.
        let script =
            "if [ -e /root/.bashrc ]; then mount --bind \"$1\" /root/.bashrc; fi; shift; exec \"$@\"";
        let option = |text: String| ["-o".to_owned(), text];
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &host.namespace, "sh", "-c", script, "sh"])
            .arg(home.join("rc"))
            .arg(&self.sshd)
            .args(["-f", "/dev/null", "-E"])
            .arg(home.join(format!("{}.log", host.name)))
            .arg("-h")
            .arg(home.join("host"))
            .args(option(format!("ListenAddress={}", host.address)))
            .args(option(format!(
                "PidFile={}",
                home.join(format!("{}.pid", host.name)).display()
            )))
            .args(option(format!(
                "AuthorizedKeysFile={}",
                home.join("id.pub").display()
            )))
            .args(
                [
                    "StrictModes=no",
                    "UsePAM=no",
                    "MaxStartups=100",
                    "Subsystem=sftp internal-sftp",
                ]
                .map(|text| ["-o", text])
                .concat(),
            );
        run(&mut command)?;
        let address = format!("{}:22", host.address)
            .parse()
            .map_err(|_| "no address".to_owned())?;
        let up = processes::poll(Duration::from_secs(10), || {
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        });
        if up {
            Ok(())
        } else {
            Err(format!("sshd on {} does not listen", host.name))
        }
    }

    fn ssh_text(&self, user: &str) -> String {
        let home = self.directory.path().display();
        let mut text = String::new();
        for host in &self.hosts {
            text.push_str(&format!("Host {}\n  HostName {}\n", host.name, host.address));
            text.push_str(&format!(
                "Host via-{}\n  HostName {}\n  ProxyJump jump\n",
                host.name, host.address
            ));
        }
        text.push_str(&format!(
            "Host *\n  User {user}\n  IdentityFile {home}/id\n  IdentitiesOnly yes\n  BatchMode yes\n  \
             StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  ConnectTimeout 5\n  \
             ServerAliveInterval 2\n  ServerAliveCountMax 2\n"
        ));
        text
    }

    /// The hosts, without the jump host.
    pub fn hosts(&self) -> &[TestHost] {
        &self.hosts[..self.hosts.len() - 1]
    }

    /// The ssh configuration that knows every host, for the superuser; `via-h1` leads to `h1` through the jump host.
    pub fn ssh_config(&self) -> PathBuf {
        self.directory.path().join("ssh_config")
    }

    /// The private key that every host accepts.
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("id")
    }

    /// A directory that ends with the bed.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes an ordinary user who may become the superuser with `sudo`, and an ssh configuration that logs in as that user.
    ///
    /// # Errors
    /// Where there is no `sudo`, or the user cannot be made.
    pub fn ordinary_user(&mut self, cache: &Cache, say: Say<'_>) -> Result<PathBuf, Unavailable> {
        host_tool(cache, HostTool::Sudo, say)?;
        let config = self.directory.path().join("ssh_config_user");
        let make = || -> Result<User, String> {
            let user = User::new(&self.network.tag(), self.directory.path())?;
            fs::write(&config, self.ssh_text(user.name())).map_err(|error| error.to_string())?;
            Ok(user)
        };
        self.user = Some(make().map_err(|reason| Unavailable::new("an ordinary user", reason))?);
        Ok(config)
    }

    /// Where a cluster's members live: one on each host, reached over ssh with a configuration.
    pub fn places(&self, ssh_config: &Path, prefix: &str, sudo: bool) -> Vec<Place> {
        self.hosts()
            .iter()
            .map(|host| {
                let arguments = json!(["-F", ssh_config]);
                let mut fleet_entry: Map<String, Value> = Map::new();
                fleet_entry.insert("address".to_owned(), json!(format!("{prefix}{}", host.name)));
                fleet_entry.insert(
                    "transport".to_owned(),
                    json!({ "ssh": { "arguments": arguments } }),
                );
                if sudo {
                    fleet_entry.insert("sudo".to_owned(), json!(true));
                }
                Place {
                    name: host.name.clone(),
                    address: host.address.clone(),
                    enter: self.enter(host),
                    fleet_entry,
                }
            })
            .collect()
    }

    /// What a command is preceded by to run on a host.
    pub fn enter(&self, host: &TestHost) -> Vec<String> {
        ["ip", "netns", "exec", &host.namespace]
            .map(str::to_owned)
            .to_vec()
    }

    /// Cuts a host off from all others, or takes it back in.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn set_link(&self, host: &TestHost, up: bool) -> Result<(), RunError> {
        network::set_link(&host.link, up)
    }

    /// Mounts a small file system at a directory, made where it does not exist, and seen from every host.
    ///
    /// # Errors
    /// Where it cannot be mounted.
    pub fn small_disk(&mut self, directory: &Path, megabytes: u32) -> Result<(), String> {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let size = format!("size={megabytes}m,mode=755");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "upshift-test"])
            .arg(directory))?;
        self.mounts.push(directory.to_owned());
        // `ip netns exec` gives each sshd a table of mounts of its own, as of when it was started.
        self.hosts.iter().try_for_each(|host| self.restart_sshd(host))
    }

    fn restart_sshd(&self, host: &TestHost) -> Result<(), String> {
        let pid_file = self.directory.path().join(format!("{}.pid", host.name));
        let text = fs::read_to_string(&pid_file).map_err(|error| error.to_string())?;
        let pid = text
            .trim()
            .parse()
            .map_err(|_| format!("{} holds no number", pid_file.display()))?;
        processes::signal(pid, rustix::process::Signal::TERM);
        let gone = || !Path::new("/proc").join(text.trim()).exists();
        if !processes::poll(Duration::from_secs(10), gone) {
            return Err(format!("sshd on {} does not end", host.name));
        }
        self.start_sshd(host)
    }

    /// How many logins a host has let in so far.
    pub fn logins(&self, host: &TestHost) -> usize {
        let log = fs::read_to_string(self.directory.path().join(format!("{}.log", host.name)));
        log.unwrap_or_default().matches("Accepted publickey").count()
    }

    /// Processes that run on a host.
    pub fn processes(&self, host: &TestHost) -> Vec<u32> {
        network::processes(&host.namespace)
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.network.take_down(&self.hosts);
        for directory in &self.mounts {
            let _ = run(Command::new("umount").arg("-l").arg(directory));
        }
        // The user goes after its processes.
        self.user = None;
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = processes::run(command, LIMIT).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
