//! Telling our own fleet files and Ansible's inventories apart.

use crate::diagnostic::{self, Kind, Node};

/// How a text is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Our own YAML.
    Own,
    /// Ansible's INI.
    AnsibleIni,
    /// Ansible's YAML.
    AnsibleYaml,
    /// An executable inventory.
    Script,
}

/// The format of a file, from its name where that says it, otherwise from its contents.
pub(super) fn format(file_name: &str, text: &str) -> Format {
    if text.starts_with("#!") {
        return Format::Script;
    }
    let base = file_name.rsplit('/').next().unwrap_or(file_name);
    let extension = base.rsplit_once('.').map(|(_, extension)| extension);
    match extension {
        Some("ini" | "cfg") => Format::AnsibleIni,
        Some("yml" | "yaml" | "json") => yaml(text),
        _ if looks_like_yaml(text) => yaml(text),
        _ => Format::AnsibleIni,
    }
}

/// Whether the first line that says something is one of YAML: `---`, `{`, or a key.
fn looks_like_yaml(text: &str) -> bool {
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let Some(line) = first else { return false };
    let key = line
        .split_once(':')
        .filter(|(_, rest)| rest.is_empty() || rest.starts_with(char::is_whitespace));
    let word = |key: &str| key.chars().all(|c| c.is_alphanumeric() || "_-.\"'".contains(c));
    line.starts_with("---") || line.starts_with('{') || key.is_some_and(|(key, _)| word(key))
}

/// An inventory is a mapping of groups; everything else is taken for a fleet file, so that its errors say what a fleet file
/// must look like.
fn yaml(text: &str) -> Format {
    let Some(tree) = diagnostic::read_tree(text, &["!vault", "!unsafe"], &mut Vec::new()) else {
        return if text.lines().any(|line| line.trim_end() == "all:") {
            Format::AnsibleYaml
        } else {
            Format::Own
        };
    };
    let entries = tree.entries();
    let group = |node: &Node| {
        node.is_null()
            || node
                .entries()
                .iter()
                .any(|entry| ["hosts", "children", "vars"].contains(&entry.key.as_str()))
    };
    let all = tree.get("all").or_else(|| tree.get("ungrouped"));
    let named = tree
        .get("name")
        .is_some_and(|name| matches!(name.kind, Kind::Scalar { .. }));
    let inventory = all.is_some() || !entries.is_empty() && entries.iter().all(|entry| group(&entry.value));
    let products = tree.get("products").is_some();
    if tree.get("plugin").is_some() || tree.get("_meta").is_some() || inventory && !named && !products {
        Format::AnsibleYaml
    } else {
        Format::Own
    }
}
