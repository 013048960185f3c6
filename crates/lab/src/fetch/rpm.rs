//! Real `rpm` and `rpmbuild`, as Debian builds them.

use std::path::PathBuf;

use super::apt::{self, DebPin};
use super::{Cache, Say, Unavailable};

macro_rules! pinned {
    ($package:literal, $version:expr, $digest:literal, $size:literal) => {
        DebPin {
            suite: "bookworm",
            package: $package,
            version: $version,
            sha256: $digest,
            size: $size,
        }
    };
}

const VERSION: &str = "4.18.0+dfsg-1+deb12u1";

const DEBS: [DebPin; 9] = [
    pinned!(
        "rpm",
        VERSION,
        "cd9d36a9420e6ceded71605a8584f5df5a35e2e9d8910929f375dc6c9ce46fdc",
        1_692_732
    ),
    pinned!(
        "rpm-common",
        VERSION,
        "a1a8828f8e4810a3fcdd598e7f5d73464451bb6dd55e56f245dc82a5688e71dd",
        1_570_540
    ),
    pinned!(
        "librpm9",
        VERSION,
        "669cb59fd024448125adbcd826bdeec84af78b9b45d8060343f77f1d77df5fa2",
        1_720_244
    ),
    pinned!(
        "librpmio9",
        VERSION,
        "024a27171902e3bfd4eac45b963ccefd23b12dad15d2a51966e740fa12888425",
        1_624_880
    ),
    pinned!(
        "librpmbuild9",
        VERSION,
        "897238d24a81d1081bede0a5cfe1882f515a9738d2a318cd82bd3177bf0b7d99",
        1_612_912
    ),
    pinned!(
        "librpmsign9",
        VERSION,
        "ab5104199a7dba63bf32549542946c396fe78b3d0135e04c6719477366f17ffa",
        1_548_784
    ),
    pinned!(
        "libpopt0",
        "1.19+dfsg-1",
        "6f94b488255acd996254f775c77ff3956557c61f860a3c9caeaf65457554194f",
        43_268
    ),
    pinned!(
        "libfsverity0",
        "1.5-1.1",
        "f1719e3b750747599cb4ec06cf17572ebdd067721b5b1b54ba7a8034f3e7fcf3",
        10_460
    ),
    apt::LUA,
];

/// Has Debian's packages of `rpm` and `rpmbuild` in the cache, with the libraries that machines seldom have, to be unpacked into a
/// root file system.
///
/// # Errors
/// Where the package client cannot get them.
pub fn rpm(cache: &Cache, say: Say<'_>) -> Result<Vec<PathBuf>, Unavailable> {
    let what = || format!("rpm {VERSION}");
    if std::env::consts::ARCH != "x86_64" {
        return Err(Unavailable::new(
            what(),
            "Debian's build is pinned for amd64 alone",
        ));
    }
    let _lock = cache
        .lock("rpm")
        .map_err(|error| Unavailable::new(what(), error))?;
    apt::debs(cache, &DEBS, say)
}
