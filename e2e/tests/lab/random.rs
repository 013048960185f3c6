//! Random faults on three hosts with real sshd, and two machines with journals of their own: whatever happens, what `why` says leads to
//! an end that is all new or all old.
//!
//! `UPSHIFT_RANDOM_SEED` and `UPSHIFT_RANDOM_ROUNDS` choose other rounds; each is printed with its seed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use upshift_e2e::fixture::{Fixture, command_line, lab_release};
use upshift_e2e::harness::{Case, NoVerdict, Outcome, Skip, only_when_exhaustive};
use upshift_e2e::program::{Ran, Running, Upshift};
use upshift_lab::cluster::Product;
use upshift_lab::fetch::Cache;
use upshift_lab::load::Load;
use upshift_lab::processes;
use upshift_lab::server::Manifest;
use upshift_lab::testbed::{TestHost, Testbed};

pub const TRIALS: &[Case] = &[(
    "random_faults_end_all_new_or_all_old_by_what_why_says",
    random_rounds,
)];

const LONG: Duration = Duration::from_secs(180);
const OLD: &str = "1.0.0";
const NEW: &str = "1.0.1";

/// A small generator (xorshift), so that a round is the same again by its seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

struct Scene {
    // First: agents and members end before their hosts do.
    fixture: Fixture,
    bed: Testbed,
    machines: [Upshift; 2],
    disk: PathBuf,
    /// All new, by a run that was ended from the hosts and cannot be rolled back any more.
    used_up: bool,
}

fn scene() -> Result<Scene, NoVerdict> {
    let cache = Cache::open().map_err(|error| Skip(error.to_string()))?;
    let mut bed = Testbed::new(&cache, 3, &|text| println!("{text}"))?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let package = lab_release(&directory.path().join("packages"), OLD, &Manifest::plain(OLD));
    let disk = directory.path().join("cluster/h2/upshift");
    bed.small_disk(&disk, 900).expect("a small disk");
    let places = bed.places(&bed.ssh_config(), "", false);
    let fixture = Fixture::with(Product::Lab, directory, places, &package);
    fixture.add_release(NEW, |_| {});
    let machine = |name: &str| Upshift {
        state: fixture.directory().join(name),
        ..fixture.upshift.clone()
    };
    let machines = [machine("here"), machine("there")];
    Ok(Scene {
        fixture,
        bed,
        machines,
        disk,
        used_up: false,
    })
}

impl Scene {
    fn host(&self, draw: &mut Draw) -> &TestHost {
        &self.bed.hosts()[draw.below(3) as usize]
    }

    /// Kills what runs on a host with these words in its command line.
    fn kill_on(&self, host: &TestHost, words: [&str; 2]) -> usize {
        let found: Vec<u32> = self
            .bed
            .processes(host)
            .into_iter()
            .filter(|pid| words.iter().all(|word| command_line(*pid).contains(word)))
            .collect();
        for pid in &found {
            processes::signal(*pid, Signal::KILL);
        }
        found.len()
    }

    /// One fault; what it was. `None` where the controller was killed and is gone.
    fn fault(&self, running: Running, draw: &mut Draw) -> (Option<Running>, String) {
        let host = self.host(draw).clone();
        let name = &host.name;
        match draw.below(11) {
            // More often than the rest: only then does another machine take over.
            0 | 8..=10 => {
                running.kill();
                (None, "controller killed".to_owned())
            }
            1 => {
                let asleep = draw.milliseconds(1000, 14_000);
                running.signal(Signal::STOP);
                std::thread::sleep(asleep);
                running.signal(Signal::CONT);
                (
                    Some(running),
                    format!("controller asleep for {} ms", asleep.as_millis()),
                )
            }
            2 => {
                let count = self.kill_on(&host, ["upshift-node", " serve "]);
                (Some(running), format!("{count} agents killed on {name}"))
            }
            3 => {
                let count = self.kill_on(&host, ["upshift-node", " guard "]);
                (Some(running), format!("{count} guards killed on {name}"))
            }
            4 => {
                let ssh = processes::children(running.pid());
                for pid in &ssh {
                    processes::signal(*pid, Signal::KILL);
                }
                (Some(running), format!("{} ssh killed", ssh.len()))
            }
            5 => {
                let position = draw.below(3) as usize;
                if let Some(pid) = self.fixture.cluster.pid(position) {
                    processes::signal(pid, Signal::KILL);
                }
                (Some(running), format!("server h{} killed", position + 1))
            }
            6 => {
                let away = draw.milliseconds(500, 9000);
                self.bed.set_link(&host, false).expect("a link goes down");
                std::thread::sleep(away);
                self.bed.set_link(&host, true).expect("a link comes up");
                (
                    Some(running),
                    format!("link of {name} cut for {} ms", away.as_millis()),
                )
            }
            _ => {
                let full = draw.milliseconds(500, 6000);
                fill(&self.disk);
                std::thread::sleep(full);
                fs::remove_file(self.disk.join("full")).expect("the file is removed");
                (
                    Some(running),
                    format!("disk of h2 full for {} ms", full.as_millis()),
                )
            }
        }
    }

    /// What a person does who sees that a server does not run: start it.
    fn start_dead_servers(&mut self, told: &mut Vec<String>) {
        for position in 0..3 {
            if self.fixture.cluster.pid(position).is_none() {
                told.push(format!("start h{}", position + 1));
                // One that a guard starts meanwhile holds the port; it is looked at again.
                let _ = self.fixture.cluster.start_member(position);
            }
        }
    }
}

fn fill(directory: &Path) {
    let mut file = fs::File::create(directory.join("full")).expect("a file");
    let zeros = [0; 65_536];
    while file.write_all(&zeros).is_ok() {}
}

const ENDED: [&str; 6] = [
    "upgraded",
    "rolled back",
    "refused",
    "finalized",
    "prepared",
    "ended elsewhere",
];

/// The command in a sentence of `why`, as its words.
fn command(sentence: &str) -> Option<Vec<String>> {
    let quoted = sentence.split('`').nth(1)?;
    let words: Vec<String> = quoted
        .strip_prefix("upshift ")?
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let asks = ["abort", "rollback"].contains(&words.first()?.as_str());
    Some(match asks {
        true => [words, vec!["--yes".to_owned()]].concat(),
        false => words,
    })
}

/// Does what `why` says first that changes something, until the run has ended. Gives the outcome.
fn follow(scene: &mut Scene, machine: &Upshift, told: &mut Vec<String>) -> String {
    let mut said = String::new();
    for turn in 0..8 {
        let why = machine.run(&["why", "--output", "json"]);
        if why.status.code() == Some(2) {
            return "never begun".to_owned();
        }
        let why = why.last_json();
        let outcome = why["outcome"].as_str().unwrap_or_default().to_owned();
        if ENDED.contains(&outcome.as_str()) {
            return outcome;
        }
        if turn > 0 {
            scene.start_dead_servers(told);
        }
        let next = why["next"].as_array().cloned().unwrap_or_default();
        let first = next
            .iter()
            .filter_map(|sentence| command(sentence.as_str()?))
            .find(|words| words[0] != "why" && words[0] != "status");
        let words = first.unwrap_or_else(|| panic!("`why` names no command: {why:#}\n{said}"));
        let ran: Ran = machine.run(&words);
        println!("      {}: {}", words.join(" "), ran.status);
        told.push(words.join(" "));
        said.push_str(&ran.text());
    }
    panic!("what `why` says leads to no end: {told:?}\n{said}");
}

/// One round, from one version on all servers to one version on all servers. Gives a row of the table.
fn round(scene: &mut Scene, seed: u64, owner: &mut Option<usize>) -> String {
    let mut draw = Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let began = Instant::now();
    let upgraded = owner.is_some();
    let at = owner.unwrap_or_else(|| draw.below(2) as usize);
    let machine = scene.machines[at].clone();
    let load = Load::start(&scene.fixture.cluster.client(), &format!("round-{seed}"), 20);
    let words: Vec<&str> = match upgraded {
        true => vec!["rollback", "--yes"],
        false => {
            let mut words = vec!["upgrade", "--to", NEW, "--yes", "--again", "--soak", "1s"];
            words.extend(["--soak-between", "500ms", "--guard-lease", "5s"]);
            words
        }
    };
    let mut running = Some(machine.start(&words));
    let mut faults = Vec::new();
    for _ in 0..=draw.below(3) {
        std::thread::sleep(draw.milliseconds(100, 6000));
        let Some(mut now) = running.take() else { break };
        if !now.runs() {
            running = Some(now);
            break;
        }
        let (left, fault) = scene.fault(now, &mut draw);
        running = left;
        println!("      {fault}");
        faults.push(fault);
    }
    let mut told = Vec::new();
    if let Some(running) = running {
        let ran = running.finish(LONG);
        println!("      {} ended: {}", words[0], ran.status);
    } else if draw.below(2) == 0 {
        let other = &scene.machines[1 - at].clone();
        let taken = other.run(&["resume", "--from-hosts", "--yes"]);
        told.push(format!(
            "at the other machine: resume --from-hosts ({})",
            taken.status.code().unwrap_or(-1)
        ));
    }
    let outcome = follow(scene, &machine, &mut told);
    scene.start_dead_servers(&mut told);
    let cluster = &scene.fixture.cluster;
    let versions = || cluster.versions();
    let all = |version: &str| versions().iter().all(|seen| seen.as_deref() == Some(version));
    let settled = processes::poll(Duration::from_secs(60), || all(OLD) || all(NEW));
    let row = format!(
        "{seed} | {} | {} | {}",
        words[0],
        faults.join(", "),
        told.join("; ")
    );
    assert!(settled, "neither all new nor all old: {:?}\n{row}", versions());
    let end = if all(OLD) { OLD } else { NEW };
    match outcome.as_str() {
        "upgraded" => assert_eq!(end, NEW, "{row}"),
        "rolled back" => assert_eq!(end, OLD, "{row}"),
        _ => {}
    }
    scene.fixture.expect_all(end);
    // Not well (3) where the run of this machine's own journal was ended by the other machine.
    let status = machine.run(&["status"]);
    assert!(matches!(status.status.code(), Some(0 | 3)), "{}", status.text());
    assert!(!status.stdout.contains("several versions"), "{}", status.text());
    assert!(!status.stdout.contains("foreign"), "{}", status.text());
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}\n{row}");
    *owner = match (end, outcome.as_str()) {
        (NEW, "upgraded") => Some(at),
        _ => None,
    };
    scene.used_up = end == NEW && owner.is_none();
    format!(
        "{row} | {outcome}, {end} | {:.0} s",
        began.elapsed().as_secs_f32()
    )
}

fn random_rounds() -> Outcome {
    let chosen = std::env::var_os("UPSHIFT_RANDOM_ROUNDS").is_some();
    if !chosen {
        only_when_exhaustive("40 minutes for 60 rounds")?;
    }
    let rounds = number("UPSHIFT_RANDOM_ROUNDS", 60);
    let first = number("UPSHIFT_RANDOM_SEED", 1);
    let mut scene = scene()?;
    let mut owner = None;
    println!("    seed | asked | faults | what was said next | end | took");
    for seed in first..first + rounds {
        if scene.used_up {
            drop(scene);
            scene = self::scene()?;
        }
        let row = round(&mut scene, seed, &mut owner);
        println!("    {row}");
    }
    scene.fixture.expect_nothing_left();
    Ok(())
}
