//! Processes that the agent starts itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use upshift_model::action::SupervisedService;

use super::identity::Identity;
use super::{ProcessId, all, arguments, members, signal_named};
use crate::detach::{self, Detached};
use crate::durable;
use crate::error::{NodeError, Result};
use crate::layout::{Layout, component};
use crate::process::service::LastEnd;
use crate::{output, store};

/// A process that was started for a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Which.
    pub process: ProcessId,
    /// Its program and arguments.
    pub argv: Vec<String>,
    /// The release that was current when it was started.
    pub release: Option<String>,
}

fn record_path(layout: &Layout, service: &SupervisedService) -> Result<PathBuf> {
    Ok(layout
        .services()
        .join(format!("{}.json", component(&service.name)?)))
}

/// As whom the service ran when it was stopped last.
fn identity_path(layout: &Layout, service: &SupervisedService) -> Result<PathBuf> {
    Ok(layout
        .services()
        .join(format!("{}.identity.json", component(&service.name)?)))
}

/// Writes down as whom the service runs, before it is stopped: what is started next runs as the same user. Nothing is written where that is
/// the agent's own, or known already.
fn keep_identity(layout: &Layout, service: &SupervisedService, process: &ProcessId) -> Result<()> {
    let path = identity_path(layout, service)?;
    let known: Option<Identity> = durable::read_json(&path)?;
    match Identity::of(process) {
        Some(found) if known.as_ref() == Some(&found) => Ok(()),
        Some(found) if known.is_none() && !found.is_to_be_taken_on() => Ok(()),
        Some(found) => durable::write_json(&path, &found),
        // It has ended meanwhile.
        None => Ok(()),
    }
}

/// What is written down of a service, whether it still runs or not.
pub fn record(layout: &Layout, service: &SupervisedService) -> Result<Option<ServiceRecord>> {
    durable::read_json(&record_path(layout, service)?)
}

/// The process of a service: the one on record, or else one that somebody else started with the very same arguments. Its program may
/// lie elsewhere: what was installed by other means runs from `/usr/bin`, say, and not from the release store.
pub fn find(layout: &Layout, service: &SupervisedService) -> Result<Option<ProcessId>> {
    let recorded = record(layout, service)?
        .map(|record| record.process)
        .filter(ProcessId::lives);
    Ok(recorded.or_else(|| adopted(service)))
}

fn adopted(service: &SupervisedService) -> Option<ProcessId> {
    if service.argv.is_empty() {
        return None;
    }
    let exact = |found: &[String]| found == service.argv;
    only(exact).or_else(|| {
        // A program in another release store is the server of another host that shares this process table.
        let elsewhere = |found: &[String]| same_command(found, &service.argv);
        only(elsewhere).filter(|process| program(process).is_some_and(|path| !in_a_store(&path)))
    })
}

/// The program of a process: its executable, or what it was called by where only its own user may see that. Nothing where it ended
/// meanwhile: whose it was is not known then.
fn program(process: &ProcessId) -> Option<PathBuf> {
    process.executable().or_else(|| {
        let called = arguments(process.pid).into_iter().next().map(PathBuf::from);
        called.filter(|_| process.lives())
    })
}

/// The one process with such arguments. Where there are several, none of them is known to be the one.
fn only(fits: impl Fn(&[String]) -> bool) -> Option<ProcessId> {
    let mut same = all()
        .into_iter()
        .filter(|pid| fits(&arguments(*pid)))
        .filter_map(ProcessId::of);
    let found = same.next()?;
    same.next().is_none().then_some(found)
}

/// Whether a program lies in a release store, by the store's layout.
fn in_a_store(program: &Path) -> bool {
    let parts: Vec<_> = program.iter().collect();
    parts
        .windows(2)
        .any(|pair| pair[0] == "store" && (pair[1] == "releases" || pair[1] == "current"))
}

/// Whether two argument vectors are the same but for the directory of the program. A program without arguments is only known by its path.
fn same_command(found: &[String], wanted: &[String]) -> bool {
    let (Some((program, found_rest)), Some((wanted_program, wanted_rest))) =
        (found.split_first(), wanted.split_first())
    else {
        return false;
    };
    let name = |path: &'_ str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let same_program =
        program == wanted_program || (!wanted_rest.is_empty() && name(program) == name(wanted_program));
    same_program && found_rest == wanted_rest
}

/// What became of the process that was started last: nothing starts it again but an order.
pub fn end_of_last(layout: &Layout, service: &SupervisedService) -> Result<LastEnd> {
    let record = record(layout, service)?;
    let ended = record.map(|record| record.process.of_this_boot() && !record.process.lives());
    let log = match ended {
        Some(true) => output::last_lines(&log_of(layout, service)?),
        _ => Vec::new(),
    };
    Ok(LastEnd { ended, log })
}

fn log_of(layout: &Layout, service: &SupervisedService) -> Result<PathBuf> {
    Ok(match &service.log {
        Some(log) => PathBuf::from(log),
        None => layout.logs().join(format!("{}.log", component(&service.name)?)),
    })
}

/// Starts the process, and writes it down before its program begins.
pub fn start(layout: &Layout, service: &SupervisedService) -> Result<ProcessId> {
    let log = log_of(layout, service)?;
    let directory = service
        .directory
        .as_ref()
        .map_or_else(|| layout.root().to_owned(), PathBuf::from);
    let release = store::current(layout)?;
    detach::start(&Detached {
        argv: service.argv.iter().map(Into::into).collect(),
        env: service
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        directory,
        log: log.clone(),
        record: Some((record_path(layout, service)?, release)),
        identity: durable::read_json(&identity_path(layout, service)?)?,
        own: false,
    })?;
    // On a full disk there is no record; then it is known by its arguments.
    find(layout, service)?.ok_or_else(|| {
        NodeError::Transient(format!(
            "the service {} ended as soon as it had begun{}",
            service.name,
            output::quoted(&output::last_lines(&log))
        ))
    })
}

/// How a process ended that was to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Whether it had to be killed.
    pub killed: bool,
}

/// Asks a process to end, waits, and kills what is left of its session.
pub fn stop(
    layout: &Layout,
    service: &SupervisedService,
    process: &ProcessId,
    patience: Duration,
) -> Result<Stopped> {
    keep_identity(layout, service, process)?;
    process.signal(signal_named(&service.stop_signal)?)?;
    end(process, patience)
}

/// Waits for the end of a process and of everything in its group and session, then kills what is left.
///
/// # Errors
/// Where something survives even that: a process that the kernel cannot end just now.
pub fn end(process: &ProcessId, patience: Duration) -> Result<Stopped> {
    let deadline = Instant::now() + patience;
    let mut killed = !process.wait_for_end(patience);
    if killed {
        process.signal(Signal::KILL)?;
    }
    // Only a leader's number names a group; otherwise the group is somebody else's, the login's for instance.
    let leads = |member: &ProcessId| member.pid != std::process::id();
    let left = || -> Vec<ProcessId> {
        members(process.pid, process.started)
            .into_iter()
            .filter(leads)
            .collect()
    };
    while let Some(one) = left().first().filter(|_| Instant::now() < deadline) {
        one.wait_for_end(Duration::from_millis(100));
    }
    for one in left() {
        killed = true;
        one.signal(Signal::KILL)?;
    }
    for one in left().iter().chain([process]) {
        if !one.wait_for_end(Duration::from_secs(30)) {
            return Err(NodeError::Transient(format!(
                "process {} does not end, though it was killed; it may be waiting for a disk or a network file system",
                one.pid
            )));
        }
    }
    Ok(Stopped { killed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_runs_from_elsewhere_is_known_by_its_arguments() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let wanted = words("/var/lib/upshift/store/current/etcd --config-file /etc/etcd/etcd.conf.yml");
        for (found, same) in [
            ("/usr/bin/etcd --config-file /etc/etcd/etcd.conf.yml", true),
            ("etcd --config-file /etc/etcd/etcd.conf.yml", true),
            ("/usr/bin/etcd --config-file /etc/etcd/other.yml", false),
            (
                "/usr/bin/etcd --config-file /etc/etcd/etcd.conf.yml --debug",
                false,
            ),
            ("/usr/bin/vim --config-file /etc/etcd/etcd.conf.yml", false),
        ] {
            assert_eq!(same_command(&words(found), &wanted), same, "{found}");
        }
        // Without arguments every program of the name would be the one.
        assert!(!same_command(&words("/usr/bin/redis"), &words("/opt/redis")));
        assert!(same_command(&words("/opt/redis"), &words("/opt/redis")));
        assert!(!same_command(&[], &words("/opt/redis")));
    }

    #[test]
    fn whose_a_process_was_is_not_known_once_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        let before = program(&process);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(before.is_some_and(|path| !in_a_store(&path)));
        assert_eq!(program(&process), None);
    }

    #[test]
    fn the_server_of_another_hosts_store_is_not_this_hosts() {
        assert!(in_a_store(Path::new(
            "/srv/n2/upshift/store/releases/1.0/bin/redis"
        )));
        // As it was called by, where the executable cannot be seen.
        assert!(in_a_store(Path::new("/srv/n2/upshift/store/current/bin/redis")));
        assert!(!in_a_store(Path::new("/usr/bin/redis")));
        assert!(!in_a_store(Path::new("/data/store/bin/releases")));
    }
}
