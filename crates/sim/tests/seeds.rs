//! Seeds: the same seed is the same run; the failing ones of the past stay mended; some new ones are clean.

use std::path::Path;

use upshift_sim::trace::Level;
use upshift_sim::{cli, random, scenario};

#[test]
fn the_same_seed_is_the_same_run_down_to_the_last_message() {
    let profile = scenario::profile();
    for seed in [3, 4, 17] {
        let (_, one) = random::run(seed, &profile, Level::Everything);
        let (_, two) = random::run(seed, &profile, Level::Everything);
        assert!(one.trace.len() > 10_000);
        assert_eq!(one.trace, two.trace, "seed {seed}");
        let (_, silent) = random::run(seed, &profile, Level::Silent);
        assert_eq!(
            (one.events, one.time),
            (silent.events, silent.time),
            "the transcript changes nothing"
        );
    }
}

#[test]
fn seeds_that_once_failed_stay_mended() {
    let profile = scenario::profile();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let numbers = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        seeds.extend(numbers.map(|line| line.trim().parse::<u64>().unwrap()));
    }
    assert!(!seeds.is_empty());
    for seed in seeds {
        let (draw, summary) = random::run(seed, &profile, Level::Story);
        assert_eq!(
            random::verdict(&draw, &summary),
            None,
            "seed {seed}\n{}",
            summary.trace
        );
    }
}

#[test]
fn seeds_are_spread_over_all_strategies_and_rows() {
    let draws: Vec<random::Draw> = (0..400).map(random::draw).collect();
    for row in random::ROWS {
        assert!(
            draws.iter().any(|draw| draw.rows.contains(&row)),
            "{row} is never drawn"
        );
    }
    let strategies: std::collections::BTreeSet<_> = draws
        .iter()
        .flat_map(|draw| random::strategies(&draw.scenario.from, &draw.scenario.to))
        .collect();
    assert_eq!(strategies.len(), 4);
}

#[test]
fn seeds_keep_all_promises() {
    // The test command runs 2,000 with the simulator itself.
    let totals = cli::many_seeds(0..50, &scenario::profile());
    assert_eq!((totals.seeds, totals.violations), (50, 0));
    assert!(totals.events > 25_000 && totals.time > 900_000);
}
