//! What can be typed: the commands, their options, and the help that goes with them.

mod inspect;
mod operate;
mod profiles;
mod release;
mod snapshots;
mod upgrade;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use inspect::{HistoryArgs, ReportArgs, ShowArgs, StatusArgs, WhyArgs};
pub use operate::{AbortArgs, EndArgs, FinalizeArgs, PauseArgs, ResumeArgs, RollbackArgs};
pub use profiles::{ProfileArgs, ProfileCommand};
pub use release::{ReleaseArgs, ReleaseCommand, ReleaseInstall};
pub use snapshots::{BackupArgs, RestoreArgs, SnapshotsArgs, SnapshotsCommand};
pub use upgrade::{
    AcceptArgs, AdoptArgs, CheckArgs, DemoArgs, InitArgs, PlanArgs, PrepareArgs, Target, UpgradeArgs,
};

/// Exit statuses, as every page of help ends with them.
pub const EXIT_STATUSES: &str = "\
Exit status:
  0  done
  1  unexpected error
  2  wrong usage: the command line or a file of yours has a mistake
  3  refused, or not well: this command changed nothing
  4  failed and rolled back: the old version serves
  5  held: an operator must decide; see `upshift why`
  10 `plan --exit-code`: a plan was made, and something would change";

const OVERVIEW: &str = "\
Examples:
  upshift demo                              see it work on this machine, on a cluster of its own
  upshift init --host n1=10.0.0.1 --host n2=10.0.0.2 --host n3=10.0.0.3 --product etcd
  upshift check --to 3.5.30                 reach every host and run all checks; changes nothing
  upshift plan --to 3.5.30                  what would be done, in which order, and how it is undone
  upshift upgrade --to 3.5.30               show the plan, ask, do it
  upshift why                               what a run is waiting for, or what it stopped on
  upshift help plan                         every option of a command";

/// Upgrade clustered, stateful servers without losing data, and bring them back when the upgrade fails.
#[derive(Debug, Parser)]
#[command(
    name = "upshift",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = OVERVIEW,
)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The whole command line; every page of help ends with the exit statuses.
    pub fn full() -> clap::Command {
        with_exit_statuses(Cli::command())
    }

    /// Reads the arguments of this process.
    pub fn read() -> Result<Self, clap::Error> {
        let arguments = help_as_an_option(std::env::args_os().collect());
        Cli::from_arg_matches(&Cli::full().try_get_matches_from(arguments)?)
    }
}

/// `upshift help plan` is `upshift plan --help`.
fn help_as_an_option(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
}

fn with_exit_statuses(command: clap::Command) -> clap::Command {
    let examples = command
        .get_after_help()
        .map(|help| format!("{help}\n\n"))
        .unwrap_or_default();
    command
        .after_help(format!("{examples}{EXIT_STATUSES}"))
        .mut_subcommands(with_exit_statuses)
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The fleet: a fleet file (see `upshift init`) or an Ansible inventory; group_vars and host_vars beside it are read.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "UPSHIFT_FLEET",
        default_value = "fleet.yaml"
    )]
    pub fleet: PathBuf,
    /// The product to work on; needed only where a fleet has several.
    #[arg(long, global = true, value_name = "NAME")]
    pub product: Option<String>,
    /// A profile of your own, instead of the one shipped under the product's name.
    #[arg(long, global = true, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Where runs are journaled on this machine [default: $XDG_STATE_HOME/upshift, else ~/.local/state/upshift].
    #[arg(long, global = true, value_name = "DIR", env = "UPSHIFT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where the package files of releases lie.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "UPSHIFT_PACKAGES",
        default_value = "packages"
    )]
    pub packages: PathBuf,
    /// Keep this file of metrics while a run is driven, for node_exporter's textfile collector; `status` writes it, too.
    #[arg(long, global = true, value_name = "FILE", env = "UPSHIFT_METRICS_FILE")]
    pub metrics_file: Option<PathBuf>,
    /// Form of the result; `markdown` and `svg` are for `plan`, `markdown` and `html` also for `report`, `metrics` for `status`.
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value = "table")]
    pub output: Output,
    /// More detail: about an unexpected error; in a plan, the proofs as the profile has them.
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    pub verbose: bool,
}

/// Form of a command's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences for people.
    Table,
    /// JSON: one document, or one per line where a command reports progress.
    Json,
    /// Markdown.
    Markdown,
    /// A picture.
    Svg,
    /// Metrics, in Prometheus's text form.
    Metrics,
    /// A page to look at.
    Html,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A three-node cluster on this machine, upgraded under load; then a bad release, rolled back
    Demo(DemoArgs),
    /// Write a fleet file
    Init(InitArgs),
    /// Put what runs into every host's release store, so that it can be rolled back to; change nothing that runs
    Adopt(AdoptArgs),
    /// Reach every host, read facts, run all checks; report everything that is wrong at once
    Check(CheckArgs),
    /// Take a risk upon yourself, by name and with a reason
    Accept(AcceptArgs),
    /// Observed versions, health, and a run in progress
    Status(StatusArgs),
    /// Show what an upgrade would do: hops, steps, rollbacks, point of no return, time and disk
    Plan(PlanArgs),
    /// Fetch, verify and unpack a release on every host; change nothing that runs
    Prepare(PrepareArgs),
    /// Show the plan, ask, do it, with live progress
    Upgrade(UpgradeArgs),
    /// Let a run stop at its next safe point, never inside a window
    Pause(PauseArgs),
    /// Go on with a run that was paused, held, or lost its controller
    Resume(ResumeArgs),
    /// Roll back: undo what the current hop has changed, and end the run
    Abort(AbortArgs),
    /// Roll back after an upgrade that ended well, before `finalize`
    Rollback(RollbackArgs),
    /// End a held run with every server as it is, recorded with a reason
    End(EndArgs),
    /// The separate, explicit last step: clean up; afterwards rolling back needs a snapshot
    Finalize(FinalizeArgs),
    /// What a run is waiting for or stopped on, with the evidence
    Why(WhyArgs),
    /// All runs on this fleet
    History(HistoryArgs),
    /// One run: its steps, and with --journal its events
    Show(ShowArgs),
    /// What a run did, per host, with times, for the record
    Report(ReportArgs),
    /// Take snapshots of what the profile names, and prove that they restore
    Backup(BackupArgs),
    /// Put a proven snapshot back
    Restore(RestoreArgs),
    /// Snapshots: list, show, verify, prune
    Snapshots(SnapshotsArgs),
    /// The life of releases on servers: list, get, unpack, install, downgrade, uninstall
    Release(ReleaseArgs),
    /// Product profiles: list, show, check, schema
    Profile(ProfileArgs),
    /// Print the completions of a shell
    #[command(after_help = "\
Examples:
  upshift completions bash > /etc/bash_completion.d/upshift
  upshift completions zsh > ~/.zfunc/_upshift")]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory
    #[command(after_help = "\
Examples:
  upshift man ~/.local/share/man/man1")]
    Man {
        /// The directory; made where absent.
        directory: PathBuf,
    },
    /// Write the reference of all commands as Markdown to standard output
    #[command(hide = true)]
    Reference,
}
