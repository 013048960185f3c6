//! Timing whole commands.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// The middle one of some durations in seconds.
pub fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds that a command takes, from its start to its end.
///
/// # Errors
/// Where it does not start or ends with anything but 0; then with what it said.
pub fn time(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let seconds = began.elapsed().as_secs_f64();
    let text = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&text));
    Ok(seconds)
}

/// Two digits after the point are more than a noisy machine gives.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}
