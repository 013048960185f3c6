//! `upshift profile`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `upshift profile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift profile ls
  upshift profile show etcd > my-etcd.yaml       a start for a profile of your own
  upshift profile lint my-etcd.yaml
  upshift profile schema > upshift-profile.schema.json")]
pub struct ProfileArgs {
    /// What about profiles.
    #[command(subcommand)]
    pub command: ProfileCommand,
}

/// What about profiles.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// The profiles that are shipped, and what each can do
    #[command(after_help = "Examples:\n  upshift profile ls\n  upshift profile ls --output json")]
    Ls,
    /// Print a profile as it was written
    #[command(after_help = "Examples:\n  upshift profile show etcd")]
    Show {
        /// Name of the product.
        product: String,
    },
    /// Check a profile; every mistake at once, with its place and what to write instead
    #[command(after_help = "Examples:\n  upshift profile lint my-etcd.yaml")]
    Lint {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of profiles, for editors
    #[command(after_help = "Examples:\n  upshift profile schema > upshift-profile.schema.json")]
    Schema,
}
