//! Real Apache Ignite as jars, through Maven. Its launch script is not among them; see `e2e/doubles/ignite`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::alluxio::verify;
use super::{Cache, Say, Unavailable};
use crate::processes;

/// Versions, each with the megabytes that are fetched, and the digest of the list of its jars' digests.
const PINNED: [(&str, u32, &str); 2] = [
    (
        "2.14.0",
        32,
        "947ebb8dab475f7c4885cad46d92d6a7c207a640bb0da3780fa09e7764e652fb",
    ),
    (
        "2.16.0",
        23,
        "15e38e1460a206b5753ea992ac5696252ca3472d87cb3c978571487d98685dd2",
    ),
];

/// What a node with a Spring configuration and REST needs.
const ARTIFACTS: [&str; 3] = ["ignite-core", "ignite-spring", "ignite-rest-http"];

const LIMIT: Duration = Duration::from_secs(400);

/// Has the jars of a version in the cache; yields their directory.
///
/// # Errors
/// Where there is no Maven, it cannot get the jars, or they are not those that are pinned.
pub fn ignite(cache: &Cache, version: &str, say: Say<'_>) -> Result<PathBuf, Unavailable> {
    let failed = |reason: &dyn std::fmt::Display| Unavailable::new(format!("Ignite {version}"), reason);
    let (_, megabytes, sha256) = PINNED
        .iter()
        .find(|(pinned, ..)| *pinned == version)
        .ok_or_else(|| failed(&"no checksum is pinned for it"))?;
    let _lock = cache
        .lock(&format!("ignite-{version}"))
        .map_err(|error| failed(&error))?;
    let jars = cache.path(&format!("ignite/{version}"));
    if !jars.exists() {
        say(&format!("fetching Ignite {version} with mvn: {megabytes} MB"));
        let scratch = cache.scratch().map_err(|error| failed(&error))?;
        fs::write(scratch.path().join("pom.xml"), pom(version)).map_err(|error| failed(&error))?;
        let mut maven = Command::new("mvn");
        maven
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .args(["-DoutputDirectory=jars", "-DincludeScope=runtime"])
            .current_dir(scratch.path());
        processes::run(&mut maven, LIMIT).map_err(|error| failed(&error))?;
        let keep = || {
            fs::create_dir_all(cache.path("ignite"))?;
            fs::rename(scratch.path().join("jars"), &jars)
        };
        keep().map_err(|error: std::io::Error| failed(&error))?;
    }
    verify(sha256, &jars).map_err(|reason| failed(&reason))?;
    Ok(jars)
}

fn pom(version: &str) -> String {
    let dependencies = ARTIFACTS.map(|artifact| {
        format!(
            "<dependency><groupId>org.apache.ignite</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    });
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>upshift</groupId><artifactId>ignite</artifactId><version>1</version><dependencies>{}</dependencies></project>",
        dependencies.concat()
    )
}
