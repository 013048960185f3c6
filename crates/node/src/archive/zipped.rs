//! Zip files.

use std::io::{Read, Seek};

use zip::ZipArchive;

use super::{ArchiveError, Tree, damaged, shown};

/// Kinds of files in the upper bits of a mode.
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const FILE: u32 = 0o100_000;
/// The longest target of a link.
const LONGEST_TARGET: u64 = 4096;

pub fn unpack(reader: impl Read + Seek, tree: &mut Tree) -> Result<(), ArchiveError> {
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name_raw().to_vec();
        let mode = entry.unix_mode();
        match mode.map_or(0, |mode| mode & KIND) {
            _ if entry.is_dir() => tree.directory(&name, mode.unwrap_or(0o755))?,
            DIRECTORY => tree.directory(&name, mode.unwrap_or(0o755))?,
            LINK => {
                let mut target = Vec::new();
                entry
                    .by_ref()
                    .take(LONGEST_TARGET)
                    .read_to_end(&mut target)
                    .map_err(damaged)?;
                tree.link(&name, &target)?;
            }
            FILE | 0 => tree.file(
                &name,
                mode.filter(|mode| mode & 0o777 != 0).unwrap_or(0o644),
                &mut entry,
            )?,
            _ => return Err(ArchiveError::Special(shown(&name))),
        }
    }
    Ok(())
}
