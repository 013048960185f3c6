//! `cargo xtask ci`: what a change must pass.

use crate::run::{TaskError, cargo, pass_through};
use crate::test;

/// Formatting, lints with warnings as errors, documentation, then every test.
pub fn main() -> Result<(), TaskError> {
    pass_through(cargo(&["fmt", "--all", "--check"]))?;
    pass_through(cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps"]);
    documentation.env("RUSTDOCFLAGS", "--deny warnings");
    pass_through(documentation)?;
    test::main(&[])
}
