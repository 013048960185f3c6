//! Unpacking, for files that may be damaged or malicious.
//!
//! What a file is, its first bytes say, not its name. Whatever the format, every entry goes through [`Tree`], which lets
//! nothing out of its directory.

mod bounded;
mod cpio;
mod deb;
mod name;
mod rpm;
mod single;
mod sparse;
mod tarball;
#[cfg(test)]
mod tests;
mod tree;
mod zipped;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

pub use tree::{Limits, Totals, Tree};

/// Why a file cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The name of an entry leads out of the directory.
    #[error("it holds the name `{0}`, which leads out of the release's directory")]
    Name(String),
    /// A link leads out of the directory.
    #[error(
        "it holds a link `{link}` to `{target}`, which leads out of the release's directory or to nothing in it"
    )]
    LinkOut {
        /// The link.
        link: String,
        /// What it points at.
        target: String,
    },
    /// An entry lies behind a link.
    #[error("it holds `{0}`, which lies behind a link")]
    ThroughLink(String),
    /// An entry is neither a file nor a directory nor a link.
    #[error("it holds `{0}`, which is a device, a pipe or a socket")]
    Special(String),
    /// It grows to more than any release would.
    #[error("it unpacks to more than {0} bytes: it is not a release, but a bomb")]
    Bytes(u64),
    /// It holds more than any release would.
    #[error("it holds more than {0} entries: it is not a release, but a bomb")]
    Entries(u64),
    /// It is damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Nobody knows what it is.
    #[error(
        "it is neither a tar archive (gzip, zstd, xz or plain) nor a zip, deb or rpm file, nor a program"
    )]
    Unknown,
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Unpacks a file into a tree. `file_name` and `version` name the program where the file is one.
pub fn unpack(path: &Path, file_name: &str, version: &str, tree: &mut Tree) -> Result<(), ArchiveError> {
    let mut file = File::open(path)?;
    let mut begin = Vec::new();
    file.by_ref().take(512).read_to_end(&mut begin)?;
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    match begin.as_slice() {
        [b'P', b'K', 3 | 5, ..] => zipped::unpack(reader, tree),
        begin if begin.starts_with(b"!<arch>\n") => deb::unpack(&mut reader, tree),
        [0xed, 0xab, 0xee, 0xdb, ..] => rpm::unpack(&mut reader, tree),
        begin if begin.starts_with(b"\x7fELF") || begin.starts_with(b"#!") => {
            single::unpack(&mut reader, file_name, version, tree)
        }
        begin if is_compressed(begin) || begin.get(257..262) == Some(b"ustar") => {
            tarball::unpack(decompress(&mut reader)?, tree)
        }
        _ => Err(ArchiveError::Unknown),
    }
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

fn is_compressed(begin: &[u8]) -> bool {
    [GZIP, ZSTD, XZ].iter().any(|magic| begin.starts_with(magic))
}

/// A reader of what a stream holds, compressed or not.
fn decompress<'a, R: BufRead + 'a>(mut reader: R) -> Result<Box<dyn Read + 'a>, ArchiveError> {
    let begin = reader.fill_buf()?;
    if begin.starts_with(GZIP) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)))
    } else if begin.starts_with(ZSTD) {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(reader)?))
    } else if begin.starts_with(XZ) {
        Ok(Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(reader)))
    } else {
        Ok(Box::new(reader))
    }
}

/// The most characters of a name that are shown.
const SHOWN: usize = 200;

/// A name as it may be shown: names in archives are anybody's, of any length, and may hold what steers a terminal.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let mut shown: String = name
        .chars()
        .take(SHOWN)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if name.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn damaged(error: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::Damaged(error.to_string())
}
