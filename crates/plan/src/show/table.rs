//! A plan as text for a terminal.

use std::fmt::Write;

use super::sheet::{Detail, Row, Sheet};
use crate::types::Plan;

/// The width of texts that no terminal limits.
pub const WIDE: usize = 125;
/// The narrowest that a text is made for.
const NARROWEST: usize = 60;

/// Columns of the text: what, where, proof, rollback, time.
fn widths(width: usize) -> [usize; 5] {
    if width >= WIDE {
        return [30, 14, 42, 24, 5];
    }
    // What is left of a line for the three columns that hold sentences.
    let left = width.max(NARROWEST) - 3 - 5 - 12 - 5;
    let (what, back) = (left * 36 / 100, left * 26 / 100);
    [what, 12, left - what - back, back, 5]
}

/// The plan as text, with lines of at most 125 characters.
pub fn table(plan: &Plan, detail: Detail) -> String {
    table_in(plan, detail, WIDE)
}

/// The plan as text, for a terminal of so many columns.
pub fn table_in(plan: &Plan, detail: Detail, width: usize) -> String {
    let sheet = Sheet::of(plan, detail);
    let mut out = String::new();
    line(&mut out, &sheet.title);
    for (name, value) in &sheet.summary {
        match width < WIDE {
            true => paragraph_in(&mut out, width, &format!("  {name:<10} "), value),
            false => line(&mut out, &format!("  {name:<10} {value}")),
        }
    }
    for warning in &sheet.warnings {
        paragraph_in(&mut out, width, "  note       ", warning);
    }
    if !sheet.notices.is_empty() {
        line(&mut out, "");
        line(&mut out, "For those who use it, to be sent to them");
        for notice in &sheet.notices {
            paragraph_in(&mut out, width, "    ", notice);
        }
    }
    if !sheet.config.is_empty() {
        line(&mut out, "");
        line(
            &mut out,
            "Configuration: your files, merged with what the new defaults bring",
        );
        for (heading, lines) in &sheet.config {
            line(&mut out, &format!("  {heading}"));
            lines
                .iter()
                .for_each(|text| line(&mut out, &format!("    {text}")));
        }
    }
    if !sheet.prepare.is_empty() {
        line(&mut out, "");
        line(&mut out, "Prepare: nothing that runs is changed");
        grid(&mut out, width, detail, &sheet.prepare);
    }
    for hop in &sheet.hops {
        line(&mut out, "");
        match width < WIDE {
            true => paragraph_in(&mut out, width, "", &hop.heading),
            false => line(&mut out, &hop.heading),
        }
        if let Some(text) = &hop.no_return {
            paragraph_in(&mut out, width, "  POINT OF NO RETURN  ", text);
        }
        line(&mut out, "  Windows");
        for window in &hop.windows {
            line(&mut out, &format!("    {window}"));
        }
        for section in &hop.sections {
            line(&mut out, &format!("  {}", section.heading));
            grid(&mut out, width, detail, &section.rows);
        }
        paragraph_in(&mut out, width, "  Watched  ", &hop.watch);
    }
    line(&mut out, "");
    line(
        &mut out,
        "Finalize, when you say so; from then on rolling back needs a snapshot",
    );
    for note in &sheet.finalize {
        line(&mut out, &format!("    {note}"));
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// A text behind a label, wrapped, with the lines after the first one indented as far as the label is long.
pub(super) fn paragraph_in(out: &mut String, width: usize, label: &str, text: &str) {
    let indent = label.chars().count();
    let room = width.clamp(NARROWEST, WIDE).saturating_sub(5 + indent).max(20);
    for (position, piece) in wrapped(text, room).iter().enumerate() {
        let lead = if position == 0 {
            label.to_owned()
        } else {
            " ".repeat(indent)
        };
        line(out, &format!("{lead}{piece}"));
    }
}

fn grid(out: &mut String, width: usize, detail: Detail, rows: &[Row]) {
    let widths = widths(width);
    let headings = ["step", "where", detail.heading(), "taken back by", "limit"];
    cells(out, &widths, &headings.map(|heading| vec![heading.to_owned()]));
    for row in rows {
        let proof = row
            .proof
            .iter()
            .flat_map(|proof| wrapped(proof, widths[2]))
            .collect();
        cells(
            out,
            &widths,
            &[
                wrapped(&row.what, widths[0]),
                wrapped(&row.place, widths[1]),
                proof,
                wrapped(&row.back, widths[3]),
                vec![row.within.clone()],
            ],
        );
    }
}

fn cells(out: &mut String, widths: &[usize; 5], cells: &[Vec<String>; 5]) {
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..height {
        let mut text = "   ".to_owned();
        for (cell, width) in cells.iter().zip(widths) {
            // Writing to a text cannot fail.
            let _ = write!(text, " {:<width$}", cell.get(row).map_or("", String::as_str));
        }
        line(out, &text);
    }
}

/// A text broken into lines between words; a word that is longer than a line is cut.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut current = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if !current.is_empty() && current.chars().count() + 1 + word.len() > width {
            lines.push(std::mem::take(&mut current));
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.extend(word);
    }
    lines.push(current);
    lines
}
