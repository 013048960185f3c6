//! The program `upshift`, run as an operator runs it.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use upshift_lab::processes;

/// A program of this workspace, as it was built beside the tests.
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process has an executable");
    // Benchmarks lie beside the programs, tests one directory below.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("`{name}` is not built; `cargo xtask test` and `cargo xtask bench` build it first")
    })
}

/// One operator's command line: a fleet, packages, and the directory of the journal.
#[derive(Clone, Debug)]
pub struct Upshift {
    /// The fleet file or inventory.
    pub fleet: PathBuf,
    /// Where packages lie.
    pub packages: PathBuf,
    /// Where runs are journaled.
    pub state: PathBuf,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ran {
    /// Fails the test unless the command ended with this status.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.text());
        self
    }

    /// Whether a signal ended it.
    pub fn was_killed(&self) -> bool {
        self.status.signal().is_some()
    }

    /// Everything that it said.
    pub fn text(&self) -> String {
        format!(
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }

    /// Keeps what it said as `NAME.txt` in the directory that `UPSHIFT_E2E_TRANSCRIPTS` names, for documents; nothing without it.
    pub fn keep(&self, name: &str) {
        if let Some(directory) = std::env::var_os("UPSHIFT_E2E_TRANSCRIPTS") {
            let path = Path::new(&directory).join(format!("{name}.txt"));
            std::fs::write(path, self.text()).expect("the transcript is kept");
        }
    }

    /// The last line of its output, as JSON.
    pub fn last_json(&self) -> Value {
        let last = self
            .stdout
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        serde_json::from_str(last).unwrap_or(Value::Null)
    }
}

/// A command that runs.
pub struct Running {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Upshift {
    /// The same operator with another environment variable.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.environment.push((name.to_owned(), value.to_owned()));
        other
    }

    /// The same operator with another fleet.
    pub fn with_fleet(&self, fleet: &Path) -> Self {
        Upshift {
            fleet: fleet.to_owned(),
            ..self.clone()
        }
    }

    /// Runs a command to its end, for at most four minutes.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        self.start(arguments).finish(Duration::from_secs(240))
    }

    /// Starts a command.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        let mut command = Command::new(built("upshift"));
        command
            .args(arguments)
            .env("UPSHIFT_FLEET", &self.fleet)
            .env("UPSHIFT_PACKAGES", &self.packages)
            .env("UPSHIFT_STATE_DIR", &self.state)
            .env("UPSHIFT_AGENT", built("upshift-node"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = processes::spawn(&mut command).expect("the program starts");
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        Running {
            child,
            stdout,
            stderr,
        }
    }
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a power cut would.
    pub fn kill(mut self) -> Ran {
        let _ = self.child.kill();
        self.finish(Duration::from_secs(10))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        processes::signal(self.child.id(), signal);
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; kills it, and fails the test, where that takes too long.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Ran {
        let ended = processes::wait(&mut self.child, limit);
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let stdout = self.stdout.join().unwrap_or_default();
        let stderr = self.stderr.join().unwrap_or_default();
        match ended {
            Some(status) => Ran {
                status,
                stdout,
                stderr,
            },
            None => panic!("it did not end within {} s\n{stdout}\n{stderr}", limit.as_secs()),
        }
    }
}

/// Reads to the end. A process that was left behind with the same pipe keeps nobody waiting: the thread is not joined then.
fn drain<R: Read + Send + 'static>(source: Option<R>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            let _ = source.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
