//! What a plan's steps need of each host, to be tried before anything is changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use upshift_model::action::{Action, Command, Service};
use upshift_model::probe::{NeedsProbe, Observation, Probe};

use crate::refusal::Refusals;
use crate::types::{Group, NodeIndex, Plan, PlanNode, PlanProof, Recipe, Refusal, Request};
use crate::{Names, render_action, render_probe};

/// What each server must have for the plan's steps: programs that they run, files that are copied aside, and places that are written
/// to. Left out is what cannot be told before the step itself: steps that are done under a condition only, texts that use what an earlier step has
/// observed, and programs below the product's own places or the state directory, since a release brings them.
pub fn needs(plan: &Plan) -> BTreeMap<NodeIndex, NeedsProbe> {
    let mut all: BTreeMap<NodeIndex, Collected> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (hop, group) in groups(plan) {
        for step in &group.steps {
            let recipe = plan.recipe(step.recipe);
            let elsewhere = recipe.balancer.is_some();
            if elsewhere || recipe.only_if.is_some() || !seen.insert((step.node, step.recipe, hop)) {
                continue;
            }
            let node = plan.node(step.node);
            let needs = all.entry(step.node).or_default();
            if let Some(action) = tried(recipe)
                && let Ok(Some(action)) = render_action(plan, step.node, action, &BTreeMap::new(), "", hop)
            {
                needs.action(node, &action);
            }
            for probe in recipe.proof.iter().filter_map(asks_a_program) {
                let names = Names::of_recipe(recipe, "", hop);
                if let Ok(Probe::Command(command)) = render_probe(plan, step.node, probe, &names) {
                    needs.program(node, &command);
                }
            }
        }
    }
    let lists = all.into_iter().map(|(node, needs)| (node, needs.probe()));
    lists
        .filter(|(_, probe)| *probe != NeedsProbe::default())
        .collect()
}

/// The recipe, where its action needs anything of a host that can be told beforehand.
fn tried(recipe: &Recipe) -> Option<&Recipe> {
    let told = matches!(
        recipe.action,
        Some(
            Action::Command(_)
                | Action::Start(_)
                | Action::Stop(_)
                | Action::Save(_)
                | Action::EditConfig(_)
                | Action::Relink(_)
                | Action::CopyPackage(_)
                | Action::Install(_)
        )
    );
    told.then_some(recipe)
}

fn asks_a_program(proof: &PlanProof) -> Option<&Probe> {
    matches!(proof.probe, Probe::Command(_)).then_some(&proof.probe)
}

/// All groups of steps but those that finalize the run, with the hop that they belong to.
fn groups(plan: &Plan) -> impl Iterator<Item = (u32, &Group)> {
    let hops = (0u32..)
        .zip(&plan.hops)
        .flat_map(|(position, hop)| hop.groups().map(move |group| (position, group)));
    let last = plan.hops.len().saturating_sub(1) as u32;
    plan.prepare
        .iter()
        .map(|group| (0, group))
        .chain(hops)
        .chain(plan.proof.iter().map(move |group| (last, group)))
}

#[derive(Default)]
struct Collected {
    programs: BTreeSet<String>,
    readable: BTreeSet<String>,
    writable: BTreeSet<String>,
    package_managers: BTreeSet<String>,
}

impl Collected {
    fn action(&mut self, node: &PlanNode, action: &Action) {
        match action {
            Action::Command(command) => self.program(node, command),
            Action::Start(service) => self.service(node, service),
            Action::Stop(stop) => self.service(node, &stop.service),
            Action::Save(save) => {
                // They are put back in a rollback.
                self.readable.extend(save.paths.iter().cloned());
                self.writable.extend(save.paths.iter().cloned());
            }
            Action::Snapshot(order) => {
                self.readable
                    .extend(order.paths.iter().filter(|path| !path.is_empty()).cloned());
                if let Some(command) = &order.command {
                    self.program(node, command);
                }
            }
            Action::EditConfig(edit) => {
                self.writable.insert(edit.file.clone());
            }
            Action::Relink(relink) => {
                self.writable.insert(relink.link.clone());
            }
            Action::CopyPackage(copy) => {
                self.writable.insert(copy.file.clone());
            }
            Action::Install(order) if matches!(order.manager.as_str(), "dpkg" | "rpm") => {
                self.package_managers.insert(order.manager.clone());
            }
            _ => {}
        }
    }

    fn service(&mut self, node: &PlanNode, service: &Service) {
        match service.effective().as_ref() {
            Service::Systemd(_) => {
                self.programs.insert("systemctl".to_owned());
            }
            Service::Commands(commands) => {
                self.program(node, &commands.start);
                self.program(node, &commands.stop);
            }
            Service::Supervised(_) => {}
        }
    }

    fn program(&mut self, node: &PlanNode, command: &Command) {
        // Where it is searched for is its own affair then.
        if command.env.contains_key("PATH") {
            return;
        }
        let Some(program) = command.argv.first().filter(|program| !program.is_empty()) else {
            return;
        };
        let mut own = node
            .places
            .values()
            .map(String::as_str)
            .chain([node.state_directory.as_str()]);
        let below = |place: &str| {
            let place = place.trim_end_matches('/');
            place.starts_with('/')
                && program
                    .strip_prefix(place)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        if !own.any(below) {
            self.programs.insert(program.clone());
        }
    }

    fn probe(self) -> NeedsProbe {
        NeedsProbe {
            programs: self.programs.into_iter().collect(),
            readable: self.readable.into_iter().collect(),
            writable: self.writable.into_iter().collect(),
            package_managers: self.package_managers.into_iter().collect(),
        }
    }
}

/// Why the plan cannot be executed, by what the servers answered to [`needs`]. A server that did not answer is a reason, too.
pub fn unmet(plan: &Plan, observed: &BTreeMap<NodeIndex, Observation>) -> Vec<Refusal> {
    let mut refusals = Refusals::of(&Request::default());
    for (node, observation) in observed {
        let name = &plan.node(*node).name;
        match observation {
            Ok(value) => {
                for (member, code, message, remedy) in KINDS {
                    for missing in texts(&value[*member]) {
                        refusals.add_host(code, name, message.replace("{}", missing), *remedy);
                    }
                }
            }
            Err(failure) => {
                let reason = failure.reason();
                refusals.note_unknown(
                    "needs",
                    Some(name),
                    format!("whether the host has what the steps need cannot be told: {reason}"),
                    "try again; where it stays so, look at the host".to_owned(),
                    None,
                );
            }
        }
    }
    refusals.into_sorted()
}

/// Members of what [`Probe::Needs`] yields: the code of the refusal, what is wrong, and what to do.
const KINDS: &[(&str, &str, &str, &str)] = &[
    (
        "programs",
        "missing-program",
        "a step runs `{}`, which the agent does not find on the host, or may not run",
        "install it, or put it where the agent's PATH leads",
    ),
    (
        "unreadable",
        "not-readable",
        "a step copies aside what the agent may not read: {}",
        "let the agent run as root (`become`), or give its user the right",
    ),
    (
        "unwritable",
        "not-writable",
        "a step, or its rollback, writes where the agent may not: {}",
        "let the agent run as root (`become`), give its user the right, or mount the file system for writing",
    ),
    (
        "busy",
        "package-manager-busy",
        "a step installs a package, and {}",
        "wait until that has ended, or end it, and try again",
    ),
];

/// What an operator should know of what the servers answered to [`needs`], and what stops nothing.
pub fn remarks(plan: &Plan, observed: &BTreeMap<NodeIndex, Observation>) -> Vec<String> {
    let mut hosts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, observation) in observed {
        for what in observation.iter().flat_map(|value| texts(&value["automatic"])) {
            hosts.entry(what).or_default().push(&plan.node(*node).name);
        }
    }
    let sentence = |(what, hosts): (&str, Vec<&str>)| {
        format!(
            "{what} may install packages on {} in the middle of the run, and holds the package manager while it does: stop it meanwhile",
            hosts.join(", ")
        )
    };
    hosts.into_iter().map(sentence).collect()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
