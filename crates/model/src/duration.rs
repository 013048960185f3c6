//! Durations as operators write them: `500ms`, `30s`, `10m`, `2h`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time, or a moment counted from the start of a run, in milliseconds.
///
/// The pure crates know no other clock: moments reach them inside events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration; write a number and a unit, such as 500ms, 30s, 10m or 2h")]
pub struct DurationError(pub String);

impl Millis {
    /// No time at all.
    pub const ZERO: Millis = Millis(0);

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Millis(seconds * 1000)
    }

    /// The sum, or the greatest value where the sum does not fit.
    pub const fn plus(self, other: Millis) -> Self {
        Millis(self.0.saturating_add(other.0))
    }

    /// The difference, or zero where `other` is later.
    pub const fn minus(self, other: Millis) -> Self {
        Millis(self.0.saturating_sub(other.0))
    }

    /// The product, or the greatest value where the product does not fit.
    pub const fn times(self, factor: u64) -> Self {
        Millis(self.0.saturating_mul(factor))
    }
}

/// Seconds of a span of time as programs say it in words: `1 days, 2 hours, 3 minutes, 4 seconds`, each part optional; nothing where
/// the text is something else. `5m`, as configuration files have it, is a span of time, too.
pub fn in_words(text: &str) -> Option<i64> {
    if let Ok(span) = text.parse::<Millis>() {
        return i64::try_from(span.0 / 1000).ok();
    }
    let mut sum: i64 = 0;
    if text.is_empty() {
        // Programs that leave out what is zero say nothing in their first second.
        return Some(sum);
    }
    for part in text.split(',') {
        let (count, unit) = part.trim().split_once(' ')?;
        let unit = match unit.trim().trim_end_matches('s') {
            "second" => 1,
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            "week" => 604_800,
            _ => return None,
        };
        sum = sum.checked_add(count.parse::<i64>().ok()?.checked_mul(unit)?)?;
    }
    Some(sum)
}

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

impl FromStr for Millis {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || DurationError(text.to_owned());
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[digits.len()..];
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        let count: u64 = digits.parse().map_err(|_| error())?;
        count.checked_mul(*factor).map(Millis).ok_or_else(error)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .rev()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(&UNITS[1]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Millis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Millis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]{1,12}(ms|s|m|h)$",
            "title": "duration",
            "description": "A number and a unit, such as 500ms, 30s, 10m or 2h."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_words_are_seconds() {
        assert_eq!(in_words("19 seconds"), Some(19));
        assert_eq!(in_words("1 days, 2 hours, 3 minutes, 4 seconds"), Some(93_784));
        assert_eq!(in_words("1 day, 1 hour"), Some(90_000));
        assert_eq!(in_words(""), Some(0));
        assert_eq!((in_words("5m"), in_words("30s")), (Some(300), Some(30)));
        for text in ["soon", "5", "5 moons", "1 days 2 hours"] {
            assert_eq!(in_words(text), None, "{text}");
        }
    }

    #[test]
    fn durations_read_back_as_they_print() {
        for text in ["500ms", "30s", "10m", "2h", "0s", "1500ms"] {
            assert_eq!(text.parse::<Millis>().unwrap().to_string(), text);
        }
        assert_eq!("90s".parse::<Millis>().unwrap(), Millis(90_000));
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "10", "s", "1.5s", "10 s", "-1s", "99999999999999999999h"] {
            assert!(
                text.parse::<Millis>().unwrap_err().to_string().contains("30s"),
                "{text}"
            );
        }
    }
}
