//! Servers are left in the load balancer as they were found, however the upgrade ends.

use std::time::Duration;

use upshift_e2e::harness::{Case, Outcome};
use upshift_e2e::program::Upshift;
use upshift_lab::balancer::View;
use upshift_lab::processes;

use super::stage::{Stage, to};

pub const TRIALS: &[Case] = &[
    ("servers_out_of_service_stay_so", stay_so),
    ("the_last_server_that_takes_traffic_is_not_drained", the_last),
    (
        "after_a_rollback_servers_are_as_they_were_found",
        after_a_rollback,
    ),
    (
        "a_controller_killed_while_a_server_is_drained_leaves_nothing_behind",
        killed,
    ),
    (
        "guards_put_servers_back_that_speak_to_the_balancer_themselves",
        guards,
    ),
    (
        "a_server_that_the_balancer_does_not_know_stops_everything_before",
        unknown,
    ),
    ("a_load_balancer_that_cannot_be_reached_is_a_refusal", unreachable),
];

fn stay_so() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.1.0", |_| {});
    stage.set("n2", "maint");
    stage.with_host().run(&to("1.1.0")).expect(0);
    assert_eq!(stage.states(), ["UP", "MAINT", "UP"]);
    stage.fixture.expect_all("1.1.0");
    Ok(())
}

/// n2 was in maintenance and n3 was drained before: without n1 no server takes traffic.
fn the_last() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.1.0", |_| {});
    stage.set("n2", "maint");
    stage.set("n3", "drain");
    let ran = stage.with_host().run(&to("1.1.0")).expect(3);
    assert!(
        ran.text()
            .contains("n1 is the last one that takes traffic at lb1"),
        "{}",
        ran.text()
    );
    assert_eq!(stage.states(), ["UP", "MAINT", "DRAIN"]);
    stage.fixture.expect_all("1.0.0");
    Ok(())
}

fn after_a_rollback() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.0.1", |manifest| {
        manifest.misbehaviour.never_healthy = true;
    });
    let upshift = stage.with_host();
    let view = View::start(stage.balancer.socket());
    let ran = upshift.run(&to("1.0.1")).expect(4);
    let seen = view.finish();
    assert_eq!(
        (seen.given_while_out, seen.taken_out.len()),
        (0, 1),
        "{}",
        ran.text()
    );
    assert_eq!(stage.states(), ["UP", "UP", "UP"], "{}", ran.text());

    for member in ["n1", "n2", "n3"] {
        stage.set(member, "maint");
    }
    let again = [to("1.0.1"), vec!["--again".to_owned()]].concat();
    let ran = upshift.run(&again).expect(4);
    assert_eq!(stage.states(), ["MAINT", "MAINT", "MAINT"], "{}", ran.text());
    stage.fixture.expect_all("1.0.0");
    stage.fixture.expect_nothing_left();
    Ok(())
}

/// Waits until a controller has taken the first server out, and kills it.
#[track_caller]
fn kill_while_drained(stage: &Stage, upshift: &Upshift) {
    let upgrade = upshift.start(&to("1.1.0"));
    let out = || stage.states().iter().any(|state| state != "UP");
    assert!(
        processes::poll(Duration::from_secs(60), out),
        "nothing was drained"
    );
    upgrade.kill();
}

fn killed() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.1.0", |_| {});
    let upshift = stage.with_host();
    kill_while_drained(&stage, &upshift);
    upshift.run(&["resume", "--take-over"]).expect(0);
    assert_eq!(stage.states(), ["UP", "UP", "UP"]);
    stage.fixture.expect_all("1.1.0");
    Ok(())
}

fn guards() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.1.0", |_| {});
    kill_while_drained(&stage, &stage.with_servers());
    // Nobody comes back: the guard's lease of 20 seconds ends.
    let back = || stage.states() == ["UP", "UP", "UP"];
    assert!(
        processes::poll(Duration::from_secs(90), back),
        "{:?}",
        stage.states()
    );
    stage.fixture.expect_all("1.0.0");
    stage.fixture.expect_nothing_left();
    Ok(())
}

fn unknown() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.1.0", |_| {});
    let fleet = std::fs::read_to_string(&stage.with_host().fleet).expect("a fleet");
    let fleet = fleet.replace(
        "\"lab_url\"",
        "\"haproxy_servers\":\"service/somebody\",\"lab_url\"",
    );
    let path = stage.fixture.directory().join("unknown.yaml");
    std::fs::write(&path, fleet).expect("a file is written");
    let pids: Vec<_> = (0..3)
        .map(|position| stage.fixture.cluster.pid(position))
        .collect();
    let ran = stage
        .fixture
        .upshift
        .with_fleet(&path)
        .run(&to("1.1.0"))
        .expect(3);
    assert!(
        ran.text().contains("service/somebody") && ran.text().contains("service/n1"),
        "{}",
        ran.text()
    );
    assert_eq!(
        (0..3)
            .map(|position| stage.fixture.cluster.pid(position))
            .collect::<Vec<_>>(),
        pids
    );
    assert_eq!(stage.states(), ["UP", "UP", "UP"]);
    Ok(())
}

fn unreachable() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.1.0", |_| {});
    let fleet = std::fs::read_to_string(&stage.with_host().fleet).expect("a fleet");
    let fleet = fleet.replace(
        "  lb1:\n    transport: local",
        "  lb1:\n    transport: { command: [\"false\"] }",
    );
    let path = stage.fixture.directory().join("unreachable.yaml");
    std::fs::write(&path, fleet).expect("a file is written");
    let ran = stage
        .fixture
        .upshift
        .with_fleet(&path)
        .run(&to("1.1.0"))
        .expect(3);
    assert!(ran.text().contains("lb1"), "{}", ran.text());
    Ok(())
}
