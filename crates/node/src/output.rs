//! From what a program prints to a value.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Map, Value};
use upshift_model::action::OutputFormat;
use upshift_model::erlang;

/// The most lines that are told apart.
const MOST_LINES: usize = 100_000;

/// Reads a program's standard output.
///
/// # Errors
/// Where it is not of the format; in words.
pub fn read(bytes: &[u8], format: OutputFormat) -> Result<Value, String> {
    if format == OutputFormat::Json {
        return serde_json::from_slice(bytes).map_err(|error| json_error(bytes, &error));
    }
    let text = without_escapes(&String::from_utf8_lossy(bytes));
    if format == OutputFormat::Erlang {
        return erlang::first_term(&text).map_err(|error| format!("no Erlang term: {error}"));
    }
    if format == OutputFormat::Lines
        && text.bytes().filter(|byte| b"\n\r".contains(byte)).count() > MOST_LINES
    {
        return Err(format!("it has more than {MOST_LINES} lines"));
    }
    Ok(match format {
        OutputFormat::Lines => Value::Array(lines(&text).into_iter().map(Value::String).collect()),
        OutputFormat::KeyValue => Value::Object(key_values(&text)),
        OutputFormat::Text | OutputFormat::Json | OutputFormat::Erlang => {
            Value::String(trimmed(&text).to_owned())
        }
    })
}

fn json_error(bytes: &[u8], error: &serde_json::Error) -> String {
    let begin: String = String::from_utf8_lossy(bytes).chars().take(120).collect();
    format!("no JSON ({error}): `{}`", begin.trim_end())
}

/// A text without escape sequences and without the newline at its end.
pub fn plain(text: &str) -> String {
    trimmed(&without_escapes(text)).to_owned()
}

/// How many of a log's last lines are shown.
pub const LINES: usize = 5;
/// The most bytes of a log's end that are read.
const END: u64 = 8 * 1024;

/// The last lines of a log that are not empty, without what steers a terminal; none where it cannot be read.
pub fn last_lines(log: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
        let mut bytes = Vec::new();
        file.take(END).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(|_| Vec::new(), |bytes| last_of(&String::from_utf8_lossy(&bytes)))
}

/// The last lines of a text that are not empty.
pub fn last_of(text: &str) -> Vec<String> {
    let text = without_escapes(text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().map(|line| line.chars().take(300).collect()).collect()
}

/// Lines as the end of a sentence; nothing where there are none.
pub fn quoted(lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        lines => format!(": {}", lines.join(" | ")),
    }
}

fn trimmed(text: &str) -> &str {
    text.strip_suffix('\n')
        .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

/// Removes what steers a terminal: colours, movements of the cursor, titles, and all other control characters but the ends of
/// lines and tabs.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '\u{1b}' {
            if !character.is_control() || ['\n', '\r', '\t'].contains(&character) {
                plain.push(character);
            }
            continue;
        }
        match rest.next() {
            Some('[') => {
                rest.by_ref().find(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
            Some(']') => skip_title(&mut rest),
            _ => {}
        }
    }
    plain
}

/// A title ends with a bell, or with an escape and a backslash.
fn skip_title(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(character) = rest.next() {
        match character {
            '\u{7}' => return,
            '\u{1b}' => {
                rest.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

/// Lines; what a `\r` overwrites is a line of its own.
fn lines(text: &str) -> Vec<String> {
    text.lines()
        .flat_map(|line| {
            let pieces: Vec<&str> = line.split('\r').filter(|piece| !piece.is_empty()).collect();
            if pieces.is_empty() { vec![""] } else { pieces }
        })
        .map(str::to_owned)
        .collect()
}

/// `name: value` and `name = value` lines; the separator that stands first counts, and the last of several lines with
/// one name.
fn key_values(text: &str) -> Map<String, Value> {
    lines(text)
        .iter()
        .filter_map(|line| line.split_once([':', '=']))
        .map(|(name, value)| (name.trim().to_owned(), Value::String(value.trim().to_owned())))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn colours_and_titles_are_removed() {
        let text = "\u{1b}[1;31mred\u{1b}[0m \u{1b}]0;title\u{7}plain\u{1b}]2;t\u{1b}\\!\u{1b}(B\n";
        assert_eq!(
            read(text.as_bytes(), OutputFormat::Text),
            Ok(json!("red plain!B"))
        );
    }

    #[test]
    fn the_last_lines_of_a_log_are_few_short_and_plain() {
        let log = tempfile::NamedTempFile::new().unwrap();
        assert!(last_lines(log.path()).is_empty());
        let many: String = (1..=5_000).map(|number| format!("line {number}\n\n")).collect();
        std::fs::write(log.path(), format!("{many}\u{1b}[31m{}\n", "x".repeat(1_000))).unwrap();
        let lines = last_lines(log.path());
        assert_eq!(
            (lines.len(), lines[3].as_str(), lines[4].len()),
            (LINES, "line 5000", 300)
        );
        assert!(quoted(&lines[2..4]) == ": line 4999 | line 5000" && quoted(&[]).is_empty());
        assert!(last_lines(Path::new("/does/not/exist")).is_empty());
    }

    #[test]
    fn a_progress_bar_is_a_list_of_lines() {
        let text = "start\n 10%\r 50%\r100%\ndone\r\n";
        assert_eq!(
            read(text.as_bytes(), OutputFormat::Lines),
            Ok(json!(["start", " 10%", " 50%", "100%", "done"]))
        );
    }

    #[test]
    fn name_and_value_lines_become_a_map() {
        let text = "Status: OK\nUrl = http://x:1/\nnothing here\n  a=b=c\n";
        assert_eq!(
            read(text.as_bytes(), OutputFormat::KeyValue),
            Ok(json!({"Status": "OK", "Url": "http://x:1/", "a": "b=c"}))
        );
    }

    #[test]
    fn control_characters_are_removed_and_lines_are_bounded() {
        let text = "a\0b\u{8}c\u{9b}31md\te\n";
        assert_eq!(read(text.as_bytes(), OutputFormat::Text), Ok(json!("abc31md\te")));
        let many = "\n".repeat(MOST_LINES + 1);
        assert!(
            read(many.as_bytes(), OutputFormat::Lines)
                .unwrap_err()
                .contains("more than")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read_as_text_lines_and_map(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for format in [OutputFormat::Text, OutputFormat::Lines, OutputFormat::KeyValue] {
                let value = read(&bytes, format).unwrap();
                prop_assert!(!value.to_string().contains("\\u001b["));
            }
        }

        #[test]
        fn pairs_read_back(pairs in prop::collection::btree_map("[a-zA-Z][a-zA-Z0-9_.-]{0,12}", "[^\\s\\x00-\\x1f\u{7f}-\u{9f}\u{2028}\u{2029}]{0,12}", 0..8), equals in any::<bool>()) {
            let separator = if equals { " = " } else { ": " };
            let text: String = pairs.iter().map(|(name, value)| format!("{name}{separator}{value}\n")).collect();
            let expected: serde_json::Map<String, Value> =
                pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            prop_assert_eq!(read(text.as_bytes(), OutputFormat::KeyValue), Ok(Value::Object(expected)));
        }
    }
}
