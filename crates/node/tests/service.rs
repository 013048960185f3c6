//! Services: started so that they outlive everything, stopped so that nothing is left, and told apart by their process.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;
use support::{
    World, action, eventually, install, kill, lives, order, probe, process, service, start, stop, switch,
};
use upshift_model::action::Report;
use upshift_wire::protocol::{Request, Response};

fn two_releases(world: &World) -> support::Agent {
    let mut agent = world.agent();
    install(&mut agent, 1, "1.0");
    install(&mut agent, 3, "2.0");
    agent.done(5, switch("1.0"));
    agent
}

#[test]
fn a_service_outlives_its_agent_and_names_its_release() {
    let world = World::new();
    let mut agent = two_releases(&world);
    assert_eq!(agent.observe(process(&world))["running"], false);
    let started = agent.done(10, start(&world));
    assert_eq!(
        (&started["already"], &started["release"]),
        (&json!(false), &json!("1.0"))
    );
    agent.kill();
    let mut agent = world.agent();
    let seen = agent.observe(process(&world));
    assert_eq!(seen["pid"], started["pid"]);
    assert_eq!(seen["release"], "1.0");
    assert_eq!(
        seen["exe"],
        json!(
            world
                .state()
                .canonicalize()
                .unwrap()
                .join("store/releases/1.0/bin/server")
        )
    );
    assert!(seen["uptime_ms"].as_u64().unwrap() < 60_000);
    let pid = u32::try_from(seen["pid"].as_u64().unwrap()).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session: u32 = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(session, pid, "it leads a session of its own");
    assert_eq!(agent.done(11, start(&world))["already"], true);
    agent.done(12, switch("2.0"));
    assert_eq!(
        agent.observe(process(&world))["release"],
        "1.0",
        "read from the process, not from the link"
    );
    let refused = agent.order(&order(13, start(&world)));
    assert!(
        matches!(&refused, Report::Failed { reason } if reason.contains("runs release 1.0")),
        "{refused:?}"
    );
    let removal = agent.order(&order(14, action(json!({"remove_release": "1.0"}))));
    assert!(
        matches!(&removal, Report::Failed { reason } if reason.contains("runs release 1.0")),
        "{removal:?}"
    );
    let stopped = agent.done(15, stop(&world));
    assert_eq!(
        (&stopped["killed"], &stopped["already"]),
        (&json!(false), &json!(false))
    );
    assert!(!lives(pid));
    assert_eq!(agent.done(16, stop(&world))["already"], true);
    assert_eq!(agent.done(17, start(&world))["release"], "2.0");
}

#[test]
fn a_service_that_ends_by_itself_is_told_from_one_that_was_never_started_with_its_last_lines() {
    let world = World::new();
    let mut agent = world.agent();
    let script = "echo starting; echo 'FATAL: flag provided but not defined: -x' >&2; exit 2";
    let failing = json!({"supervised": {
        "name": "failing", "argv": ["/bin/sh", "-c", script, world.text("")],
    }});
    let asked = || probe(json!({"process": {"service": failing}}));
    let never = agent.observe(asked());
    assert_eq!(
        (&never["running"], &never["ended"]),
        (&json!(false), &json!(null))
    );
    // Whether it still lives when the order is reported is a matter of moments.
    let report = agent.order(&order(1, action(json!({"start": failing}))));
    if let Report::Transient { reason } = &report {
        assert!(reason.contains("ended as soon as it had begun"), "{reason}");
    }
    eventually("it has ended", || agent.observe(asked())["ended"] == true);
    let seen = agent.observe(asked());
    assert_eq!(
        seen["log"],
        json!(["starting", "FATAL: flag provided but not defined: -x"]),
        "{seen}"
    );
}

#[test]
fn the_version_is_asked_of_the_running_file_even_when_it_was_removed() {
    let world = World::new();
    let mut agent = two_releases(&world);
    agent.done(10, start(&world));
    fs::remove_file(world.state().join("store/releases/1.0/bin/server")).unwrap();
    let seen = agent.observe(probe(json!({"process": {
        "service": service(&world), "version_arguments": ["--version"], "version_pattern": r"coreutils\) (\S+)"
    }})));
    assert_eq!(seen["release"], "1.0");
    assert!(
        seen["version"]
            .as_str()
            .unwrap()
            .starts_with(|c: char| c.is_ascii_digit()),
        "{seen}"
    );
}

#[test]
fn a_process_that_does_not_listen_is_killed_with_its_children() {
    let world = World::new();
    let mut agent = world.agent();
    let deaf = json!({"supervised": {
        "name": "deaf",
        "argv": ["sh", "-c", format!("trap '' TERM; sleep 3600 & echo $! > {}; while :; do sleep 1; done", world.text("child"))],
        "env": {"WORLD": world.text("")},
    }});
    agent.done(1, action(json!({"start": deaf})));
    eventually("it has a child", || {
        fs::read_to_string(world.path("child")).is_ok_and(|text| !text.is_empty())
    });
    let stopped = agent.done(2, action(json!({"stop": {"service": deaf, "patience": "200ms"}})));
    assert_eq!(stopped["killed"], true);
    eventually("only the agent is left", || world.processes() == [agent.pid()]);
}

#[test]
fn a_program_that_cannot_be_run_is_named_and_leaves_no_process() {
    let world = World::new();
    let mut agent = world.agent();
    let missing = action(json!({"start": {"supervised": {"name": "x", "argv": ["/no/such/server"]}}}));
    let report = agent.order(&order(1, missing));
    assert!(
        matches!(&report, Report::Failed { reason } if reason.contains("/no/such/server")),
        "{report:?}"
    );
    assert_eq!(world.processes(), [agent.pid()]);
}

#[test]
fn a_service_that_somebody_else_started_is_found_by_its_arguments() {
    let world = World::new();
    let mut agent = two_releases(&world);
    let program = world.state().join("store/current/bin/server");
    let mut child = std::process::Command::new(program).arg("3600").spawn().unwrap();
    eventually("it runs its program", || {
        agent.observe(process(&world))["pid"] == json!(child.id())
    });
    assert_eq!(agent.observe(process(&world))["release"], "1.0");
    agent.done(10, stop(&world));
    assert!(!lives(child.id()));
    child.wait().unwrap();
}

#[test]
fn a_product_with_commands_of_its_own_is_judged_by_its_process() {
    let world = World::new();
    let mut agent = two_releases(&world);
    let pid_file = world.text("pid");
    let server = world.state().join("store/current/bin/server");
    let start = format!(
        "setsid {} 3600 & echo $! > {pid_file}; echo started",
        server.display()
    );
    let lying = json!({"commands": {
        "start": {"argv": ["sh", "-c", start], "env": {"WORLD": world.text("")}},
        "stop": {"argv": ["sh", "-c", "echo stopped; exit 0"]},
        "pid_file": pid_file,
    }});
    let started = agent.done(10, action(json!({"start": lying})));
    let seen = probe(json!({"process": {"service": lying}}));
    eventually("it runs its program", || {
        agent.observe(seen.clone())["release"] == "1.0"
    });
    let pid = u32::try_from(started["pid"].as_u64().unwrap()).unwrap();
    let stopped = agent.done(
        11,
        action(json!({"stop": {"service": lying, "patience": "200ms"}})),
    );
    assert_eq!(stopped["already"], false);
    assert!(
        !lives(pid),
        "the stop command says that it worked, but only the process counts"
    );
    assert_eq!(
        agent.done(
            12,
            action(json!({"stop": {"service": lying, "patience": "200ms"}}))
        )["already"],
        true
    );
}

/// A product whose stop script goes by its pid file alone, and which is known by an option on its command line.
fn known_by_option(world: &World) -> (serde_json::Value, u32) {
    let option = format!("-Dcatalina.home={}", world.text("tomcat"));
    let stop = format!(
        "[ -e {0} ] || {{ echo is not running; exit 1; }}; touch {1}; kill $(cat {0})",
        world.text("pid"),
        world.text("asked")
    );
    let product = json!({"commands": {
        "start": {"argv": ["true"]},
        "stop": {"argv": ["sh", "-c", stop], "exit": {"1": "done"}},
        "pid_file": world.text("pid"),
        "process": {"options": [option]},
    }});
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "while :; do sleep 0.1; done", "server", &option]);
    // Not a child that waits to be fetched: the agent looks whether it is gone.
    let mut server = command.env("WORLD", world.text("")).spawn().unwrap();
    let pid = server.id();
    std::thread::spawn(move || server.wait());
    (product, pid)
}

#[test]
fn a_server_without_its_pid_file_is_found_by_its_command_line_and_stopped() {
    let world = World::new();
    let mut agent = world.agent();
    let (product, server) = known_by_option(&world);
    let seen = probe(json!({"process": {"service": product}}));
    assert_eq!(agent.observe(seen.clone())["pid"], json!(server));
    let stop = action(json!({"stop": {"service": product, "patience": "5s"}}));
    let stopped = agent.done(1, stop.clone());
    assert_eq!(
        (&stopped["already"], &stopped["pid"]),
        (&json!(false), &json!(server))
    );
    assert!(!lives(server));
    assert_eq!(agent.observe(seen)["running"], false);
    assert_eq!(agent.done(2, stop)["already"], true);
}

#[test]
fn a_pid_file_that_names_a_stranger_hides_no_server_and_ends_no_stranger() {
    let world = World::new();
    let mut agent = world.agent();
    let (product, server) = known_by_option(&world);
    let mut stranger = std::process::Command::new("sleep").arg("3600").spawn().unwrap();
    fs::write(world.path("pid"), format!("{}\n", stranger.id())).unwrap();
    let seen = probe(json!({"process": {"service": product}}));
    assert_eq!(agent.observe(seen)["pid"], json!(server));
    // It has stopped; that the number in the file lives is told, and is no reason to end it.
    let stop = action(json!({"stop": {"service": product, "patience": "5s"}}));
    let report = agent.order(&order(1, stop));
    assert!(
        matches!(&report, Report::Transient { reason } if reason.contains(&stranger.id().to_string())),
        "{report:?}"
    );
    assert!(!lives(server) && lives(stranger.id()));
    assert!(!world.path("asked").exists(), "the script was not asked");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_stranger_under_an_old_number_is_not_killed() {
    let world = World::new();
    let mut agent = world.agent();
    let mut stranger = std::process::Command::new("sleep")
        .arg("3600")
        .env("WORLD", world.text(""))
        .spawn()
        .unwrap();
    fs::write(world.path("pid"), format!("{}\n", stranger.id())).unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::options()
        .write(true)
        .open(world.path("pid"))
        .unwrap()
        .set_modified(hour_ago)
        .unwrap();
    let product = json!({"commands": {
        "start": {"argv": ["true"]}, "stop": {"argv": ["true"]}, "pid_file": world.text("pid"),
    }});
    let report = agent.order(&order(
        1,
        action(json!({"stop": {"service": product, "patience": "100ms"}})),
    ));
    assert!(
        matches!(&report, Report::Failed { reason } if reason.contains("was not killed")),
        "{report:?}"
    );
    assert!(lives(stranger.id()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn the_log_and_the_environment_are_those_of_the_service() {
    let world = World::new();
    let mut agent = world.agent();
    let chatty = json!({"supervised": {
        "name": "chatty",
        "argv": ["sh", "-c", "echo out $WORLD; echo err >&2; exec sleep 3600"],
        "env": {"WORLD": world.text("")},
        "directory": world.text(""),
        "log": world.text("chatty.log"),
    }});
    agent.done(1, action(json!({"start": chatty})));
    let expected = format!("out {}\nerr\n", world.text(""));
    eventually("it has written its log", || {
        fs::read_to_string(world.path("chatty.log")).unwrap_or_default() == expected
    });
    let places = json!({
        "world": {"description": "", "sources": [{"environment": "WORLD"}]},
        "log": {"description": "", "sources": [{"argument": "--log"}, {"default": "{{ places.world }}/log"}]},
    });
    let request = Request::Locate {
        places: serde_json::from_value(places).unwrap(),
        service: Box::new(serde_json::from_value(chatty).unwrap()),
        context: json!({}),
    };
    let Response::Places(found) = agent.call(request).unwrap() else {
        panic!()
    };
    assert_eq!(found["world"].value, world.text(""));
    assert_eq!(found["world"].source, "environment variable WORLD of the process");
    assert_eq!(found["log"].value, format!("{}/log", world.text("")));
}

#[test]
fn a_service_killed_by_somebody_is_started_again() {
    let world = World::new();
    let mut agent = two_releases(&world);
    let first = agent.done(10, start(&world))["pid"].as_u64().unwrap();
    kill(u32::try_from(first).unwrap());
    eventually("it is gone", || {
        agent.observe(process(&world))["running"] == false
    });
    let second = agent.done(11, start(&world));
    assert_eq!(second["already"], false);
    assert_ne!(second["pid"], first);
}

/// Numbers of the user and the primary group that a process runs as, and its home.
fn ran_by(pid: u64) -> (String, String, bool) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().to_owned()
    };
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    (
        of("Uid:"),
        of("Gid:"),
        environment.split('\0').any(|entry| entry == "HOME=/var/nobody"),
    )
}

#[test]
fn what_is_started_again_runs_as_the_user_that_ran_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only the superuser starts servers of other users");
        return;
    }
    let world = World::new();
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let mut agent = two_releases(&world);
    let argv: Vec<String> = serde_json::from_value(service(&world)["supervised"]["argv"].clone()).unwrap();
    let mut theirs = Command::new(&argv[0])
        .args(&argv[1..])
        .env("HOME", "/var/nobody")
        .uid(65_534)
        .gid(65_534)
        .spawn()
        .unwrap();
    eventually("it is seen", || agent.observe(process(&world))["running"] == true);
    let found = agent.observe(process(&world));
    assert_eq!(found["pid"], theirs.id());
    let nobody = ("65534".to_owned(), "65534".to_owned(), true);

    agent.done(10, stop(&world));
    theirs.wait().unwrap();
    agent.done(11, switch("2.0"));
    let started = agent.done(12, start(&world));
    assert_eq!(ran_by(started["pid"].as_u64().unwrap()), nobody);
    // In a rollback, too, whatever lies between.
    agent.done(13, stop(&world));
    agent.done(14, switch("1.0"));
    let back = agent.done(15, start(&world));
    assert_eq!(
        (ran_by(back["pid"].as_u64().unwrap()), &back["release"]),
        (nobody, &json!("1.0"))
    );
}
