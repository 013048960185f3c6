//! What those who use the servers will notice of an upgrade, to be sent to them.

use serde_json::json;
use upshift_model::Millis;
use upshift_model::profile::{Notice, Profile, Strategy};
use upshift_model::template;
use upshift_model::version::{Range, Version};

use crate::layout::Leg;
use crate::show::rounded;
use crate::types::Hop;

/// The sentences of the profile that are about these hops, with their versions and times.
pub(crate) fn of(profile: &Profile, legs: &[Leg<'_>], hops: &[Hop]) -> Vec<String> {
    let hops = legs.iter().zip(hops);
    hops.flat_map(|(leg, hop)| {
        let about = profile
            .notices
            .iter()
            .filter(|notice| applies(profile, notice, leg));
        about
            .map(|notice| words(profile, notice, hop))
            .collect::<Vec<_>>()
    })
    .collect()
}

fn applies(profile: &Profile, notice: &Notice, leg: &Leg<'_>) -> bool {
    let fits = |range: &Option<String>, version: &Version| match range {
        None => true,
        Some(text) => Range::parse(profile.versions.scheme, text).is_ok_and(|range| range.contains(version)),
    };
    let strategy = notice.strategies.is_empty() || notice.strategies.contains(&leg.edge.strategy);
    strategy && fits(&notice.from, &leg.from) && fits(&notice.to, &leg.to)
}

fn words(profile: &Profile, notice: &Notice, hop: &Hop) -> String {
    let expected = match hop.strategy {
        Strategy::Hot => Millis::ZERO,
        _ => profile.window.estimate,
    };
    let at_most = hop.windows.iter().map(|window| window.limit.plus(window.reserve));
    let names = json!({
        "from": hop.from,
        "to": hop.to,
        "expected": rounded(expected),
        "at_most": rounded(at_most.max().unwrap_or(Millis::ZERO)),
        "windows": hop.windows.len(),
    });
    // A sentence that cannot be filled in is still better than none.
    template::render_text(&notice.text, &names).unwrap_or_else(|_| notice.text.clone())
}
