//! `cargo xtask words`: words that the glossary does not use.
//!
//! The list stands in `docs/glossary.md`, under "Not used". Names in code are read as words, too: `way_back` and `WayBack` are
//! "way back". Lines that keep an old name readable (`alias = "…"`) may use it.

use std::process::Command;

use crate::run::TaskError;

const GLOSSARY: &str = "docs/glossary.md";
/// What is told there was true in the words of its time.
const HISTORY: &str = "CHANGELOG.md";
const ENDINGS: [&str; 6] = ["rs", "yaml", "md", "snap", "json", "toml"];

/// Looks through every file that is under version control.
pub fn main(arguments: &[String]) -> Result<(), TaskError> {
    if let Some(word) = arguments.first() {
        return Err(TaskError::Usage(format!(
            "`words` takes no arguments, not `{word}`"
        )));
    }
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| failed(format!("{path}: {error}")));
    let banned = banned(&read(GLOSSARY)?);
    if banned.is_empty() {
        return Err(failed(format!("{GLOSSARY} has no table under \"Not used\"")));
    }
    let listed = Command::new("git")
        .args(["ls-files"])
        .output()
        .map_err(|error| failed(format!("`git ls-files`: {error}")))?;
    let mut found = Vec::new();
    for path in String::from_utf8_lossy(&listed.stdout).lines() {
        let known = path
            .rsplit_once('.')
            .is_some_and(|(_, ending)| ENDINGS.contains(&ending));
        // A file that is deleted and not committed yet is listed, and not there.
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        if !known || path == GLOSSARY || path == HISTORY || path == "xtask/src/words.rs" {
            continue;
        }
        for (line, entry) in search(&text, &banned) {
            found.push(format!(
                "{path}:{line}: \"{}\": write {}",
                entry.word.join(" "),
                entry.instead
            ));
        }
    }
    for line in &found {
        println!("{line}");
    }
    match found.len() {
        0 => Ok(()),
        many => Err(failed(format!("{many} words that {GLOSSARY} does not use"))),
    }
}

fn failed(text: String) -> TaskError {
    TaskError::Failed(text)
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Banned {
    word: Vec<String>,
    instead: String,
}

fn banned(glossary: &str) -> Vec<Banned> {
    let Some((_, table)) = glossary.split_once("## Not used") else {
        return Vec::new();
    };
    table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let (word, instead) = (cells.next()?, cells.next()?);
            (word != "not" && !word.starts_with("---")).then(|| Banned {
                word: words(word).map(|(_, word)| word).collect(),
                instead: instead.to_owned(),
            })
        })
        .collect()
}

/// The words of a text in lower case, with the number of their line. `way_back` and `WayBack` are two words.
fn words(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.contains("alias = \""))
        .flat_map(|(index, line)| {
            let mut found = Vec::new();
            let mut word = String::new();
            let mut lower = false;
            for letter in line.chars() {
                if !word.is_empty() && (!letter.is_alphanumeric() || (lower && letter.is_uppercase())) {
                    found.push((index + 1, std::mem::take(&mut word)));
                }
                // `Way::Back` is a variant, and no word of its own.
                if letter == ':' {
                    found.push((index + 1, ":".to_owned()));
                }
                if letter.is_alphanumeric() {
                    word.extend(letter.to_lowercase());
                }
                lower = letter.is_lowercase();
            }
            if !word.is_empty() {
                found.push((index + 1, word));
            }
            found
        })
}

/// Where a text uses a word of the list: the line, and which.
fn search<'a>(text: &str, banned: &'a [Banned]) -> Vec<(usize, &'a Banned)> {
    let words: Vec<(usize, String)> = words(text).collect();
    let at = |start: usize, entry: &Banned| {
        words.len() >= start + entry.word.len()
            && entry
                .word
                .iter()
                .zip(&words[start..])
                .all(|(wanted, (_, word))| wanted == word)
    };
    (0..words.len())
        .flat_map(|start| {
            banned
                .iter()
                .filter(move |entry| at(start, entry))
                .map(move |entry| (start, entry))
        })
        .map(|(start, entry)| (words[start].0, entry))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# G\n| way back | not this one |\n## Not used\n\n| not | but |\n|---|---|\n| way back | rollback |\n| heed | obey |\n";

    #[test]
    fn only_the_second_table_is_read() {
        let list = banned(TABLE);
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].word, ["way", "back"]);
        assert_eq!(list[0].instead, "rollback");
    }

    #[test]
    fn prose_names_and_broken_lines_are_found() {
        let list = banned(TABLE);
        let lines = |text: &str| {
            search(text, &list)
                .iter()
                .map(|(line, _)| *line)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("a way back\nthe Way\nback"), [1, 2]);
        assert_eq!(lines("fn way_back()\nstruct WayBack;"), [1, 2]);
        assert_eq!(lines("Way::Back"), [0usize; 0]);
        assert_eq!(lines("no highway backs this; heedless"), [0usize; 0]);
        assert_eq!(lines("#[serde(alias = \"way_back\")]"), [0usize; 0]);
    }
}
