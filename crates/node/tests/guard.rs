//! The guard: it brings its host back when nobody renews it, and only then.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{
    Agent, Small, World, action, eventually, install, kill, order, process, service, start, stop, switch,
};
use upshift_model::action::{Action, GuardStatus, Report};
use upshift_model::probe::ProbeFailure;

/// A lease that outlasts any test.
const LONG: &str = "600s";

/// A world in which 1.0 runs and 2.0 is unpacked.
fn serving() -> (World, Agent) {
    let world = World::new();
    let mut agent = world.agent();
    install(&mut agent, 1, "1.0");
    install(&mut agent, 3, "2.0");
    agent.done(5, switch("1.0"));
    agent.done(6, start(&world));
    (world, agent)
}

fn runs(release: &str, world: &World) -> Value {
    json!({"probe": {"process": {"service": service(world)}}, "expect": format!("value.release == '{release}'")})
}

fn recipe(world: &World, lease: &str, more: Value) -> Action {
    let mut recipe = json!({
        "scheme": "semver",
        "scope": {"from": "1.0", "to": "2.0"},
        "lease": lease,
        "stagger": "0s",
        "rollback": [
            {"stop": {"service": service(world), "patience": "10s"}},
            {"switch": {"release": "1.0"}},
            {"start": service(world)},
        ],
        "proof": [{"probe": {"process": {"service": service(world)}}, "expect": "value.release == from"}],
    });
    recipe
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    action(json!({"arm_guard": recipe}))
}

fn upgrade(agent: &mut Agent, world: &World) {
    agent.done(20, stop(world));
    agent.done(21, switch("2.0"));
    agent.done(22, start(world));
    assert_eq!(agent.observe(process(world))["release"], "2.0");
}

/// Behind a guard whose lease begins to run short only when the new version runs, however long that took.
fn upgrade_behind(agent: &mut Agent, world: &World, lease: &str, more: Value) {
    agent.done(10, recipe(world, LONG, more.clone()));
    upgrade(agent, world);
    agent.done(25, recipe(world, lease, more));
}

fn status(world: &World) -> GuardStatus {
    world.agent().guard()
}

#[test]
fn a_guard_that_nobody_renews_brings_the_old_version_back() {
    let (world, mut agent) = serving();
    upgrade_behind(&mut agent, &world, "2s", json!({}));
    assert!(matches!(agent.guard(), GuardStatus::Armed { .. }));
    let seen = agent.observed_in(Some(0), process(&world)).unwrap();
    assert_eq!(seen["release"], "2.0", "its guard stands");
    agent.kill();
    eventually("the guard has rolled back", || {
        status(&world) == GuardStatus::RolledBack
    });
    let mut agent = world.agent();
    assert_eq!(agent.observe(process(&world))["release"], "1.0");
    assert_eq!(
        fs::read_link(world.state().join("store/current"))
            .unwrap()
            .to_str(),
        Some("releases/1.0")
    );
    assert_eq!(
        agent.order(&order(30, switch("2.0"))),
        Report::GuardFired,
        "forward is refused"
    );
    assert_eq!(
        agent.observed_in(Some(0), process(&world)),
        Err(ProbeFailure::GuardFired),
        "what runs now proves nothing of the way forward"
    );
    assert!(agent.observed_in(Some(1), process(&world)).is_ok());
    assert_eq!(agent.renew(1), Ok(GuardStatus::RolledBack));
    assert_eq!(agent.disarm(1), Ok(GuardStatus::RolledBack));
    let mut next_hop = order(31, switch("2.0"));
    next_hop.hop = 1;
    assert!(
        matches!(agent.order(&next_hop), Report::Done { .. }),
        "another hop has another guard"
    );
    let mut back = order(32, switch("1.0"));
    back.forward = false;
    assert!(
        matches!(agent.order(&back), Report::Done { .. }),
        "back is allowed"
    );
    eventually("its process has ended", || world.processes().len() == 2);
}

#[test]
fn a_guard_leaves_out_what_is_no_longer_needed() {
    let (world, mut agent) = serving();
    let touch = |name: &str| json!({"command": {"argv": ["touch", world.text(name)]}});
    let more = json!({
        "rollback": [touch("first"), touch("second"), {"stop": {"service": service(&world), "patience": "10s"}}],
        "until": {"probe": {"file": world.text("first")}, "expect": "value.exists"},
    });
    let before = agent.observe(process(&world))["pid"].clone();
    agent.done(10, recipe(&world, "1s", more));
    agent.kill();
    eventually("the guard has rolled back", || {
        status(&world) == GuardStatus::RolledBack
    });
    assert!(world.path("first").exists() && !world.path("second").exists());
    // What serves was never stopped.
    assert_eq!(world.agent().observe(process(&world))["pid"], before);
}

#[test]
fn a_guard_that_is_renewed_waits_and_one_that_is_disarmed_is_gone() {
    let (world, mut agent) = serving();
    assert_eq!(agent.renew(1), Ok(GuardStatus::Absent));
    upgrade_behind(&mut agent, &world, "3s", json!({}));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        assert!(matches!(agent.renew(1), Ok(GuardStatus::Armed { .. })));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(agent.disarm(1), Ok(GuardStatus::Disarmed));
    assert_eq!(agent.disarm(1), Ok(GuardStatus::Disarmed));
    assert_eq!(
        agent.renew(1),
        Ok(GuardStatus::Disarmed),
        "a guard that is disarmed stays so"
    );
    eventually("its process has ended", || world.processes().len() == 2);
    assert_eq!(agent.observe(process(&world))["release"], "2.0");
    assert_eq!(agent.guard(), GuardStatus::Disarmed);
}

#[test]
fn an_order_to_arm_that_comes_after_the_disarming_arms_nothing() {
    let (world, mut agent) = serving();
    let late = order(10, recipe(&world, "60s", json!({})));
    assert_eq!(
        agent.disarm_from(1, late.sequence),
        Ok(GuardStatus::Disarmed),
        "no guard stands yet, and none ever will"
    );
    assert_eq!(agent.order(&late), Report::Fenced { token: 1 });
    assert_eq!(
        world.agent().order(&late),
        Report::Fenced { token: 1 },
        "another agent knows it, too"
    );
    assert_eq!(agent.guard(), GuardStatus::Disarmed);
    agent.done(11, recipe(&world, "60s", json!({})));
    assert!(
        matches!(agent.disarm_from(1, 10), Ok(GuardStatus::Armed { .. })),
        "a disarming that comes late leaves a guard that was armed after it"
    );
    assert_eq!(agent.disarm_from(1, 11), Ok(GuardStatus::Disarmed));
    eventually("its process has ended", || world.processes().len() == 2);
}

#[test]
fn past_the_point_of_no_return_the_guard_changes_nothing() {
    let (world, mut agent) = serving();
    let crossed = json!({"stand_down_if": runs("2.0", &world)});
    upgrade_behind(&mut agent, &world, "1s", crossed);
    let pid = agent.observe(process(&world))["pid"].clone();
    agent.kill();
    eventually("the guard has stood down", || {
        status(&world) == GuardStatus::StoodDown
    });
    let mut agent = world.agent();
    assert_eq!(agent.observe(process(&world))["pid"], pid);
    assert!(
        matches!(agent.order(&order(30, switch("2.0"))), Report::Done { .. }),
        "forward is the only way left"
    );
}

#[test]
fn a_host_that_serves_waits_for_the_others() {
    let (world, mut agent) = serving();
    let wait = json!({
        "serving_if": runs("2.0", &world),
        "wait_until": {"probe": {"file": world.text("others-serve")}, "expect": "value.exists"},
    });
    upgrade_behind(&mut agent, &world, "1s", wait);
    eventually("the guard fires", || agent.guard() == GuardStatus::Firing);
    assert_eq!(agent.order(&order(30, switch("2.0"))), Report::GuardFired);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        assert_eq!(
            agent.observe(process(&world))["release"],
            "2.0",
            "it still serves"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    fs::write(world.path("others-serve"), "").unwrap();
    eventually("the guard has rolled back", || {
        agent.guard() == GuardStatus::RolledBack
    });
    assert_eq!(agent.observe(process(&world))["release"], "1.0");
}

#[test]
fn a_host_that_runs_the_old_version_is_not_disturbed() {
    let (world, mut agent) = serving();
    let more = json!({
        "serving_if": {"probe": {"process": {"service": service(&world)}}, "expect": "value.running"},
        "wait_until": {"probe": {"file": world.text("never")}, "expect": "value.exists"},
        "rollback": [
            {"stop": {"service": service(&world), "patience": "10s"}},
            {"switch": {"release": "1.0"}},
            {"start": service(&world)},
            {"command": {"argv": ["touch", world.text("undrained")]}},
        ],
    });
    agent.done(10, recipe(&world, "1s", more));
    let pid = agent.observe(process(&world))["pid"].clone();
    eventually("the guard has rolled back", || {
        agent.guard() == GuardStatus::RolledBack
    });
    assert_eq!(agent.observe(process(&world))["pid"], pid);
    assert!(world.path("undrained").exists(), "the rest of the rollback runs");
}

#[test]
fn a_host_that_does_not_serve_waits_for_nobody() {
    let (world, mut agent) = serving();
    let wait = json!({
        "serving_if": runs("2.0", &world),
        "wait_until": {"probe": {"file": world.text("never")}, "expect": "value.exists"},
        // Cannot be seen while the server is down.
        "stand_down_if": {"probe": {"http": {"url": "http://127.0.0.1:1/"}}, "expect": "true"},
    });
    agent.done(10, recipe(&world, LONG, wait.clone()));
    agent.done(20, stop(&world));
    agent.done(21, switch("2.0"));
    agent.done(25, recipe(&world, "1s", wait));
    eventually("the guard has rolled back", || {
        agent.guard() == GuardStatus::RolledBack
    });
    assert_eq!(agent.observe(process(&world))["release"], "1.0");
}

#[test]
fn a_guard_that_was_killed_is_started_again_by_whoever_comes() {
    let (world, mut agent) = serving();
    agent.done(10, recipe(&world, "60s", json!({})));
    let guards = |world: &World, agent: &Agent, server: u64| -> Vec<u32> {
        world
            .processes()
            .into_iter()
            .filter(|pid| *pid != agent.pid() && u64::from(*pid) != server)
            .collect()
    };
    let server = agent.observe(process(&world))["pid"].as_u64().unwrap();
    let first = guards(&world, &agent, server);
    assert_eq!(first.len(), 1);
    kill(first[0]);
    eventually("it is dead", || guards(&world, &agent, server).is_empty());
    agent.hello();
    let second = guards(&world, &agent, server);
    assert_eq!(second.len(), 1, "a new session starts it again");
    kill(second[0]);
    eventually("it is dead", || guards(&world, &agent, server).is_empty());
    agent.renew(1).unwrap();
    assert_eq!(guards(&world, &agent, server).len(), 1, "so does a renewal");
}

#[test]
fn a_guard_that_dies_while_it_rolls_back_goes_on_when_it_comes_back() {
    for failpoint in ["guard-before-firing=abort", "guard-action=abort"] {
        let (world, mut agent) = serving();
        agent.close();
        let mut agent = world.failing(failpoint);
        upgrade_behind(&mut agent, &world, "1s", json!({}));
        let before = agent.observe(process(&world))["pid"].as_u64().unwrap();
        eventually("the guard has died", || world.processes().len() == 2);
        assert_eq!(agent.observe(process(&world))["pid"], before, "{failpoint}");
        agent.close();
        let mut agent = world.agent();
        agent.hello();
        eventually("the guard has rolled back", || {
            agent.guard() == GuardStatus::RolledBack
        });
        assert_eq!(agent.observe(process(&world))["release"], "1.0", "{failpoint}");
    }
}

#[test]
fn a_rollback_that_cannot_be_done_is_reported_and_not_repeated() {
    let (world, mut agent) = serving();
    let broken = json!({"rollback": [{"switch": {"release": "0.9"}}]});
    agent.done(10, recipe(&world, "1s", broken));
    eventually("the guard has failed", || {
        matches!(agent.guard(), GuardStatus::Failed { .. })
    });
    let GuardStatus::Failed { reason } = agent.guard() else {
        panic!()
    };
    assert!(reason.contains("release 0.9 is not unpacked"), "{reason}");
    assert_eq!(agent.order(&order(30, switch("2.0"))), Report::GuardFired);
    eventually("its process has ended", || world.processes().len() == 2);
}

#[test]
fn the_guard_waits_for_an_order_that_is_being_done() {
    let (world, mut agent) = serving();
    agent.done(10, recipe(&world, "1s", json!({})));
    let text = format!("sleep 2.5; touch {}", world.text("finished"));
    agent.done(11, support::shell(&text));
    assert!(world.path("finished").exists());
    eventually("the guard has rolled back", || {
        agent.guard() == GuardStatus::RolledBack
    });
}

/// A host with a small disk, an agent, and an armed guard behind which the host was upgraded.
fn upgraded_on_a_small_disk(lease: &str) -> Option<(World, Small, Agent)> {
    let world = World::new();
    let small = Small::new(&world)?;
    let mut agent = world.agent();
    install(&mut agent, 1, "1.0");
    install(&mut agent, 3, "2.0");
    agent.done(5, switch("1.0"));
    agent.done(6, start(&world));
    upgrade_behind(&mut agent, &world, lease, json!({}));
    Some((world, small, agent))
}

/// A lease that could not be renewed would cost the upgrade although nothing is wrong with it.
#[test]
fn on_a_full_disk_a_guard_is_renewed_and_disarmed() {
    let Some((world, small, mut agent)) = upgraded_on_a_small_disk(LONG) else {
        return;
    };
    small.fill();
    for token in [1, 1, 2, 2] {
        assert!(matches!(agent.renew(token), Ok(GuardStatus::Armed { .. })));
    }
    assert!(agent.renew(1).is_err(), "a younger controller was seen");
    assert_eq!(agent.disarm(2), Ok(GuardStatus::Disarmed));
    eventually("its process has ended", || world.processes().len() == 2);
}

#[test]
fn a_full_disk_does_not_keep_the_guard_from_its_duty() {
    let Some((world, small, mut agent)) = upgraded_on_a_small_disk("3s") else {
        return;
    };
    agent.close();
    small.fill();
    let link = world.state().join("store/current");
    eventually("the guard has switched back", || {
        fs::read_link(&link).unwrap().to_str() == Some("releases/1.0")
    });
    let mut agent = world.agent();
    eventually("the old version runs", || {
        agent.observe(process(&world))["release"] == "1.0"
    });
    eventually("it says so, without any room", || {
        agent.guard() == GuardStatus::RolledBack
    });
    drop(agent);
}

/// The newest line of a record: a checksum, the number of the change, JSON.
fn newest(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let text = std::str::from_utf8(line).ok()?.trim_start_matches('\0');
        let (number, json) = text.split_once(' ')?.1.split_once(' ')?;
        Some((number.parse::<u64>().ok()?, serde_json::from_str(json).ok()?))
    });
    lines.max_by_key(|(number, _)| *number).unwrap().1
}

/// Puts another record in its place, as of a later change.
fn overwrite(path: &Path, record: &Value) {
    static CHANGES: AtomicU64 = AtomicU64::new(1000);
    let words = format!("{} {record}", CHANGES.fetch_add(1, Ordering::Relaxed));
    let mut sum = flate2::Crc::new();
    sum.update(words.as_bytes());
    let beside = path.with_extension("new");
    let line = format!("{:08x} {words}\n", sum.sum());
    // The second half is empty.
    fs::write(&beside, line.clone() + &"\0".repeat(line.len())).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn after_a_reboot_the_guard_counts_in_wall_time() {
    let (world, mut agent) = serving();
    agent.done(10, recipe(&world, "10m", json!({})));
    upgrade(&mut agent, &world);
    agent.close();
    // What a reboot leaves: the record of another boot, and none of the processes.
    world.processes().into_iter().for_each(kill);
    eventually("all are dead", || world.processes().is_empty());
    let path = world.state().join("records/guards/run.0.guard");
    let mut record = newest(&path);
    record["deadline"]["boot"] = json!("another boot");
    let until = |record: &Value| record["deadline"]["wall"].as_u64().unwrap();
    let away = until(&record);
    overwrite(&path, &record);
    let mut agent = world.agent();
    agent.hello();
    let GuardStatus::Armed { remaining } = agent.guard() else {
        panic!("{:?}", agent.guard())
    };
    assert!(
        remaining.0 > 60_000 && remaining.0 < 600_000,
        "most of the lease is left: {remaining}"
    );
    record["deadline"]["wall"] = json!(away - 600_000);
    overwrite(&path, &record);
    eventually("the guard has rolled back", || {
        agent.guard() == GuardStatus::RolledBack
    });
    assert_eq!(agent.observe(process(&world))["release"], "1.0");
}

#[test]
fn a_guard_of_an_earlier_hop_that_is_armed_again_is_the_one_that_is_seen() {
    let (world, mut agent) = serving();
    let disarm = |agent: &mut Agent, hop: u32, sequence: u64| {
        let guard = upshift_wire::protocol::GuardCall {
            hop,
            ..support::guard_call(1)
        };
        agent.disarm_hop(guard, sequence)
    };
    let arm = |agent: &mut Agent, hop: u32, step: u32| {
        let mut order = order(step, recipe(&world, LONG, json!({})));
        order.hop = hop;
        order.sequence = u64::from(step);
        let report = agent.order(&order);
        assert!(matches!(report, Report::Done { .. }), "{report:?}");
    };
    arm(&mut agent, 0, 30);
    assert_eq!(disarm(&mut agent, 0, 31), Ok(GuardStatus::Disarmed));
    arm(&mut agent, 1, 32);
    assert_eq!(disarm(&mut agent, 1, 33), Ok(GuardStatus::Disarmed));
    assert_eq!(agent.guard(), GuardStatus::Disarmed);
    // Rolled back hop by hop, after the new version was to stay.
    arm(&mut agent, 0, 34);
    assert!(
        matches!(agent.guard(), GuardStatus::Armed { .. }),
        "{:?}",
        agent.guard()
    );
    assert_eq!(disarm(&mut agent, 0, 35), Ok(GuardStatus::Disarmed));
}
