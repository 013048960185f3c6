//! On what machine figures were measured.

use std::fs;

use serde_json::{Value, json};

/// Processor, cores and memory, as the kernel tells them.
pub fn describe() -> Value {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).map(value_of);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total: Option<u64> = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    json!({
        "processor": model.unwrap_or("unknown"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_gb": total.map(|kilobytes| (kilobytes + (1 << 19)) >> 20),
    })
}

fn value_of(line: &str) -> &str {
    line.trim_start_matches([' ', '\t', ':'])
}
