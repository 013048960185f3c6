//! What a member has on disk: the log, and the term with its vote. Everything is synchronised before it is answered for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Term of the leader that made it.
    pub term: u64,
    /// What it does.
    pub change: Change,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// Nothing: a new leader's first entry.
    Nothing,
    /// Sets a key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The cluster version rises.
    ClusterVersion(String),
}

/// The vote of a term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ballot {
    /// The newest term seen.
    pub term: u64,
    /// Whom this member voted for in it.
    pub vote: Option<String>,
}

/// The directory of a member.
pub(super) struct Disk {
    directory: PathBuf,
    file: File,
    entries: Vec<Entry>,
    /// Where each entry begins in the file, and where the last one ends.
    offsets: Vec<u64>,
}

impl Disk {
    /// Opens a data directory, making it where there is none. A last line that was cut off by a crash is dropped: it was
    /// never answered for.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join("log");
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)?;
        let (mut entries, mut offsets) = (Vec::new(), vec![0]);
        let mut reader = BufReader::new(File::open(&path)?);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            let Ok(entry) = serde_json::from_str(&line) else {
                break;
            };
            entries.push(entry);
            offsets.push(offsets[offsets.len() - 1] + line.len() as u64);
            line.clear();
        }
        file.set_len(offsets[offsets.len() - 1])?;
        file.seek(io::SeekFrom::End(0))?;
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
        Ok(Disk {
            directory: directory.to_owned(),
            file,
            entries,
            offsets,
        })
    }

    /// Number of entries; the first has the number 1.
    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Term of an entry; 0 before the first.
    pub fn term_of(&self, index: u64) -> Option<u64> {
        match index {
            0 => Some(0),
            _ => self.get(index).map(|entry| entry.term),
        }
    }

    /// An entry by its number.
    pub fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// Entries after a number, at most so many.
    pub fn after(&self, index: u64, most: usize) -> Vec<Entry> {
        self.entries
            .iter()
            .skip(usize::try_from(index).unwrap_or(usize::MAX))
            .take(most)
            .cloned()
            .collect()
    }

    /// Appends entries, durably.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        let mut offsets = Vec::with_capacity(entries.len());
        let end = self.offsets[self.offsets.len() - 1];
        for entry in entries {
            text.push_str(&serde_json::to_string(entry)?);
            text.push('\n');
            offsets.push(end + text.len() as u64);
        }
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()?;
        self.entries.extend_from_slice(entries);
        self.offsets.extend(offsets);
        Ok(())
    }

    /// Drops the entries after a number.
    pub fn truncate(&mut self, index: u64) -> io::Result<()> {
        let keep = usize::try_from(index).unwrap_or(usize::MAX);
        if keep < self.entries.len() {
            self.entries.truncate(keep);
            self.offsets.truncate(keep + 1);
            self.file.set_len(self.offsets[keep])?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// The vote on disk.
    pub fn ballot(&self) -> io::Result<Ballot> {
        self.read("ballot").map(Option::unwrap_or_default)
    }

    /// Writes the vote, durably.
    pub fn write_ballot(&self, ballot: &Ballot) -> io::Result<()> {
        self.write("ballot", ballot)
    }

    /// The format of the data on disk; none in a new directory.
    pub fn format(&self) -> io::Result<Option<u32>> {
        self.read("format")
    }

    /// Writes the format, durably.
    pub fn write_format(&self, format: u32) -> io::Result<()> {
        self.write("format", &format)
    }

    /// Whether service is paused, which outlasts a restart.
    pub fn paused(&self) -> bool {
        self.directory.join("paused").exists()
    }

    /// Pauses service, or takes it up again, durably.
    pub fn pause(&self, paused: bool) -> io::Result<()> {
        if paused {
            return self.write("paused", &true);
        }
        match fs::remove_file(self.directory.join("paused")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => File::open(&self.directory)?.sync_all(),
        }
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.directory.join(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let temporary = self.directory.join(format!("{name}.new"));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(temporary, self.directory.join(name))?;
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(term: u64, key: &str) -> Entry {
        Entry {
            term,
            change: Change::Put {
                key: key.to_owned(),
                value: "v".to_owned(),
            },
        }
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart_and_a_torn_line_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(directory.path()).unwrap();
        disk.append(&[put(1, "a"), put(1, "b"), put(2, "c")]).unwrap();
        disk.truncate(2).unwrap();
        disk.append(&[put(3, "d")]).unwrap();
        disk.write_ballot(&Ballot {
            term: 3,
            vote: Some("x".to_owned()),
        })
        .unwrap();
        drop(disk);
        let path = directory.path().join("log");
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"term\":4,\"chan");
        fs::write(&path, text).unwrap();
        let mut disk = Disk::open(directory.path()).unwrap();
        assert_eq!(
            (disk.last(), disk.term_of(3), disk.term_of(4)),
            (3, Some(3), None)
        );
        assert_eq!(disk.ballot().unwrap().term, 3);
        disk.append(&[put(4, "e")]).unwrap();
        disk.pause(true).unwrap();
        drop(disk);
        let disk = Disk::open(directory.path()).unwrap();
        assert_eq!(disk.after(2, 10), [put(3, "d"), put(4, "e")]);
        assert!(disk.paused());
        disk.pause(false).unwrap();
        disk.pause(false).unwrap();
        assert!(!disk.paused());
    }
}
