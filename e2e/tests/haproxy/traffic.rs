//! Clients during a rolling upgrade.

use std::time::Duration;

use upshift_e2e::harness::{Case, Outcome};
use upshift_lab::balancer::{Clients, ClientsReport, View};
use upshift_lab::processes;

use super::stage::{GREETING, Stage, to};

pub const TRIALS: &[Case] = &[
    (
        "no_connection_is_refused_and_none_goes_to_a_drained_server",
        nobody_notices,
    ),
    (
        "without_the_load_balancer_in_the_fleet_clients_notice",
        clients_notice,
    ),
];

#[track_caller]
fn at_work(stage: &Stage) -> Clients {
    let clients = Clients::start(stage.balancer.port, GREETING, 3, 6);
    assert!(processes::poll(Duration::from_secs(10), || clients
        .so_far()
        .answered
        > 50));
    clients
}

fn nobody_notices() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.1.0", |_| {});
    let clients = at_work(&stage);
    let view = View::start(stage.balancer.socket());

    let ran = stage.with_host().run(&to("1.1.0")).expect(0);

    let seen = view.finish();
    let ClientsReport {
        answered,
        refused,
        returned,
    } = clients.finish();
    println!(
        "    {answered} connections answered, {returned} came back, {} looks",
        seen.looks
    );
    assert!(refused.is_empty(), "{refused:?}\n{}", ran.text());
    assert_eq!(seen.given_while_out, 0, "{seen:?}");
    // In any order: the leader is the last.
    let mut taken_out = seen.taken_out.clone();
    taken_out.sort();
    assert_eq!(taken_out, ["n1", "n2", "n3"], "{}", ran.text());
    assert!(answered > 200 && returned >= 3 && seen.looks > 100);
    assert_eq!(stage.states(), ["UP", "UP", "UP"]);
    stage.fixture.expect_all("1.1.0");
    stage.fixture.expect_nothing_left();
    Ok(())
}

/// The measure itself is measured: where nobody drains, connections are refused.
fn clients_notice() -> Outcome {
    let stage = Stage::new()?;
    stage.fixture.add_release("1.1.0", |_| {});
    let clients = at_work(&stage);
    stage.fixture.upshift.run(&to("1.1.0")).expect(0);
    let report = clients.finish();
    assert!(!report.refused.is_empty(), "{report:?}");
    Ok(())
}
