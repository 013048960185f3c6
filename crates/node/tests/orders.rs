//! Orders: each attempt at most once, one at a time, fenced; whatever happens to agents.

mod support;

use std::fs;

use serde_json::json;
use support::{World, action, eventually, order, shell};
use upshift_model::action::Report;
use upshift_wire::protocol::Request;

fn lines(world: &World, name: &str) -> usize {
    fs::read_to_string(world.path(name))
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn an_attempt_is_done_once_and_its_report_is_kept() {
    let world = World::new();
    let mut agent = world.agent();
    let text = format!("echo x >> {}; echo result", world.text("log"));
    let first = agent.order(&order(1, shell(&text)));
    assert_eq!(
        first,
        Report::Done {
            output: json!({"exit": 0, "value": "result", "stderr": ""})
        }
    );
    assert_eq!(agent.order(&order(1, shell(&text))), first);
    agent.close();
    let mut agent = world.agent();
    assert_eq!(agent.order(&order(1, shell(&text))), first);
    assert_eq!(lines(&world, "log"), 1);
    let mut second = order(1, shell(&text));
    second.attempt = 2;
    agent.order(&second);
    assert_eq!(lines(&world, "log"), 2, "another attempt is done again");
}

#[test]
fn a_killed_agent_leaves_an_interrupted_attempt_wherever_it_dies() {
    for (failpoint, begun, done) in [
        ("before-begun=abort", false, false),
        ("after-begun=abort", true, false),
        ("action-begin=abort", true, false),
        ("action-end=abort", true, true),
        ("before-ended=abort", true, true),
        ("after-ended=abort", true, true),
    ] {
        let world = World::new();
        let mut agent = world.failing(failpoint);
        let text = format!("echo x >> {}", world.text("log"));
        let id = agent.send(Request::Execute(Box::new(order(1, shell(&text)))), &[]);
        assert_eq!(agent.report(id), None, "{failpoint}");
        agent.died();
        assert_eq!(lines(&world, "log"), usize::from(done), "{failpoint}");
        let mut agent = world.agent();
        let report = agent.order(&order(1, shell(&text)));
        match failpoint {
            // Not begun: done now. Written down as ended: answered from the record.
            "before-begun=abort" | "after-ended=abort" => {
                assert!(matches!(report, Report::Done { .. }), "{failpoint}: {report:?}");
            }
            _ => assert_eq!(report, Report::Interrupted, "{failpoint}"),
        }
        assert_eq!(
            agent.order(&order(1, shell(&text))),
            report,
            "asked again, the answer is the same"
        );
        assert_eq!(lines(&world, "log"), usize::from(done || !begun), "{failpoint}");
    }
}

#[test]
fn a_program_that_outlives_its_agent_is_waited_for() {
    let world = World::new();
    let mut agent = world.agent();
    let text = format!(
        "touch {0}; sleep 1; echo x >> {1}",
        world.text("began"),
        world.text("log")
    );
    agent.send(Request::Execute(Box::new(order(1, shell(&text)))), &[]);
    eventually("the program runs", || world.path("began").exists());
    agent.kill();
    let mut agent = world.agent();
    assert_eq!(agent.order(&order(1, shell(&text))), Report::Interrupted);
    assert_eq!(lines(&world, "log"), 1, "it had ended before the answer");
}

#[test]
fn a_program_that_outlives_its_agent_is_killed_when_its_time_is_over() {
    let world = World::new();
    let mut agent = world.agent();
    let text = format!("touch {}; sleep 3600", world.text("began"));
    let slow = action(
        json!({"command": {"argv": ["sh", "-c", text], "timeout": "1s", "env": {"WORLD": world.text("")}}}),
    );
    agent.send(Request::Execute(Box::new(order(1, slow.clone()))), &[]);
    eventually("the program runs", || world.path("began").exists());
    agent.kill();
    let mut agent = world.agent();
    assert_eq!(
        agent.order(&order(2, shell("true"))),
        Report::Done {
            output: json!({"exit": 0, "value": "", "stderr": ""})
        }
    );
    assert_eq!(
        agent.order(&order(1, slow)),
        Report::Interrupted,
        "settled by the order of another step"
    );
    eventually("only the agent is left", || world.processes() == [agent.pid()]);
}

#[test]
fn an_agent_of_a_cut_session_finishes_its_order_and_both_askers_get_its_report() {
    let world = World::new();
    let mut old = world.agent();
    let text = format!(
        "touch {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo x >> {2}; echo result",
        world.text("began"),
        world.text("go"),
        world.text("log")
    );
    let running = order(1, shell(&text));
    let first = old.send(Request::Execute(Box::new(running.clone())), &[]);
    let same = old.send(Request::Execute(Box::new(running.clone())), &[]);
    let queued = old.send(
        Request::Execute(Box::new(order(
            2,
            shell(&format!("touch {}", world.text("queued"))),
        ))),
        &[],
    );
    eventually("the program runs", || world.path("began").exists());
    let mut new = world.agent();
    let asked = new.send(Request::Execute(Box::new(running)), &[]);
    // Observations are answered while the order runs.
    assert!(new.observe(support::probe(json!({"disk": "/"})))["free"].is_u64());
    assert_eq!(
        old.observe(support::probe(json!("releases")))["current"],
        json!(null)
    );
    old.cut();
    fs::write(world.path("go"), "").unwrap();
    let report = new.report(asked).unwrap();
    assert_eq!(
        report,
        Report::Done {
            output: json!({"exit": 0, "value": "result", "stderr": ""})
        }
    );
    assert_eq!(old.report(first), Some(report));
    assert_eq!(
        old.report(same),
        None,
        "an order that waits is dropped when the session ends"
    );
    assert_eq!(old.report(queued), None);
    old.died();
    assert!(!world.path("queued").exists());
    assert_eq!(lines(&world, "log"), 1);
}

#[test]
fn two_askers_in_one_session_get_one_report() {
    let world = World::new();
    let mut agent = world.agent();
    let text = format!("echo x >> {}; sleep 0.2", world.text("log"));
    let ids: Vec<u64> = (0..3)
        .map(|_| agent.send(Request::Execute(Box::new(order(1, shell(&text)))), &[]))
        .collect();
    let reports: Vec<_> = ids.into_iter().map(|id| agent.report(id).unwrap()).collect();
    assert!(
        reports.iter().all(|report| matches!(report, Report::Done { .. })),
        "{reports:?}"
    );
    assert_eq!(lines(&world, "log"), 1);
}

#[test]
fn a_stale_controller_is_fenced_also_after_a_restart() {
    let world = World::new();
    let mut agent = world.agent();
    let with = |step: u32, token: u64, sequence: u64, fleet: &str| {
        let mut order = order(step, shell("true"));
        (order.token, order.sequence, order.fleet) = (token, sequence, fleet.to_owned());
        order
    };
    assert!(matches!(
        agent.order(&with(1, 5, 1, "fleet")),
        Report::Done { .. }
    ));
    assert_eq!(agent.order(&with(2, 4, 9, "fleet")), Report::Fenced { token: 5 });
    assert_eq!(
        agent.order(&with(1, 4, 9, "fleet")),
        Report::Fenced { token: 5 },
        "not even the record is told"
    );
    agent.close();
    let mut agent = world.agent();
    assert_eq!(agent.order(&with(2, 4, 9, "fleet")), Report::Fenced { token: 5 });
    assert!(matches!(
        agent.order(&with(3, 5, 7, "fleet")),
        Report::Done { .. }
    ));
    assert_eq!(
        agent.order(&with(4, 5, 6, "fleet")),
        Report::Fenced { token: 5 },
        "an order that was overtaken"
    );
    assert!(
        matches!(agent.order(&with(5, 6, 1, "fleet")), Report::Done { .. }),
        "a new controller counts anew"
    );
    assert!(matches!(
        agent.order(&{
            let mut other = with(1, 1, 1, "other");
            other.run = "run2".to_owned();
            other
        }),
        Report::Done { .. }
    ));
    assert_eq!(agent.renew(5), Err("fenced by token 6".to_owned()));
    assert!(agent.disarm(5).unwrap_err().contains("younger controller"));
}

#[test]
fn failures_say_whether_trying_again_helps() {
    let world = World::new();
    let mut agent = world.agent();
    let busy = action(
        json!({"command": {"argv": ["sh", "-c", "exit 75"], "exit": {"75": {"transient": "the cluster is busy"}}}}),
    );
    assert_eq!(
        agent.order(&order(1, busy)),
        Report::Transient {
            reason: "the cluster is busy".to_owned()
        }
    );
    let report = agent.order(&order(2, shell("echo no space >&2; exit 1")));
    assert_eq!(
        report,
        Report::Failed {
            reason: "sh ended with status 1: no space".to_owned()
        }
    );
    let report = agent.order(&order(3, support::switch("9.9")));
    assert_eq!(
        report,
        Report::Failed {
            reason: "release 9.9 is not unpacked on this host".to_owned()
        }
    );
}

#[test]
fn what_is_no_frame_ends_the_session_with_words() {
    let world = World::new();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_upshift-node"))
        .args(["serve", "--state", world.state().to_str().unwrap()])
        .stdin(std::process::Stdio::from(
            fs::File::open("/etc/os-release").unwrap(),
        ))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("does not speak this protocol"), "{words}");
}
