//! The process on this machine through which a host is reached.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::transport::error::ConnectFailure;

/// How much of standard error is kept.
const TAIL: usize = 8 * 1024;
/// How long the process may take to end after its output has ended.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// A running process with its streams.
pub(crate) struct Process {
    pub stdin: ChildStdin,
    pub stdout: BufReader<ChildStdout>,
    pub shutdown: Shutdown,
}

/// What is left of a process besides its input and output: its end, and what it said on standard error.
///
/// The process is never killed by being forgotten: it ends by itself when its input ends, so that an agent may bring
/// what it is doing to an end.
pub(crate) struct Shutdown {
    child: Child,
    listener: Listener,
    reading: JoinHandle<()>,
}

impl Process {
    /// Starts a process in a process group of its own, so that Ctrl-C in the terminal does not reach it.
    pub(crate) fn start(argv: &[String]) -> Result<Self, ConnectFailure> {
        let (program, arguments) = argv.split_first().ok_or_else(|| ConnectFailure::Spawn {
            program: String::new(),
            reason: "the command of the host's transport is empty".to_owned(),
        })?;
        let failure = |reason: String| ConnectFailure::Spawn {
            program: program.clone(),
            reason,
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| failure(error.to_string()))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failure("its streams are not there".to_owned()));
        };
        let listener = Listener(Arc::default());
        let reading = tokio::spawn(listen(stderr, listener.clone()));
        let stdout = BufReader::with_capacity(64 * 1024, stdout);
        Ok(Process {
            stdin,
            stdout,
            shutdown: Shutdown {
                child,
                listener,
                reading,
            },
        })
    }
}

/// Hears what a process says on standard error.
#[derive(Clone)]
pub(crate) struct Listener(Arc<Mutex<Vec<u8>>>);

impl Listener {
    /// What was said so far; only the end of it where it is long.
    pub(crate) fn said(&self) -> String {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).into_owned()
    }

    fn hear(&self, bytes: &[u8]) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(bytes);
        let surplus = said.len().saturating_sub(TAIL);
        said.drain(..surplus);
    }
}

/// The last line that is not empty.
pub(crate) fn last_line(said: &str) -> Option<String> {
    said.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

impl Shutdown {
    /// What the process says from now on, and has said.
    pub(crate) fn listener(&self) -> Listener {
        self.listener.clone()
    }

    /// Waits a little for the end of the process and of its standard error; kills what does not end.
    pub(crate) async fn end(mut self) -> String {
        let reading = &mut self.reading;
        // An error means that the reading was stopped: what it heard until then is all there is.
        let _heard_all = tokio::time::timeout(SHUTDOWN, reading).await;
        let said = self.listener.said();
        if tokio::time::timeout(SHUTDOWN, self.child.wait()).await.is_err() {
            // An error means that it has just ended by itself.
            let _just_ended = self.child.start_kill();
        }
        said
    }
}

async fn listen(mut stderr: ChildStderr, listener: Listener) {
    let mut buffer = [0; 1024];
    while let Ok(read) = stderr.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        listener.hear(&buffer[..read]);
    }
}
