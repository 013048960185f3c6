//! Strategy `switch` on five servers: one window for all, in which the controller is lost, hosts cannot be reached, or the new version fails.
//!
//! Only where `UPSHIFT_E2E_EXHAUSTIVE=1` is set: half a minute each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use upshift_e2e::fixture::{Fixture, command_line, lab_release};
use upshift_e2e::harness::{Case, Outcome, only_when_exhaustive};
use upshift_e2e::program::Running;
use upshift_lab::cluster::{Place, Product};
use upshift_lab::load::Load;
use upshift_lab::processes;
use upshift_lab::server::Manifest;

pub const TRIALS: &[Case] = &[
    ("five_servers_are_switched_in_one_window", switched),
    ("a_new_version_that_fails_on_one_of_five_is_on_none", fails_on_one),
    (
        "a_switch_whose_controller_never_returns_ends_in_its_window",
        never_returns,
    ),
    ("a_switch_cut_from_one_server_leaves_all_five_old", cut_from_one),
    ("a_switch_cut_from_all_servers_leaves_all_five_old", cut_from_all),
];

const OLD: &str = "3.0.0";
const NEW: &str = "3.0.1";
/// The lease of the guards, and the whole window: what is waited for in it is longer than this machine takes.
const LEASE: &str = "10s";
const WINDOW: Duration = Duration::from_secs(180);

/// Five members behind a way that can be cut.
struct Five {
    fixture: Fixture,
    gate: PathBuf,
    before: Vec<Vec<u8>>,
}

fn five(change: impl FnOnce(&mut Manifest)) -> Five {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let gate = directory.path().join("way");
    // Stands for the network: while the file is there, nothing reaches the host.
    let script = "#!/bin/sh\nwhile [ -e \"$0-cut-$1\" ]; do sleep 0.2; done\nexec sh\n";
    fs::write(&gate, script).expect("a script");
    fs::set_permissions(&gate, fs::Permissions::from_mode(0o755)).expect("a script");
    // Members are made with a key that releases from 2.0 on refuse; here it is no matter.
    let old = Manifest {
        refused_keys: Vec::new(),
        ..Manifest::plain(OLD)
    };
    let package = lab_release(&directory.path().join("packages"), OLD, &old);
    let mut places = Place::local(5);
    for place in &mut places {
        let command = json!({ "command": [gate, place.name] });
        place.fleet_entry.insert("transport".to_owned(), command);
    }
    let fixture = Fixture::with(Product::Lab, directory, places, &package);
    fixture.add_release(NEW, |manifest| {
        manifest.refused_keys.clear();
        change(manifest);
    });
    let before = fixture.cluster.configurations().expect("configurations");
    Five {
        fixture,
        gate,
        before,
    }
}

fn upgrade() -> Vec<String> {
    [
        "upgrade",
        "--yes",
        "--to",
        NEW,
        "--soak",
        "1s",
        "--window",
        "3m",
        "--guard-lease",
        LEASE,
    ]
    .map(str::to_owned)
    .to_vec()
}

impl Five {
    /// Starts an upgrade, and waits until its window has disturbed a server.
    fn disturbed(&self) -> (Running, Instant) {
        let mut upgrade = self.fixture.upshift.start(&upgrade());
        let paused = || {
            assert!(upgrade.runs(), "the upgrade ended early");
            let members = self.fixture.cluster.members();
            members
                .iter()
                .any(|member| member.data_directory.join("paused").exists())
        };
        assert!(
            processes::poll(Duration::from_secs(120), paused),
            "nothing is paused"
        );
        (upgrade, Instant::now())
    }

    fn cut(&self, position: usize) {
        let member = &self.fixture.cluster.members()[position];
        fs::write(self.cut_file(position), "").expect("a file");
        for pid in processes::under(&member.state_directory) {
            let words = command_line(pid);
            if words.contains("upshift") && !words.contains("labd") && !words.contains("guard") {
                processes::signal(pid, Signal::KILL);
            }
        }
    }

    fn mend(&self, position: usize) {
        fs::remove_file(self.cut_file(position)).expect("the file is removed");
    }

    fn cut_file(&self, position: usize) -> PathBuf {
        let name = &self.fixture.cluster.members()[position].name;
        PathBuf::from(format!("{}-cut-{name}", self.gate.display()))
    }

    /// All five run the old version, with their old configuration, and take writes, before the window is over.
    #[track_caller]
    fn all_old_by(&self, end: Instant, load: Load) {
        let old = vec![Some(OLD.to_owned()); 5];
        let served = load.so_far().acknowledged;
        let left = end.saturating_duration_since(Instant::now());
        let back = || self.fixture.cluster.versions() == old && load.so_far().acknowledged > served + 5;
        assert!(
            processes::poll(left, back),
            "{:?}",
            self.fixture.cluster.versions()
        );
        let configurations = self.fixture.cluster.configurations().expect("configurations");
        assert_eq!(configurations, self.before);
        let report = load.finish().expect("the cluster is read");
        println!("    {report:?}");
        assert_eq!(report.lost, 0, "{report:?}");
    }

    fn load(&self) -> Load {
        let load = Load::start(&self.fixture.cluster.client(), "load", 50);
        assert!(processes::poll(Duration::from_secs(20), || load
            .so_far()
            .acknowledged
            > 20));
        load
    }

    /// Nothing is done any more by anybody: the run ends, and says what happened.
    #[track_caller]
    fn resumes_to(&self, statuses: &[i32], word: &str) {
        let ran = self.fixture.upshift.run(&["resume", "--take-over"]);
        let code = ran.status.code().expect("it ended by itself");
        assert!(
            statuses.contains(&code) && ran.text().contains(word),
            "{}",
            ran.text()
        );
        self.fixture.expect_all(OLD);
        self.fixture.expect_nothing_left();
    }
}

fn keep(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("a configuration");
    file.write_all(text.as_bytes()).expect("a configuration");
}

fn switched() -> Outcome {
    only_when_exhaustive("about a minute")?;
    let five = five(|_| {});
    let fixture = &five.fixture;
    let short: Vec<String> = upgrade()
        .into_iter()
        .map(|word| if word == "3m" { "10s".to_owned() } else { word })
        .collect();
    let refused = fixture.upshift.run(&short).expect(3).text();
    for words in [
        "the window of 3.0.0 to 3.0.1 is 10s long and must be 23s",
        "`--window 23s`",
    ] {
        assert!(refused.contains(words), "{words}\n{refused}");
    }
    let load = five.load();
    fixture.upshift.run(&["prepare", "--to", NEW]).expect(0);
    let ran = fixture.upshift.run(&upgrade()).expect(0);
    ran.keep("lab-switch");
    let report = load.finish().expect("the cluster is read");
    println!("    {report:?}");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all(NEW);
    assert_eq!(
        fixture.cluster.configurations().expect("configurations"),
        five.before
    );
    fixture.expect_nothing_left();
    let load = five.load();
    fixture.upshift.run(&["rollback", "--yes"]).expect(0);
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all(OLD);
    fixture.expect_nothing_left();
    Ok(())
}

fn fails_on_one() -> Outcome {
    only_when_exhaustive("about a minute")?;
    let mut five = five(|manifest| manifest.refused_keys.push("only_here".to_owned()));
    keep(&five.fixture.cluster.members()[2].config_file, "only_here = 1\n");
    five.before = five.fixture.cluster.configurations().expect("configurations");
    let load = five.load();
    let ran = five.fixture.upshift.run(&upgrade()).expect(4);
    ran.keep("lab-switch-fails-on-one");
    assert!(ran.text().contains("n3"), "{}", ran.text());
    five.all_old_by(Instant::now() + Duration::from_secs(20), load);
    five.fixture.expect_nothing_left();
    Ok(())
}

fn never_returns() -> Outcome {
    only_when_exhaustive("about a minute")?;
    let five = five(|_| {});
    let load = five.load();
    let (upgrade, began) = five.disturbed();
    upgrade.kill();
    five.all_old_by(began + WINDOW, load);
    five.fixture.expect_nothing_left();
    five.resumes_to(&[4], "guard");
    Ok(())
}

fn cut_from_one() -> Outcome {
    only_when_exhaustive("about a minute")?;
    let five = five(|_| {});
    let load = five.load();
    let (upgrade, began) = five.disturbed();
    five.cut(4);
    five.all_old_by(began + WINDOW, load);
    five.mend(4);
    let ran = upgrade.finish(Duration::from_secs(200));
    println!("    {}", ran.status);
    assert!(ran.text().contains("n5"), "{}", ran.text());
    match ran.status.code() {
        Some(4) => {}
        Some(5) => five.resumes_to(&[4], "n5"),
        _ => panic!("{}", ran.text()),
    }
    five.fixture.expect_all(OLD);
    five.fixture.expect_nothing_left();
    Ok(())
}

fn cut_from_all() -> Outcome {
    only_when_exhaustive("about a minute")?;
    let five = five(|_| {});
    let load = five.load();
    let (upgrade, began) = five.disturbed();
    (0..5).for_each(|position| five.cut(position));
    five.all_old_by(began + WINDOW, load);
    (0..5).for_each(|position| five.mend(position));
    let ran = upgrade.finish(Duration::from_secs(200));
    println!("    {}", ran.status);
    match ran.status.code() {
        Some(4) => {}
        Some(5) => five.resumes_to(&[4], "guard"),
        _ => panic!("{}", ran.text()),
    }
    five.fixture.expect_all(OLD);
    five.fixture.expect_nothing_left();
    Ok(())
}
