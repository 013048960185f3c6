//! Picking the one package that is wanted from a list of file names.

use std::collections::{BTreeMap, BTreeSet};

use super::{PackageError, PackageName, PackagePattern};
use crate::profile::PackageRule;
use crate::version::{Range, Scheme, Version};

/// A profile's package rules, ready to read file names.
#[derive(Clone, Debug)]
pub struct PackageRules {
    scheme: Scheme,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: PackagePattern,
    versions: Option<Range>,
    defaults: BTreeMap<String, String>,
}

/// The package that was picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The file's name.
    pub file_name: String,
    /// What it says, defaults of absent optional parts filled in.
    pub package: PackageName,
    /// Which of the profile's package rules read it, counted from zero.
    pub rule: usize,
}

/// Why no package, or no single one, could be picked. Nothing is ever guessed: vendors' own tools take the first of
/// two matching files and leave a wrong release behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// No file is a package of the version.
    #[error("no package of {version} among {}; {}", count(*.files, "file"), versions_at_hand(.versions))]
    NoVersion {
        /// The version.
        version: String,
        /// How many file names were looked at.
        files: usize,
        /// Versions of the packages among them.
        versions: Vec<String>,
    },
    /// There are packages of the version, but not of the wanted variant.
    #[error("no package of {version} with {}; there is {}", .wanted.join(", "), .files.join(", "))]
    NoVariant {
        /// The version.
        version: String,
        /// What was wanted, such as `arch amd64`.
        wanted: Vec<String>,
        /// The packages of that version.
        files: Vec<String>,
    },
    /// Several packages fit.
    #[error(
        "{} are all packages of {version}{}; {}",
        .files.join(" and "), asked(.wanted), how_to_choose(.differing)
    )]
    Several {
        /// The version.
        version: String,
        /// What was wanted.
        wanted: Vec<String>,
        /// The packages.
        files: Vec<String>,
        /// Parts in which they differ.
        differing: Vec<String>,
    },
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

fn versions_at_hand(versions: &[String]) -> String {
    if versions.is_empty() {
        return "none of them has the name of a package of this product".to_owned();
    }
    format!("at hand: {}", versions.join(", "))
}

fn asked(wanted: &[String]) -> String {
    if wanted.is_empty() {
        String::new()
    } else {
        format!(" with {}", wanted.join(", "))
    }
}

fn how_to_choose(differing: &[String]) -> String {
    if differing.is_empty() {
        return "keep one of them and move the others away".to_owned();
    }
    format!(
        "say which {} is wanted, or move the others away",
        differing.join(" and ")
    )
}

impl PackageRules {
    /// Reads the rules of a profile.
    pub fn parse(scheme: Scheme, rules: &[PackageRule]) -> Result<PackageRules, PackageError> {
        let rules = rules
            .iter()
            .map(|rule| {
                Ok(Rule {
                    pattern: PackagePattern::parse(&rule.pattern)?,
                    versions: rule
                        .versions
                        .as_deref()
                        .map(|text| Range::parse(scheme, text))
                        .transpose()?,
                    defaults: rule.defaults.clone(),
                })
            })
            .collect::<Result<_, PackageError>>()?;
        Ok(PackageRules { scheme, rules })
    }

    /// What a file's name says by the first rule that fits, and which rule that is. `file_name` has no directories.
    pub fn read(&self, file_name: &str) -> Option<(usize, PackageName)> {
        self.rules
            .iter()
            .enumerate()
            .find_map(|(index, rule)| Some((index, rule.read(self.scheme, file_name)?)))
    }

    /// The one package of `version` whose parts are those of `wanted`.
    ///
    /// A wanted part counts only where the package's pattern has it: names of EMQX 4.3 say nothing about OTP. `amd64`
    /// and `x86_64` are one architecture, as are `arm64` and `aarch64`.
    pub fn pick<'a>(
        &self,
        file_names: impl IntoIterator<Item = &'a str>,
        version: &Version,
        wanted: &BTreeMap<String, String>,
    ) -> Result<Picked, PickError> {
        let names: BTreeSet<&str> = file_names.into_iter().collect();
        let packages: Vec<Picked> = names.iter().filter_map(|name| self.picked(name)).collect();
        let of_version: Vec<&Picked> = packages
            .iter()
            .filter(|picked| same_version(&picked.package.version, version))
            .collect();
        if of_version.is_empty() {
            let versions: BTreeSet<&Version> =
                packages.iter().map(|picked| &picked.package.version).collect();
            let versions = versions.into_iter().map(Version::to_string).collect();
            return Err(PickError::NoVersion {
                version: version.to_string(),
                files: names.len(),
                versions,
            });
        }
        let fitting: Vec<&Picked> = of_version
            .iter()
            .copied()
            .filter(|picked| self.fits(picked, wanted))
            .collect();
        match fitting.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(PickError::NoVariant {
                version: version.to_string(),
                wanted: in_words(wanted),
                files: file_names_of(&of_version),
            }),
            several => Err(PickError::Several {
                version: version.to_string(),
                wanted: in_words(wanted),
                files: file_names_of(several),
                differing: differing_parts(several),
            }),
        }
    }

    fn picked(&self, file_name: &str) -> Option<Picked> {
        let (rule, package) = self.read(file_name)?;
        Some(Picked {
            file_name: file_name.to_owned(),
            package,
            rule,
        })
    }

    fn fits(&self, picked: &Picked, wanted: &BTreeMap<String, String>) -> bool {
        let pattern = &self.rules[picked.rule].pattern;
        wanted
            .iter()
            .filter(|(part, _)| pattern.has_part(part))
            .all(|(part, value)| {
                let found = picked.package.parts.get(part);
                found.is_some_and(|found| same_part(part, found, value))
            })
    }
}

impl Rule {
    fn read(&self, scheme: Scheme, file_name: &str) -> Option<PackageName> {
        let mut package = self.pattern.matches(scheme, file_name)?;
        if self
            .versions
            .as_ref()
            .is_some_and(|range| !range.contains(&package.version))
        {
            return None;
        }
        for (part, value) in &self.defaults {
            package.parts.entry(part.clone()).or_insert_with(|| value.clone());
        }
        Some(package)
    }
}

/// `12` and `12.0` are one version; `4.4.17` and `e4.4.17` are not.
fn same_version(found: &Version, wanted: &Version) -> bool {
    found.precedence(wanted).is_eq() && found.prefix() == wanted.prefix()
}

fn same_part(part: &str, found: &str, wanted: &str) -> bool {
    let architecture = |name: &'static str, other: &'static str| {
        [name, other].contains(&found) && [name, other].contains(&wanted)
    };
    found == wanted || part == "arch" && (architecture("amd64", "x86_64") || architecture("arm64", "aarch64"))
}

fn in_words(wanted: &BTreeMap<String, String>) -> Vec<String> {
    wanted
        .iter()
        .map(|(part, value)| format!("{part} {value}"))
        .collect()
}

fn file_names_of(packages: &[&Picked]) -> Vec<String> {
    packages.iter().map(|picked| picked.file_name.clone()).collect()
}

fn differing_parts(packages: &[&Picked]) -> Vec<String> {
    let parts: BTreeSet<&String> = packages
        .iter()
        .flat_map(|picked| picked.package.parts.keys())
        .collect();
    let differs = |part: &&String| {
        let values: BTreeSet<_> = packages
            .iter()
            .map(|picked| picked.package.parts.get(*part))
            .collect();
        values.len() > 1
    };
    parts.into_iter().filter(differs).cloned().collect()
}
