//! `upshift release`: the life of releases on servers, outside of upgrades.

use std::collections::BTreeMap;

use serde::Serialize;
use upshift_control::{Hosts, ReleaseError, ReleaseHost, known_runs};
use upshift_model::action::Artifact;
use upshift_model::facts::ReleaseStatus;
use upshift_model::fleet::{Fleet, Host, Transport};
use upshift_model::package::PackageRules;
use upshift_model::release::{ReleaseAnswer, ReleaseCall, ReleaseOutcome};
use upshift_model::version::Version;
use upshift_store::Store;
use upshift_wire::client::CallError;
use upshift_wire::put::put;
use upshift_wire::session::SessionError;

use crate::args::{Global, Output, ReleaseArgs, ReleaseCommand, ReleaseInstall};
use crate::ask::{Question, confirm};
use crate::cluster;
use crate::commands::upgrade::refuse_unfinished;
use crate::exit::{Exit, Failure, Problem};
use crate::fleets;
use crate::foreign;
use crate::lease::HeldLease;
use crate::output::Printer;
use crate::packages::Packages;
use crate::profiles;
use crate::runs;
use crate::setting::Setting;
use crate::suggest::nearest;
use crate::table::Table;

/// What one host answered.
#[derive(Debug, Serialize)]
struct Answered {
    host: String,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Said(ReleaseAnswer),
    Unreachable { error: String },
}

impl Answer {
    /// What an error means. A host that says no has been reached; `outcome` is what its no means.
    fn of(error: ReleaseError, outcome: ReleaseOutcome) -> Answer {
        match error {
            ReleaseError::Call(SessionError::Call(CallError::Refused(words))) => {
                Answer::Said(ReleaseAnswer {
                    outcome,
                    lines: vec![words],
                    releases: BTreeMap::new(),
                    root: String::new(),
                })
            }
            error => Answer::Unreachable {
                error: error.to_string(),
            },
        }
    }
}

/// Does what was typed.
pub fn run(arguments: &ReleaseArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = setting(arguments, global)?;
    let chosen = chosen(arguments, &setting)?;
    let work = Work {
        setting: &setting,
        chosen,
        printer,
    };
    match &arguments.command {
        ReleaseCommand::Ls => work.look(ReleaseCall::List),
        ReleaseCommand::Root => work.look(ReleaseCall::Root),
        ReleaseCommand::Get(which) => work.change(global, &version(&setting, &which.version)?, &Change::Get),
        ReleaseCommand::Unpack(which) => {
            work.change(global, &version(&setting, &which.version)?, &Change::Unpack)
        }
        ReleaseCommand::Uninstall(which) => {
            work.change(global, &version(&setting, &which.version)?, &Change::Uninstall)
        }
        ReleaseCommand::Install(install) | ReleaseCommand::Downgrade(install) => {
            let version = version(&setting, &install.version)?;
            work.ask(install, &version)?;
            let permanent = !install.no_permanent;
            work.change(global, &version, &Change::Install { permanent })
        }
    }
}

/// The fleet's servers, or this machine as a fleet of one.
fn setting(arguments: &ReleaseArgs, global: &Global) -> Result<Setting, Failure> {
    if !arguments.here {
        return Setting::read(global);
    }
    let product = global.product.as_deref();
    let profile = match (product, &global.profile) {
        (None, None) => {
            return Err(Failure::Usage(
                Problem::new("which product's releases on this machine?")
                    .next("name it with --product NAME (`upshift profile ls`), or give --profile FILE"),
            ));
        }
        (product, own) => profiles::choose(product.unwrap_or_default(), own.as_deref())?,
    };
    let host = Host {
        groups: [fleets::group(&profile).to_owned()].into(),
        transport: Transport::Local,
        state_directory: arguments.host_state.clone(),
        ..Host::default()
    };
    let fleet = Fleet {
        name: format!("{} on this machine", profile.product),
        hosts: [("localhost".to_owned(), host)].into(),
        accepted: Vec::new(),
        package_keys: Vec::new(),
    };
    let packages = Packages::read(&global.packages, &profile, &fleet.package_keys)?;
    Ok(Setting {
        fleet,
        profile,
        packages,
        accepted: Vec::new(),
        tool: None,
        sharing: None,
    })
}

/// The servers that are meant.
fn chosen<'s>(arguments: &ReleaseArgs, setting: &'s Setting) -> Result<Vec<(&'s String, &'s Host)>, Failure> {
    let servers: BTreeMap<&String, &Host> = setting.fleet.servers(fleets::group(&setting.profile)).collect();
    for wanted in &arguments.hosts {
        if !servers.contains_key(wanted) {
            let names = || servers.keys().map(|name| name.as_str());
            let guess = nearest(wanted, names()).map(|name| format!("did you mean `{name}`? "));
            return Err(Failure::Usage(
                Problem::new(format!(
                    "`{wanted}` is no server of {} in the fleet `{}`",
                    setting.profile.title, setting.fleet.name
                ))
                .because(format!(
                    "its servers are: {}",
                    names().collect::<Vec<_>>().join(", ")
                ))
                .next(format!(
                    "{}name one of them with --host",
                    guess.unwrap_or_default()
                )),
            ));
        }
    }
    let meant = |name: &String| arguments.hosts.is_empty() || arguments.hosts.contains(name);
    Ok(servers.into_iter().filter(|(name, _)| meant(name)).collect())
}

fn version(setting: &Setting, text: &str) -> Result<String, Failure> {
    let parsed = Version::parse(setting.profile.versions.scheme, text).map_err(|error| {
        Failure::Usage(
            Problem::new(format!("`{text}` is no version of {}", setting.profile.title))
                .because(error)
                .next("write the version as `upshift release ls` or the package's name has it"),
        )
    })?;
    Ok(parsed.as_str().to_owned())
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Get,
    Unpack,
    Install { permanent: bool },
    Uninstall,
}

impl Change {
    /// Whether it needs the package of a release that the host does not know.
    fn needs_package(self) -> bool {
        self != Change::Uninstall
    }

    /// What it means where a host answers with an error: what is only brought to the host changes nothing that runs.
    fn on_error(self) -> ReleaseOutcome {
        match self {
            Change::Get | Change::Unpack => ReleaseOutcome::Refused,
            Change::Install { .. } | Change::Uninstall => ReleaseOutcome::Failed,
        }
    }

    fn call(self, version: &str, package: Option<(&Artifact, u32)>) -> Option<ReleaseCall> {
        let version = version.to_owned();
        let artifact = package.map(|(artifact, _)| artifact.clone());
        let strip = package.map_or(0, |(_, strip)| strip);
        match self {
            Change::Get => None,
            Change::Unpack => Some(ReleaseCall::Unpack {
                artifact,
                version,
                strip,
            }),
            Change::Install { permanent } => Some(ReleaseCall::Install {
                artifact,
                version,
                strip,
                permanent,
            }),
            Change::Uninstall => Some(ReleaseCall::Uninstall { version }),
        }
    }
}

struct Work<'s> {
    setting: &'s Setting,
    chosen: Vec<(&'s String, &'s Host)>,
    printer: Printer,
}

impl<'s> Work<'s> {
    fn ask(&self, install: &ReleaseInstall, version: &str) -> Result<(), Failure> {
        let servers = upshift_plan::show::count(self.chosen.len(), "server");
        let text = match &self.setting.profile.release_handler {
            Some(_) => format!(
                "{} installs {version} in the running process of {servers}, one after the other. Go on?",
                self.setting.profile.title
            ),
            None => format!(
                "{} is restarted with {version} on {servers}, one after the other. Go on?",
                self.setting.profile.title
            ),
        };
        let question = Question {
            text: &text,
            answer: "y",
            option: "--yes",
        };
        confirm(question, install.yes, self.printer)
    }

    fn host<'a>(&'a self, hosts: &'a Hosts, name: &'a String, host: &'a Host) -> Option<ReleaseHost<'a>> {
        Some(ReleaseHost {
            name,
            host,
            session: hosts.get(name)?,
            profile: &self.setting.profile,
            fleet: &self.setting.fleet.name,
        })
    }

    fn look(&self, call: ReleaseCall) -> Result<Exit, Failure> {
        let answered = cluster::wait(async {
            let hosts = cluster::hosts_of(self.setting)?;
            let asked = self.chosen.iter().map(|(name, host)| {
                let (hosts, call) = (&hosts, call.clone());
                async move {
                    let answer = match self.host(hosts, name, host) {
                        Some(host) => match host.ask(call, None).await {
                            Ok(said) => Answer::Said(said),
                            Err(error) => Answer::of(error, ReleaseOutcome::Refused),
                        },
                        None => Answer::Unreachable {
                            error: "it has no way to be reached".to_owned(),
                        },
                    };
                    Answered {
                        host: (*name).clone(),
                        answer,
                    }
                }
            });
            Ok(futures::future::join_all(asked).await)
        })?;
        self.printer.result(&answered, || match call {
            ReleaseCall::List => table(&answered),
            _ => texts(&answered),
        })?;
        Ok(exit(&answered))
    }

    fn change(&self, global: &Global, version: &str, change: &Change) -> Result<Exit, Failure> {
        let store = runs::open(global)?;
        let answered = cluster::wait(self.change_all(&store, version, *change))?;
        self.printer.result(&answered, || texts(&answered))?;
        Ok(exit(&answered))
    }

    async fn change_all(
        &self,
        store: &Store,
        version: &str,
        change: Change,
    ) -> Result<Vec<Answered>, Failure> {
        let mut lease = HeldLease::take(store, &self.setting.fleet.name, false)?;
        refuse_unfinished(store, &self.setting.fleet.name)?;
        let hosts = cluster::hosts_of(self.setting)?;
        let known = known_runs(&hosts, foreign::PATIENCE).await;
        lease.raise(known.newest_token())?;
        let barred = foreign::bars_a_new_run(self.setting, &known, Some(store))?;
        if !barred.is_empty() {
            return Err(Failure::Refusals(barred));
        }
        // All are asked before the first one is changed.
        let mut known = Vec::new();
        for (name, host) in &self.chosen {
            let Some(host) = self.host(&hosts, name, host) else {
                continue;
            };
            let listed = host.ask(ReleaseCall::List, None).await;
            let listed = listed.map_err(|error| unreachable(name, &error.to_string()))?;
            let package = match listed.releases.contains_key(version) && change != Change::Get {
                true => None,
                false if change.needs_package() => self.package(&host, version).await?,
                false => None,
            };
            known.push((host, package));
        }
        let mut answered = Vec::new();
        for (host, package) in known {
            if let Some((artifact, _, path)) = &package {
                put(host.session, artifact, path, &|_| {})
                    .await
                    .map_err(anyhow::Error::from)?;
            }
            let answer = match change.call(
                version,
                package.as_ref().map(|(artifact, strip, _)| (*artifact, *strip)),
            ) {
                Some(call) => host.ask(call, Some(lease.token())).await,
                None => got(&host, version, package.as_ref().map(|(artifact, ..)| *artifact)).await,
            };
            let answer = match answer {
                Ok(said) => Answer::Said(said),
                Err(error) => Answer::of(error, change.on_error()),
            };
            let one = Answered {
                host: host.name.clone(),
                answer,
            };
            let stop = outcome(&one) != Some(ReleaseOutcome::Done);
            answered.push(one);
            if stop {
                // What goes wrong on one server is not tried on the next.
                break;
            }
        }
        Ok(answered)
    }

    /// The one package of the version that is for the host, how it is unpacked, and where it lies.
    async fn package(
        &self,
        host: &ReleaseHost<'_>,
        version: &str,
    ) -> Result<Option<(&'s Artifact, u32, &'s std::path::Path)>, Failure> {
        let facts = host
            .session
            .connected()
            .await
            .map_err(|error| unreachable(host.name, &error.to_string()))?
            .host;
        let fitting: Vec<_> = self
            .setting
            .packages
            .found
            .values()
            .filter(|(artifact, _)| artifact.version == version)
            .filter(|(artifact, _)| upshift_plan::fits_host(artifact, &facts))
            .collect();
        match fitting[..] {
            [] => Ok(None),
            [(artifact, path)] => Ok(Some((artifact, self.strip(artifact), path.as_path()))),
            _ => {
                let names: Vec<&str> = fitting
                    .iter()
                    .map(|(artifact, _)| artifact.file_name.as_str())
                    .collect();
                Err(Failure::Refused(
                    Problem::new(format!("several packages of {version} fit the host"))
                        .at(host.name)
                        .because(names.join(", "))
                        .next("leave only the one that is meant in the directory (--packages)"),
                ))
            }
        }
    }

    fn strip(&self, artifact: &Artifact) -> u32 {
        let profile = &self.setting.profile;
        PackageRules::parse(profile.versions.scheme, &profile.packages)
            .ok()
            .and_then(|rules| rules.read(&artifact.file_name))
            .and_then(|(rule, _)| profile.packages.get(rule))
            .map_or(0, |rule| rule.strip)
    }
}

fn unreachable(host: &str, error: &str) -> Failure {
    Failure::Refused(
        Problem::new("a server cannot be asked, so none is changed")
            .at(host)
            .because(error)
            .next("mend the way to it, or leave it out by naming the others with --host"),
    )
}

/// What is said once a package is on a host.
async fn got(
    host: &ReleaseHost<'_>,
    version: &str,
    artifact: Option<&Artifact>,
) -> Result<ReleaseAnswer, upshift_control::ReleaseError> {
    let mut answer = host.ask(ReleaseCall::List, None).await?;
    let (outcome, line) = match artifact {
        Some(artifact) => (
            ReleaseOutcome::Done,
            format!("{} is there (sha256 {})", artifact.file_name, artifact.sha256),
        ),
        None => (
            ReleaseOutcome::Refused,
            format!("no package of {version} for this host is at hand; --packages names the directory"),
        ),
    };
    answer.outcome = outcome;
    answer.lines = vec![line];
    Ok(answer)
}

fn outcome(answered: &Answered) -> Option<ReleaseOutcome> {
    match &answered.answer {
        Answer::Said(answer) => Some(answer.outcome),
        Answer::Unreachable { .. } => None,
    }
}

/// The worst that any server answered.
fn exit(answered: &[Answered]) -> Exit {
    if answered.iter().any(|one| outcome(one).is_none()) {
        return Exit::Unexpected;
    }
    match answered.iter().filter_map(outcome).max() {
        None | Some(ReleaseOutcome::Done) => Exit::Done,
        Some(ReleaseOutcome::Refused) => Exit::Refused,
        Some(ReleaseOutcome::RolledBack) => Exit::RolledBack,
        Some(ReleaseOutcome::Failed) => Exit::Held,
    }
}

fn word(status: ReleaseStatus) -> String {
    profiles::word(&status)
}

fn table(answered: &[Answered]) -> String {
    let mut table = Table::new(["HOST", "RELEASE", "STATUS"]);
    for one in answered {
        match &one.answer {
            Answer::Said(answer) if answer.outcome != ReleaseOutcome::Done => {
                table.row([one.host.clone(), String::new(), answer.lines.join(" ")]);
            }
            Answer::Said(answer) if answer.releases.is_empty() => {
                table.row([one.host.clone(), "none".to_owned(), String::new()]);
            }
            Answer::Said(answer) => {
                for (version, status) in answer.releases.iter().rev() {
                    table.row([one.host.clone(), version.clone(), word(*status)]);
                }
            }
            Answer::Unreachable { error } => {
                table.row([one.host.clone(), "not reached".to_owned(), error.clone()]);
            }
        }
    }
    table.to_string()
}

/// What each host said, with its name before each line.
fn texts(answered: &[Answered]) -> String {
    let mut text = String::new();
    for one in answered {
        let lines = match &one.answer {
            Answer::Said(answer) => answer.lines.clone(),
            Answer::Unreachable { error } => vec![format!("not reached: {error}")],
        };
        for line in lines {
            text.push_str(&format!("{}: {line}\n", one.host));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(error: CallError, change: Change) -> Vec<Answered> {
        let error = ReleaseError::Call(SessionError::Call(error));
        vec![Answered {
            host: "n1".to_owned(),
            answer: Answer::of(error, change.on_error()),
        }]
    }

    #[test]
    fn a_host_that_refuses_an_archive_has_been_reached() {
        let words = "x.tar.gz cannot be unpacked: it is damaged";
        let refused = answered(CallError::Refused(words.to_owned()), Change::Unpack);
        assert_eq!(exit(&refused), Exit::Refused);
        assert_eq!(texts(&refused), format!("n1: {words}\n"));
        let failed = answered(
            CallError::Refused(words.to_owned()),
            Change::Install { permanent: true },
        );
        assert_eq!(exit(&failed), Exit::Held);
        let gone = CallError::Disconnected {
            reason: "cut".to_owned(),
        };
        assert!(texts(&answered(gone, Change::Unpack)).contains("not reached"));
    }
}
