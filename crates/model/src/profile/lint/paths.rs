//! Lint of paths, blocked edges, the rules for versions side by side, and checks.

use std::iter::empty;

use super::names::{CLIENT_SKEW, CLUSTER, FACTS, NOTICE, SERVER_SKEW};
use super::reach::leads_upward;
use super::{Linter, Spot};
use crate::profile::{BlockedEdge, Check, PathEdge, Source};
use crate::version::Range;

impl Linter<'_> {
    /// Legal ways.
    pub(super) fn paths(&mut self, at: Spot<'_>) {
        let paths = &self.profile.paths;
        if paths.is_empty() {
            let fix = "write at least one way; what is not written is refused";
            self.error(at.0.range.clone(), "no version leads to any other", fix);
        }
        for (index, path) in paths.iter().enumerate() {
            let spot = at.item(index);
            let from = self.range(spot.key("from"), &path.from);
            let to = self.range(spot.key("to"), &path.to);
            self.upward(spot, from.as_ref(), to.as_ref());
            for (index, condition) in path.when.iter().enumerate() {
                let spot = spot.key("when").item(index);
                self.expression(spot.key("expect"), &condition.expect, &FACTS);
                self.templates(spot, "message", &FACTS, empty());
            }
            self.source(spot.key("source"), &path.source);
            if paths[..index].iter().any(|earlier| same_way(earlier, path)) {
                self.warning(spot.start(), "this way stands here twice", "keep one of the two");
            }
        }
    }

    fn upward(&mut self, at: Spot<'_>, from: Option<&Range>, to: Option<&Range>) {
        if let (Some(from), Some(to)) = (from, to)
            && !leads_upward(self.profile.versions.scheme, from, to)
        {
            let message = format!("no version in `{from}` is older than any in `{to}`");
            self.error(
                at.key("to").0.range.clone(),
                message,
                "write a target that is newer than its sources",
            );
        }
    }

    /// Claims that name no source cannot be judged by anybody.
    fn source(&mut self, at: Spot<'_>, source: &Source) {
        if source.title.trim().is_empty() {
            self.error(
                at.0.range.clone(),
                "the source has no title",
                "write who says so and where",
            );
        }
    }

    /// Versions and ways that are known to be bad.
    pub(super) fn blocked(&mut self, at: Spot<'_>) {
        self.distinct(
            at,
            "blocked edge",
            self.profile.blocked.iter().map(|edge| edge.name.as_str()),
        );
        for (index, edge) in self.profile.blocked.iter().enumerate() {
            let spot = at.item(index);
            let from = self.optional_range(spot, "from", edge.from.as_deref());
            let to = self.optional_range(spot, "to", edge.to.as_deref());
            self.upward(spot, from.as_ref(), to.as_ref());
            for (index, condition) in edge.when.iter().enumerate() {
                self.expression(spot.key("when").item(index), condition, &FACTS);
            }
            self.source(spot.key("source"), &edge.source);
            if edge.from.is_none() && edge.to.is_none() {
                let fix = "write `from`, `to`, or both; `*` where every version is meant";
                self.error(spot.start(), "this blocks every way", fix);
            }
            self.fixed_in(spot, edge, to.as_ref());
        }
    }

    fn fixed_in(&mut self, at: Spot<'_>, edge: &BlockedEdge, to: Option<&Range>) {
        let Some(fixed) = &edge.fixed_in else { return };
        let Some(version) = self.version(at.key("fixed_in"), fixed) else {
            return;
        };
        let every_source = edge.from.is_none() && edge.when.is_empty();
        if every_source && to.is_some_and(|to| to.contains(&version)) {
            let message = format!("{fixed} is said to have it mended, and is blocked itself");
            self.error(
                at.key("fixed_in").0.range.clone(),
                message,
                "end the range `to` before it",
            );
        }
    }

    /// The newest releases of lines, each of which is one of its line.
    pub(super) fn newest(&mut self, at: Spot<'_>) {
        let Some(newest) = &self.profile.newest else {
            return;
        };
        self.source(at.key("source"), &newest.source);
        for (index, known) in newest.lines.iter().enumerate() {
            let spot = at.key("lines").item(index);
            let line = self.range(spot.key("line"), &known.line);
            let version = self.version(spot.key("version"), &known.version);
            if let (Some(line), Some(version)) = (line, version)
                && !line.contains(&version)
            {
                let message = format!("{} is no release of `{}`", known.version, known.line);
                let place = spot.key("version").0.range.clone();
                self.error(place, message, "write a release of this line");
            }
        }
    }

    /// Which versions may run side by side.
    pub(super) fn skew(&mut self, at: Spot<'_>) {
        if let Some(servers) = &self.profile.skew.servers {
            self.expression(at.key("servers"), servers, &SERVER_SKEW);
        }
        if let Some(clients) = &self.profile.skew.clients {
            let spot = at.key("clients");
            self.expression(spot.key("expect"), &clients.expect, &CLIENT_SKEW);
            self.source(spot.key("source"), &clients.source);
            if let Some(observed) = &clients.observed {
                self.fact(spot.key("observed"), observed);
            }
        }
    }

    /// By which profile clients are upgraded, and what they are told.
    pub(super) fn clients(&mut self, at: Spot<'_>) {
        if let Some(clients) = &self.profile.clients {
            self.fact(at.key("clients").key("version"), &clients.version);
        }
        if self.profile.clients.is_some() && self.profile.clients_of.is_some() {
            self.error(
                at.name("clients_of"),
                "a profile is about servers that have clients, or about clients, and this one says both",
                "leave out `clients` in the profile of the clients, and `clients_of` in that of the servers",
            );
        }
        for (index, notice) in self.profile.notices.iter().enumerate() {
            let spot = at.key("notices").item(index);
            self.templates(spot, "text", &NOTICE, empty());
            let from = self.optional_range(spot, "from", notice.from.as_deref());
            let to = self.optional_range(spot, "to", notice.to.as_deref());
            self.upward(spot, from.as_ref(), to.as_ref());
        }
    }

    /// Conditions that must hold before anything is changed.
    pub(super) fn checks(&mut self, at: Spot<'_>) {
        self.distinct(
            at,
            "check",
            self.profile.checks.iter().map(|check| check.name.as_str()),
        );
        for (index, check) in self.profile.checks.iter().enumerate() {
            let spot = at.item(index);
            let names = if check.cluster { &CLUSTER } else { &FACTS };
            self.expression(spot.key("expect"), &check.expect, names);
            self.templates(spot, "message", names, empty());
            self.templates(spot, "remedy", names, empty());
            let from = self.optional_range(spot, "from", check.from.as_deref());
            let to = self.optional_range(spot, "to", check.to.as_deref());
            self.upward(spot, from.as_ref(), to.as_ref());
            self.needs(spot.key("needs"), &self.profile.checks[..index], check);
            if check.throughout {
                self.throughout(spot, check);
            }
        }
    }

    /// What a check depends on stands above it, so that nothing depends on itself.
    fn needs(&mut self, at: Spot<'_>, above: &[Check], check: &Check) {
        for (index, name) in check.needs.iter().enumerate() {
            if !above.iter().any(|other| other.name == *name) {
                self.error(
                    at.item(index).0.range.clone(),
                    format!(
                        "the check `{}` needs `{name}`, and no check of that name stands above it",
                        check.name
                    ),
                    "name a check that stands above this one, or move that one up",
                );
            }
        }
    }

    /// A check that is asked again at gates is asked as one proof: of one probe, by what is known then.
    fn throughout(&mut self, at: Spot<'_>, check: &Check) {
        let at = at.key("throughout").0.range.clone();
        if check.cluster || check.advice {
            let fix = "leave `throughout` out, and say it once more under `gate`";
            return self.error(
                at,
                "only what each server must meet by itself can be asked again",
                fix,
            );
        }
        if check.probe_alone().is_none() {
            let fix = "use one probe, and of the other names `node`, `places`, `from` and `to`; or say it under `gate`";
            self.error(
                at,
                "at a gate one probe is asked, and facts of the plan are not known",
                fix,
            );
        }
    }
}

fn same_way(a: &PathEdge, b: &PathEdge) -> bool {
    (&a.from, &a.to, a.strategy, &a.when) == (&b.from, &b.to, b.strategy, &b.when)
}
