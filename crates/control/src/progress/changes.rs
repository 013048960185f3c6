//! What is new between two looks at a run.

use std::collections::BTreeMap;

use serde::Serialize;
use upshift_model::Millis;
use upshift_plan::StepId;
use upshift_run::{Outcome, State, StepTime, StepView, View};

/// Something new.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Change {
    /// Another phase.
    Phase {
        /// Which.
        phase: String,
    },
    /// The run rolls back.
    RollingBack {
        /// Why.
        reason: String,
    },
    /// The new version stays, and not every guard is known to be disarmed; or no longer so.
    InDoubt {
        /// Whether it is so.
        in_doubt: bool,
    },
    /// A step was begun.
    Began {
        /// Name of the host.
        host: String,
        /// Number of the step.
        step: StepId,
        /// What is done.
        title: String,
    },
    /// A step waits for something, or for something else than before.
    Waiting {
        /// Name of the host.
        host: String,
        /// Number of the step.
        step: StepId,
        /// For what.
        waiting: String,
    },
    /// A step is tried again.
    Again {
        /// Name of the host.
        host: String,
        /// Number of the step.
        step: StepId,
        /// What is done.
        title: String,
        /// Which attempt it is now.
        attempt: u32,
    },
    /// A step has ended.
    Ended {
        /// Name of the host.
        host: String,
        /// Number of the step.
        step: StepId,
        /// What was done.
        title: String,
        /// `done`, `skipped`, `failed` or `went on without`.
        result: String,
        /// How long it took.
        took: Millis,
    },
    /// The run has ended, or rests.
    Outcome {
        /// How.
        outcome: Outcome,
    },
}

/// Tells what is new from look to look.
#[derive(Debug, Default)]
pub struct Changes {
    last: Option<View>,
}

impl Changes {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        Changes::default()
    }

    /// What is new since the last look.
    pub fn since(&mut self, view: &View, state: &State) -> Vec<Change> {
        let last = self.last.replace(view.clone());
        let mut changes = Vec::new();
        ended_steps(last.as_ref(), view, state, &mut changes);
        let is_new = |same: fn(&View, &View) -> bool| last.as_ref().is_none_or(|last| !same(last, view));
        if view.rolling_back && is_new(|a, b| a.rolling_back == b.rolling_back) {
            changes.push(Change::RollingBack {
                reason: reason_to_roll_back(view),
            });
        }
        if is_new(|a, b| a.phase == b.phase) && view.outcome.is_none() {
            changes.push(Change::Phase {
                phase: view.phase.clone(),
            });
        }
        if last.as_ref().is_some_and(|last| last.in_doubt) != view.in_doubt {
            changes.push(Change::InDoubt {
                in_doubt: view.in_doubt,
            });
        }
        current_steps(last.as_ref(), view, &mut changes);
        if let Some(outcome) = &view.outcome
            && is_new(|a, b| a.outcome == b.outcome)
        {
            changes.push(Change::Outcome {
                outcome: outcome.clone(),
            });
        }
        changes
    }
}

fn reason_to_roll_back(view: &View) -> String {
    let found = view
        .why
        .iter()
        .find_map(|why| why.what.strip_prefix("rolling back, because "));
    found.unwrap_or("it was asked for").to_owned()
}

fn step_of(view: Option<&View>, position: usize) -> Option<&StepView> {
    view?.nodes.get(position)?.step.as_ref()
}

/// Steps that were under way and are not any more.
fn ended_steps(last: Option<&View>, view: &View, state: &State, changes: &mut Vec<Change>) {
    let gone: Vec<(&str, &StepView)> = view
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(position, node)| {
            let before = step_of(last, position)?;
            let same = node.step.as_ref().is_some_and(|now| now.id == before.id);
            (!same).then_some((node.name.as_str(), before))
        })
        .collect();
    if gone.is_empty() {
        return;
    }
    let times: BTreeMap<StepId, StepTime> = state.times().into_iter().map(|time| (time.id, time)).collect();
    for (host, step) in gone {
        let time = times.get(&step.id);
        let took = time
            .and_then(|time| Some(time.ended?.minus(time.began)))
            .unwrap_or(step.since);
        let result = time.map_or("ended", |time| time.stage.as_str()).to_owned();
        changes.push(Change::Ended {
            host: host.to_owned(),
            step: step.id,
            title: step.title.clone(),
            result,
            took,
        });
    }
}

/// What is being waited for, without the evidence in brackets, which changes from look to look.
fn subject(waiting: &str) -> &str {
    waiting.split_once(" (").map_or(waiting, |(subject, _)| subject)
}

/// Steps that have begun, wait for something else, or are tried again.
fn current_steps(last: Option<&View>, view: &View, changes: &mut Vec<Change>) {
    for (position, node) in view.nodes.iter().enumerate() {
        let Some(step) = &node.step else { continue };
        let host = || node.name.clone();
        let before = step_of(last, position).filter(|before| before.id == step.id);
        match before {
            None => changes.push(Change::Began {
                host: host(),
                step: step.id,
                title: step.title.clone(),
            }),
            Some(before) if step.attempt > before.attempt && before.attempt > 0 => {
                changes.push(Change::Again {
                    host: host(),
                    step: step.id,
                    title: step.title.clone(),
                    attempt: step.attempt,
                })
            }
            Some(_) => {}
        }
        let heard = before.is_some_and(|before| subject(&before.waiting) == subject(&step.waiting));
        if !step.waiting.is_empty() && !heard {
            changes.push(Change::Waiting {
                host: host(),
                step: step.id,
                waiting: step.waiting.clone(),
            });
        }
    }
}
