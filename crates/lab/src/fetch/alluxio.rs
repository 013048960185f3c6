//! Real Alluxio as jars, through Maven. Launch scripts are not among them; see `e2e/doubles/alluxio`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Cache, Say, Unavailable};
use crate::package;
use crate::processes;

/// The jars of a version of Alluxio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alluxio {
    /// The version.
    pub version: &'static str,
    /// Directory of the jars; what lies in its directory `patch` comes first. `classes.jsa` is the archive of their classes as they are
    /// loaded, for the Java that is there.
    pub jars: PathBuf,
}

struct Pinned {
    version: &'static str,
    /// Group and artifact of what is left out.
    without: &'static [(&'static str, &'static str)],
    /// Group, artifact and version of what is added.
    with: &'static [(&'static str, &'static str, &'static str)],
    /// Beginning of the names of jars that are removed afterwards.
    remove: Option<&'static str>,
    megabytes: u32,
    /// Digest of the list of the jars' digests, as [`list`] writes it.
    sha256: &'static str,
}

/// 2.3.0's embedded journal uses a fork of Copycat that Maven Central does not have; the original reads and writes the same log, once
/// two settings are added to it. With `log4j-slf4j-impl` beside another binding 2.9.3 logs nothing.
const PINNED: [Pinned; 3] = [
    Pinned {
        version: "1.8.1",
        without: &[("com.qmino", "miredot-annotations")],
        with: &[],
        remove: None,
        megabytes: 28,
        sha256: "d41a9ab305a3b7b485ef9ee1a2a5c6ab69c4d0ad289cb08f98c2609ad202bb79",
    },
    Pinned {
        version: "2.3.0",
        without: &[("io.atomix.copycat.alluxio", "*")],
        with: &[
            ("io.atomix.copycat", "copycat-server", "1.2.8"),
            ("io.atomix.copycat", "copycat-client", "1.2.8"),
            ("org.javassist", "javassist", "3.29.2-GA"),
        ],
        remove: None,
        megabytes: 51,
        sha256: "6657c36c09255af26a9d335f53dda8c4d83ea0e8f870daa33f9bef329058604e",
    },
    Pinned {
        version: "2.9.3",
        without: &[],
        with: &[("org.glassfish.jersey.media", "jersey-media-json-jackson", "2.34")],
        remove: Some("log4j-slf4j-impl-"),
        megabytes: 129,
        sha256: "02b278d637ab1bfdf82bebc41f49a8dbd4f82a215b18b66996704edf273e2c7b",
    },
];

const LIMIT: Duration = Duration::from_secs(400);

/// Has the jars of a version in the cache. `patch` is the source of the program that adds to Copycat what 2.3.0 needs.
///
/// # Errors
/// Where there is no Maven or Java, Maven cannot get the jars, or they are not those that are pinned.
pub fn alluxio(cache: &Cache, version: &str, patch: &Path, say: Say<'_>) -> Result<Alluxio, Unavailable> {
    let failed = |reason: &dyn std::fmt::Display| Unavailable::new(format!("Alluxio {version}"), reason);
    let pinned = PINNED
        .iter()
        .find(|pinned| pinned.version == version)
        .ok_or_else(|| failed(&"no checksum is pinned for it"))?;
    let _lock = cache
        .lock(&format!("alluxio-{version}"))
        .map_err(|error| failed(&error))?;
    let jars = cache.path(&format!("alluxio/{version}"));
    if !jars.exists() {
        let scratch = cache.scratch().map_err(|error| failed(&error))?;
        say(&format!(
            "fetching Alluxio {version} with mvn: {} MB",
            pinned.megabytes
        ));
        obtain(pinned, scratch.path()).map_err(|reason| failed(&reason))?;
        let fetched = scratch.path().join("jars");
        if version == "2.3.0" {
            run_patch(patch, &fetched).map_err(|reason| failed(&reason))?;
        }
        let keep = || {
            fs::create_dir_all(cache.path("alluxio"))?;
            fs::rename(&fetched, &jars)
        };
        keep().map_err(|error: std::io::Error| failed(&error))?;
    }
    verify(pinned.sha256, &jars).map_err(|reason| failed(&reason))?;
    archive(&jars);
    Ok(Alluxio {
        version: pinned.version,
        jars,
    })
}

fn obtain(pinned: &Pinned, directory: &Path) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    fs::write(directory.join("pom.xml"), pom(pinned)).map_err(io)?;
    // Old projects name repositories that are gone: all but Maven's own are looked for in an empty directory.
    let nothing = directory.join("nothing");
    fs::create_dir_all(&nothing).map_err(io)?;
    let settings = format!(
        "<settings><mirrors><mirror><id>nothing</id><mirrorOf>*,!central</mirrorOf><url>file://{}</url></mirror></mirrors></settings>",
        nothing.display()
    );
    fs::write(directory.join("settings.xml"), settings).map_err(io)?;
    let mut maven = Command::new("mvn");
    maven
        .args(["-q", "-B", "-s", "settings.xml", "dependency:copy-dependencies"])
        .args(["-DoutputDirectory=jars", "-DincludeScope=runtime"])
        .current_dir(directory);
    processes::run(&mut maven, LIMIT).map_err(|error| error.to_string())?;
    let Some(prefix) = pinned.remove else {
        return Ok(());
    };
    for entry in fs::read_dir(directory.join("jars")).map_err(io)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_file(entry.path()).map_err(io)?;
        }
    }
    Ok(())
}

fn pom(pinned: &Pinned) -> String {
    let named = |group: &str, artifact: &str| {
        format!("<groupId>{group}</groupId><artifactId>{artifact}</artifactId>")
    };
    let without: String = pinned
        .without
        .iter()
        .map(|(group, artifact)| format!("<exclusion>{}</exclusion>", named(group, artifact)))
        .collect();
    let own = [
        "core-server-master",
        "core-server-worker",
        "shell",
        "underfs-local",
    ]
    .map(|artifact| {
        format!(
            "<dependency>{}<version>{}</version><exclusions>{without}</exclusions></dependency>",
            named("org.alluxio", &format!("alluxio-{artifact}")),
            pinned.version
        )
    });
    let with: String = pinned
        .with
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "<dependency>{}<version>{version}</version></dependency>",
                named(group, artifact)
            )
        })
        .collect();
    format!(
        "<project><modelVersion>4.0.0</modelVersion>{}<version>1</version><dependencies>{}{with}</dependencies></project>",
        named("upshift", "alluxio"),
        own.concat()
    )
}

fn run_patch(source: &Path, jars: &Path) -> Result<(), String> {
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(jars.join("*"))
        .arg(source)
        .args([jars, &jars.join("patch/copycat.jar")]);
    processes::run(&mut java, LIMIT)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Keeps the loaded form of the classes that a command needs, which halves what each command costs. Java works without, too.
fn archive(jars: &Path) {
    let archive = jars.join("classes.jsa");
    if archive.exists() {
        return;
    }
    let new = jars.join("classes.jsa.new");
    let opens = ["java.lang", "java.util", "java.nio", "sun.nio.ch"]
        .map(|name| format!("--add-opens=java.base/{name}=ALL-UNNAMED"));
    let all = jars.join("*").display().to_string();
    let classes = match jars.join("patch").exists() {
        true => format!("{}/patch/*:{all}", jars.display()),
        false => all,
    };
    // The command finds no master, which it says after it has loaded what it needs to find one.
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xlog:disable"])
        .arg(format!("-XX:ArchiveClassesAtExit={}", new.display()))
        .args(opens)
        .args(["-cp", &classes])
        .args([
            "-Dalluxio.master.hostname=127.0.0.1",
            "-Dalluxio.master.rpc.port=1",
            "-Dalluxio.user.rpc.retry.max.duration=1s",
            "-Dalluxio.user.conf.cluster.default.enabled=false",
        ])
        .args(["alluxio.cli.fs.FileSystemShell", "ls", "/"]);
    // Whatever becomes of the command: there is an archive, or there is none.
    let _ended = processes::run(&mut java, LIMIT);
    let _kept = fs::rename(&new, &archive);
}

/// `DIGEST  NAME` of each jar, in the order of their names.
fn list(jars: &Path) -> std::io::Result<String> {
    let mut names: Vec<String> = fs::read_dir(jars)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".jar"))
        .collect();
    names.sort();
    let mut text = String::new();
    for name in names {
        let (sha256, _) = package::digest(&jars.join(&name))?;
        // Writing into a text cannot fail.
        let _ = writeln!(text, "{sha256}  {name}");
    }
    Ok(text)
}

/// Whether the jars in a directory are those whose list has this digest.
pub(super) fn verify(sha256: &str, jars: &Path) -> Result<(), String> {
    let list = list(jars).map_err(|error| error.to_string())?;
    let found = package::hex(&Sha256::digest(list.as_bytes()));
    if found == sha256 {
        return Ok(());
    }
    Err(format!(
        "the jars in {} are not those that are pinned ({found}); remove the directory to fetch them again",
        jars.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_set_of_jars_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("b.jar"), "b").unwrap();
        fs::write(directory.path().join("a.jar"), "a").unwrap();
        fs::write(directory.path().join("notes.txt"), "no jar").unwrap();
        let text = list(directory.path()).unwrap();
        let names: Vec<_> = text.lines().map(|line| &line[66..]).collect();
        assert_eq!(names, ["a.jar", "b.jar"]);
        let reason = verify(PINNED[0].sha256, directory.path()).unwrap_err();
        assert!(reason.contains("not those that are pinned"), "{reason}");
    }

    #[test]
    fn the_project_leaves_out_what_cannot_be_had() {
        let text = pom(&PINNED[1]);
        assert_eq!(text.matches("io.atomix.copycat.alluxio").count(), 4);
        assert!(text.contains("<artifactId>copycat-server</artifactId><version>1.2.8</version>"));
    }
}
