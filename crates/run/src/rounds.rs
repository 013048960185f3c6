//! Rounds of looking: a probe is asked on some servers, and the answers are judged together.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use upshift_model::expr::Scope;
use upshift_model::probe::{Observation, Probe, ProbeFailure};
use upshift_model::profile::At;
use upshift_model::{Millis, expr, template};
use upshift_plan::{NodeIndex, Plan, PlanProof};

use crate::context::{self, Names};
use crate::event::{AskId, Effect};
use crate::state::{Asker, Round, State};

/// How long an answer may take beyond the probe's own time limit before the round counts as failed.
const PATIENCE: Millis = Millis::seconds(10);

/// What a round is about.
pub(crate) struct Question<'a> {
    pub(crate) proof: &'a PlanProof,
    pub(crate) names: Names<'a>,
    pub(crate) hop: u32,
    /// The server of the step; every server where there is none.
    pub(crate) node: Option<NodeIndex>,
    /// Servers that `others` leaves out.
    pub(crate) window: &'a [NodeIndex],
    pub(crate) bindings: &'a BTreeMap<String, Value>,
    pub(crate) output: &'a Value,
}

/// What a round showed.
pub(crate) struct Verdict {
    pub(crate) holds: bool,
    /// What is being waited for, where it does not hold.
    pub(crate) waiting: String,
    /// How far it has come, where the proof says.
    pub(crate) progress: Option<f64>,
    /// What was seen at every server that answered, by its name.
    pub(crate) values: Value,
    /// Servers for which the expression held, those for which it did not, and those that gave no answer.
    pub(crate) yes: u32,
    pub(crate) no: u32,
    /// Servers whose host answered that the probe could not be done: nobody listens there, for instance.
    pub(crate) cannot: u32,
}

impl Question<'_> {
    fn targets(&self, plan: &Plan) -> Vec<NodeIndex> {
        let all = || (0..plan.nodes.len() as u32).map(NodeIndex);
        match (self.proof.at, self.node) {
            (At::Node | At::LoadBalancer, Some(node)) => vec![node],
            (At::Node | At::All | At::LoadBalancer, _) => all().collect(),
            (At::Others, _) => all().filter(|node| !self.window.contains(node)).collect(),
        }
    }

    /// The host on which it is observed, where that is not the server itself.
    fn host(&self) -> Option<String> {
        let balancer = self.names.balancer.filter(|_| self.proof.at == At::LoadBalancer);
        balancer.map(str::to_owned)
    }

    fn context(&self, state: &State, node: NodeIndex) -> Value {
        context::context(&state.plan, &state.run, self.hop, node, self.names, self.bindings)
    }

    /// What is being waited for, as far as these names fill it in.
    fn waiting(&self, names: &Value) -> String {
        template::render_text(&self.proof.waiting, names)
            .unwrap_or_else(|_| template::abridged(&self.proof.waiting))
    }

    /// Judges a finished round.
    fn judge(&self, state: &State, seen: &BTreeMap<NodeIndex, Observation>) -> Verdict {
        let plan = &state.plan;
        let values: Value = Value::Object(
            seen.iter()
                .filter_map(|(node, observation)| {
                    Some((plan.node(*node).name.clone(), observation.as_ref().ok()?.clone()))
                })
                .collect::<Map<_, _>>(),
        );
        let mut verdict = Verdict {
            holds: true,
            waiting: String::new(),
            progress: None,
            values: Value::Null,
            yes: 0,
            no: 0,
            cannot: 0,
        };
        for (node, observation) in seen {
            let name = &plan.node(*node).name;
            match observation {
                Ok(value) => self.judge_one(state, *node, value, &values, &mut verdict),
                Err(failure) => {
                    verdict.cannot += u32::from(matches!(failure, ProbeFailure::Failed(_)));
                    verdict.fail(|| {
                        let waiting = self.waiting(&self.context(state, *node));
                        format!("{waiting} ({name} {})", words(failure))
                    });
                }
            }
        }
        verdict.values = values;
        verdict
    }

    /// What was seen at a server, as a sentence: what the question says of it, and the evidence.
    pub(crate) fn shown(&self, state: &State, verdict: &Verdict, node: NodeIndex) -> String {
        let name = &state.plan.node(node).name;
        let value = &verdict.values[name];
        let scope = self.scope(state, node, value, &verdict.values, &[]);
        self.with_evidence(name, value, &scope)
    }

    /// What is waited for, and what was seen instead; where the sentence itself says what was seen, that is enough.
    fn with_evidence(&self, name: &str, value: &Value, scope: &Scope) -> String {
        let waiting = self.waiting(&scope.as_value());
        match template::says_observed(&self.proof.waiting) {
            true => format!("{waiting} ({name})"),
            false => format!("{waiting} ({name} shows {})", shorten(value)),
        }
    }

    /// Names of the servers that the window takes down.
    fn leaving(&self, plan: &Plan) -> Value {
        let window = self.window.iter();
        window.map(|node| plan.node(*node).name.clone()).collect()
    }

    /// What the probe showed on every server when the plan was made.
    fn befores(&self, plan: &Plan) -> Value {
        let shown = plan.nodes.iter().filter_map(|node| {
            let value = node.before.get(&self.proof.name)?;
            Some((node.name.clone(), value.clone()))
        });
        Value::Object(shown.collect())
    }

    /// The names for some expressions about one server's observation.
    pub(crate) fn scope(
        &self,
        state: &State,
        node: NodeIndex,
        value: &Value,
        values: &Value,
        expressions: &[&String],
    ) -> Scope {
        let mut scope = context::scope(&state.plan, self.context(state, node), values, value);
        let before = state.plan.node(node).before.get(&self.proof.name);
        scope.set("before", before.cloned().unwrap_or(Value::Null));
        if expressions
            .iter()
            .any(|expression| expression.contains("leaving"))
        {
            scope.set("leaving", self.leaving(&state.plan));
        }
        // As large as the fleet, so only where it is asked for.
        if expressions
            .iter()
            .any(|expression| expression.contains("befores"))
        {
            scope.set("befores", self.befores(&state.plan));
        }
        scope
    }

    fn judge_one(
        &self,
        state: &State,
        node: NodeIndex,
        value: &Value,
        values: &Value,
        verdict: &mut Verdict,
    ) {
        let server = state.plan.node(node);
        let mut scope = self.scope(state, node, value, values, &[&self.proof.expect]);
        scope.set("output", self.output.clone());
        match expr::holds(&self.proof.expect, &scope) {
            Ok(true) => verdict.yes += 1,
            Ok(false) => {
                verdict.no += 1;
                verdict.fail(|| self.with_evidence(&server.name, value, &scope));
            }
            Err(error) => verdict.fail(|| {
                let waiting = self.waiting(&scope.as_value());
                // What was shown is the cause: the expression only asks for what is not in it.
                format!(
                    "{waiting} ({} shows {}, so that {error})",
                    server.name,
                    shorten(value)
                )
            }),
        }
        if let Some(progress) = &self.proof.progress
            && let Ok(Value::Number(number)) = expr::value(progress, &scope)
        {
            *verdict.progress.get_or_insert(0.0) += number.as_f64().unwrap_or(0.0);
        }
    }
}

impl Verdict {
    /// Notes the first reason why it does not hold: what is waited for, and the evidence.
    fn fail(&mut self, reason: impl FnOnce() -> String) {
        if self.holds {
            self.holds = false;
            self.waiting = reason();
        }
    }
}

/// A failure of a probe, as the end of a sentence about a host.
fn words(failure: &ProbeFailure) -> String {
    match failure {
        ProbeFailure::Unreachable(reason) => format!("does not answer: {reason}"),
        ProbeFailure::Failed(reason) => format!("cannot tell: {reason}"),
        ProbeFailure::GuardFired => "has rolled back by itself: its guard has fired".to_owned(),
    }
}

/// What of a value tells an operator why: what a program said on its standard error, and lines of logs, before anything else.
fn shorten(value: &Value) -> String {
    const LIMIT: usize = 160;
    let said = said(value);
    let whole = match value.as_object() {
        // What was said is not said twice.
        Some(members) if !said.is_empty() => {
            let rest = members.iter().filter(|(name, _)| !SAYS.contains(&name.as_str()));
            Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
        }
        _ => value.to_string(),
    };
    let whole = cut(&whole, LIMIT);
    if said.is_empty() {
        whole
    } else {
        format!("{said}; {whole}")
    }
}

/// Members of observations that are words for people.
const SAYS: [&str; 4] = ["stderr", "log", "matches", "reason"];

/// The last lines of what a program or a log said.
fn said(value: &Value) -> String {
    const LINES: usize = 3;
    const LIMIT: usize = 400;
    let texts = SAYS
        .iter()
        .filter_map(|name| value.get(name))
        .flat_map(|said| match said {
            Value::String(text) => vec![text.as_str()],
            Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        });
    let lines: Vec<&str> = texts
        .flat_map(str::lines)
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    cut(&last, LIMIT)
}

fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn own_limit(probe: &Probe) -> Millis {
    match probe {
        Probe::Command(command) => command.timeout,
        Probe::Http(http) => http.timeout,
        Probe::Connect(connect) => connect.timeout,
        _ => Millis::ZERO,
    }
}

impl State {
    /// Carries a round on: asks when it is time, and judges when everything has been answered or patience is at its end.
    /// The round is reset for the next look where a verdict is returned.
    pub(crate) fn look(
        &mut self,
        round: &mut Round,
        asker: Asker,
        question: &Question<'_>,
        effects: &mut Vec<Effect>,
    ) -> Option<Verdict> {
        match round.ask {
            None if self.now < round.next => None,
            None => {
                self.ask(round, asker, question, effects);
                self.finish_if_answered(round, question)
            }
            Some(_) => self.finish_if_answered(round, question),
        }
    }

    fn ask(&mut self, round: &mut Round, asker: Asker, question: &Question<'_>, effects: &mut Vec<Effect>) {
        let ask = AskId(self.next_ask);
        self.next_ask += 1;
        *round = Round {
            ask: Some(ask),
            asked: self.now,
            patience: own_limit(&question.proof.probe).plus(PATIENCE),
            ..Round::default()
        };
        self.asks.insert(ask, asker);
        for node in question.targets(&self.plan) {
            match template::render(&question.proof.probe, &question.context(self, node)) {
                Ok(probe) => {
                    round.awaiting.insert(node);
                    effects.push(Effect::Observe {
                        ask,
                        node,
                        hop: self.guarded_hop(node).filter(|_| question.host().is_none()),
                        host: question.host(),
                        probe: Box::new(probe),
                    });
                }
                Err(error) => {
                    round
                        .seen
                        .insert(node, Err(ProbeFailure::Failed(error.to_string())));
                }
            }
        }
    }

    /// The hop of a server's guard that stands on the way forward.
    fn guarded_hop(&self, node: NodeIndex) -> Option<u32> {
        let guard = self.guards.get(&node).filter(|_| self.back.is_none());
        guard.map(|guard| guard.hop)
    }

    fn finish_if_answered(&mut self, round: &mut Round, question: &Question<'_>) -> Option<Verdict> {
        if !round.awaiting.is_empty() {
            if self.now < round.asked.plus(round.patience) {
                return None;
            }
            for node in std::mem::take(&mut round.awaiting) {
                round.seen.insert(
                    node,
                    Err(ProbeFailure::Unreachable("no answer in time".to_owned())),
                );
            }
        }
        let verdict = question.judge(self, &round.seen);
        self.forget(round);
        *round = Round {
            next: self.now.plus(question.proof.every),
            ..Round::default()
        };
        Some(verdict)
    }

    /// Drops the open question of a round.
    pub(crate) fn forget(&mut self, round: &Round) {
        if let Some(ask) = round.ask {
            self.asks.remove(&ask);
        }
    }

    /// Takes an answer in; whether anybody waits for it.
    pub(crate) fn observed(&mut self, ask: AskId, node: NodeIndex, observation: Observation) {
        let round = match self.asks.get(&ask) {
            Some(Asker::Step(step)) => self.steps.get_mut(step).and_then(crate::state::StepState::round),
            Some(Asker::FailsOn(step)) => self
                .steps
                .get_mut(step)
                .and_then(crate::state::StepState::fails_on_round),
            Some(Asker::Watch(index)) => self
                .soak
                .as_mut()
                .and_then(|soak| soak.watches.get_mut(*index))
                .map(|watch| &mut watch.round),
            Some(Asker::Crossing) => self.crossing.as_mut().map(|crossing| &mut crossing.round),
            None => None,
        };
        if let Some(round) = round
            && round.ask == Some(ask)
            && round.awaiting.remove(&node)
        {
            round.seen.insert(node, observation);
        }
    }

    /// The moment at which a round has to be carried on, at the latest.
    pub(crate) fn round_due(round: &Round) -> Millis {
        match round.ask {
            None => round.next,
            Some(_) => round.asked.plus(round.patience),
        }
    }

    /// Values that a question without a step uses.
    pub(crate) fn no_output() -> Value {
        json!(null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_comes_before_the_rest_of_the_evidence() {
        let long = "x".repeat(500);
        let shown = shorten(&json!({
            "aaa": long, "exit": 2, "stderr": "usage: etcd\n\nflag provided but not defined: -experimental-x\n", "value": null,
        }));
        assert!(
            shown.starts_with("usage: etcd | flag provided but not defined: -experimental-x; {"),
            "{shown}"
        );
        assert!(!shown.contains("stderr"), "said once: {shown}");
        let log = json!({"count": 5, "matches": ["one", "two", "three", "four"]});
        assert_eq!(shorten(&log), "two | three | four; {\"count\":5}");
        assert_eq!(
            shorten(&json!({"exit": 0, "stderr": ""})),
            "{\"exit\":0,\"stderr\":\"\"}"
        );
        assert_eq!(shorten(&json!(false)), "false");
    }

    #[test]
    fn probes_that_have_a_time_limit_of_their_own_are_given_it() {
        let limit = |probe: Value| own_limit(&serde_json::from_value(probe).unwrap());
        for probe in [
            json!({"connect": {"address": "h1:1", "timeout": "7s"}}),
            json!({"http": {"url": "http://h1/", "timeout": "7s"}}),
            json!({"command": {"argv": ["true"], "timeout": "7s"}}),
        ] {
            assert_eq!(limit(probe), Millis::seconds(7));
        }
        assert_eq!(limit(json!({"file": "/tmp/there"})), Millis::ZERO);
    }
}
