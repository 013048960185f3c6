//! Several trials at a time, each in a process of its own: what one of them prints stays together, one that panics or dies takes no
//! other along, and what is named after its process, such as the addresses of its servers, is its own.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::{Ended, Trial, Verdict, chosen, close, keep_what_panics_say, line, run};

/// Names the trial that this process is for.
const TRIAL: &str = "UPSHIFT_E2E_TRIAL";
/// Names the file that its verdict goes to.
const VERDICT: &str = "UPSHIFT_E2E_VERDICT";

/// As [`super::main`], so many trials at a time; `UPSHIFT_E2E_LANES` says another number. They begin in their order, so those that take
/// longest come first.
pub fn side_by_side(trials: &[Trial], lanes: usize) -> ExitCode {
    if let Some(name) = std::env::var_os(TRIAL) {
        let trial = trials.iter().find(|trial| name.to_str() == Some(trial.name));
        return trial.map_or(ExitCode::FAILURE, alone);
    }
    let asked = std::env::var("UPSHIFT_E2E_LANES").ok();
    let lanes = asked.and_then(|asked| asked.parse().ok()).unwrap_or(lanes);
    let began = Instant::now();
    let Some(chosen) = chosen(trials) else {
        return ExitCode::SUCCESS;
    };
    let next = AtomicUsize::new(0);
    let ended: Mutex<Vec<Option<Ended>>> = Mutex::new(chosen.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..lanes.max(1) {
            scope.spawn(|| {
                while let Some((index, trial)) = following(&next, &chosen) {
                    let (one, printed) = apart(trial);
                    // Held while it is printed, so that what a trial says stays together.
                    let mut ended = ended.lock().expect("no lane panics");
                    println!("{printed}{}", line(trial.name, &one));
                    ended[index] = Some(one);
                }
            });
        }
    });
    let ended: Vec<Ended> = ended
        .into_inner()
        .expect("no lane panics")
        .into_iter()
        .flatten()
        .collect();
    close(trials, &chosen, &ended, began)
}

fn following<'a>(next: &AtomicUsize, chosen: &[&'a Trial]) -> Option<(usize, &'a Trial)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    chosen.get(index).map(|trial| (index, *trial))
}

/// Runs the trial that this process is for, and writes its verdict.
fn alone(trial: &Trial) -> ExitCode {
    // Without its parent nobody reads the verdict. What it has started is ended by what watches this process.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    let ended = run(trial, &keep_what_panics_say());
    let target = std::env::var_os(VERDICT).unwrap_or_default();
    match File::create(target).map(|file| serde_json::to_writer(file, &ended)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs a trial in a process of its own: its verdict, and what it printed. One that ends without a verdict has failed.
fn apart(trial: &Trial) -> (Ended, String) {
    let began = Instant::now();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let (verdict, printed) = (scratch.path().join("verdict"), scratch.path().join("printed"));
    let ended = start(trial, &verdict, &printed);
    let text = std::fs::read_to_string(&printed).unwrap_or_default();
    let written = File::open(&verdict)
        .ok()
        .and_then(|file| serde_json::from_reader(file).ok());
    let one = written.unwrap_or_else(|| Ended {
        verdict: Verdict::Failed(format!("it ended without a verdict: {ended}\n{text}")),
        took: began.elapsed().as_secs_f64(),
    });
    (one, text)
}

/// How the process ended, in words.
fn start(trial: &Trial, verdict: &Path, printed: &Path) -> String {
    let run = || -> std::io::Result<String> {
        let output = File::create(printed)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .env(TRIAL, trial.name)
            .env(VERDICT, verdict)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(command.status()?.to_string())
    };
    run().unwrap_or_else(|error| error.to_string())
}
