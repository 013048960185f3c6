//! Seeds over the failure catalogue: each seed chooses an upgrade, a fleet, and one or several faults.

use upshift_model::profile::{Profile, Strategy};
use upshift_run::{OperatorCommand, Outcome};

use crate::fault::{Fault, Moment, When};
use crate::product::Behaviour;
use crate::rng::Rng;
use crate::scenario::{Scenario, Summary};
use crate::trace::Level;

/// Rows of the failure catalogue that are injected here. The others are tested at another level: see `docs/simulation.md`.
pub const ROWS: [&str; 24] = [
    "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F11", "F12", "F13", "F14", "F15", "F16",
    "F17", "F18", "F20", "F22", "F24", "F25", "F27", "F30",
];

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Draw {
    /// Rows of the catalogue that were drawn.
    pub rows: Vec<&'static str>,
    /// The scenario.
    pub scenario: Scenario,
}

const UPGRADES: [(&str, &str); 8] = [
    ("1.0.0", "1.0.1"),
    ("1.1.0", "1.1.1"),
    ("1.1.0", "2.0.0"),
    ("2.0.0", "3.0.0"),
    ("1.0.0", "1.1.0"),
    ("1.1.0", "1.1.1"),
    ("1.0.0", "2.0.0"),
    ("1.1.0", "3.0.0"),
];

/// What a seed stands for. The strategies take turns, so that any number of seeds is spread over all of them.
pub fn draw(seed: u64) -> Draw {
    let mut rng = Rng::new(seed);
    let (from, to) = UPGRADES[(seed % UPGRADES.len() as u64) as usize];
    let mut scenario = Scenario::between(from, to);
    scenario.seed = rng.bits();
    scenario.servers = *rng.pick(&[3, 3, 3, 4, 5]);
    scenario.consent = rng.percent(90);
    scenario.check_replay = rng.percent(25);
    let mut rows = Vec::new();
    let count = match rng.below(10) {
        0 => 0,
        1..=6 => 1,
        7 | 8 => 2,
        _ => 3,
    };
    for _ in 0..count {
        let row = *rng.pick(&ROWS);
        rows.push(row);
        inject(row, &mut scenario, &mut rng);
    }
    Draw { rows, scenario }
}

/// A moment of the run: by its journal, so that it does not depend on how fast things go.
fn moment(rng: &mut Rng) -> When {
    When::Journal(rng.below(480) as usize)
}

/// Version that some hop of the upgrade leads to.
fn new_version(scenario: &Scenario, rng: &mut Rng) -> String {
    let path: &[&str] = match (scenario.from.as_str(), scenario.to.as_str()) {
        ("1.0.0", "2.0.0") => &["1.1.1", "1.1.0", "2.0.0"],
        ("1.1.0", "3.0.0") => &["2.0.0", "3.0.0"],
        _ => &[],
    };
    if path.is_empty() {
        scenario.to.clone()
    } else {
        (*rng.pick(path)).to_owned()
    }
}

fn inject(row: &str, scenario: &mut Scenario, rng: &mut Rng) {
    let host = rng.below(scenario.servers as u64) as usize;
    let other = (host + 1 + rng.below(scenario.servers as u64 - 1) as usize) % scenario.servers;
    let at = moment(rng);
    let (from, to) = (scenario.from.clone(), new_version(scenario, rng));
    let anywhere = if rng.percent(50) { Some(host) } else { None };
    let kill = *rng.pick(&[
        Moment::BeforeRecord,
        Moment::AfterRecord,
        Moment::HalfPerformed,
        Moment::AfterPerforming,
    ]);
    let misbehave = |behaviour: Behaviour| Fault::Misbehaves(anywhere, to.clone(), behaviour);
    let mut add = |at: When, fault: Fault| scenario.faults.push((at, fault));
    let start = When::Journal(0);
    match row {
        "F1" => {
            let again = 1 + rng.below(3);
            for _ in 0..again {
                if rng.percent(40) {
                    add(at, Fault::AllAgentsKilled);
                }
                let back = rng.between(500, 90_000);
                add(moment(rng), Fault::ControllerKilled(kill, Some(back)));
            }
        }
        "F2" => match rng.below(3) {
            0 => add(at, Fault::ControllerKilled(kill, None)),
            1 => add(at, Fault::ControllersCutOff(rng.between(30_000, 600_000))),
            _ => add(at, Fault::HostCutOff(host, rng.between(5_000, 400_000))),
        },
        "F3" => {
            add(at, Fault::HostRebooted(host, rng.between(5_000, 90_000)));
            if rng.percent(30) {
                add(at, Fault::ControllerKilled(Moment::AfterPerforming, None));
            }
        }
        "F4" => {
            add(start, Fault::Noise(rng.below(12), rng.below(15), rng.below(15)));
            if rng.percent(40) {
                add(
                    at,
                    Fault::SecondController {
                        fork: rng.percent(50),
                    },
                );
            }
        }
        "F5" => add(start, misbehave(Behaviour::SlowRecovery(rng.between(4, 40)))),
        "F6" => {
            let back = if rng.percent(60) {
                Some(rng.between(5_000, 120_000))
            } else {
                None
            };
            add(at, Fault::ServerDies(other, back));
        }
        "F7" => (0..=rng.below(4)).for_each(|_| add(moment(rng), Fault::LeaderMoves)),
        "F8" => add(start, Fault::LeaderStays),
        "F9" => {
            add(
                at,
                Fault::ControllerKilled(kill, Some(rng.between(1_000, 300_000))),
            );
            add(at, Fault::AgentKilled(host));
        }
        "F10" => {
            let length = if rng.percent(50) {
                rng.between(300, 4_000)
            } else {
                rng.between(20_000, 60_000)
            };
            add(at, Fault::HostCutOff(host, length));
        }
        "F11" => add(
            start,
            misbehave(*rng.pick(&[
                Behaviour::NeverHealthy,
                Behaviour::DoesNotStart,
                Behaviour::BrokenCodeChange,
            ])),
        ),
        "F12" => {
            add(start, misbehave(Behaviour::NeverHealthy));
            add(
                start,
                Fault::Misbehaves(Some(host), from, Behaviour::DoesNotStart),
            );
        }
        "F13" | "F17" => {
            // The version after the point of no return goes bad late: nothing may roll back over it.
            let late = rng.between(200, 470) as usize;
            add(When::Journal(late), Fault::ServerDies(host, None));
            add(
                start,
                misbehave(Behaviour::CrashesAfter(rng.between(1_000, 60_000))),
            );
        }
        "F14" | "F15" => {
            add(start, Fault::SnapshotSpoilt);
            add(at, Fault::RestoreShort);
        }
        "F16" => add(at, Fault::VerbLies(host)),
        "F18" => add(at, Fault::DiskFull(host, rng.between(2_000, 200_000))),
        "F20" => {
            let early = When::Journal(rng.below(12) as usize);
            add(early, Fault::ControllersCutOff(rng.between(30_000, 300_000)));
        }
        "F22" => {
            add(start, misbehave(Behaviour::NeverHealthy));
            add(start, Fault::ConfigCustomised(host));
        }
        "F24" => add(start, Fault::ConversionTakes(rng.between(1_000, 50_000))),
        "F25" => add(start, misbehave(Behaviour::WipesAccounts)),
        "F27" => {
            let jump = rng.between(0, 1_200_000) as i64 - 600_000;
            add(at, Fault::ClockJumps(host, jump));
            if rng.percent(50) {
                add(at, Fault::HostRebooted(host, rng.between(5_000, 40_000)));
            }
        }
        "F30" => match rng.below(3) {
            0 => add(start, misbehave(Behaviour::LiesAboutVersion)),
            1 => add(start, misbehave(Behaviour::IgnoresTerm)),
            _ => (0..=rng.below(2)).for_each(|_| add(moment(rng), Fault::VerbLies(host))),
        },
        _ => {}
    }
    if rng.percent(6) {
        // An operator who changes their mind, or who is content, after the run.
        let word = rng
            .pick(&[OperatorCommand::Rollback, OperatorCommand::Finalize])
            .clone();
        add(When::At(rng.between(150_000, 500_000)), Fault::Operator(word));
    }
    if rng.percent(5) {
        let word = rng
            .pick(&[OperatorCommand::Pause, OperatorCommand::Abort])
            .clone();
        let paused = word == OperatorCommand::Pause;
        let when = rng.between(10_000, 70_000);
        add(When::At(when), Fault::Operator(word));
        if paused {
            add(
                When::At(when + rng.between(1_000, 60_000)),
                Fault::Operator(OperatorCommand::Resume),
            );
        }
    }
}

/// Runs a seed.
pub fn run(seed: u64, profile: &Profile, level: Level) -> (Draw, Summary) {
    let draw = draw(seed);
    let summary = draw.scenario.run_with(profile, level);
    (draw, summary)
}

/// What is wrong with the result, if anything is.
pub fn verdict(draw: &Draw, summary: &Summary) -> Option<String> {
    if let Some(violation) = summary.violations.first() {
        return Some(format!(
            "promise {} at {} ms: {}",
            violation.promise, violation.at, violation.what
        ));
    }
    let harmless = draw.scenario.faults.is_empty();
    let good = matches!(summary.outcome, Some(Outcome::Upgraded)) || !draw.scenario.consent;
    (harmless && !good).then(|| format!("nothing goes wrong, and yet it ends as {:?}", summary.outcome))
}

/// The strategies that the hops of an upgrade use.
pub fn strategies(from: &str, to: &str) -> Vec<Strategy> {
    match (from, to) {
        ("1.0.0", "1.0.1") => vec![Strategy::Hot],
        ("1.1.0", "2.0.0") => vec![Strategy::Switch],
        ("2.0.0", "3.0.0") => vec![Strategy::Rebuild],
        ("1.0.0", "2.0.0") => vec![Strategy::Rolling, Strategy::Switch],
        ("1.1.0", "3.0.0") => vec![Strategy::Switch, Strategy::Rebuild],
        _ => vec![Strategy::Rolling],
    }
}
