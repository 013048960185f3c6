//! Lint of snapshots.

use std::collections::BTreeSet;
use std::iter::empty;

use super::names::{SNAPSHOT, SNAPSHOT_PROOF};
use super::{Linter, Spot};
use crate::profile::On;
use crate::snapshot::SnapshotCheck;

impl Linter<'_> {
    /// Each kind of snapshot.
    pub(super) fn snapshots(&mut self, at: Spot<'_>) {
        let mut seen = BTreeSet::new();
        for (index, rule) in self.profile.snapshots.iter().enumerate() {
            let at = at.item(index);
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if rule.name.is_empty() || !rule.name.chars().all(plain) {
                let fix = "write small letters, digits and `-`, as it is typed on the command line";
                self.error(
                    at.key("name").0.range.clone(),
                    format!("`{}` is not a short name", rule.name),
                    fix,
                );
            }
            if !seen.insert((rule.name.as_str(), rule.from.as_deref())) {
                let message = format!("there are several snapshots `{}` of the same versions", rule.name);
                self.error(
                    at.key("name").0.range.clone(),
                    message,
                    "give one another name, or another `from`",
                );
            }
            if rule.paths.is_empty() && rule.command.is_none() {
                let fix = "write `paths`, or the product's own backup `command`";
                self.error(at.start(), "this snapshot holds nothing", fix);
            }
            if rule.on == On::OneOther {
                let fix = "write `each`, or `one`";
                self.error(
                    at.key("on").0.range.clone(),
                    "a snapshot is taken outside of windows",
                    fix,
                );
            }
            if rule.command.is_some() && rule.proof.is_empty() {
                let fix = "write what the product's own reader says of it";
                self.warning(at.start(), "nobody looks into what the backup command wrote", fix);
            }
            self.optional_range(at, "from", rule.from.as_deref());
            self.optional_range(at, "readable_by", rule.readable_by.as_deref());
            for key in ["paths", "command"] {
                self.templates(at, key, &SNAPSHOT, empty());
            }
            for (key, checks) in [("state", &rule.state), ("proof", &rule.proof)] {
                self.snapshot_checks(at.key(key), checks);
            }
        }
    }

    fn snapshot_checks(&mut self, at: Spot<'_>, checks: &[SnapshotCheck]) {
        for (index, check) in checks.iter().enumerate() {
            let at = at.item(index);
            self.templates(at, "probe", &SNAPSHOT, empty());
            self.templates(at, "otherwise", &SNAPSHOT, empty());
            self.expression(at.key("expect"), &check.expect, &SNAPSHOT_PROOF);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::{lint, shipped};

    #[test]
    fn snapshots_that_hold_nothing_or_ask_for_what_is_not_there_are_found() {
        let (_, etcd) = shipped().iter().find(|(name, _)| *name == "etcd.yaml").unwrap();
        let snapshots = "snapshots:
  - { name: Data, title: x, paths: [\"{{ places.data_dir }}\"] }
  - { name: none, title: x }
  - { name: none, title: x, on: one_other, paths: [/x], from: '>>3' }
  - name: dump
    title: x
    command: { argv: [dump, \"{{ snapshot.output }}\", \"{{ run }}\"] }
    state: [{ probe: { file: \"{{ to }}\" }, expect: run == '', otherwise: x }]
checks:
";
        let text = etcd.replacen("\nsnapshots:\n", "\nunused:\n", 1);
        let begin = text.find("\nunused:").unwrap();
        let end = text.find("\nleader:").unwrap();
        let text = format!("{}\n{}", &text[..begin], &text[end..]).replacen(
            "\nchecks:\n",
            &format!("\n{snapshots}"),
            1,
        );
        let found: Vec<String> = lint("etcd.yaml", &text)
            .into_iter()
            .map(|diagnostic| diagnostic.message)
            .collect();
        insta::assert_snapshot!(found.join("\n"));
    }
}
