//! Runs the real command line as a process.

use std::path::Path;
use std::process::Command;

/// What a command said, and how it ended.
pub struct Ran {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Everything in one text, for snapshots; `scratch` is replaced, because its name differs from run to run.
    pub fn transcript(&self, scratch: &Path) -> String {
        let text = format!(
            "status {}\n-- stdout\n{}-- stderr\n{}",
            self.status, self.stdout, self.stderr
        );
        text.replace(&scratch.display().to_string(), "SCRATCH")
    }
}

/// Runs `upshift` in a directory, with nothing of the tester's own environment but the search path.
pub fn upshift(directory: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_upshift"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("COLUMNS", "100")
        .output()
        .expect("the program under test starts");
    Ran {
        status: output.status.code().expect("the program ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}
