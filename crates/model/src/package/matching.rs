//! Splitting a file name by a pattern.

use std::collections::{BTreeMap, BTreeSet};

use super::PackageName;
use super::pattern::Piece;
use crate::version::{Scheme, Version};

/// No file system that packages live on has longer names.
const LONGEST_NAME: usize = 255;

/// Splits `name`; see [`super::PackagePattern::matches`] for the order in which splits are tried.
pub(super) fn read(pieces: &[Piece], scheme: Scheme, name: &str) -> Option<PackageName> {
    if name.len() > LONGEST_NAME || !name.is_ascii() {
        return None;
    }
    let mut search = Search {
        scheme,
        name,
        nodes: nodes(pieces),
        dead_ends: BTreeSet::new(),
        taken: Vec::new(),
    };
    if !search.run(0, 0) {
        return None;
    }
    let mut parts: BTreeMap<String, String> = search
        .taken
        .into_iter()
        .map(|(part, value)| (part.to_owned(), value.to_owned()))
        .collect();
    let version = Version::parse(scheme, &parts.remove("version")?).ok()?;
    Some(PackageName { version, parts })
}

/// Whether `value` is of the kind that the part's name promises.
pub(super) fn may_be(part: &str, value: &str) -> bool {
    let letter_first = value.starts_with(|c: char| c.is_ascii_alphabetic());
    let only = |allowed: &[u8]| {
        value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || allowed.contains(&byte))
    };
    match part {
        "otp" => is_otp(value),
        "os" => letter_first && only(b"._+"),
        "arch" => letter_first && only(b"_"),
        "edition" => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_lowercase()),
        _ => !value.is_empty() && only(b"._+~-"),
    }
}

/// `24.3.4.2-1`: dotted numbers, then perhaps a build number.
fn is_otp(value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (release, build) = value.split_once('-').unwrap_or((value, "0"));
    release.split('.').all(digits) && digits(build)
}

/// A step of the search. Optional pieces are laid out in a row after the choice whether to go through them.
enum Node<'a> {
    Text(&'a str),
    Part(&'a str),
    /// Go on here, or skip to that node.
    Choice(usize),
}

fn nodes(pieces: &[Piece]) -> Vec<Node<'_>> {
    let mut nodes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => nodes.push(Node::Text(text)),
            Piece::Part(part) => nodes.push(Node::Part(part)),
            Piece::Optional(inner) => {
                let choice = nodes.len();
                nodes.push(Node::Choice(0));
                nodes.extend(self::nodes(inner));
                nodes[choice] = Node::Choice(nodes.len());
            }
        }
    }
    nodes
}

/// A search from left to right that never looks twice at what failed before, so that its time is bounded by a small
/// power of the name's length.
struct Search<'a> {
    scheme: Scheme,
    name: &'a str,
    nodes: Vec<Node<'a>>,
    /// Node and position from which nothing matches.
    dead_ends: BTreeSet<(usize, usize)>,
    taken: Vec<(&'a str, &'a str)>,
}

impl<'a> Search<'a> {
    fn run(&mut self, node: usize, at: usize) -> bool {
        if node == self.nodes.len() {
            return at == self.name.len();
        }
        if self.dead_ends.contains(&(node, at)) {
            return false;
        }
        let found = match self.nodes[node] {
            Node::Text(text) => self.name[at..].starts_with(text) && self.run(node + 1, at + text.len()),
            Node::Choice(skip) => self.run(node + 1, at) || self.run(skip, at),
            Node::Part(part) => self
                .candidates(part, at)
                .into_iter()
                .any(|end| self.take(part, node, at, end)),
        };
        if !found {
            self.dead_ends.insert((node, at));
        }
        found
    }

    fn take(&mut self, part: &'a str, node: usize, at: usize, end: usize) -> bool {
        let taken = self.taken.len();
        self.taken.push((part, &self.name[at..end]));
        let found = self.run(node + 1, end);
        if !found {
            self.taken.truncate(taken);
        }
        found
    }

    /// Where a part that begins at `at` may end, the preferred ends first.
    fn candidates(&self, part: &str, at: usize) -> Vec<usize> {
        let ends = at + 1..=self.name.len();
        if part != "version" {
            return ends.filter(|end| may_be(part, &self.name[at..*end])).collect();
        }
        let versions =
            ends.filter_map(|end| Some((end, Version::parse(self.scheme, &self.name[at..end]).ok()?)));
        let (pre_releases, others): (Vec<_>, Vec<_>) =
            versions.partition(|(_, version)| version.is_pre_release());
        pre_releases
            .into_iter()
            .chain(others)
            .map(|(end, _)| end)
            .collect()
    }
}
