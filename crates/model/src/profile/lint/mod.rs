//! Finds what is well-formed in a profile and still wrong.

mod names;
mod paths;
mod product;
mod reach;
mod secrets;
mod snapshots;
mod verbs;

use std::collections::BTreeSet;
use std::ops::Range;

use regex::Regex;

use self::names::Names;
use super::{PROCESS_PROBE, Profile};
use crate::diagnostic::{Mistake, Node, instead};
use crate::expr::{ExprError, Expression, FUNCTIONS};
use crate::template;
use crate::version::{self, Version};

/// All mistakes of a profile's meaning.
pub(super) fn lint(profile: &Profile, tree: &Node, text: &str) -> Vec<Mistake> {
    let mut linter = Linter::new(profile, text);
    let root = Spot(tree);
    linter.product(root);
    linter.packages(root.key("packages"));
    linter.places(root.key("places"));
    linter.secrets(root);
    linter.paths(root.key("paths"));
    linter.blocked(root.key("blocked"));
    linter.newest(root.key("newest"));
    linter.skew(root.key("skew"));
    linter.clients(root);
    linter.snapshots(root.key("snapshots"));
    linter.checks(root.key("checks"));
    linter.verbs(root.key("verbs"));
    linter.slots(root);
    linter.guard(root);
    linter.configuration(root.key("config"));
    linter.soak(root.key("soak"));
    linter.no_return(root.key("point_of_no_return"));
    linter.probes(root.key("probes"));
    linter.mistakes
}

/// A place in the tree. Going to a key or an element that is not written there stays where it is, so that there is always
/// something to point at.
#[derive(Clone, Copy)]
struct Spot<'a>(&'a Node);

impl<'a> Spot<'a> {
    fn key(self, key: &str) -> Spot<'a> {
        self.0.get(key).map_or(self, Spot)
    }

    fn item(self, index: usize) -> Spot<'a> {
        self.0.items().get(index).map_or(self, Spot)
    }

    /// The key itself, rather than its value.
    fn name(self, key: &str) -> Range<usize> {
        let entry = self.0.entries().iter().find(|entry| entry.key == key);
        entry.map_or_else(|| self.start(), |entry| entry.key_range.clone())
    }

    /// The first key of a mapping, so that a mistake about all of it does not underline a page.
    fn start(self) -> Range<usize> {
        match self.0.entries().first() {
            Some(entry) => entry.key_range.clone(),
            None => self.0.range.clone(),
        }
    }

    /// All texts in here.
    fn texts(self) -> Vec<(&'a str, Range<usize>)> {
        let mut found: Vec<_> = self
            .0
            .text()
            .map(|text| (text, self.0.range.clone()))
            .into_iter()
            .collect();
        for item in self.0.items() {
            found.extend(Spot(item).texts());
        }
        for entry in self.0.entries() {
            found.extend(Spot(&entry.value).texts());
        }
        found
    }
}

struct Linter<'a> {
    profile: &'a Profile,
    text: &'a str,
    mistakes: Vec<Mistake>,
    /// Named parts of releases, from package patterns and from inside packages.
    parts: BTreeSet<String>,
    /// Probes that something refers to.
    used: BTreeSet<String>,
    /// Probes that are observed before there is a plan.
    early: BTreeSet<String>,
}

impl<'a> Linter<'a> {
    fn new(profile: &'a Profile, text: &'a str) -> Self {
        Linter {
            profile,
            text,
            mistakes: Vec::new(),
            parts: BTreeSet::new(),
            used: BTreeSet::new(),
            early: BTreeSet::new(),
        }
    }

    fn error(&mut self, at: Range<usize>, message: impl Into<String>, fix: impl Into<String>) {
        self.mistakes.push(Mistake::error(at, message, fix));
    }

    fn warning(&mut self, at: Range<usize>, message: impl Into<String>, fix: impl Into<String>) {
        self.mistakes.push(Mistake::warning(at, message, fix));
    }

    /// The part of a place in which a name stands, if it does.
    fn narrow(&self, at: &Range<usize>, name: &str) -> Range<usize> {
        let source = self.text.get(at.clone()).unwrap_or_default();
        let inside_word = |at: usize| {
            let word = |character: char| character.is_alphanumeric() || character == '_';
            source[..at].ends_with(word) || source[at + name.len()..].starts_with(word)
        };
        let found = source
            .match_indices(name)
            .map(|(offset, _)| offset)
            .find(|offset| !inside_word(*offset));
        found.map_or_else(
            || at.clone(),
            |offset| at.start + offset..at.start + offset + name.len(),
        )
    }

    /// A range of versions.
    fn range(&mut self, at: Spot<'_>, text: &str) -> Option<version::Range> {
        match version::Range::parse(self.profile.versions.scheme, text) {
            Ok(range) => Some(range),
            Err(error) => {
                let place = self.narrow(&at.0.range, text);
                let offset = text.chars().take(error.offset).map(char::len_utf8).sum::<usize>();
                let message = format!("`{text}` is not a range of versions: {}", error.problem);
                self.error(
                    (place.start + offset).min(place.end.saturating_sub(1))..place.end,
                    message,
                    error.help,
                );
                None
            }
        }
    }

    fn optional_range(&mut self, at: Spot<'_>, key: &str, text: Option<&str>) -> Option<version::Range> {
        text.and_then(|text| self.range(at.key(key), text))
    }

    /// One version.
    fn version(&mut self, at: Spot<'_>, text: &str) -> Option<Version> {
        match Version::parse(self.profile.versions.scheme, text) {
            Ok(version) => Some(version),
            Err(error) => {
                let message = format!("`{text}` is not a {} version: {}", error.scheme, error.problem);
                self.error(at.0.range.clone(), message, error.help);
                None
            }
        }
    }

    /// An expression that may use certain names.
    fn expression(&mut self, at: Spot<'_>, text: &str, names: &Names) {
        let range = at.0.range.clone();
        let expression = match Expression::parse(text) {
            Ok(expression) => expression,
            Err(error) => {
                let reason = match &error {
                    ExprError::Syntax { reason, .. } => first_reason(reason),
                    ExprError::Evaluation { .. } => error.to_string(),
                };
                let fix = "write an expression such as `size(value.members) == 3 && at_least(to, '3.5.3')`";
                return self.error(range, format!("this is not an expression: {reason}"), fix);
            }
        };
        let bound = names::bound(text);
        for name in expression.references() {
            if !names.roots.contains(&name.as_str()) && !bound.contains(&name.as_str()) {
                let fix = instead(&name, names.roots.iter().copied());
                self.error(
                    self.narrow(&range, &name),
                    format!("{} knows no `{name}`", names.place),
                    fix,
                );
            }
        }
        for function in expression.functions() {
            let known = names::BUILT_IN.iter().chain(&FUNCTIONS).copied();
            if !known.clone().any(|name| name == function) {
                let fix = instead(&function, known);
                self.error(
                    self.narrow(&range, &function),
                    format!("there is no function `{function}`"),
                    fix,
                );
            }
        }
        for version in names::compared_versions(text) {
            if let Err(error) = Version::parse(self.profile.versions.scheme, version) {
                let message = format!("`{version}` is not a {} version: {}", error.scheme, error.problem);
                self.error(self.narrow(&range, version), message, error.help);
            }
        }
        for (map, member) in names::members(text) {
            self.member(&range, &map, &member);
        }
        self.no_secret_in_expression(&range, text);
        if let Some(map) = names::taken_by_position(text) {
            self.error(
                self.narrow(&range, &map),
                format!("`{map}` has no order, so this would take another element each time"),
                format!("take the first by name: `min({map}.filter(name, …))`"),
            );
        }
    }

    /// A text that may hold `{{ names }}`. `bindings` are the names under `let`.
    fn template<'n>(
        &mut self,
        range: &Range<usize>,
        text: &str,
        names: &Names,
        bindings: impl Iterator<Item = &'n str> + Clone,
    ) {
        let found = match template::names(text) {
            Ok(found) => found,
            Err(error) => {
                return self.error(
                    range.clone(),
                    error.to_string(),
                    "write names as `{{ places.data }}`",
                );
            }
        };
        for name in found {
            let (root, rest) = name.split_once('.').unwrap_or((&name, ""));
            let member = rest.split('.').next().unwrap_or_default();
            if !names.roots.contains(&root) {
                let fix = instead(root, names.roots.iter().copied());
                self.error(
                    self.narrow(range, root),
                    format!("{} knows no `{root}`", names.place),
                    fix,
                );
            } else if matches!(root, "let" | "bound") && !bindings.clone().any(|binding| binding == member) {
                let fix = instead(member, bindings.clone());
                self.error(
                    self.narrow(range, member),
                    format!("`let` of this verb has no `{member}`"),
                    fix,
                );
            } else if !member.is_empty() {
                self.member(range, root, member);
                if root == "places" {
                    self.no_secret_in_text(range, member);
                }
            }
        }
    }

    /// All texts below a key, as templates.
    fn templates<'n>(
        &mut self,
        at: Spot<'_>,
        key: &str,
        names: &Names,
        bindings: impl Iterator<Item = &'n str> + Clone,
    ) {
        for (text, range) in at.0.get(key).map(|node| Spot(node).texts()).unwrap_or_default() {
            self.template(&range, text, names, bindings.clone());
        }
    }

    /// A member of one of the well-known maps.
    fn member(&mut self, range: &Range<usize>, map: &str, member: &str) {
        let known: Vec<String> = match map {
            "places" => self.profile.places.keys().cloned().collect(),
            "probes" => {
                self.used.insert(member.to_owned());
                self.early.insert(member.to_owned());
                self.probe_names().map(str::to_owned).collect()
            }
            "host" => names::HOST_FIELDS.map(str::to_owned).to_vec(),
            "target" => self.parts.iter().cloned().chain(["size".to_owned()]).collect(),
            "variant" => self.parts.iter().cloned().collect(),
            _ => return,
        };
        if !known.iter().any(|name| name == member) {
            let fix = instead(member, known.iter().map(String::as_str));
            self.error(
                self.narrow(range, member),
                format!("`{map}` has no `{member}`"),
                fix,
            );
        }
    }

    /// The probes that may be named.
    fn probe_names(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let unwritten = (!self.profile.probes.contains_key(PROCESS_PROBE)).then_some(PROCESS_PROBE);
        self.profile.probes.keys().map(String::as_str).chain(unwritten)
    }

    /// The name of a probe.
    fn probe(&mut self, at: Spot<'_>, name: &str, early: bool) {
        self.used.insert(name.to_owned());
        if early {
            self.early.insert(name.to_owned());
        }
        if !self.probe_names().any(|known| known == name) {
            let fix = instead(name, self.probe_names());
            self.error(at.0.range.clone(), format!("there is no probe `{name}`"), fix);
        }
    }

    /// An expression over the value of a probe, before there is a plan.
    fn fact(&mut self, at: Spot<'_>, fact: &super::FactExpression) {
        self.probe(at.key("probe"), &fact.probe, true);
        self.expression(at.key("expression"), &fact.expression, &names::FACT);
    }

    /// A regular expression, which must have a group where something is to be taken out of a text.
    fn pattern(&mut self, at: Spot<'_>, text: &str, takes_group: bool) {
        let range = at.0.range.clone();
        match Regex::new(text) {
            Err(error) => {
                let reason = error.to_string();
                let reason = reason
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                let message = format!("`{text}` is not a regular expression: {reason}");
                self.error(
                    range,
                    message,
                    "escape characters that stand for themselves with `\\`",
                );
            }
            Ok(regex) if takes_group && regex.captures_len() < 2 => {
                let message = format!("`{text}` has no group, so that nothing is taken out of the text");
                self.error(range, message, "put parentheses around what is wanted");
            }
            Ok(_) => {}
        }
    }

    /// Names that must differ from each other.
    fn distinct<'n>(&mut self, at: Spot<'_>, what: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                let message = format!("a second {what} is named `{name}`");
                self.error(
                    at.item(index).key("name").0.range.clone(),
                    message,
                    "give each a name of its own",
                );
            }
        }
    }
}

/// The first thing that the expression parser says, without its own drawing and its list of tokens.
fn first_reason(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    let line = line.split_once("Syntax error: ").map_or(line, |(_, said)| said);
    let line = line.split(" expecting {").next().unwrap_or_default();
    line.replace("'<EOF>'", "its end")
}
