//! Collecting what is wrong, over all files of an inventory.

use std::collections::BTreeSet;
use std::ops::Range;

use super::secrets;
use super::{Fleet, FleetError};
use crate::diagnostic::{Diagnostic, Mistake, Severity};

/// A place in one of the files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which file; see [`Sources::add`].
    source: usize,
    start: usize,
    end: usize,
}

/// The files read so far and what is wrong with them.
pub(super) struct Sources {
    files: Vec<Source>,
    /// Whether the first of the files is a directory, which has no text.
    directory: bool,
    errors: Vec<(Place, Diagnostic)>,
    /// What has been noted; a mistake in a group's variable comes up for every host of the group.
    noted: BTreeSet<(Place, String)>,
}

struct Source {
    name: String,
    /// The text as it may be shown, of the same length as the real one.
    shown: String,
}

/// One file, for reading it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceId(usize);

impl SourceId {
    /// A range of bytes of this file.
    pub fn at(self, range: Range<usize>) -> Place {
        Place {
            source: self.0,
            start: range.start,
            end: range.end,
        }
    }
}

impl Sources {
    /// Starts with the fleet file or inventory itself.
    pub fn new(name: &str, text: &str) -> Sources {
        let mut sources = Sources {
            files: Vec::new(),
            directory: false,
            errors: Vec::new(),
            noted: BTreeSet::new(),
        };
        sources.add(name, text);
        sources
    }

    /// Starts with the directory that an inventory is spread over.
    pub fn of_directory(name: &str) -> Sources {
        Sources {
            directory: true,
            ..Sources::new(name, "")
        }
    }

    /// Whether [`Sources::main_name`] is that of a directory.
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// Takes up a further file.
    pub fn add(&mut self, name: &str, text: &str) -> SourceId {
        self.files.push(Source {
            name: name.to_owned(),
            shown: secrets::mask(text),
        });
        SourceId(self.files.len() - 1)
    }

    /// The fleet file or inventory itself.
    pub fn main_id(&self) -> SourceId {
        SourceId(0)
    }

    /// A range of bytes of the fleet file or inventory itself.
    pub fn main(&self, range: Range<usize>) -> Place {
        self.main_id().at(range)
    }

    /// The name of the fleet file or inventory.
    pub fn main_name(&self) -> &str {
        &self.files[0].name
    }

    /// The name of a file that holds a place, and the line in it.
    pub fn name_and_line(&self, place: &Place) -> String {
        let file = &self.files[place.source];
        let line = file.shown.as_bytes()[..place.start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        format!("{}:{line}", file.name)
    }

    pub fn error(&mut self, place: Place, message: impl Into<String>, fix: impl Into<String>) {
        let mistake = Mistake::error(place.start..place.end, message, fix);
        self.mistake(SourceId(place.source), mistake);
    }

    /// Takes over what the YAML reader found.
    pub fn mistakes(&mut self, source: SourceId, mistakes: Vec<Mistake>) {
        for mistake in mistakes {
            self.mistake(source, mistake);
        }
    }

    fn mistake(
        &mut self,
        source: SourceId,
        Mistake {
            severity,
            range,
            message,
            fix,
        }: Mistake,
    ) {
        let place = source.at(range.clone());
        if !self.noted.insert((place.clone(), message.clone())) {
            return;
        }
        let file = &self.files[source.0];
        let diagnostic = Diagnostic::new(severity, &file.name, &file.shown, range, message, fix);
        self.errors.push((place, diagnostic));
    }

    /// Whether nothing has been found wrong so far.
    pub fn is_sound(&self) -> bool {
        self.errors.is_empty()
    }

    /// The fleet if nothing is wrong; otherwise all errors, by file and place.
    pub fn finish(mut self, fleet: Option<Fleet>) -> Result<Fleet, Vec<FleetError>> {
        let failed = self
            .errors
            .iter()
            .any(|(_, error)| error.severity == Severity::Error);
        match fleet {
            Some(fleet) if !failed => Ok(fleet),
            _ => {
                self.errors.sort_by(|(first, _), (second, _)| first.cmp(second));
                Err(self.errors.into_iter().map(|(_, error)| error).collect())
            }
        }
    }
}
