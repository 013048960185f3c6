//! Lint of verbs, their proofs, and the slots that strategies need.

use std::collections::BTreeSet;
use std::iter::empty;

use super::names::{ACTION, BALANCER_ACTION, BALANCER_ONLY_IF, BALANCER_PROOF, GUARD, Names, ONLY_IF, PROOF};
use super::{Linter, Spot};
use crate::action::Action;
use crate::profile::{At, On, Proof, Slot, Strategy, Verb, Via};

/// What a strategy cannot do without: one slot of each list, and why.
fn needs(strategy: Strategy) -> &'static [(&'static [Slot], &'static str)] {
    match strategy {
        Strategy::Rolling => &[(
            &[Slot::Rejoin, Slot::Recover],
            "the next server may be taken only when this one is back and its data has recovered",
        )],
        Strategy::Switch => &[(
            &[Slot::Verify],
            "that the whole cluster serves again must be observed",
        )],
        Strategy::Rebuild => &[
            (
                &[Slot::Protect, Slot::FinalSnapshot],
                "the new data comes from a snapshot",
            ),
            (
                &[Slot::FreshData],
                "the new version needs an empty data directory, and the old one must stay",
            ),
            (
                &[Slot::Restore, Slot::Load],
                "the snapshot must come into the new data directory",
            ),
            (
                &[Slot::OldData],
                "there must be a rollback to the old data directory",
            ),
            (
                &[Slot::Verify],
                "that the whole cluster serves again must be observed",
            ),
        ],
        Strategy::Hot => &[
            (
                &[Slot::Install],
                "the new code must come into the running process",
            ),
            (&[Slot::Uninstall], "there must be a rollback to the old code"),
            (
                &[Slot::Verify],
                "that the process runs the new code must be observed",
            ),
        ],
    }
}

impl Linter<'_> {
    /// What is done.
    pub(super) fn verbs(&mut self, at: Spot<'_>) {
        for (slot, verbs) in &self.profile.verbs {
            for (index, verb) in verbs.iter().enumerate() {
                self.verb(at.key(&word(*slot)).item(index), verb);
            }
        }
    }

    fn verb(&mut self, at: Spot<'_>, verb: &Verb) {
        self.optional_range(at, "to", verb.to.as_deref());
        self.optional_range(at, "from", verb.from.as_deref());
        let (only_if, action, proof) = match verb.via {
            Via::Node => (&ONLY_IF, &ACTION, &PROOF),
            Via::LoadBalancers => (&BALANCER_ONLY_IF, &BALANCER_ACTION, &BALANCER_PROOF),
        };
        self.balancing(at, verb);
        if let Some(condition) = &verb.only_if {
            self.proof(at.key("only_if"), condition, only_if);
        }
        if verb.only_if.is_none() && !verb.bindings.is_empty() {
            let fix = "write `only_if`; the values are computed from what it observes";
            self.error(
                at.name("let"),
                "`let` has nothing to compute its values from",
                fix,
            );
        }
        for (name, expression) in &verb.bindings {
            self.expression(at.key("let").key(name), expression, only_if);
        }
        self.templates(at, "action", action, verb.bindings.keys().map(String::as_str));
        self.action(at, verb);
        for (index, each) in verb.proof.iter().enumerate() {
            self.proof(at.key("proof").item(index), each, proof);
        }
        if let Some(in_vain) = &verb.fails_on {
            self.proof(at.key("fails_on"), in_vain, proof);
        }
        if verb.proof.is_empty() {
            let fix = "name a probe that shows it; an exit status alone proves nothing";
            self.error(at.name("proof"), "nothing shows that this verb worked", fix);
        }
        if verb.within.0 == 0 {
            let fix = "write how long action and proof may take together";
            self.error(
                at.key("within").0.range.clone(),
                "the verb is given no time at all",
                fix,
            );
        }
        if verb.retry.attempts == 0 {
            let at = at.key("retry").key("attempts").0.range.clone();
            self.error(
                at,
                "the verb would never be done",
                "write at least 1; the first attempt counts",
            );
        }
    }

    /// What only makes sense on a load balancer, or only for a wait.
    fn balancing(&mut self, at: Spot<'_>, verb: &Verb) {
        if verb.via == Via::LoadBalancers && verb.on != On::Each {
            let fix = "leave `on` out; it is done for each server, on every load balancer";
            self.error(
                at.key("on").0.range.clone(),
                "what is done on load balancers is about one server each",
                fix,
            );
        }
        if !verb.otherwise.is_fail() && verb.action.is_some() {
            let fix = "split the verb: the action with its proof, and a wait without an action after it";
            self.error(
                at.key("otherwise").0.range.clone(),
                "what is done must be proven",
                fix,
            );
        }
    }

    fn action(&mut self, at: Spot<'_>, verb: &Verb) {
        let spot = at.key("action");
        match &verb.action {
            Some(Action::Command(command)) if command.argv.is_empty() => {
                let at = spot.key("command").key("argv").0.range.clone();
                self.error(
                    at,
                    "there is no program to run",
                    "write the program and its arguments",
                );
            }
            Some(action @ (Action::ArmGuard(_) | Action::DisarmGuard)) => {
                let message = format!("`{}` is the engine's own", action.word());
                self.error(
                    spot.start(),
                    message,
                    "leave it out; guards are armed and disarmed for every window",
                );
            }
            Some(action @ (Action::MoveUnit(_) | Action::UnmoveUnit(_))) => {
                let message = format!("`{}` is what `upshift adopt --services` does", action.word());
                self.error(spot.start(), message, "leave it out");
            }
            Some(action @ (Action::Distribute(_) | Action::Unpack(_))) => {
                let message = format!("`{}` is planned for every release by itself", action.word());
                self.error(spot.start(), message, "leave it out");
            }
            _ => {}
        }
    }

    /// An observation that shows that something holds.
    pub(super) fn proof(&mut self, at: Spot<'_>, proof: &Proof, names: &Names) {
        self.probe(at.key("probe"), &proof.probe, false);
        if proof.at == At::LoadBalancer && !names.roots.contains(&"balancer") {
            let fix = "write `via: load_balancers` in the verb, or look somewhere else";
            self.error(
                at.key("at").0.range.clone(),
                "there is no load balancer here",
                fix,
            );
        }
        self.expression(at.key("expect"), &proof.expect, names);
        if let Some(progress) = &proof.progress {
            self.expression(at.key("progress"), progress, names);
            if !shrinks(progress) {
                let fix = "write what is missing, negated, such as `0 - (value.index - value.applied)`; then only what is waited for extends the time";
                self.warning(
                    at.key("progress").0.range.clone(),
                    "a number that grows whenever clients write extends the time for as long as they do",
                    fix,
                );
            }
        }
        self.templates(at, "waiting", names, empty());
        if proof.stable == 0 {
            let fix = "write at least 1";
            self.error(
                at.key("stable").0.range.clone(),
                "what need not hold even once proves nothing",
                fix,
            );
        }
        if proof.every.0 == 0 {
            let fix = "write a time, such as 500ms";
            self.error(
                at.key("every").0.range.clone(),
                "looking without a pause is a load of its own",
                fix,
            );
        }
    }

    /// What a guard waits for, which a profile with a gate must say: a guard stops its server when it holds.
    pub(super) fn guard(&mut self, root: Spot<'_>) {
        let at = root.key("guard").key("wait_until");
        if let Some(proof) = &self.profile.guard.wait_until {
            self.proof(at, proof, &GUARD);
            if proof.at != At::Node {
                let fix = "leave `at` out; ask this server what it knows of the others";
                self.error(
                    at.key("at").0.range.clone(),
                    "a guard sees its own server only",
                    fix,
                );
            }
            return;
        }
        let one_by_one =
            |path: &crate::profile::PathEdge| matches!(path.strategy, Strategy::Rolling | Strategy::Hot);
        if self.profile.verbs.contains_key(&Slot::Gate) && self.profile.paths.iter().any(one_by_one) {
            let fix = "write `guard: { wait_until: { probe: …, expect: …, waiting: … } }`: what a server must see of the others before its \
                       guard takes it down";
            self.warning(
                root.key("verbs").name("gate"),
                "there is a gate, and nothing says what a guard waits for: it goes by the first proof in `gate` or `recover` that it can \
                 see at its own server",
                fix,
            );
        }
    }

    /// Whether each strategy that a path uses has what it needs.
    pub(super) fn slots(&mut self, root: Spot<'_>) {
        let profile = self.profile;
        let partly = &profile.verbs_missing_for;
        if profile.verbs_missing.is_some() && partly.is_empty() {
            if !profile.verbs.is_empty() {
                let fix = "leave one of the two out";
                self.error(
                    root.name("verbs_missing"),
                    "verbs are said to be missing, and there are some",
                    fix,
                );
            }
            return;
        }
        let used: BTreeSet<Strategy> = profile.paths.iter().map(|path| path.strategy).collect();
        for strategy in used.difference(&partly.iter().copied().collect()).copied() {
            for (slots, reason) in needs(strategy) {
                if slots.iter().any(|slot| profile.verbs.contains_key(slot)) {
                    continue;
                }
                let index = profile
                    .paths
                    .iter()
                    .position(|path| path.strategy == strategy)
                    .unwrap_or_default();
                let at = root.key("paths").item(index).key("strategy").0.range.clone();
                let names: Vec<_> = slots.iter().map(|slot| format!("`{}`", word(*slot))).collect();
                let names = names.join(" or ");
                let message = format!("`{}` needs verbs for {names}: {reason}", word(strategy));
                let fix =
                    format!("add {names} under `verbs`; or say why there are none with `verbs_missing: …`");
                self.error(at, message, fix);
            }
        }
    }
}

/// Whether a measure of progress can be taken for what is waited for. Positions in a log and numbers of writes grow with every
/// client, whatever happens to the server; the distance between two of them does not.
fn shrinks(progress: &str) -> bool {
    let grows = [
        "index", "revision", "offset", "applied", "commit", "sequence", "lsn", "zxid", "writes",
    ];
    let last = progress.rsplit('.').next().unwrap_or(progress).to_lowercase();
    progress.contains('-') || !grows.iter().any(|word| last.contains(word))
}

/// How a slot or a strategy is written.
fn word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
