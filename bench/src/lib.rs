//! What the benchmarks share: several hosts, a product that does nothing, and medians.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use upshift_e2e::program::Upshift;
use upshift_lab::fetch::{Cache, Unavailable};
use upshift_lab::package::{Contents, Entry, write_tar_gz};
use upshift_lab::testbed::Testbed;

/// Three hosts, and an operator of a product that does nothing but take steps.
pub struct Hosts {
    /// The operator.
    pub upshift: Upshift,
    /// The hosts.
    pub bed: Testbed,
    /// Everything lies below this directory.
    pub directory: tempfile::TempDir,
}

/// Says what is fetched.
pub fn say(text: &str) {
    println!("{text}");
}

impl Hosts {
    /// Sets three hosts up.
    ///
    /// # Errors
    /// Where this machine cannot have them.
    pub fn new(cache: &Cache) -> Result<Self, Unavailable> {
        let failed = |error: std::io::Error| Unavailable::new("three hosts", error);
        let bed = Testbed::new(cache, 3, &say)?;
        let directory = tempfile::tempdir().map_err(failed)?;
        let home = directory.path();
        let mut fleet = String::from("name: bench\nproducts:\n  bench: { hosts: [h1, h2, h3] }\nhosts:\n");
        for host in bed.hosts() {
            let state = home.join(&host.name);
            let ssh = json!({ "ssh": { "arguments": ["-F", bed.ssh_config()] } });
            fleet.push_str(&format!(
                "  {}:\n    transport: {ssh}\n    state_directory: {}\n",
                host.name,
                json!(state)
            ));
        }
        fs::write(home.join("fleet.yaml"), fleet).map_err(failed)?;
        let upshift = Upshift {
            fleet: home.join("fleet.yaml"),
            packages: home.join("packages"),
            state: home.join("operator"),
            environment: Vec::new(),
        };
        let hosts = Hosts {
            upshift,
            bed,
            directory,
        };
        // The release that the servers are said to run, so that they could roll back to it.
        hosts.package("1.0.0", b"old").map_err(failed)?;
        Ok(hosts)
    }

    /// Writes a package of the product with these contents.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn package(&self, version: &str, contents: &[u8]) -> std::io::Result<PathBuf> {
        let path = self.upshift.packages.join(format!("bench-{version}.tar.gz"));
        let entry = Entry {
            name: "bench/contents",
            mode: 0o644,
            contents: Contents::Bytes(contents),
        };
        write_tar_gz(&path, &[entry])?;
        Ok(path)
    }

    /// Writes a profile whose preparation takes so many steps, at least one, each a `true` that is proven by a look at a file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn profile(&self, steps: usize) -> std::io::Result<PathBuf> {
        let path = self.directory.path().join(format!("bench-{steps}.yaml"));
        let mut text = String::from(PROFILE);
        text.push_str("verbs:\n  prepare:\n");
        for step in 1..=steps {
            text.push_str(&format!(
                "    - title: step {step}\n      action: {{ command: {{ argv: [\"true\"] }} }}\n      \
                 proof: [{{ probe: there, expect: value.exists, waiting: the file is not there }}]\n"
            ));
        }
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The operator whose commands each log in, as the first one of a while does.
    ///
    /// # Errors
    /// Where its files cannot be written.
    pub fn logging_in(&self) -> std::io::Result<Upshift> {
        let fleet = fs::read_to_string(&self.upshift.fleet)?;
        let shared = json!(["-F", self.bed.ssh_config()]).to_string();
        let own = json!(["-F", self.bed.ssh_config(), "-o", "ControlPath=none"]).to_string();
        let file = self.directory.path().join("logging-in.yaml");
        fs::write(&file, fleet.replace(&shared, &own))?;
        Ok(self.upshift.with_fleet(&file))
    }

    /// The operator of a fleet of the first host alone.
    ///
    /// # Errors
    /// Where its files cannot be written.
    pub fn one(&self) -> std::io::Result<Upshift> {
        let fleet = fs::read_to_string(&self.upshift.fleet)?;
        let one = self.directory.path().join("one.yaml");
        let text = fleet
            .replace("name: bench\n", "name: one\n")
            .replace("[h1, h2, h3]", "[h1]");
        fs::write(&one, text)?;
        Ok(self.upshift.with_fleet(&one))
    }

    /// Prepares a version, and says how long the whole program took.
    ///
    /// # Panics
    /// Where it does not end well: then there is nothing to measure.
    pub fn prepare(&self, version: &str, profile: &Path) -> Duration {
        prepare(&self.upshift, version, profile)
    }
}

/// [`Hosts::prepare`], by any operator.
///
/// # Panics
/// Where it does not end well.
pub fn prepare(upshift: &Upshift, version: &str, profile: &Path) -> Duration {
    let profile = profile.display().to_string();
    let began = Instant::now();
    let ran = upshift.run(&["prepare", "--to", version, "--profile", &profile]);
    let took = began.elapsed();
    ran.expect(0);
    took
}

const PROFILE: &str = "\
product: bench
title: bench
versions: { scheme: semver, running: { probe: machine, expression: \"'1.0.0'\" } }
packages: [{ pattern: \"bench-{version}.tar.gz\", strip: 1 }]
service: { supervised: { name: bench, argv: [sleep, \"1000000\"] } }
paths: [{ from: 1.0.x, to: 1.1.x, strategy: rolling, source: { title: bench } }]
probes:
  machine: host
  there: { file: /etc/hostname }
";

/// The middle one of several times, in seconds.
pub fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// Three digits after the point are what a benchmark is good for.
pub fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
