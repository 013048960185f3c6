//! `upshift backup`, `restore` and `snapshots`: snapshots outside of upgrades.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};
use upshift_control::{Hosts, SnapshotHost, known_runs};
use upshift_host::snapshot::{Keep, forgotten};
use upshift_model::action::Service;
use upshift_model::fleet::Host;
use upshift_model::snapshot::{Repository, RestoreSnapshot, SnapshotAnswer, SnapshotCall, SnapshotRecord};
use upshift_model::template;
use upshift_plan::{show, snapshots};
use upshift_store::Store;
use upshift_wire::put::put;
use upshift_wire::session::{Session, SessionError};

use crate::args::{BackupArgs, Global, Output, RestoreArgs, SnapshotsArgs, SnapshotsCommand};
use crate::ask::{Question, confirm};
use crate::cluster;
use crate::commands::upgrade::refuse_unfinished;
use crate::exit::{Exit, Failure, Problem};
use crate::fleets;
use crate::foreign;
use crate::lease::HeldLease;
use crate::moment;
use crate::output::Printer;
use crate::runs;
use crate::setting::Setting;
use crate::table::Table;

/// Letters of an id that are shown.
const SHORT: usize = 8;

/// What one host answered.
#[derive(Debug, Serialize)]
struct Answered {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    repository: String,
    password: String,
    snapshots: Vec<SnapshotRecord>,
    lines: Vec<String>,
}

impl Answered {
    fn of(host: &str, answer: Result<SnapshotAnswer, SessionError>) -> Self {
        let (answer, error) = match answer {
            Ok(answer) => (answer, None),
            Err(error) => (SnapshotAnswer::default(), Some(error.to_string())),
        };
        Answered {
            host: host.to_owned(),
            error,
            repository: answer.repository,
            password: answer.password,
            snapshots: answer.snapshots,
            lines: answer.lines,
        }
    }
}

/// `upshift backup`.
pub fn backup(arguments: &BackupArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = Setting::read(global)?;
    known_hosts(&setting, &arguments.hosts)?;
    let store = runs::open(global)?;
    let answered = cluster::wait(async {
        let (mut lease, hosts) = take(&store, &setting)?;
        let surveyed = cluster::observe(&setting, &hosts, Some(&store)).await?;
        lease.raise(surveyed.token)?;
        if !surveyed.barred.is_empty() {
            return Err(Failure::Refusals(surveyed.barred));
        }
        let backups = snapshots::backups(
            &setting.profile,
            &setting.fleet.name,
            &setting.fleet,
            &surveyed.facts,
            &arguments.names,
            &arguments.hosts,
        )
        .map_err(Failure::Refusals)?;
        let mut answered = Vec::new();
        for backup in backups {
            let session = session(&hosts, &backup.host)?;
            let mut order = backup.order;
            order.repository.tool = tool(&setting, session).await?;
            printer.note(&format!(
                "{}: taking `{}`, and proving it",
                backup.host, order.labels.name
            ));
            let host = SnapshotHost {
                name: &backup.host,
                session,
                repository: &order.repository.clone(),
                fleet: &setting.fleet.name,
            };
            let answer = host
                .ask(SnapshotCall::Take(Box::new(order)), Some(lease.token()))
                .await;
            answered.push(Answered::of(&backup.host, answer));
        }
        Ok(answered)
    })?;
    printer.result(&answered, || {
        let mut text = table(&answered);
        let words: std::collections::BTreeSet<String> = answered
            .iter()
            .filter(|one| one.error.is_none())
            .map(|one| {
                format!(
                    "{}: kept in {}; password {}\n",
                    one.host, one.repository, one.password
                )
            })
            .collect();
        text.extend(words);
        text
    })?;
    Ok(exit(&answered))
}

/// `upshift restore`.
pub fn restore(arguments: &RestoreArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = Setting::read(global)?;
    let meant: Vec<String> = arguments.host.iter().cloned().collect();
    known_hosts(&setting, &meant)?;
    let store = runs::open(global)?;
    let answered = cluster::wait(async {
        let (mut lease, hosts) = take(&store, &setting)?;
        let known = known_runs(&hosts, foreign::PATIENCE).await;
        lease.raise(known.newest_token())?;
        let barred = foreign::bars_a_new_run(&setting, &known, Some(&store))?;
        if !barred.is_empty() {
            return Err(Failure::Refusals(barred));
        }
        let listed = ask_all(&setting, &hosts, &meant, &SnapshotCall::List, None).await?;
        let (host, record) = the_one(&listed, &arguments.id)?;
        ask_restore(arguments, &host, &record, printer)?;
        let service = service(&setting, &hosts, &host).await?;
        let call = SnapshotCall::Restore(Box::new(RestoreSnapshot {
            id: record.id.clone(),
            to: arguments.to.clone(),
            move_aside: arguments.move_aside,
            version: arguments.version.clone(),
            service,
        }));
        ask_all(&setting, &hosts, &[host], &call, Some(lease.token())).await
    })?;
    printer.result(&answered, || texts(&answered))?;
    Ok(exit(&answered))
}

fn ask_restore(
    arguments: &RestoreArgs,
    host: &str,
    record: &SnapshotRecord,
    printer: Printer,
) -> Result<(), Failure> {
    let to = match &arguments.to {
        Some(to) => to.clone(),
        None => record.paths.join(", "),
    };
    let text = format!(
        "{} of {} {}, taken {}, is restored on {host} to {to}. Go on?",
        record.labels.title,
        record.labels.product,
        record.labels.version,
        moment::text(record.taken_at)
    );
    let question = Question {
        text: &text,
        answer: "y",
        option: "--yes",
    };
    confirm(question, arguments.yes, printer)
}

/// The service whose files must not be changed while it runs.
async fn service(setting: &Setting, hosts: &Hosts, host: &str) -> Result<Option<Service>, Failure> {
    let gathered = upshift_control::gather(hosts, &setting.fleet, &setting.profile, &|_, _| {}).await;
    let (Some(node), Some(entry)) = (gathered.facts.nodes.get(host), setting.fleet.hosts.get(host)) else {
        return Err(unreachable(host, "nothing is known of it"));
    };
    let names = Value::Object(snapshots::names(host, entry, node));
    Ok(Some(template::render(&setting.profile.service, &names)?))
}

/// `upshift snapshots`.
pub fn run(arguments: &SnapshotsArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = Setting::read(global)?;
    known_hosts(&setting, &arguments.hosts)?;
    match &arguments.command {
        SnapshotsCommand::List => {
            let answered = listed(&setting, &arguments.hosts)?;
            printer.result(&answered, || table(&answered))?;
            Ok(exit_of_list(&answered))
        }
        SnapshotsCommand::Show { id } => {
            let answered = listed(&setting, &arguments.hosts)?;
            let (host, record) = the_one(&answered, id)?;
            let value = json!({ "host": host, "snapshot": record });
            printer.result(&value, || sheet(&host, &record))?;
            Ok(Exit::Done)
        }
        SnapshotsCommand::Verify { id } => verify(id.as_deref(), &setting, arguments, global, printer),
        SnapshotsCommand::Prune {
            keep_last,
            keep_within,
            yes,
        } => {
            let keep = Keep {
                last: *keep_last,
                within: keep_within.0,
            };
            prune(keep, *yes, &setting, arguments, global, printer)
        }
    }
}

fn listed(setting: &Setting, meant: &[String]) -> Result<Vec<Answered>, Failure> {
    cluster::wait(async {
        let hosts = cluster::hosts_of(setting)?;
        ask_all(setting, &hosts, meant, &SnapshotCall::List, None).await
    })
}

fn verify(
    id: Option<&str>,
    setting: &Setting,
    arguments: &SnapshotsArgs,
    global: &Global,
    printer: Printer,
) -> Result<Exit, Failure> {
    let store = runs::open(global)?;
    let answered = cluster::wait(async {
        let (mut lease, hosts) = take(&store, setting)?;
        lease.raise(known_runs(&hosts, foreign::PATIENCE).await.newest_token())?;
        let token = Some(lease.token());
        let listed = ask_all(setting, &hosts, &arguments.hosts, &SnapshotCall::List, None).await?;
        let meant: Vec<(String, SnapshotRecord)> = match id {
            Some(id) => vec![the_one(&listed, id)?],
            None => each(&listed),
        };
        let mut answered: Vec<Answered> = listed.into_iter().filter(|one| one.error.is_some()).collect();
        if id.is_none() {
            answered = ask_all(setting, &hosts, &arguments.hosts, &SnapshotCall::Check, token).await?;
        }
        for (host, record) in meant {
            let call = SnapshotCall::Verify { id: record.id };
            answered.extend(ask_all(setting, &hosts, &[host], &call, token).await?);
        }
        Ok(answered)
    })?;
    printer.result(&answered, || format!("{}{}", table(&answered), texts(&answered)))?;
    Ok(exit(&answered))
}

fn prune(
    keep: Keep,
    yes: bool,
    setting: &Setting,
    arguments: &SnapshotsArgs,
    global: &Global,
    printer: Printer,
) -> Result<Exit, Failure> {
    let store = runs::open(global)?;
    let answered = cluster::wait(async {
        let (mut lease, hosts) = take(&store, setting)?;
        // What a run that has not ended would be rolled back with is not removed under it.
        let known = known_runs(&hosts, foreign::PATIENCE).await;
        lease.raise(known.newest_token())?;
        let barred = foreign::bars_a_new_run(setting, &known, Some(&store))?;
        if !barred.is_empty() {
            return Err(Failure::Refusals(barred));
        }
        let listed = ask_all(setting, &hosts, &arguments.hosts, &SnapshotCall::List, None).await?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_millis() as u64);
        let doomed: Vec<(String, Vec<String>)> = listed
            .iter()
            .map(|one| (one.host.clone(), forgotten(&one.snapshots, keep, now)))
            .filter(|(_, ids)| !ids.is_empty())
            .collect();
        let count: usize = doomed.iter().map(|(_, ids)| ids.len()).sum();
        if count > 0 {
            let text = format!("{} removed for good. Go on?", show::count(count, "snapshot"));
            let question = Question {
                text: &text,
                answer: "y",
                option: "--yes",
            };
            confirm(question, yes, printer)?;
        }
        let mut answered: Vec<Answered> = listed.into_iter().filter(|one| one.error.is_some()).collect();
        for (host, ids) in doomed {
            let call = SnapshotCall::Forget { ids };
            answered.extend(ask_all(setting, &hosts, &[host], &call, Some(lease.token())).await?);
        }
        Ok(answered)
    })?;
    printer.result(&answered, || match answered.is_empty() {
        true => "nothing to remove\n".to_owned(),
        false => texts(&answered),
    })?;
    Ok(exit(&answered))
}

/// The fleet is ours for the while.
fn take<'s>(store: &'s Store, setting: &Setting) -> Result<(HeldLease<'s>, Hosts), Failure> {
    let lease = HeldLease::take(store, &setting.fleet.name, false)?;
    refuse_unfinished(store, &setting.fleet.name)?;
    Ok((lease, cluster::hosts_of(setting)?))
}

fn known_hosts(setting: &Setting, meant: &[String]) -> Result<(), Failure> {
    let names: Vec<&String> = setting
        .fleet
        .servers(fleets::group(&setting.profile))
        .map(|(name, _)| name)
        .collect();
    match meant.iter().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::Usage(
            Problem::new(format!(
                "`{name}` is no server of {} in the fleet `{}`",
                setting.profile.title, setting.fleet.name
            ))
            .next("name one of its servers with --host (`upshift status`)"),
        )),
    }
}

/// Asks the servers that are meant, one after the other: each may move much data.
async fn ask_all(
    setting: &Setting,
    hosts: &Hosts,
    meant: &[String],
    call: &SnapshotCall,
    token: Option<u64>,
) -> Result<Vec<Answered>, Failure> {
    let mut answered = Vec::new();
    let servers = setting.fleet.servers(fleets::group(&setting.profile));
    for (name, host) in servers.filter(|(name, _)| meant.is_empty() || meant.contains(name)) {
        let session = session(hosts, name)?;
        let mut repository = repository(name, host)?;
        repository.tool = match tool(setting, session).await {
            Ok(tool) => tool,
            Err(Failure::Unexpected(error)) => {
                answered.push(Answered {
                    error: Some(format!("{error:#}")),
                    ..Answered::of(name, Ok(SnapshotAnswer::default()))
                });
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let asked = SnapshotHost {
            name,
            session,
            repository: &repository,
            fleet: &setting.fleet.name,
        };
        answered.push(Answered::of(name, asked.ask(call.clone(), token).await));
    }
    Ok(answered)
}

fn repository(name: &str, host: &Host) -> Result<Repository, Failure> {
    let mut node: BTreeMap<&str, &Value> = BTreeMap::new();
    node.extend(host.variables.iter().map(|(name, value)| (name.as_str(), value)));
    let name = json!(name);
    node.insert("name", &name);
    Ok(template::render(
        &snapshots::repository(),
        &json!({ "node": node }),
    )?)
}

fn session<'h>(hosts: &'h Hosts, name: &str) -> Result<&'h Session, Failure> {
    match hosts.get(name) {
        Some(session) => Ok(session),
        None => Err(unreachable(name, "it has no way to be reached")),
    }
}

/// The digest of the program that the host gets from here, because it has none.
async fn tool(setting: &Setting, session: &Session) -> Result<Option<String>, Failure> {
    let facts = session.connected().await.map_err(anyhow::Error::from)?.host;
    let Some((artifact, path)) = setting.tool.as_ref().filter(|_| facts.restic.is_empty()) else {
        return Ok(None);
    };
    if !upshift_plan::fits_host(artifact, &facts) {
        return Ok(None);
    }
    put(session, artifact, path, &|_| {})
        .await
        .map_err(anyhow::Error::from)?;
    Ok(Some(artifact.sha256.clone()))
}

fn unreachable(host: &str, error: &str) -> Failure {
    Failure::Refused(
        Problem::new("a server cannot be asked")
            .at(host)
            .because(error)
            .next("mend the way to it, or leave it out by naming the others with --host"),
    )
}

fn each(answered: &[Answered]) -> Vec<(String, SnapshotRecord)> {
    let of_host = |one: &Answered| {
        let host = one.host.clone();
        one.snapshots
            .clone()
            .into_iter()
            .map(move |record| (host.clone(), record))
            .collect::<Vec<_>>()
    };
    answered.iter().flat_map(of_host).collect()
}

fn the_one(answered: &[Answered], id: &str) -> Result<(String, SnapshotRecord), Failure> {
    let mut meant: Vec<_> = each(answered)
        .into_iter()
        .filter(|(_, record)| !id.is_empty() && record.id.starts_with(id))
        .collect();
    let silent: Vec<String> = answered
        .iter()
        .filter_map(|one| Some(format!("{}: {}", one.host, one.error.as_ref()?)))
        .collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(Failure::Refused(
            Problem::new(format!("there is no snapshot {id}"))
                .because(match silent.is_empty() {
                    true => "no server of the fleet has one whose id begins so".to_owned(),
                    false => silent.join("; "),
                })
                .next("`upshift snapshots list` names them"),
        )),
        (Some(_), false) => Err(Failure::Usage(
            Problem::new(format!("several snapshots begin with {id}"))
                .next("write more of the id, or name the server with --host"),
        )),
    }
}

fn short(record: &SnapshotRecord) -> String {
    record.id.get(..SHORT).unwrap_or(&record.id).to_owned()
}

fn standing(record: &SnapshotRecord) -> String {
    match (record.proven(), record.reasons.is_empty()) {
        (true, _) => "proven".to_owned(),
        (false, true) => "not tried".to_owned(),
        (false, false) => format!("does not count: {}", record.reasons.join("; ")),
    }
}

fn table(answered: &[Answered]) -> String {
    let mut table = Table::new([
        "HOST", "ID", "NAME", "VERSION", "TAKEN", "FILES", "SIZE", "STANDING",
    ]);
    let blank = String::new;
    for one in answered {
        if let Some(error) = &one.error {
            table.row([
                one.host.clone(),
                blank(),
                blank(),
                blank(),
                blank(),
                blank(),
                blank(),
                error.clone(),
            ]);
        }
        for record in &one.snapshots {
            table.row([
                one.host.clone(),
                short(record),
                record.labels.name.clone(),
                record.labels.version.clone(),
                moment::text(record.taken_at),
                record.files.to_string(),
                show::bytes(record.bytes),
                standing(record),
            ]);
        }
    }
    table.to_string()
}

fn texts(answered: &[Answered]) -> String {
    let mut text = String::new();
    for one in answered {
        let error = one.error.iter().map(|error| format!("not done: {error}"));
        for line in one.lines.iter().cloned().chain(error) {
            text.push_str(&format!("{}: {line}\n", one.host));
        }
    }
    text
}

fn sheet(host: &str, record: &SnapshotRecord) -> String {
    let labels = &record.labels;
    let reads = match labels.readable_by.is_empty() {
        true => "the same minor version".to_owned(),
        false => labels.readable_by.clone(),
    };
    let run = match labels.run.is_empty() {
        true => "none".to_owned(),
        false => labels.run.clone(),
    };
    let proven = match record.proven_at.filter(|_| record.proven()) {
        Some(at) => format!("proven {}", moment::text(at)),
        None => standing(record),
    };
    format!(
        "snapshot   {}\nhost       {host}\nholds      {} ({})\nof         {} {} (format {})\nread by    {reads}\ntaken      {}\nby run     {run}\nfiles      {} ({})\ndigest     {}\nstanding   {proven}\npaths      {}\n",
        record.id,
        labels.title,
        labels.name,
        labels.product,
        labels.version,
        labels.format,
        moment::text(record.taken_at),
        record.files,
        show::bytes(record.bytes),
        record.sha256,
        record.paths.join("\n           "),
    )
}

/// Refused where anything was not done, or does not count.
fn exit(answered: &[Answered]) -> Exit {
    let bad = |one: &Answered| one.error.is_some() || one.snapshots.iter().any(|record| !record.proven());
    match answered.iter().any(bad) {
        true => Exit::Refused,
        false => Exit::Done,
    }
}

fn exit_of_list(answered: &[Answered]) -> Exit {
    match answered.iter().any(|one| one.error.is_some()) {
        true => Exit::Refused,
        false => Exit::Done,
    }
}
