use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// Answers as HAProxy does; the real one is in the end-to-end tests.
struct Balancer {
    states: Arc<Mutex<BTreeMap<String, u32>>>,
    socket: String,
}

impl Balancer {
    fn start(directory: &Path, servers: &[(&str, u32)]) -> Self {
        let socket = directory.join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let servers = servers.iter().map(|(name, bits)| ((*name).to_owned(), *bits));
        let states = Arc::new(Mutex::new(servers.collect::<BTreeMap<_, _>>()));
        let known = Arc::clone(&states);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut command = String::new();
                BufReader::new(&stream).read_line(&mut command).unwrap();
                let answer = answer(&mut known.lock().unwrap(), command.trim());
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Balancer {
            states,
            socket: socket.to_str().unwrap().to_owned(),
        }
    }

    fn bits(&self, name: &str) -> u32 {
        self.states.lock().unwrap()[name]
    }

    fn set(&self, name: &str, bits: u32) {
        self.states.lock().unwrap().insert(name.to_owned(), bits);
    }
}

/// Of a server whose sessions were ended, beside what HAProxy says of it.
const ENDED: u32 = 0x1000;

fn answer(states: &mut BTreeMap<String, u32>, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let mut text = match words[..] {
        ["show", "servers", "state"] => {
            "1\n# be_name srv_name srv_addr srv_admin_state srv_port\n".to_owned()
        }
        ["show", "stat", ..] => "# pxname,svname,scur,status\n".to_owned(),
        ["set", "server", name, "state", state] => {
            let Some(bits) = states.get_mut(name) else {
                return "No such server.\n\n".to_owned();
            };
            *bits = match state {
                "maint" => 1,
                "drain" => 8,
                _ => 0,
            };
            return "\n".to_owned();
        }
        ["shutdown", "sessions", "server", name] => {
            let Some(bits) = states.get_mut(name) else {
                return "No such server.\n\n".to_owned();
            };
            *bits |= ENDED;
            return "\n".to_owned();
        }
        _ => return "Unknown command.\n\n".to_owned(),
    };
    for (name, bits) in states {
        let (backend, server) = name.split_once('/').unwrap();
        text += &match words[1] {
            "servers" => format!("{backend} {server} 10.0.0.1 {bits} 1883\n"),
            _ => {
                let status = match *bits & !ENDED {
                    0 => "UP",
                    8 => "DRAIN",
                    _ => "MAINT",
                };
                let sessions = if *bits & ENDED == 0 { 2 } else { 0 };
                format!("{backend},{server},{sessions},{status}\n")
            }
        };
    }
    text + "\n"
}

fn stage(servers: &[(&str, u32)]) -> (tempfile::TempDir, Layout, Balancer) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::open(&directory.path().join("state")).unwrap();
    let balancer = Balancer::start(directory.path(), servers);
    (directory, layout, balancer)
}

impl Balancer {
    fn tell(&self, layout: &Layout, servers: &str, state: HaproxyState) -> Result<Value> {
        let told = HaproxyOrder {
            socket: self.socket.clone(),
            servers: servers.to_owned(),
            state,
            end_sessions: false,
        };
        order(layout, "r1", &told)
    }

    fn look(&self, layout: &Layout, servers: &str) -> Value {
        let probe = HaproxyProbe {
            socket: self.socket.clone(),
            servers: servers.to_owned(),
        };
        look(layout, Some("r1"), &probe).unwrap()
    }
}

#[test]
fn a_server_comes_back_as_it_was_found() {
    let (_directory, layout, balancer) =
        stage(&[("mqtt/n1", 0), ("tls/n1", 8), ("web/n1", 1), ("mqtt/n2", 0)]);
    let seen = balancer.look(&layout, "*/n1");
    assert_eq!(
        (&seen["drained"], &seen["as_found"], &seen["sessions"]),
        (&json!(false), &json!(true), &json!(6))
    );
    balancer.tell(&layout, "*/n1", HaproxyState::Drain).unwrap();
    assert_eq!(balancer.look(&layout, "*/n1")["drained"], true);
    assert_eq!(
        ["mqtt/n1", "tls/n1", "web/n1"].map(|name| balancer.bits(name)),
        [8, 8, 1]
    );
    balancer.tell(&layout, "*/n1", HaproxyState::Maintenance).unwrap();
    let seen = balancer.look(&layout, "*/n1");
    assert_eq!(
        (&seen["maintenance"], &seen["as_found"]),
        (&json!(true), &json!(false))
    );
    // Asked twice, as after a crash in between.
    for _ in 0..2 {
        balancer.tell(&layout, "*/n1", HaproxyState::AsFound).unwrap();
        assert_eq!(balancer.look(&layout, "*/n1")["as_found"], true);
    }
    assert_eq!(
        ["mqtt/n1", "tls/n1", "web/n1"].map(|name| balancer.bits(name)),
        [0, 8, 1]
    );
    assert_eq!(balancer.bits("mqtt/n2"), 0);
}

#[test]
fn a_backend_that_would_be_left_without_a_server_is_named() {
    let (_keep, layout, balancer) = stage(&[
        ("mqtt/n1", 0),
        ("mqtt/n2", 1),
        ("web/n1", 0),
        ("web/n2", 0),
        ("alone/n1", 0),
    ]);
    let leaves = || balancer.look(&layout, "*/n1")["leaves"].clone();
    assert_eq!(
        leaves(),
        json!(["mqtt"]),
        "alone has no other server, so nothing can be kept"
    );
    balancer.tell(&layout, "*/n1", HaproxyState::Drain).unwrap();
    assert_eq!(
        leaves(),
        json!(["mqtt"]),
        "drained by the run, it still counts as what the run found"
    );
    balancer.set("web/n2", 8);
    assert_eq!(leaves(), json!(["mqtt", "web"]));
    balancer.set("mqtt/n2", 0);
    balancer.set("web/n2", 0);
    assert_eq!(leaves(), json!([]));
    assert_eq!(balancer.look(&layout, "mqtt/n2")["leaves"], json!(["mqtt"]));
}

#[test]
fn a_server_that_takes_no_traffic_leaves_nothing_behind() {
    let (_keep, layout, balancer) = stage(&[("mqtt/n1", 1), ("mqtt/n2", 8)]);
    assert_eq!(balancer.look(&layout, "mqtt/n1")["leaves"], json!([]));
}

#[test]
fn what_an_operator_changed_after_a_server_was_put_back_is_what_is_found_next() {
    let (_directory, layout, balancer) = stage(&[("mqtt/n1", 0)]);
    balancer.tell(&layout, "mqtt/n1", HaproxyState::Drain).unwrap();
    balancer.tell(&layout, "mqtt/n1", HaproxyState::AsFound).unwrap();
    balancer.set("mqtt/n1", 1);
    balancer.tell(&layout, "mqtt/n1", HaproxyState::Drain).unwrap();
    balancer.tell(&layout, "mqtt/n1", HaproxyState::AsFound).unwrap();
    assert_eq!(balancer.bits("mqtt/n1"), 1);
}

#[test]
fn without_an_order_before_it_nothing_is_put_back() {
    let (_directory, layout, balancer) = stage(&[("mqtt/n1", 1)]);
    let output = balancer.tell(&layout, "mqtt/n1", HaproxyState::AsFound).unwrap();
    assert_eq!((output, balancer.bits("mqtt/n1")), (json!({}), 1));
}

#[test]
fn sessions_that_are_left_end_where_that_is_ordered_and_nowhere_else() {
    let (_directory, layout, balancer) = stage(&[("mqtt/n1", 0), ("mqtt/n2", 0)]);
    let maintenance = |end_sessions| HaproxyOrder {
        socket: balancer.socket.clone(),
        servers: "*/n1".to_owned(),
        state: HaproxyState::Maintenance,
        end_sessions,
    };
    let sessions = |server| balancer.look(&layout, server)["sessions"].clone();
    order(&layout, "r1", &maintenance(false)).unwrap();
    assert_eq!(sessions("*/n1"), 2);
    // As it was in maintenance already, after a crash in between.
    order(&layout, "r1", &maintenance(true)).unwrap();
    assert_eq!((sessions("*/n1"), sessions("*/n2")), (json!(0), json!(2)));
}

#[test]
fn a_server_that_haproxy_does_not_know_is_refused_by_name() {
    let (_directory, layout, balancer) = stage(&[("mqtt/n1", 0)]);
    let error = balancer
        .tell(&layout, "mqtt/n1,mqtt/n9", HaproxyState::Drain)
        .unwrap_err()
        .to_string();
    assert!(error.contains("mqtt/n9") && error.contains("mqtt/n1"), "{error}");
    assert_eq!(balancer.bits("mqtt/n1"), 0, "nothing was changed");
}

#[test]
fn nobody_at_the_socket_may_pass() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::open(directory.path()).unwrap();
    let told = HaproxyOrder {
        socket: "/nowhere/admin.sock".to_owned(),
        servers: "a/b".to_owned(),
        state: HaproxyState::Drain,
        end_sessions: false,
    };
    assert!(matches!(
        order(&layout, "r1", &told),
        Err(NodeError::Transient(_))
    ));
}
