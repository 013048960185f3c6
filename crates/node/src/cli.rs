//! The command line of the agent. People do not use it: the controller and the agent itself do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::Mode;

use crate::durable::{self, Lock};
use crate::error::{Context, NodeError, Result, say};
use crate::host::{Host, VERSION};
use crate::layout::Layout;
use crate::{detach, digest, guard, serve, store};

const HELP: &str = "\
upshift-node: the agent of Upshift on a host; it is started by `upshift`, not by people

  upshift-node serve --state DIR                      answer requests on standard input and output
  upshift-node guard --state DIR --run RUN --hop HOP  keep the guard of a run
  upshift-node settle --state DIR                     before a unit starts its service: what is not permanent is gone
  upshift-node digest                                 print the SHA-256 of this program
  upshift-node --version
";

/// Exit status where the command line is wrong.
const USAGE: u8 = 2;

/// Runs the agent; `arguments` without the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let word = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    match word.to_str() {
        Some("serve") => finish(Options::read(rest).and_then(|options| run_serve(&options))),
        Some("guard") => finish(Options::read(rest).and_then(|options| run_guard(&options))),
        Some("settle") => finish(Options::read(rest).and_then(|options| run_settle(&options))),
        Some(detach::DETACH) => detach::first(rest),
        Some(detach::DETACHED) => detach::second(rest),
        Some("digest") => finish(print_digest()),
        Some("--version" | "-V") => {
            println!("upshift-node {VERSION}");
            ExitCode::SUCCESS
        }
        Some("--help" | "-h" | "help") => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            say(HELP.trim_end());
            ExitCode::from(USAGE)
        }
    }
}

fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format!("upshift-node: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn print_digest() -> Result<()> {
    let digest =
        digest::of_file(Path::new("/proc/self/exe")).context(|| "cannot read the agent's own program")?;
    println!("{digest}");
    Ok(())
}

#[derive(Default)]
struct Options {
    state: Option<PathBuf>,
    run: Option<String>,
    hop: u32,
}

impl Options {
    fn read(arguments: Vec<OsString>) -> Result<Self> {
        let mut options = Options::default();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .ok_or_else(|| NodeError::refused(format!("option {} has no value", name.display())))?;
            let text = value.to_string_lossy().into_owned();
            match name.to_str() {
                Some("--state") => options.state = Some(value.into()),
                Some("--run") => options.run = Some(text),
                Some("--hop") => {
                    options.hop = text
                        .parse()
                        .map_err(|_| NodeError::refused(format!("`{text}` is no number")))?;
                }
                _ => return Err(NodeError::refused(format!("unknown option {}", name.display()))),
            }
        }
        Ok(options)
    }

    fn host(&self) -> Result<Host> {
        let state = self
            .state
            .as_ref()
            .ok_or_else(|| NodeError::refused("say where the state is: --state DIR"))?;
        // Whatever the login's mask is: services that the agent starts inherit it.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        Ok(Host {
            layout: Layout::open(state)?,
        })
    }
}

/// For units whose service runs through the store's link, as `ExecStartPre`.
fn run_settle(options: &Options) -> Result<()> {
    let layout = options.host()?.layout;
    // Where an installation starts the unit, it holds the lock, and its release is what is to run.
    if !Lock::is_held(&layout.orders_lock())? {
        durable::remove(&layout.installing())?;
    }
    store::before_start(&layout)
}

fn run_serve(options: &Options) -> Result<()> {
    serve::serve(options.host()?)
}

fn run_guard(options: &Options) -> Result<()> {
    let run = options
        .run
        .as_ref()
        .ok_or_else(|| NodeError::refused("say which guard: --run RUN --hop HOP"))?;
    guard::keep(&options.host()?, run, options.hop)
}
