//! Values in INI inventories: Python literals where they are ones, otherwise texts.

use serde_json::{Map, Number, Value};

/// No literal that somebody writes into an inventory is nested deeper.
const DEEPEST: usize = 32;

/// `3` is a number, `True` a boolean, `['a', 1]` a list, `{'a': 1}` a mapping, `None` nothing; `true`, `01` and
/// `10.0.0.1` are texts.
pub(super) fn value(text: &str) -> Value {
    let mut reader = Reader {
        rest: text.trim(),
        depth: 0,
    };
    match reader.value() {
        Some(value) if reader.rest.trim_start().is_empty() || reader.rest.trim_start().starts_with('#') => {
            value
        }
        _ => Value::String(text.trim().to_owned()),
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Value> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '[' => self.list('[', ']').map(Value::Array),
            '(' => self.list('(', ')').map(Value::Array),
            '{' => self.mapping(),
            '\'' | '"' => self.text().map(Value::String),
            'u' | 'b' if self.rest[1..].starts_with(['\'', '"']) => {
                self.rest = &self.rest[1..];
                self.text().map(Value::String)
            }
            _ => self.word(),
        }
    }

    /// Numbers and names.
    fn word(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| ",]}):# \t".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            "None" => Some(Value::Null),
            _ => number(word),
        }
    }

    fn list(&mut self, open: char, close: char) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        self.sequence(open, close, |reader| {
            items.push(reader.value()?);
            Some(())
        })?;
        Some(items)
    }

    fn mapping(&mut self) -> Option<Value> {
        let mut entries = Map::new();
        self.sequence('{', '}', |reader| {
            let key = match reader.value()? {
                Value::String(key) => key,
                key @ Value::Number(_) => key.to_string(),
                _ => return None,
            };
            reader.take(':')?;
            entries.insert(key, reader.value()?);
            Some(())
        })?;
        Some(Value::Object(entries))
    }

    /// Members with commas between them, a last comma allowed.
    fn sequence(
        &mut self,
        open: char,
        close: char,
        mut member: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        self.take(open)?;
        while self.take(close).is_none() {
            member(self)?;
            if self.take(',').is_none() {
                self.take(close)?;
                break;
            }
        }
        self.depth -= 1;
        Some(())
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(wanted)?;
        Some(())
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut characters = self.rest[1..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => text.push(match characters.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                }),
                end if end == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Some(text);
                }
                plain => text.push(plain),
            }
        }
        None
    }
}

/// A number as Python writes it: `8`, `-1.5`, `.5`, `1e3`, `0x1f`, `1_000`. `01` is none, nor is one that does not fit.
fn number(word: &str) -> Option<Value> {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    let negative = word.starts_with('-');
    let plain = without_separators(digits)?;
    let (radix, plain) = match plain.get(..2).map(str::to_lowercase).as_deref() {
        Some("0x") => (16, &plain[2..]),
        Some("0o") => (8, &plain[2..]),
        Some("0b") => (2, &plain[2..]),
        _ => (10, plain.as_str()),
    };
    let padded = radix == 10 && plain.starts_with('0') && plain.bytes().any(|byte| byte != b'0');
    if plain.starts_with(|c: char| c.is_ascii_hexdigit())
        && let Ok(whole) = i64::from_str_radix(plain, radix)
    {
        return (!padded).then(|| Value::Number((if negative { -whole } else { whole }).into()));
    }
    let decimal = radix == 10
        && plain.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && plain
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && plain.contains(['.', 'e', 'E']);
    let fraction = plain.parse::<f64>().ok().filter(|_| decimal)?;
    Number::from_f64(if negative { -fraction } else { fraction }).map(Value::Number)
}

/// Python allows single underscores between digits.
fn without_separators(digits: &str) -> Option<String> {
    let misplaced = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    (!misplaced).then(|| digits.replace('_', ""))
}
