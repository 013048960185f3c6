//! `upshift history`, `show` and `report`: what was run.

use std::io::Write;

use serde::Serialize;
use upshift_plan::Plan;
use upshift_store::{RunRecord, Store};

use crate::args::{Global, HistoryArgs, Output, ReportArgs, ShowArgs};
use crate::commands::bundle;
use crate::exit::{Exit, Failure};
use crate::lease;
use crate::moment;
use crate::output::Printer;
use crate::report::{self, Report, html};
use crate::runs;
use crate::sight::Sight;
use crate::table::Table;

/// A run in the list.
#[derive(Serialize)]
struct Listed {
    run: String,
    fleet: String,
    product: String,
    from: String,
    to: String,
    began: String,
    /// For people.
    #[serde(skip)]
    began_words: String,
    by: String,
    outcome: String,
}

/// `upshift history`.
pub fn history(arguments: &HistoryArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let store = runs::look(global)?;
    let fleet = if arguments.all {
        None
    } else {
        runs::fleet_name(global)?
    };
    let records = store
        .runs(fleet.as_deref())
        .map_err(|error| runs::failure(error, &[]))?;
    let mut listed = Vec::with_capacity(records.len());
    for record in &records {
        let plan = store
            .plan(&record.id)
            .map_err(|error| runs::failure(error, &[]))?;
        listed.push(Listed {
            run: record.id.clone(),
            fleet: record.fleet.clone(),
            product: record.product.clone(),
            from: plan.hops.first().map(|hop| hop.from.clone()).unwrap_or_default(),
            to: plan.request.to,
            began: moment::rfc3339(record.created_ms),
            began_words: moment::text(record.created_ms),
            by: record.created_by.clone(),
            outcome: outcome_word(&store, record)?,
        });
    }
    printer.result(&listed, || table(&listed))?;
    Ok(Exit::Done)
}

fn outcome_word(store: &Store, record: &RunRecord) -> Result<String, Failure> {
    let word = report::ending(record.outcome.as_ref()).0.to_owned();
    if record.outcome.is_some() || lease::carrier(store, &record.fleet, &record.id)?.is_some() {
        return Ok(word);
    }
    let last = runs::state(store, &record.id)?.now();
    let since = moment::text(record.created_ms + last.0);
    Ok(format!("no controller since {since}"))
}

fn table(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "no runs yet".to_owned();
    }
    let mut table = Table::new(["RUN", "FLEET", "FROM", "TO", "BEGAN", "BY", "OUTCOME"]);
    for run in listed {
        table.row([
            run.run.clone(),
            run.fleet.clone(),
            run.from.clone(),
            run.to.clone(),
            run.began_words.clone(),
            run.by.clone(),
            run.outcome.clone(),
        ]);
    }
    table.to_string()
}

/// `upshift show`.
pub fn show(arguments: &ShowArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    if arguments.journal {
        let mut out = std::io::stdout().lock();
        store
            .export(&record.id, &mut out)
            .map_err(|error| runs::failure(error, &[]))?;
        out.flush()?;
        return Ok(Exit::Done);
    }
    let report = Report::of(&runs::state(&store, &record.id)?);
    printer.result(&report, || {
        let head = format!(
            "began {} by {}\n{}\n\n",
            moment::text(record.created_ms),
            record.created_by,
            report.sentence()
        );
        let mut table = Table::new(["BEGAN", "TOOK", "HOST", "STEP", "RESULT"]);
        for step in &report.steps {
            table.row([
                report::seconds(step.began),
                step.ended
                    .map(|ended| report::seconds(ended.minus(step.began)))
                    .unwrap_or_default(),
                step.host.clone(),
                step.title.clone(),
                step.stage.clone(),
            ]);
        }
        format!("{head}{table}")
    })?;
    Ok(Exit::Done)
}

/// A run as one page to look at.
///
/// # Errors
/// Where the page cannot be put together.
pub fn page(record: &RunRecord, report: &Report, plan: &Plan) -> Result<String, Failure> {
    let began = moment::text(record.created_ms);
    let page = html::page(report, &html::proofs(plan), &began, &record.created_by);
    page.map_err(|error| {
        Failure::Unexpected(anyhow::anyhow!(
            "the page of the run cannot be put together: {error}"
        ))
    })
}

/// `upshift report`.
pub fn report(arguments: &ReportArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json, Output::Markdown, Output::Html])?;
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    let state = runs::state(&store, &record.id)?;
    let mut report = Report::of(&state);
    report.observe(&Sight::of(&record, &state, &store, global)?);
    if let Some(file) = &arguments.bundle {
        let (files, silent) = bundle::write(file, &record, &state, &report, &store, global)?;
        let value =
            serde_json::json!({"run": record.id, "bundle": file, "files": files, "not_reached": silent});
        printer.result(&value, || {
            let mut text = format!(
                "{} files of the run {} are in {}",
                files,
                record.id,
                file.display()
            );
            if !silent.is_empty() {
                text.push_str(&format!(
                    "; without the logs of {}, which could not be asked",
                    silent.join(", ")
                ));
            }
            text
        })?;
        return Ok(Exit::Done);
    }
    match printer.form() {
        Output::Html => printer.text(&page(&record, &report, state.plan())?)?,
        Output::Markdown => printer.text(&report.markdown())?,
        _ => printer.result(&report, || report.text())?,
    }
    Ok(Exit::Done)
}
