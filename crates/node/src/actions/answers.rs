//! What an operator has decided about keys that both they and the new default changed.
//!
//! Before the three files are merged, both sides are made to say the same about such a key, so that it is no conflict. Only keys that stand on
//! one line of their own, and once, can be decided so; others stay conflicts.

use std::collections::BTreeMap;

use super::merge::{Format, split};

/// For each key, whose value it gets.
pub(super) type Answers = BTreeMap<String, Answer>;

/// Whose value a key gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// That of the operator's file.
    Yours,
    /// That of the new default.
    New,
}

/// Reads answers; see [`upshift_model::action::MergeConfig::answers`].
pub(super) fn parse(text: &str) -> Result<Answers, String> {
    if text.is_empty() {
        return Ok(Answers::new());
    }
    let form = "write the answers to a merge as a map from keys to `yours` or `new`";
    let read: BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|error| format!("{form}: {error}"))?;
    let answer = |(key, word): (String, String)| match word.as_str() {
        "yours" => Ok((key, Answer::Yours)),
        "new" => Ok((key, Answer::New)),
        _ => Err(format!("the answer for `{key}` is `{word}`; {form}")),
    };
    read.into_iter().map(answer).collect()
}

/// The old default, the operator's file and the new default with the answers in them.
pub(super) fn apply(base: &str, theirs: &str, new: &str, answers: &Answers) -> [String; 3] {
    let [mut base, mut theirs, mut new] = [base, theirs, new].map(str::to_owned);
    for (key, answer) in answers {
        let known = [&base, &theirs, &new].map(|text| line_of(text, key));
        let [Some(in_base), Some(in_theirs), Some(in_new)] = known else {
            continue;
        };
        let (wanted, other) = match answer {
            Answer::Yours => (&in_theirs, &in_new),
            Answer::New => (&in_new, &in_theirs),
        };
        if wanted.is_some() && other.is_none() {
            // The other side has taken it out: now it is as if one side had added it.
            base = with(&base, key, None);
        }
        // What the old default has not is left to the side that wants it: else it would stand in the file twice.
        let wanted = wanted.as_deref().filter(|_| in_base.is_some());
        match answer {
            Answer::Yours => new = with(&new, key, wanted),
            Answer::New => theirs = with(&theirs, key, wanted),
        }
    }
    [base, theirs, new]
}

/// The line that sets a key, or that none does; nothing where there are several, or it goes on in the next line.
fn line_of(text: &str, key: &str) -> Option<Option<String>> {
    let mut lines = text.lines().filter(|line| sets(line, key));
    match (lines.next(), lines.next()) {
        (None, _) => Some(None),
        (Some(line), None) if !line.trim_end().ends_with('\\') => Some(Some(line.to_owned())),
        _ => None,
    }
}

fn sets(line: &str, key: &str) -> bool {
    let bare = line.trim();
    !bare.starts_with(['#', '!', ';']) && split(bare, Format::Lines).is_some_and(|(found, _)| found == key)
}

/// The text with another line, or none, in the place of the one that sets a key.
fn with(text: &str, key: &str, line: Option<&str>) -> String {
    let lines = text.split_inclusive('\n').filter_map(|found| {
        if !sets(found, key) {
            return Some(found.to_owned());
        }
        let end = &found[found.trim_end_matches('\n').len()..];
        line.map(|line| format!("{line}{end}"))
    });
    lines.collect()
}
