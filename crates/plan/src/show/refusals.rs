//! Reasons against, for people.

use super::count;
use super::table::{WIDE, paragraph_in};
use crate::types::Refusal;

/// More hosts than this are not named one by one.
const HOSTS_NAMED: usize = 6;

/// All the reasons why there is no plan, or why one is not executed, each with what to do about it.
pub fn refusals(refusals: &[Refusal]) -> String {
    refusals_in(refusals, WIDE)
}

/// The same, for a terminal of so many columns.
pub fn refusals_in(refusals: &[Refusal], width: usize) -> String {
    let mut out = format!(
        "Refused, for {}. Nothing was changed.\n",
        count(refusals.len(), "reason")
    );
    for (position, refusal) in refusals.iter().enumerate() {
        out.push('\n');
        let label = format!("{:>3}. ", position + 1);
        let hosts = if refusal.hosts.is_empty() {
            String::new()
        } else {
            format!("{}: ", hosts(&refusal.hosts))
        };
        paragraph_in(
            &mut out,
            width,
            &label,
            &format!("{hosts}{} [{}]", refusal.message, refusal.code),
        );
        paragraph_in(&mut out, width, "     what to do: ", &refusal.remedy);
        if let Some(link) = &refusal.link {
            paragraph_in(&mut out, width, "     see: ", link);
        }
        if !refusal.hides.is_empty() {
            let checks = count(refusal.hides.len(), "check");
            paragraph_in(
                &mut out,
                width,
                "     ",
                &format!("because of this {checks} cannot be told"),
            );
        }
    }
    out
}

fn hosts(hosts: &[String]) -> String {
    match hosts.get(..HOSTS_NAMED) {
        Some(first) if hosts.len() > HOSTS_NAMED => {
            format!("{} and {} more", first.join(", "), hosts.len() - HOSTS_NAMED)
        }
        _ => hosts.join(", "),
    }
}
