//! Which profile is meant: the one shipped under a product's name, or a file of the operator's own.

use std::path::Path;

use serde::Serialize;
use upshift_model::diagnostic::Diagnostic;
use upshift_model::profile::{self, Profile};

use crate::exit::{Failure, Problem};
use crate::files;
use crate::suggest::nearest;

/// The word that stands for a value in files, such as `rolling`.
pub fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// All profiles that are part of the program.
pub fn shipped() -> Result<Vec<Profile>, Failure> {
    profile::shipped()
        .iter()
        .map(|(name, text)| read(name, text))
        .collect()
}

/// Reads a profile; its mistakes are a failure.
pub fn read(name: &str, text: &str) -> Result<Profile, Failure> {
    profile::parse(name, text).map_err(|mistakes| Failure::Mistakes(rendered(&mistakes)))
}

/// Mistakes with their places, one after the other.
pub fn rendered(mistakes: &[Diagnostic]) -> String {
    mistakes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// The text of a shipped profile.
pub fn shipped_text(product: &str) -> Result<&'static str, Failure> {
    let known = || profile::shipped().iter().map(|(name, text)| (stem(name), *text));
    known()
        .find(|(name, _)| *name == product)
        .map(|(_, text)| text)
        .ok_or_else(|| unknown(product, known().map(|p| p.0)))
}

/// The profile of a product: the operator's own file, or the shipped one.
pub fn choose(product: &str, own: Option<&Path>) -> Result<Profile, Failure> {
    match own {
        Some(path) => read(&path.display().to_string(), &files::read_text(path, "profile")?),
        None => read(&format!("{product}.yaml"), shipped_text(product)?),
    }
}

fn stem(file_name: &str) -> &str {
    file_name
        .rsplit('/')
        .next()
        .unwrap_or(file_name)
        .trim_end_matches(".yaml")
}

fn unknown<'a>(product: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let known: Vec<&str> = known.collect();
    let guess = nearest(product, known.iter().copied()).map(|name| format!("did you mean `{name}`? "));
    Failure::Usage(
        Problem::new(format!("there is no profile for the product `{product}`"))
            .because(format!("profiles are shipped for: {}", known.join(", ")))
            .next(format!(
                "{}a profile of your own is given with --profile FILE",
                guess.unwrap_or_default()
            )),
    )
}
