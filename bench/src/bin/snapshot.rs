//! A snapshot of 10,000 files and 1 GiB (or as many MiB as the first argument says), then again with one file in a hundred changed, and a restore, beside restic itself and `cp -a`.
//!
//! Upshift proves each snapshot by restoring it, and compares a restore with what was taken; the others do neither.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use upshift_bench::{rounded, say};
use upshift_e2e::program::Upshift;
use upshift_lab::fetch::{Cache, restic};
use upshift_lab::processes;

const FILES: usize = 10_000;
/// MiB of all files together, unless the first argument says how many.
const MEBIBYTES: usize = 1024;
/// One file in so many is changed.
const CHANGED: usize = 100;
const LIMIT: Duration = Duration::from_secs(900);

fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::open()?;
    let tool = restic(&cache, &say)?;
    // Beside the build, not in `/tmp`: that may be memory.
    let directory = tempfile::tempdir_in(std::env::current_exe()?.parent().ok_or("no directory")?)?;
    let home = directory.path();
    let data = home.join("data");
    let mebibytes = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => MEBIBYTES,
    };
    write_files(&data, mebibytes << 20)?;

    let copied = timed(Command::new("cp").arg("-a").arg(&data).arg(home.join("copy")))?;
    fs::remove_dir_all(home.join("copy"))?;

    let other = Restic {
        tool: tool.clone(),
        home: home.to_owned(),
    };
    other.run(&["init"])?;
    let ours = operator(home, &data, &tool)?;
    let path = data.display().to_string();
    let restic_full = other.run(&["backup", &path])?;
    let (full, _) = take(&ours)?;
    change_files(&data)?;
    let restic_again = other.run(&["backup", &path])?;
    let (again, id) = take(&ours)?;

    let target = home.join("restored").display().to_string();
    let restic_restore = other.run(&["restore", "latest", "--target", &target])?;
    fs::remove_dir_all(&target)?;
    let began = Instant::now();
    let profile = home.join("profile.yaml").display().to_string();
    ours.start(&["restore", &id, "--profile", &profile, "--to", &target, "--yes"])
        .finish(LIMIT)
        .expect(0);
    let restore = began.elapsed();

    let ratio = |ours: Duration, theirs: Duration| rounded(ours.as_secs_f64() / theirs.as_secs_f64());
    println!(
        "{}",
        json!({
            "bench": "snapshot",
            "files": FILES,
            "mib": mebibytes,
            "cp_s": rounded(copied.as_secs_f64()),
            "restic_full_s": rounded(restic_full.as_secs_f64()),
            "restic_changed_s": rounded(restic_again.as_secs_f64()),
            "restic_restore_s": rounded(restic_restore.as_secs_f64()),
            "upshift_full_and_proof_s": rounded(full.as_secs_f64()),
            "upshift_changed_and_proof_s": rounded(again.as_secs_f64()),
            "upshift_restore_s": rounded(restore.as_secs_f64()),
            "full_and_proof_to_restic_backup_and_restore": ratio(full, restic_full + restic_restore),
            "changed_and_proof_to_restic_backup_and_restore": ratio(again, restic_again + restic_restore),
            "restore_to_restic_restore": ratio(restore, restic_restore),
        })
    );
    Ok(())
}

/// restic, with a repository of its own.
struct Restic {
    tool: PathBuf,
    home: PathBuf,
}

impl Restic {
    fn run(&self, arguments: &[&str]) -> Result<Duration, Box<dyn Error>> {
        let mut command = Command::new(&self.tool);
        command
            .args(arguments)
            .env("RESTIC_REPOSITORY", self.home.join("theirs"))
            .env("RESTIC_PASSWORD", "bench")
            .env("RESTIC_CACHE_DIR", self.home.join("cache"));
        timed(&mut command)
    }
}

fn timed(command: &mut Command) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    processes::run(command, LIMIT)?;
    Ok(began.elapsed())
}

/// An operator whose one server of an idle product names the data.
fn operator(home: &Path, data: &Path, tool: &Path) -> Result<Upshift, Box<dyn Error>> {
    let state = home.join("state");
    let sleeper = home.join("sleeper");
    fs::copy("/bin/sleep", &sleeper)?;
    let profile = json!({
        "product": "bench", "title": "Bench",
        "versions": { "scheme": "semver", "running": { "probe": "version", "expression": "value.value" } },
        "packages": [{ "pattern": "bench-{version}.tar.gz" }],
        "service": { "supervised": { "name": "bench", "argv": [sleeper, "1"] } },
        "probes": { "version": { "command": { "argv": ["echo", "1.0.0"] } } },
        "paths": [{ "from": "1.0.x", "to": "1.1.x", "strategy": "rolling", "source": { "title": "a benchmark" } }],
        "snapshots": [{ "name": "data", "title": "the data", "paths": [data] }],
        "verbs_missing": "a benchmark upgrades nothing",
    });
    fs::write(home.join("profile.yaml"), profile.to_string())?;
    let fleet = json!({
        "name": "bench",
        "products": { "bench": { "hosts": ["h1"] } },
        "hosts": { "h1": { "transport": "local", "state_directory": state } },
    });
    fs::write(home.join("fleet.yaml"), fleet.to_string())?;
    Ok(Upshift {
        fleet: home.join("fleet.yaml"),
        packages: home.join("packages"),
        state: home.join("operator"),
        environment: vec![("UPSHIFT_RESTIC".to_owned(), tool.display().to_string())],
    })
}

/// Takes a snapshot and proves it; how long that took, and its id.
fn take(ours: &Upshift) -> Result<(Duration, String), Box<dyn Error>> {
    let profile = ours.fleet.with_file_name("profile.yaml").display().to_string();
    let began = Instant::now();
    let running = ours.start(&["backup", "--profile", &profile, "--output", "json"]);
    let ran = running.finish(LIMIT).expect(0);
    let took = began.elapsed();
    let answered: Value = serde_json::from_str(&ran.stdout)?;
    let id = answered[0]["snapshots"][0]["id"].as_str().ok_or("no id")?;
    Ok((took, id.to_owned()))
}

/// Files of many sizes, half of what cannot be compressed and half of what can.
fn write_files(data: &Path, size: usize) -> Result<(), Box<dyn Error>> {
    let mut noise = Noise(7);
    let mean = size / FILES;
    for number in 0..FILES {
        let directory = data.join(format!("{:02}", number % 100));
        fs::create_dir_all(&directory)?;
        // A tenth of the mean up to about twice of it.
        let length = mean / 10 + noise.next() as usize % (mean * 9 / 5);
        let mut file = File::create(directory.join(format!("{number}")))?;
        let bytes = if number % 2 == 0 {
            noise.bytes(length)
        } else {
            format!("line {number} of a text that says the same again\n")
                .bytes()
                .cycle()
                .take(length)
                .collect()
        };
        file.write_all(&bytes)?;
    }
    Ok(())
}

fn change_files(data: &Path) -> Result<(), Box<dyn Error>> {
    let mut noise = Noise(11);
    for number in (0..FILES).step_by(CHANGED) {
        let path = data.join(format!("{:02}/{number}", number % 100));
        let length = fs::metadata(&path)?.len() as usize;
        fs::write(path, noise.bytes(length))?;
    }
    Ok(())
}

/// The same numbers each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(length).collect()
    }
}
