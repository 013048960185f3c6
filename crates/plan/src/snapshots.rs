//! Snapshots: which ones the profile names for a version, and how each is taken on a host.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use upshift_model::action::Artifact;
use upshift_model::facts::{Facts, NodeFacts};
use upshift_model::fleet::{Fleet, Host};
use upshift_model::profile::{On, Profile};
use upshift_model::snapshot::{Labels, Repository, SnapshotRule, TakeSnapshot};
use upshift_model::template;
use upshift_model::version::{Range, Version};

use crate::layout::Leg;
use crate::packages::fits_host;
use crate::refusal::Refusals;
use crate::survey::{Server, Survey};
use crate::types::{Refusal, Request};

/// Names in a rule that are the same on every host, or are written out before templates are filled in.
const WRITTEN_OUT: [&str; 3] = ["snapshot.output", "snapshot.restored", "version"];
/// The variable of a host that names its repository.
pub const REPOSITORY: &str = "snapshot_repository";
/// The variable of a host that names the file with the repository's password.
pub const PASSWORD_FILE: &str = "snapshot_password_file";

/// The profile's rules for a version.
pub fn rules<'a>(profile: &'a Profile, version: &Version) -> Vec<&'a SnapshotRule> {
    let applies = |rule: &&SnapshotRule| {
        let range = rule
            .from
            .as_ref()
            .map(|text| Range::parse(profile.versions.scheme, text));
        range.is_none_or(|range| range.is_ok_and(|range| range.contains(version)))
    };
    profile.snapshots.iter().filter(applies).collect()
}

/// How a snapshot of a version is taken; the texts are templates still.
pub fn order(profile: &Profile, fleet: &str, rule: &SnapshotRule, version: &Version) -> TakeSnapshot {
    let order = TakeSnapshot {
        labels: Labels {
            name: rule.name.clone(),
            title: rule.title.clone(),
            fleet: fleet.to_owned(),
            host: "{{ node.name }}".to_owned(),
            product: profile.product.clone(),
            scheme: profile.versions.scheme,
            version: version.to_string(),
            format: rule.format.clone().unwrap_or_else(|| version.to_string()),
            readable_by: rule.readable_by.clone().unwrap_or_default(),
            run: "{{ run }}".to_owned(),
        },
        paths: rule.paths.clone(),
        command: rule.command.clone(),
        state: rule.state.clone(),
        proof: rule.proof.clone(),
        repository: repository(),
        within: rule.within,
        scope: Map::new(),
    };
    written_out(&order, rule, version).unwrap_or(order)
}

/// The repository that a host's variables name.
pub fn repository() -> Repository {
    Repository {
        location: format!("{{{{ node.{REPOSITORY} | default('') }}}}"),
        password_file: format!("{{{{ node.{PASSWORD_FILE} | default('') }}}}"),
        tool: None,
    }
}

fn written_out(order: &TakeSnapshot, rule: &SnapshotRule, version: &Version) -> Option<TakeSnapshot> {
    let directory = |kind: &str| format!("{{{{ state_directory }}}}/backups/{kind}/{}", rule.name);
    let values = [directory("output"), directory("trial"), version.to_string()];
    let mut value = serde_json::to_value(order).ok()?;
    each_text(&mut value, &mut |text| {
        for (name, value) in WRITTEN_OUT.iter().zip(&values) {
            *text = text
                .replace(&format!("{{{{ {name} }}}}"), value)
                .replace(&format!("{{{{{name}}}}}"), value);
        }
    });
    serde_json::from_value(value).ok()
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(entries) => entries.values_mut().for_each(|item| each_text(item, change)),
        _ => {}
    }
}

/// A snapshot that is to be taken outside of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// The host.
    pub host: String,
    /// How it is taken, templates filled in.
    pub order: TakeSnapshot,
}

/// The snapshots to take now: of these names and on these hosts, all where none is named.
///
/// # Errors
/// All the reasons why not, each with what to do about it.
pub fn backups(
    profile: &Profile,
    fleet_name: &str,
    fleet: &Fleet,
    facts: &Facts,
    names: &[String],
    hosts: &[String],
) -> Result<Vec<Backup>, Vec<Refusal>> {
    let request = Request::default();
    let mut refusals = Refusals::of(&request);
    if profile.snapshots.is_empty() {
        refusals.add(
            "no-snapshots",
            format!(
                "the profile of {} does not say what a snapshot holds",
                profile.title
            ),
            "add `snapshots` to the profile",
        );
    }
    let survey = Survey::take(profile, fleet_name, fleet, facts, &request, &mut refusals);
    let mut backups = Vec::new();
    let (mut taken_once, mut known) = (BTreeSet::new(), BTreeSet::new());
    for server in &survey.servers {
        for rule in rules(profile, &server.version) {
            known.insert(rule.name.as_str());
            let meant = names.is_empty() || names.contains(&rule.name);
            let here = hosts.is_empty() || hosts.iter().any(|host| host == server.name);
            if !(meant && here) || (rule.on == On::One && !taken_once.insert(rule.name.as_str())) {
                continue;
            }
            let order = order(profile, fleet_name, rule, &server.version);
            match filled_in(&order, server.name, server.host, server.facts) {
                Ok(order) => backups.push(Backup {
                    host: server.name.to_owned(),
                    order,
                }),
                Err(error) => refusals.add_host(
                    "template",
                    server.name,
                    format!("the snapshot `{}` cannot be taken: {error}", rule.name),
                    "say in the fleet file what is missing",
                ),
            }
        }
    }
    for name in names.iter().filter(|name| !known.contains(name.as_str())) {
        let all: Vec<&str> = known.iter().copied().collect();
        refusals.add(
            "no-such-snapshot",
            format!(
                "{} has no snapshot `{name}` for the versions that run",
                profile.title
            ),
            format!("name one of these: {}", all.join(", ")),
        );
    }
    match refusals.is_empty() {
        true => Ok(backups),
        false => Err(refusals.into_sorted()),
    }
}

/// The names that texts about a snapshot may use outside of a run.
pub fn names(name: &str, host: &Host, facts: &NodeFacts) -> Map<String, Value> {
    let variables = host.variables.iter();
    let mut node: Map<String, Value> = variables
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    node.insert("name".to_owned(), json!(name));
    let names = [
        ("node", Value::Object(node)),
        ("places", json!(facts.places)),
        ("state_directory", json!(facts.host.state_directory)),
        ("run", json!("")),
    ];
    names
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

fn filled_in(
    order: &TakeSnapshot,
    name: &str,
    host: &Host,
    facts: &NodeFacts,
) -> Result<TakeSnapshot, template::TemplateError> {
    let names = names(name, host, facts);
    let mut order: TakeSnapshot = template::render(order, &Value::Object(names.clone()))?;
    order.scope = names;
    // Variables may be secrets, and no expression of a snapshot has needed any but the name.
    order.scope.insert("node".to_owned(), json!({"name": name}));
    Ok(order)
}

/// Whether a run keeps the profile's snapshots in repositories: every server has restic, or gets it.
pub(crate) fn kept(survey: &Survey<'_>) -> bool {
    let has = |server: &Server<'_>| !server.facts.host.restic.is_empty() || sent(survey, server).is_some();
    !survey.profile.snapshots.is_empty() && survey.servers.iter().all(has)
}

/// The program that a server gets, because it has none.
pub(crate) fn sent<'a>(survey: &Survey<'a>, server: &Server<'_>) -> Option<&'a Artifact> {
    let tool = survey.request.snapshot_tool.as_ref()?;
    (server.facts.host.restic.is_empty() && fits_host(tool, &server.facts.host)).then_some(tool)
}

/// What a plan says where snapshots are not kept.
pub(crate) fn remarks(survey: &Survey<'_>, legs: &[Leg<'_>]) -> Vec<String> {
    let any = legs
        .iter()
        .any(|leg| !rules(survey.profile, &leg.from).is_empty());
    let lacking: Vec<&str> = survey
        .servers
        .iter()
        .filter(|server| server.facts.host.restic.is_empty() && sent(survey, server).is_none())
        .map(|server| server.name)
        .collect();
    if !any || lacking.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "no snapshot is kept in a repository, and `upshift restore` will have none of this run: restic is neither on {} nor on this machine \
         (`apt-get install restic`)",
        lacking.join(", ")
    )]
}

/// Where this host's repository is, and its password: for `check`.
pub fn standing(profile: &Profile, fleet: &Fleet, facts: &Facts) -> Vec<String> {
    if profile.snapshots.is_empty() {
        return Vec::new();
    }
    let mut words: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, node) in facts.nodes.iter().filter(|(_, node)| node.unreachable.is_none()) {
        let variable = |key: &str| {
            let value = fleet.hosts.get(name).and_then(|host| host.variables.get(key));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (location, password) = (variable(REPOSITORY), variable(PASSWORD_FILE));
        let home = format!("{}/backups", node.host.state_directory);
        let kept = match location.is_empty() {
            true => {
                format!("snapshots are kept in {home}/repository on the host itself, and are lost with it")
            }
            false => format!("snapshots are kept in {location}"),
        };
        let secret = match (password.is_empty(), location.is_empty()) {
            (false, _) => format!("their password is in {password}: without it nobody can read them"),
            (true, true) => format!(
                "their password is made by Upshift, in {home}/password: who reads that file can read them, and without it nobody can"
            ),
            (true, false) => {
                format!("no password is named for them (variable {PASSWORD_FILE}), so none is taken")
            }
        };
        words.entry(format!("{kept}; {secret}")).or_default().push(name);
    }
    let sentences = words.into_iter();
    sentences
        .map(|(words, hosts)| format!("{}: {words}", hosts.join(", ")))
        .collect()
}
