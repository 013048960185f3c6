//! Whether another run stands in the way, by what the hosts know: one run per fleet, in whichever journal it is.

use std::collections::{BTreeMap, BTreeSet};

use upshift_model::runs::{HostRun, HostRuns, RunNote, RunState};

use crate::refusal::Refusals;
use crate::types::Refusal;

/// What the hosts of a fleet know of runs, and what this machine's journal does.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Name of the fleet.
    pub fleet: &'a str,
    /// Short name of the product.
    pub product: &'a str,
    /// What each host that answered knows.
    pub hosts: &'a BTreeMap<String, HostRuns>,
    /// The runs of this machine's journal, and whether each has not ended.
    pub journal: &'a BTreeMap<String, bool>,
}

impl<'a> Known<'a> {
    /// The runs on this fleet or product that some host knows of, with the hosts.
    fn runs(&self) -> BTreeMap<&'a str, Vec<(&'a String, &'a HostRun)>> {
        let mut runs: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (host, known) in self.hosts {
            for run in &known.runs {
                let same_product = |note: &RunNote| note.product == self.product;
                if run.fleet == self.fleet || run.note.as_ref().is_some_and(same_product) {
                    runs.entry(&run.run).or_default().push((host, run));
                }
            }
        }
        runs
    }

    /// Why no run may begin now. Hosts tell of runs that this journal does not know, and of guards that still stand.
    pub fn bars_a_new_run(&self) -> Vec<Refusal> {
        let mut refusals = Refusals::default();
        for (run, seen) in self.runs() {
            self.judge(run, &seen, &mut refusals);
        }
        refusals.into_sorted()
    }

    /// Why nothing may be done to a run of this journal now: another one on its fleet has not ended, or hosts know of a later one.
    /// `ended` says that the run itself has ended, so that a later one counts that has ended, too.
    pub fn bars_run(&self, run: &str, began_ms: u64, ended: bool) -> Vec<Refusal> {
        let mut refusals = Refusals::default();
        for (other, seen) in self.runs() {
            if other == run {
                continue;
            }
            let newer = |note: &&RunNote| note.began_ms > began_ms && changed(note);
            let later = seen.iter().filter_map(|(_, run)| run.note.as_ref()).find(newer);
            match later {
                Some(note) if ended && !self.journal.contains_key(other) => {
                    for (host, _) in &seen {
                        refusals.add_host(
                            "newer-run",
                            host,
                            format!(
                                "the run {other} of {} has changed this fleet since {run}, and only the newest run can be \
                                 rolled back or finalized",
                                note.by
                            ),
                            format!("do it where the journal of {other} is"),
                        );
                    }
                }
                _ => self.judge(other, &seen, &mut refusals),
            }
        }
        refusals.into_sorted()
    }

    fn judge(&self, run: &str, seen: &[(&String, &HostRun)], refusals: &mut Refusals) {
        if seen.iter().any(|(_, at_host)| closed(at_host).is_some()) && !stands(seen) {
            return;
        }
        let own = self.journal.get(run);
        for (host, at_host) in seen {
            let stands = at_host.guard_stands();
            match own {
                Some(true) if at_host.is_open() => refusals.add_host(
                    "run-open",
                    host,
                    format!("the run {run} has not ended"),
                    format!("`upshift why {run}` says what it waits for and what leads to its end"),
                ),
                Some(false) if stands => refusals.add_host(
                    "guard-stands",
                    host,
                    format!("a guard of the run {run} stands, although that run has ended"),
                    format!(
                        "`upshift resume {run} --from-hosts` lets the guards bring their servers back, and proves it"
                    ),
                ),
                None if at_host.is_open() => {
                    let by = at_host.note.as_ref().map(|note| format!(" of {}", note.by));
                    let guard = if stands { "; a guard of it stands here" } else { "" };
                    refusals.add_host(
                        "foreign-run",
                        host,
                        format!(
                            "the run {run}{} has not ended, and is not in this machine's journal{guard}",
                            by.unwrap_or_default()
                        ),
                        format!(
                            "end it where its journal is (`upshift why {run}` there); where that is lost: \
                             `upshift resume {run} --from-hosts`"
                        ),
                    );
                }
                _ => {}
            }
        }
    }
}

fn stands(seen: &[(&String, &HostRun)]) -> bool {
    seen.iter().any(|(_, at_host)| at_host.guard_stands())
}

/// Whether a run has left servers on another version, or may have.
fn changed(note: &RunNote) -> bool {
    match &note.state {
        RunState::Open | RunState::Held { .. } => true,
        RunState::Ended { changed, .. } | RunState::Closed { changed, .. } => *changed,
    }
}

/// What a host wrote down where a controller has ended the run from the hosts' records.
fn closed(run: &HostRun) -> Option<&RunState> {
    let state = &run.note.as_ref()?.state;
    matches!(state, RunState::Closed { .. }).then_some(state)
}

/// How a run was ended from the hosts' records, and by whom, where it was.
pub fn closed_by<'a>(run: &str, hosts: &'a BTreeMap<String, HostRuns>) -> Option<(&'a str, &'a str)> {
    let runs = hosts.values().flat_map(|known| &known.runs);
    runs.filter(|known| known.run == run)
        .find_map(|known| match closed(known)? {
            RunState::Closed { outcome, by, .. } => Some((outcome.as_str(), by.as_str())),
            _ => None,
        })
}

/// The runs that hosts know of and that have not ended as far as any of them knows; those that were closed have.
pub fn open_runs(hosts: &BTreeMap<String, HostRuns>) -> BTreeSet<&str> {
    let all = || hosts.values().flat_map(|known| &known.runs);
    let mut open: BTreeSet<&str> = all()
        .filter(|run| run.is_open())
        .map(|run| run.run.as_str())
        .collect();
    for run in all().filter(|run| closed(run).is_some()) {
        let standing = all().any(|other| other.run == run.run && other.guard_stands());
        if !standing {
            open.remove(run.run.as_str());
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use upshift_model::Millis;
    use upshift_model::action::GuardStatus;
    use upshift_model::runs::HostGuard;

    use super::*;

    fn at_host(run: &str, began_ms: u64, state: RunState, guard: Option<GuardStatus>) -> HostRun {
        HostRun {
            run: run.to_owned(),
            fleet: "f".to_owned(),
            note: Some(RunNote {
                run: run.to_owned(),
                fleet: "f".to_owned(),
                product: "lab".to_owned(),
                token: 1,
                by: "ann@desk".to_owned(),
                began_ms,
                hops: vec![("1".to_owned(), "2".to_owned())],
                state,
            }),
            guards: guard
                .map(|status| HostGuard {
                    hop: 0,
                    status,
                    can_roll_back: true,
                })
                .into_iter()
                .collect(),
        }
    }

    fn hosts(runs: Vec<HostRun>) -> BTreeMap<String, HostRuns> {
        let known = HostRuns {
            runs,
            ..HostRuns::default()
        };
        [("h1".to_owned(), known)].into()
    }

    fn codes(hosts: &BTreeMap<String, HostRuns>, journal: &[(&str, bool)], run: Option<&str>) -> Vec<String> {
        let journal = journal
            .iter()
            .map(|(run, open)| ((*run).to_owned(), *open))
            .collect();
        let known = Known {
            fleet: "f",
            product: "lab",
            hosts,
            journal: &journal,
        };
        let refusals = match run {
            None => known.bars_a_new_run(),
            Some(run) => known.bars_run(run, 10, true),
        };
        refusals.into_iter().map(|refusal| refusal.code).collect()
    }

    const ARMED: Option<GuardStatus> = Some(GuardStatus::Armed {
        remaining: Millis(1000),
    });

    #[test]
    fn a_run_of_another_journal_bars_a_new_one_until_it_has_ended() {
        let open = hosts(vec![at_host("a", 1, RunState::Open, ARMED)]);
        assert_eq!(codes(&open, &[], None), ["foreign-run"]);
        assert_eq!(codes(&open, &[("a", true)], None), ["run-open"]);
        assert_eq!(codes(&open, &[("a", false)], None), ["guard-stands"]);
        let ended = RunState::Ended {
            outcome: "upgraded".to_owned(),
            changed: true,
        };
        let ended = hosts(vec![at_host("a", 1, ended, Some(GuardStatus::Disarmed))]);
        assert_eq!(codes(&ended, &[], None), Vec::<String>::new());
    }

    #[test]
    fn a_guard_without_a_note_bars_a_new_run_too() {
        let mut run = at_host("a", 1, RunState::Open, ARMED);
        run.note = None;
        assert_eq!(codes(&hosts(vec![run]), &[], None), ["foreign-run"]);
    }

    #[test]
    fn only_the_newest_run_is_rolled_back_or_finalized() {
        let ended = |changed| RunState::Ended {
            outcome: String::new(),
            changed,
        };
        let later = |changed| hosts(vec![at_host("b", 20, ended(changed), None)]);
        assert_eq!(codes(&later(true), &[("a", false)], Some("a")), ["newer-run"]);
        assert!(codes(&later(false), &[("a", false)], Some("a")).is_empty());
        let earlier = hosts(vec![at_host("b", 5, ended(true), None)]);
        assert!(codes(&earlier, &[("a", false)], Some("a")).is_empty());
        let open = hosts(vec![at_host("b", 5, RunState::Open, None)]);
        assert_eq!(codes(&open, &[("a", false)], Some("a")), ["foreign-run"]);
    }

    #[test]
    fn a_closed_run_bars_nothing_once_no_guard_of_it_stands() {
        let closed = || RunState::Closed {
            outcome: "rolled back to 1".to_owned(),
            by: "bob@laptop".to_owned(),
            at_ms: 3,
            changed: false,
        };
        let seen = hosts(vec![at_host("a", 1, closed(), None)]);
        assert!(codes(&seen, &[], None).is_empty());
        assert_eq!(closed_by("a", &seen), Some(("rolled back to 1", "bob@laptop")));
        assert!(open_runs(&seen).is_empty());
        let standing = hosts(vec![at_host("a", 1, closed(), ARMED)]);
        assert_eq!(codes(&standing, &[], None), ["foreign-run"]);
        assert_eq!(open_runs(&standing), ["a"].into());
    }

    #[test]
    fn another_product_on_the_same_hosts_is_another_matter() {
        let mut run = at_host("a", 1, RunState::Open, ARMED);
        run.fleet = "other".to_owned();
        run.note.as_mut().unwrap().product = "other".to_owned();
        assert!(codes(&hosts(vec![run]), &[], None).is_empty());
    }
}
