//! What people are shown of a plan, before it becomes a table or Markdown: the same words in both.

use std::collections::BTreeSet;

use upshift_model::Millis;
use upshift_model::action::Action;
use upshift_model::profile::Strategy;
use upshift_model::profile::{At, Slot};
use upshift_model::template;

use super::{bytes, count, strategy_word};
use crate::layout::guard::rename;
use crate::types::{
    ConfigChange, Group, Hop, NodeIndex, Plan, PlanProof, Recipe, RecipeIndex, Risk, StepKind, Window,
};

/// How much is said of what a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The sentences that `why` says while it waits.
    Sentences,
    /// The proofs and conditions as the profile has them.
    Expressions,
}

impl Detail {
    /// Heading of the column of proofs.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Detail::Sentences => "waits while",
            Detail::Expressions => "done when",
        }
    }
}

/// More windows than this are not listed one by one.
const WINDOWS_LISTED: usize = 12;
/// More servers than this are not named one by one.
const SERVERS_NAMED: usize = 8;

/// A plan in words.
pub(super) struct Sheet {
    pub title: String,
    pub summary: Vec<(&'static str, String)>,
    pub warnings: Vec<String>,
    /// What those who use the servers will notice.
    pub notices: Vec<String>,
    /// Which file on which servers, and the lines of the diff.
    pub config: Vec<(String, Vec<String>)>,
    pub prepare: Vec<Row>,
    pub hops: Vec<HopSheet>,
    pub finalize: Vec<String>,
}

/// One hop in words.
pub(super) struct HopSheet {
    pub heading: String,
    pub no_return: Option<String>,
    pub windows: Vec<String>,
    pub sections: Vec<Section>,
    pub watch: String,
}

/// Steps under a heading.
pub(super) struct Section {
    pub heading: &'static str,
    pub rows: Vec<Row>,
}

/// One step, whatever servers it is done on.
pub(super) struct Row {
    pub what: String,
    pub place: String,
    pub proof: Vec<String>,
    pub back: String,
    pub within: String,
}

impl Sheet {
    pub fn of(plan: &Plan, detail: Detail) -> Self {
        let versions: Vec<&str> = plan
            .hops
            .first()
            .map(|hop| hop.from.as_str())
            .into_iter()
            .chain(plan.hops.iter().map(|hop| hop.to.as_str()))
            .collect();
        Sheet {
            title: format!("{} {} on {}", plan.title, versions.join(" → "), plan.fleet),
            summary: summary(plan),
            warnings: plan
                .warnings
                .iter()
                .cloned()
                .chain(plan.risks.iter().map(Risk::words))
                .collect(),
            notices: plan.notices.clone(),
            config: plan.config_changes.iter().map(config).collect(),
            prepare: rows(plan, detail, None, &plan.prepare),
            hops: plan
                .hops
                .iter()
                .enumerate()
                .map(|(position, hop)| hop_sheet(plan, detail, position, hop))
                .collect(),
            finalize: plan.finalize_notes.clone(),
        }
    }
}

/// The heading and the lines of a change, without the lines that only name the two sides.
fn config(change: &ConfigChange) -> (String, Vec<String>) {
    let lines = change.diff.lines().skip(2).map(str::to_owned);
    let heading = format!("{} on {}", change.file, change.hosts.join(", "));
    (heading, lines.collect())
}

fn summary(plan: &Plan) -> Vec<(&'static str, String)> {
    let estimate = &plan.estimate;
    let mut lines = vec![
        (
            "servers",
            names(
                plan,
                &(0..plan.nodes.len() as u32).map(NodeIndex).collect::<Vec<_>>(),
            ),
        ),
        ("hops", count(plan.hops.len(), "hop")),
        (
            "time",
            format!(
                "about {}, at most {}",
                rounded(estimate.duration),
                rounded(estimate.at_most)
            ),
        ),
        (
            "disturbed",
            match estimate.disturbed_per_node {
                Millis::ZERO => "no server is taken out of service".to_owned(),
                time => format!("about {} per server", rounded(time)),
            },
        ),
        (
            "disk",
            format!(
                "{} to send to each server, {} to be free there",
                bytes(estimate.download_per_node),
                bytes(estimate.disk_per_node)
            ),
        ),
    ];
    let crossings = plan.hops.iter().filter(|hop| hop.no_return.is_some()).count();
    let own = plan
        .hops
        .iter()
        .filter(|hop| hop.own_rollback().next().is_some())
        .count();
    let words = match (crossings, own) {
        (0, _) => "none: every hop can be taken back until it is finalized".to_owned(),
        (_, 0) => format!("in {} of {}", crossings, count(plan.hops.len(), "hop")),
        (_, own) => format!(
            "in {crossings} of {}; {own} with a rollback of the product's own, which keeps every write",
            count(plan.hops.len(), "hop")
        ),
    };
    lines.push(("no return", words));
    let packages = packages(plan);
    if !packages.is_empty() {
        lines.push(("packages", packages));
    }
    lines.push(("plan", plan.fingerprint.chars().take(16).collect()));
    lines
}

/// The packages that are brought to servers, and by what each was verified.
fn packages(plan: &Plan) -> String {
    let used = plan.recipes.iter().filter_map(|recipe| match &recipe.action {
        Some(Action::Distribute(artifact)) => Some(artifact),
        _ => None,
    });
    let words = used.map(|artifact| match plan.request.verified.get(&artifact.sha256) {
        Some(verified) => format!("{}: verified by {}", artifact.file_name, verified.words()),
        None => format!("{}: not verified", artifact.file_name),
    });
    let words: BTreeSet<String> = words.collect();
    words.into_iter().collect::<Vec<_>>().join("; ")
}

fn hop_sheet(plan: &Plan, detail: Detail, position: usize, hop: &Hop) -> HopSheet {
    let link = hop
        .source
        .link
        .as_ref()
        .map(|link| format!(", {link}"))
        .unwrap_or_default();
    let heading = format!(
        "Hop {} of {}: {} → {}, {} ({}{link})",
        position + 1,
        plan.hops.len(),
        hop.from,
        hop.to,
        strategy_word(hop.strategy),
        hop.source.title
    );
    let first = hop.windows.first();
    let section = |heading, window, groups| Section {
        heading,
        rows: rows(plan, detail, window, groups),
    };
    let mut sections = vec![section("Protect", None, &hop.protect)];
    if let Some(window) = first {
        sections.extend([
            section("Before each window", first, &window.gate),
            section("In each window", first, &window.forward),
            section("Rolling back", first, &window.rollback),
        ]);
    }
    let own = hop
        .no_return
        .as_ref()
        .and_then(|point| point.own_rollback.as_ref());
    if let Some(own) = own {
        sections.extend([
            section(
                "Rolling back past the point of no return, before any server",
                None,
                &own.begin,
            ),
            section(
                "Rolling back past the point of no return, at the end",
                None,
                &own.end,
            ),
        ]);
    }
    sections.extend([
        section("Once rolled back", None, &hop.rolled_back),
        section("Once the new version stays", None, &hop.stay),
        section("Before the next hop", None, &hop.settle),
    ]);
    sections.retain(|section| !section.rows.is_empty());
    HopSheet {
        heading,
        no_return: no_return(hop),
        windows: windows(plan, hop),
        sections,
        watch: watch(hop),
    }
}

fn no_return(hop: &Hop) -> Option<String> {
    let point = hop.no_return.as_ref()?;
    Some(format!(
        "{}. From window {} on it cannot be kept from happening: an explicit yes is asked for before. Rolling back \
         afterwards: {}",
        capital(&point.description),
        point.window + 1,
        point.rollback
    ))
}

fn watch(hop: &Hop) -> String {
    let what: Vec<&str> = hop.soak.watch.iter().map(|proof| proof.name.as_str()).collect();
    let what = if what.is_empty() {
        "nothing is watched".to_owned()
    } else {
        format!("watching {}", what.join(", "))
    };
    let (duration, when) = match (hop.strategy, hop.windows.last()) {
        (Strategy::Hot, Some(window)) => (window.soak, "before it is made permanent"),
        _ => (hop.soak.duration, "after the last window"),
    };
    format!(
        "{} {when}, {what}; a fault counts once it lasts {}",
        rounded(duration),
        rounded(hop.soak.lasting)
    )
}

fn windows(plan: &Plan, hop: &Hop) -> Vec<String> {
    let line = |position: usize| {
        let window = &hop.windows[position];
        let reserve = match window.reserve {
            Millis::ZERO => String::new(),
            _ => format!("; rolled back from {} on", window.limit),
        };
        format!(
            "{}. {} (at most {}{reserve})",
            position + 1,
            names(plan, &window.nodes),
            rounded(window.limit.plus(window.reserve))
        )
    };
    let total = hop.windows.len();
    if total <= WINDOWS_LISTED {
        return (0..total).map(line).collect();
    }
    let mut lines: Vec<String> = (0..WINDOWS_LISTED - 2).map(line).collect();
    lines.push(format!("… {} more windows …", total - WINDOWS_LISTED + 1));
    lines.push(line(total - 1));
    lines
}

/// Servers by name, leaders marked; many of them shortened.
pub(super) fn names(plan: &Plan, nodes: &[NodeIndex]) -> String {
    let name = |index: &NodeIndex| {
        let node = plan.node(*index);
        if node.leader {
            format!("{} (leader)", node.name)
        } else {
            node.name.clone()
        }
    };
    if nodes.len() <= SERVERS_NAMED {
        return nodes.iter().map(name).collect::<Vec<_>>().join(", ");
    }
    let shown: Vec<String> = nodes.iter().take(3).map(name).collect();
    let last = nodes.last().map(name).unwrap_or_default();
    format!("{}, … {last}: {} in all", shown.join(", "), nodes.len())
}

/// One row per recipe, in the order in which they are first used.
fn rows(plan: &Plan, detail: Detail, window: Option<&Window>, groups: &[Group]) -> Vec<Row> {
    let mut seen: Vec<RecipeIndex> = Vec::new();
    let mut rows = Vec::new();
    for group in groups {
        let mut here: Vec<RecipeIndex> = group.steps.iter().map(|step| step.recipe).collect();
        here.dedup();
        for index in here {
            if !seen.contains(&index) {
                seen.push(index);
                rows.push(row(plan, detail, window, groups, index));
            }
        }
    }
    rows
}

fn row(plan: &Plan, detail: Detail, window: Option<&Window>, groups: &[Group], index: RecipeIndex) -> Row {
    let recipe = plan.recipe(index);
    let nodes: Vec<NodeIndex> = groups
        .iter()
        .flat_map(|group| &group.steps)
        .filter(|step| step.recipe == index)
        .map(|step| step.node)
        .collect();
    let batches = groups
        .iter()
        .filter(|group| group.steps.iter().any(|step| step.recipe == index))
        .count();
    Row {
        what: what(recipe, detail),
        place: place(plan, window, &nodes, batches),
        proof: recipe
            .proof
            .iter()
            .map(|proof| match detail {
                Detail::Sentences => sentence(proof, recipe),
                Detail::Expressions => proof_words(proof, recipe),
            })
            .collect(),
        back: window
            .map(|window| back(plan, window, recipe))
            .unwrap_or_else(|| outside(recipe)),
        within: recipe.within.to_string(),
    }
}

fn what(recipe: &Recipe, detail: Detail) -> String {
    let title = in_words(&recipe.title, recipe);
    match &recipe.only_if {
        Some(_) if detail == Detail::Sentences => format!("{title}, where it applies"),
        Some(condition) => format!("{title}, if {}", expression(&condition.expect, recipe)),
        None => title,
    }
}

fn place(plan: &Plan, window: Option<&Window>, nodes: &[NodeIndex], batches: usize) -> String {
    let whole = match window {
        Some(window) => window.nodes.len(),
        None => plan.nodes.len(),
    };
    match (nodes, window) {
        _ if batches > 1 => "batch by batch".to_owned(),
        (nodes, Some(window))
            if nodes.len() == whole && whole < plan.nodes.len() && window.nodes == nodes =>
        {
            "its servers".to_owned()
        }
        (nodes, _) if nodes.len() == plan.nodes.len() && nodes.len() > 1 => "every server".to_owned(),
        (nodes, _) => names(plan, nodes),
    }
}

/// What is said of a proof while it does not hold, of no server in particular.
fn sentence(proof: &PlanProof, recipe: &Recipe) -> String {
    let server = match proof.at {
        At::Node | At::LoadBalancer => "the server",
        At::All => "a server",
        At::Others => "another server",
    };
    let said = in_words(&proof.waiting, recipe).replace("{{ node.name }}", server);
    // What is observed is not known before the run.
    match template::says_observed(&said) {
        true => template::abridged(&said),
        false => said,
    }
}

fn proof_words(proof: &PlanProof, recipe: &Recipe) -> String {
    let place = match proof.at {
        At::Node => "",
        At::All => " on all servers",
        At::Others => " on all other servers",
        At::LoadBalancer => " on the load balancer",
    };
    let times = if proof.stable > 1 {
        format!(", {} times in a row", proof.stable)
    } else {
        String::new()
    };
    format!(
        "{}{place}: {}{times}",
        proof.name,
        expression(&proof.expect, recipe)
    )
}

/// An expression with the versions in the place of their names, and digests cut short.
fn expression(text: &str, recipe: &Recipe) -> String {
    const DIGEST: usize = 64;
    const SHOWN: usize = 12;
    let names = [("want", &recipe.want), ("to", &recipe.to), ("from", &recipe.from)];
    let text = names.into_iter().fold(text.to_owned(), |text, (name, version)| {
        rename(&text, name, &format!("'{version}'"))
    });
    let digest = |word: &str| word.len() == DIGEST && word.chars().all(|c| c.is_ascii_hexdigit());
    let pieces = text.split('\'').map(|piece| match digest(piece) {
        true => format!("{}…", &piece[..SHOWN]),
        false => piece.to_owned(),
    });
    pieces.collect::<Vec<_>>().join("'")
}

/// The versions in the place of the names that stand for them in templates.
fn in_words(text: &str, recipe: &Recipe) -> String {
    [
        ("{{ to }}", &recipe.to),
        ("{{ from }}", &recipe.from),
        ("{{ want }}", &recipe.want),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// What takes a step of a window back, in words.
fn back(plan: &Plan, window: &Window, recipe: &Recipe) -> String {
    let StepKind::Do(slot) = recipe.kind else {
        return outside(recipe);
    };
    if recipe.action.is_none() {
        return "changes nothing".to_owned();
    }
    let counterpart = match slot {
        Slot::Stop => Slot::Start,
        Slot::Start => Slot::Stop,
        Slot::Drain => Slot::Undrain,
        Slot::Undrain => Slot::Drain,
        Slot::Pause => Slot::Resume,
        Slot::Resume => Slot::Pause,
        Slot::FreshData | Slot::Restore | Slot::Load => Slot::OldData,
        Slot::Install => Slot::Uninstall,
        other => other,
    };
    let mut titles: Vec<String> = Vec::new();
    for step in window.rollback.iter().flat_map(|group| &group.steps) {
        let undo = plan.recipe(step.recipe);
        let title = in_words(&undo.title, undo);
        if undo.kind == StepKind::Undo(counterpart) && !titles.contains(&title) {
            titles.push(title);
        }
    }
    match slot {
        _ if !titles.is_empty() => titles.join(", then "),
        Slot::Save | Slot::BackUp | Slot::FinalSnapshot => "kept until finalized".to_owned(),
        Slot::HandOver => "not needed: any server may lead".to_owned(),
        _ => "nothing".to_owned(),
    }
}

/// The same for what is done outside of windows.
fn outside(recipe: &Recipe) -> String {
    let words = match recipe.kind {
        StepKind::Undo(_) => "",
        _ if recipe.action.is_none() => "changes nothing",
        StepKind::Distribute | StepKind::Unpack => "not in use until switched",
        StepKind::Arm => "disarmed at the end",
        StepKind::Do(Slot::Protect) => "kept",
        StepKind::Do(Slot::MakePermanent) => "made permanent: rolling back installs the old release again",
        StepKind::Do(_) => "runs beside what serves",
    };
    words.to_owned()
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// A length of time as people say it: `45 s`, `12 min`, `3.5 h`.
pub fn rounded(time: Millis) -> String {
    let seconds = time.0.div_ceil(1000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}
