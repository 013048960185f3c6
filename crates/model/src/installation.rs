//! Releases that the host's package manager installs, rather than the release store's link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which release is the installed one, by whatever installs the product on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstallRelease {
    /// The package manager, `dpkg` or `rpm`; where it is empty or `store`, the release store's link is pointed at the release. The
    /// source `package` of a place says which it is on a host.
    pub manager: String,
    /// Name of the product's package.
    pub package: String,
    /// Version of the release, whose package was distributed to the host.
    pub release: String,
}

/// What the package manager's own database says of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstalledProbe {
    /// The package manager; see [`InstallRelease::manager`].
    pub manager: String,
    /// Name of the package.
    pub package: String,
}
