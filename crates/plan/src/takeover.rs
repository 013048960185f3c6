//! Ending a run whose journal is lost, from what the hosts know: which way, and what came of it.
//!
//! Every guard holds the rollback of its server, so that all servers of a hop can be brought back without the plan. The one
//! exception is a run that had decided to stay: then a part of its guards is disarmed, none has fired, and every server runs
//! the new version. Past the point of no return guards stand down by themselves, and what is left is a new upgrade.

use std::collections::BTreeMap;

use upshift_model::action::GuardStatus;
use upshift_model::runs::{HostGuard, HostRun, HostRuns};

/// What is done to end the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// The guards of this hop bring these hosts back.
    RollBack {
        /// Position of the hop.
        hop: u32,
        /// The hosts.
        hosts: Vec<String>,
    },
    /// The new version stays: the guards that still stand on these hosts are disarmed.
    Stay {
        /// Position of the hop.
        hop: u32,
        /// The hosts.
        hosts: Vec<String>,
    },
    /// No guard holds anything: it is only observed what runs.
    Observe,
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every server was observed to run this version.
    All {
        /// The version.
        version: String,
        /// Whether it differs from the version before the run.
        changed: bool,
    },
    /// Servers run different versions, or some could not be observed.
    Mixed {
        /// What each runs.
        versions: String,
    },
}

/// The versions that servers were observed to run; nothing where that could not be read.
pub type Versions = BTreeMap<String, Option<String>>;

fn of_run<'a>(
    run: &'a str,
    hosts: &'a BTreeMap<String, HostRuns>,
) -> impl Iterator<Item = (&'a String, &'a HostRun)> {
    hosts.iter().flat_map(move |(host, known)| {
        let mine = known.runs.iter().filter(move |known| known.run == run);
        mine.map(move |known| (host, known))
    })
}

/// The versions before and after each hop, where a host wrote them down.
fn hops<'a>(run: &'a str, hosts: &'a BTreeMap<String, HostRuns>) -> &'a [(String, String)] {
    of_run(run, hosts)
        .find_map(|(_, known)| known.note.as_ref())
        .map_or(&[], |note| &note.hops)
}

/// What ends the run.
pub fn course(run: &str, hosts: &BTreeMap<String, HostRuns>, versions: &Versions) -> Course {
    let guards: Vec<(&String, &HostGuard)> = of_run(run, hosts)
        .flat_map(|(host, known)| known.guards.iter().map(move |guard| (host, guard)))
        .collect();
    let Some(hop) = guards.iter().map(|(_, guard)| guard.hop).max() else {
        return Course::Observe;
    };
    let newest: Vec<_> = guards.into_iter().filter(|(_, guard)| guard.hop == hop).collect();
    let any = |is: fn(&GuardStatus) -> bool| newest.iter().any(|(_, guard)| is(&guard.status));
    let fired = any(|status| {
        matches!(
            status,
            GuardStatus::Firing | GuardStatus::RolledBack | GuardStatus::Failed { .. }
        )
    });
    let to = hops(run, hosts).get(hop as usize).map(|(_, to)| to);
    let all_new = to.is_some_and(|to| {
        !versions.is_empty() && versions.values().all(|version| version.as_ref() == Some(to))
    });
    let decided = any(|status| *status == GuardStatus::Disarmed) && !fired && all_new;
    if decided || any(|status| *status == GuardStatus::StoodDown) {
        let standing = newest.iter().filter(|(_, guard)| guard.stands());
        return Course::Stay {
            hop,
            hosts: standing.map(|(host, _)| (*host).clone()).collect(),
        };
    }
    let able = newest.iter().filter(|(_, guard)| guard.can_roll_back);
    let hosts: Vec<String> = able.map(|(host, _)| (*host).clone()).collect();
    match hosts.is_empty() {
        true => Course::Observe,
        false => Course::RollBack { hop, hosts },
    }
}

/// Whether a guard of the hop is still at work.
pub fn under_way(run: &str, hop: u32, hosts: &BTreeMap<String, HostRuns>) -> Vec<String> {
    let working = of_run(run, hosts).filter(|(_, known)| {
        known
            .guards
            .iter()
            .any(|guard| guard.hop == hop && guard.stands())
    });
    working.map(|(host, _)| host.clone()).collect()
}

/// The hosts whose guard could not bring its server back, with the reasons.
pub fn failures(run: &str, hop: u32, hosts: &BTreeMap<String, HostRuns>) -> Vec<(String, String)> {
    let mut failures = Vec::new();
    for (host, known) in of_run(run, hosts) {
        for guard in known.guards.iter().filter(|guard| guard.hop == hop) {
            if let GuardStatus::Failed { reason } = &guard.status {
                failures.push((host.clone(), reason.clone()));
            }
        }
    }
    failures
}

/// What came of it, by what was observed on every server.
pub fn verdict(run: &str, hosts: &BTreeMap<String, HostRuns>, versions: &Versions) -> Verdict {
    let mut seen = versions.values();
    let first = seen.next().cloned().flatten();
    match first {
        Some(version) if seen.all(|other| other.as_ref() == Some(&version)) => {
            let before = hops(run, hosts).first().map(|(from, _)| from);
            let changed = before.is_none_or(|from| *from != version);
            Verdict::All { version, changed }
        }
        _ => Verdict::Mixed {
            versions: versions
                .iter()
                .map(|(host, version)| {
                    let version = version.as_deref().unwrap_or("unknown");
                    format!("{host}: {version}")
                })
                .collect::<Vec<_>>()
                .join(", "),
        },
    }
}

#[cfg(test)]
mod tests {
    use upshift_model::Millis;
    use upshift_model::runs::{RunNote, RunState};

    use super::*;

    fn fleet(statuses: &[GuardStatus]) -> BTreeMap<String, HostRuns> {
        let note = RunNote {
            run: "r".to_owned(),
            fleet: "f".to_owned(),
            product: "lab".to_owned(),
            token: 1,
            by: "ann@desk".to_owned(),
            began_ms: 1,
            hops: vec![("1".to_owned(), "2".to_owned())],
            state: RunState::Open,
        };
        let hosts = statuses.iter().enumerate().map(|(number, status)| {
            let run = HostRun {
                run: "r".to_owned(),
                fleet: "f".to_owned(),
                note: Some(note.clone()),
                guards: vec![HostGuard {
                    hop: 0,
                    status: status.clone(),
                    can_roll_back: true,
                }],
            };
            let known = HostRuns {
                runs: vec![run],
                ..HostRuns::default()
            };
            (format!("h{number}"), known)
        });
        hosts.collect()
    }

    fn versions(of: &[&str]) -> Versions {
        of.iter()
            .enumerate()
            .map(|(number, version)| (format!("h{number}"), Some((*version).to_owned())))
            .collect()
    }

    const ARMED: GuardStatus = GuardStatus::Armed {
        remaining: Millis(1000),
    };

    fn back(hosts: &[&str]) -> Course {
        Course::RollBack {
            hop: 0,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        }
    }

    #[test]
    fn a_run_that_had_not_decided_is_rolled_back() {
        let hosts = fleet(&[ARMED, ARMED]);
        assert_eq!(course("r", &hosts, &versions(&["2", "2"])), back(&["h0", "h1"]));
        let fired = fleet(&[GuardStatus::RolledBack, GuardStatus::Disarmed]);
        assert_eq!(course("r", &fired, &versions(&["1", "2"])), back(&["h0", "h1"]));
    }

    #[test]
    fn a_held_run_is_rolled_back_by_guards_that_were_disarmed() {
        let hosts = fleet(&[GuardStatus::Disarmed, GuardStatus::Disarmed]);
        assert_eq!(course("r", &hosts, &versions(&["2", "1"])), back(&["h0", "h1"]));
    }

    #[test]
    fn a_run_in_doubt_stays_only_where_every_server_runs_the_new_version() {
        let hosts = fleet(&[GuardStatus::Disarmed, ARMED]);
        let stay = Course::Stay {
            hop: 0,
            hosts: vec!["h1".to_owned()],
        };
        assert_eq!(course("r", &hosts, &versions(&["2", "2"])), stay);
        assert_eq!(course("r", &hosts, &versions(&["2", "1"])), back(&["h0", "h1"]));
        let unknown = Versions::from([("h0".to_owned(), Some("2".to_owned())), ("h1".to_owned(), None)]);
        assert_eq!(course("r", &hosts, &unknown), back(&["h0", "h1"]));
    }

    #[test]
    fn past_the_point_of_no_return_nothing_is_taken_back() {
        let hosts = fleet(&[GuardStatus::StoodDown, ARMED]);
        let course = course("r", &hosts, &versions(&["2", "1"]));
        assert!(matches!(course, Course::Stay { .. }), "{course:?}");
    }

    #[test]
    fn unknown_is_not_the_same_version() {
        let hosts = fleet(&[ARMED, ARMED]);
        let all = verdict("r", &hosts, &versions(&["1", "1"]));
        assert_eq!(
            all,
            Verdict::All {
                version: "1".to_owned(),
                changed: false
            }
        );
        let none: Versions = [("h0".to_owned(), None), ("h1".to_owned(), None)].into();
        let mixed = verdict("r", &hosts, &none);
        assert_eq!(
            mixed,
            Verdict::Mixed {
                versions: "h0: unknown, h1: unknown".to_owned()
            }
        );
        assert!(matches!(
            verdict("r", &hosts, &Versions::new()),
            Verdict::Mixed { .. }
        ));
    }
}
