//! Counting tests in what test runners print.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::run::{TaskError, show};

/// How many tests passed, failed, and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped; each says why in a line of its own.
    pub skipped: u64,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
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
    })
}

/// Runs a test command, shows what it prints, and counts. A command that fails without a failed test counts as one.
pub fn run_and_count(mut command: Command) -> Result<Count, TaskError> {
    let shown = show(&command);
    println!("$ {shown}");
    let start = |error: std::io::Error| TaskError::Failed(format!("`{shown}` did not start: {error}"));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
    let mut count = Count::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(closing) = closing_line(&line) {
                count.add(closing);
            }
            println!("{line}");
        }
    }
    let status = child.wait().map_err(start)?;
    if !status.success() && count.failed == 0 {
        println!("`{shown}` ended with {status}");
        count.failed = 1;
    }
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
                skipped: 1
            })
        );
        assert_eq!(closing_line("test engine::a ... ok"), None);
        assert_eq!(closing_line("test result: "), None);
    }
}
