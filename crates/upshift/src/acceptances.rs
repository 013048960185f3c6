//! The risks that are taken for a fleet on this day.

use upshift_model::fleet::{Acceptance, Fleet};
use upshift_model::profile::Profile;

use crate::args::Global;
use crate::exit::{Failure, Problem};
use crate::runs;

/// Today in UTC, as YYYY-MM-DD.
pub fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// Refuses what is no day.
pub fn valid_day(text: &str) -> Result<(), Failure> {
    match text.parse::<jiff::civil::Date>() {
        Ok(day) if day.to_string() == text => Ok(()),
        _ => Err(Failure::Usage(
            Problem::new(format!("`{text}` is no day")).next("write it as YYYY-MM-DD, such as 2027-01-31"),
        )),
    }
}

/// Those of the fleet file and those that were accepted on this machine, as far as they still count.
pub fn in_force(global: &Global, fleet: &Fleet, profile: &Profile) -> Result<Vec<Acceptance>, Failure> {
    for acceptance in &fleet.accepted {
        acceptance.until.as_deref().map_or(Ok(()), valid_day)?;
    }
    let here = match runs::store_file(global) {
        Ok(file) if file.exists() => runs::look(global)?
            .acceptances(&fleet.name, &profile.product)
            .map_err(|error| runs::failure(error, &[]))?,
        _ => Vec::new(),
    };
    let today = today();
    Ok(here
        .into_iter()
        .map(|kept| kept.acceptance)
        .chain(fleet.accepted.iter().cloned())
        .filter(|acceptance| acceptance.counts_on(&today))
        .collect())
}
