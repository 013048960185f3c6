//! `upshift pause`, `resume`, `abort`, `rollback` and `finalize`: an operator speaks to a run.

use std::path::Path;

use upshift_control::{Artifacts, Runner, Setup, known_runs};
use upshift_model::action::{Action, Artifact};
use upshift_model::fleet::Fleet;
use upshift_plan::Plan;
use upshift_run::{OperatorCommand, Outcome};
use upshift_store::{RunRecord, Store};

use crate::args::{AbortArgs, EndArgs, FinalizeArgs, Global, Output, PauseArgs, ResumeArgs, RollbackArgs};
use crate::ask::{Question, confirm};
use crate::cluster;
use crate::commands::from_hosts;
use crate::commands::upgrade::Kept;
use crate::drive::{self, Asked};
use crate::exit::{Exit, Failure, Problem};
use crate::fleets;
use crate::foreign;
use crate::lease::{self, HeldLease};
use crate::output::Printer;
use crate::report;
use crate::runs;

/// Something said to a run.
struct Said<'a> {
    run: Option<&'a str>,
    commands: Vec<OperatorCommand>,
    asked: Asked,
    take_over: bool,
}

/// `upshift pause`.
pub fn pause(arguments: &PauseArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    refuse_ended(&record, "paused")?;
    if lease::carrier(&store, &record.fleet, &record.id)?.is_none() {
        return Err(Failure::Refused(
            Problem::new(format!(
                "no controller drives the run {}; there is nothing to pause",
                record.id
            ))
            .next(format!(
                "`upshift why {0}` says where it is; `upshift resume {0}` goes on",
                record.id
            )),
        ));
    }
    tell(&store, &record, &[OperatorCommand::Pause], printer)
}

/// `upshift resume`.
pub fn resume(arguments: &ResumeArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    if arguments.from_hosts {
        return from_hosts::run(arguments, global, printer);
    }
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    refuse_ended(&record, "resumed")?;
    runs::refuse_older(&store, &record)?;
    let held = matches!(record.outcome, Some(Outcome::Held { .. }));
    if arguments.forward && !(held && runs::state(&store, &record.id)?.rolling_back()) {
        return Err(Failure::Refused(
            Problem::new(format!("the run {} is not held in a rollback", record.id))
                .because(
                    "with --forward a rollback that is stuck is given up, and its servers are upgraded again",
                )
                .next(format!(
                    "`upshift resume {0}` goes on; `upshift why {0}` says where it is",
                    record.id
                )),
        ));
    }
    let consent = arguments.accept_no_return.then_some(OperatorCommand::Consent);
    let command = match arguments.forward {
        true => OperatorCommand::ResumeForward,
        false => OperatorCommand::Resume,
    };
    let said = Said {
        run: Some(&record.id),
        commands: consent.into_iter().chain([command]).collect(),
        asked: Asked::Forward,
        take_over: arguments.take_over,
    };
    speak(&said, global, printer)
}

/// `upshift abort`.
pub fn abort(arguments: &AbortArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    refuse_ended(&record, "aborted")?;
    runs::refuse_older(&store, &record)?;
    let text = format!(
        "Take back what the current hop of {} has changed, and end the run?",
        record.id
    );
    confirm(
        Question {
            text: &text,
            answer: "y",
            option: "--yes",
        },
        arguments.yes,
        printer,
    )?;
    let said = Said {
        run: Some(&record.id),
        commands: vec![OperatorCommand::Abort],
        asked: Asked::Back,
        take_over: arguments.take_over,
    };
    speak(&said, global, printer)
}

/// `upshift rollback`.
pub fn rollback(arguments: &RollbackArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    if let Some(
        outcome @ (Outcome::Finalized
        | Outcome::RolledBack { .. }
        | Outcome::Refused { .. }
        | Outcome::EndedElsewhere { .. }
        | Outcome::EndedAsIs { .. }
        | Outcome::Prepared),
    ) = &record.outcome
    {
        return Err(ended(&record, outcome, "rolled back"));
    }
    runs::refuse_older(&store, &record)?;
    let held = matches!(record.outcome, Some(Outcome::Held { .. }));
    if arguments.all_at_once && !(held && runs::state(&store, &record.id)?.rolling_back()) {
        return Err(Failure::Refused(
            Problem::new(format!(
                "the run {} is not held in its rollback, so its servers are taken back one after the other",
                record.id
            ))
            .because("with --all-at-once all of them stop; that is for a rollback on which they wait for each other")
            .next(format!("`upshift rollback {}`", record.id)),
        ));
    }
    let loss = arguments.accept_loss.then_some(OperatorCommand::AcceptLoss);
    let (text, command) = if arguments.all_at_once {
        let text = format!(
            "Stop every server and take all of them back to what they ran before {}, at the same time?",
            record.id
        );
        (text, OperatorCommand::RollbackAllAtOnce)
    } else {
        let text = format!("Take every server back to what it ran before {}?", record.id);
        (text, OperatorCommand::Rollback)
    };
    confirm(
        Question {
            text: &text,
            answer: "y",
            option: "--yes",
        },
        arguments.yes,
        printer,
    )?;
    let said = Said {
        run: Some(&record.id),
        commands: loss.into_iter().chain([command]).collect(),
        asked: Asked::Back,
        take_over: false,
    };
    speak(&said, global, printer)
}

/// `upshift end`.
pub fn end(arguments: &EndArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    if !matches!(record.outcome, Some(Outcome::Held { .. })) {
        return Err(Failure::Refused(
            Problem::new(format!(
                "the run {} is not held, so it cannot be ended as it is",
                record.id
            ))
            .next(format!("`upshift why {0}` says where it is", record.id)),
        ));
    }
    let text = format!(
        "End {} with every server as it is now? Nothing is started, stopped or rolled back.",
        record.id
    );
    confirm(
        Question {
            text: &text,
            answer: "yes",
            option: "--yes",
        },
        arguments.yes,
        printer,
    )?;
    let said = Said {
        run: Some(&record.id),
        commands: vec![OperatorCommand::EndAsIs {
            reason: arguments.reason.clone(),
        }],
        asked: Asked::Forward,
        take_over: false,
    };
    speak(&said, global, printer)
}

/// `upshift finalize`.
pub fn finalize(arguments: &FinalizeArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    let store = runs::look(global)?;
    let record = runs::pick(&store, arguments.run.as_deref(), global)?;
    match &record.outcome {
        Some(Outcome::Upgraded) => {}
        Some(outcome) => return Err(self::ended(&record, outcome, "finalized")),
        None => {
            return Err(Failure::Refused(
                Problem::new(format!(
                    "the run {} has not ended, so it cannot be finalized",
                    record.id
                ))
                .next(format!("`upshift why {}` says what it waits for", record.id)),
            ));
        }
    }
    runs::refuse_older(&store, &record)?;
    let plan = store
        .plan(&record.id)
        .map_err(|error| runs::failure(error, &[]))?;
    let notes: Vec<String> = plan
        .finalize_notes
        .iter()
        .map(|note| format!("\n  - {note}"))
        .collect();
    let text = format!(
        "Finalize {}?{}\nAfterwards rolling back needs a snapshot.",
        record.id,
        notes.concat()
    );
    confirm(
        Question {
            text: &text,
            answer: "y",
            option: "--yes",
        },
        arguments.yes,
        printer,
    )?;
    let said = Said {
        run: Some(&record.id),
        commands: vec![OperatorCommand::Finalize],
        asked: Asked::Forward,
        take_over: false,
    };
    speak(&said, global, printer)
}

fn refuse_ended(record: &RunRecord, verb: &str) -> Result<(), Failure> {
    match &record.outcome {
        Some(Outcome::Held { .. } | Outcome::Superseded { .. }) | None => Ok(()),
        Some(outcome) => Err(ended(record, outcome, verb)),
    }
}

fn ended(record: &RunRecord, outcome: &Outcome, verb: &str) -> Failure {
    let (word, _, _) = report::ending(Some(outcome));
    let problem = Problem::new(format!(
        "the run {} has ended ({word}) and cannot be {verb}",
        record.id
    ));
    Failure::Refused(match outcome {
        Outcome::Upgraded => problem.next(format!(
            "`upshift rollback {0}` rolls back, `upshift finalize {0}` cleans up",
            record.id
        )),
        _ => problem.next(format!("`upshift report {}` says what it did", record.id)),
    })
}

/// Leaves word for the controller that carries the run.
fn tell(
    store: &Store,
    record: &RunRecord,
    commands: &[OperatorCommand],
    printer: Printer,
) -> Result<Exit, Failure> {
    say(store, record, commands)?;
    printer.result(&serde_json::json!({"run": record.id, "told": commands}), || {
        format!(
            "told the controller of {}; watch it with `upshift status --watch`",
            record.id
        )
    })?;
    Ok(Exit::Done)
}

fn say(store: &Store, record: &RunRecord, commands: &[OperatorCommand]) -> Result<(), Failure> {
    for command in commands {
        store
            .say(&record.id, &lease::who(), command)
            .map_err(|error| runs::failure(error, &[]))?;
    }
    Ok(())
}

/// Tells the controller that carries the run or, where nobody does, carries it from here.
fn speak(said: &Said<'_>, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let store = runs::open(global)?;
    let record = runs::pick(&store, said.run, global)?;
    if !said.take_over && lease::carrier(&store, &record.fleet, &record.id)?.is_some() {
        return match said.asked {
            Asked::Forward => tell(&store, &record, &said.commands, printer),
            Asked::Back => {
                say(&store, &record, &said.commands)?;
                drive::follow(&store, &record, said.asked, printer)
            }
        };
    }
    let kept: Kept = serde_json::from_value(record.setting.clone())?;
    let fleet = fleet_now(&kept, global)?;
    cluster::wait(async {
        let mut lease = HeldLease::take(&store, &record.fleet, said.take_over)?;
        let plan = store
            .plan(&record.id)
            .map_err(|error| runs::failure(error, &[]))?;
        let hosts = cluster::hosts(&fleet, &kept.group, cluster::sharing(global).as_ref())?;
        let known = known_runs(&hosts, foreign::PATIENCE).await;
        lease.raise(known.newest_token())?;
        foreign::refuse(&record, &known, &store, &lease)?;
        for command in &said.commands {
            store
                .say(&record.id, &lease::who(), command)
                .map_err(|error| runs::failure(error, &[]))?;
        }
        let setup = Setup {
            store: &store,
            lease: lease.hand_over(),
            hosts,
            artifacts: artifacts(&plan, &kept),
            who: lease::who(),
        };
        let runner = Runner::resume(setup, &record.id)?;
        drive::drive(
            runner,
            &store,
            said.asked,
            global.metrics_file.as_deref(),
            printer,
        )
        .await
    })
}

/// The hosts as the fleet file has them now, where it is of the same fleet (an address may have changed); else as they were.
pub fn fleet_now(kept: &Kept, global: &Global) -> Result<Fleet, Failure> {
    if Path::new(&global.fleet).exists() {
        let fleet = fleets::read(&global.fleet)?;
        if fleet.name == kept.fleet.name {
            return Ok(match &kept.clients_of {
                Some(group) => fleet.of_clients(group, &kept.group),
                None => fleet,
            });
        }
    }
    Ok(kept.fleet.clone())
}

fn artifacts(plan: &Plan, kept: &Kept) -> Artifacts {
    let mut artifacts = Artifacts::new();
    for recipe in &plan.recipes {
        if let Some(Action::Distribute(artifact)) = &recipe.action {
            let artifact: &Artifact = artifact;
            if let Some(path) = kept.packages.get(&artifact.sha256) {
                artifacts.add(artifact, path);
            }
        }
    }
    artifacts
}
