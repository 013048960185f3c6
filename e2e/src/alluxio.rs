//! Clusters of real Alluxio on hosts in network namespaces, with doubles of its launch scripts; see `e2e/doubles/alluxio`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use upshift_lab::cluster::{Place, put_into_store};
use upshift_lab::fetch::{self, Cache, Unavailable};
use upshift_lab::http;
use upshift_lab::package::{Contents, Entry, Package, write_tar_gz};
use upshift_lab::processes;
use upshift_lab::testbed::Testbed;

use crate::harness::{NoVerdict, Skip};
use crate::program::Upshift;

/// A command of Alluxio starts a Java virtual machine, on a machine that may be busy.
const LIMIT: Duration = Duration::from_secs(120);

/// A client that starts before the worker does tries for two minutes with what it knew then; the next one finds the worker.
const CLIENT_LIMIT: Duration = Duration::from_secs(240);

/// What a release does that it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaves {
    /// Nothing.
    No,
    /// Masters restore all but the last entry of a backup.
    OneEntryShort,
    /// Masters are started without the backup, so that they begin with nothing.
    IgnoresBackup,
    /// The old version's backup never ends, as 2.9.3's was seen to do.
    BackupHangs,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Made {
    /// The version that runs.
    pub version: &'static str,
    /// `EMBEDDED` or `UFS`.
    pub journal: &'static str,
    /// What runs on each host, in the order in which it is started.
    pub hosts: Vec<Vec<&'static str>>,
    /// Risks that the fleet's operators take upon themselves.
    pub accept: &'static [&'static str],
    /// Further lines of the configuration.
    pub configuration: &'static str,
}

struct Host {
    place: Place,
    home: PathBuf,
    roles: Vec<&'static str>,
}

/// A running cluster with an operator. Everything ends when it is dropped.
pub struct Alluxio {
    hosts: Vec<Host>,
    /// The operator.
    pub upshift: Upshift,
    made: Made,
    // The hosts end before their files are removed.
    _bed: Testbed,
    directory: tempfile::TempDir,
}

fn say(text: &str) {
    println!("    {text}");
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/alluxio")
}

/// Packs a version: launch scripts that know where the classes are.
fn pack(
    cache: &Cache,
    version: &str,
    misbehaves: Misbehaves,
    directory: &Path,
) -> Result<Package, Unavailable> {
    let failed = |error: std::io::Error| Unavailable::new(format!("Alluxio {version}"), error);
    let patch = sources().join("src/CopycatPatch.java");
    let jars = fetch::alluxio(cache, version, &patch, &say)?.jars;
    let shorten = sources().join("src/Shorten.java");
    let code = match misbehaves {
        Misbehaves::No | Misbehaves::BackupHangs => String::new(),
        Misbehaves::OneEntryShort => format!(
            "[ -z \"$from_backup\" ] || {{ java {} \"$from_backup\" \"$from_backup.short\" && from_backup=$from_backup.short; }}",
            shorten.display()
        ),
        Misbehaves::IgnoresBackup => "from_backup=".to_owned(),
    };
    let backup = match misbehaves {
        Misbehaves::BackupHangs => "[ \"$1 $2\" != \"fsadmin backup\" ] || exec sleep 3600",
        _ => "",
    };
    let names = [
        ("bin/alluxio", 0o755),
        ("bin/alluxio-start.sh", 0o755),
        ("bin/alluxio-stop.sh", 0o755),
        ("libexec/alluxio-config.sh", 0o644),
        ("libexec/server.properties", 0o644),
        ("libexec/shell.properties", 0o644),
    ];
    let mut files = Vec::new();
    for (name, mode) in names {
        let text = fs::read_to_string(sources().join(name)).map_err(failed)?;
        let text = text
            .replace("@VERSION@", version)
            .replace("@JARS@", &jars.display().to_string())
            .replace("# @MISBEHAVE@", &code)
            .replace("# @BACKUP@", backup);
        files.push((format!("alluxio-{version}/{name}"), mode, text));
    }
    let entries: Vec<Entry<'_>> = files
        .iter()
        .map(|(name, mode, text)| Entry {
            name,
            mode: *mode,
            contents: Contents::Bytes(text.as_bytes()),
        })
        .collect();
    fs::create_dir_all(directory).map_err(failed)?;
    let target = directory.join(format!("alluxio-{version}-bin.tar.gz"));
    write_tar_gz(&target, &entries).map_err(failed)?;
    Package::of(version, target).map_err(failed)
}

impl Alluxio {
    /// Starts a cluster, with the package of another version at hand.
    pub fn start(made: Made, to: &str, misbehaves: Misbehaves) -> Result<Self, NoVerdict> {
        let cache = Cache::open().map_err(|error| Skip(error.to_string()))?;
        let count = u8::try_from(made.hosts.len()).expect("a few hosts");
        let bed = Testbed::new(&cache, count, &say)?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let of_the_old = match misbehaves {
            Misbehaves::BackupHangs => misbehaves,
            _ => Misbehaves::No,
        };
        let package = pack(&cache, made.version, of_the_old, &directory.path().join("old"))?;
        pack(&cache, to, misbehaves, &directory.path().join("packages"))?;
        let hosts: Vec<Host> = bed
            .places(&bed.ssh_config(), "", false)
            .into_iter()
            .zip(made.hosts.clone())
            .map(|(place, roles)| Host {
                home: directory.path().join(&place.name),
                place,
                roles,
            })
            .collect();
        let upshift = Upshift {
            fleet: directory.path().join("fleet.yaml"),
            packages: directory.path().join("packages"),
            state: directory.path().join("operator"),
            environment: vec![("NO_COLOR".to_owned(), "1".to_owned())],
        };
        let cluster = Alluxio {
            hosts,
            upshift,
            made,
            _bed: bed,
            directory,
        };
        cluster.lay_out(&package).expect("the cluster is laid out");
        cluster.start_all();
        Ok(cluster)
    }

    fn lay_out(&self, package: &Package) -> std::io::Result<()> {
        fs::create_dir_all(self.storage())?;
        fs::write(&self.upshift.fleet, self.fleet())?;
        for host in &self.hosts {
            fs::create_dir_all(host.home.join("conf"))?;
            fs::create_dir_all(host.home.join("ramdisk"))?;
            fs::write(host.properties(), self.configuration(host))?;
            put_into_store(&host.state(), package)?;
        }
        Ok(())
    }

    fn fleet(&self) -> String {
        let names: Vec<&str> = self.hosts.iter().map(|host| host.place.name.as_str()).collect();
        // The launch scripts of 2.9.3 take Java 8 or 11 alone, their doubles whatever there is; how full this machine's disk is does not
        // matter here; and the hosts share a file system, so that their directories differ.
        let accept: Vec<String> = ["java-8-or-11", "journal-space", "configuration-consistent"]
            .iter()
            .chain(self.made.accept)
            .map(|name| format!("  - {{ name: {name}, reason: \"a test\" }}\n"))
            .collect();
        let mut text = format!(
            "name: lab\naccept:\n{}products:\n  alluxio:\n    hosts: [{}]\nhosts:\n",
            accept.concat(),
            names.join(", ")
        );
        for host in &self.hosts {
            text.push_str(&format!("  {}:\n", host.place.name));
            for (key, value) in &host.place.fleet_entry {
                text.push_str(&format!("    {key}: {value}\n"));
            }
            let variables = json!({
                "alluxio_home": host.state().join("store/current"),
                "alluxio_conf_dir": host.home.join("conf"),
            });
            text.push_str(&format!(
                "    state_directory: {}\n    vars: {variables}\n",
                json!(host.state())
            ));
        }
        text
    }

    fn masters(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.roles.contains(&"master"))
    }

    fn configuration(&self, host: &Host) -> String {
        let journal = match self.made.journal {
            "EMBEDDED" => host.home.join("journal"),
            _ => self.directory.path().join("journal"),
        };
        let own = &host.place.address;
        let masters = |port: u16| {
            let all: Vec<String> = self
                .masters()
                .map(|host| format!("{}:{port}", host.place.address))
                .collect();
            all.join(",")
        };
        let master = match host.roles.contains(&"master") {
            true => own.clone(),
            false => self.masters().next().expect("a master").place.address.clone(),
        };
        let mut text = format!(
            "# Alluxio on {name}\nalluxio.master.hostname={master}\nalluxio.master.bind.host={own}\nalluxio.master.web.bind.host={own}\n\
             alluxio.master.journal.type={kind}\nalluxio.master.journal.folder={journal}\nalluxio.master.mount.table.root.ufs={storage}\n\
             alluxio.underfs.address={storage}\nalluxio.master.metastore=HEAP\nalluxio.master.metastore.dir={home}/metastore\n\
             alluxio.master.backup.directory={storage}/alluxio_backups\nalluxio.master.update.check.enabled=false\n\
             alluxio.worker.hostname={own}\nalluxio.worker.bind.host={own}\nalluxio.worker.web.bind.host={own}\n\
             alluxio.worker.ramdisk.size=64MB\nalluxio.worker.memory.size=64MB\nalluxio.worker.tieredstore.levels=1\n\
             alluxio.worker.tieredstore.level0.alias=MEM\nalluxio.worker.tieredstore.level0.dirs.path={home}/ramdisk\n\
             alluxio.worker.tieredstore.level0.dirs.quota=64MB\nalluxio.user.block.size.bytes.default=8M\n\
             alluxio.user.file.writetype.default=CACHE_THROUGH\nalluxio.user.metrics.collection.enabled=false\n{more}\n",
            name = host.place.name,
            kind = self.made.journal,
            journal = journal.display(),
            storage = self.storage().display(),
            home = host.home.display(),
            more = self.made.configuration,
        );
        match self.made.journal {
            "EMBEDDED" => text.push_str(&format!(
                "alluxio.master.embedded.journal.addresses={}\nalluxio.master.rpc.addresses={}\n\
                 alluxio.master.embedded.journal.election.timeout.min=3s\nalluxio.master.embedded.journal.election.timeout.max=6s\n",
                masters(19200),
                masters(19998)
            )),
            _ => text.push_str("alluxio.master.journal.tailer.shutdown.quiet.wait.time=200ms\n"),
        }
        text
    }

    /// Formats what is new, and starts what each host runs: the masters together, since one alone finds no majority.
    fn start_all(&self) {
        for host in self.masters() {
            host.run("alluxio", &["formatJournal"]);
            if self.made.journal == "UFS" {
                break;
            }
        }
        for role in ["master", "worker"] {
            for host in self.hosts.iter().filter(|host| host.roles.contains(&role)) {
                host.run("alluxio-start.sh", &[role]);
            }
            if role == "master" {
                self.wait_for_workers(0);
            }
        }
        self.wait_for_workers(self.workers());
    }

    fn workers(&self) -> usize {
        self.hosts
            .iter()
            .filter(|host| host.roles.contains(&"worker"))
            .count()
    }

    /// Waits until a master leads and so many workers are live; 1.8 does not tell how many.
    fn wait_for_workers(&self, count: usize) {
        let ready = || {
            let gauges = self.gauges();
            let live = ["Cluster.Workers", "master.Workers", "Master.Workers"]
                .into_iter()
                .find_map(|name| gauges[name]["value"].as_u64());
            !gauges.is_null() && live.is_none_or(|live| live >= count as u64)
        };
        assert!(
            processes::poll(LIMIT, ready),
            "no master leads {count} workers: {}",
            self.gauges()
        );
    }

    /// The gauges of the leading master.
    pub fn gauges(&self) -> Value {
        let ask = |host: &Host| {
            let address = format!("{}:19999", host.place.address);
            let answer = http::get(&address, "/metrics/json/", Duration::from_secs(3)).ok()?;
            let gauges = answer.json()["gauges"].clone();
            let leads = ["Master.TotalPaths", "Master.PathsTotal", "master.PathsTotal"]
                .iter()
                .any(|name| !gauges[*name].is_null());
            (answer.status == 200 && leads).then_some(gauges)
        };
        self.masters().find_map(ask).unwrap_or_default()
    }

    /// The storage below Alluxio.
    pub fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    /// Runs `bin/alluxio` on the first host.
    #[track_caller]
    pub fn alluxio(&self, arguments: &[&str]) -> String {
        self.hosts[0].run("alluxio", arguments)
    }

    /// Writes a file through Alluxio.
    #[track_caller]
    pub fn write(&self, path: &str, contents: &str) {
        let local = self.directory.path().join("written");
        fs::write(&local, contents).expect("a file");
        self.alluxio(&["fs", "copyFromLocal", &local.display().to_string(), path]);
    }

    /// Fails the test unless a file reads as this through Alluxio.
    #[track_caller]
    pub fn expect_content(&self, path: &str, contents: &str) {
        let read = || self.hosts[0].try_run("alluxio", &["fs", "cat", path]).ok();
        assert!(
            processes::poll(CLIENT_LIMIT, || read().as_deref() == Some(contents)),
            "{path}: {:?}",
            self.hosts[0].try_run("alluxio", &["fs", "cat", path])
        );
    }

    /// The releases that the processes of the cluster run, each once, and how many processes there are.
    pub fn running(&self) -> (Vec<String>, usize) {
        let mut releases = Vec::new();
        let mut count = 0;
        for pid in processes::under(self.directory.path()) {
            let line = crate::fixture::command_line(pid);
            let home = line
                .split(' ')
                .find_map(|word| word.strip_prefix("-Dalluxio.home="));
            if let (Some(home), true) = (
                home,
                line.contains("alluxio.master.AlluxioMaster")
                    || line.contains("alluxio.worker.AlluxioWorker"),
            ) {
                count += 1;
                releases.extend(
                    Path::new(home)
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned()),
                );
            }
        }
        releases.sort();
        releases.dedup();
        (releases, count)
    }

    /// Fails the test unless all that was started runs this version.
    #[track_caller]
    pub fn expect_all(&self, version: &str) {
        let count = self.made.hosts.iter().map(Vec::len).sum();
        let expected = (vec![version.to_owned()], count);
        assert!(
            processes::poll(Duration::from_secs(30), || self.running() == expected),
            "{:?}",
            self.running()
        );
    }

    /// The numbers of the processes of the cluster.
    pub fn pids(&self) -> Vec<u32> {
        let serves = |pid: &u32| {
            let line = crate::fixture::command_line(*pid);
            line.contains("alluxio.master.AlluxioMaster") || line.contains("alluxio.worker.AlluxioWorker")
        };
        let mut pids = processes::under(self.directory.path());
        pids.retain(serves);
        pids.sort_unstable();
        pids
    }

    /// The shipped profile with another text in it, as a file of its own.
    pub fn profile(&self, old: &str, new: &str) -> String {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/alluxio.yaml");
        let text = fs::read_to_string(shipped).expect("the profile");
        assert_eq!(text.matches(old).count(), 1, "`{old}` in the profile");
        let file = self.directory.path().join("alluxio.yaml");
        fs::write(&file, text.replace(old, new)).expect("a profile");
        file.display().to_string()
    }

    /// The configuration files, byte for byte.
    pub fn configurations(&self) -> Vec<Vec<u8>> {
        let read = |host: &Host| fs::read(host.properties()).expect("a configuration");
        self.hosts.iter().map(read).collect()
    }

    /// A text without what differs from run to run: directories and the run's name.
    pub fn replace(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "[DIR]")
    }

    /// The ends of the logs, for a test that fails.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            let pattern = host.state().join("store/releases");
            for release in fs::read_dir(pattern).into_iter().flatten().flatten() {
                for role in &host.roles {
                    let log = release.path().join(format!("logs/{role}.out"));
                    let lines = fs::read_to_string(&log).unwrap_or_default();
                    let lines: Vec<&str> = lines.lines().collect();
                    text.push_str(&format!(
                        "== {}\n{}\n",
                        log.display(),
                        lines[lines.len().saturating_sub(25)..].join("\n")
                    ));
                }
            }
        }
        text
    }
}

impl Host {
    fn state(&self) -> PathBuf {
        self.home.join("upshift")
    }

    fn properties(&self) -> PathBuf {
        self.home.join("conf/alluxio-site.properties")
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.try_run(program, arguments)
            .unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"))
    }

    fn try_run(&self, program: &str, arguments: &[&str]) -> Result<String, processes::RunError> {
        let mut words = self.place.enter.iter();
        let mut command = Command::new(words.next().expect("a way to the host"));
        command
            .args(words)
            .arg(self.state().join("store/current/bin").join(program))
            .args(arguments)
            .env("ALLUXIO_CONF_DIR", self.home.join("conf"));
        let output = processes::run(&mut command, LIMIT)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
