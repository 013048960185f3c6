//! Counting tests in what test runners print.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::run::{TaskError, show};

/// How many tests passed, were skipped and were left out, and which failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped; each says why in a line of its own.
    pub skipped: u64,
    /// Left out, since they run only when they are asked for; each says so in a line of its own.
    pub left_out: u64,
    /// What the runners said of each that failed, told once more at the end: its name, and how it failed where known.
    pub failures: Vec<String>,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.left_out += other.left_out;
        self.failures.extend(other.failures);
    }
}

/// Reads a closing line of a Rust test runner: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
pub fn closing_line(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        counts
            .split("; ")
            .find_map(|part| part.strip_suffix(word))
            .and_then(|number| number.trim().parse().ok())
    };
    Some(Count {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored").unwrap_or(0),
        left_out: 0,
        failures: Vec::new(),
    })
}

/// Whether a line says that a test was left out: `test NAME ... left out: WHY`.
fn says_left_out(line: &str) -> bool {
    let rest = line
        .strip_prefix("test ")
        .and_then(|rest| rest.split_once(" ... "));
    rest.is_some_and(|(_, verdict)| verdict.starts_with("left out: "))
}

/// Lines that are told of a failure, so that all failures together still fit a screen.
const LINES_OF_A_FAILURE: usize = 8;

/// Reads failures from the lines of a Rust test runner: `---- name stdout ----`, and what the test printed below it.
#[derive(Debug, Default)]
struct Failures {
    found: Vec<String>,
    inside: Option<usize>,
}

impl Failures {
    fn line(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.found.push(name.to_owned());
            self.inside = Some(0);
        } else if line == "failures:" || closing_line(line).is_some() {
            self.inside = None;
        } else if let (Some(told), Some(failure)) = (self.inside, self.found.last_mut())
            && told < LINES_OF_A_FAILURE
            && !line.trim().is_empty()
        {
            failure.push_str("\n    ");
            failure.push_str(line);
            self.inside = Some(told + 1);
        }
    }
}

/// Runs a test command, shows what it prints, and counts. A command that fails without a failed test counts as one.
pub fn run_and_count(mut command: Command) -> Result<Count, TaskError> {
    let shown = show(&command);
    println!("$ {shown}");
    let start = |error: std::io::Error| TaskError::Failed(format!("`{shown}` did not start: {error}"));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
    let mut count = Count::default();
    let mut failures = Failures::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(closing) = closing_line(&line) {
                count.add(closing);
            }
            count.left_out += u64::from(says_left_out(&line));
            failures.line(&line);
            println!("{line}");
        }
    }
    let status = child.wait().map_err(start)?;
    if !status.success() && count.failed == 0 {
        failures.found.push(format!("`{shown}` ended with {status}"));
        count.failed = 1;
    }
    count.failures = failures.found;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(
            closing_line(line),
            Some(Count {
                passed: 12,
                failed: 2,
                skipped: 1,
                left_out: 0,
                failures: Vec::new()
            })
        );
        assert_eq!(closing_line("test engine::a ... ok"), None);
        assert_eq!(closing_line("test result: "), None);
    }

    #[test]
    fn what_is_left_out_is_not_skipped() {
        assert!(says_left_out("test a_b ... left out: it takes a minute"));
        assert!(!says_left_out(
            "test a_b ... skipped: left out: there is no network"
        ));
        assert!(!says_left_out("test a_b ... ok (1.0 s)"));
    }

    #[test]
    fn failures_are_told_with_what_they_printed() {
        let mut failures = Failures::default();
        let printed = "test b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\nthread 'b' panicked at c.rs:1:2:\nleft: 1\n\n\nfailures:\n    a::b\n\n\
                       test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\nlater";
        printed.lines().for_each(|line| failures.line(line));
        assert_eq!(
            failures.found,
            ["a::b\n    thread 'b' panicked at c.rs:1:2:\n    left: 1"]
        );
    }
}
