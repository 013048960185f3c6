//! One version.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::Scheme;
use super::key::{Key, Stage};
use super::parse::{self, Parsed};

/// A version as its vendor writes it, with the order that its scheme gives it.
///
/// `Display` gives the text back exactly. Two versions are equal where scheme and text are. `Ord` is total and agrees
/// with that: precedence first, then the text. So `12` and `12.0`, which mean the same, are still two values (`12`
/// comes first); ask [`Version::precedence`] where only the meaning counts.
///
/// | scheme | precedence |
/// |---|---|
/// | semver | as semver.org says; build metadata (`+…`) has none |
/// | vendor | dotted numbers, missing ones are zero; then pre-releases < nothing < builds |
/// | timestamp | date and time; then nothing < whatever follows (`.hotfix.1`) |
///
/// In the vendor scheme a suffix is a pre-release if it begins with one of `dev nightly pre preview alpha beta milestone
/// rc cr snapshot` (any case), with `a`, `b` or `m` and one or two digits (`8.0.0-M1`), or with `~`; every other suffix
/// is a build: `4.4.16 < 4.4.16-otp24.3.4.2-1`. A word before the numbers (`e4.4.17`) has no precedence.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    scheme: Scheme,
    prefix: usize,
    key: Key,
}

/// Why a text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {scheme} version: {problem} at character {}; {help}", self.offset + 1)]
pub struct VersionError {
    /// The text.
    pub text: String,
    /// The scheme that it was read by.
    pub scheme: Scheme,
    /// Characters before the trouble.
    pub offset: usize,
    /// What is wrong there.
    pub problem: String,
    /// What to write instead.
    pub help: String,
}

impl Version {
    /// Reads a version; every version that this gives prints as `text`.
    pub fn parse(scheme: Scheme, text: &str) -> Result<Version, VersionError> {
        let parsed = match scheme {
            Scheme::Semver => parse::semver(text),
            Scheme::Vendor => parse::vendor(text),
            Scheme::Timestamp => parse::timestamp(text),
        };
        match parsed {
            Ok(Parsed { prefix, key }) => Ok(Version {
                text: text.to_owned(),
                scheme,
                prefix,
                key,
            }),
            Err(trouble) => Err(trouble.error(scheme, text)),
        }
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme that it was read by.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The word before the numbers: `e` in `e4.4.17`, `RELEASE` in `RELEASE.2024-01-11T07-46-16Z`, otherwise empty.
    pub fn prefix(&self) -> &str {
        &self.text[..self.prefix]
    }

    /// The number at `index`, counted from zero (year, month, day, … of a timestamp); zero where there is none.
    pub fn number(&self, index: usize) -> u64 {
        self.key.numbers.at(index)
    }

    /// The first number; the year of a timestamp.
    pub fn major(&self) -> u64 {
        self.number(0)
    }

    /// The second number; the month of a timestamp.
    pub fn minor(&self) -> u64 {
        self.number(1)
    }

    /// Whether the first two numbers are the same: versions that differ only in patch level.
    pub fn same_minor(&self, other: &Version) -> bool {
        self.major() == other.major() && self.minor() == other.minor()
    }

    /// Whether this is a pre-release, such as `1.2.3-rc.1`.
    pub fn is_pre_release(&self) -> bool {
        matches!(self.key.stage, Stage::PreRelease(_))
    }

    /// Which of two versions of one scheme comes first by meaning alone: `12` and `12.0` are equal here.
    pub fn precedence(&self, other: &Version) -> Ordering {
        self.key.cmp(&other.key)
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.text == other.text
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scheme.hash(state);
        self.text.hash(state);
    }
}

impl Ord for Version {
    // The key is a function of scheme and text, so ordering by (scheme, key, text) is equal exactly where `Eq` is.
    fn cmp(&self, other: &Self) -> Ordering {
        self.scheme
            .cmp(&other.scheme)
            .then_with(|| self.key.cmp(&other.key))
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
