//! A plan as Markdown, for a ticket or a change request.

use super::sheet::{Detail, Row, Sheet};
use crate::types::Plan;

/// The plan as Markdown, with the proofs as the profile has them: what was agreed to is read later, too.
pub fn markdown(plan: &Plan) -> String {
    let sheet = Sheet::of(plan, Detail::Expressions);
    let mut lines = vec![format!("# {}", sheet.title), String::new()];
    lines.extend(
        sheet
            .summary
            .iter()
            .map(|(name, value)| format!("- **{name}**: {}", escaped(value))),
    );
    if !sheet.warnings.is_empty() {
        lines.extend([String::new(), "> **Note**".to_owned()]);
        lines.extend(
            sheet
                .warnings
                .iter()
                .map(|warning| format!("> - {}", escaped(warning))),
        );
    }
    if !sheet.notices.is_empty() {
        lines.extend([
            String::new(),
            "## For those who use it".to_owned(),
            String::new(),
            "To be sent to them:".to_owned(),
        ]);
        for notice in &sheet.notices {
            lines.extend([String::new(), escaped(notice)]);
        }
    }
    if !sheet.config.is_empty() {
        lines.extend([
            String::new(),
            "## Configuration".to_owned(),
            String::new(),
            "Your files, merged with what the new defaults bring.".to_owned(),
        ]);
        for (heading, diff) in &sheet.config {
            // Indented, so that nothing in a file can end the block.
            lines.extend([String::new(), escaped(heading), String::new()]);
            lines.extend(diff.iter().map(|text| format!("    {text}")));
        }
    }
    if !sheet.prepare.is_empty() {
        lines.extend([String::new(), "## Prepare".to_owned(), String::new()]);
        lines.extend(["Nothing that runs is changed.".to_owned(), String::new()]);
        lines.extend(rows(&sheet.prepare));
    }
    for hop in &sheet.hops {
        lines.extend([String::new(), format!("## {}", escaped(&hop.heading))]);
        if let Some(text) = &hop.no_return {
            lines.extend([
                String::new(),
                format!("> **Point of no return.** {}", escaped(text)),
            ]);
        }
        lines.extend([String::new(), "### Windows".to_owned(), String::new()]);
        lines.extend(hop.windows.iter().map(|window| escaped(window)));
        for section in &hop.sections {
            lines.extend([String::new(), format!("### {}", section.heading), String::new()]);
            lines.extend(rows(&section.rows));
        }
        lines.extend([String::new(), format!("Watched: {}.", escaped(&hop.watch))]);
    }
    lines.extend([String::new(), "## Finalize".to_owned(), String::new()]);
    lines.extend([
        "When you say so. From then on rolling back needs a snapshot.".to_owned(),
        String::new(),
    ]);
    lines.extend(sheet.finalize.iter().map(|note| format!("- {}", escaped(note))));
    lines.join("\n") + "\n"
}

fn rows(rows: &[Row]) -> Vec<String> {
    let mut lines = vec![
        "| step | where | done when | taken back by | limit |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(rows.iter().map(|row| {
        let proof: Vec<String> = row
            .proof
            .iter()
            .map(|proof| format!("`{}`", proof.replace('|', "\\|")))
            .collect();
        format!(
            "| {} | {} | {} | {} | {} |",
            escaped(&row.what),
            escaped(&row.place),
            proof.join("<br>"),
            escaped(&row.back),
            row.within
        )
    }));
    lines
}

/// The text with the characters that Markdown gives a meaning inside tables and lines made plain.
fn escaped(text: &str) -> String {
    let special = |c: char| matches!(c, '|' | '*' | '_' | '<' | '`');
    text.chars()
        .flat_map(|c| special(c).then_some('\\').into_iter().chain([c]))
        .collect()
}
