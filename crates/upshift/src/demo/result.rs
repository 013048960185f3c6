//! What a demo showed.

use serde::Serialize;
use upshift_lab::load::LoadReport;
use upshift_model::Millis;

use crate::report::{Report, seconds};
use crate::table::Table;

/// The last line of `upshift demo --output json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Short name of the product.
    pub product: String,
    /// Whether it was a real server, not the lab server.
    pub real: bool,
    /// Version that the cluster started with.
    pub from: String,
    /// Version that it was upgraded to.
    pub to: String,
    /// Writes that the cluster acknowledged while both upgrades ran.
    pub acknowledged: u64,
    /// Of these, how many could not be read afterwards.
    pub lost: u64,
    /// Requests that no member answered.
    pub failed_requests: u64,
    /// The longest time between two acknowledged writes.
    pub longest_gap_ms: u64,
    /// Whether every member runs the new version, as it says itself.
    pub upgraded: bool,
    /// Whether every member was back on the new version after the bad release, its configuration byte for byte.
    pub bad_release_rolled_back: bool,
    /// How long all of it took.
    pub seconds: f64,
}

/// One of the two upgrades.
#[derive(Clone, Debug)]
pub struct Act {
    /// What Upshift says.
    pub report: Report,
    /// What the client saw.
    pub load: LoadReport,
}

/// Both upgrades beside each other.
pub fn table(good: &Act, bad: &Act) -> String {
    let title = |act: &Act| format!("{} → {}", act.report.from, act.report.to);
    let mut table = Table::new(["", &title(good), &title(bad)]);
    let mut row = |name: &str, of: &dyn Fn(&Act) -> String| table.row([name.to_owned(), of(good), of(bad)]);
    row("outcome", &|act| act.report.outcome.clone());
    row("took", &|act| seconds(Millis(act.report.took_ms)));
    row("writes acknowledged", &|act| act.load.acknowledged.to_string());
    row("writes lost", &|act| act.load.lost.to_string());
    row("requests failed", &|act| act.load.failed_requests.to_string());
    row("longest gap between writes", &|act| {
        seconds(Millis(act.load.longest_gap_ms))
    });
    for (index, host) in good.report.hosts.iter().enumerate() {
        row(&format!("{}: disturbed / own stop+start", host.host), &|act| {
            act.report.hosts.get(index).map_or_else(String::new, |host| {
                format!(
                    "{} / {}",
                    seconds(Millis(host.disturbed_ms)),
                    seconds(Millis(host.own_ms))
                )
            })
        });
    }
    table.to_string()
}
