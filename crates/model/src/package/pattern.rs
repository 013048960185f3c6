//! Reading patterns, and printing names by them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{PackageError, PackageName, matching};
use crate::version::Scheme;

/// A pattern of package names; see the [module](super).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackagePattern {
    text: String,
    pub(super) pieces: Vec<Piece>,
}

/// One piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Part(String),
    /// Pieces that are all there or all not. Holds no further optional pieces.
    Optional(Vec<Piece>),
}

impl PackagePattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<PackagePattern, PackageError> {
        let mut reader = Reader {
            text,
            at: 0,
            parts: BTreeSet::new(),
        };
        let pieces = reader.pieces(false)?;
        if !reader.parts.contains("version") {
            return Err(reader.error(
                text.len(),
                "no `{version}`",
                "every package name says its version",
            ));
        }
        let pattern = PackagePattern {
            text: text.to_owned(),
            pieces,
        };
        pattern.refuse_adjacent_parts()?;
        Ok(pattern)
    }

    /// What `file_name` says, if it is a name of this pattern. `file_name` has no directories.
    ///
    /// Where a name can be split in several ways, the first of these is taken, from left to right: optional text is
    /// there rather than not; a version with its pre-release (`3.4.0-rc1-hadoop3` is `3.4.0-rc1`) rather than without,
    /// otherwise as short as possible (`3.4.0-GA-hadoop3` is `3.4.0`); other parts as short as possible.
    pub fn matches(&self, scheme: Scheme, file_name: &str) -> Option<PackageName> {
        matching::read(&self.pieces, scheme, file_name)
    }

    /// The file name with these parts; the inverse of [`PackagePattern::matches`]. Optional text is printed where its
    /// parts are given.
    pub fn print(&self, version: &str, parts: &BTreeMap<String, String>) -> Result<String, PackageError> {
        for (part, value) in parts {
            if !self.has_part(part) || !matching::may_be(part, value) {
                return Err(PackageError::UnusablePart {
                    pattern: self.text.clone(),
                    part: part.clone(),
                    value: value.clone(),
                });
            }
        }
        let value = |part: &str| {
            if part == "version" {
                Some(version)
            } else {
                parts.get(part).map(String::as_str)
            }
        };
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Optional(inner) if !part_names(inner).all(|part| value(part).is_some()) => {}
                Piece::Optional(inner) => inner
                    .iter()
                    .try_for_each(|piece| self.print_piece(piece, &value, &mut name))?,
                piece => self.print_piece(piece, &value, &mut name)?,
            }
        }
        Ok(name)
    }

    /// Whether the pattern has a part of this name.
    pub fn has_part(&self, part: &str) -> bool {
        part_names(&self.pieces).any(|name| name == part)
    }

    /// The exact text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn print_piece<'a>(
        &self,
        piece: &Piece,
        value: &impl Fn(&str) -> Option<&'a str>,
        name: &mut String,
    ) -> Result<(), PackageError> {
        match piece {
            Piece::Text(text) => name.push_str(text),
            Piece::Part(part) => name.push_str(value(part).ok_or_else(|| PackageError::MissingPart {
                pattern: self.text.clone(),
                part: part.clone(),
            })?),
            Piece::Optional(_) => {}
        }
        Ok(())
    }

    /// Two parts with nothing between them could be told apart nowhere.
    fn refuse_adjacent_parts(&self) -> Result<(), PackageError> {
        let with_optional: Vec<&Piece> = self.pieces.iter().flat_map(flatten).collect();
        let without: Vec<&Piece> = self
            .pieces
            .iter()
            .filter(|piece| !matches!(piece, Piece::Optional(_)))
            .collect();
        for pieces in [with_optional, without] {
            for pair in pieces.windows(2) {
                if let [Piece::Part(first), Piece::Part(second)] = pair {
                    let at = self.text.find(&format!("{{{second}")).unwrap_or(self.text.len());
                    return Err(error(
                        &self.text,
                        at,
                        format!("`{second}` follows `{first}` with nothing between them"),
                        "put fixed text between them, as in `{version}-{os}`",
                    ));
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for PackagePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

fn flatten(piece: &Piece) -> &[Piece] {
    match piece {
        Piece::Optional(inner) => inner,
        piece => std::slice::from_ref(piece),
    }
}

/// The names of all parts, optional ones included.
pub(super) fn part_names(pieces: &[Piece]) -> impl Iterator<Item = &str> {
    pieces.iter().flat_map(flatten).filter_map(|piece| match piece {
        Piece::Part(name) => Some(name.as_str()),
        _ => None,
    })
}

fn error(pattern: &str, at: usize, problem: impl Into<String>, help: &str) -> PackageError {
    PackageError::Pattern {
        pattern: pattern.to_owned(),
        offset: pattern[..at].chars().count(),
        problem: problem.into(),
        help: help.to_owned(),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    parts: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn error(&self, at: usize, problem: impl Into<String>, help: &str) -> PackageError {
        error(self.text, at, problem, help)
    }

    fn pieces(&mut self, optional: bool) -> Result<Vec<Piece>, PackageError> {
        let mut pieces = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest
                .find(['{', '}', '[', ']', '/', '*', '?'])
                .unwrap_or(rest.len());
            if end > 0 {
                pieces.push(Piece::Text(rest[..end].to_owned()));
                self.at += end;
            }
            match self.text[self.at..].chars().next() {
                None => return Ok(pieces),
                Some('{') => self.parts(optional, &mut pieces)?,
                Some('[') if !optional => pieces.push(self.optional()?),
                Some(']') if optional => return Ok(pieces),
                Some(character) => {
                    let help =
                        "write fixed text, parts such as `{os}`, and optional text such as `[-{edition}]`";
                    return Err(self.error(self.at, format!("unexpected `{character}`"), help));
                }
            }
        }
    }

    fn optional(&mut self) -> Result<Piece, PackageError> {
        let start = self.at;
        self.at += 1;
        let pieces = self.pieces(true)?;
        if !self.text[self.at..].starts_with(']') {
            return Err(self.error(start, "`[` without `]`", "close it"));
        }
        self.at += 1;
        if part_names(&pieces).next().is_none() {
            return Err(self.error(
                start,
                "optional text without a part",
                "name what it says, as in `[-{edition}]`",
            ));
        }
        Ok(Piece::Optional(pieces))
    }

    /// `{os}`, or `{version-env}` for `{version}-{env}`.
    fn parts(&mut self, optional: bool, pieces: &mut Vec<Piece>) -> Result<(), PackageError> {
        let start = self.at;
        let inner = &self.text[start + 1..];
        let Some(end) = inner.find('}') else {
            return Err(self.error(start, "`{` without `}`", "close it"));
        };
        let mut at = start + 1;
        for (index, name) in inner[..end].split('-').enumerate() {
            if index > 0 {
                pieces.push(Piece::Text("-".to_owned()));
            }
            self.part_name(at, name, optional)?;
            pieces.push(Piece::Part(name.to_owned()));
            at += name.len() + 1;
        }
        self.at = start + 1 + end + 1;
        Ok(())
    }

    fn part_name(&mut self, at: usize, name: &'a str, optional: bool) -> Result<(), PackageError> {
        let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if name.is_empty() || !letters {
            return Err(self.error(
                at,
                format!("`{name}` is not the name of a part"),
                "use small letters and `_`",
            ));
        }
        if name == "version" && optional {
            return Err(self.error(at, "an optional version", "every package name says its version"));
        }
        if !self.parts.insert(name) {
            return Err(self.error(at, format!("`{name}` is there twice"), "name each part once"));
        }
        Ok(())
    }
}
