//! A small value in a file of two halves, overwritten in place.
//!
//! A change goes to the half that holds the older value, so a crash in the middle of it leaves the newer one to be read. It takes no room
//! on the disk and changes nothing but the contents of the file: a guard can be renewed and disarmed on a disk that is full. (A file
//! system that copies what is written, as Btrfs and ZFS do, may refuse all the same.)
//!
//! A half is a line of a checksum, the number of the change, and JSON; zeros follow. Whoever writes must hold a lock that keeps other
//! writers away; whoever reads needs none.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::durable::{self, checksum};
use crate::error::{Context, NodeError, Result};

/// Halves are multiples of this, in bytes.
const UNIT: usize = 2048;
/// Room that a new file has for values which grow later, such as the reason of a failure.
const TO_GROW: usize = 1024;

/// A line that was found whole.
struct Line<'a> {
    offset: usize,
    number: u64,
    json: &'a str,
}

/// The newest value; nothing where the file does not exist.
///
/// # Errors
/// Where it cannot be read, or holds no whole value.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(bytes) = contents(path)? else {
        return Ok(None);
    };
    let line = newest(&bytes).ok_or_else(|| {
        NodeError::refused(format!("{} is damaged: no line of it is whole", path.display()))
    })?;
    serde_json::from_str(line.json)
        .map(Some)
        .map_err(|error| NodeError::refused(format!("{} is damaged: {error}", path.display())))
}

/// Writes a value. Where it does not fit the file that is there, or there is none, a new file takes its place.
///
/// # Errors
/// Where it cannot be written; the last value is still there then.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let json =
        serde_json::to_string(value).map_err(|error| NodeError::refused(format!("{}: {error}", failed())))?;
    let bytes = contents(path)?.unwrap_or_default();
    let last = newest(&bytes);
    let words = format!("{} {json}", last.as_ref().map_or(1, |last| last.number + 1));
    let mut line = format!("{:08x} {words}\n", checksum(&words)).into_bytes();
    let half = bytes.len() / 2;
    match last {
        Some(last) if line.len() <= half => {
            line.resize(half, 0);
            let offset = if last.offset == 0 { half } else { 0 };
            let file = OpenOptions::new().write(true).open(path).context(failed)?;
            file.write_all_at(&line, offset as u64)
                .and_then(|()| file.sync_data())
                .context(failed)
        }
        _ => {
            line.resize(2 * (line.len() + TO_GROW).next_multiple_of(UNIT), 0);
            durable::write(path, &line)
        }
    }
}

fn contents(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("cannot read {}", path.display())),
    }
}

fn newest(bytes: &[u8]) -> Option<Line<'_>> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let lines = [line(first, 0), line(second, first.len())];
    lines.into_iter().flatten().max_by_key(|line| line.number)
}

/// The line that a half begins with. One that was cut short has no valid checksum.
fn line(half: &[u8], offset: usize) -> Option<Line<'_>> {
    let end = half.iter().position(|byte| *byte == b'\n')?;
    let (sum, words) = std::str::from_utf8(&half[..end]).ok()?.split_once(' ')?;
    let (number, json) = words.split_once(' ')?;
    (u32::from_str_radix(sum, 16) == Ok(checksum(words))).then_some(Line {
        offset,
        number: number.parse().ok()?,
        json,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_overwritten_in_the_same_file_until_they_do_not_fit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        assert_eq!(read::<String>(&path).unwrap(), None);
        write(&path, &"first").unwrap();
        let (file, size) = (
            fs::metadata(&path).unwrap().ino(),
            fs::metadata(&path).unwrap().len(),
        );
        for number in 0..5 {
            write(&path, &"x".repeat(number * 200)).unwrap();
            assert_eq!(read::<String>(&path).unwrap(), Some("x".repeat(number * 200)));
        }
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.len()), (file, size), "in place");
        write(&path, &"y".repeat(10_000)).unwrap();
        write(&path, &"short").unwrap();
        assert_eq!(read::<String>(&path).unwrap().as_deref(), Some("short"));
        assert!(fs::metadata(&path).unwrap().len() > 20_000);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_whole_line_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        fs::write(&path, [0; 4096]).unwrap();
        let error = read::<String>(&path).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        write(&path, &"new").unwrap();
        assert_eq!(read::<String>(&path).unwrap().as_deref(), Some("new"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_change_that_a_crash_has_cut_short_leaves_the_last_value(
            length in 0usize..900,
            cut in 0usize..2048,
            garbage in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("record");
            write(&path, &"one").unwrap();
            write(&path, &"two").unwrap();
            let before = fs::read(&path).unwrap();
            write(&path, &"3".repeat(length)).unwrap();
            let whole = fs::read(&path).unwrap();
            let mut torn = whole.clone();
            // The third change went to the first half. It was cut short there, and something else stands behind.
            let line = torn.iter().position(|byte| *byte == b'\n').unwrap();
            let begin = cut % (line + 1);
            torn[begin..2048].copy_from_slice(&before[begin..2048]);
            let end = (begin + garbage.len()).min(2048);
            torn[begin..end].copy_from_slice(&garbage[..end - begin]);
            fs::write(&path, &torn).unwrap();
            // What stands behind may be the very bytes that were missing; then the change has come to its end.
            let last = if torn[..=line] == whole[..=line] { "3".repeat(length) } else { "two".to_owned() };
            prop_assert_eq!(read::<String>(&path).unwrap(), Some(last));
            write(&path, &"four").unwrap();
            prop_assert_eq!(read::<String>(&path).unwrap(), Some("four".to_owned()));
        }
    }
}
