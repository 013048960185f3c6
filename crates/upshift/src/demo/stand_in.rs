//! The program of the demo's bad release of etcd: it starts, says its version, and never serves.
//!
//! The demo packs this very program under the name `etcd`, with a manifest beside it. Nothing else runs it.

use std::process::ExitCode;

use upshift_lab::releases;
use upshift_lab::server::{self, MANIFEST, Manifest};

/// Name of the program in the bad release.
pub const PROGRAM: &str = "etcd";

/// Plays the part that this program was packed for, if it was: that of the lab server, or of the bad release.
pub fn play() -> Option<ExitCode> {
    let executable = std::env::current_exe().ok()?;
    match executable.file_name()?.to_str()? {
        releases::PROGRAM => Some(server::main()),
        PROGRAM => Some(never_healthy(&executable)),
        _ => None,
    }
}

fn never_healthy(executable: &std::path::Path) -> ExitCode {
    let manifest = std::fs::read(executable.with_file_name(MANIFEST)).ok();
    let manifest: Option<Manifest> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(manifest) = manifest else {
        eprintln!("there is no {MANIFEST} beside {}", executable.display());
        return ExitCode::FAILURE;
    };
    if std::env::args().any(|argument| argument == "--version") {
        println!("etcd Version: {}", manifest.version);
        return ExitCode::SUCCESS;
    }
    loop {
        // Until somebody ends it.
        std::thread::park();
    }
}
