//! Versions of several schemes, their order, and ranges of them.
//!
//! Vendors differ in how versions look, so a profile names its [`Scheme`]. A [`Version`] keeps the vendor's text as it
//! is and knows how it orders; a [`Range`] says which versions a rule is about.

mod key;
mod parse;
#[cfg(test)]
mod properties;
mod range;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use range::{Range, RangeError};
pub use value::{Version, VersionError};

/// How a product's versions look and order. Vendors differ, so the profile says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// `1.2.3`, `1.2.3-rc.1`: semantic versions; build metadata does not order.
    Semver,
    /// Numbers with dots and suffixes: `4.4.16-otp24.3.4.2-1`, `4.4.2.157-k8s.2`, `15.4`, `e4.4.17`.
    Vendor,
    /// A timestamp with a word before it: `RELEASE.2024-01-11T07-46-16Z`.
    Timestamp,
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Scheme::Semver => "semver",
            Scheme::Vendor => "vendor",
            Scheme::Timestamp => "timestamp",
        })
    }
}
