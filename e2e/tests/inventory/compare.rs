//! What Upshift makes of an inventory, beside what Ansible makes of it.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use upshift_model::fleet::{Fleet, Host, InventoryFiles, Transport};

/// Of so many differences the inventory itself is shown.
const SHOWN: usize = 4;

/// What the comparison of many inventories gave.
#[derive(Default)]
pub struct Tally {
    /// Hosts that both reach in the same way.
    pub reached: usize,
    /// Hosts that Upshift knows and will not touch, with a reason.
    pub unreachable: usize,
    /// Inventories that Upshift refuses, with what it says.
    pub refused: Vec<String>,
    variables: usize,
    differences: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} hosts reached alike, {} not reached with a reason, {} inventories refused, {} variables alike, {} differences",
            self.reached,
            self.unreachable,
            self.refused.len(),
            self.variables,
            self.differences.len()
        )
    }
}

impl Tally {
    /// Compares one inventory.
    pub fn add(&mut self, inventory: &Path, ansible: &Value) {
        let fleet = match read(inventory) {
            Ok(fleet) => fleet,
            Err(words) => return self.refused.push(format!("{}: {words}", inventory.display())),
        };
        let Some(expected) = ansible["hosts"].as_object() else {
            let words = &ansible["error"];
            return self.differ(
                inventory,
                "",
                format!("Ansible refuses it, Upshift does not: {words}"),
            );
        };
        let ours: Vec<&String> = fleet.hosts.keys().collect();
        let mut theirs: Vec<&String> = expected.keys().collect();
        theirs.sort();
        if ours != theirs {
            return self.differ(inventory, "", format!("hosts {ours:?}, Ansible's {theirs:?}"));
        }
        for (name, host) in &fleet.hosts {
            self.groups(inventory, name, host, &expected[name]);
            self.connection(inventory, name, host, &expected[name]);
            self.variables(inventory, name, host, &expected[name]["variables"]);
        }
    }

    /// Fails where anything differed.
    pub fn expect_no_difference(&self) {
        assert!(self.differences.is_empty(), "{}", self.differences.join("\n"));
    }

    fn differ(&mut self, inventory: &Path, host: &str, words: String) {
        let name = inventory.iter().rev().nth(1).unwrap_or_default();
        let mut told = format!("{} {host}: {words}", name.display());
        if self.differences.len() < SHOWN {
            for file in below(inventory.parent().unwrap()) {
                let text = fs::read_to_string(&file).unwrap_or_default();
                told.push_str(&format!("\n    --- {}\n{text}", file.display()));
            }
        }
        self.differences.push(told);
    }

    fn groups(&mut self, inventory: &Path, name: &str, host: &Host, expected: &Value) {
        let theirs: Vec<&str> = expected["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|group| !["all", "ungrouped"].contains(group))
            .collect();
        let ours: Vec<&str> = host.groups.iter().map(String::as_str).collect();
        if ours != theirs {
            self.differ(inventory, name, format!("groups {ours:?}, Ansible's {theirs:?}"));
        }
    }

    fn connection(&mut self, inventory: &Path, name: &str, host: &Host, expected: &Value) {
        let ssh = match &host.transport {
            Transport::Unusable(_) => {
                self.unreachable += 1;
                return;
            }
            Transport::Ssh(ssh) => ssh,
            other => {
                let kind = match other {
                    Transport::Local => "local",
                    _ => "command",
                };
                if expected["connection"] != kind {
                    self.differ(
                        inventory,
                        name,
                        format!("{kind}, Ansible: {}", expected["connection"]),
                    );
                }
                self.reached += 1;
                return;
            }
        };
        if let Some(words) = expected.get("error") {
            return self.differ(
                inventory,
                name,
                format!("{}, and Ansible cannot tell: {words}", ssh.host),
            );
        }
        let theirs = &expected["ssh"];
        let (user, address) = theirs_destination(theirs);
        let port = match &theirs["port"] {
            Value::String(text) => text.parse().map_or(Value::Null, |port: u64| json!(port)),
            other => other.clone(),
        };
        let ours = json!([
            ssh.host,
            ssh.port,
            ssh.user,
            ssh.key_file,
            ssh.arguments.join(" ")
        ]);
        let arguments: Vec<&str> = ["ssh_args", "ssh_common_args", "ssh_extra_args"]
            .iter()
            .filter_map(|key| theirs[*key].as_str())
            .flat_map(str::split_whitespace)
            .collect();
        let theirs = json!([
            address,
            port,
            user,
            theirs["private_key_file"],
            arguments.join(" ")
        ]);
        if ours == theirs {
            self.reached += 1;
        } else {
            self.differ(inventory, name, format!("{ours}, Ansible's {theirs}"));
        }
    }

    /// Every variable that Upshift gives a value has the value that Ansible gives it.
    fn variables(&mut self, inventory: &Path, name: &str, host: &Host, expected: &Value) {
        for (key, ours) in host.variables.iter().filter(|(key, _)| *key != "address") {
            match expected[key].get("value") {
                Some(theirs) if theirs == ours => self.variables += 1,
                _ => {
                    let words = format!("`{key}` is {ours}, Ansible's {}", expected[key]);
                    self.differ(inventory, name, words);
                }
            }
        }
    }
}

/// User and address, as ssh understands what Ansible gives it: an option before what stands before the `@`.
fn theirs_destination(theirs: &Value) -> (Value, String) {
    let host = theirs["host"].as_str().unwrap_or_default();
    let option = theirs["remote_user"].clone();
    match host.rsplit_once('@') {
        Some((user, host)) if option.is_null() => (json!(user), host.to_owned()),
        Some((_, host)) => (option, host.to_owned()),
        None => (option, host.to_owned()),
    }
}

fn read(inventory: &Path) -> Result<Fleet, String> {
    let base = if inventory.is_dir() {
        inventory
    } else {
        inventory.parent().unwrap()
    };
    let mut files = InventoryFiles::none();
    for directory in InventoryFiles::DIRECTORIES {
        for path in below(&base.join(directory)) {
            let relative = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
            if InventoryFiles::wants(&relative) {
                files.insert(relative, fs::read_to_string(path).unwrap());
            }
        }
    }
    let name = inventory.to_str().unwrap();
    let fleet = if inventory.is_dir() {
        let texts: Vec<(String, String)> = below(base)
            .into_iter()
            .map(|path| (path.strip_prefix(base).unwrap().to_owned(), path))
            .filter(|(relative, _)| {
                relative
                    .iter()
                    .all(|part| InventoryFiles::is_part(part.to_str().unwrap()))
            })
            .map(|(relative, path)| {
                (
                    relative.to_str().unwrap().to_owned(),
                    fs::read_to_string(path).unwrap(),
                )
            })
            .collect();
        Fleet::from_directory(name, &texts, &files)
    } else {
        Fleet::from_text(name, &fs::read_to_string(inventory).unwrap(), &files)
    };
    fleet.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

/// All files below a directory.
fn below(directory: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] })
        .collect()
}
