//! Units and guards under a real systemd: it is booted as the init of a namespace of its own, over a copy of this machine's
//! file system that is written to memory. Skipped where that cannot be done.

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{Agent, World, action, ask_release, eventually, install, order, probe, switch};
use upshift_model::action::{GuardStatus, Report};
use upshift_model::release::{ReleaseCall, ReleaseOutcome};

const INIT: &str = "/usr/lib/systemd/systemd";

const BOOT: &str = r#"set -e
mount -t tmpfs none "$BASE"
mkdir "$BASE/up" "$BASE/work" "$BASE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/up,workdir=$BASE/work" "$BASE/root"
cd "$BASE/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
# systemd empties /tmp, and the program may have been built there.
cp "$PROGRAM" usr/local/bin/upshift-node
rm -rf etc/systemd/system/*.wants
printf '[Unit]\nDescription=for tests\n' >etc/systemd/system/upshift-test.target
mkdir upshift-before
pivot_root . upshift-before
umount -l upshift-before
container=upshift PATH=/usr/sbin:/usr/bin:/sbin:/bin
export container PATH
exec /usr/lib/systemd/systemd --unit=upshift-test.target --log-target=console --show-status=no
"#;

/// A booted namespace; everything in it ends with its init.
struct Booted {
    unshare: Child,
    init: u32,
}

impl Booted {
    fn new(world: &World) -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        if !root || !fs::exists(INIT).unwrap() {
            eprintln!("skipped: this needs root, and systemd at {INIT}");
            return None;
        }
        let base = world.path("systemd");
        fs::create_dir(&base).unwrap();
        let log = fs::File::create(world.path("boot.log")).unwrap();
        let unshare = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--uts",
                "--cgroup",
                "--propagation",
                "private",
            ])
            .args(["sh", "-c", BOOT])
            .env("BASE", &base)
            .env("PROGRAM", support::PROGRAM)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut booted = Booted { unshare, init: 0 };
        let mut ended = false;
        eventually("systemd is up, or cannot be", || {
            ended = booted.unshare.try_wait().unwrap().is_some();
            booted.find_init();
            ended || (booted.init != 0 && booted.run("systemctl is-system-running").trim() == "running")
        });
        if ended {
            eprintln!(
                "skipped: systemd cannot be booted here: {}",
                fs::read_to_string(world.path("boot.log")).unwrap()
            );
            return None;
        }
        Some(booted)
    }

    fn find_init(&mut self) {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        let child = fs::read_to_string(children)
            .unwrap_or_default()
            .trim()
            .parse()
            .unwrap_or(0);
        let program = fs::read_link(format!("/proc/{child}/exe")).unwrap_or_default();
        if program.as_os_str() == INIT {
            self.init = child;
        }
    }

    fn inside(&self) -> Vec<String> {
        ["nsenter", "-t", &self.init.to_string(), "-a"]
            .map(str::to_owned)
            .to_vec()
    }

    fn run(&self, text: &str) -> String {
        let inside = self.inside();
        let output = Command::new(&inside[0])
            .args(&inside[1..])
            .args(["sh", "-c", text])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn agent(&self) -> Agent {
        let mut through = self.inside();
        through.push("/usr/local/bin/upshift-node".to_owned());
        Agent::start_argv(&through, "/var/lib/upshift".as_ref(), None)
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        support::kill(self.init);
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn unit(name: &str) -> Value {
    json!({"systemd": {"unit": name}})
}

fn observed_pid(agent: &mut Agent, service: &Value) -> Value {
    agent.observe(probe(json!({"process": {"service": service}})))["pid"].clone()
}

fn check_units(booted: &Booted, agent: &mut Agent) {
    booted.run(
        "printf '[Service]\\nExecStart=/bin/sleep 3600\\nRestart=always\\n' >/etc/systemd/system/server.service
         printf '[Service]\\nExecStart=/bin/sh -c \"trap : TERM; while :; do sleep 1; done\"\\n' >/etc/systemd/system/deaf.service
         systemctl daemon-reload",
    );
    let server = unit("server.service");
    let started = agent.done(1, action(json!({"start": server})));
    assert_eq!(observed_pid(agent, &server), started["pid"]);
    assert_eq!(agent.done(2, action(json!({"start": server})))["already"], true);
    let stop =
        |service: &Value, patience: &str| action(json!({"stop": {"service": service, "patience": patience}}));
    assert_eq!(agent.done(3, stop(&server, "10s"))["killed"], false);
    assert_eq!(
        observed_pid(agent, &server),
        Value::Null,
        "a unit that always restarts stays stopped"
    );
    agent.done(4, stop(&server, "10s"));
    let deaf = unit("deaf.service");
    agent.done(5, action(json!({"start": deaf})));
    assert_eq!(agent.done(6, stop(&deaf, "300ms"))["killed"], true);
    let report = agent.order(&order(7, action(json!({"start": unit("none.service")}))));
    assert!(
        matches!(&report, Report::Failed { reason } if reason.contains("knows no unit")),
        "{report:?}"
    );
}

fn units_of_guards(booted: &Booted) -> String {
    booted.run("ls -d /etc/systemd/system/upshift-guard* /etc/systemd/system/*.wants/upshift-guard* /var/lib/upshift/guard-program")
}

fn check_guard(booted: &Booted, mut agent: Agent) {
    let server = unit("server.service");
    let recipe = |lease: &str| {
        action(json!({"arm_guard": {
            "scheme": "semver", "lease": lease, "stagger": "0s",
            "rollback": [{"start": server}],
            "proof": [{"probe": {"process": {"service": server}}, "expect": "value.running"}],
        }}))
    };
    agent.done(60, recipe("60s"));
    assert_eq!(
        units_of_guards(booted).lines().count(),
        3,
        "a unit, enabled, and a program that stays"
    );
    assert_eq!(agent.disarm(1), Ok(GuardStatus::Disarmed));
    eventually("nothing of it is left", || units_of_guards(booted).is_empty());

    let mut again = order(61, recipe("15s"));
    again.hop = 1;
    assert!(matches!(agent.order(&again), Report::Done { .. }));
    agent.close();
    let guard = || {
        booted
            .run("systemctl show --property=MainPID --value 'upshift-guard-*'")
            .trim()
            .to_owned()
    };
    let first = guard();
    booted.run("systemctl kill --signal=KILL 'upshift-guard-*'");
    eventually("systemd has started it again", || {
        !["", "0", &first].contains(&guard().as_str())
    });
    let mut agent = booted.agent();
    eventually("the guard has rolled back", || {
        agent.guard() == GuardStatus::RolledBack
    });
    assert!(observed_pid(&mut agent, &server).is_u64());
    eventually("nothing of it is left", || units_of_guards(booted).is_empty());
}

/// Installs a release, for now or for good.
fn install_release(agent: &mut Agent, service: &Value, version: &str, permanent: bool) {
    let call = ReleaseCall::Install {
        artifact: None,
        version: version.to_owned(),
        strip: 1,
        permanent,
    };
    let answer = ask_release(agent, service.clone(), call);
    assert_eq!(answer.outcome, ReleaseOutcome::Done, "{answer:?}");
}

/// What systemd starts by itself is the permanent release.
fn check_settled_starts(booted: &Booted, agent: &mut Agent) {
    booted.run(
        "printf '%s\\n' '[Service]' 'ExecStartPre=/usr/local/bin/upshift-node settle --state /var/lib/upshift' \\
            'ExecStart=/var/lib/upshift/store/current/bin/server 3600' 'Restart=always' 'RestartSec=100ms' \\
            >/etc/systemd/system/store.service
         systemctl daemon-reload",
    );
    let store = unit("store.service");
    let release =
        |agent: &mut Agent| agent.observe(probe(json!({"process": {"service": store}})))["release"].clone();
    let started_by_itself = |agent: &mut Agent, expected: &str| {
        let before = observed_pid(agent, &store);
        booted.run("systemctl kill --signal=KILL store.service");
        eventually("systemd has started it again", || {
            let now = observed_pid(agent, &store);
            now.is_u64() && now != before
        });
        eventually("it runs the release that is expected", || {
            release(agent) == expected
        });
    };
    install(agent, 20, "1.0");
    install(agent, 22, "2.0");
    agent.done(24, switch("1.0"));
    agent.done(25, action(json!({"start": store})));
    install_release(agent, &store, "2.0", false);
    assert_eq!(release(agent), "2.0");
    started_by_itself(agent, "1.0");
    install_release(agent, &store, "2.0", false);
    install_release(agent, &store, "2.0", true);
    started_by_itself(agent, "2.0");
    agent.done(26, action(json!({"stop": {"service": store, "patience": "10s"}})));
}

/// A service that an operator's unit starts from elsewhere is started from the store, and from elsewhere again.
fn check_moved_unit(booted: &Booted, agent: &mut Agent) {
    booted.run(
        "mkdir -p /opt/elsewhere && cp -L /var/lib/upshift/store/current/bin/server /opt/elsewhere/server
         printf '%s\\n' '[Service]' 'Environment=LONG=3600' 'ExecStart=/opt/elsewhere/server \\' '  $LONG' >/etc/systemd/system/moved.service
         printf '%s\\n' '[Service]' 'ExecStart=/bin/sh -c \"exec sleep 3600\"' >/etc/systemd/system/wrapped.service
         systemctl daemon-reload",
    );
    let moved = unit("moved.service");
    let order = |unit: &str| json!({"unit": unit, "program": "/var/lib/upshift/store/current/bin/server"});
    let stop = action(json!({"stop": {"service": moved, "patience": "10s"}}));
    let arguments = |booted: &Booted| {
        booted.run("tr '\\0' ' ' </proc/$(systemctl show --property=MainPID --value moved.service)/cmdline")
    };
    let unit_file = |booted: &Booted| booted.run("cat /etc/systemd/system/moved.service");
    let before = unit_file(booted);
    agent.done(40, action(json!({"start": moved})));
    for attempt in [41, 45] {
        agent.done(attempt, action(json!({"move_unit": order("moved.service")})));
        agent.done(attempt + 1, stop.clone());
        agent.done(attempt + 2, action(json!({"start": moved})));
        let process = agent.observe(probe(json!({"process": {"service": moved}})));
        assert_eq!(process["release"], "2.0", "{process}");
        assert_eq!(
            arguments(booted).trim(),
            "/var/lib/upshift/store/current/bin/server 3600"
        );
    }
    agent.done(50, stop.clone());
    agent.done(51, action(json!({"unmove_unit": order("moved.service")})));
    agent.done(52, action(json!({"unmove_unit": order("moved.service")})));
    agent.done(53, action(json!({"start": moved})));
    assert_eq!(arguments(booted).trim(), "/opt/elsewhere/server 3600");
    assert_eq!(unit_file(booted), before);
    assert_eq!(
        booted.run("ls -d /etc/systemd/system/moved.service.d 2>/dev/null"),
        ""
    );
    agent.done(54, stop);
    let report = agent.order(&support::order(
        55,
        action(json!({"move_unit": order("wrapped.service")})),
    ));
    assert!(
        matches!(&report, Report::Failed { reason } if reason.contains("it starts /bin/sh") && reason.contains("systemctl edit wrapped.service")),
        "{report:?}"
    );
    assert_eq!(
        agent.done(56, action(json!({"move_unit": order("")})))["unit"],
        Value::Null
    );
}

#[test]
fn units_are_started_and_stopped_and_a_guard_is_one() {
    let world = World::new();
    let Some(booted) = Booted::new(&world) else { return };
    let mut agent = booted.agent();
    assert_eq!(agent.hello()["systemd"], true);
    check_units(&booted, &mut agent);
    check_settled_starts(&booted, &mut agent);
    check_moved_unit(&booted, &mut agent);
    check_guard(&booted, agent);
}
