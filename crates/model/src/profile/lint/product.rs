//! Lint of what a profile says about the product itself: versions, packages, places, probes, configuration, soak.

use std::iter::empty;

use super::names::{ACTION, FACT_PROBE, Names, PROOF, RUN_PROBE};
use super::{Linter, Spot};
use crate::action::Service;
use crate::package::PackagePattern;
use crate::profile::{PlaceSource, Slot};
use crate::template;

/// Texts that an operator reads: an empty one helps nobody.
const SENTENCES: [&str; 9] = [
    "title",
    "description",
    "message",
    "remedy",
    "reason",
    "waiting",
    "rollback",
    "verbs_missing",
    "note",
];

impl Linter<'_> {
    /// The product's name, its versions, its service and its window.
    pub(super) fn product(&mut self, root: Spot<'_>) {
        let profile = self.profile;
        let name = profile.product.as_str();
        let plain = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
        };
        if name.is_empty() || !name.chars().all(plain) {
            let fix = "write small letters, digits and `-`, as it is typed on the command line";
            self.error(
                root.key("product").0.range.clone(),
                format!("`{name}` is not a short name"),
                fix,
            );
        }
        self.sentences(root);
        let versions = root.key("versions");
        self.fact(versions.key("running"), &profile.versions.running);
        if let Some(pattern) = &profile.versions.pattern {
            self.pattern(versions.key("pattern"), pattern, true);
        }
        self.templates(root, "service", &ACTION, empty());
        self.recognised(root.key("service").key("commands"));
        if let Some(leader) = &profile.leader {
            self.fact(root.key("leader"), leader);
        }
        let capacity = &profile.capacity;
        if capacity.max_unavailable == 0 {
            let at = root.key("capacity").key("max_unavailable").0.range.clone();
            self.error(
                at,
                "with no server ever down, nothing can be upgraded one by one",
                "write at least 1",
            );
        }
        if capacity.quorum && capacity.min_servers < 3 && !self.rolling_is_never_used() {
            let at = root.key("capacity").name("quorum");
            let fix = "write `min_servers: 3`, or leave `quorum` out";
            self.warning(at, "a majority of fewer than three servers bears no loss", fix);
        }
        self.window(root.key("window"));
    }

    /// What would be recognised by nothing.
    fn recognised(&mut self, at: Spot<'_>) {
        let Service::Commands(commands) = &self.profile.service else {
            return;
        };
        let alone = commands.process.iter().map(|wanted| (at.key("process"), wanted));
        let named = commands.processes.iter();
        let all = alone.chain(named.map(|(name, wanted)| (at.key("processes").key(name), wanted)));
        for (spot, wanted) in all {
            if wanted.program.is_none() && wanted.arguments.is_empty() && wanted.options.is_empty() {
                let message = "no process is recognised: neither a program nor an argument is named";
                self.error(
                    spot.0.range.clone(),
                    message,
                    "write `program`, `arguments` or `options`",
                );
            }
        }
    }

    fn window(&mut self, at: Spot<'_>) {
        let rules = &self.profile.window;
        for (key, value) in [
            ("limit", rules.limit),
            ("lease", rules.lease),
            ("slot", rules.slot),
        ] {
            if value.0 == 0 {
                let fix = "write how long it may take";
                self.error(
                    at.key(key).0.range.clone(),
                    format!("`{key}` is no time at all"),
                    fix,
                );
            }
        }
    }

    fn rolling_is_never_used(&self) -> bool {
        self.profile
            .paths
            .iter()
            .all(|path| path.strategy != crate::profile::Strategy::Rolling)
    }

    fn sentences(&mut self, at: Spot<'_>) {
        for entry in at.0.entries() {
            let empty = entry.value.text().is_some_and(|text| text.trim().is_empty());
            if empty && SENTENCES.contains(&entry.key.as_str()) {
                let fix = "write what an operator should read here";
                self.error(
                    entry.value.range.clone(),
                    format!("`{}` is empty", entry.key),
                    fix,
                );
            }
            let link = entry.value.text().filter(|_| entry.key == "link");
            if link.is_some_and(|link| !link.starts_with("https://") && !link.starts_with("http://")) {
                let fix = "write an address that begins with `https://`";
                self.warning(entry.value.range.clone(), "this link leads nowhere", fix);
            }
            self.sentences(Spot(&entry.value));
        }
        for item in at.0.items() {
            self.sentences(Spot(item));
        }
    }

    /// Package patterns; collects the named parts that `target` and `variant` have.
    pub(super) fn packages(&mut self, at: Spot<'_>) {
        let rules = &self.profile.packages;
        if rules.is_empty() {
            self.error(
                at.0.range.clone(),
                "no release can be recognised",
                "write at least one package pattern",
            );
        }
        self.parts.insert("version".to_owned());
        for (index, rule) in rules.iter().enumerate() {
            let at = at.item(index);
            let mut parts = match PackagePattern::parse(&rule.pattern) {
                Ok(_) => part_names(&rule.pattern),
                Err(error) => {
                    let fix = "write a pattern such as `etcd-v{version}-{os}-{arch}.tar.gz`, optional parts in `[…]`";
                    self.error(at.key("pattern").0.range.clone(), error.to_string(), fix);
                    Vec::new()
                }
            };
            self.optional_range(at, "versions", rule.versions.as_deref());
            for name in rule.defaults.keys() {
                if !parts.contains(name) {
                    let fix = crate::diagnostic::instead(name, parts.iter().map(String::as_str));
                    self.error(
                        at.key("defaults").name(name),
                        format!("the pattern has no part `{name}`"),
                        fix,
                    );
                }
            }
            for (name, inside) in &rule.inside {
                let spot = at.key("inside").key(name);
                self.inside_file(spot.key("file"), &inside.file, &parts);
                if let Some(pattern) = &inside.pattern {
                    self.pattern(spot.key("pattern"), pattern, true);
                }
                if inside.pattern.is_some() == inside.erlang.is_some() {
                    let fix = "write either `pattern`, a regular expression, or `erlang`, an expression over the file's first term";
                    let place = at.key("inside").name(name);
                    self.error(
                        place,
                        format!("it is not said how `{name}` is read from the file"),
                        fix,
                    );
                }
                if parts.contains(name) {
                    let message = format!("the package's name says `{name}` already");
                    self.error(at.key("inside").name(name), message, "give it another name");
                }
            }
            parts.extend(rule.inside.keys().cloned());
            self.parts.extend(parts);
        }
    }

    fn inside_file(&mut self, at: Spot<'_>, file: &str, parts: &[String]) {
        for name in template::names(file).unwrap_or_default() {
            if !parts.contains(&name) {
                let fix = crate::diagnostic::instead(&name, parts.iter().map(String::as_str));
                let place = self.narrow(&at.0.range, &name);
                self.error(place, format!("the pattern has no part `{name}`"), fix);
            }
        }
        if let Err(error) = template::names(file) {
            self.error(
                at.0.range.clone(),
                error.to_string(),
                "write names as `{{ version }}`",
            );
        }
    }

    /// Where things live.
    pub(super) fn places(&mut self, at: Spot<'_>) {
        for (name, place) in &self.profile.places {
            let spot = at.key(name);
            if place.sources.is_empty() {
                let fix = "write where it is looked for: `default: /path`, for instance";
                self.error(
                    spot.key("sources").0.range.clone(),
                    format!("`{name}` is found nowhere"),
                    fix,
                );
            }
            self.templates(spot, "sources", &FACT_PROBE, empty());
            for (index, source) in place.sources.iter().enumerate() {
                let last = index + 1 == place.sources.len();
                if let PlaceSource::Options(pattern) = source
                    && let Err(error) = regex::Regex::new(pattern)
                {
                    let at = spot.key("sources").item(index).start();
                    self.error(
                        at,
                        format!("`{pattern}` is no regular expression: {error}"),
                        "correct it",
                    );
                }
                if matches!(source, PlaceSource::Default(_)) && !last {
                    let fix = "write `default` last";
                    let at = spot.key("sources").item(index).start();
                    self.error(at, "the sources after a default are never tried", fix);
                }
            }
            if let Some(pattern) = &place.pattern
                && !regex::Regex::new(pattern).is_ok_and(|pattern| pattern.captures_len() > 1)
            {
                let fix = "write one, with the value in its first group";
                let message = format!("`{pattern}` is no regular expression with a group");
                self.error(spot.key("pattern").0.range.clone(), message, fix);
            }
            if self.depends_on(name, name, &mut Vec::new()) {
                let message = format!("`{name}` can only be found once it has been found");
                self.error(at.name(name), message, "name places that do not lead back here");
            }
        }
    }

    /// Whether the sources of a place use another place, directly or through others.
    fn depends_on(&self, place: &str, sought: &str, seen: &mut Vec<String>) -> bool {
        let Some(found) = self.profile.places.get(place) else {
            return false;
        };
        let sources = found.sources.iter().filter_map(|source| match source {
            PlaceSource::ConfigKey(key) => Some(&key.file),
            PlaceSource::Exists(text) | PlaceSource::Default(text) => Some(text),
            _ => None,
        });
        let texts = sources.chain(&found.relative_to);
        let names: Vec<String> = texts
            .flat_map(|text| template::names(text).unwrap_or_default())
            .collect();
        for name in names.iter().filter_map(|name| name.strip_prefix("places.")) {
            if name == sought {
                return true;
            }
            if !seen.iter().any(|known| known == name) {
                seen.push(name.to_owned());
                if self.depends_on(name, sought, seen) {
                    return true;
                }
            }
        }
        false
    }

    /// What becomes of configuration.
    pub(super) fn configuration(&mut self, at: Spot<'_>) {
        for (index, name) in self.profile.config.carry.iter().enumerate() {
            self.place_name(at.key("carry").item(index), name);
            self.carried_data(at.key("carry").item(index), name);
        }
        for (index, change) in self.profile.config.migrate.iter().enumerate() {
            let spot = at.key("migrate").item(index);
            self.optional_range(spot, "to", change.to.as_deref());
            self.optional_range(spot, "from", change.from.as_deref());
            self.templates(spot, "file", &ACTION, empty());
            self.templates(spot, "set", &ACTION, empty());
            if change.drop.is_empty() && change.comment.is_empty() && change.set.is_empty() {
                self.error(
                    spot.start(),
                    "this migration changes nothing",
                    "name keys under `drop`, `comment` or `set`",
                );
            }
            for name in change.drop.iter().filter(|name| change.comment.contains(name)) {
                let fix = "name it under one of the two";
                self.error(
                    spot.start(),
                    format!("`{name}` is both dropped and commented out"),
                    fix,
                );
            }
        }
    }

    /// What is carried is put back by a rollback, byte for byte. Where that is data, what was written since is lost.
    fn carried_data(&mut self, at: Spot<'_>, name: &str) {
        let Some(place) = self.profile.places.get(name) else {
            return;
        };
        let named = data_by_name(name);
        match place.data {
            Some(false) => {}
            None if !named => {}
            None => {
                let message = format!("`{name}` seems to be a place of data, and does not say whether it is");
                let fix = format!(
                    "write `data: true` under `places.{name}` and leave it out of `carry`; or `data: false` where nothing that clients \
                     write lies there"
                );
                self.error(at.0.range.clone(), message, fix);
            }
            Some(true) if self.profile.point_of_no_return.is_none() => {
                let message = format!(
                    "`{name}` holds data: a rollback would put back what was saved, and what was written since would be lost"
                );
                let fix = "leave it out of `carry`; or declare `point_of_no_return`, so that a rollback over it takes an explicit yes";
                self.error(at.0.range.clone(), message, fix);
            }
            Some(true) => {}
        }
    }

    fn place_name(&mut self, at: Spot<'_>, name: &str) {
        if !self.profile.places.contains_key(name) {
            let fix = crate::diagnostic::instead(name, self.profile.places.keys().map(String::as_str));
            self.error(at.0.range.clone(), format!("there is no place `{name}`"), fix);
        }
    }

    /// What is watched while soaking.
    pub(super) fn soak(&mut self, at: Spot<'_>) {
        let soak = &self.profile.soak;
        for (index, proof) in soak.watch.iter().enumerate() {
            self.proof(at.key("watch").item(index), proof, &PROOF);
        }
        if !soak.watch.is_empty() && soak.lasting > soak.duration {
            let fix = "make `for` longer than `lasting`";
            self.warning(
                at.start(),
                "no fault can last longer than the soak itself, so none counts",
                fix,
            );
        }
    }

    /// The point of no return.
    pub(super) fn no_return(&mut self, at: Spot<'_>) {
        let Some(point) = &self.profile.point_of_no_return else {
            return;
        };
        self.optional_range(at, "to", point.to.as_deref());
        self.probe(at.key("probe"), &point.probe, false);
        self.expression(at.key("crossed"), &point.crossed, &PROOF);
        let begins = self.profile.verbs.contains_key(&Slot::BeginDowngrade);
        let message = match (&point.own_rollback, begins) {
            (Some(_), false) => "a rollback of the product's own is described, and no verbs say what it does",
            (None, true) => "there are verbs for a rollback of the product's own, and nothing describes it",
            _ => return,
        };
        let fix = "`point_of_no_return.own_rollback` and the verbs `begin_downgrade` go together: write both or neither";
        self.error(at.start(), message, fix);
    }

    /// The probes' own texts. Comes last: what uses a probe decides which names it may use.
    pub(super) fn probes(&mut self, at: Spot<'_>) {
        for name in self.profile.probes.keys() {
            let names: &Names = if self.early.contains(name) {
                &FACT_PROBE
            } else {
                &RUN_PROBE
            };
            // A probe is observed for the verbs that name it, and sees what they bind.
            let verbs = self.profile.verbs.values().flatten();
            let bindings = verbs.flat_map(|verb| verb.bindings.keys().map(String::as_str));
            self.templates(at, name, names, bindings);
            if !self.used.contains(name) {
                let message = format!("nothing uses the probe `{name}`");
                self.warning(
                    at.name(name),
                    message,
                    "leave it out, or name it where it is needed",
                );
            }
        }
    }
}

/// The names in braces of a package pattern that has been found good; `{version-env}` names two.
fn part_names(pattern: &str) -> Vec<String> {
    let braces = pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    braces
        .flat_map(|(names, _)| names.split('-'))
        .map(str::to_owned)
        .collect()
}

/// Whether a place's name says that data lies there: `data`, `data_dir`, `metadata`, `journal_directory`, …
fn data_by_name(name: &str) -> bool {
    let words = [
        "data",
        "metadata",
        "database",
        "db",
        "journal",
        "wal",
        "snapshot",
        "snapshots",
    ];
    name.to_lowercase()
        .split(['_', '-', '.'])
        .any(|word| words.contains(&word) || word.starts_with("datadir"))
}
