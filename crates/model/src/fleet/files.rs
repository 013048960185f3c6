//! The files beside an inventory.

use std::collections::BTreeMap;

/// Texts of the files beside an inventory, by their path relative to the inventory's directory, with `/` between names:
/// `group_vars/web.yml`, `group_vars/web/ports.yml`, `host_vars/node1`.
///
/// Whoever reads files gives everything under [`InventoryFiles::DIRECTORIES`] for which [`InventoryFiles::wants`] holds;
/// what no host or group of the inventory is named after is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InventoryFiles {
    texts: BTreeMap<String, String>,
}

impl InventoryFiles {
    /// The directories beside an inventory that are read, with all their subdirectories.
    pub const DIRECTORIES: [&str; 2] = ["group_vars", "host_vars"];

    /// No files: a fleet file of our own needs none.
    pub fn none() -> Self {
        InventoryFiles::default()
    }

    /// Adds the text of one file.
    pub fn insert(&mut self, path: impl Into<String>, text: impl Into<String>) -> &mut Self {
        self.texts.insert(path.into(), text.into());
        self
    }

    /// Whether a file in one of the directories is one that Ansible reads: `.yml`, `.yaml`, `.json` or no extension;
    /// neither hidden nor an editor's backup.
    pub fn wants(path: &str) -> bool {
        let mut names = path.split('/');
        let directory = names.next().is_some_and(|name| Self::DIRECTORIES.contains(&name));
        let names: Vec<&str> = names.collect();
        let hidden = names
            .iter()
            .any(|name| name.is_empty() || name.starts_with('.') || name.ends_with('~'));
        let Some(file) = names.last().filter(|_| directory && !hidden) else {
            return false;
        };
        // Directly below group_vars a dot may belong to the group's name; then there is no extension.
        matches!(extension(file), None | Some("yml" | "yaml" | "json")) || names.len() == 1
    }

    /// Whether a file or directory in the directory of an inventory is a part of it, by its own name: not what is hidden, not
    /// the directories of variables, not backups and texts for people. As Ansible's `inventory_ignore_extensions` has it.
    pub fn is_part(name: &str) -> bool {
        const IGNORED: [&str; 12] = [
            ".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry",
        ];
        !name.starts_with('.')
            && !Self::DIRECTORIES.contains(&name)
            && name != "vars_plugins"
            && !IGNORED.iter().any(|end| name.ends_with(end))
    }

    /// The files for a group (`group_vars`) or a host (`host_vars`) in the order in which later ones override earlier ones.
    ///
    /// As Ansible has it, the first of these is read and no other: the directory of that name with all that is in it, the file
    /// of that name, the same with `.yml`, with `.yaml`, with `.json`.
    pub(super) fn of<'a>(&'a self, directory: &str, name: &str) -> Vec<(&'a str, &'a str)> {
        for extension in ["", ".yml", ".yaml", ".json"] {
            let path = format!("{directory}/{name}{extension}");
            let below = format!("{path}/");
            let mut found: Vec<(&str, &str)> = self
                .texts
                .range(below.clone()..)
                .take_while(|(path, _)| path.starts_with(&below))
                .chain(self.texts.get_key_value(&path))
                .filter(|(path, _)| Self::wants(path))
                .map(|(path, text)| (path.as_str(), text.as_str()))
                .collect();
            if !found.is_empty() {
                // By the names of each directory: `a` before `a.yml`.
                found.sort_by_key(|(path, _)| path.split('/').collect::<Vec<_>>());
                return found;
            }
        }
        Vec::new()
    }
}

impl<P: Into<String>, T: Into<String>> FromIterator<(P, T)> for InventoryFiles {
    fn from_iter<I: IntoIterator<Item = (P, T)>>(files: I) -> Self {
        let texts = files
            .into_iter()
            .map(|(path, text)| (path.into(), text.into()))
            .collect();
        InventoryFiles { texts }
    }
}

fn extension(file: &str) -> Option<&str> {
    file.rsplit_once('.').map(|(_, extension)| extension)
}
