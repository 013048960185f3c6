//! Kylin: three instances that share one metastore, switched together and rolled back. The server is a double; the tool that backs the
//! metadata up is one, too, and the real one of Kylin 2.6.6 in a trial of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::json;
use upshift_e2e::harness::{self, Case, NoVerdict, Outcome, Skip, only_when_exhaustive};
use upshift_e2e::program::{Ran, Upshift};
use upshift_lab::cleanup::Cleanup;
use upshift_lab::fetch::Cache;
use upshift_lab::http;
use upshift_lab::package::{Contents, Entry, write_tar_gz};
use upshift_lab::{ports, processes};

const TRIALS: &[Case] = &[
    ("three_instances_are_switched_and_rolled_back", switched),
    (
        "an_instance_that_does_not_serve_rolls_all_back_with_the_metadata",
        fails_on_one,
    ),
    (
        "a_backup_that_lies_stops_the_upgrade_and_loses_nothing",
        lying_backup,
    ),
    (
        "a_default_that_cannot_be_merged_stops_before_anything_changes",
        conflict,
    ),
    (
        "a_controller_that_never_returns_leaves_old_servers_and_resume_brings_the_metadata_back",
        never_returns,
    ),
    ("the_real_metadata_tool_backs_up_and_restores", real_tool),
    (
        "an_instance_without_its_pid_file_is_found_and_stopped",
        no_pid_file,
    ),
];

const OLD: &str = "3.4.5";
const NEW: &str = "3.4.6";
const DEFAULT: &str =
    "# Kylin's defaults\nkylin.env=DEV\n\n# queries\nkylin.query.timeout=300\n\n# jobs\nkylin.job.retry=0\n";
const NEW_DEFAULT: &str =
    "# Kylin's defaults\nkylin.env=DEV\n\n# queries\nkylin.query.timeout=600\n\n# jobs\nkylin.job.retry=0\n";

fn main() -> ExitCode {
    let trials = harness::trials(&[TRIALS]);
    harness::main(&trials)
}

struct Kylin {
    upshift: Upshift,
    root: PathBuf,
    ports: Vec<u16>,
    _directory: tempfile::TempDir,
    _cleanup: Cleanup,
}

impl Drop for Kylin {
    fn drop(&mut self) {
        processes::end_under(&self.root, Duration::from_secs(10));
    }
}

fn doubles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/kyligence")
}

/// A package of a release: its scripts, its default configuration, and what `release.json` says of it.
fn package(packages: &Path, version: &str, default: &str, release: &serde_json::Value, jars: Option<&Path>) {
    let name = |file: &str| format!("Kyligence-Enterprise-{version}/{file}");
    let release = release.to_string().into_bytes();
    let (version_text, properties) = (format!("Kyligence Enterprise {version}\n"), default.as_bytes());
    let scripts = ["kylin.sh", "metastore.sh", "resourcetool.py", "server.py"];
    let scripts: Vec<(String, PathBuf)> = scripts
        .iter()
        .map(|script| (name(&format!("bin/{script}")), doubles().join(script)))
        .collect();
    let jars = jars.map(|jars| fs::read_dir(jars).expect("jars"));
    let jars: Vec<(String, PathBuf)> = jars
        .into_iter()
        .flatten()
        .map(|jar| jar.expect("a jar").path())
        .map(|jar| {
            (
                name(&format!(
                    "lib/{}",
                    jar.file_name().unwrap_or_default().to_string_lossy()
                )),
                jar,
            )
        })
        .collect();
    let texts = [
        (name("VERSION"), version_text.as_bytes()),
        (name("conf/kylin.properties"), properties),
        (name("release.json"), release.as_slice()),
        (name("tomcat/conf/context.xml"), b"<Context/>\n".as_slice()),
        (name("tomcat/lib/catalina.jar"), version.as_bytes()),
    ];
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (name, path) in scripts.iter().chain(&jars) {
        entries.push(Entry {
            name,
            mode: 0o755,
            contents: Contents::File(path),
        });
    }
    for (name, bytes) in &texts {
        entries.push(Entry {
            name,
            mode: 0o644,
            contents: Contents::Bytes(bytes),
        });
    }
    fs::create_dir_all(packages).expect("a directory");
    let path = packages.join(format!("Kyligence-Enterprise-{version}.tar.gz"));
    write_tar_gz(&path, &entries).expect("a package");
}

/// Three instances of the old release, which serve, with the old package in their stores.
fn kylin(new_default: &str, release: &serde_json::Value, jars: Option<&Path>) -> Kylin {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().canonicalize().expect("a directory");
    let cleanup = Cleanup::of_directory(&root).expect("a shell");
    let packages = root.join("packages");
    package(&packages, OLD, DEFAULT, &json!({}), jars);
    package(&packages, NEW, new_default, release, jars);
    let store = root.join("metastore/store");
    fs::create_dir_all(store.join("cube")).expect("a metastore");
    fs::create_dir_all(store.join("project")).expect("a metastore");
    fs::write(store.join("UUID"), "1234").expect("a metastore");
    fs::write(store.join("cube/c1.json"), "{\"name\":\"c1\"}").expect("a metastore");
    fs::write(store.join("project/p1.json"), "{\"name\":\"p1\"}").expect("a metastore");
    let ports = ports::free(3).expect("ports");
    let mut hosts = String::new();
    for (name, port) in ["k1", "k2", "k3"].iter().zip(&ports) {
        let home = root.join(name).join("kylin");
        fs::create_dir_all(root.join(name)).expect("a directory");
        let archive = packages.join(format!("Kyligence-Enterprise-{OLD}.tar.gz"));
        let unpacked = Command::new("tar")
            .args(["-xzf", &archive.display().to_string(), "-C"])
            .arg(root.join(name))
            .status();
        assert!(unpacked.expect("tar").success());
        fs::rename(root.join(name).join(format!("Kyligence-Enterprise-{OLD}")), &home).expect("a home");
        let own = format!(
            "{DEFAULT}\n# ours\nkylin.metadata.url={}\nkylin.lab.name={name}\nkylin.lab.port={port}\nkylin.server.mode={}\nkylin.init.tasks=org.example.Old\n",
            store.display(),
            if *name == "k1" { "all" } else { "query" },
        );
        fs::write(home.join("conf/kylin.properties"), own).expect("a configuration");
        fs::write(
            home.join("tomcat/conf/context.xml"),
            "<Context><Manager className=\"RedisSessionManager\"/></Context>\n",
        )
        .expect("a file");
        fs::write(
            home.join("tomcat/lib/tomcat-redis-session-manager.jar"),
            "session",
        )
        .expect("a file");
        let started = Command::new(home.join("bin/kylin.sh"))
            .arg("start")
            .output()
            .expect("kylin.sh");
        assert!(started.status.success(), "{started:?}");
        let variables =
            json!({ "kylin_home": home, "kylin_port": port.to_string(), "kylin_space": 1_000_000 });
        hosts.push_str(&format!(
            "  {name}:\n    transport: local\n    state_directory: {}\n    vars: {variables}\n",
            root.join(name).join("upshift").display()
        ));
    }
    let fleet = root.join("fleet.yaml");
    let text = format!("name: kylin\nproducts:\n  kyligence:\n    hosts: [k1, k2, k3]\nhosts:\n{hosts}");
    fs::write(&fleet, text).expect("a fleet");
    let upshift = Upshift {
        fleet,
        packages,
        state: root.join("operator"),
        environment: vec![("NO_COLOR".to_owned(), "1".to_owned())],
    };
    let kylin = Kylin {
        upshift,
        root,
        ports,
        _directory: directory,
        _cleanup: cleanup,
    };
    kylin.serve();
    kylin.upshift.run(&["adopt"]).expect(0);
    kylin
}

impl Kylin {
    fn home(&self, name: &str) -> PathBuf {
        self.root.join(name).join("kylin")
    }

    #[track_caller]
    fn serve(&self) {
        let serves = |port: &u16| {
            http::get(&format!("127.0.0.1:{port}"), "/kylin/", Duration::from_secs(2))
                .is_ok_and(|answer| answer.status == 302)
        };
        assert!(processes::poll(Duration::from_secs(30), || self
            .ports
            .iter()
            .all(serves)));
    }

    /// Every file of the installations, and of the metastore, but what a running server writes.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![
            self.home("k1"),
            self.home("k2"),
            self.home("k3"),
            self.root.join("metastore"),
        ];
        while let Some(path) = open.pop() {
            for entry in fs::read_dir(path).expect("a directory").flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir() && name != "logs" && name != "meta_backups" {
                    open.push(entry.path());
                } else if entry.path().is_file() && name != "pid" {
                    found.insert(
                        entry.path().display().to_string(),
                        fs::read(entry.path()).expect("a file"),
                    );
                }
            }
        }
        found
    }

    /// What happened until now: `backup`, and the name of each instance that started.
    fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root.join("events")).expect("a file");
        text.lines().map(str::to_owned).collect()
    }

    /// What a hop to the new version keeps of the old one: installations and metadata.
    fn kept(&self) -> Vec<PathBuf> {
        let names = ["k1", "k2", "k3"];
        let aside = names.map(|name| self.root.join(format!("{name}/kylin.before-{NEW}")));
        let metadata = names.map(|name| self.root.join(format!("{name}/upshift/kylin/before-{NEW}")));
        aside
            .into_iter()
            .chain(metadata)
            .filter(|path| path.exists())
            .collect()
    }

    /// The shipped profile with something shorter in it.
    fn profile(&self, change: impl FnOnce(String) -> String) -> String {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/kyligence.yaml");
        let path = self.root.join("kyligence.yaml");
        let shipped = fs::read_to_string(shipped).expect("a profile");
        let changed = change(shipped.clone());
        assert_ne!(shipped, changed);
        fs::write(&path, changed).expect("a profile");
        path.display().to_string()
    }

    fn versions(&self) -> Vec<String> {
        ["k1", "k2", "k3"]
            // None where a directory is just being replaced.
            .map(|name| fs::read_to_string(self.home(name).join("VERSION")).unwrap_or_default())
            .map(|text| text.trim().rsplit(' ').next().unwrap_or_default().to_owned())
            .to_vec()
    }

    fn upgrade(&self) -> Ran {
        self.upshift
            .run(&["upgrade", "--yes", "--to", NEW, "--soak", "1s"])
    }

    fn upgrade_again(&self) -> Ran {
        self.upshift
            .run(&["upgrade", "--yes", "--to", NEW, "--soak", "1s", "--again"])
    }

    #[track_caller]
    fn as_before(&self, before: &BTreeMap<String, Vec<u8>>) {
        self.serve();
        assert_eq!(self.versions(), [OLD; 3]);
        let after = self.contents();
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>()
        );
        for (path, bytes) in before {
            assert!(after[path] == *bytes, "{path} is not what it was");
        }
    }
}

fn switched() -> Outcome {
    let kylin = kylin(
        NEW_DEFAULT,
        &json!({"refuses_init_tasks": true, "writes": "{\"name\":\"c1\",\"v\":2}"}),
        None,
    );
    let before = kylin.contents();
    let earlier = kylin.events().len();
    let ran = kylin.upgrade().expect(0);
    ran.keep("kyligence-upgrade");
    kylin.serve();
    assert_eq!(kylin.versions(), [NEW; 3]);
    let events = kylin.events().split_off(earlier);
    let started = events.iter().filter(|event| *event != "backup").count();
    let (backups, starts) = events.split_at(events.len() - started);
    assert!(
        started == 3 && !backups.is_empty() && backups.iter().all(|event| event == "backup"),
        "backed up while nothing ran: {events:?}"
    );
    assert_eq!(starts[2], "k1", "the instance that runs jobs is last");
    assert_eq!(kylin.kept().len(), 4, "{:?}", kylin.kept());
    let properties =
        fs::read_to_string(kylin.home("k2").join("conf/kylin.properties")).expect("a configuration");
    for line in [
        "kylin.query.timeout=600",
        "kylin.lab.name=k2",
        "# kylin.init.tasks=org.example.Old",
        "# the classes that ran at the start",
    ] {
        assert!(properties.contains(line), "{line}\n{properties}");
    }
    let carried = kylin.home("k3").join("tomcat");
    assert!(carried.join("lib/tomcat-redis-session-manager.jar").exists());
    assert!(
        fs::read_to_string(carried.join("conf/context.xml"))
            .expect("a file")
            .contains("Redis")
    );
    assert_eq!(
        fs::read_to_string(carried.join("lib/catalina.jar")).expect("a file"),
        NEW
    );
    // What the new version wrote into the metastore goes, too.
    assert!(kylin.root.join("metastore/store/cube/new.json").exists());
    let ran = kylin.upshift.run(&["rollback", "--yes"]).expect(0);
    ran.keep("kyligence-rollback");
    kylin.as_before(&before);
    // Once more, for good: what was kept goes when it is asked for, and not before.
    kylin.upgrade_again().expect(0);
    assert_eq!(kylin.kept().len(), 4, "{:?}", kylin.kept());
    kylin.upshift.run(&["finalize", "--yes"]).expect(0);
    assert_eq!(kylin.kept(), Vec::<PathBuf>::new());
    kylin.serve();
    assert_eq!(kylin.versions(), [NEW; 3]);
    Ok(())
}

fn fails_on_one() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let kylin = kylin(NEW_DEFAULT, &json!({"fails_on": ["k2"], "writes": "new"}), None);
    // A start that never serves is waited for as long as the profile says; here, shorter.
    let profile = kylin.profile(|shipped| {
        let serves = "      proof: *serves\n      within: 5m";
        assert!(shipped.contains(serves));
        shipped
            .replace("every: 1s }\n      within: 5m", "every: 1s }\n      within: 12s")
            .replace(serves, "      proof: *serves\n      within: 12s")
    });
    let before = kylin.contents();
    let arguments = [
        "upgrade",
        "--yes",
        "--to",
        NEW,
        "--soak",
        "1s",
        "--profile",
        &profile,
    ];
    let ran = kylin.upshift.run(&arguments).expect(4);
    ran.keep("kyligence-fails-on-one");
    assert!(ran.text().contains("k2 does not serve yet"), "{}", ran.text());
    kylin.as_before(&before);
    Ok(())
}

fn lying_backup() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let kylin = kylin(NEW_DEFAULT, &json!({}), None);
    let before = kylin.contents();
    fs::write(kylin.root.join("metastore/lies"), "full").expect("a file");
    let ran = kylin.upgrade().expect(4);
    assert!(
        ran.text().contains("the tool did not back the metadata up"),
        "{}",
        ran.text()
    );
    fs::remove_file(kylin.root.join("metastore/lies")).expect("a file");
    kylin.as_before(&before);
    // What lies in the way is never taken for the installation that this hop moved.
    fs::create_dir(kylin.root.join(format!("k3/kylin.before-{NEW}"))).expect("a directory");
    let ran = kylin.upgrade_again().expect(3);
    assert!(
        ran.text().contains("lies on k3 from an earlier upgrade"),
        "{}",
        ran.text()
    );
    kylin.as_before(&before);
    Ok(())
}

fn conflict() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let new = NEW_DEFAULT.replace("kylin.env=DEV", "kylin.env=QA");
    let kylin = kylin(&new, &json!({}), None);
    let file = kylin.home("k3").join("conf/kylin.properties");
    let own = fs::read_to_string(&file)
        .expect("a configuration")
        .replace("kylin.env=DEV", "kylin.env=PROD");
    fs::write(&file, own).expect("a configuration");
    let before = kylin.contents();
    let pids = processes::under(&kylin.root).len();
    let ran = kylin.upgrade().expect(3);
    ran.keep("kyligence-conflict");
    for words in ["k3", "kylin.env=PROD", "kylin.env=QA", "config_answers"] {
        assert!(ran.text().contains(words), "{words}\n{}", ran.text());
    }
    kylin.as_before(&before);
    assert_eq!(processes::under(&kylin.root).len(), pids, "nothing was stopped");
    // Decided once, in the fleet file, it holds for every server; the plan shows what comes of it.
    let fleet = fs::read_to_string(&kylin.upshift.fleet).expect("a fleet");
    let decided = fleet.replace(
        "    hosts: [k1, k2, k3]\n",
        "    hosts: [k1, k2, k3]\n    vars: { config_answers: { kylin.env: yours } }\n",
    );
    assert_ne!(fleet, decided);
    fs::write(&kylin.upshift.fleet, decided).expect("a fleet");
    let plan = kylin.upshift.run(&["plan", "--to", NEW]).expect(0);
    plan.keep("kyligence-merge");
    for line in [
        "Configuration: your files, merged with what the new defaults bring",
        "-kylin.query.timeout=300",
        "+kylin.query.timeout=600",
    ] {
        assert!(plan.text().contains(line), "{line}\n{}", plan.text());
    }
    // Yours means yours, also where it is the old default.
    assert!(!plan.text().contains("+kylin.env="), "{}", plan.text());
    kylin.as_before(&before);
    kylin.upgrade().expect(0);
    let env = |name: &str| {
        let text = fs::read_to_string(kylin.home(name).join("conf/kylin.properties")).expect("a file");
        text.lines()
            .find(|line| line.starts_with("kylin.env="))
            .map(str::to_owned)
    };
    assert_eq!(
        ["k1", "k2", "k3"].map(env),
        ["kylin.env=DEV", "kylin.env=DEV", "kylin.env=PROD"].map(|line| Some(line.to_owned()))
    );
    Ok(())
}

/// The guards know their own server alone: they bring the old installations back, and leave the metadata to a controller.
fn never_returns() -> Outcome {
    only_when_exhaustive("a minute")?;
    let kylin = kylin(NEW_DEFAULT, &json!({"writes": "{\"name\":\"c1\",\"v\":2}"}), None);
    let before = kylin.contents();
    let profile = kylin.profile(|shipped| shipped.replace("lease: 2m", "lease: 10s"));
    let earlier = kylin.events().len();
    let arguments = [
        "upgrade",
        "--yes",
        "--to",
        NEW,
        "--soak",
        "1m",
        "--profile",
        &profile,
    ];
    let mut upgrade = kylin.upshift.start(&arguments);
    let new_runs = || {
        assert!(upgrade.runs(), "the upgrade ended early");
        let started = kylin.events().split_off(earlier);
        started.iter().any(|event| event == "k2") && kylin.root.join("metastore/store/cube/new.json").exists()
    };
    assert!(
        processes::poll(Duration::from_secs(90), new_runs),
        "{:?}",
        kylin.events()
    );
    upgrade.kill();
    let all_old = || kylin.versions() == [OLD; 3];
    assert!(
        processes::poll(Duration::from_secs(90), all_old),
        "{:?}",
        kylin.versions()
    );
    kylin.serve();
    assert!(
        kylin.root.join("metastore/store/cube/new.json").exists(),
        "no guard touches the metadata"
    );
    let resumed = kylin.upshift.run(&["resume", "--take-over"]).expect(4);
    resumed.keep("kyligence-resume");
    kylin.as_before(&before);
    Ok(())
}

/// The jars of Kylin 2.6.6's metadata tool, through Maven, kept in the cache.
fn jars() -> Result<PathBuf, NoVerdict> {
    let failed =
        |error: &dyn std::fmt::Display| Skip(format!("the jars of Kylin 2.6.6 cannot be had: {error}"));
    let cache = Cache::open().map_err(|error| failed(&error))?;
    let _lock = cache.lock("kylin-2.6.6").map_err(|error| failed(&error))?;
    let directory = cache.path("kylin-2.6.6");
    let complete = directory.join("complete");
    if complete.exists() {
        return Ok(directory.join("lib"));
    }
    println!("    fetching 27 jars (11 MB) of Kylin 2.6.6's metadata tool with mvn");
    fs::create_dir_all(&directory).map_err(|error| failed(&error))?;
    let wanted = [
        ("org.apache.kylin", "kylin-core-common", "2.6.6"),
        ("com.google.guava", "guava", "14.0.1"),
        ("commons-io", "commons-io", "2.4"),
        ("commons-lang", "commons-lang", "2.6"),
        ("org.slf4j", "slf4j-log4j12", "1.7.21"),
        ("log4j", "log4j", "1.2.17"),
    ];
    let dependencies: String = wanted
        .iter()
        .map(|(group, artifact, version)| {
            format!("<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>")
        })
        .collect();
    let project = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>upshift</groupId>\
         <artifactId>kylin</artifactId><version>1</version><dependencies>{dependencies}</dependencies></project>"
    );
    fs::write(directory.join("pom.xml"), project).map_err(|error| failed(&error))?;
    let mut command = Command::new("mvn");
    command
        .args([
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "-DoutputDirectory=lib",
        ])
        .current_dir(&directory);
    processes::run(&mut command, Duration::from_secs(300)).map_err(|error| failed(&error))?;
    fs::write(complete, "").map_err(|error| failed(&error))?;
    Ok(directory.join("lib"))
}

fn real_tool() -> Outcome {
    only_when_exhaustive("a minute, and a download")?;
    let jars = jars()?;
    let kylin = kylin(
        NEW_DEFAULT,
        &json!({"writes": "{\"name\":\"c1\",\"v\":2}"}),
        Some(&jars),
    );
    let before = kylin.contents();
    kylin.upgrade().expect(0);
    let backup = kylin.kept().pop().expect("a backup outside of the installations");
    assert_eq!(
        fs::read_to_string(backup.join("cube/c1.json")).expect("a backup"),
        "{\"name\":\"c1\"}"
    );
    assert!(kylin.root.join("metastore/store/cube/new.json").exists());
    // A backup that is gone is not restored from: the tool would say that it had been.
    fs::rename(&backup, backup.with_extension("hidden")).expect("a move");
    let held = kylin.upshift.run(&["rollback", "--yes"]).expect(5);
    assert!(held.text().contains("there is no backup in"), "{}", held.text());
    assert!(
        kylin.root.join("metastore/store/cube/new.json").exists(),
        "nothing was reset"
    );
    // Nor from an empty one.
    fs::create_dir(&backup).expect("a directory");
    fs::copy(backup.with_extension("hidden").join("UUID"), backup.join("UUID")).expect("a file");
    let held = kylin.upshift.run(&["rollback", "--yes"]).expect(5);
    assert!(
        held.text().contains("is empty; nothing was changed"),
        "{}",
        held.text()
    );
    assert!(kylin.root.join("metastore/store/cube/new.json").exists());
    fs::remove_dir_all(&backup).expect("a directory");
    fs::rename(backup.with_extension("hidden"), &backup).expect("a move");
    kylin.upshift.run(&["rollback", "--yes"]).expect(0);
    kylin.as_before(&before);
    Ok(())
}

/// `kylin.sh stop` goes by its pid file alone: without it, the script says that nothing runs.
fn no_pid_file() -> Outcome {
    only_when_exhaustive("half a minute")?;
    let kylin = kylin(NEW_DEFAULT, &json!({}), None);
    let before = kylin.contents();
    let file = kylin.home("k2").join("pid");
    let pid: u32 = fs::read_to_string(&file)
        .expect("a file")
        .trim()
        .parse()
        .expect("a number");
    fs::remove_file(&file).expect("a file");
    let said = Command::new(kylin.home("k2").join("bin/kylin.sh"))
        .arg("stop")
        .output()
        .expect("kylin.sh");
    assert_eq!(
        String::from_utf8_lossy(&said.stdout).trim(),
        "Kylin is not running"
    );
    let ran = kylin.upgrade().expect(0);
    assert!(
        ran.text().contains("does not name the instance"),
        "{}",
        ran.text()
    );
    assert!(!processes::under(&kylin.root).contains(&pid), "it still runs");
    kylin.serve();
    assert_eq!(kylin.versions(), [NEW; 3]);
    // And before the rollback.
    fs::remove_file(kylin.home("k3").join("pid")).expect("a file");
    kylin.upshift.run(&["rollback", "--yes"]).expect(0);
    kylin.as_before(&before);
    Ok(())
}
