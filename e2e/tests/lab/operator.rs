//! What operators do around an upgrade: look, pause, resume, roll back, clean up.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use upshift_e2e::fixture::Fixture;
use upshift_e2e::harness::{Case, Outcome};
use upshift_e2e::program::{Ran, Upshift, built};
use upshift_lab::processes;

use crate::basics::to;

pub const TRIALS: &[Case] = &[
    ("an_operator_sees_what_was_done", looking),
    ("yes_alone_crosses_no_point_of_no_return", yes_alone),
    ("a_good_upgrade_is_taken_back_when_asked", taken_back),
    ("a_paused_run_goes_on_when_asked", paused),
    ("an_aborted_run_rolls_back", aborted),
    ("a_run_that_was_left_is_resumed", left),
    ("a_plan_is_kept_and_executed", kept_plan),
    ("servers_installed_without_upshift_are_adopted", adopted),
    ("a_person_at_a_terminal_is_asked", asked),
];

const LONG: Duration = Duration::from_secs(120);

/// Runs a command, prints what it said (shown where the test fails), and demands a status.
fn run(upshift: &Upshift, arguments: &[&str], status: i32) -> Ran {
    let ran = upshift.run(arguments);
    println!("$ upshift {}\n{}", arguments.join(" "), ran.text());
    ran.expect(status)
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(
            ran.stdout.contains(word) || ran.stderr.contains(word),
            "`{word}` is not in\n{}",
            ran.text()
        );
    }
}

/// The newest run, as `status` has it.
fn newest(upshift: &Upshift) -> Value {
    upshift.run(&["status", "--output", "json"]).last_json()["run"].clone()
}

/// Waits until the newest run has come to something.
#[track_caller]
fn wait_for(upshift: &Upshift, what: &str, holds: impl Fn(&Value) -> bool) {
    assert!(
        processes::poll(LONG, || holds(&newest(upshift))),
        "{what}: {:#}",
        newest(upshift)
    );
}

fn looking() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let upshift = &fixture.upshift;
    says(
        &run(upshift, &["check"], 0),
        &["n1", "1.0.0", "all checks passed"],
    );
    says(
        &run(upshift, &["check", "--to", "1.0.1"], 0),
        &["the way is 1.0.0 → 1.0.1"],
    );
    says(&run(upshift, &["status"], 0), &["n3", "leader", "healthy"]);
    run(upshift, &["why"], 2);
    run(upshift, &["plan", "--to", "1.0.1", "--exit-code"], 10);
    let metrics = fixture.cluster.directory().join("upshift.prom");
    let upgrade: Vec<String> = to("1.0.1");
    let mut upgrade: Vec<&str> = upgrade.iter().map(String::as_str).collect();
    upgrade.extend(["--metrics-file", metrics.to_str().expect("a path")]);
    says(&run(upshift, &upgrade, 0), &["upgraded after", "OWN STOP+START"]);
    let kept = std::fs::read_to_string(&metrics).expect("metrics");
    let line = |text: &str, words: &[&str], end: &str| {
        let mut lines = text.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)) && line.ends_with(end))
    };
    assert!(
        line(&kept, &["upshift_run_state{", "state=\"upgraded\""], " 1.0"),
        "{kept}"
    );
    assert!(
        line(&kept, &["upshift_run_state{", "state=\"driven\""], " 0.0"),
        "{kept}"
    );
    let seen = run(upshift, &["status", "--output", "metrics"], 0).stdout;
    assert!(
        line(
            &seen,
            &["upshift_server_version_info{", "host=\"n1\"", "version=\"1.0.1\""],
            " 1.0"
        ),
        "{seen}"
    );
    assert!(line(&seen, &["upshift_versions{"], " 1.0"), "{seen}");
    says(
        &run(upshift, &["plan", "--to", "1.0.1", "--exit-code"], 0),
        &["nothing to do"],
    );
    let listed = run(upshift, &["history", "--output", "json"], 0).last_json();
    let id = listed[0]["run"].as_str().expect("a run").to_owned();
    assert_eq!(listed[0]["outcome"], "upgraded");
    says(
        &run(upshift, &["report", "--output", "html"], 0),
        &["<!doctype html>", "<svg", "n3", "stop the lab server"],
    );
    says(&run(upshift, &["history"], 0), &[&id, "1.0.0", "1.0.1"]);
    says(&run(upshift, &["show", &id], 0), &["stop the lab server", "done"]);
    says(&run(upshift, &["why"], 0), &["upgraded", "upshift finalize"]);
    says(
        &run(upshift, &["report", &id, "--output", "markdown"], 0),
        &["# Run", "| n1 | 1.0.1 |"],
    );
    let journal = run(upshift, &["show", &id, "--journal"], 0);
    for line in journal.stdout.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    run(upshift, &["resume"], 3);
    run(upshift, &["pause"], 3);
    run(upshift, &["abort", "--yes"], 3);
    says(&run(upshift, &["finalize"], 3), &["--yes"]);
    says(&run(upshift, &["finalize", "--yes"], 0), &["finalized"]);
    for member in fixture.cluster.members() {
        assert!(!member.state_directory.join("store/releases/1.0.0").exists());
    }
    says(&run(upshift, &["rollback", "--yes"], 3), &["finalized"]);
    fixture.expect_all("1.0.1");
    fixture.expect_nothing_left();
    Ok(())
}

fn yes_alone() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    let ran = run(&fixture.upshift, &["upgrade", "--to", "1.1.0", "--yes"], 3);
    says(
        &ran,
        &["point of no return", "--accept-no-return", "Nothing was changed"],
    );
    says(
        &run(&fixture.upshift, &["upgrade", "--to", "1.1.0"], 3),
        &["there is no terminal", "--yes"],
    );
    assert_eq!(newest(&fixture.upshift), Value::Null);
    fixture.expect_all("1.0.0");
    Ok(())
}

fn taken_back() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let before = fixture.cluster.configurations().expect("configurations");
    fixture.upshift.run(&to("1.0.1")).expect(0);
    fixture.expect_all("1.0.1");
    says(&run(&fixture.upshift, &["rollback"], 3), &["--yes"]);
    says(
        &run(&fixture.upshift, &["rollback", "--all-at-once", "--yes"], 3),
        &["is not held in its rollback", "Nothing was changed"],
    );
    fixture.expect_all("1.0.1");
    says(
        &run(&fixture.upshift, &["rollback", "--yes"], 0),
        &["rolled back"],
    );
    fixture.expect_all("1.0.0");
    assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
    says(&run(&fixture.upshift, &["history"], 0), &["rolled back"]);
    says(&fixture.upshift.run(&to("1.0.1")).expect(3), &["--again"]);
    fixture.expect_nothing_left();
    Ok(())
}

/// An upgrade that takes its time between servers.
fn slow_upgrade() -> Vec<String> {
    let mut arguments = to("1.0.1");
    let between = arguments
        .iter()
        .position(|word| word == "--soak-between")
        .expect("an option")
        + 1;
    arguments[between] = "3s".to_owned();
    arguments
}

fn one_done(run: &Value) -> bool {
    let nodes = run["view"]["nodes"].as_array().cloned().unwrap_or_default();
    nodes.iter().filter(|node| node["done"] == true).count() >= 1
}

fn paused() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let upshift = &fixture.upshift;
    let upgrade = upshift.start(&slow_upgrade());
    wait_for(upshift, "no server was upgraded", one_done);
    says(&run(upshift, &["pause"], 0), &["told the controller"]);
    wait_for(upshift, "it does not pause", |run| {
        run["view"]["pause"] == "reached"
    });
    says(&run(upshift, &["why"], 0), &["paused"]);
    says(
        &run(upshift, &["upgrade", "--to", "1.0.1", "--yes"], 3),
        &["is held by"],
    );
    run(upshift, &["resume"], 0);
    let ran = upgrade.finish(LONG);
    println!("{}", ran.text());
    ran.expect(0);
    fixture.expect_all("1.0.1");
    fixture.expect_nothing_left();
    Ok(())
}

fn aborted() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let upshift = &fixture.upshift;
    let upgrade = upshift.start(&slow_upgrade());
    wait_for(upshift, "no server was upgraded", one_done);
    run(upshift, &["abort", "--yes"], 0);
    let ran = upgrade.finish(LONG);
    println!("{}", ran.text());
    says(&ran, &["asked to roll back"]);
    ran.expect(4);
    fixture.expect_all("1.0.0");
    fixture.expect_nothing_left();
    Ok(())
}

fn left() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let upshift = &fixture.upshift;
    let upgrade = upshift.start(&slow_upgrade());
    wait_for(upshift, "no server was upgraded", one_done);
    upgrade.signal(Signal::INT);
    let ran = upgrade.finish(LONG);
    println!("{}", ran.text());
    says(&ran, &["Ctrl-C", "paused", "upshift resume"]);
    ran.expect(5);
    says(&run(upshift, &["why"], 0), &["paused"]);
    says(&run(upshift, &["status"], 3), &["several versions"]);
    says(
        &run(upshift, &["upgrade", "--to", "1.0.1", "--yes"], 3),
        &["is held", "upshift resume"],
    );
    run(upshift, &["pause"], 3);
    run(upshift, &["resume"], 0);
    fixture.expect_all("1.0.1");
    fixture.expect_nothing_left();
    Ok(())
}

fn kept_plan() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let upshift = &fixture.upshift;
    let file = fixture.directory().join("upgrade.plan");
    let file = file.to_str().expect("text");
    let picture = fixture.directory().join("plan.svg");
    says(
        &run(
            upshift,
            &["plan", "--to", "1.0.1", "--soak", "1s", "-o", file, "--picture"],
            0,
        ),
        &["written to", "n1"],
    );
    run(
        upshift,
        &[
            "plan",
            "--to",
            "1.0.1",
            "--output",
            "svg",
            "-o",
            picture.to_str().expect("text"),
        ],
        0,
    );
    assert!(
        std::fs::read_to_string(&picture)
            .expect("a picture")
            .starts_with("<svg")
    );
    says(
        &run(upshift, &["plan", "--to", "1.0.1", "--output", "markdown"], 0),
        &["# "],
    );
    let fingerprint = run(
        upshift,
        &["plan", "--to", "1.0.1", "--soak", "1s", "--output", "json"],
        0,
    )
    .last_json();
    let kept: Value = serde_json::from_slice(&std::fs::read(file).expect("a plan")).expect("JSON");
    assert_eq!(
        fingerprint["fingerprint"], kept["fingerprint"],
        "the same facts make the same plan"
    );
    // A plan that another program wrote, or somebody changed, is not one of ours.
    let foreign = fixture.directory().join("foreign.plan");
    let mut without_seal = kept.clone();
    without_seal.as_object_mut().expect("an object").remove("seal");
    std::fs::write(&foreign, without_seal.to_string()).expect("a file");
    let changed = fixture.directory().join("changed.plan");
    let mut other = kept.clone();
    other["warnings"] = serde_json::json!(["nothing to see here"]);
    std::fs::write(&changed, other.to_string()).expect("a file");
    let (foreign, changed) = (foreign.to_str().expect("text"), changed.to_str().expect("text"));
    says(
        &run(upshift, &["upgrade", "--plan", changed, "--yes"], 3),
        &["not made here", "was changed since", "--trust-plan"],
    );
    says(
        &run(upshift, &["upgrade", "--plan", foreign, "--yes"], 3),
        &["not made here", "it has no seal", "--trust-plan"],
    );
    fixture.expect_all("1.0.0");
    let arguments = vec!["upgrade", "--plan", foreign, "--trust-plan", "--yes"];
    let ran = run(upshift, &[arguments, vec!["--output", "json"]].concat(), 0);
    says(&ran, &["is trusted. It runs:", "store/current/labd"]);
    assert_eq!(ran.last_json()["type"], "report");
    assert_eq!(ran.last_json()["outcome"], "upgraded");
    fixture.expect_all("1.0.1");
    let broken = fixture.directory().join("broken.plan");
    std::fs::write(&broken, "{\"format\": 99}").expect("a file");
    says(
        &run(upshift, &["upgrade", "--plan", broken.to_str().expect("text")], 2),
        &["format 99"],
    );
    Ok(())
}

fn adopted() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.0.1", |_| {});
    let upshift = &fixture.upshift;
    let store = |position: usize| fixture.cluster.members()[position].state_directory.join("store");
    for position in 0..3 {
        // As if somebody else had installed it: no release of the store runs.
        let elsewhere = fixture.cluster.directory().join(format!("installed-{position}"));
        std::fs::rename(store(position), elsewhere).expect("a directory is moved");
    }
    let pids: Vec<_> = (0..3).map(|position| fixture.cluster.pid(position)).collect();
    says(
        &run(upshift, &["adopt"], 0),
        &["distribute lab-1.0.0.tar.gz", "prepared"],
    );
    assert_eq!(
        (0..3)
            .map(|position| fixture.cluster.pid(position))
            .collect::<Vec<_>>(),
        pids
    );
    for position in 0..3 {
        let current = std::fs::read_link(store(position).join("current")).expect("a link");
        assert_eq!(current.to_string_lossy(), "releases/1.0.0");
    }
    says(&run(upshift, &["adopt"], 0), &["nothing was changed"]);
    fixture.upshift.run(&to("1.0.1")).expect(0);
    fixture.expect_all("1.0.1");
    says(&run(upshift, &["rollback", "--yes"], 0), &["rolled back"]);
    fixture.expect_all("1.0.0");
    Ok(())
}

/// Runs a command at a terminal at which a person types.
fn at_a_terminal(upshift: &Upshift, arguments: &[&str], typed: &str) -> (Option<i32>, String) {
    let command = format!("'{}' {}", built("upshift").display(), arguments.join(" "));
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("UPSHIFT_FLEET", &upshift.fleet)
        .env("UPSHIFT_PACKAGES", &upshift.packages)
        .env("UPSHIFT_STATE_DIR", &upshift.state)
        .env("UPSHIFT_AGENT", built("upshift-node"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a terminal");
    let mut keyboard = child.stdin.take().expect("a keyboard");
    keyboard.write_all(typed.as_bytes()).expect("typing");
    let mut screen = child.stdout.take().expect("a screen");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _closed = screen.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let status = processes::wait(&mut child, LONG);
    if status.is_none() {
        let _ended = child.kill();
    }
    drop(keyboard);
    let text = reader.join().expect("what was shown");
    println!("$ upshift {}\n{text}", arguments.join(" "));
    (status.and_then(|status| status.code()), text)
}

fn asked() -> Outcome {
    let fixture = Fixture::lab();
    fixture.add_release("1.1.0", |_| {});
    let arguments = [
        "upgrade",
        "--to",
        "1.1.0",
        "--soak",
        "1s",
        "--soak-between",
        "100ms",
    ];
    let (status, text) = at_a_terminal(&fixture.upshift, &arguments, "n\n");
    assert!(
        status == Some(3) && text.contains("Carry out this plan?") && text.contains("Nothing was changed")
    );
    let (status, text) = at_a_terminal(&fixture.upshift, &arguments, "y\ny\n");
    assert!(
        status == Some(3) && text.contains("Cross it?") && text.contains("Nothing was changed"),
        "y is not yes"
    );
    fixture.expect_all("1.0.0");
    let (status, text) = at_a_terminal(&fixture.upshift, &arguments, "y\nyes\n");
    assert!(status == Some(0) && text.contains("upgraded after"));
    fixture.expect_all("1.1.0");
    fixture.expect_nothing_left();
    Ok(())
}
