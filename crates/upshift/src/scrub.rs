//! Secrets taken out of texts that leave this machine.
//!
//! What Upshift writes down itself holds none: places that hold secrets never leave their hosts. Logs and messages of products may.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// What stands in the place of a secret.
const SECRET: &str = "(secret)";

/// A key that names a secret, and its value: bare, in quotes, or in the escaped quotes of JSON within JSON. A number is no secret: it counts
/// tokens of another kind.
static KEYED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let key = r#"(?i)([\w.-]*(?:passw|passphrase|secret|token|credential|private_key|api_key|apikey)[\w.-]*(?:\\?["'])?\s*(?:[:=]|\s)\s*)"#;
    let value = r#"(?:\\"((?:[^"\\]|\\\\)+)\\"|"((?:[^"\\]|\\.)+)"|'([^']+)'|([^\s"'\\,;{}\[\]]*[^\s\d"'\\,;{}\[\]][^\s"'\\,;{}\[\]]*))"#;
    Regex::new(&format!("{key}{value}")).ok()
});
/// The value of an HTTP header that says who asks.
static HEADER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\b(basic|bearer)\s+[\w.~+/=-]{8,}").ok());
/// User and password in a URL.
static URL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"://[^/\s:@]+:[^/\s@]+@").ok());
static PEM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)").ok()
});

/// The text without what looks like a secret: values of keys that name one, user and password in URLs, headers that say who asks,
/// private keys. JSON stays JSON.
pub fn scrubbed(text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    let replace =
        |text: &mut Cow<'_, str>, pattern: &Option<Regex>, with: &dyn Fn(&regex::Captures<'_>) -> String| {
            if let Some(pattern) = pattern {
                *text = Cow::Owned(
                    pattern
                        .replace_all(text, |found: &regex::Captures<'_>| with(found))
                        .into_owned(),
                );
            }
        };
    replace(&mut text, &PEM, &|_| SECRET.to_owned());
    replace(&mut text, &URL, &|_| format!("://{SECRET}@"));
    replace(&mut text, &HEADER, &|found| format!("{} {SECRET}", &found[1]));
    replace(&mut text, &KEYED, &|found| {
        let (open, close) = match (found.get(2), found.get(3), found.get(4)) {
            (Some(_), ..) => ("\\\"", "\\\""),
            (_, Some(_), _) => ("\"", "\""),
            (.., Some(_)) => ("'", "'"),
            _ => ("", ""),
        };
        format!("{}{open}{SECRET}{close}", &found[1])
    });
    text.into_owned()
}

#[cfg(test)]
mod tests {
    use super::scrubbed;

    #[test]
    fn secrets_are_taken_out_and_what_is_none_stays() {
        for (text, expected) in [
            ("password=abc123 next", "password=(secret) next"),
            (
                "mqtt.dashboard_password: \"a b\"",
                "mqtt.dashboard_password: \"(secret)\"",
            ),
            (r#"{"api_key":"k1","n":1}"#, r#"{"api_key":"(secret)","n":1}"#),
            (
                r#"{"said":"{\"accessToken\":\"xyz\"}"}"#,
                r#"{"said":"{\"accessToken\":\"(secret)\"}"}"#,
            ),
            (
                "weka user login --password hunter2 admin",
                "weka user login --password (secret) admin",
            ),
            ("GET http://ann:pw@10.0.0.1/x", "GET http://(secret)@10.0.0.1/x"),
            (
                "Authorization: Bearer abcdefghijk",
                "Authorization: Bearer (secret)",
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nx",
                "(secret)\nx",
            ),
            // The journal's own: fencing tokens are numbers, and name no secret.
            (
                r#"{"token":17957,"controller":"c"}"#,
                r#"{"token":17957,"controller":"c"}"#,
            ),
            ("compass: north", "compass: north"),
            ("n1: the member serves again", "n1: the member serves again"),
        ] {
            assert_eq!(scrubbed(text), expected);
        }
    }

    #[test]
    fn json_stays_json() {
        let line =
            r#"{"event":{"env":{"PASSWORD":"x\"y"},"stderr":"token \"abc\" refused","secret":["a","b"]}}"#;
        let value: serde_json::Value = serde_json::from_str(&scrubbed(line))
            .unwrap_or_else(|error| panic!("{error}: {}", scrubbed(line)));
        assert!(value["event"].is_object());
    }
}
