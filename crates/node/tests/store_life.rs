//! The life of releases in the store: the statuses, every repetition, and agents that die in the middle.

mod support;

use std::fs;

use serde_json::json;
use support::{
    Agent, World, artifact, ask_release, install, order, package, process, release_request, service, start,
    stop, switch,
};
use upshift_model::action::Artifact;
use upshift_model::facts::ReleaseStatus::{Current, Old, Permanent, Unpacked};
use upshift_model::release::{ReleaseAnswer, ReleaseCall, ReleaseOutcome};
use upshift_wire::protocol::Request;

fn request(world: &World, call: ReleaseCall) -> Request {
    release_request(service(world), call)
}

fn ask(agent: &mut Agent, world: &World, call: ReleaseCall) -> ReleaseAnswer {
    ask_release(agent, service(world), call)
}

fn unpack(version: &str, artifact: Option<&Artifact>) -> ReleaseCall {
    ReleaseCall::Unpack {
        artifact: artifact.cloned(),
        version: version.to_owned(),
        strip: 1,
    }
}

fn to(version: &str, permanent: bool) -> ReleaseCall {
    ReleaseCall::Install {
        artifact: None,
        version: version.to_owned(),
        strip: 1,
        permanent,
    }
}

fn uninstall(version: &str) -> ReleaseCall {
    ReleaseCall::Uninstall {
        version: version.to_owned(),
    }
}

fn says(agent: &mut Agent, world: &World, call: ReleaseCall, outcome: ReleaseOutcome, lines: &[&str]) {
    let answer = ask(agent, world, call);
    assert_eq!(
        (answer.outcome, answer.lines),
        (outcome, lines.iter().map(|line| (*line).to_owned()).collect())
    );
}

/// A server that runs 1.0, with 2.0 unpacked.
fn running(world: &World) -> Agent {
    let mut agent = world.agent();
    install(&mut agent, 1, "1.0");
    install(&mut agent, 3, "2.0");
    agent.done(5, switch("1.0"));
    agent.done(6, start(world));
    agent
}

fn runs(agent: &mut Agent, world: &World) -> serde_json::Value {
    agent.observe(process(world))["release"].clone()
}

#[test]
fn every_repetition_is_answered_as_the_vendor_answers_it() {
    use ReleaseOutcome::{Done, Refused};
    let world = World::new();
    let mut agent = running(&world);
    let (third, contents) = package("3.0");
    agent.put(&third, &contents).unwrap();
    let mut said = |call, outcome, lines: &[&str]| says(&mut agent, &world, call, outcome, lines);
    said(
        unpack("3.0", Some(&third)),
        Done,
        &["Unpacked successfully: \"3.0\""],
    );
    said(
        unpack("3.0", Some(&third)),
        Done,
        &["Release 3.0 is already unpacked."],
    );
    said(
        unpack("4.0", None),
        Refused,
        &[
            "Unpack failed: release_package_not_found.",
            "Installed versions:",
            "* 1.0\tpermanent",
            "* 2.0\tunpacked",
            "* 3.0\tunpacked",
        ],
    );
    said(
        to("2.0", false),
        Done,
        &[
            "Release 2.0 is already unpacked, now installing.",
            "Installed Release: 2.0.",
        ],
    );
    said(
        to("2.0", false),
        Done,
        &["Release 2.0 is already installed and current."],
    );
    said(
        unpack("2.0", None),
        Done,
        &["Release 2.0 is already installed and current."],
    );
    said(
        uninstall("2.0"),
        Refused,
        &["Uninstall failed: Release 2.0 is marked current."],
    );
    said(
        uninstall("1.0"),
        Refused,
        &["Uninstall failed: Release 1.0 is running."],
    );
    said(
        to("2.0", true),
        Done,
        &[
            "Release 2.0 is already installed and current, making permanent.",
            "Made release permanent: \"2.0\"",
        ],
    );
    said(
        to("2.0", true),
        Done,
        &["Release 2.0 is already installed, running and set permanent."],
    );
    said(
        unpack("2.0", None),
        Done,
        &["Release 2.0 is already installed and set permanent."],
    );
    said(unpack("1.0", None), Done, &["Release 1.0 is marked old."]);
    said(
        to("1.0", true),
        Done,
        &[
            "Release 1.0 is marked old, switching to it.",
            "Installed Release: 1.0.",
            "Made release permanent: \"1.0\"",
        ],
    );
    said(
        uninstall("2.0"),
        Done,
        &[
            "Release 2.0 is marked old, uninstalling it.",
            "Uninstalled Release: 2.0",
        ],
    );
    said(
        uninstall("3.0"),
        Done,
        &[
            "Release 3.0 is marked unpacked, uninstalling it",
            "Uninstalled Release: 3.0",
        ],
    );
    said(uninstall("3.0"), Done, &["Release 3.0 is already uninstalled."]);
    assert_eq!(runs(&mut agent, &world), "1.0");
}

#[test]
fn what_was_not_made_permanent_is_gone_with_the_next_start() {
    let world = World::new();
    let mut agent = running(&world);
    let answer = ask(&mut agent, &world, to("2.0", false));
    assert_eq!(answer.outcome, ReleaseOutcome::Done, "{answer:?}");
    assert_eq!(
        answer.releases,
        [("1.0".to_owned(), Permanent), ("2.0".to_owned(), Current)].into()
    );
    assert_eq!(runs(&mut agent, &world), "2.0");
    agent.done(7, stop(&world));
    agent.done(8, start(&world));
    assert_eq!(runs(&mut agent, &world), "1.0");
    let answer = ask(&mut agent, &world, ReleaseCall::List);
    assert_eq!(
        answer.releases,
        [("1.0".to_owned(), Permanent), ("2.0".to_owned(), Old)].into()
    );
    // The permanent one that does not run is not removed either.
    ask(&mut agent, &world, to("2.0", false));
    let refused = ask(&mut agent, &world, uninstall("1.0"));
    assert_eq!(refused.outcome, ReleaseOutcome::Refused);
}

#[test]
fn a_release_that_does_not_run_is_taken_back() {
    let world = World::new();
    let mut agent = running(&world);
    // A release without its program.
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(3);
    builder
        .append_data(&mut header, "server-3.0/VERSION", &b"3.0"[..])
        .unwrap();
    let contents = builder.into_inner().unwrap().finish().unwrap();
    let broken = artifact("3.0", &contents);
    agent.put(&broken, &contents).unwrap();
    ask(&mut agent, &world, unpack("3.0", Some(&broken)));
    let answer = ask(&mut agent, &world, to("3.0", true));
    assert_eq!(answer.outcome, ReleaseOutcome::RolledBack, "{answer:?}");
    assert_eq!(answer.releases["1.0"], Permanent);
    assert_eq!(runs(&mut agent, &world), "1.0");
}

#[test]
fn an_agent_that_dies_at_any_point_leaves_one_consistent_state() {
    for point in [
        "release-announced",
        "release-current",
        "release-stopped",
        "release-installed",
        "unpacked",
    ] {
        let world = World::new();
        running(&world).close();
        let mut dying = world.failing(&format!("{point}=abort"));
        let (third, contents) = package("3.0");
        dying.put(&third, &contents).unwrap();
        let call = match point {
            "unpacked" => unpack("3.0", Some(&third)),
            _ => to("2.0", false),
        };
        dying.send(request(&world, call.clone()), &[]);
        dying.died();
        let mut agent = world.agent();
        let seen = ask(&mut agent, &world, ReleaseCall::List).releases;
        let count = |status| seen.values().filter(|found| **found == status).count();
        assert_eq!(count(Permanent), 1, "{point}: {seen:?}");
        assert_eq!(seen["1.0"], Permanent, "{point}");
        assert!(!seen.contains_key("3.0"), "{point}: half a release counts");
        // A start by anybody but an installation runs what is permanent; and the call can be made again.
        agent.done(7, stop(&world));
        agent.done(8, start(&world));
        assert_eq!(runs(&mut agent, &world), "1.0", "{point}");
        if point == "unpacked" {
            assert_eq!(ask(&mut agent, &world, call).releases["3.0"], Unpacked);
            continue;
        }
        let answer = ask(&mut agent, &world, call);
        assert_eq!(answer.outcome, ReleaseOutcome::Done, "{point}: {answer:?}");
        assert_eq!(runs(&mut agent, &world), "2.0", "{point}");
    }
}

#[test]
fn a_switch_that_dies_between_its_links_starts_what_was_asked_for() {
    let world = World::new();
    running(&world).close();
    let mut dying = world.failing("switch-between-links=abort");
    dying.send(Request::Execute(Box::new(order(7, switch("2.0")))), &[]);
    dying.died();
    let link = |name: &str| fs::read_link(world.state().join("store").join(name)).unwrap();
    assert_eq!(link("permanent"), std::path::Path::new("releases/2.0"));
    let mut agent = world.agent();
    agent.done(8, switch("2.0"));
    assert_eq!(link("current"), link("permanent"));
}

#[test]
fn only_who_holds_the_fleet_changes_releases() {
    let world = World::new();
    let mut agent = running(&world);
    let order = |token| {
        let Request::Release(mut order) = request(&world, uninstall("2.0")) else {
            unreachable!("it was made so");
        };
        order.token = token;
        Request::Release(order)
    };
    assert!(
        agent
            .call(order(None))
            .unwrap_err()
            .contains("who holds the fleet")
    );
    agent.call(order(Some(5))).unwrap();
    assert!(
        agent
            .call(order(Some(4)))
            .unwrap_err()
            .contains("another controller")
    );
    assert_eq!(json!(ask_list(&mut agent, &world)), json!({"1.0": "permanent"}));
}

fn ask_list(
    agent: &mut Agent,
    world: &World,
) -> std::collections::BTreeMap<String, upshift_model::facts::ReleaseStatus> {
    ask(agent, world, ReleaseCall::List).releases
}

#[test]
fn a_unit_runs_what_is_permanent_once_the_agent_was_asked_first() {
    let world = World::new();
    let mut agent = running(&world);
    ask(&mut agent, &world, to("2.0", false));
    agent.done(7, stop(&world));
    agent.close();
    // What a unit has as ExecStartPre.
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_upshift-node"))
        .args(["settle", "--state"])
        .arg(world.state())
        .status()
        .unwrap();
    assert!(status.success());
    let link = fs::read_link(world.state().join("store/current")).unwrap();
    assert_eq!(link, std::path::Path::new("releases/1.0"));
}
