//! Reading versions, one function per scheme.

use super::key::{Key, Numbers, Stage, Token};
use super::{Scheme, VersionError};

/// What was read: the length of the word before the numbers in bytes, and what to order by.
pub(super) struct Parsed {
    pub prefix: usize,
    pub key: Key,
}

/// What is wrong, and at which byte.
#[derive(Debug)]
pub(super) struct Trouble {
    pub offset: usize,
    pub problem: String,
    pub help: &'static str,
}

impl Trouble {
    fn new(offset: usize, problem: impl Into<String>, help: &'static str) -> Trouble {
        Trouble {
            offset,
            problem: problem.into(),
            help,
        }
    }

    pub fn error(self, scheme: Scheme, text: &str) -> VersionError {
        VersionError {
            text: text.to_owned(),
            scheme,
            offset: characters_before(text, self.offset),
            problem: self.problem,
            help: self.help.to_owned(),
        }
    }
}

/// How many characters of `text` lie before byte `offset`.
pub(super) fn characters_before(text: &str, offset: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < offset).count()
}

const SEMVER_HELP: &str = "write three numbers and, if need be, a pre-release, such as 3.5.16 or 3.6.0-rc.1";
const VENDOR_HELP: &str = "write numbers with dots, such as 4.4.16, 15.4 or 4.4.16-otp24.3.4.2-1";
const TIMESTAMP_HELP: &str = "write it as in RELEASE.2024-01-11T07-46-16Z";

/// A position in a text.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !wanted(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    pub fn take(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    /// What stands here, in words.
    pub fn found(&self) -> String {
        match self.rest().chars().next() {
            Some(character) => format!("unexpected `{}`", character.escape_debug()),
            None => "the text ends too early".to_owned(),
        }
    }

    /// A number in digits.
    fn number(&mut self, help: &'static str) -> Result<u64, Trouble> {
        let start = self.at;
        let digits = self.take_while(|character| character.is_ascii_digit());
        if digits.is_empty() {
            return Err(Trouble::new(start, self.found(), help));
        }
        digits
            .parse()
            .map_err(|_| Trouble::new(start, "a number that is too large", help))
    }

    /// Numbers with dots between them, as many as there are.
    pub fn dotted(&mut self, help: &'static str) -> Result<Vec<u64>, Trouble> {
        let mut numbers = vec![self.number(help)?];
        while self
            .rest()
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            self.at += 1;
            numbers.push(self.number(help)?);
        }
        Ok(numbers)
    }
}

pub(super) fn semver(text: &str) -> Result<Parsed, Trouble> {
    semver_numbers(text, 3)
}

/// A semantic version with at least `fewest` numbers; bounds of ranges may leave numbers out.
pub(super) fn semver_numbers(text: &str, fewest: usize) -> Result<Parsed, Trouble> {
    if text.starts_with(['v', 'V']) {
        return Err(Trouble::new(
            0,
            "unexpected `v`",
            "leave it out: versions of this scheme begin with a number",
        ));
    }
    let mut cursor = Cursor::new(text);
    let numbers = cursor.dotted(SEMVER_HELP)?;
    let leading_zero = text[..cursor.at]
        .split('.')
        .any(|number| number.len() > 1 && number.starts_with('0'));
    if leading_zero {
        return Err(Trouble::new(0, "a number with a leading zero", SEMVER_HELP));
    }
    if numbers.len() < fewest || numbers.len() > 3 {
        let problem = format!("{} numbers", numbers.len());
        return Err(Trouble::new(cursor.at, problem, SEMVER_HELP));
    }
    let mut stage = Stage::Release;
    if numbers.len() == 3 && cursor.take("-") {
        stage = Stage::PreRelease(identifiers(&mut cursor, true)?);
    }
    if numbers.len() == 3 && cursor.take("+") {
        identifiers(&mut cursor, false)?;
    }
    if !cursor.rest().is_empty() {
        return Err(Trouble::new(cursor.at, cursor.found(), SEMVER_HELP));
    }
    Ok(Parsed {
        prefix: 0,
        key: Key {
            numbers: Numbers(numbers),
            stage,
        },
    })
}

/// Dot-separated identifiers of a pre-release (`ordered`) or of build metadata.
fn identifiers(cursor: &mut Cursor<'_>, ordered: bool) -> Result<Vec<Token>, Trouble> {
    let mut tokens = Vec::new();
    loop {
        let start = cursor.at;
        let identifier = cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '-');
        let number = identifier.bytes().all(|byte| byte.is_ascii_digit());
        if identifier.is_empty() {
            return Err(Trouble::new(start, cursor.found(), SEMVER_HELP));
        }
        if ordered && number && identifier.len() > 1 && identifier.starts_with('0') {
            return Err(Trouble::new(start, "a number with a leading zero", SEMVER_HELP));
        }
        tokens.push(if number {
            Token::number(identifier)
        } else {
            Token::Word(identifier.to_owned())
        });
        if !cursor.take(".") {
            return Ok(tokens);
        }
    }
}

pub(super) fn vendor(text: &str) -> Result<Parsed, Trouble> {
    let mut cursor = Cursor::new(text);
    let prefix = cursor
        .take_while(|character| character.is_ascii_alphabetic())
        .len();
    let numbers = Numbers(cursor.dotted(VENDOR_HELP)?);
    let suffix = cursor.rest();
    check_suffix(suffix).map_err(|(at, problem)| Trouble::new(cursor.at + at, problem, VENDOR_HELP))?;
    Ok(Parsed {
        prefix,
        key: Key {
            numbers,
            stage: vendor_stage(suffix),
        },
    })
}

const SEPARATORS: [char; 5] = ['.', '-', '_', '+', '~'];

/// A suffix is made of letters, digits and single separators between them.
fn check_suffix(suffix: &str) -> Result<(), (usize, String)> {
    let mut after_separator = false;
    for (at, character) in suffix.char_indices() {
        let separator = SEPARATORS.contains(&character);
        if !separator && !character.is_ascii_alphanumeric() || separator && after_separator {
            return Err((at, format!("unexpected `{}`", character.escape_debug())));
        }
        after_separator = separator;
    }
    if after_separator {
        Err((suffix.len(), "the text ends too early".to_owned()))
    } else {
        Ok(())
    }
}

/// Words that begin a pre-release in the vendor scheme, in their order.
const PRE_RELEASES: [(&str, usize); 10] = [
    ("dev", 1),
    ("nightly", 1),
    ("pre", 2),
    ("preview", 2),
    ("alpha", 3),
    ("beta", 4),
    ("milestone", 5),
    ("rc", 6),
    ("cr", 6),
    ("snapshot", 7),
];

fn vendor_stage(suffix: &str) -> Stage {
    let tokens = tokens(suffix);
    if tokens.is_empty() {
        return Stage::Release;
    }
    let rank = match (suffix.starts_with('~'), pre_release_rank(suffix)) {
        (_, Some(rank)) => rank,
        (true, None) => 0,
        (false, None) => return Stage::Build(tokens),
    };
    let rank = Token::number(&rank.to_string());
    Stage::PreRelease(std::iter::once(rank).chain(tokens).collect())
}

/// The place of a pre-release among the others; `None` if the suffix does not begin with the word of one.
fn pre_release_rank(suffix: &str) -> Option<usize> {
    let segment = suffix
        .trim_start_matches(SEPARATORS)
        .split(SEPARATORS)
        .next()
        .unwrap_or_default();
    let letters = segment
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(segment.len());
    let (word, rest) = segment.split_at(letters);
    let word = word.to_ascii_lowercase();
    if let Some((_, rank)) = PRE_RELEASES.iter().find(|(name, _)| *name == word) {
        return Some(*rank);
    }
    // One letter counts only in a short form such as `M1` or `b12`, so that `a1b2c3d` stays what it is: a commit.
    let short = (1..=2).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit());
    match word.as_str() {
        "a" if short => Some(3),
        "b" if short => Some(4),
        "m" if short => Some(5),
        _ => None,
    }
}

/// The runs of digits and of letters, letters in lower case.
fn tokens(suffix: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut cursor = Cursor::new(suffix);
    while !cursor.rest().is_empty() {
        cursor.take_while(|c| SEPARATORS.contains(&c));
        let digits = cursor.take_while(|c| c.is_ascii_digit());
        if !digits.is_empty() {
            tokens.push(Token::number(digits));
        }
        let letters = cursor.take_while(|c| c.is_ascii_alphabetic());
        if !letters.is_empty() {
            tokens.push(Token::Word(letters.to_ascii_lowercase()));
        }
    }
    tokens
}

pub(super) fn timestamp(text: &str) -> Result<Parsed, Trouble> {
    let mut cursor = Cursor::new(text);
    let prefix = cursor
        .take_while(|character| character.is_ascii_alphabetic())
        .len();
    if prefix > 0 && !cursor.take(".") && !cursor.take("-") {
        return Err(Trouble::new(cursor.at, cursor.found(), TIMESTAMP_HELP));
    }
    let mut numbers = vec![field(&mut cursor, 4, 0..=9999)?];
    for most in [12, 31] {
        separator(&mut cursor, &["-"])?;
        numbers.push(field(&mut cursor, 2, 1..=most)?);
    }
    if cursor.take("T") {
        numbers.push(field(&mut cursor, 2, 0..=23)?);
        for most in [59, 60] {
            separator(&mut cursor, &["-", ":"])?;
            numbers.push(field(&mut cursor, 2, 0..=most)?);
        }
        cursor.take("Z");
    }
    let suffix = cursor.rest();
    if suffix.starts_with(|character: char| character.is_ascii_alphanumeric()) {
        return Err(Trouble::new(cursor.at, cursor.found(), TIMESTAMP_HELP));
    }
    check_suffix(suffix).map_err(|(at, problem)| Trouble::new(cursor.at + at, problem, TIMESTAMP_HELP))?;
    let tokens = tokens(suffix);
    let stage = if tokens.is_empty() {
        Stage::Release
    } else {
        Stage::Build(tokens)
    };
    Ok(Parsed {
        prefix,
        key: Key {
            numbers: Numbers(numbers),
            stage,
        },
    })
}

fn separator(cursor: &mut Cursor<'_>, wanted: &[&str]) -> Result<(), Trouble> {
    if wanted.iter().any(|text| cursor.take(text)) {
        Ok(())
    } else {
        Err(Trouble::new(cursor.at, cursor.found(), TIMESTAMP_HELP))
    }
}

/// A field of exactly `width` digits within `allowed`.
fn field(
    cursor: &mut Cursor<'_>,
    width: usize,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<u64, Trouble> {
    let start = cursor.at;
    let digits = cursor.take_while(|character| character.is_ascii_digit());
    if digits.is_empty() {
        return Err(Trouble::new(start, cursor.found(), TIMESTAMP_HELP));
    }
    match digits.parse() {
        Ok(value) if digits.len() == width && allowed.contains(&value) => Ok(value),
        _ => Err(Trouble::new(
            start,
            format!("unexpected `{digits}`"),
            TIMESTAMP_HELP,
        )),
    }
}
