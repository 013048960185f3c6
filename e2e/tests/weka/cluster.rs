//! A WEKA cluster of the double, and an operator for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use upshift_e2e::program::{Ran, Upshift};

pub struct Weka {
    pub upshift: Upshift,
    pub state: PathBuf,
    // Last: a command of the double that never ends does so when its state is gone.
    _directory: tempfile::TempDir,
}

/// How a cluster differs from three backends of one version.
pub struct With {
    pub backends: usize,
    pub version: &'static str,
    /// What the product says of its own release, where that is more than the version.
    pub release: &'static str,
    /// Further keys of the double's state.
    pub change: Value,
    /// Variables of every server.
    pub variables: Vec<(&'static str, String)>,
    /// Names of clients that stand in the fleet.
    pub clients: &'static [&'static str],
}

impl Default for With {
    fn default() -> Self {
        With {
            backends: 3,
            version: "3.14.1.6926",
            release: "3.14.1.6926-0123456789abcdef0123456789abcdef",
            change: json!({}),
            variables: vec![
                ("weka_members", "host".to_owned()),
                ("stop_io_timeout", "91s".to_owned()),
            ],
            clients: &[],
        }
    }
}

/// A cluster in which something is wrong, by the double's word for it.
pub fn failing(how: &str) -> Weka {
    With {
        change: json!({"fail": how}),
        ..With::default()
    }
    .begin()
}

impl With {
    pub fn begin(self) -> Weka {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let names: Vec<String> = (1..=self.backends).map(|number| format!("w{number}")).collect();
        // 4.0 may run either way; here it is ready for 4.1.
        let by_container = ["4.0.5.", "4.1.", "4.2.", "4.3.", "4.4."]
            .iter()
            .any(|line| self.version.starts_with(line));
        let kinds: &[&str] = match by_container {
            true => &["drives0", "compute0", "frontend0"],
            false => &["default"],
        };
        let containers: Value = kinds
            .iter()
            .map(|kind| (kind.to_string(), json!(self.version)))
            .collect();
        let hosts: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "status": "UP", "containers": containers}))
            .collect();
        let mut cluster = json!({
            "hosts": hosts, "release": self.release, "io": "STARTED", "releases": [self.version], "prepared": [], "task_until": 0,
            "last_upgrade": -1, "log": [],
        });
        for (key, value) in self.change.as_object().expect("an object") {
            cluster[key] = value.clone();
        }
        let state = root.join("cluster.json");
        fs::write(&state, cluster.to_string()).expect("a state");
        for part in ["bin", "packages", "opt/data/default", "opt/logs"] {
            fs::create_dir_all(root.join(part)).expect("a directory");
        }
        let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/weka/weka.py");
        script(
            &root.join("bin/weka"),
            &format!("exec python3 {} {} \"$@\"", double.display(), state.display()),
        );
        let fleet = root.join("fleet.yaml");
        // The machine does not bear forty agents: of a large cluster three backends are in the fleet.
        let named = &names[..names.len().min(3)];
        fs::write(&fleet, self.fleet(root, named)).expect("a fleet");
        let path = std::env::var("PATH").unwrap_or_default();
        let upshift = Upshift {
            fleet,
            packages: root.join("packages"),
            state: root.join("operator"),
            environment: vec![
                ("NO_COLOR".to_owned(), "1".to_owned()),
                (
                    "PATH".to_owned(),
                    format!("{}:{path}", root.join("bin").display()),
                ),
            ],
        };
        Weka {
            upshift,
            state,
            _directory: directory,
        }
    }

    fn fleet(&self, root: &Path, names: &[String]) -> String {
        let mut text = format!(
            "name: weka\nproducts:\n  weka:\n    hosts: [{}]\nhosts:\n",
            [
                names,
                &self
                    .clients
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>()
            ]
            .concat()
            .join(", ")
        );
        let clients = self.clients.iter().map(|name| (*name).to_owned());
        for name in names.iter().cloned().chain(clients) {
            let agent = root.join(&name);
            let way = match self.clients.contains(&name.as_str()) {
                // Its commands are told on which client they are.
                true => {
                    format!("{{ command: [env, \"WEKA_DOUBLE_CLIENT={name}\", sh] }}\n    roles: [client]")
                }
                false => "local".to_owned(),
            };
            text.push_str(&format!(
                "  {name}:\n    transport: {way}\n    state_directory: {}\n    vars:\n      weka_directory: {}\n",
                agent.display(),
                root.join("opt").display()
            ));
            for (name, value) in &self.variables {
                text.push_str(&format!("      {name}: {value:?}\n"));
            }
        }
        text
    }
}

impl Weka {
    pub fn root(&self) -> &Path {
        self.state.parent().expect("a directory")
    }

    pub fn cluster(&self) -> Value {
        serde_json::from_slice(&fs::read(&self.state).expect("a state")).expect("JSON")
    }

    /// Changes the double's state, as something that happens outside of Upshift.
    pub fn change(&self, change: Value) {
        let mut cluster = self.cluster();
        for (key, value) in change.as_object().expect("an object") {
            cluster[key] = value.clone();
        }
        fs::write(&self.state, cluster.to_string()).expect("a state");
    }

    /// The version of every container.
    pub fn versions(&self) -> Vec<String> {
        let cluster = self.cluster();
        let hosts = cluster["hosts"].as_array().expect("hosts").clone();
        hosts
            .iter()
            .flat_map(|host| {
                host["containers"]
                    .as_object()
                    .expect("containers")
                    .values()
                    .cloned()
            })
            .map(|version| version.as_str().expect("a version").to_owned())
            .collect()
    }

    pub fn all_on(&self, version: &str) {
        let versions = self.versions();
        assert!(versions.iter().all(|found| found == version), "{versions:?}");
    }

    /// What was ordered of the double, one order a line.
    pub fn orders(&self) -> Vec<String> {
        serde_json::from_value(self.cluster()["log"].clone()).expect("a list of orders")
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.upshift.run(arguments)
    }

    pub fn upgrade(&self, to: &str, more: &[&str]) -> Ran {
        let all = [
            "upgrade",
            "--yes",
            "--accept-no-return",
            "--to",
            to,
            "--soak",
            "1s",
        ];
        self.run(&[&all[..], more].concat())
    }

    /// The same upgrade with less patience, for ends that never come.
    pub fn impatient(&self, to: &str, more: &[&str]) -> Ran {
        let profile = self.impatient_profile();
        self.upgrade(
            to,
            &[more, &["--profile", &profile, "--guard-lease", "20s"]].concat(),
        )
    }

    /// The shipped profile with less patience.
    pub fn impatient_profile(&self) -> String {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/weka.yaml");
        let text = fs::read_to_string(shipped).expect("a profile");
        let shorter = ["5m", "10m", "15m", "20m"]
            .iter()
            .fold(text.clone(), |text, time| {
                text.replace(&format!("within: {time}\n"), "within: 20s\n")
            });
        assert_ne!(text, shorter);
        let profile = self.root().join("weka.yaml");
        fs::write(&profile, shorter).expect("a profile");
        profile.display().to_string()
    }

    /// How often the vendor's command was started.
    pub fn upgrades(&self) -> usize {
        let orders = self.orders();
        orders.iter().filter(|order| order.starts_with("upgrade")).count()
    }

    /// A package of the vendor's kind, whose installer leaves a release on the host.
    pub fn package(&self, version: &str) {
        let unpacked = self.root().join(format!("weka-{version}"));
        fs::create_dir_all(&unpacked).expect("a directory");
        script(
            &unpacked.join("install.sh"),
            &format!("exec weka double installed tar {version}"),
        );
        let packed = Command::new("tar")
            .arg("-cf")
            .arg(self.upshift.packages.join(format!("weka-{version}.tar")))
            .arg("-C")
            .arg(self.root())
            .arg(format!("weka-{version}"))
            .status();
        assert!(packed.expect("tar").success());
    }
}

fn script(path: &Path, line: &str) {
    fs::write(path, format!("#!/bin/sh\n{line}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a script");
}
