//! Three-way merge of a configuration file: the old release's default, the operator's file, the new release's default.
//!
//! Lines are merged as text, so that comments and order survive. Text merges are known to go wrong in silence (a key that both sides
//! moved is there twice; what one side deletes beside an insertion of the other goes missing), so what came out is judged by its keys:
//! each must have the value that the three files give it, or it is a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use upshift_model::action::MergeConfig;
use upshift_model::fleet::mask_secrets;

use super::answers::{self, Answers};
use super::edit_config::replace;
use crate::durable;
use crate::error::{Context, NodeError, Result};

/// A merge that was made, and not written yet.
#[derive(Debug)]
pub struct Merged {
    /// The merged text; as the operator's file where there are conflicts.
    pub text: String,
    /// What changes in the operator's file, as a unified diff; values of secrets are starred out.
    pub diff: String,
    /// Keys or places that a person has to decide, each in a sentence.
    pub conflicts: Vec<String>,
}

/// Merges and writes; refused where a person has to decide.
pub fn merge(order: &MergeConfig) -> Result<Value> {
    let path = fs::canonicalize(&order.file).context(|| format!("cannot open {}", order.file))?;
    let merged = look(order)?;
    if !merged.conflicts.is_empty() {
        return Err(NodeError::refused(format!(
            "{} cannot be merged: {}",
            order.file,
            merged.conflicts.join("; ")
        )));
    }
    if !merged.diff.is_empty() {
        replace(&path, merged.text.as_bytes()).context(|| format!("cannot write {}", path.display()))?;
        durable::sync_parent(&path)?;
    }
    Ok(json!({ "diff": merged.diff }))
}

/// What a merge would come to; nothing is written.
pub fn look(order: &MergeConfig) -> Result<Merged> {
    let read = |path: &str| {
        fs::read_to_string(path)
            .context(|| format!("cannot read {path}, which the merge of {} needs", order.file))
    };
    let answers = answers::parse(&order.answers).map_err(NodeError::refused)?;
    let new = match &order.new_text {
        Some(text) => text.clone(),
        None => read(&order.new)?,
    };
    Ok(merged(
        &read(&order.base)?,
        &read(&order.file)?,
        &new,
        Format::of(&order.file),
        &answers,
    ))
}

/// The value of the probe.
pub fn probe(order: &MergeConfig) -> Result<Value> {
    let merged = look(order)?;
    Ok(json!({
        "clean": merged.conflicts.is_empty(),
        "changed": !merged.diff.is_empty(),
        "diff": merged.diff,
        "conflicts": merged.conflicts,
    }))
}

fn merged(base: &str, theirs: &str, new: &str, format: Format, answers: &Answers) -> Merged {
    let mut conflicts = Vec::new();
    // Where the operator has decided, both sides say the same.
    let [base, decided, new] = match format {
        Format::Lines => answers::apply(base, theirs, new, answers),
        Format::Yaml | Format::Xml => [base, theirs, new].map(str::to_owned),
    };
    let text = match diffy::merge(&base, &decided, &new) {
        Ok(text) => {
            conflicts.extend(misjudged(&base, &decided, &new, &text, format));
            text
        }
        Err(marked) => {
            conflicts.extend(places(&marked));
            theirs.to_owned()
        }
    };
    let conflicts: Vec<String> = conflicts.iter().map(|conflict| mask_secrets(conflict)).collect();
    let text = if conflicts.is_empty() {
        text
    } else {
        theirs.to_owned()
    };
    let diff = match text == theirs {
        true => String::new(),
        false => mask_secrets(&diffy::create_patch(theirs, &text).to_string()),
    };
    Merged {
        text,
        diff,
        conflicts,
    }
}

/// The conflicts of a text with markers, each with what the operator's file and the new default have there.
fn places(marked: &str) -> Vec<String> {
    let (mut found, mut ours, mut news) = (Vec::new(), Vec::new(), Vec::new());
    let mut side = None;
    for line in marked.lines() {
        if line.starts_with("<<<<<<<") {
            side = Some('o');
        } else if line.starts_with("|||||||") {
            side = Some('b');
        } else if line.starts_with("=======") && side.is_some() {
            side = Some('n');
        } else if line.starts_with(">>>>>>>") && side.is_some() {
            let sides = |lines: &mut Vec<&str>| std::mem::take(lines).join(" / ");
            found.push(format!(
                "yours has `{}`, the new default `{}`",
                sides(&mut ours),
                sides(&mut news)
            ));
            side = None;
        } else {
            match side {
                Some('o') => ours.push(line.trim()),
                Some('n') => news.push(line.trim()),
                _ => {}
            }
        }
    }
    found
}

/// How keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `key = value` or `key: value`, with sections in brackets: properties, INI, TOML and the like.
    Lines,
    /// Keys below keys, by indentation.
    Yaml,
    /// `<name>key</name>` with what follows it, as Hadoop's files have it.
    Xml,
}

impl Format {
    fn of(file: &str) -> Self {
        match Path::new(file)
            .extension()
            .and_then(|extension| extension.to_str())
        {
            Some("yml" | "yaml") => Format::Yaml,
            Some("xml") => Format::Xml,
            _ => Format::Lines,
        }
    }
}

type Keys = BTreeMap<String, Vec<String>>;

/// Keys that do not have the value in the merged text that the three files give them.
fn misjudged(base: &str, theirs: &str, new: &str, merged: &str, format: Format) -> Vec<String> {
    let [base, theirs, new, merged] = [base, theirs, new, merged].map(|text| keys(text, format));
    let all: BTreeSet<&String> = [&base, &theirs, &new, &merged]
        .into_iter()
        .flat_map(BTreeMap::keys)
        .collect();
    let mut found = Vec::new();
    for key in all {
        let of = |keys: &Keys| keys.get(key).cloned();
        let (base, theirs, new, merged) = (of(&base), of(&theirs), of(&new), of(&merged));
        let expected = match () {
            () if theirs == new || new == base => &theirs,
            () if theirs == base => &new,
            () => {
                found.push(format!("`{key}` was changed by you and by the new default"));
                continue;
            }
        };
        if merged != *expected {
            found.push(format!(
                "`{key}` would be {}, and should be {}",
                said(&merged),
                said(expected)
            ));
        }
    }
    found
}

fn said(values: &Option<Vec<String>>) -> String {
    match values {
        None => "absent".to_owned(),
        Some(values) => format!("`{}`", values.join("` and `")),
    }
}

/// Every key with its values, in the order of the file; comments and blank lines left out.
fn keys(text: &str, format: Format) -> Keys {
    if format == Format::Xml {
        return xml_keys(text);
    }
    let mut found = Keys::new();
    let mut section = String::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut last: Option<String> = None;
    let mut goes_on = false;
    for line in text.lines() {
        let bare = line.trim();
        if bare.is_empty()
            || (!goes_on && (bare.starts_with('#') || bare.starts_with('!') || bare.starts_with(';')))
        {
            continue;
        }
        let continued = std::mem::replace(&mut goes_on, format == Format::Lines && bare.ends_with('\\'));
        if format == Format::Lines && !continued && bare.starts_with('[') && bare.ends_with(']') {
            section = bare.to_owned();
            last = None;
            continue;
        }
        let pair = (!continued).then(|| split(bare, format)).flatten();
        match (pair, &last) {
            (Some((key, value)), _) => {
                let depth = line.len() - line.trim_start().len();
                above.retain(|(of, _)| *of < depth);
                let path = match format {
                    Format::Yaml => above.iter().map(|(_, key)| format!("{key}.")).collect(),
                    _ if section.is_empty() => String::new(),
                    _ => format!("{section} "),
                };
                let path = format!("{path}{key}");
                above.push((depth, key.to_owned()));
                found.entry(path.clone()).or_default().push(value.to_owned());
                last = Some(path);
            }
            (None, Some(key)) => {
                if let Some(value) = found.get_mut(key).and_then(|values| values.last_mut()) {
                    value.push(' ');
                    value.push_str(bare);
                }
            }
            (None, None) => found.entry(bare.to_owned()).or_default().push(String::new()),
        }
    }
    found
}

pub(super) fn split(line: &str, format: Format) -> Option<(&str, &str)> {
    let at = match format {
        Format::Yaml if line.starts_with('-') => None,
        Format::Yaml => line
            .find(": ")
            .or_else(|| line.ends_with(':').then(|| line.len() - 1)),
        _ => line.find(['=', ':']),
    }?;
    let key = line[..at].trim().trim_matches(['"', '\'']);
    (!key.is_empty()).then(|| (key, line[at + 1..].trim()))
}

fn xml_keys(text: &str) -> Keys {
    let mut found = Keys::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("<name>") {
        let Some((key, tail)) = after.split_once("</name>") else {
            break;
        };
        let end = tail.find("<name>").unwrap_or(tail.len());
        let value = tail[..end]
            .split_once("<value>")
            .and_then(|(_, value)| value.split_once("</value>"));
        let value = value.map_or("", |(value, _)| value.trim());
        found
            .entry(key.trim().to_owned())
            .or_default()
            .push(value.to_owned());
        rest = &tail[end..];
    }
    found
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
