//! The `cpio` archives (new ASCII format) inside RPM packages.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::{ArchiveError, Tree, damaged, shown};

const HEADER: usize = 110;
const END: &[u8] = b"TRAILER!!!";
const KIND: u32 = 0o170_000;
const LONGEST_NAME: u64 = 4096;

/// Inode and device.
type FileId = (u32, (u32, u32));

struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    device: (u32, u32),
    size: u64,
    name_length: u64,
}

pub fn unpack(reader: &mut impl Read, tree: &mut Tree) -> Result<(), ArchiveError> {
    // All names of a file with several names come one after the other; the last one carries the contents.
    let mut waiting: BTreeMap<FileId, Vec<Vec<u8>>> = BTreeMap::new();
    loop {
        let header = read_header(reader)?;
        let name = read_name(reader, &header)?;
        if name == END {
            let left: Vec<Vec<u8>> = waiting.into_values().flatten().collect();
            return left
                .into_iter()
                .try_for_each(|name| tree.file(&name, 0o644, &mut io::empty()));
        }
        let mut contents = reader.take(header.size);
        match header.mode & KIND {
            0o040_000 => tree.directory(&name, header.mode)?,
            0o120_000 => {
                let mut target = Vec::new();
                contents
                    .by_ref()
                    .take(LONGEST_NAME)
                    .read_to_end(&mut target)
                    .map_err(damaged)?;
                tree.link(&name, &target)?;
            }
            0o100_000 if header.links > 1 && header.size == 0 => {
                waiting
                    .entry((header.inode, header.device))
                    .or_default()
                    .push(name);
            }
            0o100_000 => {
                tree.file(&name, header.mode, &mut contents)?;
                for other in waiting.remove(&(header.inode, header.device)).unwrap_or_default() {
                    tree.hard_link(&other, &name)?;
                }
            }
            _ => return Err(ArchiveError::Special(shown(&name))),
        }
        if contents.limit() != 0 {
            return Err(damaged("it ends too early"));
        }
        skip(reader, (4 - header.size % 4) % 4)?;
    }
}

fn read_header(reader: &mut impl Read) -> Result<Header, ArchiveError> {
    let mut bytes = [0; HEADER];
    reader.read_exact(&mut bytes).map_err(damaged)?;
    let text = std::str::from_utf8(&bytes).map_err(damaged)?;
    if !text.starts_with("070701") && !text.starts_with("070702") {
        return Err(damaged("the header of a file is wrong"));
    }
    let field = |index: usize| {
        let begin = 6 + 8 * index;
        text.get(begin..begin + 8)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let field = |index| field(index).ok_or_else(|| damaged("the header of a file is wrong"));
    Ok(Header {
        inode: field(0)?,
        mode: field(1)?,
        links: field(4)?,
        size: field(6)?.into(),
        device: (field(7)?, field(8)?),
        name_length: field(11)?.into(),
    })
}

/// The name, without the zero that ends it; the padding after it is skipped.
fn read_name(reader: &mut impl Read, header: &Header) -> Result<Vec<u8>, ArchiveError> {
    if header.name_length == 0 || header.name_length > LONGEST_NAME {
        return Err(damaged("the name of a file is too long"));
    }
    let mut name = Vec::new();
    reader
        .take(header.name_length)
        .read_to_end(&mut name)
        .map_err(damaged)?;
    if name.pop() != Some(0) {
        return Err(damaged("the name of a file is wrong"));
    }
    skip(reader, (4 - (HEADER as u64 + header.name_length) % 4) % 4)?;
    // Names in packages begin at their root.
    let below = name.strip_prefix(b"/").map(<[u8]>::to_vec);
    Ok(below.unwrap_or(name))
}

fn skip(reader: &mut impl Read, count: u64) -> Result<(), ArchiveError> {
    io::copy(&mut reader.take(count), &mut io::sink())
        .map(|_| ())
        .map_err(damaged)
}
