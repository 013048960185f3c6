//! Releases that the product's own tool keeps.

use std::collections::BTreeMap;
use std::fs;

use regex::Regex;
use upshift_model::action::{Artifact, Command, CopyPackage, UnpackRelease};
use upshift_model::facts::ReleaseStatus;
use upshift_model::release::{ReleaseAnswer, ReleaseCall, ReleaseHandler, ReleaseOutcome};
use upshift_wire::protocol::ReleaseOrder;

use crate::actions;
use crate::error::{NodeError, Result};
use crate::failpoint;
use crate::host::Host;
use crate::process::command::{Ended, Keep, run};

/// Asks the tool; its words are the answer.
pub fn answer(host: &Host, order: &ReleaseOrder, handler: &ReleaseHandler) -> Result<ReleaseAnswer> {
    let (outcome, lines) = match &order.call {
        ReleaseCall::List => said(&handler.list)?,
        ReleaseCall::Root => (ReleaseOutcome::Done, vec![handler.root.clone()]),
        ReleaseCall::Unpack { artifact, strip, .. } => {
            with_package(host, handler, artifact.as_ref(), *strip, &handler.unpack)?
        }
        ReleaseCall::Install {
            artifact,
            strip,
            permanent,
            ..
        } => {
            let command = match permanent {
                true => &handler.install,
                false => &handler.install_for_now,
            };
            with_package(host, handler, artifact.as_ref(), *strip, command)?
        }
        ReleaseCall::Uninstall { .. } => said(&handler.uninstall)?,
    };
    Ok(ReleaseAnswer {
        outcome,
        lines,
        releases: releases(handler)?,
        root: handler.root.clone(),
    })
}

/// Runs a command of the tool with the package where it looks for it. Where the release is known already, no package is needed.
fn with_package(
    host: &Host,
    handler: &ReleaseHandler,
    artifact: Option<&Artifact>,
    strip: u32,
    command: &Command,
) -> Result<(ReleaseOutcome, Vec<String>)> {
    if let Some(artifact) = artifact {
        clear(handler)?;
        let unpack = UnpackRelease {
            artifact: artifact.clone(),
            strip,
        };
        actions::unpack_release(&host.layout, &unpack)?;
        let copy = CopyPackage {
            release: artifact.version.clone(),
            file: handler.package.clone(),
        };
        actions::copy_package(&host.layout, &copy)?;
        failpoint::hit("release-package-there");
    }
    let answer = said(command);
    clear(handler)?;
    answer
}

/// Removes the package and what the tool has made of it, so that it is never taken for another one.
fn clear(handler: &ReleaseHandler) -> Result<()> {
    for file in handler.leftovers.iter().chain([&handler.package]) {
        match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(NodeError::Io {
                    what: format!("cannot remove {file}"),
                    source: error,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a command prints, and what its status means. The statuses are those of EMQX's tool.
fn said(command: &Command) -> Result<(ReleaseOutcome, Vec<String>)> {
    let finished = run(command, None, Keep::Memory)?;
    let text = String::from_utf8_lossy(&finished.stdout).into_owned();
    let lines = text.lines().chain(finished.stderr.lines());
    let outcome = match finished.ended {
        Ended::Status(0) => ReleaseOutcome::Done,
        Ended::Status(1..=3) => ReleaseOutcome::Refused,
        Ended::Status(4) => ReleaseOutcome::RolledBack,
        Ended::Status(_) | Ended::TimedOut | Ended::Flooded => ReleaseOutcome::Failed,
    };
    let lines = lines.map(str::to_owned).filter(|line| !line.is_empty());
    Ok((outcome, lines.collect()))
}

fn releases(handler: &ReleaseHandler) -> Result<BTreeMap<String, ReleaseStatus>> {
    let pattern = Regex::new(&handler.line).map_err(|error| NodeError::refused(error.to_string()))?;
    let finished = run(&handler.list, None, Keep::Memory)?;
    let text = String::from_utf8_lossy(&finished.stdout).into_owned();
    let status = |word: &str| match word {
        "unpacked" => Some(ReleaseStatus::Unpacked),
        "current" => Some(ReleaseStatus::Current),
        "permanent" => Some(ReleaseStatus::Permanent),
        "old" => Some(ReleaseStatus::Old),
        _ => None,
    };
    Ok(text
        .lines()
        .filter_map(|line| {
            let found = pattern.captures(line)?;
            Some((found.get(1)?.as_str().to_owned(), status(found.get(2)?.as_str())?))
        })
        .collect())
}
