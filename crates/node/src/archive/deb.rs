//! Debian packages: an `ar` file whose member `data.tar` (compressed in one of several ways) holds the files.

use std::io::{self, BufRead, BufReader, Read};

use super::{ArchiveError, Tree, damaged, decompress, tarball};

const MAGIC: usize = 8;
const HEADER: usize = 60;

pub fn unpack(reader: &mut impl BufRead, tree: &mut Tree) -> Result<(), ArchiveError> {
    tree.system_package = true;
    reader.read_exact(&mut [0; MAGIC]).map_err(damaged)?;
    loop {
        let mut header = [0; HEADER];
        reader
            .read_exact(&mut header)
            .map_err(|_| damaged("it has no member data.tar"))?;
        if &header[58..] != b"`\n" {
            return Err(damaged("the header of a member is wrong"));
        }
        let text =
            |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim_end().to_owned();
        let size: u64 = text(48..58).parse().map_err(damaged)?;
        let mut member = reader.take(size);
        if text(0..16).starts_with("data.tar") {
            tarball::unpack(decompress(BufReader::new(&mut member))?, tree)?;
            return if member.limit() == 0 {
                Ok(())
            } else {
                Err(damaged("it ends too early"))
            };
        }
        io::copy(&mut member, &mut io::sink()).map_err(damaged)?;
        if size % 2 == 1 {
            reader.read_exact(&mut [0]).map_err(damaged)?;
        }
    }
}
