//! Which part of the observations a text about the whole cluster can see.
//!
//! Such an expression is computed over all servers at once, and what a probe yields may be large. The only way to an observation is
//! the member `probes`; where every use of it goes on with plain members (`n.probes.status.value.leader`), nothing else is seen.

use std::collections::BTreeSet;

use serde_json::Value;

/// What a text can see of `probes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Needed {
    /// All of it, as far as is known.
    Everything,
    /// What lies under these paths.
    Paths(BTreeSet<Vec<String>>),
}

impl Needed {
    /// Reads it off a text.
    pub fn by(text: &str) -> Self {
        let mut paths = BTreeSet::new();
        for (at, word) in text.match_indices("probes") {
            let before = text[..at].chars().next_back();
            if before.is_some_and(in_name) {
                continue;
            }
            let path = members(&text[at + word.len()..]);
            if path.is_empty() {
                return Needed::Everything;
            }
            paths.insert(path);
        }
        Needed::Paths(paths)
    }

    /// Whether anything of a probe can be seen.
    pub fn sees(&self, probe: &str) -> bool {
        match self {
            Needed::Everything => true,
            Needed::Paths(paths) => paths.iter().any(|path| path[0] == probe),
        }
    }

    /// Drops what cannot be seen.
    pub fn keep(&self, probes: &mut Value) {
        if let Needed::Paths(paths) = self {
            let paths: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
            keep(probes, &paths);
        }
    }
}

fn keep(value: &mut Value, paths: &[&[String]]) {
    let Value::Object(members) = value else { return };
    if paths.iter().any(|path| path.is_empty()) {
        return;
    }
    members.retain(|name, _| paths.iter().any(|path| path[0] == *name));
    for (name, value) in members.iter_mut() {
        let under: Vec<&[String]> = paths
            .iter()
            .filter(|path| path[0] == *name)
            .map(|path| &path[1..])
            .collect();
        keep(value, &under);
    }
}

/// The members that a text begins with: `status`, `value` of `.status.value == 1`. A function that is called on the last one is none.
fn members(mut text: &str) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(rest) = text.strip_prefix('.') {
        let end = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if name.is_empty() || rest.trim_start().starts_with('(') {
            break;
        }
        path.push(name.to_owned());
        text = rest;
    }
    path
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(text: &str) -> Value {
        let mut probes =
            json!({"status": {"value": {"leader": true, "up": [1, 2]}, "status": 200}, "other": 1});
        Needed::by(text).keep(&mut probes);
        probes
    }

    #[test]
    fn only_what_plain_members_lead_to_is_kept() {
        let leader = json!({"status": {"value": {"leader": true}}});
        assert_eq!(kept("nodes.exists_one(n, n.probes.status.value.leader)"), leader);
        assert_eq!(
            kept("nodes.all(n, n.probes.status.value.up.size() == 2)"),
            json!({"status": {"value": {"up": [1, 2]}}})
        );
        assert_eq!(kept("nodes.all(n, n.version == to)"), json!({}));
    }

    #[test]
    fn what_is_compared_as_a_whole_is_kept_as_a_whole() {
        let whole = json!({"status": {"value": {"leader": true, "up": [1, 2]}}});
        assert_eq!(
            kept("nodes.all(n, n.probes.status.value == nodes[0].probes.status.value)"),
            whole
        );
        let both = kept("n.probes.status.value.leader && n.probes.status.value == 1");
        assert_eq!(both, whole);
    }

    #[test]
    fn what_cannot_be_followed_keeps_everything() {
        for text in [
            "nodes.map(n, n.probes)",
            "n.probes['status']",
            "n['probes'].status",
            "size(n.probes) == 2",
            "n.probes.size() == 2",
        ] {
            assert_eq!(kept(text)["other"], json!(1), "{text}");
        }
    }

    #[test]
    fn a_probe_is_not_taken_for_another_whose_name_begins_alike() {
        let needed = Needed::by("probes.status_of_all.exit == 0");
        assert!(needed.sees("status_of_all") && !needed.sees("status"));
        assert!(Needed::by("size(probes) == 2").sees("status"));
    }
}
