//! Starting a process that outlives the login and the agent.
//!
//! The agent runs itself as `detach`, which runs itself as `detached` and ends at once, so that the process is nobody's
//! child but init's. `detached` makes a session of its own, writes down who it is, and becomes the program, so that nothing
//! runs that nobody has on record. A pipe tells the agent when that has happened, or why not: it closes when the program
//! begins.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::process::ProcessId;
use crate::process::command::open_log;
use crate::process::identity::Identity;
use crate::process::supervised::ServiceRecord;

/// Word of the command line for the first of the two.
pub const DETACH: &str = "detach";
/// Word of the command line for the second.
pub const DETACHED: &str = "detached";

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Detached {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Added to the agent's environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub directory: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// Where it is written down, with the release that is current, if it is a service.
    pub record: Option<(PathBuf, Option<String>)>,
    /// As whom it runs, where that is not the agent's own user.
    pub identity: Option<Identity>,
    /// Whether failpoints reach it: only the agent's own processes.
    pub own: bool,
}

/// This program, as it was when it started: also where its file was replaced since.
pub fn own_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("upshift-node");
    if is_subcommand() {
        command.arg("node");
    }
    command
}

/// Whether the agent runs as `upshift node …`.
pub fn is_subcommand() -> bool {
    std::env::args_os().nth(1).is_some_and(|word| word == "node")
}

/// Starts a process of its own, and returns when its program runs.
///
/// # Errors
/// Where the program cannot be run; in the operator's words.
pub fn start(what: &Detached) -> Result<()> {
    let (mut reader, writer) = std::io::pipe().context(|| "cannot make a pipe")?;
    let mut command = own_program();
    command.arg(DETACH).args(options(what)).arg("--").args(&what.argv);
    command.envs(what.env.iter().map(|(name, value)| (name, value)));
    if !what.own {
        command.env_remove("UPSHIFT_FAILPOINT");
    }
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    let status = command
        .status()
        .context(|| "cannot run the agent's own program")?;
    drop(command);
    let mut complaint = String::new();
    reader
        .read_to_string(&mut complaint)
        .context(|| "cannot hear from a detached process")?;
    match complaint.is_empty() && status.success() {
        true => Ok(()),
        false if complaint.is_empty() => Err(NodeError::refused(format!(
            "a process could not be detached: {status}"
        ))),
        false => Err(NodeError::refused(complaint)),
    }
}

fn options(what: &Detached) -> Vec<OsString> {
    let mut options: Vec<OsString> = vec![
        "--directory".into(),
        what.directory.clone().into(),
        "--log".into(),
        what.log.clone().into(),
    ];
    if let Some(identity) = what
        .identity
        .as_ref()
        .filter(|identity| identity.is_to_be_taken_on())
        && let Ok(text) = serde_json::to_string(identity)
    {
        options.extend(["--identity".into(), text.into()]);
    }
    if let Some((record, release)) = &what.record {
        options.extend(["--record".into(), record.clone().into()]);
        if let Some(release) = release {
            options.extend(["--release".into(), release.into()]);
        }
    }
    options
}

/// The first of the two: starts the second, and ends.
pub fn first(arguments: Vec<OsString>) -> ExitCode {
    let mut command = own_program();
    command.arg(DETACHED).args(arguments);
    match command
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(Stdio::null())
        .spawn()
    {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The second of the two: becomes the program.
pub fn second(arguments: Vec<OsString>) -> ExitCode {
    // The copy closes when the program begins; standard output itself is about to become the log.
    let Ok(pipe) = std::io::stdout().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let complaint = match become_program(arguments) {
        Ok(never) => match never {},
        Err(error) => error.to_string(),
    };
    // Nobody else can be told.
    let _ = File::from(pipe).write_all(complaint.as_bytes());
    ExitCode::FAILURE
}

fn become_program(arguments: Vec<OsString>) -> Result<std::convert::Infallible> {
    let mut parsed = Parsed::default();
    let mut arguments = arguments.into_iter();
    while let Some(option) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| NodeError::refused("an option without a value"))
        };
        match option.to_str() {
            Some("--directory") => parsed.directory = value()?.into(),
            Some("--log") => parsed.log = value()?.into(),
            Some("--record") => parsed.record = Some(value()?.into()),
            Some("--identity") => parsed.identity = Some(identity(&value()?)?),
            Some("--release") => parsed.release = value()?.into_string().ok(),
            Some("--") => break,
            _ => return Err(NodeError::refused(format!("unknown option {}", option.display()))),
        }
    }
    let argv: Vec<OsString> = arguments.collect();
    let program = argv
        .first()
        .ok_or_else(|| NodeError::refused("a service without a program cannot be started"))?;
    rustix::process::setsid().context(|| "cannot make a session")?;
    let log = open_log(&parsed.log)?;
    if let Some(identity) = &parsed.identity {
        give(&log, identity)?;
    }
    let second_log = log.try_clone().context(|| "cannot duplicate a descriptor")?;
    if let Some(record) = &parsed.record {
        match write_down(record, &argv, parsed.release) {
            // It is found by its arguments then: a full disk must not keep a server from serving.
            Err(error) if error.is_full() => {}
            written => written?,
        }
    }
    let mut command = Command::new(program);
    command
        .args(&argv[1..])
        .current_dir(&parsed.directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(second_log);
    if let Some(identity) = &parsed.identity {
        command.envs(&identity.environment);
        identity.take_on()?;
    }
    let error = command.exec();
    Err(error).context(|| {
        format!(
            "cannot run {} in {}",
            program.display(),
            parsed.directory.display()
        )
    })
}

#[derive(Default)]
struct Parsed {
    directory: PathBuf,
    log: PathBuf,
    record: Option<PathBuf>,
    release: Option<String>,
    identity: Option<Identity>,
}

fn identity(text: &OsString) -> Result<Identity> {
    serde_json::from_slice(text.as_encoded_bytes())
        .map_err(|error| NodeError::refused(format!("the identity of a service cannot be read: {error}")))
}

/// A log that is begun belongs to whoever writes it.
fn give(log: &File, identity: &Identity) -> Result<()> {
    let what = || "cannot give the log to the service's user";
    let metadata = log.metadata().context(what)?;
    if metadata.len() > 0 || metadata.uid() == identity.user {
        return Ok(());
    }
    std::os::unix::fs::fchown(log, Some(identity.user), Some(identity.group)).context(what)
}

fn write_down(record: &Path, argv: &[OsString], release: Option<String>) -> Result<()> {
    let process = ProcessId::of(std::process::id())
        .ok_or_else(|| NodeError::refused("/proc does not know this process: is it mounted?"))?;
    let argv = argv
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    durable::write_json(
        record,
        &ServiceRecord {
            process,
            argv,
            release,
        },
    )
}
