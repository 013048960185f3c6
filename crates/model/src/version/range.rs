//! Ranges of versions.

use std::cmp::Ordering;
use std::fmt;

use super::key::{Key, Stage};
use super::parse::{self, Cursor, Parsed, Trouble, characters_before};
use super::{Scheme, Version};

/// A set of versions of one scheme, such as `>=3.3.0 <3.4.0`, `3.4.x`, `>=3.5.0 <3.5.3 || =3.6.0` or `*`.
///
/// Alternatives are separated by `||`; a version must satisfy all comparators of one alternative, which are separated by
/// spaces or commas. A comparator is `>=`, `>`, `<=`, `<` or `=` and a version (a version alone means `=`), or numbers
/// that end in `x` or `*`.
///
/// A comparator looks no further than its own version does: `<=4.2.10` holds for `4.2.10.312-6a24a3`, `=3.5` for
/// `3.5.30`, `=4.4.16` for `4.4.16-otp24.3.4.2-1`, and `>3.5` does not hold for `3.5.30`. Apart from that comparators
/// follow [`Version::precedence`]: what `>=V` contains, all later versions are in, too.
///
/// Two things narrow a range further than order does, because a rule about releases must not quietly hold for others:
///
/// - A pre-release is contained only where a comparator of the same alternative names a pre-release of the same numbers:
///   `>=3.6.0-rc.0 <3.7.0` contains `3.6.0-rc.1` but not `3.7.0-rc.1`, which `>=3.6.0 <3.7.0` does not contain either.
///   `*` contains every version.
/// - A version with a word before its numbers (`e4.4.17`) is subject to every range; but a comparator that has such a
///   word holds only for versions with the same word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    text: String,
    scheme: Scheme,
    alternatives: Vec<Alternative>,
}

/// Why a text is not a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a range of {scheme} versions: {problem} at character {}; {help}", self.offset + 1)]
pub struct RangeError {
    /// The text.
    pub text: String,
    /// The scheme that its versions were read by.
    pub scheme: Scheme,
    /// Characters before the trouble.
    pub offset: usize,
    /// What is wrong there.
    pub problem: String,
    /// What to write instead.
    pub help: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Alternative {
    Everything,
    All(Vec<Comparator>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    prefix: String,
    key: Key,
    /// How many numbers its text has.
    precision: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    AtLeast,
    After,
    AtMost,
    Before,
    Same,
}

/// Longer ones first, so that `>=` is not read as `>`.
const OPERATORS: [(&str, Operator); 5] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::After),
    ("<", Operator::Before),
    ("=", Operator::Same),
];

const HELP: &str =
    "write comparators such as >=3.3.0 <3.4.0, 3.4.x, =3.5.16 or *, and || between alternatives";

impl Range {
    /// Reads a range of versions of `scheme`.
    pub fn parse(scheme: Scheme, text: &str) -> Result<Range, RangeError> {
        let mut alternatives = Vec::new();
        let mut start = 0;
        for alternative in text.split("||") {
            let read = read_alternative(scheme, alternative).map_err(|trouble| RangeError {
                text: text.to_owned(),
                scheme,
                offset: characters_before(text, start + trouble.offset),
                problem: trouble.problem,
                help: trouble.help.to_owned(),
            })?;
            alternatives.push(read);
            start += alternative.len() + "||".len();
        }
        Ok(Range {
            text: text.to_owned(),
            scheme,
            alternatives,
        })
    }

    /// Whether `version` is in the range. A version of another scheme never is.
    pub fn contains(&self, version: &Version) -> bool {
        version.scheme() == self.scheme
            && self
                .alternatives
                .iter()
                .any(|alternative| alternative.contains(version))
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl Alternative {
    fn contains(&self, version: &Version) -> bool {
        match self {
            Alternative::Everything => true,
            Alternative::All(comparators) => {
                comparators.iter().all(|comparator| comparator.holds(version))
                    && (!version.is_pre_release()
                        || comparators
                            .iter()
                            .any(|comparator| comparator.names_pre_release_of(version)))
            }
        }
    }
}

impl Comparator {
    fn holds(&self, version: &Version) -> bool {
        (self.prefix.is_empty() || self.prefix == version.prefix()) && self.admits(version.key())
    }

    fn admits(&self, key: &Key) -> bool {
        let order = self.order_of(key);
        match self.operator {
            Operator::AtLeast => order.is_ge(),
            Operator::After => order.is_gt(),
            Operator::AtMost => order.is_le(),
            Operator::Before => order.is_lt(),
            Operator::Same => order.is_eq(),
        }
    }

    /// Where `key` lies relative to this comparator's version, seen no more precisely than that is written.
    fn order_of(&self, key: &Key) -> Ordering {
        if self.key.stage != Stage::Release {
            return key.cmp(&self.key);
        }
        let before_first = matches!(key.stage, Stage::PreRelease(_)) && key.numbers.zero_from(self.precision);
        let same = if before_first {
            Ordering::Less
        } else {
            Ordering::Equal
        };
        key.numbers
            .compare_first(&self.key.numbers, self.precision)
            .then(same)
    }

    fn names_pre_release_of(&self, version: &Version) -> bool {
        matches!(self.key.stage, Stage::PreRelease(_)) && self.key.numbers == version.key().numbers
    }
}

fn read_alternative(scheme: Scheme, text: &str) -> Result<Alternative, Trouble> {
    let mut cursor = Cursor::new(text);
    let mut comparators: Vec<(usize, Comparator)> = Vec::new();
    let mut everything = None;
    loop {
        cursor.take_while(|c| c.is_whitespace() || c == ',');
        let start = cursor.at;
        if cursor.rest().is_empty() {
            break;
        }
        if matches!(cursor.rest().split(delimiter).next(), Some("*" | "x" | "X")) {
            cursor.at += 1;
            everything = Some(start);
            continue;
        }
        comparators.push((start, read_comparator(scheme, &mut cursor)?));
    }
    match (everything, comparators.is_empty()) {
        (None, true) => Err(trouble(text.len(), "a comparator is missing", HELP)),
        (Some(_), true) => Ok(Alternative::Everything),
        (Some(at), false) => Err(trouble(
            at,
            "`*` beside other comparators",
            "write one or the other",
        )),
        (None, false) => {
            refuse_contradictions(&comparators)?;
            Ok(Alternative::All(
                comparators
                    .into_iter()
                    .map(|(_, comparator)| comparator)
                    .collect(),
            ))
        }
    }
}

fn trouble(offset: usize, problem: impl Into<String>, help: &'static str) -> Trouble {
    Trouble {
        offset,
        problem: problem.into(),
        help,
    }
}

fn delimiter(character: char) -> bool {
    character.is_whitespace() || character == ','
}

fn read_comparator(scheme: Scheme, cursor: &mut Cursor<'_>) -> Result<Comparator, Trouble> {
    let start = cursor.at;
    let operator = OPERATORS
        .iter()
        .find(|(symbol, _)| cursor.take(symbol))
        .map(|(_, operator)| *operator);
    if operator.is_none() && cursor.rest().starts_with(['^', '~', '!']) {
        return Err(trouble(start, cursor.found(), HELP));
    }
    cursor.take_while(char::is_whitespace);
    let at = cursor.at;
    let word = cursor.take_while(|character| !delimiter(character));
    if word.is_empty() {
        return Err(trouble(at, "a version is missing", HELP));
    }
    let numbers = ["x", "X", "*"]
        .iter()
        .find_map(|wildcard| word.strip_suffix(wildcard)?.strip_suffix('.'));
    match (operator, numbers) {
        (Some(_), Some(_)) => Err(trouble(
            start,
            "a comparison with a wildcard",
            "write >=3.4.0 or 3.4.x",
        )),
        (None, Some(numbers)) => read_bound(scheme, numbers, Operator::Same, at, true),
        (operator, None) => read_bound(scheme, word, operator.unwrap_or(Operator::Same), at, false),
    }
}

fn read_bound(
    scheme: Scheme,
    word: &str,
    operator: Operator,
    at: usize,
    wildcard: bool,
) -> Result<Comparator, Trouble> {
    let parsed = match scheme {
        // A bound may leave numbers out, a version may not.
        Scheme::Semver => parse::semver_numbers(word, 1),
        Scheme::Vendor => parse::vendor(word),
        Scheme::Timestamp => parse::timestamp(word),
    };
    let shift = |trouble: Trouble| Trouble {
        offset: trouble.offset + at,
        ..trouble
    };
    let Parsed { prefix, key } = parsed.map_err(shift)?;
    if wildcard && key.stage != Stage::Release {
        return Err(trouble(
            at,
            "a wildcard after a suffix",
            "write numbers before it, as in 3.4.x",
        ));
    }
    let precision = key.numbers.0.len();
    Ok(Comparator {
        operator,
        prefix: word[..prefix].to_owned(),
        key,
        precision,
    })
}

/// Refuses `>=3.5.0 <3.4.0`: a rule that holds for nothing was not meant.
fn refuse_contradictions(comparators: &[(usize, Comparator)]) -> Result<(), Trouble> {
    let lower = comparators
        .iter()
        .filter(|(_, c)| matches!(c.operator, Operator::AtLeast | Operator::Same));
    // The version of a lower bound is the least that the bound admits, and upper bounds are closed downwards.
    for (start, bound) in lower {
        for (at, other) in comparators {
            let contradicts = match other.operator {
                Operator::AtMost | Operator::Before => !other.admits(&bound.key),
                Operator::Same => other.order_of(&bound.key).is_gt(),
                Operator::AtLeast | Operator::After => false,
            };
            if contradicts {
                return Err(trouble(
                    *at.max(start),
                    "a comparator that contradicts another",
                    "no version satisfies both",
                ));
            }
        }
    }
    Ok(())
}
