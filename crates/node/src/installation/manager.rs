//! What is asked of the host's package manager. Its own database is the witness, never the exit status of an installation.
//!
//! Packages are removed, never purged: `purge` deletes configuration and data, and what the product's scripts do then
//! besides. There is no way here to ask for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use upshift_model::Millis;
use upshift_model::action::{Command, OutputFormat};

use crate::error::{NodeError, Result};
use crate::process::command::{Ended, Finished, Keep, perform, run};

/// How long a package may take to be installed or removed.
pub const PATIENCE: Millis = Millis::seconds(600);
const LOOK: Millis = Millis::seconds(120);

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    Dpkg,
    Rpm,
}

/// What the database says of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Whether it is wholly installed. Otherwise some of it is: an installation was interrupted.
    pub whole: bool,
    /// Its version, as the manager writes it.
    pub version: String,
}

/// What a package's file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    pub version: String,
}

impl Manager {
    /// By name; nothing where the release store installs.
    ///
    /// # Errors
    /// Where the name is of something else.
    pub fn named(name: &str) -> Result<Option<Self>> {
        match name.trim() {
            "" | "store" => Ok(None),
            "dpkg" => Ok(Some(Manager::Dpkg)),
            "rpm" => Ok(Some(Manager::Rpm)),
            other => Err(NodeError::refused(format!(
                "`{other}` is no package manager that is known here; there are dpkg and rpm"
            ))),
        }
    }

    /// As it is named.
    pub fn name(self) -> &'static str {
        match self {
            Manager::Dpkg => "dpkg",
            Manager::Rpm => "rpm",
        }
    }

    /// What its database says of a package; nothing where it is not installed. Configuration that was left behind does not count.
    ///
    /// # Errors
    /// Where the manager is not there.
    pub fn installed(self, package: &str) -> Result<Option<Installed>> {
        let argv: &[&str] = match self {
            Manager::Dpkg => &[
                "dpkg-query",
                "-W",
                "-f=${db:Status-Status}\t${Version}\n",
                package,
            ],
            Manager::Rpm => &["rpm", "-q", "--qf", "installed\t%{VERSION}-%{RELEASE}\n", package],
        };
        let finished = run(&command(argv, LOOK), None, Keep::Memory)?;
        match finished.ended {
            Ended::Status(0) => Ok(read_status(&text(&finished))),
            // Not known, or known no more.
            Ended::Status(1) => Ok(None),
            _ => Err(said(argv, &finished)),
        }
    }

    /// Name and version of a package's file.
    ///
    /// # Errors
    /// Where the file is no package of this manager.
    pub fn describe(self, file: &Path) -> Result<Described> {
        let file = file.display().to_string();
        let argv: Vec<&str> = match self {
            Manager::Dpkg => vec!["dpkg-deb", "-W", "--showformat=${Package}\t${Version}\n", &file],
            Manager::Rpm => vec![
                "rpm",
                "-qp",
                "--nosignature",
                "--qf",
                "%{NAME}\t%{VERSION}-%{RELEASE}\n",
                &file,
            ],
        };
        let finished = run(&command(&argv, LOOK), None, Keep::Memory)?;
        let described = text(&finished);
        match (finished.ended, described.trim_end().split_once('\t')) {
            (Ended::Status(0), Some((name, version))) => Ok(Described {
                name: name.to_owned(),
                version: version.to_owned(),
            }),
            _ => Err(said(&argv, &finished)),
        }
    }

    /// Files that belong to an installed package.
    ///
    /// # Errors
    /// Where the manager cannot tell.
    pub fn files(self, package: &str) -> Result<Vec<PathBuf>> {
        let argv: &[&str] = match self {
            Manager::Dpkg => &["dpkg-query", "-L", package],
            Manager::Rpm => &["rpm", "-ql", package],
        };
        let finished = run(&command(argv, LOOK), None, Keep::Memory)?;
        match finished.ended {
            Ended::Status(0) => Ok(text(&finished).lines().map(PathBuf::from).collect()),
            _ => Err(said(argv, &finished)),
        }
    }

    /// Files whose contents are not those of the package, its configuration files left out; and those configuration files.
    ///
    /// # Errors
    /// Where the manager cannot tell.
    pub fn differing(self, package: &str) -> Result<Differing> {
        let argv: &[&str] = match self {
            Manager::Dpkg => &["dpkg", "--verify", package],
            Manager::Rpm => &[
                "rpm",
                "-V",
                "--nomtime",
                "--nouser",
                "--nogroup",
                "--nomode",
                package,
            ],
        };
        let finished = run(&command(argv, LOOK), None, Keep::Memory)?;
        match finished.ended {
            // Both say with 1 that something differs.
            Ended::Status(0 | 1) => Ok(read_differing(&text(&finished))),
            _ => Err(said(argv, &finished)),
        }
    }

    /// Removes a package. Its configuration files stay (rpm renames those that were changed).
    ///
    /// # Errors
    /// Where the manager says that it did not.
    pub fn remove(self, package: &str, mark: &str) -> Result<()> {
        let argv: &[&str] = match self {
            Manager::Dpkg => &["dpkg", "--remove", package],
            Manager::Rpm => &["rpm", "-e", package],
        };
        perform(&command(argv, PATIENCE), mark, Keep::Memory).map(|_| ())
    }

    /// Installs a package's file. Configuration files that are there stay as they are; nobody is asked anything.
    ///
    /// # Errors
    /// Where the manager says that it did not.
    pub fn install(self, file: &Path, mark: &str) -> Result<()> {
        let file = file.display().to_string();
        let argv: Vec<&str> = match self {
            Manager::Dpkg => vec!["dpkg", "--force-confold", "--force-downgrade", "--install", &file],
            Manager::Rpm => vec!["rpm", "-i", "--oldpackage", &file],
        };
        perform(&command(&argv, PATIENCE), mark, Keep::Memory).map(|_| ())
    }
}

/// What is not as the package has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    pub files: Vec<String>,
    pub configuration: Vec<String>,
}

fn command(argv: &[&str], timeout: Millis) -> Command {
    // What the tools say is read, so it must not be in the operator's language; and nobody is there to be asked.
    let env = [("LC_ALL", "C"), ("DEBIAN_FRONTEND", "noninteractive")];
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        directory: Some("/".to_owned()),
        timeout,
        exit: BTreeMap::new(),
        output: OutputFormat::Text,
    }
}

fn text(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stdout).into_owned()
}

fn said(argv: &[&str], finished: &Finished) -> NodeError {
    NodeError::refused(format!("`{}` failed: {}", argv.join(" "), finished.stderr.trim()))
}

fn read_status(text: &str) -> Option<Installed> {
    let (status, version) = text.lines().last()?.split_once('\t')?;
    match status {
        "not-installed" | "config-files" => None,
        status => Some(Installed {
            whole: status == "installed",
            version: version.to_owned(),
        }),
    }
}

/// Lines of `??5?????? c /etc/x`: what differs, whether it is configuration (`c`), and the file.
fn read_differing(text: &str) -> Differing {
    let mut differing = Differing::default();
    for line in text.lines() {
        let Some((_, file)) = line.split_once('/') else {
            continue;
        };
        let kind = line.split_whitespace().nth(1);
        let list = match kind {
            Some("c") => &mut differing.configuration,
            _ => &mut differing.files,
        };
        list.push(format!("/{file}"));
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_the_database_are_read() {
        let whole = |text: &str| read_status(text).map(|installed| (installed.whole, installed.version));
        assert_eq!(whole("installed\t4.4.16\n"), Some((true, "4.4.16".to_owned())));
        assert_eq!(
            whole("half-configured\t4.4.16\n"),
            Some((false, "4.4.16".to_owned()))
        );
        assert_eq!(whole("config-files\t4.3.22\n"), None);
        assert_eq!(whole("not-installed\t\n"), None);
    }

    #[test]
    fn what_differs_is_read() {
        let text = "??5?????? c /etc/emqx/emqx.conf\n??5??????   /usr/lib/emqx/lib/a.beam\nmissing     /usr/bin/emqx\n";
        let differing = read_differing(text);
        assert_eq!(differing.configuration, ["/etc/emqx/emqx.conf"]);
        assert_eq!(differing.files, ["/usr/lib/emqx/lib/a.beam", "/usr/bin/emqx"]);
    }

    #[test]
    fn nothing_is_ever_purged() {
        let source = include_str!("manager.rs");
        let before_tests = source.split("#[cfg(test)]").next().unwrap();
        let code = before_tests
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            assert!(!line.contains("purge") && !line.contains("\"-P\""), "{line}");
        }
    }
}
