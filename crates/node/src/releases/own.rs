//! Releases of the host's own store. It answers in the words of EMQX's release handler.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use upshift_model::action::{Artifact, Service, StopService, UnpackRelease};
use upshift_model::facts::ReleaseStatus;
use upshift_model::release::{ReleaseAnswer, ReleaseCall, ReleaseOutcome};
use upshift_wire::protocol::ReleaseOrder;

use crate::actions;
use crate::durable;
use crate::error::{NodeError, Result};
use crate::failpoint;
use crate::host::Host;
use crate::layout::Layout;
use crate::packages;
use crate::process::service;
use crate::store;

/// How long a started service must live to count as running.
const LIVES: Duration = Duration::from_secs(2);
/// Marks the processes that an installation starts.
const MARK: &str = "release";

/// An installation in progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Installing {
    version: String,
}

type Said = (ReleaseOutcome, Vec<String>);

fn done(line: String) -> Said {
    (ReleaseOutcome::Done, vec![line])
}

fn refused(line: String) -> Said {
    (ReleaseOutcome::Refused, vec![line])
}

/// Does what is asked.
pub fn answer(host: &Host, order: &ReleaseOrder) -> Result<ReleaseAnswer> {
    let layout = &host.layout;
    let (outcome, lines) = match &order.call {
        ReleaseCall::List => (ReleaseOutcome::Done, listed(layout)?),
        ReleaseCall::Root => done(layout.releases().display().to_string()),
        ReleaseCall::Unpack {
            artifact,
            version,
            strip,
        } => unpack(layout, artifact.as_ref(), version, *strip)?,
        ReleaseCall::Install {
            artifact,
            version,
            strip,
            permanent,
        } => install(layout, order, artifact.as_ref(), version, *strip, *permanent)?,
        ReleaseCall::Uninstall { version } => uninstall(layout, version)?,
    };
    Ok(ReleaseAnswer {
        outcome,
        lines,
        releases: store::statuses(layout)?,
        root: layout.releases().display().to_string(),
    })
}

fn status(layout: &Layout, version: &str) -> Result<Option<ReleaseStatus>> {
    Ok(store::statuses(layout)?.get(version).copied())
}

fn listed(layout: &Layout) -> Result<Vec<String>> {
    let mut lines = vec!["Installed versions:".to_owned()];
    for (version, status) in store::statuses(layout)? {
        lines.push(format!("* {version}\t{}", word(status)));
    }
    Ok(lines)
}

fn word(status: ReleaseStatus) -> &'static str {
    match status {
        ReleaseStatus::Unpacked => "unpacked",
        ReleaseStatus::Current => "current",
        ReleaseStatus::Permanent => "permanent",
        ReleaseStatus::Old => "old",
    }
}

fn unpack(layout: &Layout, artifact: Option<&Artifact>, version: &str, strip: u32) -> Result<Said> {
    Ok(match status(layout, version)? {
        Some(ReleaseStatus::Old) => done(format!("Release {version} is marked old.")),
        Some(ReleaseStatus::Unpacked) => done(format!("Release {version} is already unpacked.")),
        Some(ReleaseStatus::Current) => done(format!("Release {version} is already installed and current.")),
        Some(ReleaseStatus::Permanent) => done(format!(
            "Release {version} is already installed and set permanent."
        )),
        None => match unpack_now(layout, artifact, strip)? {
            true => done(format!("Unpacked successfully: \"{version}\"")),
            false => not_found(layout)?,
        },
    })
}

/// Unpacks a package; whether there is one.
fn unpack_now(layout: &Layout, artifact: Option<&Artifact>, strip: u32) -> Result<bool> {
    let Some(artifact) = artifact else {
        return Ok(false);
    };
    if !packages::verify(layout, artifact)? {
        return Ok(false);
    }
    let unpack = UnpackRelease {
        artifact: artifact.clone(),
        strip,
    };
    actions::unpack_release(layout, &unpack)?;
    Ok(true)
}

fn not_found(layout: &Layout) -> Result<Said> {
    let mut lines = vec!["Unpack failed: release_package_not_found.".to_owned()];
    lines.extend(listed(layout)?);
    Ok((ReleaseOutcome::Refused, lines))
}

fn install(
    layout: &Layout,
    order: &ReleaseOrder,
    artifact: Option<&Artifact>,
    version: &str,
    strip: u32,
    permanent: bool,
) -> Result<Said> {
    let mut lines = Vec::new();
    let running = store::current(layout)?.as_deref() == Some(version);
    match status(layout, version)? {
        None => {
            if !unpack_now(layout, artifact, strip)? {
                return not_found(layout);
            }
            lines.push(format!("Unpacked successfully: \"{version}\"."));
        }
        Some(ReleaseStatus::Permanent) if running => {
            return Ok(done(format!(
                "Release {version} is already installed, running and set permanent."
            )));
        }
        Some(_) if running => {
            if !permanent {
                return Ok(done(format!(
                    "Release {version} is already installed and current."
                )));
            }
            lines.push(format!(
                "Release {version} is already installed and current, making permanent."
            ));
        }
        Some(ReleaseStatus::Unpacked) => {
            lines.push(format!("Release {version} is already unpacked, now installing."));
        }
        Some(ReleaseStatus::Permanent) => {
            let current = store::current(layout)?.unwrap_or_default();
            lines.push(format!("Release {current} is the currently running version."));
        }
        Some(_) => lines.push(format!("Release {version} is marked old, switching to it.")),
    }
    if !running {
        if let Err(error) = run_from_now_on(layout, order, version) {
            lines.push(format!("ERROR: {error}"));
            let outcome = match go_back(layout, order) {
                Ok(()) => ReleaseOutcome::RolledBack,
                Err(error) => {
                    lines.push(format!("ERROR: {error}"));
                    ReleaseOutcome::Failed
                }
            };
            return Ok((outcome, lines));
        }
        lines.push(format!("Installed Release: {version}."));
    }
    if permanent {
        store::make_permanent(layout, version)?;
        lines.push(format!("Made release permanent: \"{version}\""));
    }
    failpoint::hit("release-installed");
    Ok((ReleaseOutcome::Done, lines))
}

/// Points the link at the release, and restarts the service into it where it runs.
fn run_from_now_on(layout: &Layout, order: &ReleaseOrder, version: &str) -> Result<()> {
    let installing = Installing {
        version: version.to_owned(),
    };
    durable::write_json(&layout.installing(), &installing)?;
    failpoint::hit("release-announced");
    let running = service_of(order)?;
    let runs = service::find(layout, running)?.is_some();
    store::make_current(layout, version)?;
    failpoint::hit("release-current");
    let started = match runs {
        true => restart(layout, order, running, version),
        false => Ok(()),
    };
    durable::remove(&layout.installing())?;
    started
}

fn service_of(order: &ReleaseOrder) -> Result<&Service> {
    order
        .service
        .as_ref()
        .ok_or_else(|| NodeError::refused("an installation must say which service runs the releases"))
}

fn restart(layout: &Layout, order: &ReleaseOrder, running: &Service, version: &str) -> Result<()> {
    stop(layout, order, running)?;
    failpoint::hit("release-stopped");
    service::start(layout, running, MARK)?;
    let deadline = Instant::now() + LIVES;
    loop {
        let Some(process) = service::find(layout, running)? else {
            return Err(NodeError::refused(format!(
                "the service ended as soon as release {version} had been started"
            )));
        };
        match service::release(layout, &process) {
            Some(release) if release != version => {
                return Err(NodeError::refused(format!(
                    "the service runs release {release}, not {version}: does it start through {}?",
                    layout.current().display()
                )));
            }
            _ if Instant::now() > deadline => return Ok(()),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn stop(layout: &Layout, order: &ReleaseOrder, running: &Service) -> Result<()> {
    let stop = StopService {
        service: running.clone(),
        patience: order.patience,
    };
    service::stop(layout, &stop, MARK).map(|_| ())
}

/// The permanent release runs again.
fn go_back(layout: &Layout, order: &ReleaseOrder) -> Result<()> {
    let running = service_of(order)?;
    durable::remove(&layout.installing())?;
    stop(layout, order, running)?;
    store::before_start(layout)?;
    service::start(layout, running, MARK).map(|_| ())
}

fn uninstall(layout: &Layout, version: &str) -> Result<Said> {
    let marked = match status(layout, version)? {
        None => return Ok(done(format!("Release {version} is already uninstalled."))),
        Some(ReleaseStatus::Current) => {
            return Ok(refused(format!(
                "Uninstall failed: Release {version} is marked current."
            )));
        }
        Some(ReleaseStatus::Permanent) => {
            return Ok(refused(format!(
                "Uninstall failed: Release {version} is running."
            )));
        }
        Some(ReleaseStatus::Old) => format!("Release {version} is marked old, uninstalling it."),
        Some(ReleaseStatus::Unpacked) => format!("Release {version} is marked unpacked, uninstalling it"),
    };
    store::remove(layout, version)?;
    Ok((
        ReleaseOutcome::Done,
        vec![marked, format!("Uninstalled Release: {version}")],
    ))
}
