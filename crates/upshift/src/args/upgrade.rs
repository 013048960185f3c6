//! Commands on the way to a new version.

use std::path::PathBuf;

use clap::Args;
use upshift_model::Millis;

/// `upshift demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift demo
  upshift demo --lab                  without downloads: the lab server instead of etcd
  upshift demo --output json          ends with one line of figures
  upshift demo --report demo.html     leaves a page to show to others

The cluster lives in a temporary directory and on loopback addresses.
Ctrl-C ends the demo at any time; nothing keeps running and nothing is left but the cached downloads.")]
pub struct DemoArgs {
    /// Use the lab server, a small replicated key-value server of Upshift's own, even where etcd can be had.
    #[arg(long)]
    pub lab: bool,
    /// Where downloads are kept for the next time [default: $XDG_CACHE_HOME/upshift, else ~/.cache/upshift].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Write the report of the second upgrade, the one that is rolled back, to this file: one page of HTML to look at.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Where the story is told; the demo gives this to itself.
    #[arg(long, value_name = "DIR", hide = true)]
    pub inside: Option<PathBuf>,
}

/// `upshift init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift init --product etcd --host n1=10.0.0.1 --host n2=10.0.0.2 --host n3=10.0.0.3
  upshift init --product etcd --host n1=ops@10.0.0.1:2222 --sudo
  upshift init --product etcd --host n1 --host n2 --host n3       names as your ssh configuration knows them

An Ansible inventory needs no `init`: give it to any command with --fleet.")]
pub struct InitArgs {
    /// Hosts named on the command line.
    #[arg(
        help = "A host, as NAME or NAME=[USER@]ADDRESS[:PORT]; again for each host",
        long = "host",
        value_name = "HOST",
        required = true
    )]
    pub hosts: Vec<String>,
    /// The agent runs under sudo, for logins that are not root.
    #[arg(long)]
    pub sudo: bool,
    /// Name of the fleet; one run per name at a time [default: the product's name].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Overwrite a file that exists.
    #[arg(long)]
    pub force: bool,
}

/// Where an upgrade is to lead.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Upgrade")]
pub struct Target {
    /// A version that the path must go through; again for each.
    #[arg(long, value_name = "VERSION")]
    pub via: Vec<String>,
    /// Servers per window of a rolling hop [default: what the profile allows].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// The host to upgrade first.
    #[arg(long, value_name = "HOST")]
    pub canary: Option<String>,
    /// Given way to `upshift accept`.
    #[arg(long = "skip-check", value_name = "CHECK", hide = true, value_parser = gave_way)]
    pub skip_checks: Vec<String>,
    /// Try a version again that an earlier run rolled back from.
    #[arg(long)]
    pub again: bool,
    /// How long the result is watched before the upgrade counts as done, such as 10m [default: the profile's].
    #[arg(long, value_name = "DURATION")]
    pub soak: Option<Millis>,
    /// How long each server is watched before the next one [default: the profile's].
    #[arg(long, value_name = "DURATION")]
    pub soak_between: Option<Millis>,
    /// How long a window may disturb service, such as 10m; a window over all servers includes its rollback in it [default: the
    /// profile's, else 10m].
    #[arg(long, value_name = "DURATION")]
    pub window: Option<Millis>,
    /// How long a host waits for a lost controller before it rolls back by itself [default: the profile's].
    #[arg(long, value_name = "DURATION")]
    pub guard_lease: Option<Millis>,
}

/// What stands for `--skip-check` now.
fn gave_way(check: &str) -> Result<String, String> {
    Err(format!(
        "checks are not skipped any more; a risk is taken by name and with a reason: upshift accept {check} --reason \"…\""
    ))
}

/// `upshift adopt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift adopt --packages packages      with the package of the version that runs among them

  upshift adopt --services               afterwards: start the services from there, one server after the other

Once, for servers that were installed without Upshift. Rolling back means to start a release of the host's store;
so what runs is put there first, and the link STATE/store/current pointed at it. With --services each server's service
is then restarted from there, on the version that it runs, one after the other as in an upgrade: behind the same gates
and guards, proven, and taken back where a server does not come up. Where systemd runs the service, a file beside
its unit (UNIT.d/zz-upshift.conf) has it start the store's program; the unit itself stays as it is.")]
pub struct AdoptArgs {
    /// Restart the services from the release store, one server after the other.
    #[arg(long)]
    pub services: bool,
    /// Do not ask (with --services).
    #[arg(short, long, requires = "services")]
    pub yes: bool,
    /// Further wishes (with --services).
    #[command(flatten)]
    pub target: Target,
}

/// `upshift accept`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift accept capacity --reason \"night, no users; change 4711\" --until 2027-01-31
  upshift accept                         what is accepted for this fleet
  upshift accept capacity --withdraw

For the upgrades of this fleet that are planned from this machine from now on. What is accepted, by whom and why, is written into the plan,
the journal and the report. The key `accept` of a fleet file does the same for everybody who uses the file. Only what the profile
calls acceptable can be accepted.")]
pub struct AcceptArgs {
    /// The risk: the name of a check, a blocked way or a condition, as the refusal says it, or `capacity`; all are listed where absent.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Why you take it upon yourself.
    #[arg(long, value_name = "TEXT", requires = "name")]
    pub reason: Option<String>,
    /// The last day on which it counts, as YYYY-MM-DD in UTC [default: for good].
    #[arg(long, value_name = "DATE", requires = "reason")]
    pub until: Option<String>,
    /// Take it back.
    #[arg(long, requires = "name", conflicts_with_all = ["reason", "until"])]
    pub withdraw: bool,
}

/// `upshift check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift check
  upshift check --to 3.5.30 --fleet inventory.ini

Changes nothing on any host but putting the agent there, once. Everything that is wrong is reported at once.")]
pub struct CheckArgs {
    /// Check whether the upgrade to this version may be done, too.
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// Further wishes.
    #[command(flatten)]
    pub target: Target,
}

/// `upshift plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift plan --to 3.5.30
  upshift plan --to 3.5.30 --via 3.4.23
  upshift plan --to 3.5.30 -o upgrade.plan          keep it; `upshift upgrade --plan upgrade.plan` does just that
  upshift plan --to 3.5.30 --picture                the phases of every server, in text
  upshift plan --to 3.5.30 --output svg -o plan.svg
  upshift plan --to 3.5.30 --output markdown --exit-code      for a pull request: 0 nothing to do, 10 something would change")]
pub struct PlanArgs {
    /// The version to reach.
    #[arg(long, value_name = "VERSION")]
    pub to: String,
    /// Further wishes.
    #[command(flatten)]
    pub target: Target,
    /// Write to this file: the plan itself, or with --output markdown or svg its rendering.
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Add the picture of the phases per server.
    #[arg(long)]
    pub picture: bool,
    /// For pipelines: end with 10 where something would change, and with 0 where every server runs the version already.
    #[arg(long)]
    pub exit_code: bool,
}

/// `upshift prepare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift prepare --to 3.5.30          days ahead; `upshift upgrade` then sends nothing again")]
pub struct PrepareArgs {
    /// The version to prepare.
    #[arg(long, value_name = "VERSION")]
    pub to: String,
    /// Further wishes.
    #[command(flatten)]
    pub target: Target,
}

/// `upshift upgrade`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  upshift upgrade --to 3.5.30
  upshift upgrade --plan upgrade.plan
  upshift upgrade --to 3.5.30 --yes --accept-no-return --output json      for machines
  upshift upgrade --clients                      after the servers, for products whose profile has upgrades of clients

Ctrl-C once: the run pauses at its next safe point.
Ctrl-C twice: this command ends at once and the run waits for `upshift resume`;
if no controller resumes it, the guards bring the hosts back when their lease has passed.")]
pub struct UpgradeArgs {
    /// The version to reach.
    #[arg(
        long,
        value_name = "VERSION",
        required_unless_present_any = ["plan", "clients"],
        conflicts_with = "plan"
    )]
    pub to: Option<String>,
    /// Upgrade the clients in the fleet, in batches, to the version that the servers run. They are the hosts with the role `client`.
    #[arg(long, conflicts_with = "plan")]
    pub clients: bool,
    /// A plan written by `upshift plan -o`; refused where the cluster has changed since.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Take a plan that was not made beside this machine's journal, or that was changed since; what it runs is listed first.
    #[arg(long, requires = "plan")]
    pub trust_plan: bool,
    /// Further wishes.
    #[command(flatten)]
    pub target: Target,
    /// Do not ask. Does not cross a point of no return: that takes --accept-no-return.
    #[arg(short, long)]
    pub yes: bool,
    /// The explicit yes to crossing the plan's points of no return.
    #[arg(long)]
    pub accept_no_return: bool,
}
