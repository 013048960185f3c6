//! A service, whoever runs it: its process, its start and its stop.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};
use upshift_model::action::{CommandService, ProcessMatch, Service, StopService};

use super::command::{Keep, perform};
use super::{ProcessId, supervised, systemd};
use crate::digest;
use crate::error::{NodeError, Result};
use crate::layout::Layout;
use crate::probes::connections;
use crate::store;

/// How long a start command's process may take to write its number down.
const APPEARS: Duration = Duration::from_secs(10);

/// The process of a service; nothing where it does not run.
pub fn find(layout: &Layout, service: &Service) -> Result<Option<ProcessId>> {
    match service.effective().as_ref() {
        Service::Systemd(service) => systemd::find(&service.unit),
        Service::Supervised(service) => supervised::find(layout, service),
        Service::Commands(service) => Ok(of_commands(service)),
    }
}

/// What became of the process of a service that does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastEnd {
    /// Whether it has ended since the host booted, and nothing starts it again; nothing where that cannot be told.
    pub ended: Option<bool>,
    /// The last lines that it printed, as far as they are known.
    pub log: Vec<String>,
}

/// What became of the process of a service that does not run.
///
/// # Errors
/// Where systemd or the record of the service cannot be asked.
pub fn end_of_last(layout: &Layout, service: &Service) -> Result<LastEnd> {
    match service.effective().as_ref() {
        Service::Systemd(service) => systemd::end_of_last(&service.unit),
        Service::Supervised(service) => supervised::end_of_last(layout, service),
        // Who starts it again, and where it writes, is the product's own affair.
        Service::Commands(_) => Ok(LastEnd::default()),
    }
}

/// The process that the product's own commands have started; of several, the one that started first.
pub fn of_commands(service: &CommandService) -> Option<ProcessId> {
    let written = service.pid_file.as_deref().and_then(from_pid_file);
    let recognised = service.process.as_ref().and_then(matching);
    // A number that was given to another program does not hide the one that is recognised.
    match (&written, &service.process) {
        (Some(process), Some(wanted)) if is(process, wanted) => written,
        _ => recognised.or(written),
    }
    .or_else(|| {
        let several = several(service).into_iter().map(|(_, process)| process);
        several.min_by_key(|process| (process.started, process.pid))
    })
}

/// The processes of a service that has several, by name.
fn several(service: &CommandService) -> Vec<(String, ProcessId)> {
    let named = service.processes.iter();
    named
        .filter_map(|(name, wanted)| Some((name.clone(), matching(wanted)?)))
        .collect()
}

/// The names of those processes that run, of a service that has several.
pub fn names(service: &Service) -> Vec<String> {
    match service.effective().as_ref() {
        Service::Commands(commands) => several(commands).into_iter().map(|(name, _)| name).collect(),
        Service::Systemd(_) | Service::Supervised(_) => Vec::new(),
    }
}

/// All processes of a service, by name; one that is alone has no name.
pub fn all(layout: &Layout, service: &Service) -> Result<Vec<(String, ProcessId)>> {
    if let Service::Commands(commands) = service.effective().as_ref()
        && !commands.processes.is_empty()
    {
        return Ok(several(commands));
    }
    let alone = find(layout, service)?;
    Ok(alone
        .into_iter()
        .map(|process| (String::new(), process))
        .collect())
}

/// The one process that is recognised; where there are several, the one that started first: what it has started itself, such as a
/// command that has not replaced its program yet, came later.
fn matching(wanted: &ProcessMatch) -> Option<ProcessId> {
    super::all()
        .into_iter()
        .filter_map(ProcessId::of)
        .filter(|process| is(process, wanted))
        .min_by_key(|process| (process.started, process.pid))
}

/// Whether a process is the one that is wanted.
fn is(process: &ProcessId, wanted: &ProcessMatch) -> bool {
    if wanted.program.is_none() && wanted.arguments.is_empty() && wanted.options.is_empty() {
        return false;
    }
    if let Some(directory) = &wanted.below {
        let inside = |directory| {
            process
                .executable()
                .is_some_and(|path| path.starts_with(directory))
        };
        // Nothing runs from a directory that is not there.
        if !std::fs::canonicalize(directory).is_ok_and(inside) {
            return false;
        }
    }
    // What another user runs does not show its program, but its arguments.
    let named = |name: &String| {
        let program = process.executable();
        program.is_some_and(|path| path.file_name() == Some(name.as_ref()))
    };
    if !wanted.program.as_ref().is_none_or(named) {
        return false;
    }
    let arguments = process.arguments();
    let has_arguments = wanted.arguments.is_empty()
        || arguments
            .windows(wanted.arguments.len())
            .any(|some| some == wanted.arguments);
    has_arguments && wanted.options.iter().all(|option| arguments.contains(option))
}

/// A process that lives under the number in the file. A number that is used again is taken for the service's, because
/// taking a running server for a stopped one would be worse.
fn from_pid_file(path: &str) -> Option<ProcessId> {
    let text = std::fs::read_to_string(path).ok()?;
    text.split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
        .and_then(ProcessId::of)
}

/// The release that a process runs: that of its executable, or of the files that the kernel says it has mapped or open, for
/// programs that an interpreter or a virtual machine runs.
pub fn release(layout: &Layout, process: &ProcessId) -> Option<String> {
    let in_store = |path: PathBuf| store::release_of(layout, &path);
    if let Some(release) = process.executable().and_then(in_store) {
        return Some(release);
    }
    let directory = PathBuf::from(format!("/proc/{}", process.pid));
    let links = |name: &str| {
        std::fs::read_dir(directory.join(name))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
    };
    let mapped = std::fs::read_to_string(directory.join("maps")).unwrap_or_default();
    let mapped = mapped
        .lines()
        .filter_map(|line| line.find('/').map(|begin| PathBuf::from(&line[begin..])));
    let mut releases: Vec<String> = mapped.chain(links("fd")).filter_map(in_store).collect();
    if releases.is_empty() {
        releases.extend(std::fs::read_link(directory.join("cwd")).ok().and_then(in_store));
    }
    releases.dedup();
    match releases.as_slice() {
        [release] => Some(release.clone()),
        _ => None,
    }
}

/// Starts a service. Running already, from the current release: done. Running another release: refused.
pub fn start(layout: &Layout, service: &Service, mark: &str) -> Result<Value> {
    let running = all(layout, service)?;
    for (name, process) in &running {
        let answer = already(layout, service, process)?;
        // Of several some may be missing; the product's command starts those.
        if name.is_empty() {
            return Ok(answer);
        }
    }
    store::before_start(layout)?;
    let process = match service.effective().as_ref() {
        Service::Systemd(service) => systemd::start(&service.unit)?,
        Service::Supervised(service) => Some(supervised::start(layout, service)?),
        Service::Commands(service) => start_by_command(layout, service, mark)?,
    };
    let release = process.as_ref().and_then(|process| release(layout, process));
    Ok(json!({ "pid": process.map(|process| process.pid), "release": release, "already": false }))
}

fn already(layout: &Layout, service: &Service, process: &ProcessId) -> Result<Value> {
    let current = store::current(layout)?;
    let running = match release(layout, process) {
        Some(release) => Some(release),
        None => recorded_release(layout, service, process)?,
    };
    match (&current, &running) {
        (Some(current), Some(running)) if current != running => Err(NodeError::refused(format!(
            "process {} runs release {running}, and {current} is the current one; it must be stopped first",
            process.pid
        ))),
        _ => Ok(json!({ "pid": process.pid, "release": running, "already": true })),
    }
}

fn recorded_release(layout: &Layout, service: &Service, process: &ProcessId) -> Result<Option<String>> {
    let Service::Supervised(service) = service else {
        return Ok(None);
    };
    let record = supervised::record(layout, service)?.filter(|record| record.process == *process);
    Ok(record.and_then(|record| record.release))
}

fn start_by_command(layout: &Layout, service: &CommandService, mark: &str) -> Result<Option<ProcessId>> {
    let named = format!("{:?} {:?}", service.pid_file, service.process);
    let log = layout
        .logs()
        .join(format!("start-{}.log", &digest::of_bytes(named.as_bytes())[..12]));
    perform(&service.start, mark, Keep::Log(&log))?;
    let deadline = Instant::now() + APPEARS;
    loop {
        let process = of_commands(service);
        if process.is_some() || Instant::now() > deadline {
            return Ok(process);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Stops a service. Stopped already: done. It has stopped when its process has ended, whatever a command says.
pub fn stop(layout: &Layout, stop: &StopService, mark: &str) -> Result<Value> {
    let begin = Instant::now();
    let patience = Duration::from_millis(stop.patience.0);
    let process = find(layout, &stop.service)?;
    // Those that are connected now are disconnected; a count that cannot be had keeps nobody from stopping.
    let connections = process
        .as_ref()
        .and_then(|process| connections::count(process).ok());
    let stopped = match (stop.service.effective().as_ref(), &process) {
        // Asked even without a main process: a unit that restarts by itself has none between two tries.
        (Service::Systemd(service), _) => Some(systemd::stop(&service.unit, process.as_ref(), patience)?),
        (_, None) => None,
        (Service::Supervised(service), Some(process)) => {
            Some(supervised::stop(layout, service, process, patience)?)
        }
        (Service::Commands(service), Some(process)) => {
            Some(stop_by_command(service, process, patience, mark)?)
        }
    };
    if let Service::Commands(service) = stop.service.effective().as_ref() {
        stop_the_others(service, patience.saturating_sub(begin.elapsed()))?;
    }
    if let Some(survivor) = find(layout, &stop.service)? {
        return Err(NodeError::Transient(format!(
            "the service runs again, as process {}",
            survivor.pid
        )));
    }
    Ok(json!({
        "pid": process.map(|process| process.pid),
        "already": stopped.is_none(),
        "killed": stopped.is_some_and(|stopped| stopped.killed),
        "connections": connections.unwrap_or(0),
        "took_ms": u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
    }))
}

/// The command has asked all processes of a service that has several; those that do not end in time are killed.
fn stop_the_others(service: &CommandService, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    for (_, process) in several(service) {
        if !process.wait_for_end(deadline.saturating_duration_since(Instant::now())) {
            process.signal(Signal::TERM)?;
            supervised::end(&process, Duration::from_secs(1))?;
        }
    }
    Ok(())
}

/// The file that names the process, where the process cannot have written it.
fn stale<'a>(service: &'a CommandService, process: &ProcessId) -> Option<&'a str> {
    let file = service.pid_file.as_deref()?;
    let named = from_pid_file(file).as_ref() == Some(process);
    (named && !wrote(process, file)).then_some(file)
}

/// Whether the process can have written the file: it had started by then, as far as the clock can be trusted.
fn wrote(process: &ProcessId, pid_file: &str) -> bool {
    const SLACK: Duration = Duration::from_secs(60);
    let started = SystemTime::now() - Duration::from_millis(process.uptime());
    let written = std::fs::metadata(pid_file).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| started <= written + SLACK)
}

fn stop_by_command(
    service: &CommandService,
    process: &ProcessId,
    patience: Duration,
    mark: &str,
) -> Result<supervised::Stopped> {
    let begin = Instant::now();
    let named = service.pid_file.as_deref().map(from_pid_file);
    if named
        .as_ref()
        .is_some_and(|named| named.as_ref() != Some(process))
    {
        // The product's own command goes by that file: it would not find this process, and end a stranger whom the file names.
        if named.flatten().is_none() {
            // What it does beside that is not lost; that it finds nothing is known.
            let _ = perform(&service.stop, mark, Keep::Memory);
        }
        process.signal(Signal::TERM)?;
        return supervised::end(process, patience.saturating_sub(begin.elapsed()));
    }
    let said = perform(&service.stop, mark, Keep::Memory);
    let left = patience.saturating_sub(begin.elapsed());
    if process.wait_for_end(left) {
        return supervised::end(
            process,
            Duration::ZERO.max(patience.saturating_sub(begin.elapsed())),
        );
    }
    match said {
        // The command could not even be run: nobody has asked the product to end, so it is not killed.
        Err(error @ NodeError::Io { .. }) if !Path::new(&service.stop.argv[0]).exists() => Err(error),
        _ => {
            if let Some(file) = stale(service, process) {
                return Err(NodeError::refused(format!(
                    "process {} was started after {file} was written, so it may be another program that has got the same \
                     number; it was not killed. Remove the file if the product does not run",
                    process.pid
                )));
            }
            process.signal(Signal::TERM)?;
            supervised::end(process, Duration::from_secs(1))
        }
    }
}
