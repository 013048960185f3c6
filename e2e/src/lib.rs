//! What the end-to-end tests share: a runner that counts and names what it skips, the real programs, and clusters to upgrade.

pub mod alluxio;
pub mod emqx;
pub mod fixture;
pub mod harness;
pub mod program;
pub mod watch;
