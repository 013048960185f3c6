//! `upshift profile`: list, show, check, schema.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use upshift_model::diagnostic::{Diagnostic, Severity};
use upshift_model::profile::{self, Profile, Strategy};

use crate::args::{Output, ProfileCommand};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::Printer;
use crate::profiles;
use crate::table::Table;

/// Does what was typed.
pub fn run(command: &ProfileCommand, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    match command {
        ProfileCommand::Ls => list(printer),
        ProfileCommand::Show { product } => show(product, printer),
        ProfileCommand::Lint { files } => lint(files, printer),
        ProfileCommand::Schema => {
            printer.text(&serde_json::to_string_pretty(&profile::schema())?)?;
            Ok(Exit::Done)
        }
    }
}

/// One line of the list.
#[derive(Serialize)]
struct Listed {
    product: String,
    title: String,
    strategies: Vec<String>,
    paths: usize,
    blocked: usize,
    checks: usize,
    /// Whether Upshift can execute its plans.
    executes: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

impl From<Profile> for Listed {
    fn from(profile: Profile) -> Self {
        let strategies: BTreeSet<Strategy> = profile.paths.iter().map(|path| path.strategy).collect();
        Listed {
            strategies: strategies
                .into_iter()
                .map(|strategy| profiles::word(&strategy))
                .collect(),
            paths: profile.paths.len(),
            blocked: profile.blocked.len(),
            checks: profile.checks.len(),
            executes: profile.verbs_missing.is_none(),
            missing: profile.verbs_missing,
            product: profile.product,
            title: profile.title,
        }
    }
}

fn list(printer: Printer) -> Result<Exit, Failure> {
    let listed = profiles::shipped()?
        .into_iter()
        .map(Listed::from)
        .collect::<Vec<_>>();
    printer.result(&listed, || {
        let mut table = Table::new([
            "PRODUCT",
            "NAME",
            "STRATEGIES",
            "PATHS",
            "BLOCKED",
            "CHECKS",
            "UPGRADES",
        ]);
        for entry in &listed {
            table.row([
                entry.product.clone(),
                entry.title.clone(),
                entry.strategies.join(", "),
                entry.paths.to_string(),
                entry.blocked.to_string(),
                entry.checks.to_string(),
                if entry.executes {
                    "yes"
                } else {
                    "paths and checks only"
                }
                .to_owned(),
            ]);
        }
        table.to_string()
    })?;
    Ok(Exit::Done)
}

fn show(product: &str, printer: Printer) -> Result<Exit, Failure> {
    let text = profiles::shipped_text(product)?;
    if printer.json() {
        printer.line(&serde_json::to_string(&profiles::read(
            &format!("{product}.yaml"),
            text,
        )?)?)?;
    } else {
        printer.text(text)?;
    }
    Ok(Exit::Done)
}

fn lint(names: &[PathBuf], printer: Printer) -> Result<Exit, Failure> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for name in names {
        let text = files::read_text(name, "profile")?;
        found.extend(profile::lint(&name.display().to_string(), &text));
    }
    let errors = found
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .count();
    let warnings = found.len() - errors;
    if printer.json() {
        printer.line(&serde_json::to_string(&found)?)?;
    } else if found.is_empty() {
        printer.text(&format!("{}: no mistakes found", counted(names.len(), "profile")))?;
    } else {
        for diagnostic in &found {
            printer.text(&format!("{diagnostic}\n"))?;
        }
        printer.text(&format!(
            "{}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        ))?;
    }
    Ok(if errors == 0 { Exit::Done } else { Exit::Usage })
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
