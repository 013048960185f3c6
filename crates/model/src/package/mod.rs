//! Names of packages as patterns with named parts.
//!
//! `emqx[-{edition}]-{version}-otp{otp}-{os}-{arch}.zip` reads as: fixed text, parts in braces, and optional text in
//! brackets. `{version-env}` is short for `{version}-{env}`. Every pattern has one `{version}`, which must be a version
//! of the product's scheme; that is why the pattern for `4.4.1` never takes a file of `4.4.10`.
//!
//! | part | what it may be |
//! |---|---|
//! | `version` | a version of the scheme |
//! | `otp` | `24.3.4.2-1`: numbers with dots, and a build number |
//! | `os` | `el8`, `ubuntu20.04`: letters first, no dash |
//! | `arch` | `amd64`, `x86_64`: letters first, no dash and no dot |
//! | `edition` | `ee`: small letters |
//! | any other | letters, digits and `. _ + ~ -` |

mod inside;
mod matching;
mod pattern;
mod pick;
pub mod verified;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::version::Version;

pub use pattern::PackagePattern;
pub use pick::{PackageRules, PickError, Picked};

/// What a package's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageName {
    /// The version.
    pub version: Version,
    /// The other parts, by name: `os`, `arch`, `edition`, … An optional part that is not there has no entry.
    pub parts: BTreeMap<String, String>,
}

/// Why a text is not a package pattern, or why a name cannot be made from one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// The pattern cannot be read.
    #[error("`{pattern}` is not a package pattern: {problem} at character {}; {help}", self.character())]
    Pattern {
        /// The text.
        pattern: String,
        /// Characters before the trouble.
        offset: usize,
        /// What is wrong there.
        problem: String,
        /// What to write instead.
        help: String,
    },
    /// The versions of a rule are not a range.
    #[error(transparent)]
    Versions(#[from] crate::version::RangeError),
    /// A part that the pattern needs was not given.
    #[error("`{pattern}` needs the part `{part}`")]
    MissingPart {
        /// The pattern.
        pattern: String,
        /// Name of the part.
        part: String,
    },
    /// A part was given that the pattern cannot carry: it has no such part, or the value is not one of that kind.
    #[error("`{pattern}` cannot carry `{value}` as {part}")]
    UnusablePart {
        /// The pattern.
        pattern: String,
        /// Name of the part.
        part: String,
        /// The value.
        value: String,
    },
}

impl PackageError {
    /// Where a pattern is wrong, counted from one; zero for other errors.
    fn character(&self) -> usize {
        match self {
            PackageError::Pattern { offset, .. } => offset + 1,
            _ => 0,
        }
    }
}
