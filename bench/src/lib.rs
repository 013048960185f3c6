//! What the benchmarks share: hosts, repeated timing, trivial runs, and the machine's name for the figures.

pub mod machine;
pub mod steps;
pub mod timing;
