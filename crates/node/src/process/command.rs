//! Running a program to its end, with bounds on time and output.
//!
//! Output goes to files, not to pipes: a program that leaves a daemon behind would otherwise keep the agent waiting, and
//! the daemon would be killed by its first line of output after the agent has gone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde_json::{Value, json};
use upshift_model::action::{Command, ExitMeaning, OutputFormat};

use super::{pid, readable};
use crate::clock;
use crate::error::{Context, NodeError, Result};
use crate::output;

/// The most that is kept of a program's output, in bytes.
const KEPT: u64 = 4 * 1024 * 1024;
/// The most that goes on record of an action's output: records are read again with every order of a run.
const RECORDED: usize = 256 * 1024;
/// The most that is kept of its standard error.
const KEPT_ERROR: u64 = 16 * 1024;
/// A program that writes more is killed.
const ALLOWED: u64 = 64 * 1024 * 1024;
/// How often the size of the output is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The environment variable that marks the processes of an attempt, so that a later agent recognises what is left of it.
pub const MARK: &str = "UPSHIFT_ATTEMPT";

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status; 128 and the signal's number where a signal ended it, as shells say it.
    Status(i32),
    /// It was killed with its process group, because its time was over.
    TimedOut,
    /// It was killed with its process group, because it did not stop writing.
    Flooded,
}

/// What is left of a program.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: String,
}

/// Where a program's output goes while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Keep<'a> {
    /// Into memory, for what is looked at at once.
    Memory,
    /// To the end of a log file, which stays.
    Log(&'a Path),
}

/// Where programs look for a proxy; `/etc/environment` may have set them for every login.
const PROXIES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];

/// Runs a program to its end.
///
/// # Errors
/// Where it cannot be started.
pub fn run(command: &Command, mark: Option<&str>, keep: Keep<'_>) -> Result<Finished> {
    let program = command
        .argv
        .first()
        .ok_or_else(|| NodeError::refused("a command without a program cannot be run"))?;
    let (stdout, stderr) = match keep {
        Keep::Memory => (memory("stdout")?, memory("stderr")?),
        Keep::Log(path) => {
            let log = open_log(path)?;
            (
                log.try_clone()
                    .context(|| format!("cannot open {}", path.display()))?,
                log,
            )
        }
    };
    let begin = if matches!(keep, Keep::Log(_)) {
        size(&stdout)
    } else {
        0
    };
    let mut process = std::process::Command::new(program);
    if mark.is_none() {
        // What is observed is this host's own server, and a host's proxy is for what lies outside.
        PROXIES.iter().for_each(|name| {
            process.env_remove(name);
        });
    }
    process
        .args(&command.argv[1..])
        .envs(&command.env)
        .env_remove("UPSHIFT_FAILPOINT")
        .stdin(Stdio::null())
        .stdout(duplicate(&stdout)?)
        .stderr(duplicate(&stderr)?)
        .process_group(0);
    if let Some(mark) = mark {
        process.env(MARK, mark);
    }
    if let Some(directory) = &command.directory {
        process.current_dir(directory);
    }
    let child = process.spawn().map_err(|error| cannot_start(command, error))?;
    let ended = wait(
        child,
        Duration::from_millis(command.timeout.0),
        &[&stdout, &stderr],
        begin,
    )
    .context(|| format!("cannot wait for {program}"))?;
    let error_begin = size(&stderr).saturating_sub(KEPT_ERROR).max(begin);
    Ok(Finished {
        ended,
        stdout: read(&stdout, begin, KEPT)?,
        stderr: output::plain(&String::from_utf8_lossy(&read(&stderr, error_begin, KEPT_ERROR)?)),
    })
}

fn cannot_start(command: &Command, error: io::Error) -> NodeError {
    let directory = command
        .directory
        .as_deref()
        .map(|path| format!(" in {path}"))
        .unwrap_or_default();
    NodeError::Io {
        what: format!("cannot run {}{directory}", command.argv[0]),
        source: error,
    }
}

fn memory(name: &str) -> Result<File> {
    memfd_create(name, MemfdFlags::CLOEXEC)
        .map(File::from)
        .context(|| "cannot set memory aside for output")
}

/// Opens a log for appending.
pub fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .context(|| format!("cannot open the log {}", path.display()))
}

fn duplicate(file: &File) -> Result<Stdio> {
    file.try_clone()
        .map(Stdio::from)
        .context(|| "cannot duplicate a descriptor")
}

fn size(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

fn read(file: &File, begin: u64, most: u64) -> Result<Vec<u8>> {
    let length = size(file).saturating_sub(begin).min(most);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], begin + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context(|| "cannot read a program's output"),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Waits for the child, and kills its process group where it takes too long or writes too much.
fn wait(mut child: Child, timeout: Duration, outputs: &[&File], begin: u64) -> io::Result<Ended> {
    let deadline = Instant::now() + timeout;
    let group = pid(child.id());
    let handle = group.and_then(|group| pidfd_open(group, PidfdFlags::empty()).ok());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Status(status_number(status)));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let flooded = outputs
            .iter()
            .any(|file| size(file).saturating_sub(begin) > ALLOWED);
        if left.is_zero() || flooded {
            if let Some(group) = group {
                // The child has not been waited for, so the number of its group is still its own.
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.kill()?;
            child.wait()?;
            return Ok(if flooded { Ended::Flooded } else { Ended::TimedOut });
        }
        match &handle {
            Some(handle) => {
                readable(handle, left.min(LOOK));
            }
            None => std::thread::sleep(left.min(Duration::from_millis(5))),
        }
    }
}

fn status_number(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

/// Why a program that ran did not end by itself; in words.
fn unfinished(command: &Command, finished: &Finished) -> Option<NodeError> {
    let name = &command.argv[0];
    let text = match finished.ended {
        Ended::Status(_) => return None,
        Ended::TimedOut => {
            format!(
                "{name} did not end within {}; its process group was killed",
                command.timeout
            )
        }
        Ended::Flooded => {
            format!("{name} wrote more than {ALLOWED} bytes; its process group was killed")
        }
    };
    let detail = detail(finished);
    Some(match finished.ended {
        Ended::TimedOut => NodeError::Transient(text + &detail),
        _ => NodeError::Refused(text + &detail),
    })
}

/// The most characters of a program's own words in a sentence.
const WORDS: usize = 400;

/// What a program wrote before it failed, for the operator.
fn detail(finished: &Finished) -> String {
    let stdout = output::plain(&String::from_utf8_lossy(&finished.stdout));
    complaint(&finished.stderr)
        .or_else(|| complaint(&stdout))
        .map(|words| format!(": {}", words.chars().take(WORDS).collect::<String>()))
        .unwrap_or_default()
}

/// The last line that says `ERROR:`, with the lines that continue it because they are set in, or else the last line.
fn complaint(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let says_error = |line: &&str| {
        let begin: String = line.trim().chars().take(6).collect();
        begin.eq_ignore_ascii_case("error:")
    };
    let Some(first) = lines.iter().rposition(says_error) else {
        return lines.last().map(|line| line.trim().to_owned());
    };
    let continued = lines[first + 1..]
        .iter()
        .take_while(|line| line.starts_with(char::is_whitespace));
    let words: Vec<&str> = lines[first..=first]
        .iter()
        .chain(continued)
        .map(|line| line.trim())
        .collect();
    Some(words.join(" "))
}

/// Runs a program for what it shows: `{exit, value, stderr, at_ms}`, whatever its status is.
///
/// # Errors
/// Where it cannot be started or does not end, and where it says that it worked but its output cannot be read.
pub fn observe(command: &Command) -> Result<Value> {
    let finished = run(command, None, Keep::Memory)?;
    match unfinished(command, &finished) {
        Some(error) => Err(error),
        None => {
            let mut shown = shape(command, &finished)?;
            shown["at_ms"] = clock::since_boot().into();
            Ok(shown)
        }
    }
}

fn shape(command: &Command, finished: &Finished) -> Result<Value> {
    let Ended::Status(exit) = finished.ended else {
        return Ok(Value::Null);
    };
    let value = match output::read(&finished.stdout, command.output) {
        Ok(value) => value,
        Err(_) if exit != 0 => output::read(&finished.stdout, OutputFormat::Text).unwrap_or_default(),
        Err(reason) => {
            return Err(NodeError::refused(format!(
                "the output of {} cannot be read: {reason}",
                command.argv[0]
            )));
        }
    };
    Ok(json!({ "exit": exit, "value": value, "stderr": finished.stderr }))
}

/// Runs a program for what it does: `{exit, value, stderr}` where its status means that it worked. An output that is too large
/// for the records is left out: `value` is null then, and `truncated` true.
///
/// # Errors
/// Where its status means something else, it does not end in time, or its output cannot be read.
pub fn perform(command: &Command, mark: &str, keep: Keep<'_>) -> Result<Value> {
    let finished = run(command, Some(mark), keep)?;
    if let Some(error) = unfinished(command, &finished) {
        return Err(error);
    }
    let Ended::Status(exit) = finished.ended else {
        return Ok(Value::Null);
    };
    let meaning = match command.exit.get(&exit) {
        Some(meaning) => meaning.clone(),
        None if exit == 0 => ExitMeaning::Done,
        None => ExitMeaning::Failed(format!("{} ended with status {exit}", command.argv[0])),
    };
    match meaning {
        ExitMeaning::Done if finished.stdout.len() > RECORDED => {
            Ok(json!({ "exit": exit, "value": null, "stderr": finished.stderr, "truncated": true }))
        }
        ExitMeaning::Done => shape(command, &finished),
        ExitMeaning::Transient(text) => Err(NodeError::Transient(text + &detail(&finished))),
        ExitMeaning::Failed(text) => Err(NodeError::Refused(text + &detail(&finished))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use upshift_model::Millis;

    use super::*;

    fn shell(text: &str) -> Command {
        Command {
            argv: ["sh", "-c", text].map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            directory: None,
            timeout: Millis(20_000),
            exit: BTreeMap::new(),
            output: OutputFormat::Text,
        }
    }

    #[test]
    fn a_command_yields_status_output_and_errors() {
        let mut command = shell("echo \"$GREETING\"; pwd; echo oops >&2; exit 3");
        command.env.insert("GREETING".to_owned(), "hello; rm".to_owned());
        command.directory = Some("/proc".to_owned());
        let mut value = observe(&command).unwrap();
        assert!(value["at_ms"].as_u64().is_some_and(|at| at > 0));
        value["at_ms"] = Value::Null;
        assert_eq!(
            value,
            json!({"exit": 3, "value": "hello; rm\n/proc", "stderr": "oops", "at_ms": null})
        );
    }

    #[test]
    fn an_exit_status_means_what_the_profile_says() {
        let mut command = shell("echo busy >&2; exit 75");
        command
            .exit
            .insert(75, ExitMeaning::Transient("the cluster is busy".to_owned()));
        assert!(matches!(perform(&command, "m", Keep::Memory),
            Err(NodeError::Transient(text)) if text == "the cluster is busy: busy"));
        let failed = perform(&shell("exit 9"), "m", Keep::Memory).unwrap_err();
        assert_eq!(failed.to_string(), "sh ended with status 9");
        let killed = observe(&shell("kill -9 $$")).unwrap();
        assert_eq!(killed["exit"], 137);
    }

    #[test]
    fn an_error_of_several_lines_is_told_whole() {
        let text = "echo trying; echo 'ERROR: it failed: {reason,'; echo '  deep}}}'; echo later; exit 4";
        let error = perform(&shell(text), "m", Keep::Memory).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sh ended with status 4: ERROR: it failed: {reason, deep}}}"
        );
    }

    #[test]
    fn a_time_out_kills_children_too() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let mut command = shell(&format!("sleep 300 & echo $! > {}; wait", file.display()));
        command.timeout = Millis(300);
        let error = perform(&command, "m", Keep::Memory).unwrap_err();
        assert!(error.to_string().contains("did not end within 300ms"), "{error}");
        let pid: u32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        if let Some(child) = super::super::ProcessId::of(pid) {
            assert!(child.wait_for_end(Duration::from_secs(10)));
        }
    }

    #[test]
    fn a_daemon_left_behind_keeps_nobody_waiting() {
        let begin = Instant::now();
        let value = perform(&shell("sleep 20 & echo $!"), "m", Keep::Memory).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
        let pid = value["value"].as_str().unwrap().parse().unwrap();
        super::super::ProcessId::of(pid)
            .unwrap()
            .signal(Signal::KILL)
            .unwrap();
    }

    #[test]
    fn a_flood_of_output_is_stopped() {
        let error = perform(&shell("yes"), "m", Keep::Memory).unwrap_err();
        assert!(error.to_string().contains("wrote more than"), "{error}");
    }

    #[test]
    fn an_output_too_large_for_the_records_is_left_out() {
        let command = shell("head -c 300000 /dev/zero | tr '\\0' x");
        let value = perform(&command, "m", Keep::Memory).unwrap();
        assert_eq!(
            value,
            json!({"exit": 0, "value": null, "stderr": "", "truncated": true})
        );
        assert_eq!(
            observe(&command).unwrap()["value"].as_str().unwrap().len(),
            300_000
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let mut command = shell("");
        command.argv = vec!["/no/such/program".to_owned()];
        let error = observe(&command).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot run /no/such/program: No such file"),
            "{error}"
        );
    }

    #[test]
    fn output_that_is_no_json_is_an_error_unless_the_command_failed() {
        let mut command = shell("echo not json");
        command.output = OutputFormat::Json;
        assert!(
            observe(&command)
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
        let mut command = shell("echo not json; exit 1");
        command.output = OutputFormat::Json;
        assert_eq!(observe(&command).unwrap()["value"], "not json");
    }
}
