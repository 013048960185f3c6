//! The lab server's command line: the server itself, and the little tools that a vendor would ship with it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::Member;
use super::config::Config;
use super::core::Core;
use super::manifest::Manifest;
use super::{election, replication, wire};
use crate::http;

const USAGE: &str = "\
Usage: labd --config FILE          run a member
       labd --version              print the release's version
       labd move-leader ADDRESS    let another member lead
       labd save ADDRESS FILE      save what a member holds
       labd inspect FILE           print revision and number of keys of what was saved
       labd restore FILE DIRECTORY make data of what was saved
       labd examine DIRECTORY      print format and number of entries of data";

/// Tells the process that it has put the signal away already.
const TERM_IGNORED: &str = "LAB_TERM_IGNORED";

/// Runs the program with its arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = release().and_then(|(executable, manifest)| match words.as_slice() {
        ["--version"] => {
            println!("labd {}", manifest.version);
            Ok(())
        }
        ["--config", file] => run(&executable, manifest, file, &arguments),
        ["move-leader", address] => move_leader(address),
        ["save", address, file] => save(address, Path::new(file)),
        ["inspect", file] => inspect(Path::new(file)),
        ["restore", file, directory] => restore(Path::new(file), Path::new(directory)),
        ["examine", directory] => examine(Path::new(directory)),
        _ => Err(USAGE.to_owned()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("fatal: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn release() -> Result<(PathBuf, Manifest), String> {
    let executable = std::env::current_exe().map_err(|error| error.to_string())?;
    let manifest = Manifest::beside(&executable).map_err(|error| format!("the manifest: {error}"))?;
    Ok((executable, manifest))
}

fn run(executable: &Path, manifest: Manifest, file: &str, arguments: &[String]) -> Result<(), String> {
    if manifest.misbehaviour.ignore_sigterm && std::env::var_os(TERM_IGNORED).is_none() {
        return Err(restart_ignoring_term(executable, arguments));
    }
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let config = Config::parse(&text).map_err(|reason| format!("{file}: {reason}"))?;
    let address = config.address().to_owned();
    let core = Core::open(config, manifest)?;
    let listener = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
    println!("release {} listens on {address}", core.manifest.version);
    let member = Member::new(core);
    replication::start(&member);
    let watching = std::sync::Arc::clone(&member);
    std::thread::spawn(move || election::watch(&watching));
    wire::serve(listener, move |asked| member.answer(asked));
    Ok(())
}

/// A shell puts the signal away, which lasts across `exec`, and becomes this program again under the same name.
fn restart_ignoring_term(executable: &Path, arguments: &[String]) -> String {
    let name = std::env::args_os()
        .next()
        .unwrap_or_else(|| executable.as_os_str().to_owned());
    let error = Command::new("sh")
        .args(["-c", "trap '' TERM; exec \"$0\" \"$@\""])
        .arg(name)
        .args(arguments)
        .env(TERM_IGNORED, "1")
        .exec();
    error.to_string()
}

fn move_leader(address: &str) -> Result<(), String> {
    let answer = http::post(
        http::address_of(address),
        "/leader/move",
        &json!({}),
        Duration::from_secs(5),
    )
    .map_err(|error| error.to_string())?;
    println!("{}", answer.json());
    if answer.status == 200 {
        Ok(())
    } else {
        Err("no other member leads".to_owned())
    }
}

fn save(address: &str, file: &Path) -> Result<(), String> {
    let answer = http::get(http::address_of(address), "/dump", Duration::from_secs(30))
        .map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("the member answers with {}", answer.status));
    }
    let write = || -> std::io::Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(file, &answer.body)?;
        fs::File::open(file)?.sync_all()
    };
    write().map_err(|error| format!("{}: {error}", file.display()))
}

fn read(file: &Path) -> Result<Value, String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))
}

fn inspect(file: &Path) -> Result<(), String> {
    let saved = read(file)?;
    let keys = saved["values"].as_object().ok_or("it holds no values")?.len();
    println!(
        "{}",
        json!({ "revision": saved["revision"], "hash": saved["hash"], "keys": keys })
    );
    Ok(())
}

fn restore(file: &Path, directory: &Path) -> Result<(), String> {
    let saved = read(file)?;
    let values = saved["values"].as_object().ok_or("it holds no values")?;
    if directory.exists() {
        return Err(format!("{} exists already", directory.display()));
    }
    let mut disk = super::log::Disk::open(directory).map_err(|error| error.to_string())?;
    let entries: Vec<super::log::Entry> = values
        .iter()
        .map(|(key, value)| super::log::Entry {
            term: 1,
            change: super::log::Change::Put {
                key: key.clone(),
                value: value.as_str().unwrap_or_default().to_owned(),
            },
        })
        .collect();
    disk.append(&entries)
        .and_then(|()| disk.write_ballot(&super::log::Ballot { term: 1, vote: None }))
        .and_then(|()| disk.write_format(1))
        .map_err(|error| error.to_string())
}

fn examine(directory: &Path) -> Result<(), String> {
    if !directory.is_dir() {
        return Err(format!("{} is no directory", directory.display()));
    }
    let disk = super::log::Disk::open(directory).map_err(|error| error.to_string())?;
    let format = disk.format().map_err(|error| error.to_string())?;
    println!("{}", json!({ "format": format, "entries": disk.last() }));
    Ok(())
}
