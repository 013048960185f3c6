//! The package files at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use upshift_model::action::Artifact;
use upshift_model::package::PackageRules;
use upshift_model::package::verified::{NotVerified, Verified, judge};
use upshift_model::profile::Profile;
use upshift_wire::binary::identify;

use crate::exit::{Failure, Problem};
use crate::inside;

mod signatures;

/// The package files of a directory that the profile's patterns read.
#[derive(Clone, Debug, Default)]
pub struct Packages {
    /// The directory.
    pub directory: PathBuf,
    /// What is in it, by digest: the artifact and its file.
    pub found: BTreeMap<String, (Artifact, PathBuf)>,
    /// By what each was verified, by digest; one that is missing here was not.
    pub verified: BTreeMap<String, Verified>,
    /// Names of files that no pattern reads.
    pub strangers: Vec<String>,
}

impl Packages {
    /// Reads a directory. One that does not exist has no packages: the planner says which are missing. `keys` are those that packages must be
    /// signed with, beside the profile's.
    ///
    /// # Errors
    /// Where a package differs from its checksum, or keys are named and none has signed it.
    pub fn read(directory: &Path, profile: &Profile, keys: &[String]) -> Result<Self, Failure> {
        let keys = signatures::keys(profile.package_keys.iter().chain(keys))?;
        let rules = PackageRules::parse(profile.versions.scheme, &profile.packages)
            .context("the profile's package patterns cannot be read")?;
        let mut packages = Packages {
            directory: directory.to_owned(),
            ..Packages::default()
        };
        for path in files(directory)? {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            match rules.read(&name) {
                Some((rule, mut package)) => {
                    let inside = inside::parts(&profile.packages[rule], &package, &path)
                        .map_err(|error| unreadable(&path, &format!("{error:#}")))?;
                    package.parts.extend(inside);
                    let identity = identify(&path).map_err(|error| unreadable(&path, &error))?;
                    let artifact = Artifact {
                        file_name: name,
                        version: package.version.as_str().to_owned(),
                        variant: package.parts,
                        sha256: identity.sha256.clone(),
                        size: identity.size,
                    };
                    let beside =
                        signatures::beside(&path, &keys).map_err(|error| unreadable(&path, &error))?;
                    let verified = judge(&artifact.file_name, &artifact.sha256, &beside)
                        .map_err(|error| not_verified(&path, &error))?;
                    if let Some(verified) = verified {
                        packages.verified.insert(artifact.sha256.clone(), verified);
                    }
                    packages.found.insert(identity.sha256, (artifact, path));
                }
                None => packages.strangers.push(name),
            }
        }
        Ok(packages)
    }

    /// The text of a file of a release, by its path in the unpacked release; nothing where no package at hand has it.
    pub fn text_of(&self, profile: &Profile, version: &str, file: &str) -> Result<Option<String>, Failure> {
        let rules = PackageRules::parse(profile.versions.scheme, &profile.packages)
            .context("the profile's package patterns cannot be read")?;
        for (artifact, path) in self.found.values() {
            if artifact.version != version {
                continue;
            }
            let strip = rules
                .read(&artifact.file_name)
                .map_or(0, |(rule, _)| profile.packages[rule].strip);
            let text = inside::unpacked(path, strip, file)
                .map_err(|error| unreadable(path, &format!("{error:#}")))?;
            if text.is_some() {
                return Ok(text);
            }
        }
        Ok(None)
    }

    /// The artifacts, for the planner.
    pub fn artifacts(&self) -> Vec<Artifact> {
        self.found
            .values()
            .map(|(artifact, _)| artifact.clone())
            .collect()
    }
}

/// The plain files of a directory, in the order of their names.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn not_verified(path: &Path, error: &NotVerified) -> Failure {
    Failure::Refused(
        Problem::new("a package is not what it should be")
            .at(path.display())
            .because(error)
            .next("fetch it again, with its checksum and signature, from where its vendor publishes it; or move it out of the directory"),
    )
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(
        Problem::new("cannot read the packages")
            .at(path.display())
            .because(error)
            .next("name the directory of the package files with --packages"),
    )
}
