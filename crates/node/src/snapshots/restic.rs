//! The restic program: one repository, its password, and the calls that are made of it.
//!
//! What restic says is never taken for a proof: see [`super::prove`].

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use upshift_model::Millis;
use upshift_model::action::{Command, OutputFormat};
use upshift_model::snapshot::Repository;

use crate::durable;
use crate::error::{Context, NodeError, Result};
use crate::filesystem;
use crate::layout::{Layout, make_directory};
use crate::process::command::{self, Ended, Finished, Keep};

/// Marks what Upshift has put into a repository that others may use, too.
const TAG: &str = "upshift";
/// The oldest version whose commands are used so: Debian 12's.
const OLDEST: (u32, u32) = (0, 14);
/// Status of a backup that could not read everything.
const INCOMPLETE: i32 = 3;
/// Bytes of entropy in a password that is made here.
const ENTROPY: usize = 32;

/// A snapshot as restic lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Digest of the tree that it holds.
    pub tree: String,
    /// The paths that it was told to take.
    pub paths: Vec<String>,
}

/// A repository, and the program that keeps it.
pub struct Restic {
    program: PathBuf,
    location: String,
    own: bool,
    password_file: PathBuf,
    home: PathBuf,
    mark: String,
    limit: Millis,
}

impl Restic {
    /// The repository of an order. Nothing is run or made yet but the host's own password, where there is none.
    pub fn open(layout: &Layout, repository: &Repository, mark: &str, limit: Millis) -> Result<Self> {
        let home = layout.snapshots();
        make_directory(&home, 0o700)?;
        let own = repository.location.is_empty();
        let location = match own {
            true => home.join("repository").to_string_lossy().into_owned(),
            false => repository.location.clone(),
        };
        let password_file = match (&*repository.password_file, own) {
            ("", true) => own_password(&home)?,
            ("", false) => {
                return Err(NodeError::refused(format!(
                    "the repository {location} needs a password that outlives this host: name the file that holds it with the variable \
                     `snapshot_password_file`"
                )));
            }
            (file, _) => PathBuf::from(file),
        };
        if !password_file.is_file() {
            return Err(NodeError::refused(format!(
                "there is no password file {}: write the repository's password into it, readable by the agent's user alone",
                password_file.display()
            )));
        }
        let program = program(layout, repository.tool.as_deref())?;
        for directory in ["cache", "tmp"] {
            make_directory(&home.join(directory), 0o700)?;
        }
        Ok(Restic {
            program,
            location,
            own,
            password_file,
            home,
            mark: mark.to_owned(),
            limit,
        })
    }

    /// Where the repository is.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Where its password lives, and what that means.
    pub fn password(&self) -> String {
        let file = self.password_file.display();
        match self.password_file.starts_with(&self.home) {
            true => format!(
                "made by Upshift, in {file}: whoever can read that file can read the snapshots, and without it nobody can; keep a copy elsewhere"
            ),
            false => format!("in {file}: without it nobody can read the snapshots; keep a copy elsewhere"),
        }
    }

    /// The directory of the repository, where it is one of this host.
    pub fn directory(&self) -> Option<&Path> {
        let path = Path::new(self.location.strip_prefix("local:").unwrap_or(&self.location));
        path.is_absolute().then_some(path)
    }

    fn run(&self, arguments: &[&str]) -> Result<Finished> {
        let program = self.program.to_string_lossy().into_owned();
        let argv = std::iter::once(program).chain(arguments.iter().map(|text| (*text).to_owned()));
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let command = Command {
            argv: argv.collect(),
            env: BTreeMap::from([
                ("RESTIC_REPOSITORY".to_owned(), self.location.clone()),
                ("RESTIC_PASSWORD_FILE".to_owned(), text(&self.password_file)),
                ("RESTIC_CACHE_DIR".to_owned(), text(&self.home.join("cache"))),
                ("RESTIC_PROGRESS_FPS".to_owned(), "0.01".to_owned()),
                ("TMPDIR".to_owned(), text(&self.home.join("tmp"))),
            ]),
            directory: None,
            timeout: self.limit,
            exit: BTreeMap::new(),
            output: OutputFormat::Text,
        };
        command::run(&command, Some(&self.mark), Keep::Memory)
    }

    fn done(&self, what: &str, arguments: &[&str]) -> Result<Vec<u8>> {
        let finished = self.run(arguments)?;
        match finished.ended {
            Ended::Status(0) => Ok(finished.stdout),
            _ => Err(self.failure(what, &finished)),
        }
    }

    fn failure(&self, what: &str, finished: &Finished) -> NodeError {
        let said = last_lines(&finished.stderr);
        if finished.stderr.contains("no space left on device") {
            let place = self.directory().unwrap_or(&self.home);
            return NodeError::Full(format!(
                "the file system {} or {} is full: {what} failed, and nothing of it counts ({said})",
                filesystem::mount_point(place).display(),
                filesystem::mount_point(&self.home).display()
            ));
        }
        let how = match finished.ended {
            Ended::Status(status) => format!("restic ended with {status}"),
            Ended::TimedOut => "restic took too long".to_owned(),
            Ended::Flooded => "restic did not stop writing".to_owned(),
        };
        NodeError::refused(format!(
            "{what} failed in the repository {}: {how}: {said}",
            self.location
        ))
    }

    /// Whether there is a repository.
    pub fn exists(&self) -> Result<bool> {
        if let Some(directory) = self.directory() {
            return Ok(directory.join("config").exists());
        }
        let finished = self.run(&["cat", "config", "--no-lock"])?;
        Ok(matches!(finished.ended, Ended::Status(0)))
    }

    /// Makes the repository where there is none.
    pub fn ensure(&self) -> Result<()> {
        if self.exists()? {
            return Ok(());
        }
        if let Some(directory) = self.directory().filter(|_| self.own) {
            make_directory(directory, 0o700)?;
        }
        self.done("making a repository", &["init"]).map(drop)
    }

    /// Removes locks of processes that have died: they would bar what needs the repository for itself.
    fn unlock(&self) -> Result<()> {
        self.done("removing locks of the dead", &["unlock"]).map(drop)
    }

    /// Removes what no snapshot needs: what was written of one that failed.
    pub fn sweep(&self) -> Result<()> {
        self.unlock()?;
        self.done("clearing the repository", &["prune"]).map(drop)
    }

    /// Takes paths; the id of the snapshot.
    pub fn backup(&self, host: &str, name: &str, paths: &[PathBuf]) -> Result<String> {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let tags = format!("{TAG},{name}");
        let mut arguments = vec![
            "backup", "--json", "--quiet", "--host", host, "--tag", &tags, "--",
        ];
        arguments.extend(paths.iter().map(String::as_str));
        let finished = self.run(&arguments)?;
        let id = summary(&finished.stdout);
        match (&finished.ended, id) {
            (Ended::Status(0), Some(id)) => Ok(id),
            (Ended::Status(INCOMPLETE), Some(id)) => {
                // What is incomplete must not be taken for a snapshot by anybody.
                self.done("removing an incomplete snapshot", &["forget", &id])?;
                Err(self.failure("taking a snapshot of everything", &finished))
            }
            _ => Err(self.failure("taking a snapshot", &finished)),
        }
    }

    /// Restores the tree of a snapshot into a directory, or of one path in it.
    pub fn restore(&self, id: &str, path: Option<&str>, into: &Path) -> Result<()> {
        let into = into.to_string_lossy();
        let mut arguments = vec!["restore", id, "--target", &into];
        arguments.extend(path.iter().flat_map(|path| ["--include", path]));
        self.done("restoring a snapshot", &arguments).map(drop)
    }

    /// Upshift's snapshots of a host; those of all hosts where none is named.
    pub fn list(&self, host: Option<&str>) -> Result<Vec<Listed>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let mut arguments = vec!["snapshots", "--json", "--no-lock", "--tag", TAG];
        arguments.extend(host.iter().flat_map(|host| ["--host", host]));
        let bytes = self.done("listing snapshots", &arguments)?;
        let listed: Option<Vec<Listed>> = serde_json::from_slice(&bytes).map_err(|error| {
            NodeError::refused(format!("restic's list of snapshots makes no sense: {error}"))
        })?;
        Ok(listed.unwrap_or_default())
    }

    /// One file of a snapshot.
    pub fn dump(&self, id: &str, path: &str, into: &Path) -> Result<()> {
        let scratch = into.join("dump");
        durable_remove(&scratch)?;
        make_directory(&scratch, 0o700)?;
        self.restore(id, Some(path), &scratch)
    }

    /// Removes snapshots, and what only they needed.
    pub fn forget(&self, ids: &[String]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.unlock()?;
        let mut arguments = vec!["forget", "--prune"];
        arguments.extend(ids.iter().map(String::as_str));
        self.done("removing snapshots", &arguments).map(drop)
    }

    /// Reads everything in the repository.
    pub fn check(&self) -> Result<()> {
        self.unlock()?;
        self.done("reading the repository", &["check", "--read-data"])
            .map(drop)
    }
}

/// Removes a directory with all that is in it; one that does not exist is removed.
pub fn durable_remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    snapshot_id: String,
}

/// The id in the last line of what a backup prints.
fn summary(stdout: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stdout);
    let ids = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Summary>(line).ok());
    ids.map(|summary| summary.snapshot_id).rfind(|id| !id.is_empty())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// The host's own password, made where there is none.
fn own_password(home: &Path) -> Result<PathBuf> {
    let file = home.join("password");
    if !file.exists() {
        let mut bytes = [0_u8; ENTROPY];
        let mut source = fs::File::open("/dev/urandom").context(|| "cannot open /dev/urandom")?;
        std::io::Read::read_exact(&mut source, &mut bytes).context(|| "cannot read /dev/urandom")?;
        let what = || format!("cannot write {}", file.display());
        let fresh = durable::temporary_beside(&file);
        let mut written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .context(what)?;
        written
            .write_all(crate::digest::hexadecimal(&bytes).as_bytes())
            .and_then(|()| written.sync_all())
            .context(what)?;
        // Never in the place of one that was made meanwhile.
        match fs::hard_link(&fresh, &file) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).context(what);
            }
            _ => {}
        }
        durable::remove(&fresh)?;
        durable::sync_parent(&file)?;
    }
    Ok(file)
}

/// The restic program: the one that was sent, one that was sent before, or the host's own.
fn program(layout: &Layout, sent: Option<&str>) -> Result<PathBuf> {
    let tools = layout.snapshots().join("tools");
    if let Some(sha256) = sent.filter(|sha256| sha256.chars().all(|c| c.is_ascii_hexdigit())) {
        let tool = tools.join(format!("restic-{sha256}"));
        if !tool.exists() {
            let source = layout.packages().join(sha256);
            let found = crate::digest::of_file(&source).context(|| "restic is not on the host yet")?;
            if found != sha256 {
                return Err(NodeError::refused("restic did not arrive whole on the host"));
            }
            make_directory(&tools, 0o700)?;
            let fresh = durable::temporary_beside(&tool);
            let what = || format!("cannot write {}", tool.display());
            fs::copy(&source, &fresh).context(what)?;
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700)).context(what)?;
            fs::rename(&fresh, &tool).context(what)?;
        }
        return Ok(tool);
    }
    find(layout).ok_or_else(|| {
        NodeError::refused(
            "restic, which keeps snapshots, is not on this host: install it (`apt-get install restic`) on the host, or on the controller, \
             from where it is sent",
        )
    })
}

/// Where restic is on this host, without running it.
pub fn find(layout: &Layout) -> Option<PathBuf> {
    let sent = fs::read_dir(layout.snapshots().join("tools"))
        .into_iter()
        .flatten()
        .flatten();
    let sent = sent.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("restic-"))
    });
    let usual = ["/usr/bin", "/usr/local/bin"].map(|directory| Path::new(directory).join("restic"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path).map(|directory| directory.join("restic"));
    sent.or_else(|| named.chain(usual).find(|path| path.is_file()))
}

impl Restic {
    /// Refuses a program whose commands differ.
    pub fn version(&self) -> Result<String> {
        let text = self.done("asking restic for its version", &["version"])?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let version = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        match found >= OLDEST {
            true => Ok(version),
            false => Err(NodeError::refused(format!(
                "{} is `{}`, and 0.14 or newer is needed",
                self.program.display(),
                text.trim()
            ))),
        }
    }
}
