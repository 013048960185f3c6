//! Runs carried on hosts in memory, by the real engine with a real journal.

mod fake;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::{FLEET, NAMES, Scene, another};
use serde_json::{Value, json};
use upshift_control::progress::Silent;
use upshift_control::progress::json::Json;
use upshift_control::progress::lines::Lines;
use upshift_control::{Ended, Handle, Progress, Runner, gather, recall, rolled_back_versions};
use upshift_model::action::Action;
use upshift_run::{Event, EventKind, OperatorCommand, Outcome, Pause, State, View};
use upshift_wire::session::LinkState;

const RUN: &str = "run-1";
const NEW: &str = "1.1.0";
const OLD: &str = "1.0.0";

fn all(version: &str) -> Vec<Option<String>> {
    vec![Some(version.to_owned()); NAMES.len()]
}

async fn begin<'a>(scene: &'a Scene) -> Runner<'a> {
    let plan = scene.plan().await;
    Runner::begin(scene.setup(false), RUN, plan, &json!({})).unwrap()
}

/// Leaves the run when so many events were recorded, as a crash would.
struct Bomb {
    handle: Handle,
    left: usize,
}

impl Progress for Bomb {
    fn event(&mut self, _: &Event) {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.handle.leave(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rolling_upgrade_is_carried_to_its_end() {
    let scene = Scene::new();
    let runner = begin(&scene).await;
    let ended = runner.drive(&mut Silent).await.unwrap();
    assert_eq!(ended, Ended::Rested(Outcome::Upgraded));
    assert_eq!(scene.running(), all(NEW));
    scene.assert_nothing_left();
    assert_eq!(scene.store.run(RUN).unwrap().outcome, Some(Outcome::Upgraded));
    assert_eq!(scene.store.lease(FLEET).unwrap(), None);
    let recalled = recall(&scene.store, RUN).unwrap();
    assert_eq!(recalled.outcome(), Some(&Outcome::Upgraded));
    // One login for the facts, one for the run, and a fresh one to disarm the guard.
    assert!(
        scene
            .hosts
            .iter()
            .all(|host| host.logins.load(Ordering::Relaxed) == 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_left_after_any_event_goes_on_without_doing_anything_twice() {
    for left in 0.. {
        let scene = Scene::new();
        let runner = begin(&scene).await;
        let mut bomb = Bomb {
            handle: runner.handle(),
            left,
        };
        let ended = runner.drive(&mut bomb).await.unwrap();
        if ended == Ended::Rested(Outcome::Upgraded) {
            assert!(left > 40, "the run had only {left} events");
            return;
        }
        assert_eq!(ended, Ended::Left);
        let runner = Runner::resume(scene.setup(false), RUN).unwrap();
        assert_eq!(
            runner.drive(&mut Silent).await.unwrap(),
            Ended::Rested(Outcome::Upgraded),
            "left after {left}"
        );
        assert_eq!(scene.running(), all(NEW));
        scene.assert_nothing_left();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_start_brings_all_back() {
    let scene = Scene::new();
    let runner = begin(&scene).await;
    scene.hosts[1]
        .state
        .lock()
        .unwrap()
        .fails
        .insert("start", "it does not like the new version".to_owned());
    let Ended::Rested(Outcome::RolledBack { to, reason }) = runner.drive(&mut Silent).await.unwrap() else {
        panic!("it was not rolled back")
    };
    assert_eq!(to, OLD);
    assert!(reason.contains("it does not like the new version"), "{reason}");
    assert_eq!(scene.running(), all(OLD));
    scene.assert_nothing_left();
    let plan = scene.store.plan(RUN).unwrap();
    let rolled_back = rolled_back_versions(&scene.store, FLEET, &plan.product).unwrap();
    assert_eq!(rolled_back.get(NEW).map(String::as_str), Some(RUN));
    let another = rolled_back_versions(&scene.store, FLEET, "another product").unwrap();
    assert!(another.is_empty(), "{another:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_controller_that_takes_over_fences_the_first() {
    let scene = Scene::new();
    let store = another(scene.store.path());
    let runner = begin(&scene).await;
    let path = scene.store.path().to_owned();
    /// Another controller takes the fleet when the first server is stopped.
    struct TakeOver(std::path::PathBuf);
    impl Progress for TakeOver {
        fn view(&mut self, view: &View, _: &State) {
            if view.phase.starts_with("window 2") {
                let holder = upshift_store::Holder::this_process("bob@desk");
                let how = upshift_store::Acquire {
                    take_over: true,
                    above: 0,
                };
                another(&self.0).acquire(FLEET, &holder, how).unwrap();
            }
        }
    }
    let ended = runner.drive(&mut TakeOver(path)).await.unwrap();
    assert!(
        matches!(ended, Ended::Rested(Outcome::Superseded { .. })),
        "{ended:?}"
    );
    let runner = Runner::resume(scene.setup_in(&store, true), RUN).unwrap();
    assert_eq!(
        runner.drive(&mut Silent).await.unwrap(),
        Ended::Rested(Outcome::Upgraded)
    );
    scene.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_and_a_host_that_is_away_for_a_while_change_nothing() {
    let scene = Scene::new();
    let runner = begin(&scene).await;
    /// Cuts the second host off in its window, and lets it come back after a while.
    struct Cut(Arc<fake::FakeHost>, Arc<Mutex<Vec<String>>>, bool);
    impl Progress for Cut {
        fn view(&mut self, view: &View, _: &State) {
            if view.phase.starts_with("window 2") && !std::mem::replace(&mut self.2, true) {
                self.0.down.store(true, Ordering::Relaxed);
                self.0.cut.notify_one();
                let host = Arc::clone(&self.0);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(8)).await;
                    host.down.store(false, Ordering::Relaxed);
                });
            }
        }

        fn link(&mut self, host: &str, state: &LinkState) {
            let word = match state {
                LinkState::Failing(error) => error.to_string(),
                other => format!("{host}: {other:?}"),
            };
            self.1.lock().unwrap().push(word);
        }
    }
    let links = Arc::new(Mutex::new(Vec::new()));
    let mut cut = Cut(Arc::clone(&scene.hosts[1]), Arc::clone(&links), false);
    assert_eq!(
        runner.drive(&mut cut).await.unwrap(),
        Ended::Rested(Outcome::Upgraded)
    );
    scene.assert_nothing_left();
    let links = links.lock().unwrap();
    assert!(
        links.contains(&"h2 cannot be reached: No route to host".to_owned()),
        "{links:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_operators_pause_holds_between_two_windows_until_resumed() {
    let scene = Scene::new();
    let runner = begin(&scene).await;
    /// Asks for a pause in the first window; goes on when it holds, through the store as another process would.
    struct Pausing {
        path: std::path::PathBuf,
        handle: Handle,
        asked: bool,
        reached: Arc<Mutex<Option<Vec<bool>>>>,
    }
    impl Progress for Pausing {
        fn view(&mut self, view: &View, _: &State) {
            if view.phase.starts_with("window 1") && !std::mem::replace(&mut self.asked, true) {
                self.handle.say(OperatorCommand::Pause);
            }
            let mut reached = self.reached.lock().unwrap();
            if view.pause == Pause::Reached && reached.is_none() {
                *reached = Some(view.nodes.iter().map(|node| node.done).collect());
                another(&self.path)
                    .say(RUN, "bob", &OperatorCommand::Resume)
                    .unwrap();
            }
        }
    }
    let reached = Arc::new(Mutex::new(None));
    let mut pausing = Pausing {
        path: scene.store.path().to_owned(),
        handle: runner.handle(),
        asked: false,
        reached: Arc::clone(&reached),
    };
    assert_eq!(
        runner.drive(&mut pausing).await.unwrap(),
        Ended::Rested(Outcome::Upgraded)
    );
    assert_eq!(reached.lock().unwrap().take(), Some(vec![true, false, false]));
}

#[tokio::test(start_paused = true)]
async fn a_run_at_rest_hears_what_was_said_meanwhile() {
    let scene = Scene::new();
    let runner = begin(&scene).await;
    runner.drive(&mut Silent).await.unwrap();
    scene.store.say(RUN, "bob", &OperatorCommand::Rollback).unwrap();
    let runner = Runner::resume(scene.setup(false), RUN).unwrap();
    let ended = runner.drive(&mut Silent).await.unwrap();
    assert!(
        matches!(&ended, Ended::Rested(Outcome::RolledBack { to, .. }) if to == OLD),
        "{ended:?}"
    );
    assert_eq!(scene.running(), all(OLD));
    scene.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn time_never_goes_backwards_in_a_journal() {
    let scene = Scene::new();
    let runner = begin(&scene).await;
    let mut bomb = Bomb {
        handle: runner.handle(),
        left: 30,
    };
    runner.drive(&mut bomb).await.unwrap();
    Runner::resume(scene.setup(false), RUN)
        .unwrap()
        .drive(&mut Silent)
        .await
        .unwrap();
    let journal = scene.store.events(RUN, 1).unwrap();
    assert!(
        journal
            .windows(2)
            .all(|pair| pair[0].event.at <= pair[1].event.at)
    );
    let started = journal
        .iter()
        .filter(|recorded| matches!(recorded.event.kind, EventKind::Started { .. }));
    assert_eq!(started.count(), 2);
}

/// Lines with the moments taken out of them. What several hosts do at once may come in any order: it is sorted.
fn without_times(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split_once("] ").unwrap().1)
        .map(|line| {
            line.rsplit_once(" (")
                .filter(|(_, end)| end.ends_with("s)"))
                .map_or(line, |(line, _)| line)
        })
        .collect();
    let what = |line: &str| line.split_once(": ").map(|(_, what)| what.to_owned());
    let mut page = String::new();
    for same in lines.chunk_by(|a, b| what(a).is_some() && what(a) == what(b)) {
        let mut same = same.to_vec();
        same.sort_unstable();
        page.push_str(&same.join("\n"));
        page.push('\n');
    }
    page
}

#[tokio::test(start_paused = true)]
async fn plain_lines_tell_the_story() {
    let scene = Scene::new();
    let runner = begin(&scene).await;
    scene.hosts[1]
        .state
        .lock()
        .unwrap()
        .fails
        .insert("start", "it does not like the new version".to_owned());
    let mut text = Vec::new();
    runner.drive(&mut Lines::new(&mut text)).await.unwrap();
    insta::assert_snapshot!(without_times(&String::from_utf8(text).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn json_lines_are_complete_documents() {
    let scene = Scene::new();
    let runner = begin(&scene).await;
    let mut text = Vec::new();
    runner.drive(&mut Json::new(&mut text)).await.unwrap();
    let lines: Vec<Value> = String::from_utf8(text)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines
            .iter()
            .all(|line| line["run"].is_string() && line["at_ms"].is_u64() && line["type"].is_string())
    );
    let ended =
        |line: &&Value| line["type"] == "ended" && line["result"] == "done" && line["took_ms"].is_u64();
    assert!(lines.iter().filter(ended).count() > 10);
    assert_eq!(lines.last().unwrap()["outcome"], "upgraded");
    assert!(
        lines
            .iter()
            .any(|line| line["type"] == "transfer" && line["received"] == line["size"])
    );
}

#[tokio::test(start_paused = true)]
async fn facts_are_gathered_from_all_and_who_is_away_is_named() {
    let scene = Scene::new();
    scene.hosts[2].down.store(true, Ordering::Relaxed);
    let seen = Mutex::new(Vec::new());
    let gathered = gather(
        &scene.reach(),
        &fake::fleet(),
        &fake::profile(),
        &|host, outcome| {
            seen.lock().unwrap().push((host.to_owned(), outcome.is_ok()));
        },
    )
    .await;
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    assert_eq!(
        seen,
        [
            ("h1".to_owned(), true),
            ("h2".to_owned(), true),
            ("h3".to_owned(), false)
        ]
    );
    let h1 = &gathered.facts.nodes["h1"];
    assert_eq!(h1.version.as_deref(), Some(OLD));
    assert_eq!(h1.places["config"], "/etc/sleeper.conf");
    assert_eq!(h1.config_digests["config"], "c0ffee");
    assert_eq!(h1.variant["arch"], "amd64");
    assert_eq!(h1.probes["process"]["running"], true);
    let h3 = &gathered.facts.nodes["h3"];
    assert_eq!(
        h3.unreachable.as_deref(),
        Some("h3 cannot be reached: No route to host")
    );
    assert_eq!(gathered.unreachable["h3"].failure.code(), "unreachable");
}

#[tokio::test(start_paused = true)]
async fn a_package_that_is_not_at_hand_refuses_before_anything_is_changed() {
    let scene = Scene::new();
    let plan = scene.plan().await;
    let setup = upshift_control::Setup {
        artifacts: upshift_control::Artifacts::new(),
        ..scene.setup(false)
    };
    let runner = Runner::begin(setup, RUN, plan, &json!({})).unwrap();
    let Ended::Rested(Outcome::Refused { reason }) = runner.drive(&mut Silent).await.unwrap() else {
        panic!("it was not refused")
    };
    assert!(
        reason.contains("the package sleeper-1.1.0.tar.gz is not at hand"),
        "{reason}"
    );
    assert_eq!(scene.running(), all(OLD));
    let stopped = |host: &Arc<fake::FakeHost>| {
        let stop = Action::DisarmGuard.word();
        host.state
            .lock()
            .unwrap()
            .done
            .values()
            .any(|(_, word, _)| *word == "stop" || *word == stop)
    };
    assert!(!scene.hosts.iter().any(stopped));
}
