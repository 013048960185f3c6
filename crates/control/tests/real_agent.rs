//! Runs carried on this machine by real agents, with real processes: this program is controller, agent and test at once.
//!
//! Started as `… node serve --state DIR` it is the agent; as `… controller DIR` a controller that a test kills; otherwise it
//! runs the tests, whose names may be given as filters.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use upshift_control::progress::Silent;
use upshift_control::progress::lines::Lines;
use upshift_control::{Artifacts, Ended, Hosts, Progress, Runner, Setup, gather};
use upshift_model::action::{Action, Artifact, Report, SwitchRelease, UnpackRelease};
use upshift_model::fleet::{Fleet, Host, Transport};
use upshift_model::probe::{Probe, ProcessProbe};
use upshift_model::profile::{self, Profile};
use upshift_model::template;
use upshift_plan::{Plan, Request as PlanRequest};
use upshift_run::{Outcome, State, View};
use upshift_store::{Acquire, Holder, Store};
use upshift_wire::binary::{AgentBinary, identify};
use upshift_wire::protocol::{ExecuteOrder, Request, Response};
use upshift_wire::put::put;
use upshift_wire::session::Session;

const FLEET: &str = "dreams";
const RUN: &str = "run-1";
const OLD: &str = "1.0.0";
const NEW: &str = "1.1.0";
const NAMES: [&str; 3] = ["h1", "h2", "h3"];

type Test = (&'static str, fn(&Rig));

const TESTS: [Test; 4] = [
    (
        "an_upgrade_leaves_all_on_the_new_version_and_nothing_behind",
        upgrades,
    ),
    (
        "an_agent_that_is_killed_in_its_window_changes_nothing",
        agent_killed,
    ),
    (
        "a_controller_that_is_killed_again_and_again_does_nothing_twice",
        controller_killed,
    ),
    (
        "a_controller_that_never_returns_leaves_all_on_the_old_version",
        controller_lost,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("node") => return upshift_node::cli::main(arguments.into_iter().skip(1)),
        Some("controller") => return controller(Path::new(&arguments[1])),
        _ => {}
    }
    let filters: Vec<String> = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .filter(|argument| !argument.starts_with('-'))
        .map(str::to_owned)
        .collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let chosen: Vec<Test> = TESTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let mut failed = 0;
    for (name, test) in &chosen {
        let passed = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let rig = Rig::new();
            test(&rig);
        }));
        failed += usize::from(passed.is_err());
        println!("test {name} ... {}", if passed.is_ok() { "ok" } else { "FAILED" });
    }
    let (word, passed) = (if failed == 0 { "ok" } else { "FAILED" }, chosen.len() - failed);
    let skipped = TESTS.len() - chosen.len();
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {skipped} filtered out\n"
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Three hosts on this machine, each with a state directory of its own, on which the old version runs.
struct Rig {
    directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let rig = Rig {
            directory: tempfile::tempdir().unwrap(),
        };
        for version in [OLD, NEW] {
            pack(rig.path(), version);
        }
        block_on(rig.install());
        rig
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts the old version on every host, by the agents themselves, and starts it.
    async fn install(&self) {
        let hosts = hosts(self.path());
        let package = artifact(self.path(), OLD);
        for name in NAMES {
            std::fs::create_dir_all(state_directory(self.path(), name)).unwrap();
            let config = state_directory(self.path(), name).join("sleeper.conf");
            std::fs::write(config, format!("name = {name}\n")).unwrap();
            let session = hosts.get(name).unwrap();
            put(session, &package, &package_path(self.path(), OLD), &|_| ())
                .await
                .unwrap();
            let unpack = UnpackRelease {
                artifact: package.clone(),
                strip: 1,
            };
            let context = json!({"state_directory": state_directory(self.path(), name), "places": {}});
            let service = template::render(&profile().service, &context).unwrap();
            let actions = [
                Action::Unpack(unpack),
                Action::Switch(SwitchRelease {
                    release: OLD.to_owned(),
                }),
                Action::Start(service),
            ];
            for (step, action) in (1u32..).zip(actions) {
                order(session, step, action).await;
            }
        }
    }

    /// The release that the process of each host belongs to.
    async fn releases(&self) -> Vec<Option<String>> {
        let hosts = hosts(self.path());
        let mut releases = Vec::new();
        for name in NAMES {
            let context = json!({"state_directory": state_directory(self.path(), name), "places": {}});
            let service = template::render(&profile().service, &context).unwrap();
            let probe = Probe::Process(ProcessProbe {
                service,
                version_arguments: Vec::new(),
                version_pattern: None,
            });
            let value = observe(hosts.get(name).unwrap(), probe).await;
            releases.push(value["release"].as_str().map(str::to_owned));
        }
        releases
    }

    fn assert_all_on(&self, version: &str) {
        assert_eq!(
            block_on(self.releases()),
            vec![Some(version.to_owned()); NAMES.len()]
        );
        for name in NAMES {
            let config = state_directory(self.path(), name).join("sleeper.conf");
            assert_eq!(
                std::fs::read_to_string(config).unwrap(),
                format!("name = {name}\n")
            );
        }
    }

    /// Processes of this rig, by their command lines, but for the services.
    fn processes(&self) -> Vec<(u32, String)> {
        let own = self.path().display().to_string();
        let read = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).ok();
        let pids = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Some((pid, String::from_utf8_lossy(&read(pid)?).replace('\0', " "))))
            .filter(|(pid, line)| {
                *pid != std::process::id() && line.contains(&own) && !line.contains("sleeperd")
            })
            .collect()
    }

    /// Guards and agents have ended, or do so now.
    fn assert_nothing_runs(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.processes().is_empty() {
            assert!(
                Instant::now() < deadline,
                "these are left: {:?}",
                self.processes()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let own = self.path().display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&own) && pid != std::process::id() as i32 {
                kill(pid as u32);
            }
        }
    }
}

fn kill(pid: u32) {
    // It may have ended by itself.
    let _ended = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

fn state_directory(rig: &Path, host: &str) -> PathBuf {
    rig.join(host)
}

fn package_path(rig: &Path, version: &str) -> PathBuf {
    rig.join(format!("sleeper-{version}.tar.gz"))
}

/// A release whose program is the `sleep` of this machine.
fn pack(rig: &Path, version: &str) {
    let name = format!("sleeper-{version}");
    let program = rig.join(&name).join("bin/sleeperd");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::copy("/bin/sleep", &program).unwrap();
    let packed = Command::new("tar")
        .arg("-czf")
        .arg(package_path(rig, version))
        .arg("-C")
        .arg(rig)
        .arg(&name)
        .status();
    assert!(packed.unwrap().success());
}

fn artifact(rig: &Path, version: &str) -> Artifact {
    let identity = identify(&package_path(rig, version)).unwrap();
    Artifact {
        file_name: format!("sleeper-{version}.tar.gz"),
        version: version.to_owned(),
        variant: Default::default(),
        sha256: identity.sha256,
        size: identity.size,
    }
}

fn profile() -> Profile {
    profile::parse("sleeper.yaml", include_str!("fake/sleeper.yaml"))
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The first host is reached directly, the others through a shell that finds or gets the agent.
fn fleet(rig: &Path) -> Fleet {
    let host = |name: &str| Host {
        groups: ["sleeper".to_owned()].into(),
        transport: if name == NAMES[0] {
            Transport::Local
        } else {
            Transport::Command(vec!["sh".to_owned()])
        },
        state_directory: Some(state_directory(rig, name).display().to_string()),
        ..Host::default()
    };
    Fleet {
        name: FLEET.to_owned(),
        accepted: Vec::new(),
        package_keys: Vec::new(),
        hosts: NAMES.map(|name| (name.to_owned(), host(name))).into(),
    }
}

fn hosts(rig: &Path) -> Hosts {
    Hosts::servers(
        &fleet(rig),
        "sleeper",
        &Arc::new(AgentBinary::find().unwrap()),
        None,
    )
}

async fn order(session: &Session, step: u32, action: Action) {
    let order = ExecuteOrder {
        run: "install".to_owned(),
        step,
        attempt: 1,
        token: 1,
        sequence: u64::from(step),
        fleet: FLEET.to_owned(),
        forward: true,
        hop: 0,
        action,
    };
    let answer = session.call(Request::Execute(Box::new(order))).await.unwrap();
    assert!(
        matches!(&answer, Response::Report(Report::Done { .. })),
        "{answer:?}"
    );
}

async fn observe(session: &Session, probe: Probe) -> Value {
    match session
        .call(Request::Observe {
            hop: None,
            run: None,
            probe: Box::new(probe),
        })
        .await
        .unwrap()
    {
        Response::Observation(Ok(value)) => value,
        other => panic!("{other:?}"),
    }
}

async fn plan(rig: &Path, hosts: &Hosts, lease: Duration) -> Arc<Plan> {
    let mut profile = profile();
    profile.window.lease = upshift_model::Millis(lease.as_millis() as u64);
    let gathered = gather(hosts, &fleet(rig), &profile, &|_, _| ()).await;
    assert!(gathered.unreachable.is_empty(), "{:?}", gathered.unreachable);
    let request = PlanRequest {
        to: NEW.to_owned(),
        artifacts: vec![artifact(rig, NEW)],
        ..PlanRequest::default()
    };
    Arc::new(upshift_plan::plan(&profile, FLEET, &fleet(rig), &gathered.facts, &request).unwrap())
}

fn setup<'a>(rig: &Path, store: &'a Store, hosts: Hosts) -> Setup<'a> {
    let lease = store
        .acquire(FLEET, &Holder::this_process("ann@desk"), Acquire::default())
        .unwrap();
    let mut artifacts = Artifacts::new();
    artifacts.add(&artifact(rig, NEW), package_path(rig, NEW));
    Setup {
        store,
        lease,
        hosts,
        artifacts,
        who: "ann@desk".to_owned(),
    }
}

/// Begins or takes up the run of a rig, and carries it to its end.
async fn drive(rig: &Path, progress: &mut dyn Progress) -> Ended {
    let store = Store::open(&rig.join("store.db")).unwrap();
    let hosts = hosts(rig);
    let runner = if store.runs(Some(FLEET)).unwrap().is_empty() {
        let lease = std::env::var("LEASE_SECONDS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(60);
        let plan = plan(rig, &hosts, Duration::from_secs(lease)).await;
        Runner::begin(setup(rig, &store, hosts), RUN, plan, &json!({})).unwrap()
    } else {
        Runner::resume(setup(rig, &store, hosts), RUN).unwrap()
    };
    runner.drive(progress).await.unwrap()
}

/// A controller in a process of its own; its failpoint is in its environment.
fn controller(rig: &Path) -> ExitCode {
    let ended = block_on(drive(rig, &mut Lines::new(std::io::stderr())));
    ExitCode::from(if ended == Ended::Rested(Outcome::Upgraded) {
        0
    } else {
        4
    })
}

fn start_controller(rig: &Rig, failpoint: &str, lease_seconds: u64) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .arg("controller")
        .arg(rig.path())
        .env("UPSHIFT_FAILPOINT", failpoint)
        .env("LEASE_SECONDS", lease_seconds.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn upgrades(rig: &Rig) {
    let ended = block_on(drive(rig.path(), &mut Silent));
    assert_eq!(ended, Ended::Rested(Outcome::Upgraded));
    rig.assert_all_on(NEW);
    rig.assert_nothing_runs();
}

/// Kills the second host's agent when its window is open.
struct KillAgent<'a> {
    rig: &'a Rig,
    killed: usize,
}

impl Progress for KillAgent<'_> {
    fn view(&mut self, view: &View, _: &State) {
        let step = view.nodes[1]
            .step
            .as_ref()
            .map(|step| step.title.as_str())
            .unwrap_or_default();
        if self.killed < 3 && view.phase.starts_with("window 2") && !step.is_empty() {
            let own = format!(
                "serve --state {}",
                state_directory(self.rig.path(), NAMES[1]).display()
            );
            for (pid, _) in self
                .rig
                .processes()
                .into_iter()
                .filter(|(_, line)| line.contains(&own))
            {
                kill(pid);
                self.killed += 1;
            }
        }
    }
}

fn agent_killed(rig: &Rig) {
    let mut progress = KillAgent { rig, killed: 0 };
    let ended = block_on(drive(rig.path(), &mut progress));
    assert!(progress.killed > 0, "no agent was there to be killed");
    assert_eq!(ended, Ended::Rested(Outcome::Upgraded));
    rig.assert_all_on(NEW);
    rig.assert_nothing_runs();
}

fn controller_killed(rig: &Rig) {
    // Each gets a little further than a round of observations takes, and dies before or after a write.
    for attempt in 0.. {
        let side = ["abort", "abort-before"][attempt % 2];
        let output = start_controller(rig, &format!("journal:{}={side}", 9 + attempt % 5), 60);
        if output.status.signal() == Some(9) {
            assert!(
                attempt < 100,
                "the run gets nowhere: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            continue;
        }
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(attempt > 3, "it was killed only {attempt} times");
        break;
    }
    rig.assert_all_on(NEW);
    rig.assert_nothing_runs();
    assert_done_once(rig);
}

/// Every order was begun once on its host: the journal knows one report for each attempt, and no attempt but the first was
/// needed unless the one before was cut off.
fn assert_done_once(rig: &Rig) {
    let store = Store::open_existing(&rig.path().join("store.db")).unwrap();
    let mut reports = std::collections::BTreeMap::new();
    for recorded in store.events(RUN, 1).unwrap() {
        if let upshift_run::EventKind::Reported {
            step,
            attempt,
            report,
        } = recorded.event.kind
        {
            let known = reports.entry((step, attempt)).or_insert_with(|| report.clone());
            assert_eq!(*known, report, "step {step:?} was reported differently");
        }
    }
    assert!(!reports.is_empty());
}

fn controller_lost(rig: &Rig) {
    // Found by looking: the first failpoint at which the second window is open.
    for write in (20..).step_by(4) {
        let output = start_controller(rig, &format!("journal:{write}=abort"), 3);
        assert_eq!(
            output.status.signal(),
            Some(9),
            "it ended before: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if String::from_utf8_lossy(&output.stderr).contains("== window 2 of 3") {
            break;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let old = vec![Some(OLD.to_owned()); NAMES.len()];
    while block_on(rig.releases()) != old || !rig.processes().is_empty() {
        assert!(
            Instant::now() < deadline,
            "after a minute: {:?} {:?}",
            block_on(rig.releases()),
            rig.processes()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    rig.assert_all_on(OLD);
    let ended = block_on(drive(rig.path(), &mut Silent));
    assert!(
        matches!(&ended, Ended::Rested(Outcome::RolledBack { to, .. }) if to == OLD),
        "{ended:?}"
    );
    rig.assert_all_on(OLD);
}
