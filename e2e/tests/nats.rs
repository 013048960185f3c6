//! Real NATS with JetStream: three servers on this machine, a stream with three replicas, and a client that publishes all the time.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{self, Case, Outcome};
use upshift_lab::load::Load;
use upshift_lab::package::{self, Contents, Entry};
use upshift_lab::{http, processes};

const TRIALS: &[Case] = &[
    ("two_hops_of_nats_under_load_lose_no_message", two_hops),
    (
        "a_release_of_nats_that_does_not_start_is_rolled_back",
        bad_release,
    ),
];

fn main() -> ExitCode {
    harness::main(&harness::trials(&[TRIALS]))
}

fn to(version: &str) -> [&str; 8] {
    [
        "upgrade",
        "--yes",
        "--soak",
        "2s",
        "--soak-between",
        "200ms",
        "--to",
        version,
    ]
}

fn begun(load: &Load) {
    let writes = || load.so_far().acknowledged > 50;
    assert!(
        processes::poll(Duration::from_secs(20), writes),
        "{:?}",
        load.reasons()
    );
}

fn two_hops() -> Outcome {
    harness::only_when_exhaustive("a minute")?;
    let fixture = Fixture::nats("2.10.26", &["2.11.11", "2.12.8"])?;
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 50);
    begun(&load);
    fixture.upshift.run(&["check", "--to", "2.12.8"]).expect(0);
    let streams = Streams::watch(
        fixture
            .cluster
            .members()
            .iter()
            .map(|member| member.endpoint())
            .collect(),
    );
    fixture.upshift.run(&to("2.12.8")).expect(0);
    let seen = streams.finish();
    println!("    {seen:?}");
    assert!(seen.went_down >= 6, "each server twice: {seen:?}");
    assert_eq!(seen.too_early, 0, "{seen:?}");
    println!("    {:?}", load.reasons());
    let report = load.finish().expect("the stream is read");
    println!("    {report:?}");
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(report.acknowledged > 100, "{report:?}");
    fixture.expect_all("2.12.8");
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    fixture.expect_nothing_left();
    Ok(())
}

/// What an observer saw of the servers and of their stream.
#[derive(Debug, Default)]
struct Seen {
    /// How often a server was not there any more.
    went_down: usize,
    /// How often that was while, according to the servers, the stream had no leader or a replica that was not current.
    too_early: usize,
    /// Rounds in which every server said that it is healthy, while the stream had no leader or a replica that was not current.
    healthy_and_not_current: usize,
}

/// Asks every server for the stream and its replicas, again and again.
struct Streams {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Streams {
    /// How many rounds back the stream may have been well: an answer is older than the moment at which a server goes down.
    const ROUNDS: usize = 5;

    fn watch(endpoints: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut were_up = vec![true; endpoints.len()];
            let mut rounds = vec![true];
            while !stopping.load(Ordering::Relaxed) {
                let answers: Vec<Option<Value>> = endpoints.iter().map(|endpoint| asked(endpoint)).collect();
                let up: Vec<bool> = answers.iter().map(Option::is_some).collect();
                let gone = up
                    .iter()
                    .zip(&were_up)
                    .filter(|(now, before)| !**now && **before)
                    .count();
                seen.went_down += gone;
                if gone > 0 && !rounds.iter().rev().take(Self::ROUNDS).any(|well| *well) {
                    seen.too_early += gone;
                }
                if up.iter().all(|up| *up) {
                    let well = answers.iter().flatten().any(whole);
                    rounds.push(well);
                    let healthy = |endpoint: &String| {
                        http::get(endpoint, "/healthz", LIMIT).is_ok_and(|answer| answer.status == 200)
                    };
                    if !well && endpoints.iter().all(healthy) {
                        seen.healthy_and_not_current += 1;
                    }
                } else {
                    rounds.push(false);
                }
                were_up = up;
                std::thread::sleep(Duration::from_millis(50));
            }
            seen
        });
        Streams { stop, thread }
    }

    fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the observer ends")
    }
}

const LIMIT: Duration = Duration::from_secs(2);

fn asked(endpoint: &str) -> Option<Value> {
    let answer = http::get(endpoint, "/jsz?accounts=true&streams=true", LIMIT).ok()?;
    Some(answer.json())
}

/// Whether this server leads the stream and says that all its replicas are current.
fn whole(answer: &Value) -> bool {
    let streams = answer["account_details"][0]["stream_detail"].as_array();
    streams.is_some_and(|streams| {
        !streams.is_empty()
            && streams.iter().all(|stream| {
                let replicas = stream["cluster"]["replicas"].as_array();
                replicas.is_some_and(|replicas| {
                    replicas.len() == 2 && replicas.iter().all(|replica| replica["current"] == true)
                })
            })
    })
}

/// The second server gets a release whose program ends at once.
fn bad_release() -> Outcome {
    harness::only_when_exhaustive("a minute")?;
    let fixture = Fixture::nats("2.10.26", &["2.11.11"])?;
    let good = fixture
        .upshift
        .packages
        .join("nats-server-v2.11.11-linux-amd64.tar.gz");
    let unpacked = fixture.directory().join("unpacked");
    package::unpack(&good, &unpacked).expect("the package is unpacked");
    let program = unpacked.join("nats-server-v2.11.11-linux-amd64/nats-server");
    let second = &fixture.cluster.members()[1];
    // It tells its version, and serves everywhere but on the second server.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *{}*) echo 'the disk is on fire' >&2; exit 1;; esac\nexec \"$(dirname \"$(readlink -f \"$0\")\")/real\" \"$@\"\n",
        second.config_file.display()
    );
    let entries = [
        Entry {
            name: "nats-server-v2.11.11-linux-amd64/nats-server",
            mode: 0o755,
            contents: Contents::Bytes(script.as_bytes()),
        },
        Entry {
            name: "nats-server-v2.11.11-linux-amd64/real",
            mode: 0o755,
            contents: Contents::File(&program),
        },
    ];
    package::write_tar_gz(&good, &entries).expect("the bad package is written");
    let load = Load::start(&fixture.cluster.client(), "load", 50);
    begun(&load);
    fixture.upshift.run(&to("2.11.11")).expect(4);
    println!("    {:?}", load.reasons());
    let report = load.finish().expect("the stream is read");
    println!("    {report:?}");
    assert_eq!(report.lost, 0, "{report:?}");
    fixture.expect_all("2.10.26");
    fixture.expect_nothing_left();
    Ok(())
}
