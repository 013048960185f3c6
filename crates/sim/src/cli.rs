//! `cargo xtask sim`: seeds, one seed, or the whole matrix of faults.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use upshift_model::profile::{Profile, Strategy};

use crate::trace::Level;
use crate::{exhaustive, random, scenario};

const USAGE: &str = "\
Usage: cargo xtask sim [--seeds N] [--from S] [--warn] [--seed S] [--exhaustive] [--every N] [--details]

  --seeds N      run N seeds (2000 where nothing is said)
  --from S       begin with seed S (0 where nothing is said)
  --warn         a broken promise is printed with its seed, and does not change the exit status
  --threads N    use N threads (as many as there are cores where nothing is said)
  --seed S       run one seed and print what happened on which host
  --exhaustive   put every kind of fault at every step boundary, for each strategy
  --every N      of that matrix, only every Nth case
  --details      with --seed: every message and every look, too
  --switch N     one upgrade of N servers in one window, in which nothing goes wrong
";

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    seeds: Option<u64>,
    from: u64,
    warn: bool,
    threads: Option<usize>,
    seed: Option<u64>,
    exhaustive: bool,
    every: Option<usize>,
    details: bool,
    switch: Option<usize>,
}

/// What many runs came to; the closing line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many were run.
    pub seeds: u64,
    /// How many things happened.
    pub events: u64,
    /// Simulated milliseconds.
    pub time: u64,
    /// How many broke a promise.
    pub violations: u64,
}

impl Totals {
    /// One line of JSON.
    pub fn line(&self) -> String {
        serde_json::json!({
            "seeds": self.seeds,
            "events": self.events,
            "simulated_hours": (self.time as f64 / 36_000.0).round() / 100.0,
            "violations": self.violations,
        })
        .to_string()
    }

    fn add(&mut self, events: u64, time: u64, wrong: bool) {
        self.seeds += 1;
        self.events += events;
        self.time += time;
        self.violations += u64::from(wrong);
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().ok_or_else(|| format!("{word} wants a number"))?;
            text.parse::<u64>()
                .map_err(|_| format!("{word} wants a number, not `{text}`"))
        };
        match word.as_str() {
            "--seeds" => options.seeds = Some(number()?),
            "--from" => options.from = number()?,
            "--warn" => options.warn = true,
            "--threads" => options.threads = Some(number()?.max(1) as usize),
            "--seed" => options.seed = Some(number()?),
            "--every" => options.every = Some(number()?.max(1) as usize),
            "--switch" => options.switch = Some(number()?.max(1) as usize),
            "--exhaustive" => options.exhaustive = true,
            "--details" => options.details = true,
            other => return Err(format!("`{other}` is not known")),
        }
    }
    Ok(options)
}

/// Runs what the arguments ask for. The exit status is 0 where every promise was kept, 1 where one was broken, 2 where the
/// arguments are wrong.
pub fn main(arguments: &[String]) -> ExitCode {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("error: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let profile = scenario::profile();
    if let Some(servers) = options.switch {
        return all_together(servers, &profile);
    }
    let totals = match options.seed {
        Some(seed) => one_seed(seed, &profile, options.details),
        None if options.exhaustive => matrix(&profile, options.every.unwrap_or(1)),
        None => {
            let end = options.from.saturating_add(options.seeds.unwrap_or(2000));
            many_seeds_on(options.threads.unwrap_or_else(cores), options.from..end, &profile)
        }
    };
    println!("{}", totals.line());
    if totals.violations > 0 && options.warn {
        println!("warning: a promise was broken; the seeds above show it again");
    }
    if totals.violations == 0 || options.warn {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One upgrade of so many servers in one window; it must end on the new version.
fn all_together(servers: usize, profile: &Profile) -> ExitCode {
    let scenario = scenario::Scenario {
        servers,
        // To replay the journal at every event of ten thousand servers takes hours, and is done for few ones.
        check_replay: false,
        ..scenario::Scenario::of(Strategy::Switch)
    };
    let summary = scenario.run_with(profile, Level::Silent);
    let upgraded = summary.outcome == Some(upshift_run::Outcome::Upgraded);
    println!(
        "{}",
        serde_json::json!({
            "servers": servers,
            "events": summary.events,
            "journal": summary.journal,
            "simulated_s": summary.time / 1000,
            "upgraded": upgraded,
            "version": summary.version,
            "violations": summary.violations.len(),
        })
    );
    match upgraded && summary.violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn one_seed(seed: u64, profile: &Profile, details: bool) -> Totals {
    let level = if details { Level::Everything } else { Level::Story };
    let (draw, summary) = random::run(seed, profile, level);
    let wrong = random::verdict(&draw, &summary);
    print!("{}", story(seed, &draw, &summary, wrong.as_deref()));
    let mut totals = Totals::default();
    totals.add(summary.events, summary.time, wrong.is_some());
    totals
}

fn story(seed: u64, draw: &random::Draw, summary: &scenario::Summary, wrong: Option<&str>) -> String {
    let scenario = &draw.scenario;
    let verdict = wrong.map_or_else(
        || "every promise was kept".to_owned(),
        |wrong| format!("BROKEN: {wrong}"),
    );
    format!(
        "seed {seed}: {} → {}, {} servers, catalogue rows: {}\n\n{}\n{verdict}\n",
        scenario.from,
        scenario.to,
        scenario.servers,
        if draw.rows.is_empty() {
            "none".to_owned()
        } else {
            draw.rows.join(", ")
        },
        summary.trace
    )
}

/// Runs seeds on all cores; the first failing ones are printed with their transcript.
pub fn many_seeds(seeds: std::ops::Range<u64>, profile: &Profile) -> Totals {
    many_seeds_on(cores(), seeds, profile)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn many_seeds_on(threads: usize, seeds: std::ops::Range<u64>, profile: &Profile) -> Totals {
    let seeds: Vec<u64> = seeds.collect();
    let failed = Mutex::new(Vec::new());
    let totals = in_parallel(threads, &seeds, |seed| {
        let (draw, summary) = random::run(*seed, profile, Level::Silent);
        let wrong = random::verdict(&draw, &summary);
        if let Some(wrong) = &wrong {
            lock(&failed).push((*seed, wrong.clone()));
        }
        (summary.events, summary.time, wrong.is_some())
    });
    let mut failed = failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    failed.sort();
    for (seed, wrong) in &failed {
        println!("seed {seed}: {wrong}");
    }
    if let Some((seed, _)) = failed.first() {
        let (draw, summary) = random::run(*seed, profile, Level::Story);
        let wrong = random::verdict(&draw, &summary);
        println!("\n{}", story(*seed, &draw, &summary, wrong.as_deref()));
        println!("to see it again: cargo xtask sim --seed {seed}");
    }
    totals
}

/// Runs the matrix of faults, or every so many cases of it.
pub fn matrix(profile: &Profile, every: usize) -> Totals {
    let strategies = [
        Strategy::Hot,
        Strategy::Rolling,
        Strategy::Switch,
        Strategy::Rebuild,
    ];
    let cases: Vec<exhaustive::Case> = strategies
        .into_iter()
        .flat_map(|strategy| exhaustive::cases(strategy, profile))
        .step_by(every)
        .collect();
    let wrong_by_kind: Mutex<BTreeMap<String, Vec<String>>> = Mutex::default();
    let totals = in_parallel(cores(), &cases, |case| {
        let (summary, wrong) = case.judge(profile, Level::Silent);
        if let Some(wrong) = &wrong {
            let kind = format!("{:?} {:?}", case.strategy, case.kind);
            let text = format!(
                "record {} on n{}: {wrong}",
                case.boundary.journal,
                case.boundary.host + 1
            );
            lock(&wrong_by_kind).entry(kind).or_default().push(text);
        }
        (summary.events, summary.time, wrong.is_some())
    });
    for (kind, wrong) in lock(&wrong_by_kind).iter() {
        println!("{kind}: {} cases", wrong.len());
        wrong.iter().take(3).for_each(|text| println!("    {text}"));
    }
    totals
}

fn in_parallel<T: Sync>(threads: usize, items: &[T], run: impl Fn(&T) -> (u64, u64, bool) + Sync) -> Totals {
    let next = AtomicUsize::new(0);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (events, time, wrong) = run(item);
                    lock(&totals).add(events, time, wrong);
                }
            });
        }
    });
    totals
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_wrong_ones_refused() {
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let options = parse(&words("--seeds 10 --seed 3 --details")).unwrap();
        assert_eq!(
            (options.seeds, options.seed, options.details),
            (Some(10), Some(3), true)
        );
        let options = parse(&words("--from 5000000 --seeds 300 --warn --threads 1")).unwrap();
        assert_eq!(
            (options.from, options.seeds, options.warn),
            (5_000_000, Some(300), true)
        );
        assert_eq!(parse(&words("--switch 5")).unwrap().switch, Some(5));
        assert!(parse(&words("--from")).is_err());
        assert!(parse(&words("--seeds")).is_err());
        assert!(parse(&words("--seed x")).unwrap_err().contains("`x`"));
        assert!(parse(&words("--sed 1")).unwrap_err().contains("--sed"));
    }

    #[test]
    fn many_servers_are_switched_together() {
        assert_eq!(all_together(30, &scenario::profile()), ExitCode::SUCCESS);
    }

    #[test]
    fn the_closing_line_has_its_four_numbers() {
        let totals = Totals {
            seeds: 2,
            events: 10,
            time: 5_400_000,
            violations: 0,
        };
        assert_eq!(
            totals.line(),
            r#"{"events":10,"seeds":2,"simulated_hours":1.5,"violations":0}"#
        );
    }
}
