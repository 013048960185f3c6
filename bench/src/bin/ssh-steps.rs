//! Ten trivial steps on three hosts over ssh, the whole program each time, beside ansible-core and pyinfra in the same run.
//! Ansible and Upshift have ssh share connections with the commands of the next minute; pyinfra logs in each time. So both are measured
//! in either state: as the second command, and as the first one, which logs in. Also what one step, with its proof, costs on a warm
//! connection, beside what its command costs.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use upshift_bench::{Hosts, median, prepare, rounded, say};
use upshift_lab::fetch::{Cache, PythonTool, python_tool};
use upshift_lab::processes;

const RUNS: usize = 5;
const MORE: usize = 110;

fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::open()?;
    let ansible = python_tool(&cache, PythonTool::Ansible, &say)?;
    let pyinfra = python_tool(&cache, PythonTool::Pyinfra, &say)?;
    let hosts = Hosts::new(&cache)?;
    hosts.package("1.1.0", b"nothing")?;
    let (ten, more) = (hosts.profile(10)?, hosts.profile(MORE)?);
    // Once unmeasured: the agent is put on each host, and the package is sent.
    hosts.prepare("1.1.0", &ten);
    let upshift = repeat(|| Ok(hosts.prepare("1.1.0", &ten)))?;
    let each_ms = |few: f64, many: f64| (many - few) * 1000.0 / (MORE - 10) as f64;
    let three_ms = each_ms(upshift, repeat(|| Ok(hosts.prepare("1.1.0", &more)))?);
    let logging_in = hosts.logging_in()?;
    let first = repeat(|| Ok(prepare(&logging_in, "1.1.0", &ten)))?;
    // On this machine all hosts share the same two cores, so what one step costs is seen on one host.
    let one = hosts.one()?;
    prepare(&one, "1.1.0", &ten);
    let one_ms = each_ms(
        repeat(|| Ok(prepare(&one, "1.1.0", &ten)))?,
        repeat(|| Ok(prepare(&one, "1.1.0", &more)))?,
    );
    let command_ms = command_ms()?;

    let directory = hosts.directory.path();
    write_ansible(&hosts, directory)?;
    let playbook =
        |pipelining, sockets: &str| ansible_command(&ansible, directory, &hosts, pipelining, sockets);
    let ansible_defaults = repeat(|| timed(playbook(false, "sockets")))?;
    let ansible_pipelining = repeat(|| timed(playbook(true, "sockets")))?;
    let mut fresh = 0;
    let ansible_first = repeat(|| {
        fresh += 1;
        timed(playbook(true, &format!("sockets-{fresh}")))
    })?;
    write_pyinfra(&hosts, directory)?;
    let pyinfra_wall = repeat(|| {
        let mut command = Command::new(pyinfra.join("pyinfra"));
        command
            .args(["-y", "inventory.py", "deploy.py"])
            .current_dir(directory);
        timed(command)
    })?;
    println!(
        "{}",
        json!({
            "bench": "ssh-steps",
            "hosts": 3,
            "steps": 10,
            "upshift_s": rounded(upshift),
            "ansible_core_s": rounded(ansible_defaults),
            "ansible_core_pipelining_s": rounded(ansible_pipelining),
            "pyinfra_s": rounded(pyinfra_wall),
            "ansible_core_pipelining_ratio": rounded(ansible_pipelining / upshift),
            "pyinfra_ratio": rounded(pyinfra_wall / upshift),
            "first": {
                "upshift_s": rounded(first),
                "ansible_core_pipelining_s": rounded(ansible_first),
                "ansible_core_pipelining_ratio": rounded(ansible_first / first),
                "pyinfra_ratio": rounded(pyinfra_wall / first),
            },
            "warm_step_ms": rounded(one_ms),
            "warm_step_on_three_hosts_ms": rounded(three_ms),
            "command_ms": rounded(command_ms),
            "warm_step_beyond_command_ms": rounded(one_ms - command_ms),
        })
    );
    Ok(())
}

/// What it takes to run the steps' command, and nothing else, in milliseconds.
fn command_ms() -> std::io::Result<f64> {
    let began = Instant::now();
    for _ in 0..MORE {
        Command::new("true").status()?;
    }
    Ok(began.elapsed().as_secs_f64() * 1000.0 / MORE as f64)
}

fn repeat(mut run: impl FnMut() -> Result<Duration, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    Ok(median(times))
}

fn timed(mut command: Command) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    processes::run(&mut command, Duration::from_secs(120))?;
    Ok(began.elapsed())
}

fn write_ansible(hosts: &Hosts, directory: &Path) -> std::io::Result<()> {
    let names: Vec<&str> = hosts.bed.hosts().iter().map(|host| host.name.as_str()).collect();
    fs::write(
        directory.join("inventory.ini"),
        format!(
            "{}\n[all:vars]\nansible_python_interpreter=auto_silent\n",
            names.join("\n")
        ),
    )?;
    let mut play = String::from("- hosts: all\n  gather_facts: false\n  tasks:\n");
    for step in 1..=10 {
        play.push_str(&format!(
            "    - name: step {step}\n      ansible.builtin.command: \"true\"\n"
        ));
    }
    fs::write(directory.join("play.yml"), play)
}

/// The playbook's command; connections that still stand are found through the sockets' directory.
fn ansible_command(
    programs: &Path,
    directory: &Path,
    hosts: &Hosts,
    pipelining: bool,
    sockets: &str,
) -> Command {
    let mut command = Command::new(programs.join("ansible-playbook"));
    command
        .args(["-i", "inventory.ini", "play.yml"])
        .current_dir(directory)
        .env("ANSIBLE_PIPELINING", if pipelining { "True" } else { "False" })
        .env("ANSIBLE_HOST_KEY_CHECKING", "False")
        .env("ANSIBLE_SSH_CONTROL_PATH_DIR", directory.join(sockets))
        .env(
            "ANSIBLE_SSH_ARGS",
            format!(
                "-F {} -o ControlMaster=auto -o ControlPersist=60s",
                hosts.bed.ssh_config().display()
            ),
        );
    command
}

fn write_pyinfra(hosts: &Hosts, directory: &Path) -> std::io::Result<()> {
    let key = hosts.bed.key_file().display().to_string();
    let entries: Vec<String> = hosts
        .bed
        .hosts()
        .iter()
        .map(|host| {
            format!(
                "({:?}, {{\"ssh_hostname\": {:?}, \"ssh_user\": \"root\", \"ssh_key\": {key:?}, \
                 \"ssh_strict_host_key_checking\": \"no\"}})",
                host.name, host.address
            )
        })
        .collect();
    fs::write(
        directory.join("inventory.py"),
        format!("hosts = [{}]\n", entries.join(", ")),
    )?;
    fs::write(
        directory.join("deploy.py"),
        "from pyinfra.operations import server\nfor step in range(10):\n    \
         server.shell(name=f\"step {step}\", commands=[\"true\"])\n",
    )
}
