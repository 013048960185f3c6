//! Releases of the lab server as packages: the server's program and a manifest.

use std::fs;
use std::io;
use std::path::Path;

use crate::package::{Contents, Entry, Package, write_tar_gz};
use crate::server::{MANIFEST, Manifest};

/// Name of the lab server's program in a package. A program that is started under this name must call
/// [`crate::server::main`].
pub const PROGRAM: &str = "labd";

/// Makes the package `lab-<version>.tar.gz` in a directory. `named` is the version in the package's name; a release that lies
/// about itself has another one in its manifest.
///
/// # Errors
/// Where the program cannot be read or the package cannot be written.
pub fn lab_package(
    directory: &Path,
    program: &Path,
    named: &str,
    manifest: &Manifest,
) -> io::Result<Package> {
    fs::create_dir_all(directory)?;
    let target = directory.join(format!("lab-{named}.tar.gz"));
    let text = serde_json::to_vec_pretty(manifest)?;
    let (program_name, manifest_name) = (
        format!("lab-{named}/{PROGRAM}"),
        format!("lab-{named}/{MANIFEST}"),
    );
    let entries = [
        Entry {
            name: &program_name,
            mode: 0o755,
            contents: Contents::File(program),
        },
        Entry {
            name: &manifest_name,
            mode: 0o644,
            contents: Contents::Bytes(&text),
        },
    ];
    write_tar_gz(&target, &entries)?;
    Package::of(named, target)
}
