//! A gzip file of records, each behind its length: read to the end, because only that shows that nothing is missing.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use super::log;
use crate::digest;
use crate::error::{Context, NodeError, Result};

/// A length takes no more bytes than this.
const LENGTH_BYTES: u32 = 5;

pub fn look(pattern: &str) -> Result<Value> {
    let Some(path) = the_one(pattern)? else {
        return Ok(json!({
            "exists": false, "whole": false, "records": 0, "bytes": 0, "sha256": null, "reason": null
        }));
    };
    let cannot_read = || format!("cannot read {}", path.display());
    let file = File::open(&path).context(cannot_read)?;
    let bytes = file.metadata().context(cannot_read)?.len();
    let (records, outcome) = count(BufReader::new(MultiGzDecoder::new(BufReader::new(file))));
    Ok(json!({
        "exists": true,
        "whole": outcome.is_ok(),
        "records": records,
        "bytes": bytes,
        "sha256": digest::of_file(&path).context(cannot_read)?,
        "reason": outcome.err().map(|error| error.to_string()),
    }))
}

/// The file that is meant; nothing where there is none.
fn the_one(pattern: &str) -> Result<Option<PathBuf>> {
    let path = Path::new(pattern);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if !name.contains('*') {
        return Ok(path.exists().then(|| path.to_owned()));
    }
    let found = log::matching(path, name)?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => Err(NodeError::refused(format!(
            "{pattern} stands for {} files, and one is meant",
            several.len()
        ))),
    }
}

/// The number of whole records, and how the file ends.
fn count(mut source: impl Read) -> (u64, io::Result<()>) {
    let mut records = 0;
    loop {
        match skip_record(&mut source) {
            Ok(true) => records += 1,
            Ok(false) => return (records, Ok(())),
            Err(error) => return (records, Err(error)),
        }
    }
}

/// Reads past one record; false at the end of the file.
fn skip_record(source: &mut impl Read) -> io::Result<bool> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut length = 0_u64;
    for position in 0..LENGTH_BYTES {
        let mut byte = [0];
        if source.read(&mut byte)? == 0 {
            return match position {
                0 => Ok(false),
                _ => Err(invalid("the file ends inside a record's length")),
            };
        }
        length |= u64::from(byte[0] & 0x7f) << (7 * position);
        if byte[0] & 0x80 == 0 {
            let read = io::copy(&mut source.take(length), &mut io::sink())?;
            return match read == length {
                true => Ok(true),
                false => Err(invalid("the file ends inside a record")),
            };
        }
    }
    Err(invalid("what should be a record's length is none"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(contents: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(contents).unwrap();
        encoder.finish().unwrap()
    }

    fn records(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for length in lengths {
            let mut rest = *length;
            while rest >= 0x80 {
                bytes.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            bytes.resize(bytes.len() + length, 7);
        }
        bytes
    }

    #[test]
    fn records_are_counted_and_what_is_cut_off_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let pattern = directory.path().join("backup-*.gz");
        let look = || look(pattern.to_str().unwrap());
        assert_eq!(look().unwrap()["exists"], false);

        let whole = packed(&records(&[0, 5, 200, 70_000]));
        let file = directory.path().join("backup-1.gz");
        std::fs::write(&file, &whole).unwrap();
        let seen = look().unwrap();
        assert_eq!((&seen["whole"], &seen["records"]), (&json!(true), &json!(4)));

        // Cut anywhere: no length of the file but the whole passes.
        for length in [0, 10, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
            std::fs::write(&file, &whole[..length]).unwrap();
            let seen = look().unwrap();
            let passes = seen["whole"] == true && seen["records"] == 4;
            assert!(!passes, "{length}: {seen}");
        }
        // A flipped bit, and a record that is not complete inside a gzip file that is.
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        std::fs::write(&file, &flipped).unwrap();
        assert_eq!(look().unwrap()["whole"], false);
        let short = records(&[5, 9]);
        std::fs::write(&file, packed(&short[..short.len() - 1])).unwrap();
        let seen = look().unwrap();
        assert_eq!((&seen["whole"], &seen["records"]), (&json!(false), &json!(1)));

        std::fs::write(directory.path().join("backup-2.gz"), whole).unwrap();
        assert!(look().is_err(), "two files");
    }
}
