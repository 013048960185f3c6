//! Erlang terms as text: what products written in Erlang print, and keep in files such as `relup` and `RELEASES`.
//!
//! A term becomes JSON: tuples and lists are arrays, maps are objects whose keys are written as texts, atoms, strings and binaries are
//! texts, `true` and `false` are what they are. Pids, references and functions are texts as they were printed.

use serde_json::{Map, Number, Value};

/// Why a text is no Erlang term.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TermError {
    /// Line of the text, counted from 1.
    pub line: usize,
    /// What was found, and what was expected.
    pub reason: String,
}

/// Reads the first term of a text. Words in front of it that no term begins with, as in `Cluster status: #{…}`, are passed over,
/// comments too; what follows the term is not looked at.
///
/// # Errors
/// Where there is none, or it is not whole.
pub fn first_term(text: &str) -> Result<Value, TermError> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    reader.skip_space();
    if reader.rest().starts_with(|c: char| c.is_alphabetic())
        && let Some(found) = text.find(['[', '{', '#', '"', '<'])
        && text[reader.at..found].contains(':')
    {
        reader.at = found;
    }
    reader.term()
}

/// The deepest nesting that is read: a term of a release has a handful.
const DEEPEST: usize = 200;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T, TermError> {
        Err(TermError {
            line: 1 + self.text[..self.at].matches('\n').count(),
            reason: reason.into(),
        })
    }

    /// Passes over white space and comments.
    fn skip_space(&mut self) {
        loop {
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            if !trimmed.starts_with('%') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn take(&mut self, word: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn term(&mut self) -> Result<Value, TermError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.error("the term is nested too deeply");
        }
        self.skip_space();
        let term = match self.rest().chars().next() {
            Some('{') => self.sequence("{", "}").map(Value::Array),
            Some('[') => self.sequence("[", "]").map(Value::Array),
            Some('#') => self.special(),
            Some('"') => self.strings(),
            Some('\'') => self.quoted('\'').map(Value::String),
            Some('<') => self.binary_or_pid(),
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => self.number(),
            Some(c) if c.is_alphabetic() || c == '_' => Ok(self.atom()),
            Some(c) => self.error(format!("a term cannot begin with `{c}`")),
            None => self.error("the text ends where a term should begin"),
        };
        self.depth -= 1;
        term
    }

    fn sequence(&mut self, open: &str, close: &str) -> Result<Vec<Value>, TermError> {
        self.take(open);
        let mut items = Vec::new();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(self.term()?);
            // `[a|b]` is a list with an odd end; as JSON it has one element more.
            if self.take(",") || (close == "]" && self.take("|")) {
                continue;
            }
            if self.take(close) {
                return Ok(items);
            }
            return self.error(format!("`,` or `{close}` is missing"));
        }
    }

    /// `#{key => value}`, or what is printed as `#Ref<0.1.2.3>` and `#Fun<module.1.2>`.
    fn special(&mut self) -> Result<Value, TermError> {
        if !self.rest().starts_with("#{") {
            let end = self.rest().find('>').map_or(self.rest().len(), |end| end + 1);
            let text = self.rest()[..end].to_owned();
            self.at += end;
            return Ok(Value::String(text));
        }
        self.at += 2;
        let mut entries = Map::new();
        if self.take("}") {
            return Ok(Value::Object(entries));
        }
        loop {
            let key = match self.term()? {
                Value::String(text) => text,
                other => other.to_string(),
            };
            if !self.take("=>") {
                return self.error("`=>` is missing");
            }
            let value = self.term()?;
            entries.insert(key, value);
            if self.take("}") {
                return Ok(Value::Object(entries));
            }
            if !self.take(",") {
                return self.error("`,` or `}` is missing");
            }
        }
    }

    /// Strings next to each other are one.
    fn strings(&mut self) -> Result<Value, TermError> {
        let mut text = String::new();
        while self.rest().starts_with('"') {
            text.push_str(&self.quoted('"')?);
            self.skip_space();
        }
        Ok(Value::String(text))
    }

    fn quoted(&mut self, quote: char) -> Result<String, TermError> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.at += at + 1;
                return Ok(text);
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, other)) => text.push(other),
                None => break,
            }
        }
        self.error(format!("the closing {quote} is missing"))
    }

    /// `<<"text">>`, `<<1,2>>`, or a pid as it is printed.
    fn binary_or_pid(&mut self) -> Result<Value, TermError> {
        if self.rest().starts_with("<<") {
            self.at += 2;
            self.skip_space();
            let value = if self.rest().starts_with('"') {
                let text = self.strings()?;
                self.take("/utf8");
                text
            } else {
                let mut bytes = Vec::new();
                while !self.rest().starts_with(">>") {
                    bytes.push(self.term()?);
                    if !self.take(",") {
                        break;
                    }
                }
                Value::Array(bytes)
            };
            return if self.take(">>") {
                Ok(value)
            } else {
                self.error("`>>` is missing")
            };
        }
        match self.rest().find('>') {
            Some(end) => {
                let text = self.rest()[..=end].to_owned();
                self.at += end + 1;
                Ok(Value::String(text))
            }
            None => self.error("`>` is missing"),
        }
    }

    fn number(&mut self) -> Result<Value, TermError> {
        let in_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '#');
        let rest = self.rest();
        let mut end = rest.find(|c: char| !in_number(c)).unwrap_or(rest.len());
        // The full stop at the end of a file is not the number's.
        if rest[..end].ends_with('.') {
            end -= 1;
        }
        let word = &rest[..end];
        let whole = word.parse::<i64>().ok().map(Number::from);
        let number = whole.or_else(|| {
            let broken = word.contains('.').then(|| word.parse::<f64>().ok());
            broken.flatten().and_then(Number::from_f64)
        });
        match number {
            Some(number) => {
                self.at += end;
                Ok(Value::Number(number))
            }
            // Larger than any number that is calculated with here.
            None if word.trim_start_matches('-').chars().all(|c| c.is_ascii_digit()) => {
                self.at += end;
                Ok(Value::String(word.to_owned()))
            }
            None => self.error(format!("`{word}` is no number")),
        }
    }

    fn atom(&mut self) -> Value {
        let in_atom = |c: char| c.is_alphanumeric() || c == '_' || c == '@';
        let rest = self.rest();
        let end = rest.find(|c: char| !in_atom(c)).unwrap_or(rest.len());
        self.at += end;
        match &rest[..end] {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            word => Value::String(word.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn upgrade_instructions_are_read() {
        let text = "%% coding: utf-8\n{\"4.4.16\",\n [{\"4.4.15\",[],[{load_object_code,{emqx,\"4.4.16\",[emqx_sys]}},\n  \
                    point_of_no_return,{code_change,up,[{emqx_sys,[]}]}]}],\n [{\"4.4.15\",[],[restart_emulator]}]}.\n";
        assert_eq!(
            first_term(text).unwrap(),
            json!([
                "4.4.16",
                [[
                    "4.4.15",
                    [],
                    [
                        ["load_object_code", ["emqx", "4.4.16", ["emqx_sys"]]],
                        "point_of_no_return",
                        ["code_change", "up", [["emqx_sys", []]]]
                    ]
                ]],
                [["4.4.15", [], ["restart_emulator"]]]
            ])
        );
    }

    #[test]
    fn maps_are_found_behind_words() {
        let text =
            "Cluster status: #{running_nodes => ['a@h','b@h'],\n                  stopped_nodes => []}\n";
        assert_eq!(
            first_term(text).unwrap(),
            json!({"running_nodes": ["a@h", "b@h"], "stopped_nodes": []})
        );
    }

    #[test]
    fn every_kind_of_term_has_its_value() {
        let text = "[1, -2, 3.5, <<\"bin\"/utf8>>, <<1,2>>, 'quoted atom', \"a\" \"b\", true, <0.12.0>, #Ref<0.1.2>, [a|b], {}, \
                    123456789012345678901234567890, \"tab\\t\\\"q\\\"\"]";
        assert_eq!(
            first_term(text).unwrap(),
            json!([
                1,
                -2,
                3.5,
                "bin",
                [1, 2],
                "quoted atom",
                "ab",
                true,
                "<0.12.0>",
                "#Ref<0.1.2>",
                ["a", "b"],
                [],
                "123456789012345678901234567890",
                "tab\t\"q\""
            ])
        );
    }

    #[test]
    fn broken_terms_are_told_with_their_line() {
        for (text, line) in [
            ("", 1),
            ("{a,\n b", 2),
            ("[a b]", 1),
            ("\"open", 1),
            ("#{a = b}", 1),
            ("<<1", 1),
            ("?", 1),
        ] {
            assert_eq!(first_term(text).unwrap_err().line, line, "{text}");
        }
        let deep = "[".repeat(1000);
        assert!(first_term(&deep).unwrap_err().reason.contains("deeply"));
    }
}
