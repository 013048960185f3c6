//! Whether a target is the newest release of its line, as far as the profile knows.

use upshift_model::profile::Newest;
use upshift_model::version::{Range, Scheme, Version};

use crate::layout::Leg;
use crate::survey::Survey;

/// Tells of every hop whose target is not known to be the newest release of its line. It stops nothing.
pub(super) fn check(survey: &Survey<'_>, legs: &[Leg<'_>], warnings: &mut Vec<String>) {
    let Some(newest) = &survey.profile.newest else {
        return;
    };
    let remarks = legs
        .iter()
        .filter_map(|leg| remark(newest, survey.scheme(), &leg.to));
    warnings.extend(remarks);
}

fn remark(newest: &Newest, scheme: Scheme, target: &Version) -> Option<String> {
    let rule = &newest.rule;
    let line = newest
        .lines
        .iter()
        .find(|known| Range::parse(scheme, &known.line).is_ok_and(|line| line.contains(target)));
    let known = line.and_then(|known| Version::parse(scheme, &known.version).ok());
    match known {
        Some(known) if *target < known => Some(format!(
            "{target} is not the newest release of its line that is known here, which is {known}; {rule}"
        )),
        Some(_) => None,
        None => Some(format!(
            "whether {target} is the newest release of its line is not known here; {rule}"
        )),
    }
}
