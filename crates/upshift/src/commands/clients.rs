//! `upshift upgrade --clients`: the clients follow the servers, version by version, in batches.

use upshift_plan::{ClientRounds, Refusal, client_rounds, client_target};
use upshift_store::Store;

use super::upgrade::{Begun, make};
use crate::args::{Global, UpgradeArgs};
use crate::cluster;
use crate::exit::{Exit, Failure, Problem};
use crate::output::Printer;
use crate::runs;
use crate::setting::Setting;

/// Does what was typed. Clients of one version are a run of their own; one that does not end well is the last.
pub fn upgrade(arguments: &UpgradeArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    let named = Setting::read(global)?;
    // Either of the two profiles may be named, such as one's own for the clients.
    let (servers, clients) = match named.profile.clients_of {
        Some(_) => (
            named.servers(global)?.ok_or_else(|| nothing_known(&named))?,
            named,
        ),
        None => {
            let clients = named.clients(global)?.ok_or_else(|| nothing_known(&named))?;
            (named, clients)
        }
    };
    let clients = clients.leaving_out_as(&servers);
    let store = runs::open(global)?;
    cluster::wait(async {
        let target = target(&servers, arguments, &store).await?;
        let mut ran = 0;
        loop {
            let (begun, mut surveyed) = Begun::survey(&store, &clients).await?;
            let (profile, fleet) = (&clients.profile, &clients.fleet);
            let found = client_rounds(profile, fleet, &surveyed.facts, &target, &clients.accepted);
            let Some(hosts) = found.rounds.first() else {
                if ran == 0 {
                    report_nothing(&found, &target, printer)?;
                }
                return Ok(Exit::Done);
            };
            let mut round = clients.clone();
            round.fleet.hosts.retain(|name, _| hosts.contains(name));
            surveyed.facts.nodes.retain(|name, _| hosts.contains(name));
            let request = round.request(&target, &arguments.target);
            let mut plan = make(&round, begun.hosts(), &surveyed, &request).await?;
            plan.add_remarks(words(&found));
            let exit = begun
                .show_ask_execute(plan, &round, arguments, global, printer)
                .await?;
            ran += 1;
            if !matches!(exit, Exit::Done) {
                if found.rounds.len() > 1 {
                    printer.note("clients of other versions were not begun; once this run has ended: `upshift upgrade --clients`");
                }
                return Ok(exit);
            }
        }
    })
}

/// The version of the servers, which is the only one that clients may be brought to.
async fn target(servers: &Setting, arguments: &UpgradeArgs, store: &Store) -> Result<String, Failure> {
    let hosts = cluster::hosts_of(servers)?;
    let facts = cluster::observe(servers, &hosts, Some(store)).await?.facts;
    let found = client_target(&servers.profile, &servers.fleet, &facts).map_err(Failure::Refusals)?;
    let Some(found) = found else {
        return Err(nothing_known(servers));
    };
    match &arguments.to {
        Some(to) if *to != found => Err(Failure::Refusals(vec![Refusal {
            code: "clients-follow".to_owned(),
            hosts: Vec::new(),
            message: format!(
                "the servers run {found}, and clients are brought to that version only, not to {to}"
            ),
            remedy: format!("leave out `--to`, or upgrade the servers to {to} first"),
            link: None,
            finding: upshift_plan::Finding::DoesNotHold,
            hides: Vec::new(),
        }])),
        _ => Ok(found),
    }
}

fn nothing_known(servers: &Setting) -> Failure {
    Failure::Usage(
        Problem::new(format!(
            "the profile of {} does not say how its clients are upgraded",
            servers.profile.title
        ))
        .next("upgrade them as the vendor's documentation says, or write `clients` into a profile of your own (docs/profiles.md)"),
    )
}

/// What stands in the plan of the clients that are left out.
fn words(found: &ClientRounds) -> Vec<String> {
    let left_out = found.left_out.iter();
    left_out
        .map(|(name, acceptance)| format!("{name} is left out by name: {}", acceptance.reason))
        .collect()
}

fn report_nothing(found: &ClientRounds, target: &str, printer: Printer) -> Result<(), Failure> {
    let value = serde_json::json!({
        "clients": "up to date",
        "version": target,
        "left_out": found.left_out.iter().map(|(name, _)| name).collect::<Vec<_>>(),
    });
    printer.result(&value, || {
        let mut text = format!("every client in the fleet runs {target} already; nothing was changed");
        for line in words(found) {
            text.push_str(&format!("\n{line}"));
        }
        text
    })?;
    Ok(())
}
