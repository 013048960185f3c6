//! Frames over a byte stream, and the ways to reach an agent.

pub mod frame;
pub mod protocol;
