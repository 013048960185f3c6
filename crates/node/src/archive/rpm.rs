//! RPM packages: a lead, two headers, and a compressed `cpio` archive with the files.

use std::io::{self, BufRead, BufReader, Read};

use super::{ArchiveError, Tree, cpio, damaged, decompress};

const LEAD: usize = 96;
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// Bytes of one entry of a header's index.
const INDEX_ENTRY: u64 = 16;

pub fn unpack(reader: &mut impl BufRead, tree: &mut Tree) -> Result<(), ArchiveError> {
    tree.system_package = true;
    reader.read_exact(&mut [0; LEAD]).map_err(damaged)?;
    // The signature is padded to eight bytes, the main header is not.
    let signature = skip_header(reader)?;
    let padding = (8 - signature % 8) % 8;
    io::copy(&mut reader.take(padding), &mut io::sink()).map_err(damaged)?;
    skip_header(reader)?;
    cpio::unpack(&mut BufReader::new(decompress(reader)?), tree)
}

/// Skips a header; the length of what was skipped.
fn skip_header(reader: &mut impl BufRead) -> Result<u64, ArchiveError> {
    let mut head = [0; 16];
    reader.read_exact(&mut head).map_err(damaged)?;
    let [a, b, c, d, _, _, _, _, n0, n1, n2, n3, s0, s1, s2, s3] = head;
    if [a, b, c, d] != HEADER_MAGIC {
        return Err(damaged("the header of a package is wrong"));
    }
    let entries = u64::from(u32::from_be_bytes([n0, n1, n2, n3]));
    let store = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
    let length = entries * INDEX_ENTRY + store;
    let skipped = io::copy(&mut reader.take(length), &mut io::sink()).map_err(damaged)?;
    if skipped < length {
        return Err(damaged("it ends too early"));
    }
    Ok(length)
}
