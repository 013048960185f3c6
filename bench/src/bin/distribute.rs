//! A release of 200 MB to three hosts, beside `scp` of the same file to one; what went over the wire, the second time, too; and
//! what the agent weighs.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use upshift_bench::{Hosts, rounded};
use upshift_lab::fetch::Cache;
use upshift_lab::processes;

const SIZE: usize = 200_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::open()?;
    let hosts = Hosts::new(&cache)?;
    let profile = hosts.profile(1)?;
    let file = hosts.package("1.1.0", &noise(SIZE))?;
    let size = fs::metadata(&file)?.len();

    let before = received(&hosts)?;
    hosts
        .upshift
        .run(&["check", "--profile", &profile.display().to_string()]);
    let agent_mb = (received(&hosts)? - before) as f64 / 3e6;

    let host = &hosts.bed.hosts()[0];
    let target = format!(
        "{}:{}",
        host.name,
        hosts.directory.path().join("by-scp").display()
    );
    let began = Instant::now();
    let mut scp = Command::new("scp");
    scp.arg("-q")
        .arg("-F")
        .arg(hosts.bed.ssh_config())
        .arg(&file)
        .arg(&target);
    processes::run(&mut scp, Duration::from_secs(120))?;
    let scp_s = began.elapsed().as_secs_f64();

    let before = received(&hosts)?;
    let (first, memory) = watching_memory(&hosts, || distribute(&hosts, &profile));
    let sent = received(&hosts)? - before;
    let before = received(&hosts)?;
    let second = hosts.prepare("1.1.0", &profile);
    let again = received(&hosts)? - before;

    let per_host = size as f64 / 1e6;
    println!(
        "{}",
        json!({
            "bench": "distribute",
            "package_mb": rounded(per_host),
            "scp_one_host_s": rounded(scp_s),
            "scp_mb_per_s": rounded(per_host / scp_s),
            "upshift_three_hosts_s": rounded(first),
            "upshift_mb_per_s": rounded(3.0 * per_host / first),
            "speed_ratio": rounded(3.0 * scp_s / first),
            "sent_ratio": rounded(sent as f64 / (3.0 * size as f64)),
            "second_time_s": rounded(second.as_secs_f64()),
            "second_time_sent_mb": rounded(again as f64 / 1e6),
            "agent_push_mb": rounded(agent_mb),
            "agent_memory_mb": rounded(memory as f64 / 1e6),
        })
    );
    Ok(())
}

/// Prepares the version; how long the package took to be on all hosts with its digest compared, in seconds. Unpacking is not counted.
fn distribute(hosts: &Hosts, profile: &Path) -> f64 {
    let arguments = [
        "prepare",
        "--to",
        "1.1.0",
        "--output",
        "json",
        "--profile",
        &profile.display().to_string(),
    ];
    let ran = hosts.upshift.run(&arguments).expect(0);
    let events = ran
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let moments: Vec<f64> = events
        .filter(|event| {
            event["title"]
                .as_str()
                .is_some_and(|title| title.starts_with("distribute"))
        })
        .filter_map(|event| event["at_ms"].as_f64())
        .collect();
    let first = moments.iter().copied().fold(f64::INFINITY, f64::min);
    (moments.iter().copied().fold(0.0, f64::max) - first) / 1000.0
}

/// Bytes that do not compress, the same every time.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Bytes that have gone to the hosts: what the bridge's ends of their links have sent.
fn received(hosts: &Hosts) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for host in hosts.bed.hosts() {
        let path = format!("/sys/class/net/{}/statistics/tx_bytes", host.link);
        sum += fs::read_to_string(path)?.trim().parse::<u64>()?;
    }
    Ok(sum)
}

/// Does something while it looks at the agents' resident memory; gives the most that one had.
fn watching_memory<T>(hosts: &Hosts, work: impl FnOnce() -> T) -> (T, u64) {
    let (stop, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = thread::scope(|scope| {
        // Also where the work panics: the scope waits for the thread that looks.
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for host in hosts.bed.hosts() {
                    let agents = hosts.bed.processes(host).into_iter().filter(|pid| is_agent(*pid));
                    for pid in agents {
                        most.fetch_max(peak(pid), Ordering::Relaxed);
                    }
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        work()
    });
    (result, most.into_inner())
}

/// Sets its flag when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_agent(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| {
        program.to_string_lossy().contains("/agents/") || program.ends_with("upshift-node")
    })
}

/// The most resident memory that a process has had, in bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
