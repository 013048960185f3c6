//! Fleet files, hosts that cannot be reached, and journals that are not there: what operators read, and the exit statuses.

mod common;

use std::path::Path;

use common::{Ran, upshift};

/// A scratch directory with these files.
fn scratch(files: &[(&str, &str)]) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    for (name, text) in files {
        let path = scratch.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    scratch
}

#[track_caller]
fn check(name: &str, scratch: &Path, arguments: &[&str], status: i32) -> Ran {
    let ran = upshift(scratch, arguments);
    insta::assert_snapshot!(name, ran.transcript(scratch));
    assert_eq!(ran.status, status);
    ran
}

const UNREACHABLE: &str = "\
name: lab
products:
  etcd: { hosts: [n1, n2, n3] }
hosts:
  n1: { transport: { command: [sh, -c, 'echo no route to host >&2; exit 255'] } }
  n2: { transport: { command: [sh, -c, 'echo permission denied >&2; exit 255'] } }
  n3: { transport: { command: [no-such-program] } }
";

#[test]
fn no_fleet_file() {
    check("no-fleet-file", scratch(&[]).path(), &["check"], 2);
}

#[test]
fn a_fleet_file_with_mistakes() {
    let text = "name: lab\nproducts:\n  etcd: { hosts: [n1, n4] }\nhosts:\n  n1: { adress: 10.0.0.1 }\n";
    check(
        "fleet-with-mistakes",
        scratch(&[("fleet.yaml", text)]).path(),
        &["status"],
        2,
    );
}

#[test]
fn a_fleet_with_several_products() {
    let text = "name: lab\nproducts:\n  etcd: { hosts: [n1] }\n  emqx: { hosts: [n1] }\nhosts:\n  n1: {}\n";
    check(
        "several-products",
        scratch(&[("fleet.yaml", text)]).path(),
        &["check"],
        2,
    );
}

#[test]
fn a_fleet_without_known_products() {
    let inventory = "[web]\nw1\n";
    check(
        "no-known-product",
        scratch(&[("hosts.ini", inventory)]).path(),
        &["check", "-f", "hosts.ini"],
        2,
    );
}

#[test]
fn hosts_that_cannot_be_reached_are_all_named() {
    let scratch = scratch(&[("fleet.yaml", UNREACHABLE)]);
    check("unreachable", scratch.path(), &["check", "--to", "3.5.16"], 3);
}

#[test]
fn programs_read_refusals_as_json() {
    let scratch = scratch(&[("fleet.yaml", UNREACHABLE)]);
    let ran = upshift(
        scratch.path(),
        &["upgrade", "--to", "3.5.16", "--yes", "--output", "json"],
    );
    let line: serde_json::Value = serde_json::from_str(ran.stdout.trim()).expect("one line of JSON");
    assert_eq!((ran.status, line["exit"].as_str()), (3, Some("refused")));
    let codes: Vec<_> = line["refusals"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["code"])
        .collect();
    assert!(codes.contains(&&"unreachable".into()), "{line}");
}

#[test]
fn init_writes_a_fleet_that_is_read_again_and_overwrites_none() {
    let scratch = scratch(&[]);
    let arguments = [
        "init",
        "--product",
        "etcd",
        "--host",
        "n1=ops@10.0.0.1:2222",
        "--host",
        "n2",
        "--sudo",
    ];
    check("init", scratch.path(), &arguments, 0);
    check("init-again", scratch.path(), &arguments, 2);
    check(
        "init-without-product",
        scratch.path(),
        &["init", "--host", "n1"],
        2,
    );
    check(
        "init-with-a-strange-host",
        scratch.path(),
        &["init", "--product", "etcd", "--host", "n1=a:ssh"],
        2,
    );
}

#[test]
fn nothing_was_run_yet() {
    check("no-journal", scratch(&[]).path(), &["history"], 2);
    check(
        "why-without-runs",
        scratch(&[]).path(),
        &["why", "--state-dir", "elsewhere"],
        2,
    );
}

#[test]
fn a_plan_file_that_is_none() {
    let scratch = scratch(&[
        ("fleet.yaml", UNREACHABLE),
        ("plan.json", "{\"format\": 99}"),
        ("text", "not JSON"),
    ]);
    check(
        "plan-of-another-format",
        scratch.path(),
        &["upgrade", "--plan", "plan.json"],
        2,
    );
    check(
        "plan-that-is-none",
        scratch.path(),
        &["upgrade", "--plan", "text"],
        2,
    );
}

#[test]
fn a_profile_with_three_mistakes() {
    let shipped = upshift(scratch(&[]).path(), &["profile", "show", "etcd"]).stdout;
    let broken = shipped
        .replace("scheme: semver", "scheme: semantic")
        .replace("max_unavailable: 1", "max_unavailabel: 1")
        .replace("strategy: rolling", "strategy: roling");
    let scratch = scratch(&[("own.yaml", &broken)]);
    let ran = upshift(scratch.path(), &["profile", "lint", "own.yaml"]);
    assert_eq!(ran.status, 2);
    for words in [
        "own.yaml:",
        "semantic",
        "max_unavailabel",
        "max_unavailable",
        "roling",
        "rolling",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
}

#[test]
fn every_shipped_profile_is_without_mistakes() {
    let scratch = scratch(&[]);
    let listed = upshift(scratch.path(), &["profile", "ls", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let products: Vec<&str> = listed
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["product"].as_str())
        .collect();
    assert!(products.contains(&"etcd"));
    for product in products {
        let text = upshift(scratch.path(), &["profile", "show", product]).stdout;
        let file = format!("{product}.yaml");
        std::fs::write(scratch.path().join(&file), text).expect("a file");
        let linted = upshift(scratch.path(), &["profile", "lint", &file]);
        assert_eq!(linted.status, 0, "{}", linted.stdout);
    }
}
