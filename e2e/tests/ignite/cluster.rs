//! Three nodes of real Ignite with persistence, an operator for them, and clients that write by REST.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use upshift_e2e::harness::{NoVerdict, Skip};
use upshift_e2e::program::{Ran, Upshift};
use upshift_lab::cleanup::Cleanup;
use upshift_lab::cluster::put_into_store;
use upshift_lab::fetch::{self, Cache};
use upshift_lab::package::{Contents, Entry, Package, write_tar_gz};
use upshift_lab::{http, ports, processes};

pub const OLD: &str = "2.14.0";
pub const NEW: &str = "2.16.0";
const CACHE: &str = "entries";
/// A node starts in 15 s on an idle machine.
const LIMIT: Duration = Duration::from_secs(150);

/// Lines for the launch script of a release that changes the operator's configuration, so that it starts and never serves.
pub const STAYS_INACTIVE: &str = r#"grep -q clusterStateOnStart "$1" ||
  sed -i 's|<property name="localHost"|<property name="clusterStateOnStart" value="INACTIVE"/> &|' "$1""#;

pub struct Ignite {
    pub upshift: Upshift,
    root: PathBuf,
    /// Where each node answers by REST.
    pub rest: Vec<String>,
    // The nodes end before their files are removed.
    _cleanup: Cleanup,
    _directory: tempfile::TempDir,
}

impl Drop for Ignite {
    fn drop(&mut self) {
        upshift_lab::processes::end_under(&self.root, std::time::Duration::from_secs(10));
    }
}

fn say(text: &str) {
    println!("    {text}");
}

fn package(jars: &Path, version: &str, misbehaves: &str, directory: &Path) -> Package {
    let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/ignite/ignite.sh");
    let script = fs::read_to_string(double)
        .expect("a script")
        .replace("@JARS@", &jars.display().to_string())
        .replace("# @MISBEHAVE@", misbehaves);
    let name = format!("apache-ignite-{version}-bin/bin/ignite.sh");
    let entry = Entry {
        name: &name,
        mode: 0o755,
        contents: Contents::Bytes(script.as_bytes()),
    };
    fs::create_dir_all(directory).expect("a directory");
    let path = directory.join(format!("apache-ignite-{version}-bin.tar.gz"));
    write_tar_gz(&path, &[entry]).expect("a package");
    Package::of(version, path).expect("a package")
}

/// The node's Spring configuration.
fn configuration(root: &Path, name: &str, own: &[u16], discovery: &[u16]) -> String {
    let home = root.join(name);
    let addresses: Vec<String> = discovery
        .iter()
        .map(|port| format!("<value>127.0.0.1:{port}</value>"))
        .collect();
    let bean =
        |class: &str, inside: &str| format!("<bean class=\"org.apache.ignite.{class}\">{inside}</bean>");
    let value = |name: &str, value: &str| format!("<property name=\"{name}\" value=\"{value}\"/>");
    let property = |name: &str, inside: &str| format!("<property name=\"{name}\">{inside}</property>");
    let range = value("localPortRange", "0");
    let region = bean(
        "configuration.DataRegionConfiguration",
        &[
            value("persistenceEnabled", "true"),
            value("initialSize", "16777216"),
            value("maxSize", "67108864"),
        ]
        .concat(),
    );
    let storage = bean(
        "configuration.DataStorageConfiguration",
        &[
            value("walSegmentSize", "4194304"),
            value("maxWalArchiveSize", "16777216"),
            property("defaultDataRegionConfiguration", &region),
        ]
        .concat(),
    );
    let cache = bean(
        "configuration.CacheConfiguration",
        &[value("name", CACHE), value("backups", "1")].concat(),
    );
    let connector = bean(
        "configuration.ConnectorConfiguration",
        &[
            value("jettyPath", &home.join("jetty.xml").display().to_string()),
            value("port", &own[2].to_string()),
            value("portRange", "0"),
        ]
        .concat(),
    );
    let communication = bean(
        "spi.communication.tcp.TcpCommunicationSpi",
        &[value("localPort", &own[1].to_string()), range.clone()].concat(),
    );
    let finder = bean(
        "spi.discovery.tcp.ipfinder.vm.TcpDiscoveryVmIpFinder",
        &property("addresses", &format!("<list>{}</list>", addresses.concat())),
    );
    let finding = bean(
        "spi.discovery.tcp.TcpDiscoverySpi",
        &[
            value("localPort", &own[0].to_string()),
            range,
            property("ipFinder", &finder),
        ]
        .concat(),
    );
    let node = bean(
        "configuration.IgniteConfiguration",
        &[
            value("consistentId", name),
            value("workDirectory", &home.join("work").display().to_string()),
            value("localHost", "127.0.0.1"),
            value("metricsLogFrequency", "0"),
            property("clientConnectorConfiguration", "<null/>"),
            property("dataStorageConfiguration", &storage),
            property("cacheConfiguration", &cache),
            property("connectorConfiguration", &connector),
            property("communicationSpi", &communication),
            property("discoverySpi", &finding),
        ]
        .join("\n  "),
    );
    format!(
        "<beans xmlns=\"http://www.springframework.org/schema/beans\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"\n \
         xsi:schemaLocation=\"http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd\">\n  {node}\n</beans>\n"
    )
}

/// Jetty's configuration: REST on one port of the loopback address.
fn jetty(port: u16) -> String {
    let class = |name: &str| format!("org.eclipse.jetty.server.{name}");
    format!(
        "<!DOCTYPE Configure PUBLIC \"-//Jetty//Configure//EN\" \"http://www.eclipse.org/jetty/configure.dtd\">\n\
         <Configure id=\"Server\" class=\"{}\">\n<New id=\"http\" class=\"{}\"/>\n<Call name=\"addConnector\"><Arg><New class=\"{}\">\n\
         <Arg name=\"server\"><Ref refid=\"Server\"/></Arg>\n<Arg name=\"factories\"><Array type=\"{}\"><Item><New class=\"{}\">\
         <Arg name=\"config\"><Ref refid=\"http\"/></Arg></New></Item></Array></Arg>\n<Set name=\"host\">127.0.0.1</Set><Set name=\"port\">{port}</Set>\n\
         </New></Arg></Call>\n</Configure>\n",
        class("Server"),
        class("HttpConfiguration"),
        class("ServerConnector"),
        class("ConnectionFactory"),
        class("HttpConnectionFactory"),
    )
}

impl Ignite {
    /// Three nodes of the old version, active, with the package of a new one at hand whose launch script has these lines, too.
    pub fn start(misbehaves: &str) -> Result<Self, NoVerdict> {
        let store = Cache::open().map_err(|error| Skip(error.to_string()))?;
        // The profile counts entries with it.
        if let Err(error) = Command::new("curl")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
        {
            return Err(Skip(format!("curl cannot be run: {error}")));
        }
        let (old, new) = (
            fetch::ignite(&store, OLD, &say)?,
            fetch::ignite(&store, NEW, &say)?,
        );
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().canonicalize().expect("a directory");
        let cleanup = Cleanup::of_directory(&root).expect("a shell");
        let packages = root.join("packages");
        let running = package(&old, OLD, "", &packages);
        package(&new, NEW, misbehaves, &packages);
        let names = ["n1", "n2", "n3"];
        let free = ports::free(names.len() * 4).expect("ports");
        let own: Vec<&[u16]> = free.chunks(4).collect();
        let discovery: Vec<u16> = own.iter().map(|ports| ports[0]).collect();
        let mut hosts = String::new();
        for (name, own) in names.iter().zip(&own) {
            let home = root.join(name);
            fs::create_dir_all(home.join("work")).expect("a directory");
            let config = home.join("node.xml");
            fs::write(&config, configuration(&root, name, own, &discovery)).expect("a configuration");
            fs::write(home.join("jetty.xml"), jetty(own[3])).expect("a configuration");
            let state = home.join("upshift");
            put_into_store(&state, &running).expect("a store");
            let variables = json!({
                "ignite_config": config, "ignite_work": home.join("work"), "ignite_rest": format!("http://127.0.0.1:{}/ignite", own[3]),
            });
            hosts.push_str(&format!(
                "  {name}:\n    transport: local\n    state_directory: {}\n    vars: {variables}\n",
                state.display()
            ));
            let log = fs::File::create(home.join("node.log")).expect("a log");
            // As a service would: not below this process.
            let started = Command::new("setsid")
                .arg("--fork")
                .arg(state.join("store/current/bin/ignite.sh"))
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a log"))
                .stderr(log)
                .status();
            assert!(started.expect("a node").success());
        }
        let fleet = root.join("fleet.yaml");
        let text = format!(
            "name: ignite\nproducts:\n  ignite: {{ hosts: [{}] }}\nhosts:\n{hosts}",
            names.join(", ")
        );
        fs::write(&fleet, text).expect("a fleet");
        let cluster = Ignite {
            upshift: Upshift {
                fleet,
                packages,
                state: root.join("operator"),
                environment: vec![("NO_COLOR".to_owned(), "1".to_owned())],
            },
            rest: own
                .iter()
                .map(|ports| format!("127.0.0.1:{}", ports[3]))
                .collect(),
            root,
            _cleanup: cleanup,
            _directory: directory,
        };
        cluster.wait("three nodes", |cluster| {
            cluster.ask(0, "cmd=baseline").is_some_and(|answer| {
                answer["servers"]
                    .as_array()
                    .is_some_and(|servers| servers.len() == 3)
            })
        });
        cluster.ask(0, "cmd=setstate&state=ACTIVE");
        cluster.all_serve(OLD);
        Ok(cluster)
    }

    fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let log = || fs::read_to_string(self.root.join("n1/node.log")).unwrap_or_default();
        assert!(processes::poll(LIMIT, || holds(self)), "no {what}\n{}", log());
    }

    /// What one node answers by REST; nothing where it does not, or fails.
    pub fn ask(&self, node: usize, query: &str) -> Option<Value> {
        ask(&self.rest[node], query)
    }

    /// Every node answers as this version, and the cluster takes writes.
    pub fn all_serve(&self, version: &str) {
        self.wait(&format!("cluster of {version}"), |cluster| {
            (0..3).all(|node| {
                cluster.ask(node, "cmd=version") == Some(json!(version))
                    && cluster.ask(node, "cmd=state") == Some(json!("ACTIVE"))
            })
        });
    }

    /// Writes so many entries, and yields them.
    pub fn seed(&self, count: usize) -> BTreeMap<String, String> {
        let entries = (0..count).map(|number| (format!("seed{number}"), format!("seed-value-{number}")));
        let entries: BTreeMap<String, String> = entries.collect();
        for (position, (key, value)) in entries.iter().enumerate() {
            let query = format!("cmd=put&cacheName={CACHE}&key={key}&val={value}");
            assert_eq!(self.ask(position % 3, &query), Some(json!(true)), "{key}");
        }
        entries
    }

    /// How many entries there are.
    pub fn count(&self) -> Option<u64> {
        self.ask(0, &format!("cmd=size&cacheName={CACHE}"))?.as_u64()
    }

    /// Fails the test unless every entry reads as it was acknowledged.
    #[track_caller]
    pub fn expect_all(&self, entries: &BTreeMap<String, String>) {
        assert!(!entries.is_empty());
        let all: Vec<(&String, &String)> = entries.iter().collect();
        let mut missing: Vec<&(&String, &String)> = Vec::new();
        for part in all.chunks(50) {
            let keys: Vec<String> = (1..)
                .zip(part)
                .map(|(number, (key, _))| format!("&k{number}={key}"))
                .collect();
            let query = format!("cmd=getall&cacheName={CACHE}{}", keys.concat());
            let found = self.ask(1, &query).unwrap_or_default();
            missing.extend(part.iter().filter(|(key, value)| found[key.as_str()] != ***value));
        }
        assert!(
            missing.is_empty(),
            "{} of {}: {missing:?}",
            missing.len(),
            all.len()
        );
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.upshift.run(arguments)
    }

    /// An upgrade to the new version.
    pub fn upgrade(&self, more: &[&str]) -> Ran {
        self.run(&[&["upgrade", "--yes", "--to", NEW, "--soak", "2s"], more].concat())
    }

    /// Copies of work directories that lie about.
    pub fn copies(&self) -> usize {
        let inside = |name: &str| fs::read_dir(self.root.join(name)).expect("a directory").flatten();
        ["n1", "n2", "n3"]
            .iter()
            .flat_map(|name| inside(name))
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("work.before-"))
            .count()
    }

    /// How many nodes run, upgraded or not.
    pub fn nodes(&self) -> usize {
        let is_node = |pid: &u32| upshift_e2e::fixture::command_line(*pid).contains("CommandLineStartup");
        processes::under(&self.root)
            .iter()
            .filter(|pid| is_node(pid))
            .count()
    }

    /// The node's own configuration files.
    pub fn configurations(&self) -> Vec<Vec<u8>> {
        let file = |name: &str| fs::read(self.root.join(name).join("node.xml")).expect("a configuration");
        ["n1", "n2", "n3"].map(file).to_vec()
    }
}

fn ask(address: &str, query: &str) -> Option<Value> {
    let answer = http::get(address, &format!("/ignite?{query}"), Duration::from_secs(20)).ok()?;
    let answer = answer.json();
    (answer["successStatus"] == 0).then(|| answer["response"].clone())
}

/// A client that writes one entry after the other, to one node after the other, until it is told to end.
pub struct Writer {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

/// What a writer saw.
#[derive(Debug, Default)]
pub struct Written {
    /// The entries that were acknowledged.
    pub entries: BTreeMap<String, String>,
    /// The longest time without an acknowledged write.
    pub gap: Duration,
}

impl Writer {
    pub fn start(cluster: &Ignite, prefix: &'static str) -> Self {
        let (rest, ends) = (cluster.rest.clone(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || write(&rest, prefix, &told));
        Writer { ends, thread }
    }

    pub fn finish(self) -> Written {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("a writer")
    }
}

fn write(rest: &[String], prefix: &str, told: &AtomicBool) -> Written {
    let mut written = Written::default();
    let mut last = Instant::now();
    for number in 0.. {
        if told.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("{prefix}{number}"), format!("value-{number}"));
        let node = &rest[number % rest.len()];
        if ask(node, &format!("cmd=put&cacheName={CACHE}&key={key}&val={value}")) == Some(json!(true)) {
            written.entries.insert(key, value);
            written.gap = written.gap.max(last.elapsed());
            last = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    written
}
