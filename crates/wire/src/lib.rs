//! Frames over a byte stream, and the ways to reach an agent.

pub mod binary;
pub mod client;
pub mod frame;
pub mod protocol;
pub mod put;
pub mod session;
pub mod transport;
