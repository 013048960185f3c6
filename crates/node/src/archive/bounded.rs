//! A tar stream whose names and extended headers are bounded.
//!
//! They lie in the stream as entries of their own, of any size, and are read into memory whole by who reads the archive: a
//! few kilobytes of compressed zeros could otherwise fill a host's memory. This reader passes the stream on as it is, follows
//! its headers, and ends it where one announces too much.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

const BLOCK: usize = 512;
/// The longest name; the system allows 4,096 bytes.
const LONGEST_NAME: u64 = 64 * 1024;
/// The largest extended header.
const LARGEST_HEADER: u64 = 1024 * 1024;

/// See the module.
pub struct Bounded<R> {
    inner: R,
    expected: Expected,
    block: Vec<u8>,
    /// The size that an extended header gives to the entry that follows.
    size: Option<u64>,
}

enum Expected {
    Header,
    /// A block that continues the header of a sparse file; after the last one, so many bytes follow.
    SparseHeader(u64),
    /// The contents of an extended header, of this many bytes without padding.
    Extensions(u64),
    /// So many more bytes that are none of its business.
    Contents(u64),
}

impl<R: Read> Bounded<R> {
    pub fn new(inner: R) -> Self {
        Bounded {
            inner,
            expected: Expected::Header,
            block: Vec::with_capacity(BLOCK),
            size: None,
        }
    }

    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wanted = match self.expected {
                Expected::Contents(left) => {
                    let skipped = left.min(bytes.len() as u64);
                    bytes = &bytes[skipped as usize..];
                    self.expected = match left - skipped {
                        0 => Expected::Header,
                        left => Expected::Contents(left),
                    };
                    continue;
                }
                Expected::Header | Expected::SparseHeader(_) => BLOCK,
                Expected::Extensions(size) => padded(size) as usize,
            };
            let taken = (wanted - self.block.len()).min(bytes.len());
            self.block.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.block.len() == wanted {
                let block = std::mem::take(&mut self.block);
                self.expected = self.after(&block)?;
            }
        }
        Ok(())
    }

    /// What follows a block that is complete.
    fn after(&mut self, block: &[u8]) -> io::Result<Expected> {
        match self.expected {
            Expected::Extensions(size) => {
                let extensions = PaxExtensions::new(&block[..size as usize]);
                let sizes = extensions.flatten().filter(|one| one.key_bytes() == b"size");
                let last = sizes.filter_map(|one| one.value().ok()?.parse().ok()).last();
                self.size = last.or(self.size);
                Ok(Expected::Header)
            }
            // Whether one more block follows, as the format has it.
            Expected::SparseHeader(size) if block[504] == 1 => Ok(Expected::SparseHeader(size)),
            Expected::SparseHeader(size) => Ok(contents(size)),
            Expected::Header | Expected::Contents(_) => self.header(block),
        }
    }

    fn header(&mut self, block: &[u8]) -> io::Result<Expected> {
        if block.iter().all(|byte| *byte == 0) {
            // The archive ends here, whatever follows.
            return Ok(Expected::Contents(u64::MAX));
        }
        let header = Header::from_byte_slice(block);
        // What is no header is for the reader of the archive to refuse.
        let size = header.entry_size().unwrap_or(0);
        let limit = match header.entry_type() {
            EntryType::GNULongName | EntryType::GNULongLink => LONGEST_NAME,
            EntryType::XHeader | EntryType::XGlobalHeader => LARGEST_HEADER,
            kind => {
                let size = self.size.take().unwrap_or(size);
                return Ok(match kind {
                    EntryType::GNUSparse if block[482] == 1 => Expected::SparseHeader(size),
                    _ => contents(size),
                });
            }
        };
        if size > limit {
            let words = format!("a name or header of {size} bytes is larger than the {limit} allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        Ok(match header.entry_type() {
            EntryType::XHeader if size > 0 => Expected::Extensions(size),
            _ => contents(size),
        })
    }
}

fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64)
}

fn contents(size: u64) -> Expected {
    match padded(size) {
        0 => Expected::Header,
        padded => Expected::Contents(padded),
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.follow(&buffer[..count])?;
        Ok(count)
    }
}
