//! `upshift check`: reach every host, read facts, run all checks; change nothing.

use serde_json::json;
use upshift_control::Hosts;
use upshift_plan::{Refusal, show, standing};

use crate::args::{CheckArgs, Global, Output};
use crate::cluster::{self, Surveyed};
use crate::commands::upgrade;
use crate::exit::{Exit, Failure};
use crate::hosts;
use crate::output::Printer;
use crate::runs;
use crate::setting::Setting;

/// Does what was typed.
pub fn run(arguments: &CheckArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = Setting::read(global)?;
    let (surveyed, found) = cluster::wait(async {
        let hosts = cluster::hosts_of(&setting)?;
        let surveyed = cluster::observe(&setting, &hosts, runs::look(global).ok().as_ref()).await?;
        let found = find(arguments, &setting, &hosts, &surveyed).await?;
        Ok((surveyed, found))
    })?;
    let facts = &surveyed.facts;
    let mut found = found;
    found.warnings.extend(upshift_plan::snapshots::standing(
        &setting.profile,
        &setting.fleet,
        facts,
    ));
    let observed = hosts::observed(facts);
    let value = json!({
        "fleet": setting.fleet.name,
        "product": setting.profile.product,
        "hosts": observed,
        "refusals": found.refusals,
        "warnings": found.warnings,
        "way": found.way,
    });
    printer.result(&value, || {
        format!("{}\n{}", hosts::table(&observed), found.text())
    })?;
    Ok(if found.refusals.is_empty() {
        Exit::Done
    } else {
        Exit::Refused
    })
}

async fn find(
    arguments: &CheckArgs,
    setting: &Setting,
    hosts: &Hosts,
    surveyed: &Surveyed,
) -> Result<Found, Failure> {
    let Some(to) = &arguments.to else {
        let standing = standing(&setting.profile, &setting.fleet, &surveyed.facts);
        return Ok(Found {
            refusals: surveyed.barred.iter().cloned().chain(standing.troubles).collect(),
            warnings: standing.warnings,
            way: Vec::new(),
        });
    };
    match upgrade::make(setting, hosts, surveyed, &setting.request(to, &arguments.target)).await {
        Ok(plan) => {
            let first = plan.hops.first().map(|hop| hop.from.clone());
            let way = first
                .into_iter()
                .chain(plan.hops.into_iter().map(|hop| hop.to))
                .collect();
            Ok(Found {
                refusals: Vec::new(),
                warnings: plan.warnings,
                way,
            })
        }
        Err(Failure::Refusals(refusals)) => Ok(Found {
            refusals,
            ..Found::default()
        }),
        Err(other) => Err(other),
    }
}

/// What was found.
#[derive(Default)]
struct Found {
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
    /// The versions that the way leads through.
    way: Vec<String>,
}

impl Found {
    fn text(&self) -> String {
        let mut text: String = self
            .warnings
            .iter()
            .map(|warning| format!("note: {warning}\n"))
            .collect();
        if !self.refusals.is_empty() {
            return text + &show::refusals(&self.refusals);
        }
        text.push_str("all checks passed");
        if !self.way.is_empty() {
            text.push_str(&format!("; the way is {}", self.way.join(" → ")));
        }
        text
    }
}
