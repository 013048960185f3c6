//! Sparse files in tar archives of the POSIX format, as GNU tar writes them: the archive holds the parts of a file that are
//! not empty, and says where they belong.
//!
//! Three ways to say so exist (GNU tar's manual, "Storing Sparse Files"): 0.0 and 0.1 in the extended header, 1.0 in front of
//! the contents.

use std::collections::VecDeque;
use std::io::{self, Read};

use tar::PaxExtensions;

use super::{ArchiveError, damaged};

const BLOCK: usize = 512;
/// The most bytes of a map in front of the contents.
const LARGEST_MAP: usize = 1024 * 1024;

/// What an extended header says of a sparse file.
#[derive(Debug, Default)]
pub struct Sparse {
    /// The file's own name; the entry's is made up.
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    /// Offset and length of each part, one after the other.
    map: Vec<u64>,
}

impl Sparse {
    /// Reads an extended header; nothing where the file is not sparse.
    ///
    /// # Errors
    /// Where it is said in a way that is not known.
    pub fn read(extensions: PaxExtensions<'_>) -> Result<Option<Sparse>, ArchiveError> {
        let mut sparse = None;
        for extension in extensions {
            let extension = extension.map_err(damaged)?;
            let Some(key) = extension.key_bytes().strip_prefix(b"GNU.sparse.") else {
                continue;
            };
            let sparse = sparse.get_or_insert_with(Sparse::default);
            let number = || -> Result<u64, ArchiveError> {
                extension
                    .value()
                    .map_err(damaged)?
                    .parse::<u64>()
                    .map_err(damaged)
            };
            match key {
                b"name" => sparse.name = Some(extension.value_bytes().to_vec()),
                b"size" | b"realsize" => sparse.size = Some(number()?),
                b"major" => sparse.major = Some(number()?),
                b"minor" => sparse.minor = Some(number()?),
                b"offset" | b"numbytes" => sparse.map.push(number()?),
                b"map" => {
                    let numbers = extension.value().map_err(damaged)?.split(',');
                    sparse.map = numbers
                        .map(str::parse::<u64>)
                        .collect::<Result<Vec<u64>, _>>()
                        .map_err(damaged)?;
                }
                b"numblocks" => {}
                other => {
                    let key = String::from_utf8_lossy(other)
                        .chars()
                        .take(40)
                        .collect::<String>();
                    return Err(damaged(format!("GNU.sparse.{key} is not known")));
                }
            }
        }
        Ok(sparse)
    }

    /// The whole file, with its empty parts, from the `packed_size` bytes that the archive holds of it.
    ///
    /// # Errors
    /// Where the map makes no sense.
    pub fn contents<R: Read>(self, mut packed: R, packed_size: u64) -> Result<Whole<R>, ArchiveError> {
        let (map, map_size) = match (self.major, self.minor) {
            (None | Some(0), None | Some(0 | 1)) => (self.map, 0),
            (Some(1), None | Some(0)) => read_map(&mut packed)?,
            (major, minor) => {
                let version = format!("{}.{}", major.unwrap_or(0), minor.unwrap_or(0));
                return Err(damaged(format!(
                    "sparse files of the format {version} are not known"
                )));
            }
        };
        let size = self
            .size
            .ok_or_else(|| damaged("the size of a sparse file is missing"))?;
        let wrong = || damaged("the map of a sparse file makes no sense");
        let mut parts = VecDeque::new();
        let (mut end, mut held) = (0, map_size);
        for part in map.chunks(2) {
            let &[offset, length] = part else {
                return Err(wrong());
            };
            let after = offset.checked_add(length).ok_or_else(wrong)?;
            if offset < end || after > size {
                return Err(wrong());
            }
            end = after;
            held = length.checked_add(held).ok_or_else(wrong)?;
            parts.push_back((offset, length));
        }
        // What the map does not place would be left out in silence.
        if held != packed_size {
            return Err(wrong());
        }
        Ok(Whole {
            packed,
            parts,
            at: 0,
            size,
        })
    }
}

/// The map in front of the contents, and its bytes: numbers on lines of their own, how many parts there are first, padded to a
/// whole block.
fn read_map(packed: &mut impl Read) -> Result<(Vec<u64>, u64), ArchiveError> {
    let mut numbers = Vec::new();
    let mut digits = String::new();
    let mut read = 0;
    loop {
        let mut block = [0; BLOCK];
        packed.read_exact(&mut block).map_err(damaged)?;
        read += BLOCK;
        for byte in block {
            let expected = numbers
                .first()
                .map(|parts: &u64| parts.saturating_mul(2).saturating_add(1));
            match byte {
                _ if expected == Some(numbers.len() as u64) => break,
                b'\n' => {
                    numbers.push(digits.parse::<u64>().map_err(damaged)?);
                    digits.clear();
                }
                digit @ b'0'..=b'9' => digits.push(digit as char),
                _ => return Err(damaged("the map of a sparse file makes no sense")),
            }
        }
        let expected = numbers
            .first()
            .map(|parts| parts.saturating_mul(2).saturating_add(1));
        if expected == Some(numbers.len() as u64) {
            return Ok((numbers.split_off(1), read as u64));
        }
        if read >= LARGEST_MAP {
            return Err(damaged("the map of a sparse file is too large"));
        }
    }
}

/// A sparse file from its parts.
pub struct Whole<R> {
    packed: R,
    parts: VecDeque<(u64, u64)>,
    at: u64,
    size: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self
            .parts
            .front()
            .is_some_and(|(offset, length)| self.at == offset + length)
        {
            self.parts.pop_front();
        }
        let (until, is_empty) = match self.parts.front() {
            Some((offset, _)) if self.at < *offset => (*offset, true),
            Some((offset, length)) => (offset + length, false),
            None => (self.size, true),
        };
        let wanted = (until - self.at).min(buffer.len() as u64) as usize;
        let count = if is_empty {
            buffer[..wanted].fill(0);
            wanted
        } else {
            match self.packed.read(&mut buffer[..wanted])? {
                0 if wanted > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => count,
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}
