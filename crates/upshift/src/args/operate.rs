//! Commands that steer a run.

use clap::Args;

/// `upshift pause`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift pause
  upshift pause 20261120-0930-etcd

Never stops inside a window: the server that is being upgraded is finished first.")]
pub struct PauseArgs {
    /// The run [default: the newest of the fleet].
    pub run: Option<String>,
}

/// `upshift resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift resume
  upshift resume --take-over            the other controller is known to be dead
  upshift resume --accept-no-return     the run asked for consent
  upshift resume --forward              the rollback is stuck, and what made the new version fail is mended
  upshift resume --from-hosts           the machine with the run's journal is lost")]
pub struct ResumeArgs {
    /// The run [default: the newest of the fleet; with --from-hosts, the one that hosts know of].
    pub run: Option<String>,
    /// End a run that is not in this machine's journal, by what its hosts know: their guards bring every server back, or, where it
    /// was decided to stay, every server keeps the new version. Any other controller of the run is fenced off.
    #[arg(long, conflicts_with = "accept_no_return")]
    pub from_hosts: bool,
    /// Do not ask (with --from-hosts).
    #[arg(short, long, requires = "from_hosts")]
    pub yes: bool,
    /// Take the run over from a controller whose lease still stands.
    #[arg(long)]
    pub take_over: bool,
    /// The explicit yes to crossing the point of no return that the run is waiting at.
    #[arg(long)]
    pub accept_no_return: bool,
    /// Go forward again from a rollback that is held, with the servers that were rolled back (rolling upgrades only). What made the
    /// new version fail should be mended first; where it fails again, the run is rolled back again.
    #[arg(long, conflicts_with = "from_hosts")]
    pub forward: bool,
}

/// `upshift abort`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift abort
  upshift abort --yes --take-over")]
pub struct AbortArgs {
    /// The run [default: the newest of the fleet].
    pub run: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Take the run over from a controller whose lease still stands.
    #[arg(long)]
    pub take_over: bool,
}

/// `upshift rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift rollback
  upshift rollback 20261120-0930-etcd --yes
  upshift rollback --all-at-once")]
pub struct RollbackArgs {
    /// The run [default: the newest of the fleet].
    pub run: Option<String>,
    /// Stop all servers and take them back together, without waiting for the others to serve: for a run that is held in its rollback
    /// because its cluster serves nobody any more.
    #[arg(long)]
    pub all_at_once: bool,
    /// Roll back also where that loses what was written since; without it such a rollback is refused, and says how much that is.
    #[arg(long)]
    pub accept_loss: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

/// `upshift end`.
#[derive(Debug, Args)]
#[command(after_help = "\
Servers may run different versions afterwards: `upshift status` says so until they are mended.

Examples:
  upshift end --as-is --reason 'n2 is replaced tomorrow'")]
pub struct EndArgs {
    /// The run [default: the newest of the fleet].
    pub run: Option<String>,
    /// Leave every server as it is: nothing is started, stopped or rolled back.
    #[arg(long, required = true)]
    pub as_is: bool,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

/// `upshift finalize`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift finalize
  upshift finalize 20261120-0930-etcd --yes")]
pub struct FinalizeArgs {
    /// The run [default: the newest of the fleet].
    pub run: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}
