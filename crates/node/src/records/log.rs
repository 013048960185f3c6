//! The attempts of one run on this host, in a file that is only ever written further.
//!
//! The file is set aside in advance, filled with zeros, and each line is written into it in place; that an attempt is begun is
//! durable before anything is done. That changes nothing that the file system would have to write down elsewhere, so it stays
//! cheap on a host whose disk is busy with a database; a new file per attempt, made durable with its directory, was measured
//! at seven times as much.
//!
//! A line is a checksum, `begun` or `ended`, numbers, and JSON. What follows the last whole line, a line cut short by a crash or
//! zeros, does not count: whoever wrote it has not gone on.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use upshift_host::orders::Ledger;
use upshift_model::action::Report;

use super::{Attempt, Begun, Place};
use crate::clock;
use crate::durable::{self, checksum};
use crate::error::{Context, NodeError, Result};
use crate::layout::{Layout, make_directory};

/// Bytes that are set aside at a time: some hundred attempts.
const SET_ASIDE: u64 = 64 * 1024;

/// The attempts of one run. Written only while orders are locked.
#[derive(Debug)]
pub struct RunLog {
    path: PathBuf,
    /// The whole lines.
    text: String,
}

/// What a line survives once it is written.
#[derive(Clone, Copy)]
enum Lasting {
    /// Everything.
    Always,
    /// The end of any process. The next line that lasts always makes it last, too.
    UntilTheHostDies,
}

/// How an attempt ended.
#[derive(Serialize, Deserialize)]
struct Ended {
    report: Report,
    /// What was done, in a word.
    action: String,
    /// Milliseconds since 1970.
    at: u64,
}

/// A line, taken apart as far as it must be to be found.
#[derive(Clone, Copy)]
enum Line<'a> {
    Begun {
        attempt: (u32, u32),
        place: Place,
        json: &'a str,
    },
    Ended {
        attempt: (u32, u32),
        json: &'a str,
    },
}

impl RunLog {
    /// Reads the log of a run; one that does not exist is empty.
    pub fn read(layout: &Layout, run: &str) -> Result<Self> {
        let path = layout.run(run)?.join("orders.log");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context(|| format!("cannot read {}", path.display())),
        };
        Ok(RunLog {
            path,
            text: whole_lines(&bytes),
        })
    }

    fn lines(&self) -> impl DoubleEndedIterator<Item = Line<'_>> {
        self.text.lines().filter_map(take_apart)
    }

    /// What is on record of the attempts; reports as the text that [`RunLog::report`] reads.
    pub fn ledger(&self) -> Ledger<&str> {
        let mut ledger = Ledger::default();
        for line in self.lines() {
            match line {
                Line::Begun { attempt, place, .. } => ledger.begin(attempt, place),
                Line::Ended { attempt, json } => ledger.end(attempt, json),
            }
        }
        ledger
    }

    /// Reads a report of the ledger.
    pub fn report(&self, text: &str) -> Result<Report> {
        self.parse::<Ended>(text).map(|ended| ended.report)
    }

    /// The place of the newest order.
    pub fn newest(&self) -> Place {
        self.ledger().newest()
    }

    /// The last attempt, where it has no end.
    pub fn unfinished(&self, run: &str) -> Result<Option<(Attempt, Begun)>> {
        let mut ended = Vec::new();
        for line in self.lines().rev() {
            match line {
                Line::Ended { attempt, .. } => ended.push(attempt),
                Line::Begun { attempt, .. } if ended.contains(&attempt) => return Ok(None),
                Line::Begun { attempt, json, .. } => {
                    let (step, attempt) = attempt;
                    let attempt = Attempt {
                        run: run.to_owned(),
                        step,
                        attempt,
                    };
                    return Ok(Some((attempt, self.parse(json)?)));
                }
            }
        }
        Ok(None)
    }

    /// Writes down that an attempt is begun.
    pub fn begin(&mut self, attempt: &Attempt, place: Place, begun: &Begun) -> Result<()> {
        let Attempt { step, attempt, .. } = attempt;
        let Place { token, sequence } = place;
        self.append(
            &format!("begun {step} {attempt} {token} {sequence} {}", self.json(begun)?),
            Lasting::Always,
        )
    }

    /// Writes down how an attempt ended. It outlives the agent at once, and the host only once the next line is durable: where the
    /// host dies before, the attempt counts as interrupted, and its proof shows what it did.
    pub fn end(&mut self, attempt: &Attempt, action: &str, report: &Report) -> Result<()> {
        let ended = Ended {
            report: report.clone(),
            action: action.to_owned(),
            at: clock::wall(),
        };
        let Attempt { step, attempt, .. } = attempt;
        self.append(
            &format!("ended {step} {attempt} {}", self.json(&ended)?),
            Lasting::UntilTheHostDies,
        )
    }

    fn json(&self, value: &impl Serialize) -> Result<String> {
        serde_json::to_string(value).map_err(|error| self.damaged(&error))
    }

    fn parse<'a, T: Deserialize<'a>>(&self, json: &'a str) -> Result<T> {
        serde_json::from_str(json).map_err(|error| self.damaged(&error))
    }

    fn damaged(&self, error: &serde_json::Error) -> NodeError {
        NodeError::refused(format!("{} is damaged: {error}", self.path.display()))
    }

    fn append(&mut self, words: &str, lasting: Lasting) -> Result<()> {
        let mut line = String::with_capacity(words.len() + 10);
        // Writing to a text cannot fail.
        let _ = writeln!(line, "{:08x} {words}", checksum(words));
        let begin = self.text.len() as u64;
        write_in_place(&self.path, begin, line.as_bytes(), lasting)
            .context(|| format!("cannot write {}", self.path.display()))?;
        self.text.push_str(&line);
        Ok(())
    }
}

/// The beginning of a file, as far as its lines are whole.
fn whole_lines(bytes: &[u8]) -> String {
    let mut whole = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let valid = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.strip_suffix('\n'))
            .is_some_and(is_whole);
        if !valid {
            break;
        }
        whole += line.len();
    }
    String::from_utf8_lossy(&bytes[..whole]).into_owned()
}

fn is_whole(line: &str) -> bool {
    let parts = line
        .split_once(' ')
        .map(|(sum, words)| (u32::from_str_radix(sum, 16), words));
    parts.is_some_and(|(sum, words)| sum == Ok(checksum(words)))
}

fn take_apart(line: &str) -> Option<Line<'_>> {
    let (_, words) = line.split_once(' ')?;
    let mut parts = words.splitn(4, ' ');
    let (kind, step, attempt) = (parts.next()?, parts.next()?, parts.next()?);
    let attempt = (step.parse().ok()?, attempt.parse().ok()?);
    let rest = parts.next()?;
    if kind == "ended" {
        return Some(Line::Ended { attempt, json: rest });
    }
    let mut parts = rest.splitn(3, ' ');
    let place = Place {
        token: parts.next()?.parse().ok()?,
        sequence: parts.next()?.parse().ok()?,
    };
    Some(Line::Begun {
        attempt,
        place,
        json: parts.next()?,
    })
}

/// Writes bytes at a place of the file, followed by a zero.
fn write_in_place(path: &Path, begin: u64, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
    if !path.exists() {
        create(path)?;
    }
    let file = OpenOptions::new().write(true).open(path)?;
    let end = begin + bytes.len() as u64 + 1;
    let size = file.metadata()?.len();
    if end > size {
        fill(&file, size, end.next_multiple_of(SET_ASIDE))?;
    }
    let mut terminated = Vec::with_capacity(bytes.len() + 1);
    terminated.extend_from_slice(bytes);
    terminated.push(0);
    file.write_all_at(&terminated, begin)?;
    match lasting {
        Lasting::Always => file.sync_data(),
        Lasting::UntilTheHostDies => Ok(()),
    }
}

fn fill(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(to - from).unwrap_or(0)];
    let filled = file.write_all_at(&zeros, from).and_then(|()| file.sync_all());
    if filled.is_err() {
        // Best effort: what could not be set aside whole must not take the last room.
        let _ = file.set_len(from);
    }
    filled
}

/// Makes the file with its first zeros, and gives it its name only then.
fn create(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        make_directory(parent, 0o700)
            .and_then(|()| durable::sync_parent(parent))
            .map_err(io::Error::other)?;
    }
    let temporary = durable::temporary_beside(path);
    let made = File::create_new(&temporary)
        .and_then(|file| fill(&file, 0, SET_ASIDE))
        .and_then(|()| fs::rename(&temporary, path));
    if made.is_err() {
        // Best effort: the name is never used again.
        let _ = fs::remove_file(&temporary);
    }
    made?;
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use upshift_host::orders::{Admission, Asked, admit};

    use super::*;

    fn begun() -> Begun {
        Begun {
            action: "command".to_owned(),
            session: 7,
            boot: "boot".to_owned(),
            until: 9,
        }
    }

    fn attempt(step: u32, attempt: u32) -> Attempt {
        Attempt {
            run: "run".to_owned(),
            step,
            attempt,
        }
    }

    fn place(token: u64, sequence: u64) -> Place {
        Place { token, sequence }
    }

    fn done(text: &str) -> Report {
        Report::Done { output: json!(text) }
    }

    fn known(log: &RunLog, attempt: (u32, u32)) -> Admission<'static, Report> {
        let asked = Asked {
            attempt,
            place: place(9, 9),
            forward: false,
            arms: false,
            again: false,
        };
        match admit(&log.ledger(), 0, None, &asked) {
            Admission::Repeat(text) => Admission::Answer(log.report(text).unwrap()),
            Admission::Answer(report) => Admission::Answer(report),
            Admission::Perform => Admission::Perform,
        }
    }

    fn layout() -> (tempfile::TempDir, Layout) {
        let state = tempfile::tempdir().unwrap();
        let layout = Layout::open(state.path()).unwrap();
        (state, layout)
    }

    #[test]
    fn attempts_are_found_again_with_their_ends() {
        let (_state, layout) = layout();
        let mut log = RunLog::read(&layout, "run").unwrap();
        assert_eq!(
            (log.newest(), log.unfinished("run").unwrap()),
            (Place::default(), None)
        );
        log.begin(&attempt(1, 1), place(1, 1), &begun()).unwrap();
        log.end(&attempt(1, 1), "command", &done("two\nlines \u{e9}"))
            .unwrap();
        log.begin(&attempt(2, 1), place(1, 2), &begun()).unwrap();
        let log = RunLog::read(&layout, "run").unwrap();
        assert_eq!(known(&log, (1, 1)), Admission::Answer(done("two\nlines \u{e9}")));
        assert_eq!(known(&log, (2, 1)), Admission::Answer(Report::Interrupted));
        assert_eq!(known(&log, (1, 2)), Admission::Perform);
        assert_eq!(log.newest(), place(1, 2));
        assert_eq!(log.unfinished("run").unwrap(), Some((attempt(2, 1), begun())));
    }

    #[test]
    fn an_attempt_without_an_end_before_another_one_was_interrupted() {
        let (_state, layout) = layout();
        let mut log = RunLog::read(&layout, "run").unwrap();
        log.begin(&attempt(1, 1), place(1, 1), &begun()).unwrap();
        log.begin(&attempt(1, 2), place(1, 2), &begun()).unwrap();
        assert_eq!(known(&log, (1, 1)), Admission::Answer(Report::Interrupted));
        assert_eq!(log.unfinished("run").unwrap(), Some((attempt(1, 2), begun())));
    }

    #[test]
    fn the_log_grows_as_it_must() {
        let (_state, layout) = layout();
        let mut log = RunLog::read(&layout, "run").unwrap();
        let long = "x".repeat(50_000);
        for step in 0..5 {
            log.begin(&attempt(step, 1), place(1, step.into()), &begun())
                .unwrap();
            log.end(&attempt(step, 1), "command", &done(&long)).unwrap();
        }
        let log = RunLog::read(&layout, "run").unwrap();
        for step in 0..5 {
            assert_eq!(known(&log, (step, 1)), Admission::Answer(done(&long)));
        }
        assert_eq!(fs::metadata(&log.path).unwrap().len() % SET_ASIDE, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_line_that_a_crash_has_cut_short_does_not_count(cut in 0usize..200, garbage in prop::collection::vec(any::<u8>(), 0..40)) {
            let (_state, layout) = layout();
            let mut log = RunLog::read(&layout, "run").unwrap();
            log.begin(&attempt(1, 1), place(1, 1), &begun()).unwrap();
            log.end(&attempt(1, 1), "command", &done("first")).unwrap();
            let whole = log.text.len();
            log.begin(&attempt(2, 1), place(1, 2), &begun()).unwrap();
            let line = log.text.len() - whole;
            let begin = whole + cut % line;
            // Garbage that happens to be what was cut off makes the line whole.
            prop_assume!(!garbage.starts_with(&log.text.as_bytes()[begin..]));
            let file = OpenOptions::new().write(true).open(&log.path).unwrap();
            file.write_all_at(&vec![0; line], begin as u64).unwrap();
            file.write_all_at(&garbage, begin as u64).unwrap();
            let mut log = RunLog::read(&layout, "run").unwrap();
            prop_assert_eq!(log.newest(), place(1, 1));
            prop_assert_eq!(known(&log, (1, 1)), Admission::Answer(done("first")));
            log.begin(&attempt(3, 1), place(1, 3), &begun()).unwrap();
            let log = RunLog::read(&layout, "run").unwrap();
            prop_assert_eq!(log.unfinished("run").unwrap(), Some((attempt(3, 1), begun())));
            prop_assert_eq!(known(&log, (2, 1)), Admission::Perform);
        }
    }
}
