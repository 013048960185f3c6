//! `upshift release`.

use clap::{Args, Subcommand};

/// `upshift release`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift release ls                                every server's releases and what they are
  upshift release unpack 4.4.16 --host n1           on one server; again for each
  upshift release install --no-permanent 4.4.16     until the next restart
  upshift release install 4.4.16                    made permanent, where it is current already
  upshift release downgrade 4.4.15
  upshift release ls --here --product etcd          this host's own, without a fleet file

A release is `unpacked`, `current` (runs now, gone after a restart of the service or the host), `permanent` (what every
start runs) or `old`. Products with a release handler of their own are asked through it, and answer in their own words; for
others the host's release store does it, and an installation restarts the service where it runs.

These commands look after releases. They make no checks, take no backups, and take one server after the other only: to
upgrade a cluster, use `upshift upgrade`.")]
pub struct ReleaseArgs {
    /// What about releases.
    #[command(subcommand)]
    pub command: ReleaseCommand,
    /// Only this server; again for each [default: all servers of the fleet].
    #[arg(long = "host", value_name = "HOST", global = true)]
    pub hosts: Vec<String>,
    /// This machine, whatever the fleet file says; --product or --profile names the product.
    #[arg(long, global = true, conflicts_with = "hosts")]
    pub here: bool,
    /// The agent's state directory on this machine, with --here.
    #[arg(long, value_name = "DIR", global = true, requires = "here")]
    pub host_state: Option<String>,
}

/// What about releases.
#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// List the releases and their statuses
    #[command(
        visible_alias = "versions",
        after_help = "Examples:\n  upshift release ls\n  upshift release ls --host n1 --output json"
    )]
    Ls,
    /// Have a release's package on the servers, verified; change nothing else
    #[command(after_help = "Examples:\n  upshift release get 4.4.16")]
    Get(ReleaseVersion),
    /// Unpack a release; change nothing that runs
    #[command(after_help = "Examples:\n  upshift release unpack 4.4.16")]
    Unpack(ReleaseVersion),
    /// Run a release from now on, and make it permanent; make the current one permanent
    #[command(
        visible_alias = "upgrade",
        after_help = "Examples:\n  upshift release install 4.4.16\n  upshift release install --no-permanent 4.4.16"
    )]
    Install(ReleaseInstall),
    /// The same, in the words of those who roll back
    #[command(after_help = "Examples:\n  upshift release downgrade 4.4.15")]
    Downgrade(ReleaseInstall),
    /// Remove a release; the current and the permanent one are refused
    #[command(after_help = "Examples:\n  upshift release uninstall 4.4.15")]
    Uninstall(ReleaseVersion),
    /// Where the releases are
    #[command(after_help = "Examples:\n  upshift release root")]
    Root,
}

/// Which release.
#[derive(Debug, Args)]
pub struct ReleaseVersion {
    /// The version.
    pub version: String,
}

/// Which release is installed, and how.
#[derive(Debug, Args)]
pub struct ReleaseInstall {
    /// The version.
    pub version: String,
    /// Until the next restart of the service or the host only.
    #[arg(long)]
    pub no_permanent: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}
