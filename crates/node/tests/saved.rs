//! Saving and restoring, with the agent killed in between.

mod support;

use std::fs;

use serde_json::json;
use support::{World, action, order, probe};
use upshift_model::action::{Action, Report};
use upshift_wire::protocol::Request;

fn world() -> World {
    let world = World::new();
    for name in ["one", "two"] {
        fs::create_dir_all(world.path(name)).unwrap();
        fs::write(world.path(name).join("conf"), format!("old {name}\r\n")).unwrap();
    }
    world
}

fn save(world: &World) -> Action {
    action(json!({"save": {"name": "config", "paths": [world.path("one"), world.path("two")]}}))
}

fn restore() -> Action {
    action(json!({"restore": {"name": "config"}}))
}

fn text(world: &World, name: &str) -> String {
    fs::read_to_string(world.path(name).join("conf")).unwrap()
}

#[test]
fn a_save_that_was_cut_short_is_none_and_is_done_again() {
    let world = world();
    let mut agent = world.failing("saved=abort");
    let id = agent.send(Request::Execute(Box::new(order(1, save(&world)))), &[]);
    assert_eq!(agent.report(id), None);
    agent.died();
    let mut agent = world.agent();
    assert_eq!(agent.order(&order(1, save(&world))), Report::Interrupted);
    assert_eq!(agent.observe(probe(json!({"saved": "config"})))["exists"], false);
    assert_eq!(agent.done(2, save(&world))["files"], 2);
    let seen = agent.observe(probe(json!({"saved": "config"})));
    assert_eq!(
        (&seen["exists"], &seen["identical"]),
        (&json!(true), &json!(true))
    );
    let left: Vec<_> = fs::read_dir(world.state().join("saved/run"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "no half copy is left: {left:?}");
}

#[test]
fn a_restore_that_was_cut_short_is_finished_by_the_next() {
    let world = world();
    let mut agent = world.agent();
    agent.done(1, save(&world));
    for name in ["one", "two"] {
        fs::write(world.path(name).join("conf"), "new").unwrap();
        fs::write(world.path(name).join("more"), "new").unwrap();
    }
    agent.close();
    let mut agent = world.failing("restored-path=abort");
    let id = agent.send(Request::Execute(Box::new(order(2, restore()))), &[]);
    assert_eq!(agent.report(id), None);
    agent.died();
    assert_eq!(
        (text(&world, "one").as_str(), text(&world, "two").as_str()),
        ("old one\r\n", "new")
    );
    let mut agent = world.agent();
    assert_eq!(agent.order(&order(2, restore())), Report::Interrupted);
    assert_eq!(
        agent.observe(probe(json!({"saved": "config"})))["identical"],
        false
    );
    agent.done(3, restore());
    assert_eq!(
        agent.observe(probe(json!({"saved": "config"})))["identical"],
        true
    );
    assert_eq!(text(&world, "two"), "old two\r\n");
    assert!(!world.path("two/more").exists());
    agent.done(4, action(json!({"remove_saved": "config"})));
    assert_eq!(agent.observe(probe(json!({"saved": "config"})))["exists"], false);
}
