//! The lab server's process.

fn main() {}
