//! Commands that look.

use clap::Args;
use upshift_model::Millis;

/// `upshift status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift status
  upshift status --watch --every 5s
  upshift status --output json

What it prints was observed just now, on the hosts. It ends with 3 where something is not well:
a check that does not hold, a server that was not reached, a run that is held or has no controller.")]
pub struct StatusArgs {
    /// Look again and again, until Ctrl-C.
    #[arg(short, long)]
    pub watch: bool,
    /// Time between two looks.
    #[arg(long, value_name = "DURATION", default_value = "2s", requires = "watch")]
    pub every: Millis,
}

/// `upshift why`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift why
  upshift why 20261120-0930-etcd --output json")]
pub struct WhyArgs {
    /// The run [default: the newest of the fleet].
    pub run: Option<String>,
}

/// `upshift history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift history
  upshift history --all")]
pub struct HistoryArgs {
    /// Runs on all fleets, not only on this one.
    #[arg(long)]
    pub all: bool,
}

/// `upshift show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift show
  upshift show 20261120-0930-etcd --journal          every event, one JSON record per line")]
pub struct ShowArgs {
    /// The run [default: the newest of the fleet].
    pub run: Option<String>,
    /// The journal: every event, one JSON record per line.
    #[arg(long)]
    pub journal: bool,
}

/// `upshift report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift report
  upshift report 20261120-0930-etcd --output markdown > report.md
  upshift report --output html > report.html one page to look at, or to print; it asks nothing of anybody
  upshift report --bundle run.tar.gz         for the vendor, or for a colleague: secrets are taken out

Where no controller drives the run, or it is held, its hosts are asked as well.")]
pub struct ReportArgs {
    /// The run [default: the newest of the fleet].
    pub run: Option<String>,
    /// Write one archive: the report, the plan, the journal with all that was observed, and what the hosts have written of the run.
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<std::path::PathBuf>,
}
