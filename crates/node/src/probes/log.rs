//! Lines of a log since a run began.
//!
//! Where the log stood is written down when the run first asks for it. A log that was rotated since is read on in the file that
//! has taken its place, after the rest of the one that was moved to `NAME.1`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use regex::RegexSet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use upshift_model::probe::LogProbe;

use crate::error::{Context, NodeError, Result};
use crate::layout::{Layout, make_directory};
use crate::{digest, durable};

/// The most lines that are shown; all are counted.
const SHOWN: usize = 50;
/// The longest line that is looked at whole.
const LINE: u64 = 64 * 1024;
/// The most characters of a line that are shown.
const WIDTH: usize = 500;

/// Where a log stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    inode: u64,
    offset: u64,
}

pub fn look(layout: &Layout, run: Option<&str>, probe: &LogProbe) -> Result<Value> {
    let patterns = RegexSet::new(&probe.patterns).map_err(|error| NodeError::refused(error.to_string()))?;
    let mut found = Found::default();
    for (path, mark) in logs(layout, run, Path::new(&probe.path))? {
        let cannot = || format!("cannot read {}", path.display());
        for (file, offset) in files(&path, mark).context(cannot)? {
            search(file, offset, &patterns, &mut found).context(cannot)?;
        }
    }
    Ok(json!({ "matches": found.shown, "count": found.count }))
}

/// The logs that are meant, and where each stood when the run began.
fn logs(layout: &Layout, run: Option<&str>, path: &Path) -> Result<Vec<(PathBuf, Mark)>> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if !name.contains('*') {
        let mark = run.map_or(Ok(Mark::default()), |run| mark(layout, run, path))?;
        return Ok(vec![(path.to_owned(), mark)]);
    }
    let now = matching(path, &name)?;
    let marks = match run {
        Some(run) => marks(layout, run, path, &now)?,
        None => BTreeMap::new(),
    };
    // A log keeps its mark when a rotation gives it another name. One that has come since is read from its beginning.
    let marked = |path: PathBuf| {
        let Mark { inode, .. } = stands(&path)?;
        let known = marks.values().find(|mark| mark.inode == inode);
        Ok((path, known.copied().unwrap_or_default()))
    };
    now.into_iter().map(marked).collect()
}

/// The files whose name fits, in the order of their names.
pub(super) fn matching(path: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let pieces: Vec<&str> = pattern.split('*').collect();
    let directory = path.parent().unwrap_or(Path::new("/"));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(|| format!("cannot list {}", directory.display())),
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| fits(&entry.file_name().to_string_lossy(), &pieces))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    Ok(found)
}

/// Whether a name consists of these pieces with anything between them.
pub(crate) fn fits(name: &str, pieces: &[&str]) -> bool {
    let (Some((first, rest)), true) = (pieces.split_first(), pieces.len() > 1) else {
        return false;
    };
    let Some(mut left) = name.strip_prefix(first) else {
        return false;
    };
    let (last, middle) = rest.split_last().unwrap_or((&"", &[]));
    for piece in middle {
        let Some(at) = left.find(piece) else { return false };
        left = &left[at + piece.len()..];
    }
    left.ends_with(last)
}

/// Where the logs stood when the run first asked for them.
fn marks(layout: &Layout, run: &str, path: &Path, now: &[PathBuf]) -> Result<BTreeMap<PathBuf, Mark>> {
    let (directory, record) = record(layout, run, path)?;
    if let Some(marks) = durable::read_json(&record)? {
        return Ok(marks);
    }
    let mut marks = BTreeMap::new();
    for path in now {
        marks.insert(path.clone(), stands(path)?);
    }
    make_directory(&directory, 0o700)?;
    durable::write_json(&record, &marks)?;
    Ok(marks)
}

/// The file in which it is kept where a log stood, and its directory.
fn record(layout: &Layout, run: &str, path: &Path) -> Result<(PathBuf, PathBuf)> {
    let directory = layout.run(run)?.join("logs");
    let name = digest::of_bytes(path.as_os_str().as_encoded_bytes());
    let record = directory.join(format!("{name}.json"));
    Ok((directory, record))
}

/// Where the log stood when the run first asked. A log that did not exist then is read from its beginning.
fn mark(layout: &Layout, run: &str, path: &Path) -> Result<Mark> {
    let (directory, record) = record(layout, run, path)?;
    if let Some(mark) = durable::read_json(&record)? {
        return Ok(mark);
    }
    let mark = stands(path)?;
    make_directory(&directory, 0o700)?;
    durable::write_json(&record, &mark)?;
    Ok(mark)
}

/// Where a log stands now.
fn stands(path: &Path) -> Result<Mark> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Mark {
            inode: metadata.ino(),
            offset: metadata.len(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Mark::default()),
        Err(error) => Err(error).context(|| format!("cannot read {}", path.display())),
    }
}

/// The files to be searched, and from where.
fn files(path: &Path, mark: Mark) -> io::Result<Vec<(File, u64)>> {
    let open = |path: &Path| match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let mut files = Vec::new();
    let now = open(path)?;
    let is_marked = |file: &File| file.metadata().is_ok_and(|metadata| metadata.ino() == mark.inode);
    if !now.as_ref().is_some_and(is_marked) && mark.inode != 0 {
        let mut rotated = path.as_os_str().to_owned();
        rotated.push(".1");
        files.extend(
            open(Path::new(&rotated))?
                .filter(is_marked)
                .map(|file| (file, mark.offset)),
        );
    }
    if let Some(now) = now {
        let grown = is_marked(&now) && now.metadata()?.len() >= mark.offset;
        files.push((now, if grown { mark.offset } else { 0 }));
    }
    Ok(files)
}

#[derive(Default)]
struct Found {
    shown: Vec<String>,
    count: u64,
}

fn search(mut file: File, offset: u64, patterns: &RegexSet, found: &mut Found) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if patterns.is_match(text) {
            found.count += 1;
            if found.shown.len() < SHOWN {
                found.shown.push(text.chars().take(WIDTH).collect());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn append(path: &Path, text: &str) {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    #[test]
    fn only_lines_since_the_run_began_count_also_over_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&directory.path().join("state")).unwrap();
        let path = directory.path().join("server.log");
        let probe = LogProbe {
            path: path.to_str().unwrap().to_owned(),
            patterns: vec!["panic".to_owned(), "^FATAL".to_owned()],
        };
        let count = |run: Option<&str>| look(&layout, run, &probe).unwrap()["count"].as_u64().unwrap();
        append(&path, "FATAL before\n");
        assert_eq!(count(Some("r1")), 0);
        append(&path, "all is well\nFATAL during\nnot FATAL\ngoroutine panic\n");
        assert_eq!(
            look(&layout, Some("r1"), &probe).unwrap()["matches"],
            json!(["FATAL during", "goroutine panic"])
        );
        assert_eq!(count(Some("r2")), 0);
        assert_eq!(count(None), 3);
        fs::rename(&path, directory.path().join("server.log.1")).unwrap();
        append(&path, "FATAL after\n");
        assert_eq!(count(Some("r1")), 3);
        fs::write(&path, "").unwrap();
        append(&path, "FATAL\n");
        assert_eq!(
            count(Some("r1")),
            3,
            "a log that was cut off is read from its beginning"
        );
    }

    #[test]
    fn a_star_stands_for_all_logs_also_those_that_come_later() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&directory.path().join("state")).unwrap();
        let probe = LogProbe {
            path: directory.path().join("emqx.log.*").to_str().unwrap().to_owned(),
            patterns: vec!["error".to_owned()],
        };
        let count = || {
            look(&layout, Some("r"), &probe).unwrap()["count"]
                .as_u64()
                .unwrap()
        };
        append(&directory.path().join("emqx.log.1"), "error before\n");
        append(&directory.path().join("emqx.log.siz"), "x");
        append(&directory.path().join("other.log.1"), "error elsewhere\n");
        assert_eq!(count(), 0);
        append(&directory.path().join("emqx.log.1"), "error since\n");
        append(&directory.path().join("emqx.log.2"), "error in a new one\n");
        assert_eq!(count(), 2);
    }

    #[test]
    fn logs_that_move_up_by_a_number_are_read_on_under_their_new_names() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&directory.path().join("state")).unwrap();
        let log = |number: u32| directory.path().join(format!("emqx.log.{number}"));
        let probe = LogProbe {
            path: directory.path().join("emqx.log.*").to_str().unwrap().to_owned(),
            patterns: vec!["error".to_owned()],
        };
        let count = || look(&layout, Some("r"), &probe).unwrap()["count"].as_u64();
        append(&log(1), "error before\n");
        append(&log(2), "error long before\n");
        assert_eq!(count(), Some(0));
        append(&log(1), "error since\n");
        fs::rename(log(2), log(3)).unwrap();
        fs::rename(log(1), log(2)).unwrap();
        append(&log(1), "error in a new one\n");
        assert_eq!(
            count(),
            Some(2),
            "what was there before does not count under another name"
        );
    }

    #[test]
    fn names_fit_their_patterns() {
        let fit = |name: &str, pattern: &str| fits(name, &pattern.split('*').collect::<Vec<_>>());
        assert!(fit("emqx.log.1", "emqx.log.*") && fit("a-b-c", "a*b*c") && fit("x", "*"));
        assert!(!fit("emqx.log", "emqx.log.*") && !fit("ac", "a*b*c") && !fit("a-b-d", "a*b*c"));
    }

    #[test]
    fn a_log_that_comes_later_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&directory.path().join("state")).unwrap();
        let path = directory.path().join("new.log");
        let probe = LogProbe {
            path: path.to_str().unwrap().to_owned(),
            patterns: vec!["x".to_owned()],
        };
        assert_eq!(
            look(&layout, Some("r"), &probe).unwrap(),
            json!({"matches": [], "count": 0})
        );
        append(&path, "x\n");
        assert_eq!(look(&layout, Some("r"), &probe).unwrap()["count"], 1);
    }
}
