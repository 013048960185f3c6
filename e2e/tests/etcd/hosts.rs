//! Three hosts with real sshd, in network namespaces.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use upshift_e2e::fixture::{Fixture, command_line, etcd_packages};
use upshift_e2e::harness::{Case, NoVerdict, Outcome, Skip};
use upshift_e2e::program::{Running, Upshift};
use upshift_lab::cluster::Product;
use upshift_lab::fetch::Cache;
use upshift_lab::load::Load;
use upshift_lab::processes;
use upshift_lab::testbed::{TestHost, Testbed};

use super::local::{expect_equal_hashes, to};

pub const TRIALS: &[Case] = &[
    ("three_hosts_over_ssh_under_load", over_ssh),
    ("commands_share_logins_and_proofs_do_not", shared_logins),
    ("an_ansible_inventory_a_jump_host_and_sudo", inventory),
    ("links_that_are_cut_in_every_phase_cost_nothing", cut_links),
    ("a_host_with_a_full_disk_is_refused", full_disk),
    ("a_disk_that_fills_up_in_the_middle_costs_nothing", disk_fills_up),
];

struct Hosts {
    // First: agents and members end before their hosts do.
    fixture: Fixture,
    bed: Testbed,
    cache: Cache,
}

fn say(text: &str) {
    println!("{text}");
}

/// Three hosts with a cluster of 3.4.23.
fn hosts(prepare: impl FnOnce(&mut Testbed, &Path) -> Result<(), String>) -> Result<Hosts, NoVerdict> {
    let cache = Cache::open().map_err(|error| Skip(error.to_string()))?;
    let mut bed = Testbed::new(&cache, 3, &say)?;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let package = etcd_packages(directory.path(), "3.4.23", &["3.5.16"])?;
    prepare(&mut bed, directory.path()).expect("the hosts are prepared");
    let places = bed.places(&bed.ssh_config(), "", false);
    let fixture = Fixture::with(Product::Etcd, directory, places, &package);
    Ok(Hosts { fixture, bed, cache })
}

fn over_ssh() -> Outcome {
    let hosts = hosts(|_, _| Ok(()))?;
    let fixture = &hosts.fixture;
    let load = Load::start(&fixture.cluster.client(), "load", 100);
    fixture.upshift.run(&["check", "--to", "3.5.16"]).expect(0);
    fixture.upshift.run(&to("3.5.16")).expect(0);
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    println!("    {report:?}");
    fixture.expect_all("3.5.16");
    expect_equal_hashes(fixture);
    fixture.expect_nothing_left();
    Ok(())
}

/// The processes through which sshd serves the logins of a host.
fn logged_in(bed: &Testbed, host: &TestHost) -> Vec<u32> {
    let processes = bed.processes(host).into_iter();
    processes
        .filter(|pid| command_line(*pid).starts_with("sshd: root"))
        .collect()
}

fn shared_logins() -> Outcome {
    let hosts = hosts(|_, _| Ok(()))?;
    let (fixture, bed) = (&hosts.fixture, &hosts.bed);
    let logins = || -> Vec<usize> { bed.hosts().iter().map(|host| bed.logins(host)).collect() };
    for _ in 0..3 {
        fixture.upshift.run(&["status"]).expect(0);
    }
    assert_eq!(logins(), [1, 1, 1]);

    // A connection that stands and leads nowhere any more, as after a host has lost its power, is noticed and replaced.
    let frozen = logged_in(bed, &bed.hosts()[0]);
    assert_eq!(frozen.len(), 1);
    processes::signal(frozen[0], Signal::STOP);
    fixture.upshift.run(&["status"]).expect(0);
    assert_eq!(logins(), [2, 1, 1]);
    processes::signal(frozen[0], Signal::KILL);

    // Before a guard is disarmed a login of its own proves that the host can be reached.
    fixture.upshift.run(&to("3.5.16")).expect(0);
    let proven = logins();
    assert!(proven[0] > 2 && proven[1] > 1 && proven[2] > 1, "{proven:?}");
    fixture.expect_all("3.5.16");

    // Who does not want it says so.
    let fleet = fs::read_to_string(&fixture.upshift.fleet).expect("the fleet's file");
    let alone = fixture.directory().join("alone.yaml");
    let text = fleet.replace("\"-F\"", "\"-oControlPath=none\",\"-F\"");
    assert_ne!(text, fleet);
    fs::write(&alone, text).expect("a fleet's file");
    fixture.upshift.with_fleet(&alone).run(&["status"]).expect(0);
    let alone: Vec<usize> = proven.iter().map(|logins| logins + 1).collect();
    assert_eq!(logins(), alone);
    Ok(())
}

/// Writes an Ansible inventory for the hosts, reached through the jump host by a user who is not root.
fn write_inventory(hosts: &Hosts, config: &Path, file: &Path) {
    let mut text = String::from("[etcd]\n");
    for (member, host) in hosts.fixture.cluster.members().iter().zip(hosts.bed.hosts()) {
        text.push_str(&format!(
            "{} ansible_host=via-{} etcd_config_file={} etcd_client_url=http://{} upshift_state_directory={}\n",
            host.name,
            host.name,
            member.config_file.display(),
            member.endpoint(),
            member.state_directory.display(),
        ));
    }
    text.push_str(&format!(
        "\n[etcd:vars]\nansible_become=true\nansible_ssh_common_args='-F {}'\n",
        config.display()
    ));
    fs::write(file, text).expect("an inventory");
}

fn inventory() -> Outcome {
    let mut hosts = hosts(|_, _| Ok(()))?;
    let config = hosts.bed.ordinary_user(&hosts.cache, &say)?;
    let file = hosts.fixture.directory().join("inventory.ini");
    write_inventory(&hosts, &config, &file);
    let fixture = &hosts.fixture;
    let upshift: Upshift = fixture.upshift.with_fleet(&file);
    upshift.run(&to("3.5.16")).expect(0);
    fixture.expect_all("3.5.16");
    expect_equal_hashes(fixture);
    Ok(())
}

/// The phases of a run that it has told so far.
fn phases(said: &str) -> Vec<String> {
    let phase = |line: &str| Some(line.split_once("] == ")?.1.to_owned());
    said.lines().filter_map(phase).collect()
}

/// The ssh processes of a command that lead to a host.
fn ssh_to(running: &Running, host: &TestHost) -> Vec<u32> {
    processes::children(running.pid())
        .into_iter()
        .filter(|pid| {
            let words = command_line(*pid);
            words.starts_with("ssh") && words.contains(&format!(" {} ", host.name))
        })
        .collect()
}

/// In every phase of the run one of the links goes down, and the run's connection over it breaks.
fn cut_links() -> Outcome {
    let hosts = hosts(|_, _| Ok(()))?;
    let fixture = &hosts.fixture;
    let load = Load::start(&fixture.cluster.client(), "load", 50);
    let mut upgrade = fixture.upshift.start(&to("3.5.16"));
    let (mut cut, mut broken) = (Vec::new(), 0);
    let ended = processes::poll(Duration::from_secs(200), || {
        let told = phases(&upgrade.so_far());
        if told.len() > cut.len() {
            let host = &hosts.bed.hosts()[told.len() % 3];
            hosts.bed.set_link(host, false).expect("a link goes down");
            for pid in ssh_to(&upgrade, host) {
                processes::signal(pid, Signal::KILL);
                broken += 1;
            }
            std::thread::sleep(Duration::from_millis(700));
            hosts.bed.set_link(host, true).expect("a link comes up");
            cut = told;
        }
        !upgrade.runs()
    });
    assert!(ended, "the upgrade goes on and on");
    let ran = upgrade.finish(Duration::from_secs(5));
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}\n{}", ran.text());
    match ran.status.code() {
        Some(0) => fixture.expect_all("3.5.16"),
        Some(4) => fixture.expect_all("3.4.23"),
        _ => panic!("{}", ran.text()),
    }
    println!("    {broken} connections broken in: {}", cut.join("; "));
    assert!(broken >= 8, "{broken}\n{}", ran.text());
    for phase in [
        "preparing",
        "protecting",
        "before window 3",
        "window 3",
        "soaking",
    ] {
        let reached = |told: &String| told.starts_with(phase) || told.starts_with("rolling back");
        assert!(cut.iter().any(reached), "{phase}: {cut:?}");
    }
    expect_equal_hashes(fixture);
    fixture.expect_nothing_left();
    Ok(())
}

fn full_disk() -> Outcome {
    let hosts = hosts(|bed, directory| {
        // Enough for the running release and the agent, not for another release.
        bed.small_disk(&directory.join("cluster/h2/upshift"), 110)
    })?;
    let fixture = &hosts.fixture;
    let ran = fixture.upshift.run(&to("3.5.16")).expect(3);
    assert!(
        ran.text().contains("h2") && ran.text().contains("disk"),
        "{}",
        ran.text()
    );
    fixture.expect_all("3.4.23");
    Ok(())
}

/// Writes into a directory until its disk is full.
fn fill(directory: &Path) {
    let mut file = fs::File::create(directory.join("full")).expect("a file");
    let zeros = [0; 4096];
    while file.write_all(&zeros).is_ok() {}
}

fn disk_fills_up() -> Outcome {
    let hosts = hosts(|bed, directory| bed.small_disk(&directory.join("cluster/h2/upshift"), 400))?;
    let fixture = &hosts.fixture;
    let before = fixture.cluster.configurations().expect("configurations");
    let load = Load::start(&fixture.cluster.client(), "load", 100);
    let mut arguments = to("3.5.16");
    // Guards are renewed without any room: a short lease does not run out because of the disk.
    arguments.extend(["--guard-lease", "15s"].map(str::to_owned));
    let mut upgrade = fixture.upshift.start(&arguments);
    let new = |versions: Vec<Option<String>>| versions.iter().flatten().any(|version| version == "3.5.16");
    processes::poll(Duration::from_secs(120), || {
        new(fixture.cluster.versions()) || !upgrade.runs()
    });
    if !upgrade.runs() {
        panic!(
            "it ended early: {}",
            upgrade.finish(Duration::from_secs(5)).text()
        );
    }
    let disk = fixture.directory().join("cluster/h2/upshift");
    fill(&disk);
    let ran = upgrade.finish(Duration::from_secs(240));
    println!("    {}", ran.status);
    fs::remove_file(disk.join("full")).expect("the file is removed");
    match ran.status.code() {
        Some(0) => fixture.expect_all("3.5.16"),
        Some(4) => {
            assert!(ran.text().contains("h2"), "{}", ran.text());
            fixture.expect_all("3.4.23");
            assert_eq!(fixture.cluster.configurations().expect("configurations"), before);
        }
        _ => panic!("{}", ran.text()),
    }
    let report = load.finish().expect("the cluster is read");
    assert_eq!(report.lost, 0, "{report:?}");
    expect_equal_hashes(fixture);
    fixture.expect_nothing_left();
    Ok(())
}
