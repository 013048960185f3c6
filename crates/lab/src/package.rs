//! Release packages: archives whose bytes depend on nothing but their contents, so that a digest is stable.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

/// A release as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The version in its name.
    pub version: String,
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Package {
    /// Describes a file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn of(version: &str, path: PathBuf) -> io::Result<Self> {
        let (sha256, size) = digest(&path)?;
        Ok(Package {
            version: version.to_owned(),
            path,
            sha256,
            size,
        })
    }

    /// The directory that it lies in.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("."))
    }
}

/// One file of a package.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its path in the archive.
    pub name: &'a str,
    /// Its permission bits.
    pub mode: u32,
    /// Where its contents come from.
    pub contents: Contents<'a>,
}

/// Contents of a file of a package.
#[derive(Clone, Debug)]
pub enum Contents<'a> {
    /// Those of another file.
    File(&'a Path),
    /// These bytes.
    Bytes(&'a [u8]),
}

/// Writes a `.tar.gz` with nothing in it that changes from one time to the next: fixed times, owner 0, the order of
/// `entries`. The file appears whole or not at all.
///
/// # Errors
/// Where a file cannot be read or the archive cannot be written.
pub fn write_tar_gz(target: &Path, entries: &[Entry<'_>]) -> io::Result<()> {
    let directory = target.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(io::BufWriter::new(&mut file), Compression::new(6));
    let mut archive = tar::Builder::new(gzip);
    for entry in entries {
        append(&mut archive, entry)?;
    }
    archive.into_inner()?.finish()?.flush()?;
    set_readable(file.as_file())?;
    file.as_file().sync_all()?;
    file.persist(target).map_err(|error| error.error)?;
    Ok(())
}

fn set_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

fn append<W: Write>(archive: &mut tar::Builder<W>, entry: &Entry<'_>) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    match entry.contents {
        Contents::File(path) => {
            let file = File::open(path)?;
            header.set_size(file.metadata()?.len());
            archive.append_data(&mut header, entry.name, file)
        }
        Contents::Bytes(bytes) => {
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, entry.name, bytes)
        }
    }
}

/// Unpacks a package that was made by [`write_tar_gz`] into a new directory.
///
/// # Errors
/// Where it cannot be read or written.
pub fn unpack(package: &Path, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let archive = flate2::read::GzDecoder::new(io::BufReader::new(File::open(package)?));
    tar::Archive::new(archive).unpack(directory)
}

/// SHA-256 (lower-case hexadecimal) and size of a file.
///
/// # Errors
/// Where it cannot be read.
pub fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 256 * 1024];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hex(&hasher.finalize()), size));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_same_contents_give_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("program");
        let package = |name: &str| {
            fs::write(&source, b"#!/bin/sh\n").unwrap();
            let target = directory.path().join(name);
            let entries = [
                Entry {
                    name: "program",
                    mode: 0o755,
                    contents: Contents::File(&source),
                },
                Entry {
                    name: "note",
                    mode: 0o644,
                    contents: Contents::Bytes(b"hello"),
                },
            ];
            write_tar_gz(&target, &entries).unwrap();
            Package::of("1.0.0", target).unwrap()
        };
        let (one, two) = (package("one.tar.gz"), package("two.tar.gz"));
        assert_eq!(one.sha256, two.sha256);
        let out = directory.path().join("out");
        unpack(&one.path, &out).unwrap();
        assert_eq!(fs::read(out.join("note")).unwrap(), b"hello");
        assert_eq!(
            fs::metadata(out.join("program")).unwrap().permissions().mode() & 0o777,
            0o755
        );
    }
}
