//! Inventories in INI.

use std::collections::BTreeSet;
use std::ops::Range;

use super::words::{self, Word};
use super::{Content, Inventory, Mention, Variable, Variables, literal};
use crate::diagnostic;
use crate::fleet::names;
use crate::fleet::report::{SourceId, Sources};
use crate::fleet::secrets::VAULT_MARK;

/// Reads an inventory in INI. What is wrong is noted in `sources`; the rest is read on.
pub(super) fn read(sources: &mut Sources, source: SourceId, text: &str, inventory: &mut Inventory) {
    // A group of an earlier file need not be defined again.
    let known = inventory.groups.keys().cloned();
    let mut reader = Reader {
        sources,
        source,
        defined: known.chain(["all", "ungrouped"].map(str::to_owned)).collect(),
        inventory,
        section: Section {
            group: "ungrouped".to_owned(),
            kind: Kind::Hosts,
        },
        vars_sections: Vec::new(),
        children: Vec::new(),
    };
    reader.inventory.group("ungrouped");
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        let indent = line.len() - line.trim_start().len();
        if !content.is_empty() && !content.starts_with(['#', ';']) {
            reader.line(content, start + indent);
        }
        start += line.len();
    }
    reader.refuse_undefined_groups();
}

struct Reader<'s> {
    sources: &'s mut Sources,
    source: SourceId,
    inventory: &'s mut Inventory,
    section: Section,
    /// Groups that have a section of their own.
    defined: BTreeSet<String>,
    /// `[group:vars]` sections: the group must be defined somewhere.
    vars_sections: Vec<(String, Range<usize>)>,
    /// Groups named as children, likewise.
    children: Vec<(String, Range<usize>)>,
}

struct Section {
    group: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hosts,
    Children,
    Vars,
    /// A section that could not be read; its lines are passed over.
    Unknown,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, start: usize) {
        if line.starts_with('[')
            && let Some(name) = section_name(line)
        {
            return self.section(name, start + 1);
        }
        match self.section.kind {
            Kind::Hosts => self.host(line, start),
            Kind::Children => self.child(line, start),
            Kind::Vars => self.variable(line, start),
            Kind::Unknown => {}
        }
    }

    fn error(&mut self, range: Range<usize>, message: impl Into<String>, fix: impl Into<String>) {
        let place = self.source.at(range);
        self.sources.error(place, message, fix);
    }

    fn section(&mut self, name: &str, start: usize) {
        let range = start..start + name.len();
        let (group, kind) = match name.split_once(':') {
            None => (name, Kind::Hosts),
            Some((group, "vars")) => (group, Kind::Vars),
            Some((group, "children")) => (group, Kind::Children),
            Some((group, kind)) => {
                let at = range.start + group.len() + 1..range.end;
                let fix = match diagnostic::nearest(kind, ["vars", "children"]) {
                    Some(meant) => format!("did you mean `[{group}:{meant}]`?"),
                    None => format!("write `[{group}]`, `[{group}:vars]` or `[{group}:children]`"),
                };
                self.error(at, format!("`{kind}` is not a kind of section"), fix);
                (group, Kind::Unknown)
            }
        };
        let odd = group.is_empty() || group.contains(char::is_whitespace);
        if odd {
            self.error(
                range,
                "this is not the name of a group",
                "write `[web]`, `[web:vars]` or `[web:children]`",
            );
            self.section = Section {
                group: "ungrouped".to_owned(),
                kind: Kind::Unknown,
            };
            return;
        }
        match kind {
            Kind::Vars => self.vars_sections.push((group.to_owned(), range)),
            Kind::Unknown => {}
            Kind::Hosts | Kind::Children => {
                self.defined.insert(group.to_owned());
                self.inventory.group(group);
            }
        }
        self.section = Section {
            group: group.to_owned(),
            kind,
        };
    }

    fn words(&mut self, line: &str, start: usize) -> Option<Vec<Word>> {
        match words::split(line, true) {
            Ok(mut words) => {
                for word in &mut words {
                    word.range = start + word.range.start..start + word.range.end;
                }
                Some(words)
            }
            Err(at) => {
                self.error(
                    start + at..start + at + 1,
                    "this quote is never closed",
                    "close it on the same line",
                );
                None
            }
        }
    }

    /// `node[1:3]:22 ansible_user=admin rack=a`
    fn host(&mut self, line: &str, start: usize) {
        let Some(words) = self.words(line, start) else {
            return;
        };
        let Some((pattern, assignments)) = words.split_first() else {
            return;
        };
        let mut variables = Variables::new();
        for word in assignments {
            match word.text.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    variables.insert(key.to_owned(), self.assigned(value, word.range.clone()));
                }
                _ => self.error(
                    word.range.clone(),
                    "a host is followed by assignments only",
                    "write `key=value`, with quotes around values that hold spaces: key=\"two words\"",
                ),
            }
        }
        let (names, port) = names::split_port(&pattern.text);
        let port = port.map(|port| self.assigned(port, pattern.range.clone()));
        let names = match names::expand(names) {
            Ok(names) => names,
            Err(error) => return self.error(pattern.range.clone(), error.message, error.fix),
        };
        let found = Mention { port, variables };
        for name in names {
            self.inventory.add_host(&self.section.group, &name, &found);
        }
    }

    fn child(&mut self, line: &str, start: usize) {
        let Some(words) = self.words(line, start) else {
            return;
        };
        let (name, more) = match words.as_slice() {
            [name] => (name, None),
            [name, more, ..] => (name, Some(more)),
            [] => return,
        };
        if let Some(more) = more {
            self.error(
                more.range.clone(),
                "a line of this section names one group",
                "write each on a line of its own",
            );
        }
        let place = self.source.at(name.range.clone());
        self.children.push((name.text.clone(), name.range.clone()));
        self.inventory
            .group(&self.section.group)
            .children
            .insert(name.text.clone(), place);
    }

    /// `key = value`, the value to the end of the line.
    fn variable(&mut self, line: &str, start: usize) {
        let Some((key, value)) = line
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
        else {
            let range = start..start + line.len();
            return self.error(
                range,
                "a line of this section is an assignment",
                "write `key=value`",
            );
        };
        if key.is_empty() {
            return self.error(
                start..start + 1,
                "there is no name before `=`",
                "write `key=value`",
            );
        }
        let variable = self.assigned(value, start..start + line.len());
        self.inventory
            .group(&self.section.group)
            .variables
            .insert(key.to_owned(), variable);
    }

    fn assigned(&self, text: &str, range: Range<usize>) -> Variable {
        let content = match text.contains(VAULT_MARK) {
            true => Content::Encrypted,
            false => Content::Plain(literal::value(text)),
        };
        Variable {
            content,
            place: self.source.at(range),
        }
    }

    /// Groups are defined by `[group]` or `[group:children]`; naming one elsewhere does not make it.
    fn refuse_undefined_groups(&mut self) {
        let sections = std::mem::take(&mut self.vars_sections);
        let children = std::mem::take(&mut self.children);
        let defined = std::mem::take(&mut self.defined);
        for (name, range) in sections.into_iter().chain(children) {
            if defined.contains(&name) {
                continue;
            }
            let fix = match diagnostic::nearest(&name, defined.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("add a section `[{name}]`"),
            };
            self.error(range, format!("there is no group `{name}`"), fix);
        }
    }
}

/// What stands in the brackets of a section's line; `None` where the brackets are the range of a host's name.
fn section_name(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix('[')?.split_once(']')?;
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with(['#', ';'])).then_some(name)
}
