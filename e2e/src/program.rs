//! The program `upshift`, run as an operator runs it.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    stdout: Drain,
    stderr: Drain,
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
        let stdout = Drain::start(child.stdout.take());
        let stderr = Drain::start(child.stderr.take());
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

    /// What it has told of its progress so far.
    pub fn so_far(&self) -> String {
        self.stderr.so_far()
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
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
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

/// Reads to the end.
struct Drain {
    read: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Drain {
    fn start<R: Read + Send + 'static>(source: Option<R>) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&read);
        let thread = std::thread::spawn(move || {
            let Some(mut source) = source else { return };
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut piece) {
                lock(&shared).extend_from_slice(&piece[..length]);
            }
        });
        Drain { read, thread }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&lock(&self.read)).into_owned()
    }

    fn end(self) -> String {
        // A thread that panicked has read what it has read.
        let _ended = self.thread.join();
        String::from_utf8_lossy(&lock(&self.read)).into_owned()
    }
}

fn lock(bytes: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}
