//! `upshift backup`, `restore` and `snapshots`.

use clap::{Args, Subcommand};
use upshift_model::Millis;

/// `upshift backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift backup                    every snapshot that the profile names
  upshift backup data --host n1

A snapshot counts only once it is proven: restored into a directory of its own, compared with what was taken, and read by the product's
own reader. One that is not proven is said so (exit status 3), and is never offered to be restored. Where snapshots are kept, and where
their password lives: docs/snapshots.md.")]
pub struct BackupArgs {
    /// Which snapshots, by the names in the profile [default: all].
    pub names: Vec<String>,
    /// Only this server; again for each [default: all servers of the fleet].
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
}

/// `upshift restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift restore 3f2a9c11 --to /tmp/look        next to everything, to look into it
  upshift restore 3f2a9c11                       where it was; the service must not run
  upshift restore 3f2a9c11 --move-aside          what lies there is kept under another name

Nothing is ever overwritten or removed. What comes out of the repository is compared with what was taken before it gets its name.")]
pub struct RestoreArgs {
    /// The snapshot's id, or the beginning of it (`upshift snapshots list`).
    pub id: String,
    /// The host that it is restored on [default: the one that it was taken on].
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// A directory for its tree, instead of the places where its files were.
    #[arg(long, value_name = "DIR")]
    pub to: Option<String>,
    /// Move what lies there aside; without it a place that is not empty is refused.
    #[arg(long)]
    pub move_aside: bool,
    /// The version that is to read it [default: the release that the host's store points at].
    #[arg(long = "for", value_name = "VERSION")]
    pub version: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

/// `upshift snapshots`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift snapshots list
  upshift snapshots verify --host n1
  upshift snapshots prune --keep-last 3")]
pub struct SnapshotsArgs {
    /// What about snapshots.
    #[command(subcommand)]
    pub command: SnapshotsCommand,
    /// Only this server; again for each [default: all servers of the fleet].
    #[arg(long = "host", value_name = "HOST", global = true)]
    pub hosts: Vec<String>,
}

/// What about snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotsCommand {
    /// List them, and whether each is proven
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  upshift snapshots list\n  upshift snapshots list --output json"
    )]
    List,
    /// Everything known of one
    #[command(after_help = "Examples:\n  upshift snapshots show 3f2a9c11")]
    Show {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Prove one anew by a restore; without an id, read everything in the repositories and prove every snapshot anew
    #[command(after_help = "Examples:\n  upshift snapshots verify\n  upshift snapshots verify 3f2a9c11")]
    Verify {
        /// Its id, or the beginning of it.
        id: Option<String>,
    },
    /// Remove old ones, and what only they needed
    #[command(after_help = "\
Examples:
  upshift snapshots prune
  upshift snapshots prune --keep-last 1 --keep-within 7d --yes

The newest proven snapshot of each name and of each version is always kept. One that is not proven counts for nothing.")]
    Prune {
        /// How many of each name stay, the newest.
        #[arg(long, value_name = "COUNT", default_value_t = 3)]
        keep_last: u32,
        /// All that are younger stay, such as 7d.
        #[arg(long, value_name = "DURATION", default_value = "1d")]
        keep_within: Millis,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}
