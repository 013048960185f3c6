//! `upshift accept`: an operator takes a risk upon themselves, by name and with a reason.

use serde_json::json;
use upshift_model::fleet::Acceptance;
use upshift_store::Accepted;

use crate::acceptances::{today, valid_day};
use crate::args::{AcceptArgs, Global, Output};
use crate::exit::{Exit, Failure, Problem};
use crate::lease::who;
use crate::moment;
use crate::output::Printer;
use crate::runs;
use crate::setting::Setting;
use crate::suggest::nearest;
use crate::table::Table;

/// Does what was typed.
pub fn run(arguments: &AcceptArgs, global: &Global, printer: Printer) -> Result<Exit, Failure> {
    printer.only(&[Output::Table, Output::Json])?;
    let setting = Setting::read(global)?;
    let (fleet, product) = (&setting.fleet.name, &setting.profile.product);
    let store = runs::open(global)?;
    let failed = |error| runs::failure(error, &[]);
    if let Some(name) = &arguments.name {
        if arguments.withdraw {
            if !store.withdraw(fleet, product, name).map_err(failed)? {
                return Err(Failure::Usage(
                    Problem::new(format!("`{name}` was not accepted for {fleet}")).next(
                        "`upshift accept` lists what is; what stands in the fleet file is taken out there",
                    ),
                ));
            }
        } else {
            let acceptance = acceptance(name, arguments, &setting)?;
            store
                .accept(fleet, product, &acceptance, &who())
                .map_err(failed)?;
        }
    }
    let kept = store.acceptances(fleet, product).map_err(failed)?;
    let value = json!({
        "fleet": fleet,
        "product": product,
        "accepted": kept.iter().map(|kept| json!({
            "name": kept.acceptance.name,
            "reason": kept.acceptance.reason,
            "until": kept.acceptance.until,
            "by": kept.who,
            "at_ms": kept.accepted_ms,
            "in_force": kept.acceptance.counts_on(&today()),
        })).collect::<Vec<_>>(),
        "in_fleet_file": setting.fleet.accepted,
    });
    printer.result(&value, || text(&setting, &kept))?;
    Ok(Exit::Done)
}

/// What was typed, if it makes sense.
fn acceptance(name: &str, arguments: &AcceptArgs, setting: &Setting) -> Result<Acceptance, Failure> {
    let risks = setting.profile.risks();
    if !setting.profile.calls_acceptable(name) {
        let known: Vec<&str> = risks.iter().copied().collect();
        let what = format!(
            "the profile of {} calls nothing acceptable that is named `{name}`",
            setting.profile.title
        );
        return Err(Failure::Usage(Problem::new(what).next(
            match nearest(name, risks) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("acceptable are: {}", known.join(", ")),
            },
        )));
    }
    let reason = arguments.reason.as_deref().map(str::trim).unwrap_or("");
    if reason.is_empty() {
        return Err(Failure::Usage(
            Problem::new(format!("why is `{name}` accepted?")).next("say so with --reason \"…\""),
        ));
    }
    if let Some(until) = &arguments.until {
        valid_day(until)?;
        if *until < today() {
            return Err(Failure::Usage(Problem::new(format!("{until} has passed")).next(
                "name a day that is still to come with --until, as YYYY-MM-DD in UTC",
            )));
        }
    }
    Ok(Acceptance {
        name: name.to_owned(),
        reason: reason.to_owned(),
        until: arguments.until.clone(),
    })
}

fn text(setting: &Setting, kept: &[Accepted]) -> String {
    if kept.is_empty() && setting.fleet.accepted.is_empty() {
        return format!("nothing is accepted for {}", setting.fleet.name);
    }
    let mut table = Table::new(["RISK", "UNTIL", "BY", "REASON"]);
    let until = |acceptance: &Acceptance| match &acceptance.until {
        None => "for good".to_owned(),
        Some(until) if acceptance.counts_on(&today()) => until.clone(),
        Some(until) => format!("{until}, passed"),
    };
    for kept in kept {
        table.row([
            kept.acceptance.name.clone(),
            until(&kept.acceptance),
            format!("{}, {}", kept.who, moment::text(kept.accepted_ms)),
            kept.acceptance.reason.clone(),
        ]);
    }
    for acceptance in &setting.fleet.accepted {
        table.row([
            acceptance.name.clone(),
            until(acceptance),
            "the fleet file".to_owned(),
            acceptance.reason.clone(),
        ]);
    }
    table.to_string().trim_end().to_owned()
}
