//! What a run did, per host, with times: from the run's own record, nothing is estimated.

pub mod html;

use std::collections::BTreeMap;

use serde::Serialize;
use upshift_model::Millis;
use upshift_model::profile::Slot;
use upshift_plan::{Risk, StepKind};
use upshift_run::{Outcome, State, StepTime};

use crate::sight::Sight;
use crate::table::Table;

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the run.
    pub run: String,
    /// Name of the fleet.
    pub fleet: String,
    /// Short name of the product.
    pub product: String,
    /// Version that the run led out of.
    pub from: String,
    /// Version that it led to.
    pub to: String,
    /// `upgraded`, `rolled back`, `held`, …, or `running`.
    pub outcome: String,
    /// Since when no controller drives it, RFC 3339, where it has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_controller_since: Option<String>,
    /// Why, where it is not the outcome that was asked for.
    pub reason: Option<String>,
    /// What an operator can do, where one must decide.
    pub remedies: Vec<String>,
    /// Time from the run's beginning to its latest event.
    pub took_ms: u64,
    /// Risks that operators took upon themselves when the plan was made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<Risk>,
    /// The servers.
    pub hosts: Vec<HostReport>,
    /// Every step, in the order in which they were begun.
    pub steps: Vec<StepTime>,
}

/// What a run did to one server.
#[derive(Clone, Debug, Serialize)]
pub struct HostReport {
    /// Name of the host.
    pub host: String,
    /// Version that it was last proven to run, or is observed to run.
    pub version: String,
    /// Whether that is neither proven by the run's end nor observed since: the hosts may have gone on without a controller.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expected: bool,
    /// What its guard did while no controller drove the run, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
    /// Time from the order to stop until it served again; the sum over all hops, forward and back.
    pub disturbed_ms: u64,
    /// What its own stop and start took of that, until it said itself that it is healthy.
    pub own_ms: u64,
    /// How many steps were begun on it.
    pub steps: usize,
    /// How many connections of clients, and of other servers, rolling back has closed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disconnected: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Report {
    /// The report of a run as far as it has come.
    pub fn of(state: &State) -> Self {
        let view = state.view();
        let (outcome, reason, remedies) = ending(state.outcome());
        let mut steps = state.times();
        steps.sort_by_key(|step| (step.began, step.id));
        let mut by_host: BTreeMap<&str, Vec<&StepTime>> = BTreeMap::new();
        for step in &steps {
            by_host.entry(&step.host).or_default().push(step);
        }
        let hosts = view
            .nodes
            .iter()
            .map(|node| {
                let own = by_host
                    .get(node.name.as_str())
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                HostReport {
                    host: node.name.clone(),
                    version: node.version.clone(),
                    expected: false,
                    guard: None,
                    disturbed_ms: disturbed(own).0,
                    own_ms: own_stop_and_start(own).0,
                    steps: own.len(),
                    disconnected: own.iter().filter_map(|step| step.disconnected).sum(),
                }
            })
            .collect();
        Report {
            run: view.run,
            fleet: state.plan().fleet.clone(),
            product: view.product,
            from: view.from,
            to: if view.to.is_empty() {
                state.plan().request.to.clone()
            } else {
                view.to
            },
            outcome: outcome.to_owned(),
            no_controller_since: None,
            reason,
            remedies,
            took_ms: view.elapsed.0,
            risks: state.plan().risks.clone(),
            hosts,
            steps,
        }
    }

    /// Adds what the hosts say just now, where the journal alone does not say how they are.
    pub fn observe(&mut self, sight: &Sight) {
        self.no_controller_since.clone_from(&sight.no_controller_since);
        for host in &mut self.hosts {
            let Some(seen) = sight.hosts.get(&host.host) else {
                continue;
            };
            host.guard.clone_from(&seen.guard);
            match &seen.version {
                Some(version) => host.version.clone_from(version),
                None => host.expected = true,
            }
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.sentence());
        let mut table = Table::new(["HOST", "VERSION", "DISTURBED", "OWN STOP+START", "RATIO", "STEPS"]);
        for host in &self.hosts {
            table.row(host.cells());
        }
        text.push_str(&table.to_string());
        self.end(&mut text);
        text
    }

    /// For a record that is kept.
    pub fn markdown(&self) -> String {
        let mut text = format!("# Run {}\n\n{}\n\n", self.run, self.sentence());
        text.push_str(
            "| host | version | disturbed | own stop+start | ratio | steps |\n|---|---|---|---|---|---|\n",
        );
        for host in &self.hosts {
            text.push_str(&format!("| {} |\n", host.cells().join(" | ")));
        }
        self.end(&mut text);
        text.push_str("\n| began | took | host | step | result | attempts |\n|---|---|---|---|---|---|\n");
        for step in &self.steps {
            let took = step
                .ended
                .map(|ended| seconds(ended.minus(step.began)))
                .unwrap_or_default();
            text.push_str(&format!(
                "| {} | {took} | {} | {} | {} | {} |\n",
                seconds(step.began),
                step.host,
                step.title,
                step.stage,
                step.attempts
            ));
        }
        text
    }

    /// The outcome as one sentence.
    pub fn sentence(&self) -> String {
        if self.from.is_empty() {
            let took = seconds(Millis(self.took_ms));
            return format!(
                "run {}: {} {}: {} after {took}",
                self.run, self.product, self.to, self.outcome
            );
        }
        // Only `adopt --services` leads from a version to itself.
        if self.from == self.to {
            let took = seconds(Millis(self.took_ms));
            let what = "services onto the release store";
            let outcome = if self.outcome == "upgraded" {
                "done"
            } else {
                &self.outcome
            };
            return format!(
                "run {}: {} {}, {what}: {outcome} after {took}",
                self.run, self.product, self.from
            );
        }
        format!(
            "run {}: {} {} → {}: {} after {}",
            self.run,
            self.product,
            self.from,
            self.to,
            self.outcome,
            seconds(Millis(self.took_ms))
        )
    }

    fn end(&self, text: &mut String) {
        if let Some(since) = &self.no_controller_since {
            text.push_str(&format!("\nno controller drives it since {since}\n"));
        }
        for (host, guard) in self
            .hosts
            .iter()
            .filter_map(|host| Some((&host.host, host.guard.as_ref()?)))
        {
            text.push_str(&format!("\n{host}: {guard}\n"));
        }
        let lost: Vec<String> = self
            .hosts
            .iter()
            .filter(|host| host.disconnected > 0)
            .map(|host| format!("{} of {}", host.disconnected, host.host))
            .collect();
        if !lost.is_empty() {
            let sum: u64 = self.hosts.iter().map(|host| host.disconnected).sum();
            text.push_str(&format!(
                "\nrolling back has closed {sum} connections of clients and of other servers: {}\n",
                lost.join(", ")
            ));
        }
        for risk in &self.risks {
            text.push_str(&format!("\n{}\n", risk.words()));
        }
        if let Some(reason) = &self.reason {
            text.push_str(&format!("\nwhy: {reason}\n"));
        }
        for remedy in &self.remedies {
            text.push_str(&format!("next: {remedy}\n"));
        }
    }
}

impl HostReport {
    fn cells(&self) -> [String; 6] {
        let ratio = match self.own_ms {
            0 => "-".to_owned(),
            own => format!("{:.2}", self.disturbed_ms as f64 / own as f64),
        };
        [
            self.host.clone(),
            match self.expected {
                true => format!("{} (expected)", self.version),
                false => self.version.clone(),
            },
            seconds(Millis(self.disturbed_ms)),
            seconds(Millis(self.own_ms)),
            ratio,
            self.steps.to_string(),
        ]
    }
}

/// A length of time as people read it.
pub fn seconds(time: Millis) -> String {
    match time.0 {
        0 => "0 s".to_owned(),
        short @ ..10_000 => format!("{:.2} s", short as f64 / 1000.0),
        medium @ ..120_000 => format!("{:.1} s", medium as f64 / 1000.0),
        long => format!("{} m {:02} s", long / 60_000, long % 60_000 / 1000),
    }
}

/// The word for an outcome, why, and what can be done.
pub fn ending(outcome: Option<&Outcome>) -> (&'static str, Option<String>, Vec<String>) {
    match outcome {
        None => ("running", None, Vec::new()),
        Some(Outcome::Upgraded) => ("upgraded", None, Vec::new()),
        Some(Outcome::Prepared) => ("prepared", None, Vec::new()),
        Some(Outcome::Finalized) => ("finalized", None, Vec::new()),
        Some(Outcome::Refused { reason }) => ("refused", Some(reason.clone()), Vec::new()),
        Some(Outcome::RolledBack { reason, .. }) => ("rolled back", Some(reason.clone()), Vec::new()),
        Some(Outcome::Held { reason, remedies }) => ("held", Some(reason.clone()), remedies.clone()),
        Some(Outcome::EndedAsIs { reason }) => ("ended as it was", Some(reason.clone()), Vec::new()),
        Some(Outcome::Superseded { token }) => (
            "superseded",
            Some(format!(
                "another controller has taken the fleet over (token {token})"
            )),
            vec![
                "what becomes of the run is decided there; `upshift status` observes the servers from here"
                    .to_owned(),
            ],
        ),
        Some(Outcome::EndedElsewhere { by, how }) => (
            "ended elsewhere",
            Some(format!("{by} ended it from the hosts' records: {how}")),
            Vec::new(),
        ),
    }
}

/// Steps between the order to stop a server and the proof that it serves again.
fn disturbs(kind: StepKind, serving: Slot) -> Option<(Slot, bool)> {
    let (slot, back) = match kind {
        StepKind::Do(slot) => (slot, false),
        StepKind::Undo(slot) => (slot, true),
        StepKind::Distribute | StepKind::Unpack | StepKind::Arm => return None,
    };
    let inside = matches!(
        slot,
        Slot::Stop
            | Slot::BackUp
            | Slot::Switch
            | Slot::Install
            | Slot::MigrateConfig
            | Slot::FreshData
            | Slot::OldData
            | Slot::Restore
            | Slot::Start
            | Slot::Load
            | Slot::Uninstall
    );
    (inside || slot == serving).then_some((slot, back))
}

/// The slot whose proof shows that a server serves again: `rejoin`, or `recover` for products that prove nothing sooner.
fn serving(steps: &[&StepTime]) -> Slot {
    let rejoins = |step: &&StepTime| {
        matches!(
            step.kind,
            StepKind::Do(Slot::Rejoin) | StepKind::Undo(Slot::Rejoin)
        )
    };
    if steps.iter().any(rejoins) {
        Slot::Rejoin
    } else {
        Slot::Recover
    }
}

/// The time in which one server was disturbed: each way forward or back counts from its first disturbing step to its last.
fn disturbed(steps: &[&StepTime]) -> Millis {
    let mut total = Millis::ZERO;
    let mut span: Option<(bool, Millis, Millis)> = None;
    let serving = serving(steps);
    for step in steps.iter().filter(|step| step.stage != "skipped") {
        let Some((slot, back)) = disturbs(step.kind, serving) else {
            continue;
        };
        let ended = step.ended.unwrap_or(step.began);
        let begins = slot == Slot::Stop || span.is_none_or(|(direction, ..)| direction != back);
        if begins {
            total = span.map_or(total, |(_, from, until)| total.plus(until.minus(from)));
            span = Some((back, step.began, ended));
        } else if let Some((_, _, until)) = &mut span {
            *until = ended.max(*until);
        }
    }
    span.map_or(total, |(_, from, until)| total.plus(until.minus(from)))
}

/// What the server's own stopping and starting took, until it serves again.
fn own_stop_and_start(steps: &[&StepTime]) -> Millis {
    let serving = serving(steps);
    let own = |step: &&&StepTime| {
        step.stage != "skipped"
            && matches!(
                disturbs(step.kind, serving),
                Some((slot, _)) if matches!(slot, Slot::Stop | Slot::Start | Slot::Install | Slot::Uninstall) || slot == serving
            )
    };
    steps
        .iter()
        .filter(own)
        .filter_map(|step| Some(step.ended?.minus(step.began)))
        .fold(Millis::ZERO, Millis::plus)
}

#[cfg(test)]
mod tests {
    use upshift_plan::StepId;

    use super::*;

    fn step(kind: StepKind, began: u64, ended: u64) -> StepTime {
        StepTime {
            id: StepId(began as u32),
            host: "n1".to_owned(),
            kind,
            title: String::new(),
            stage: "done".to_owned(),
            began: Millis(began),
            ended: Some(Millis(ended)),
            attempts: 1,
            disconnected: None,
        }
    }

    #[test]
    fn a_server_is_disturbed_from_its_stop_until_it_serves_again() {
        let steps = [
            step(StepKind::Do(Slot::Gate), 0, 50),
            step(StepKind::Do(Slot::Stop), 100, 150),
            step(StepKind::Do(Slot::Start), 160, 300),
            step(StepKind::Do(Slot::Rejoin), 310, 400),
            step(StepKind::Do(Slot::Recover), 400, 900),
        ];
        let all: Vec<&StepTime> = steps.iter().collect();
        assert_eq!(disturbed(&all), Millis(300));
        assert_eq!(own_stop_and_start(&all), Millis(280));
        // Without a proof of its own for that, the proof that it has caught up is the first to show it.
        let late: Vec<&StepTime> = all.into_iter().filter(|step| step.began.0 != 310).collect();
        assert_eq!(disturbed(&late), Millis(800));
        assert_eq!(own_stop_and_start(&late), Millis(690));
    }

    #[test]
    fn the_rollback_counts_for_itself() {
        let steps = [
            step(StepKind::Do(Slot::Stop), 100, 150),
            step(StepKind::Do(Slot::Start), 160, 300),
            step(StepKind::Undo(Slot::Stop), 1000, 1010),
            step(StepKind::Undo(Slot::Start), 1010, 1100),
        ];
        let steps: Vec<&StepTime> = steps.iter().collect();
        assert_eq!(disturbed(&steps), Millis(200 + 100));
    }

    #[test]
    fn times_are_printed_as_people_read_them() {
        let printed: Vec<String> = [0, 84, 12_340, 150_000].map(|time| seconds(Millis(time))).into();
        assert_eq!(printed, ["0 s", "0.08 s", "12.3 s", "2 m 30 s"]);
    }
}
