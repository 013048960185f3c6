//! Plans and refusals for people: tables, Markdown, and a picture of the phases.

mod commands;
mod markdown;
mod picture;
mod refusals;
mod sheet;
mod table;

use upshift_model::profile::Strategy;

pub use commands::commands;
pub use markdown::markdown;
pub use picture::{picture, svg};
pub use refusals::{refusals, refusals_in};
pub use sheet::Detail;
pub use sheet::rounded as length;
pub(crate) use sheet::rounded;
pub use table::{WIDE, table, table_in};

use crate::types::Plan;

/// The plan as JSON, for machines; it reads back as the same plan.
///
/// # Errors
/// A variable of the fleet that has no JSON form.
pub fn json(plan: &Plan) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(plan)
}

/// The word for a strategy.
pub fn strategy_word(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Hot => "hot",
        Strategy::Rolling => "rolling",
        Strategy::Switch => "switch",
        Strategy::Rebuild => "rebuild",
    }
}

/// A number of things: `1 server`, `3 servers`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}

/// Bytes as people write them: `80 MB`, `1.5 GB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        None => format!("{bytes} bytes"),
        Some((unit, size)) => {
            let rounded =
                |parts: u128| (u128::from(bytes) * parts + u128::from(size / 2)) / u128::from(*size);
            let tenths = rounded(10);
            match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                rest if tenths < 1000 => format!("{}.{rest} {unit}", tenths / 10),
                _ => format!("{} {unit}", rounded(1)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_with_no_more_digits_than_matter() {
        for (number, words) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1 kB"),
            (1_500, "1.5 kB"),
            (99_940, "99.9 kB"),
            (100_000, "100 kB"),
            (100_400, "100 kB"),
            (100_450, "100 kB"),
            (123_500_000, "124 MB"),
            (2_000_000, "2 MB"),
            (1_250_000_000, "1.3 GB"),
            (5_000_000_000_000, "5000 GB"),
        ] {
            assert_eq!(bytes(number), words, "{number}");
        }
    }

    #[test]
    fn one_thing_is_one_thing() {
        let words = [0, 1, 2].map(|number| count(number, "server"));
        assert_eq!(words, ["0 servers", "1 server", "2 servers"]);
    }
}
