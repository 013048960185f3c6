//! `upshift status`: what was observed just now, and a run in progress.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use upshift_control::Hosts;
use upshift_plan::{Client, client_target, clients, standing};
use upshift_run::{Outcome, View};
use upshift_store::{RunRecord, Store};

use crate::args::{Global, Output, StatusArgs};
use crate::cluster;
use crate::exit::{Exit, Failure, Problem};
use crate::hosts::{self, Observed};
use crate::lease;
use crate::metrics::{self, Metrics};
use crate::moment;
use crate::output::Printer;
use crate::report::seconds;
use crate::runs;
use crate::setting::Setting;
use crate::table::Table;

/// One look.
#[derive(Serialize)]
struct Status {
    fleet: String,
    product: String,
    hosts: Vec<Observed>,
    /// Whether servers of several versions run.
    mixed: bool,
    /// The clients that are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clients: Vec<Client>,
    /// The version that clients must run to match the servers, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients_want: Option<String>,
    /// What is wrong, by the checks of the profile.
    troubles: Vec<String>,
    run: Option<RunStatus>,
}

/// The newest run.
#[derive(Serialize)]
struct RunStatus {
    run: String,
    began: String,
    /// For people.
    #[serde(skip)]
    began_words: String,
    /// Who carries it just now.
    carried_by: Option<String>,
    view: View,
}

/// Does what was typed.
pub fn run(arguments: &StatusArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json, Output::Metrics])?;
    let setting = Setting::read(global)?;
    let store = runs::look(global).ok();
    cluster::wait(async {
        let hosts = cluster::hosts_of(&setting)?;
        loop {
            let status = look(&setting, &hosts, store.as_ref()).await?;
            let metrics = status.metrics();
            if let Some(path) = &global.metrics_file {
                metrics::replace(path, &metrics).map_err(|error| unwritable(path, &error))?;
            }
            if printer.form() == Output::Metrics {
                printer.text(&metrics)?;
            } else if arguments.watch && !printer.json() {
                printer.again(&status.text())?;
            } else {
                printer.result(&status, || status.text())?;
            }
            if !arguments.watch {
                return Ok(if status.is_well() {
                    Exit::Done
                } else {
                    Exit::Refused
                });
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(arguments.every.0)) => {}
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
            }
        }
    })
}

async fn look(setting: &Setting, hosts: &Hosts, store: Option<&Store>) -> Result<Status, Failure> {
    let surveyed = cluster::observe(setting, hosts, store).await?;
    let facts = surveyed.facts;
    let observed = hosts::observed(&facts);
    let versions: std::collections::BTreeSet<&String> =
        observed.iter().filter_map(|host| host.version.as_ref()).collect();
    let standing = standing(&setting.profile, &setting.fleet, &facts);
    let (profile, fleet) = (&setting.profile, &setting.fleet);
    let (clients, unknown) = match clients(profile, fleet, &facts) {
        Ok(clients) => (clients, None),
        Err(reason) => (
            Vec::new(),
            Some(format!("which clients are connected cannot be told: {reason}")),
        ),
    };
    // That servers cannot be asked, or are mixed, is told of them.
    let clients_want = client_target(profile, fleet, &facts).ok().flatten();
    let run = match store {
        Some(store) => {
            let newest = store
                .runs(Some(&setting.fleet.name))
                .map_err(|error| runs::failure(error, &[]))?;
            newest
                .first()
                .map(|record| run_status(store, record))
                .transpose()?
        }
        None => None,
    };
    Ok(Status {
        fleet: setting.fleet.name.clone(),
        product: setting.profile.product.clone(),
        mixed: versions.len() > 1,
        clients,
        clients_want,
        hosts: observed,
        troubles: surveyed
            .barred
            .into_iter()
            // The newest run of this journal is told of below.
            .filter(|barred| barred.code != "run-open")
            .map(|barred| format!("{}: {}", barred.hosts.join(", "), barred.message))
            .chain(standing.troubles.into_iter().map(|trouble| trouble.message))
            .chain(unknown)
            .collect(),
        run,
    })
}

fn run_status(store: &Store, record: &RunRecord) -> Result<RunStatus, Failure> {
    let carrier = lease::carrier(store, &record.fleet, &record.id)?;
    Ok(RunStatus {
        run: record.id.clone(),
        began: moment::rfc3339(record.created_ms),
        began_words: moment::text(record.created_ms),
        carried_by: carrier.map(|lease| {
            format!(
                "{} (process {} on {})",
                lease.holder.who, lease.holder.pid, lease.holder.host
            )
        }),
        view: runs::state(store, &record.id)?.view(),
    })
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(
        Problem::new("cannot write the metrics")
            .at(path.display())
            .because(error)
            .next("name another file with --metrics-file"),
    )
}

impl Status {
    /// As metrics. A version that was not observed has no sample.
    fn metrics(&self) -> String {
        let mut metrics = Metrics::default();
        let labels = |more: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            let own = [("fleet", self.fleet.as_str()), ("product", self.product.as_str())];
            own.iter()
                .chain(more)
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect()
        };
        let reached = metrics.gauge("server_reached", "Whether the host of a server was reached");
        let version = metrics.gauge(
            "server_version_info",
            "The version that a server was observed to run",
        );
        let leads = metrics.gauge(
            "server_leader",
            "Whether a server leads; no sample where it was not reached",
        );
        for host in &self.hosts {
            let seen = host.unreachable.is_none();
            let of_host = labels(&[("host", &host.host)]);
            reached.get_or_create(&of_host).set(f64::from(seen));
            if seen {
                leads.get_or_create(&of_host).set(f64::from(host.leader));
            }
            if let Some(found) = &host.version {
                let info = labels(&[("host", &host.host), ("version", found)]);
                version.get_or_create(&info).set(1.0);
            }
        }
        let versions: std::collections::BTreeSet<&String> = self
            .hosts
            .iter()
            .filter_map(|host| host.version.as_ref())
            .collect();
        let behind = self.clients.iter().filter(|client| !self.matches(client)).count();
        for (name, help, value) in [
            (
                "versions",
                "How many versions the servers were observed to run side by side",
                versions.len(),
            ),
            (
                "troubles",
                "What is not well: checks of the profile that do not hold, or cannot be told",
                self.troubles.len(),
            ),
            (
                "clients_behind",
                "Clients that do not run the version of the servers, where that is asked for",
                behind,
            ),
        ] {
            metrics
                .gauge(name, help)
                .get_or_create(&labels(&[]))
                .set(value as f64);
        }
        if let Some(run) = &self.run {
            metrics.run(&self.fleet, &run.view, run.carried_by.is_some());
        }
        metrics.text()
    }

    /// Whether everything is as it should be: the servers by their checks, and no run waits for somebody.
    fn is_well(&self) -> bool {
        let reached = self.hosts.iter().all(|host| host.unreachable.is_none());
        let waits = self.run.as_ref().is_some_and(RunStatus::waits);
        self.troubles.is_empty()
            && reached
            && !waits
            && self.clients.iter().all(|client| self.matches(client))
    }

    /// Whether a client runs the version of the servers, as far as that is asked for.
    fn matches(&self, client: &Client) -> bool {
        self.clients_want.is_none() || client.version == self.clients_want
    }

    /// The clients, those that do not match marked.
    fn clients_text(&self) -> String {
        if self.clients.is_empty() {
            return String::new();
        }
        let mut table = Table::new(["CLIENT", "VERSION", ""]);
        for client in &self.clients {
            let mark = match (&self.clients_want, self.matches(client)) {
                (Some(want), false) => format!("not the servers' {want}"),
                _ => String::new(),
            };
            let or = |text: &Option<String>, absent: &str| text.clone().unwrap_or_else(|| absent.to_owned());
            table.row([
                or(&client.name, "not named"),
                or(&client.version, "not known"),
                mark,
            ]);
        }
        let behind = self.clients.iter().filter(|client| !self.matches(client)).count();
        let mut text = format!("\n{table}");
        if behind > 0 {
            text.push_str(&format!(
                "\nnot well: {behind} of {} clients do not run the version of the servers; `upshift upgrade --clients` upgrades those in the fleet\n",
                self.clients.len()
            ));
        }
        text
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} on the fleet {}\n\n{}",
            self.product,
            self.fleet,
            hosts::table(&self.hosts)
        );
        if self.mixed {
            text.push_str("\nservers of several versions run side by side\n");
        }
        text.push_str(&self.clients_text());
        match self.troubles.as_slice() {
            [] => text.push_str("\nhealthy: every check of the profile holds\n"),
            troubles => {
                text.push('\n');
                for trouble in troubles {
                    text.push_str(&format!("not well: {trouble}\n"));
                }
            }
        }
        if let Some(run) = &self.run {
            text.push_str(&format!("\n{}", run.text()));
        }
        text
    }
}

impl RunStatus {
    /// Whether the run waits for an operator: it is held, or it has not ended and no controller drives it.
    fn waits(&self) -> bool {
        match &self.view.outcome {
            None => self.carried_by.is_none(),
            Some(outcome) => matches!(outcome, Outcome::Held { .. }),
        }
    }

    fn text(&self) -> String {
        let view = &self.view;
        let mut text = format!(
            "newest run {}, begun {}: {} {} → {}: {}, {} of {} steps\n",
            self.run,
            self.began_words,
            view.product,
            view.from,
            view.to,
            view.phase,
            view.progress.0,
            view.progress.1
        );
        if view.outcome.is_none() {
            match &self.carried_by {
                Some(who) => text.push_str(&format!("driven by {who}\n")),
                None => text.push_str(&format!(
                    "no controller drives it: `upshift resume {0}` goes on, `upshift abort {0}` rolls back\n",
                    self.run
                )),
            }
            for node in view
                .nodes
                .iter()
                .filter_map(|node| Some((&node.name, node.step.as_ref()?)))
            {
                text.push_str(&format!(
                    "  {}: {} for {}\n",
                    node.0,
                    node.1.title,
                    seconds(node.1.since)
                ));
            }
        }
        text
    }
}
