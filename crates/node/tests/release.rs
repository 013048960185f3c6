//! Releases: sent once, unpacked safely, switched in one step; and what happens when there is no room.

mod support;

use std::fs;

use serde_json::json;
use support::{Small, World, action, artifact, install, order, package, probe, switch};
use upshift_model::action::{Action, Artifact, Report};
use upshift_wire::protocol::Request;

fn unpack(artifact: &Artifact) -> Action {
    action(json!({"unpack": {"artifact": artifact, "strip": 1}}))
}

#[test]
fn a_release_is_sent_once_unpacked_and_switched() {
    let world = World::new();
    let mut agent = world.agent();
    let (artifact, contents) = package("1.0");
    let not_sent = agent.order(&order(1, Action::Distribute(artifact.clone())));
    assert!(
        matches!(&not_sent, Report::Transient { reason } if reason.contains("not been sent")),
        "{not_sent:?}"
    );
    assert_eq!(agent.put(&artifact, &contents), Ok(contents.len()));
    assert_eq!(agent.put(&artifact, &contents), Ok(0), "nothing is sent twice");
    agent.done(2, Action::Distribute(artifact.clone()));
    assert_eq!(agent.done(3, unpack(&artifact))["already"], false);
    assert_eq!(agent.done(4, unpack(&artifact))["already"], true);
    assert_eq!(
        agent.observe(probe(json!("releases"))),
        json!({"current": null, "permanent": null, "releases": {"1.0": "unpacked"}})
    );
    agent.done(5, switch("1.0"));
    assert_eq!(
        fs::read_to_string(world.state().join("store/current/VERSION")).unwrap(),
        "1.0"
    );
    assert_eq!(
        agent.observe(probe(json!("releases"))),
        json!({"current": "1.0", "permanent": "1.0", "releases": {"1.0": "permanent"}})
    );
    let hello = agent.hello();
    assert_eq!(hello["cached"], json!([artifact.sha256]));
    assert_eq!(hello["releases"], json!({"1.0": "permanent"}));
    let refused = agent.order(&order(6, action(json!({"remove_release": "1.0"}))));
    assert!(
        matches!(&refused, Report::Failed { reason } if reason.contains("current")),
        "{refused:?}"
    );
}

#[test]
fn a_release_that_was_altered_after_it_was_unpacked_is_not_switched_to_and_is_unpacked_again() {
    let world = World::new();
    let mut agent = world.agent();
    for (version, attempt) in [("1.0", 1), ("2.0", 2)] {
        let (artifact, contents) = package(version);
        agent.put(&artifact, &contents).unwrap();
        agent.done(attempt, unpack(&artifact));
    }
    let program = |version: &str| {
        let release = world.state().join("store/releases").join(version);
        release.join("bin/server")
    };
    let original = fs::read(program("2.0")).unwrap();
    let alter = |version: &str| fs::write(program(version), "#!/bin/sh\n# altered\n").unwrap();
    agent.done(3, switch("1.0"));
    alter("2.0");
    let refused = agent.order(&order(4, switch("2.0")));
    assert!(
        matches!(&refused, Report::Failed { reason } if reason.contains("bin/server has been altered")),
        "{refused:?}"
    );
    let current = |agent: &mut support::Agent| agent.observe(probe(json!("releases")))["current"].clone();
    assert_eq!(current(&mut agent), "1.0", "nothing was changed");
    let (artifact, _) = package("2.0");
    assert_eq!(
        agent.done(5, unpack(&artifact))["already"],
        false,
        "from its package"
    );
    assert_eq!(fs::read(program("2.0")).unwrap(), original);
    agent.done(6, switch("2.0"));
    // The same in a rollback: the old release was altered while the new one ran.
    alter("1.0");
    let refused = agent.order(&order(7, switch("1.0")));
    assert!(
        matches!(&refused, Report::Failed { reason } if reason.contains("release 1.0") && reason.contains("altered")),
        "{refused:?}"
    );
    assert_eq!(current(&mut agent), "2.0");
    // What is in use is not replaced under the server that runs it.
    alter("2.0");
    let refused = agent.order(&order(8, unpack(&artifact)));
    assert!(matches!(&refused, Report::Failed { .. }), "{refused:?}");
}

#[test]
fn a_file_goes_on_after_a_lost_connection() {
    let world = World::new();
    let contents: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let artifact = artifact("1.0", &contents);
    let mut agent = world.agent();
    agent.call(Request::PutBegin(artifact.clone())).unwrap();
    let chunk = Request::PutChunk {
        sha256: artifact.sha256.clone(),
        offset: 0,
    };
    let id = agent.send(chunk, &contents[..3_000_000]);
    agent.answer(id).unwrap().unwrap();
    agent.kill();
    assert_eq!(world.agent().put(&artifact, &contents), Ok(1_000_000));
    let kept = fs::read(world.state().join("store/packages").join(&artifact.sha256)).unwrap();
    assert!(kept == contents);
}

#[test]
fn a_wrong_digest_and_a_damaged_file_are_refused_before_anything_is_unpacked() {
    let world = World::new();
    let mut agent = world.agent();
    let (artifact, mut contents) = package("1.0");
    contents[1000] ^= 1;
    assert!(agent.put(&artifact, &contents).unwrap_err().contains("digest"));
    contents[1000] ^= 1;
    agent.put(&artifact, &contents).unwrap();
    contents[1000] ^= 1;
    fs::write(
        world.state().join("store/packages").join(&artifact.sha256),
        &contents,
    )
    .unwrap();
    let report = agent.order(&order(1, unpack(&artifact)));
    assert!(
        matches!(&report, Report::Transient { reason } if reason.contains("not been sent")),
        "{report:?}"
    );
    assert_eq!(agent.observe(probe(json!("releases")))["releases"], json!({}));
}

#[test]
fn an_unpacking_that_was_cut_short_leaves_nothing_and_is_done_again() {
    for failpoint in ["unpack-file=abort", "unpacked=abort"] {
        let world = World::new();
        let (artifact, contents) = package("1.0");
        let mut agent = world.failing(failpoint);
        agent.put(&artifact, &contents).unwrap();
        let id = agent.send(Request::Execute(Box::new(order(1, unpack(&artifact)))), &[]);
        assert_eq!(agent.report(id), None, "{failpoint}");
        agent.died();
        let mut agent = world.agent();
        assert_eq!(agent.order(&order(1, unpack(&artifact))), Report::Interrupted);
        assert_eq!(
            agent.observe(probe(json!("releases")))["releases"],
            json!({}),
            "half a release is none"
        );
        let mut again = order(1, unpack(&artifact));
        again.attempt = 2;
        assert!(matches!(agent.order(&again), Report::Done { .. }));
        assert!(!world.state().join("store/staging").exists());
        assert_eq!(
            agent.observe(probe(json!("releases")))["releases"],
            json!({"1.0": "unpacked"})
        );
    }
}

#[test]
fn another_file_under_the_version_that_is_in_use_is_refused() {
    let world = World::new();
    let mut agent = world.agent();
    install(&mut agent, 1, "1.0");
    agent.done(3, switch("1.0"));
    let (other, contents) = package("2.0");
    let other = Artifact {
        version: "1.0".to_owned(),
        ..other
    };
    agent.put(&other, &contents).unwrap();
    let report = agent.order(&order(4, unpack(&other)));
    assert!(
        matches!(&report, Report::Failed { reason } if reason.contains("another version")),
        "{report:?}"
    );
    assert_eq!(
        fs::read_to_string(world.state().join("store/current/VERSION")).unwrap(),
        "1.0"
    );
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left_on_it() {
    let world = World::new();
    let Some(small) = Small::new(&world) else { return };
    let mut agent = world.agent();
    // Small as a package, too large unpacked.
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for number in 0..10 {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(1 << 20);
        builder
            .append_data(&mut header, format!("p/{number}"), &vec![number; 1 << 20][..])
            .unwrap();
    }
    let contents = builder.into_inner().unwrap().finish().unwrap();
    let large = artifact("2.0", &contents);
    agent.put(&large, &contents).unwrap();
    let before = agent.observe(probe(json!({"disk": small.path})))["free"]
        .as_u64()
        .unwrap();
    let report = agent.order(&order(1, unpack(&large)));
    let Report::Failed { reason } = report else {
        panic!("{report:?}")
    };
    let mount = small.path.canonicalize().unwrap();
    assert!(reason.contains(mount.to_str().unwrap()), "{reason}");
    assert!(
        reason.contains("needs 10485760 bytes") && reason.contains("bytes are free"),
        "{reason}"
    );
    let after = agent.observe(probe(json!({"disk": small.path})))["free"]
        .as_u64()
        .unwrap();
    assert!(before - after < 128 * 1024, "{before} before, {after} after");
    assert_eq!(agent.observe(probe(json!("releases")))["releases"], json!({}));

    // A package that does not even fit is refused before it is sent.
    let huge = Artifact {
        size: 1 << 30,
        ..artifact("3.0", b"")
    };
    let refused = agent.call(Request::PutBegin(huge)).unwrap_err();
    assert!(refused.contains("needs 1073741824 bytes"), "{refused}");

    // Saving fails as cleanly.
    fs::write(world.path("data"), vec![1; 8 << 20]).unwrap();
    let report = agent.order(&order(
        2,
        action(json!({"save": {"name": "data", "paths": [world.path("data")]}})),
    ));
    assert!(
        matches!(&report, Report::Failed { reason } if reason.contains("needs 8388608 bytes")),
        "{report:?}"
    );
    assert_eq!(agent.observe(probe(json!({"saved": "data"})))["exists"], false);
    let after = agent.observe(probe(json!({"disk": small.path})))["free"]
        .as_u64()
        .unwrap();
    assert!(before - after < 128 * 1024, "{before} before, {after} after");
    drop(agent);
}

#[test]
fn on_a_full_disk_the_rollback_is_still_open() {
    let world = World::new();
    let Some(small) = Small::new(&world) else { return };
    let mut agent = world.agent();
    install(&mut agent, 1, "1.0");
    agent.done(3, switch("1.0"));
    fs::create_dir_all(world.path("etc")).unwrap();
    fs::write(world.path("etc/conf"), "old").unwrap();
    agent.done(
        4,
        action(json!({"save": {"name": "conf", "paths": [world.path("etc")]}})),
    );
    fs::write(world.path("etc/conf"), "new").unwrap();
    small.fill();
    let mut step = 5;
    let refused = loop {
        let id = agent.send(Request::Execute(Box::new(order(step, switch("1.0")))), &[]);
        match agent.answer(id).unwrap() {
            Ok(_) if step < 5000 => step += 1,
            Ok(response) => panic!("still {response:?}"),
            Err(refused) => break refused,
        }
    };
    assert!(
        refused.contains("No space"),
        "forward, nothing is done that cannot be written down: {refused}"
    );
    let mut back = order(step + 1, action(json!({"restore": {"name": "conf"}})));
    back.forward = false;
    assert!(matches!(agent.order(&back), Report::Done { .. }));
    assert_eq!(fs::read_to_string(world.path("etc/conf")).unwrap(), "old");
    drop(agent);
}
