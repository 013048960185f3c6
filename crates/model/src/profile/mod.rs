//! Product profiles: everything Upshift knows about one product, as data.
//!
//! [`types`] holds the shape of a profile file; [`parse`] reads one and reports every mistake at once with its place in
//! the text; [`lint`] finds what is well-formed and still wrong.

mod types;

pub use types::*;
