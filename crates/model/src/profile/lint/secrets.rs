//! Secrets: what a profile must not pass on, since it would stand in plans, journals, records and lists of processes.

use std::ops::Range;

use regex::Regex;

use super::{Linter, Spot};
use crate::profile::PlaceSource;
use crate::secret::is_secret_key;

/// Keys under which names and values are passed to commands and servers.
const PASSED_ON: [&str; 2] = ["env", "headers"];

impl Linter<'_> {
    /// Places that hold a secret and do not say so, and secrets that are written into commands or requests.
    pub(super) fn secrets(&mut self, root: Spot<'_>) {
        let places = root.key("places");
        for (name, place) in &self.profile.places {
            let key = |source: &PlaceSource| match source {
                PlaceSource::Variable(key)
                | PlaceSource::Environment(key)
                | PlaceSource::Argument(key)
                | PlaceSource::Flag(key) => Some(key.clone()),
                PlaceSource::ConfigKey(config) => Some(config.key.clone()),
                PlaceSource::Options(_)
                | PlaceSource::Unit(_)
                | PlaceSource::Package(_)
                | PlaceSource::Processes(_)
                | PlaceSource::Exists(_)
                | PlaceSource::Default(_) => None,
            };
            let secret = is_secret_key(name)
                || place
                    .sources
                    .iter()
                    .filter_map(key)
                    .any(|key| is_secret_key(&key));
            let names_file = name.ends_with("_file");
            if secret && !names_file && !place.secret {
                self.error(
                    places.name(name),
                    format!("`{name}` holds a secret by its name, and would stand in plans and journals"),
                    "write `secret: true`, or look for the name of the file that holds it, as `…_file`",
                );
            }
        }
        self.passed_on(root);
    }

    fn passed_on(&mut self, at: Spot<'_>) {
        for entry in at.0.entries() {
            let inside = Spot(&entry.value);
            if PASSED_ON.contains(&entry.key.as_str()) {
                for passed in inside.0.entries() {
                    if is_secret_key(&passed.key) || passed.key.eq_ignore_ascii_case("authorization") {
                        self.error(
                            passed.key_range.clone(),
                            format!("`{}` is a secret by its name, and would stand in plans and journals", passed.key),
                            "pass on the name of the file that holds it: `authorization_file` of requests, a variable `…_FILE` of commands",
                        );
                    }
                }
            }
            self.passed_on(inside);
        }
        for item in at.0.items() {
            self.passed_on(Spot(item));
        }
    }

    fn is_secret_place(&self, name: &str) -> bool {
        self.profile.places.get(name).is_some_and(|place| place.secret)
    }

    /// Texts go into commands and messages.
    pub(super) fn no_secret_in_text(&mut self, range: &Range<usize>, place: &str) {
        if self.is_secret_place(place) {
            self.error(
                self.narrow(range, place),
                format!("`{place}` is a secret, and goes into no text"),
                "name the file that holds it, and let the command read that",
            );
        }
    }

    /// An expression may ask whether a secret is set.
    pub(super) fn no_secret_in_expression(&mut self, range: &Range<usize>, expression: &str) {
        let profile = self.profile;
        let secrets = profile.places.iter().filter(|(_, place)| place.secret);
        for (place, _) in secrets {
            let name = regex::escape(place);
            let count =
                |pattern: String| Regex::new(&pattern).map_or(0, |regex| regex.find_iter(expression).count());
            let read = count(format!(r"\bplaces\.{name}\b"));
            let asked = count(format!(r"\bhas\(\s*(?:\w+\.)*places\.{name}\s*\)"));
            if read > asked {
                self.error(
                    self.narrow(range, place),
                    format!("`{place}` is a secret, and is compared with nothing"),
                    format!("ask whether it is set: `has(places.{place})`"),
                );
            }
        }
    }
}
