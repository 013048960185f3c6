//! Ten trivial steps on three ssh hosts, whole process, beside ansible-core and pyinfra in the same run.
//!
//! Every tool reaches the same three sshd in network namespaces with the same key. Ansible runs `command: true` ten times with
//! pipelining and kept connections; pyinfra runs ten `true`. Upshift runs ten orders per host: recorded on the host before
//! and after, and in the controller's journal.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use upshift_bench::timing::{median, rounded, time};
use upshift_bench::{machine, steps};
use upshift_lab::fetch::{Cache, PythonTool, python_tool};
use upshift_lab::testbed::Testbed;
use upshift_model::fleet::Fleet;

const STEPS: u32 = 10;
const ROUNDS: usize = 5;
/// Steps from which the cost of one on a warm connection is taken.
const WARM: u32 = 200;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, fleet, state, count] = arguments.as_slice()
        && word == "--run"
    {
        return run_steps(Path::new(fleet), Path::new(state), count.parse()?);
    }
    measure()
}

/// One process of Upshift: what is timed.
fn run_steps(fleet: &Path, state: &Path, count: u32) -> Result<()> {
    let fleet: Fleet = serde_json::from_slice(&fs::read(fleet)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let plan = steps::plan(&fleet, &steps::nothing(), count);
    let began = Instant::now();
    runtime.block_on(steps::carry(&fleet, plan, state, None))?;
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}

fn measure() -> Result<()> {
    let cache = Cache::open()?;
    let say = |text: &str| eprintln!("{text}");
    let bed = Testbed::new(&cache, 3, &say)?;
    let directory = tempfile::tempdir()?;
    let fleet = directory.path().join("fleet.json");
    fs::write(&fleet, serde_json::to_vec(&steps::fleet(&bed, directory.path()))?)?;
    let own = |count: u32| -> Result<f64> {
        let state = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--run").arg(&fleet).arg(state.path()).arg(count.to_string());
        time(&mut command)
    };
    own(1).context("the first contact, which sends the agent")?;
    let ansible = Others::ansible(&cache, &bed, directory.path(), &say);
    let pyinfra = Others::pyinfra(&cache, &bed, directory.path(), &say);
    let (mut ours, mut long, mut theirs, mut thirds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // In turns, so that a disturbance meets all alike.
    for _ in 0..ROUNDS {
        ours.push(own(STEPS)?);
        long.push(own(WARM)?);
        if let Ok(ansible) = &ansible {
            theirs.push(ansible.run()?);
        }
        if let Ok(pyinfra) = &pyinfra {
            thirds.push(pyinfra.run()?);
        }
    }
    let (upshift, warm) = (median(ours), median(long));
    let beside = |seconds: Vec<f64>, tool: &Result<Others, String>| match tool {
        Ok(_) => json!({"seconds": rounded(median(seconds.clone()), 3), "times_slower": rounded(median(seconds) / upshift, 1)}),
        Err(reason) => json!({"skipped": reason}),
    };
    let line = json!({
        "bench": "ssh-steps",
        "hosts": 3,
        "steps": STEPS,
        "upshift_seconds": rounded(upshift, 3),
        "warm_step_ms": rounded((warm - upshift) * 1000.0 / f64::from(WARM - STEPS), 2),
        "ansible_core": beside(theirs, &ansible),
        "pyinfra": beside(thirds, &pyinfra),
        "rounds": ROUNDS,
        "machine": machine::describe(),
    });
    println!("{line}");
    Ok(())
}


/// Another tool, ready to do the same.
struct Others {
    program: std::path::PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    directory: std::path::PathBuf,
}

impl Others {
    fn run(&self) -> Result<f64> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.directory);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        time(&mut command)
    }

    /// `command: true` ten times, with pipelining and connections that are kept.
    fn ansible(cache: &Cache, bed: &Testbed, directory: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<Self, String> {
        let programs = python_tool(cache, PythonTool::Ansible, say).map_err(|error| error.to_string())?;
        let tasks: Vec<Value> = (0..STEPS).map(|_| json!({"ansible.builtin.command": "true", "changed_when": false})).collect();
        let playbook = json!([{"hosts": "all", "gather_facts": false, "tasks": tasks}]);
        let hosts: Map<String, Value> = bed
            .hosts()
            .iter()
            .map(|host| {
                let ssh = format!("-F {} -o ControlMaster=auto -o ControlPersist=60", bed.ssh_config().display());
                let value = json!({"ansible_ssh_common_args": ssh, "ansible_python_interpreter": "/usr/bin/python3"});
                (host.name.clone(), value)
            })
            .collect();
        let inventory = json!({"all": {"hosts": hosts}});
        let write = |name: &str, value: &Value| {
            fs::write(directory.join(name), value.to_string()).map_err(|error| error.to_string())
        };
        write("playbook.json", &playbook)?;
        write("inventory.json", &inventory)?;
        Ok(Others {
            program: programs.join("ansible-playbook"),
            arguments: ["-i", "inventory.json", "playbook.json"].map(str::to_owned).to_vec(),
            environment: vec![("ANSIBLE_PIPELINING", "True".to_owned()), ("ANSIBLE_HOST_KEY_CHECKING", "False".to_owned())],
            directory: directory.to_owned(),
        })
    }

    /// Ten operations of `true`.
    fn pyinfra(cache: &Cache, bed: &Testbed, directory: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<Self, String> {
        let programs = python_tool(cache, PythonTool::Pyinfra, say).map_err(|error| error.to_string())?;
        let hosts: Vec<String> = bed
            .hosts()
            .iter()
            .map(|host| {
                format!(
                    "(\"{}\", {{\"ssh_hostname\": \"{}\", \"ssh_user\": \"root\", \"ssh_key\": \"{}\", \"ssh_strict_host_key_checking\": \"off\", \"ssh_config_file\": \"/dev/null\"}})",
                    host.name,
                    host.address,
                    bed.key_file().display()
                )
            })
            .collect();
        let inventory = format!("hosts = [{}]\n", hosts.join(", "));
        let deploy = format!(
            "from pyinfra.operations import server\nfor number in range({STEPS}):\n    server.shell(name=f\"step {{number}}\", commands=[\"true\"])\n"
        );
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).map_err(|error| error.to_string());
        write("inventory.py", &inventory)?;
        write("deploy.py", &deploy)?;
        Ok(Others {
            program: programs.join("pyinfra"),
            arguments: ["-y", "inventory.py", "deploy.py"].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            directory: directory.to_owned(),
        })
    }
}
