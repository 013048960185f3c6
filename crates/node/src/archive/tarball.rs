//! Tar archives.

use std::io::{self, Read};

use tar::{Archive, EntryType};

use super::bounded::Bounded;
use super::sparse::Sparse;
use super::{ArchiveError, Tree, damaged, shown};

pub fn unpack(reader: impl Read, tree: &mut Tree) -> Result<(), ArchiveError> {
    let mut archive = Archive::new(Bounded::new(reader));
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path_bytes().into_owned();
        let mode = entry.header().mode().map_err(damaged)?;
        let target = entry
            .link_name_bytes()
            .map(std::borrow::Cow::into_owned)
            .unwrap_or_default();
        let sparse = match entry.pax_extensions().map_err(damaged)? {
            Some(extensions) => Sparse::read(extensions)?,
            None => None,
        };
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous if sparse.is_some() => {
                let sparse = sparse.unwrap_or_default();
                let name = sparse.name.clone().unwrap_or(name);
                let packed_size = entry.size();
                tree.file(&name, mode, &mut sparse.contents(&mut entry, packed_size)?)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                tree.file(&name, mode, &mut entry)?;
            }
            EntryType::Directory => tree.directory(&name, mode)?,
            EntryType::Symlink => tree.link(&name, &target)?,
            EntryType::Link => tree.hard_link(&name, &target)?,
            EntryType::XGlobalHeader => {}
            _ => return Err(ArchiveError::Special(shown(&name))),
        }
    }
    // Checksums of the compression stand at its end.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    Ok(())
}
