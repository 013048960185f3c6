//! Splitting a line into words as a shell does.

use std::ops::Range;

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// The word, without its quotes and escapes.
    pub text: String,
    /// The bytes of the line that it is written in.
    pub range: Range<usize>,
}

/// Splits a line into words: single and double quotes and backslashes as in a shell, and, if `comments` is set, nothing after
/// a `#` that stands outside of quotes. `Err` holds the byte of a quote that is never closed.
pub(super) fn split(line: &str, comments: bool) -> Result<Vec<Word>, usize> {
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut characters = line.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        if character == '#' && comments {
            break;
        }
        let current = word.get_or_insert_with(|| Word {
            text: String::new(),
            range: at..at,
        });
        current.range.end = at + character.len_utf8();
        match character {
            '\'' => loop {
                match characters.next() {
                    None => return Err(at),
                    Some((end, '\'')) => {
                        current.range.end = end + 1;
                        break;
                    }
                    Some((_, inner)) => current.text.push(inner),
                }
            },
            '"' => loop {
                match characters.next() {
                    None => return Err(at),
                    Some((end, '"')) => {
                        current.range.end = end + 1;
                        break;
                    }
                    Some((_, '\\'))
                        if characters
                            .peek()
                            .is_some_and(|(_, next)| ['"', '\\'].contains(next)) =>
                    {
                        current.text.extend(characters.next().map(|(_, escaped)| escaped));
                    }
                    Some((_, inner)) => current.text.push(inner),
                }
            },
            '\\' => match characters.next() {
                None => return Err(at),
                Some((end, escaped)) => {
                    current.range.end = end + escaped.len_utf8();
                    current.text.push(escaped);
                }
            },
            plain => current.text.push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}
