//! The shape of a plan.
//!
//! A plan is a list of *groups*. The steps of one group are done in parallel, at most one per server; a group begins when
//! the one before it is done. Texts in actions are still templates here; [`Recipe`]s are shared by the steps that differ
//! only in their server, which keeps the plan of ten thousand servers small.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use upshift_model::Millis;
use upshift_model::action::{Action, Artifact};
use upshift_model::fleet::Acceptance;
use upshift_model::package::verified::Verified;
use upshift_model::probe::Probe;
use upshift_model::profile::{At, Otherwise, Retry, Slot, Source, Strategy};
use upshift_model::version::Scheme;

/// Version of the plan's shape; a plan of another version is refused.
pub const PLAN_FORMAT: u32 = 1;

/// What an operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The version to reach.
    pub to: String,
    /// Versions that the path must go through.
    #[serde(default)]
    pub via: Vec<String>,
    /// The packages at hand, for the target and for intermediate versions.
    #[serde(default)]
    pub artifacts: Vec<Artifact>,
    /// By what packages were verified when the plan was made, by their digest. One that is missing here was not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verified: BTreeMap<String, Verified>,
    /// The restic program that hosts get which have none, to keep snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_tool: Option<Artifact>,
    /// Servers per window of a rolling hop; the profile's `max_unavailable` where absent.
    #[serde(default)]
    pub batch: Option<u32>,
    /// Host to be upgraded first.
    #[serde(default)]
    pub canary: Option<String>,
    /// Names of checks that were skipped, in plans made before there were named risks. New plans have none.
    #[serde(default)]
    pub skip_checks: Vec<String>,
    /// Risks that the operator takes upon themselves, those whose time has passed left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Acceptance>,
    /// Whether a version that was rolled back before may be tried again.
    #[serde(default)]
    pub again: bool,
    /// The explicit yes to crossing points of no return.
    #[serde(default)]
    pub accept_no_return: bool,
    /// Only bring the packages to the servers and unpack them (`upshift prepare`): the run ends after the plan's `prepare`.
    #[serde(default)]
    pub prepare_only: bool,
    /// Restart the services from the release store, on the version that they run (`upshift adopt --services`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub move_services: bool,
    /// Overrides of the profile's window rules and soak, as the fleet's operator wants them.
    #[serde(default)]
    pub timing: Timing,
}

/// Times that an operator may set for one upgrade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// See [`upshift_model::profile::WindowRules::limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Millis>,
    /// See [`upshift_model::profile::WindowRules::lease`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Millis>,
    /// See [`upshift_model::profile::WindowRules::slot`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Millis>,
    /// See [`upshift_model::profile::Soak::duration`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Millis>,
    /// See [`upshift_model::profile::Soak::between`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<Millis>,
    /// The most time for any one step; shortens the recipes' own limits, never lengthens them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Millis>,
}

/// Position of a server in [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIndex(pub u32);

/// Position of a recipe in [`Plan::recipes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecipeIndex(pub u32);

/// Number of a step, unique in its plan, growing in the order in which a plan is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// An immutable plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// Short name of the product.
    pub product: String,
    /// Name of the product as its vendor writes it.
    pub title: String,
    /// How its versions order.
    pub scheme: Scheme,
    /// Name of the fleet.
    pub fleet: String,
    /// What was asked for.
    pub request: Request,
    /// Digest of the facts that must not have changed when the plan is executed; see [`crate::fingerprint`].
    pub facts: String,
    /// Digest of everything above and below: two plans with one fingerprint are the same plan.
    pub fingerprint: String,
    /// The servers, in the order of their names.
    pub nodes: Vec<PlanNode>,
    /// The load balancers that something is done on, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balancers: Vec<PlanBalancer>,
    /// What is done, shared by steps.
    pub recipes: Vec<Recipe>,
    /// Before anything is changed: packages to every server, unpacked, and what must be built built, for all hops.
    pub prepare: Vec<Group>,
    /// The hops, in order.
    pub hops: Vec<Hop>,
    /// The last act before a run says that every server runs the new version: every server of the product is observed. Empty in
    /// plans that were made before there was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<Group>,
    /// The separate, explicit last step.
    pub finalize: Vec<Group>,
    /// What `finalize` will do, in sentences.
    pub finalize_notes: Vec<String>,
    /// Time and disk.
    pub estimate: Estimate,
    /// Things that an operator should know and that stop nothing.
    pub warnings: Vec<String>,
    /// What would have stood in the way, had the operator not taken it upon themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<Risk>,
    /// What the first hop's merges will change in the operator's configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_changes: Vec<ConfigChange>,
    /// What those who use the servers will notice, when and for how long; to be sent to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// What a merge will change in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// The servers on which it changes just this.
    pub hosts: Vec<String>,
    /// The file.
    pub file: String,
    /// A unified diff from the operator's file to the merged one. Values of secrets are starred out.
    pub diff: String,
}

/// A risk that was taken: what was found, and who took it for which reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Risk {
    /// Its name, and why the operator takes it.
    #[serde(flatten)]
    pub acceptance: Acceptance,
    /// The hosts that it is about; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// What was found when the plan was made.
    pub found: String,
}

impl Risk {
    /// It in a sentence.
    pub fn words(&self) -> String {
        let Acceptance { name, reason, until } = &self.acceptance;
        let hosts = match self.hosts.is_empty() {
            true => String::new(),
            false => format!(" on {}", self.hosts.join(", ")),
        };
        let until = until.as_ref().map(|until| format!(", until {until}"));
        format!(
            "risk taken, `{name}`{hosts}: {}; accepted because: {reason}{}",
            self.found,
            until.unwrap_or_default()
        )
    }
}

/// A server of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanNode {
    /// Name of the host in the fleet.
    pub name: String,
    /// Version that ran when the plan was made.
    pub version: String,
    /// Whether it led when the plan was made.
    pub leader: bool,
    /// Its failure domain, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
    /// The agent's state directory.
    pub state_directory: String,
    /// Places found on it.
    pub places: BTreeMap<String, String>,
    /// Variables from the fleet: those that something in the plan names, and no others, for a plan is shown around.
    pub variables: BTreeMap<String, Value>,
    /// What else must be as it was when the plan is executed.
    #[serde(default)]
    pub stamp: NodeStamp,
    /// Values of probes when the plan was made, for `before` in proofs. Only of probes that a proof asks so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<String, Value>,
}

/// A load balancer of the plan: a host on which something is done about a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanBalancer {
    /// Name of the host in the fleet.
    pub name: String,
    /// Variables from the fleet: those that something in the plan names.
    pub variables: BTreeMap<String, Value>,
}

/// Facts of a server that must not change between planning and doing, beside its version and places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStamp {
    /// Operating system.
    pub os: String,
    /// Machine architecture.
    pub arch: String,
    /// Named parts of the running release's package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variant: BTreeMap<String, String>,
    /// SHA-256 of each configuration place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_digests: BTreeMap<String, String>,
}

/// What is done on a server, shared by all steps that do the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Which moment of the strategy it fills.
    pub kind: StepKind,
    /// What an operator reads while it is done.
    pub title: String,
    /// `from` for templates and expressions.
    pub from: String,
    /// `to` for templates and expressions.
    pub to: String,
    /// `want` for templates and expressions: the version that shall run when the step's phase is over. It is `to` on the way
    /// forward and `from` in a rollback (`from` and `to` stay those of the hop), so that one verb serves both ways.
    pub want: String,
    /// The load balancer on whose host it is done, instead of on the step's server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<String>,
    /// Done only where this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_if: Option<PlanProof>,
    /// Values computed from the observation of `only_if`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bindings: BTreeMap<String, String>,
    /// What is done, with templates; nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// What must be observed, in order.
    pub proof: Vec<PlanProof>,
    /// What shows that the proof is waited for in vain. It is looked at beside the proof, and where it holds as often in a row as it
    /// says, the step has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails_on: Option<PlanProof>,
    /// Time for action and proof together; progress extends it.
    pub within: Millis,
    /// What happens where the proof does not hold by then.
    #[serde(default, skip_serializing_if = "Otherwise::is_fail")]
    pub otherwise: Otherwise,
    /// How often the action is tried again after a failure that may pass.
    pub retry: Retry,
}

/// Which moment a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Have the package on the host.
    Distribute,
    /// Unpack it.
    Unpack,
    /// Arm the guard.
    Arm,
    /// A slot of the strategy, on the way forward.
    Do(Slot),
    /// The same slot, in a rollback.
    Undo(Slot),
}

/// A proof with its probe looked up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanProof {
    /// Name of the probe in the profile.
    pub name: String,
    /// The probe, with templates.
    pub probe: Probe,
    /// Where it is observed.
    pub at: At,
    /// What it must show.
    pub expect: String,
    /// What is being waited for.
    pub waiting: String,
    /// How often in a row.
    pub stable: u32,
    /// Time between two looks.
    pub every: Millis,
    /// Expression that grows with progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// Steps done in parallel, at most one per server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One recipe on one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// Where.
    pub node: NodeIndex,
    /// What.
    pub recipe: RecipeIndex,
    /// Done only if one of these steps was begun: those that it undoes in a rollback, and those that took the server out of a load
    /// balancer where it puts it back. Always done where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undoes: Vec<StepId>,
}

/// One step of the path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Version that the hop leads out of.
    pub from: String,
    /// Version that it leads to.
    pub to: String,
    /// How it is done.
    pub strategy: Strategy,
    /// Where the claim comes from that it may be done.
    pub source: Source,
    /// Before the windows: the cluster is settled, snapshots are taken and proven.
    pub protect: Vec<Group>,
    /// The windows.
    pub windows: Vec<Window>,
    /// After the decision to stay, guards disarmed: what makes it permanent.
    pub stay: Vec<Group>,
    /// What is watched afterwards.
    pub soak: SoakPlan,
    /// Before the next hop: background work has ended.
    pub settle: Vec<Group>,
    /// The last act before a run says that this hop was rolled back: every server is observed, also those that it never touched. Each
    /// must run what it ran before the hop. Empty in plans that were made before there was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rolled_back: Vec<Group>,
    /// Added to the lease of each server's guard, so that guards that nobody renews fire one window after the other, the last
    /// upgraded first. Servers that are not named have no guard in this hop, or one without an offset.
    /// [`crate::render_action`] puts it into the order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub guard_offsets: BTreeMap<NodeIndex, Millis>,
    /// The moment after which the old version cannot come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_return: Option<NoReturnPlan>,
}

/// The bounded time in which service is disturbed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The servers that it disturbs.
    pub nodes: Vec<NodeIndex>,
    /// Before the window opens: the cluster can bear it.
    pub gate: Vec<Group>,
    /// What is done; the first group arms the guards.
    pub forward: Vec<Group>,
    /// Before the window is rolled back after it had been completed: the cluster can bear it. Skipped where the window itself failed.
    #[serde(alias = "revert_gate")]
    pub rollback_gate: Vec<Group>,
    /// Arms the guards again where they have been disarmed (a rollback after the decision to stay).
    pub rearm: Vec<Group>,
    /// The rollback.
    #[serde(alias = "revert")]
    pub rollback: Vec<Group>,
    /// How long it may go forward; then it is rolled back.
    pub limit: Millis,
    /// What is kept free after `limit`, so that rolling back, by the controller or by guards that nobody renews any more, ends in time
    /// as well: the window is over after both. Only where all servers are disturbed together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reserve: Millis,
    /// How long the result is watched before the next window.
    pub soak: Millis,
    /// Lease of the guards armed in it; they are renewed three times per lease.
    pub lease: Millis,
}

impl Window {
    /// All its groups, in the order of the fields above.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        let parts = [
            &self.gate,
            &self.forward,
            &self.rollback_gate,
            &self.rearm,
            &self.rollback,
        ];
        parts.into_iter().flatten()
    }
}

impl Hop {
    /// All its groups: those around the windows, and the windows' own.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        let around = [&self.protect, &self.stay, &self.settle, &self.rolled_back];
        let windows = self.windows.iter().flat_map(Window::groups);
        around
            .into_iter()
            .flatten()
            .chain(windows)
            .chain(self.own_rollback())
    }

    /// What is done around a rollback past the point of no return, where the product itself has one.
    pub fn own_rollback(&self) -> impl Iterator<Item = &Group> {
        let own = self
            .no_return
            .as_ref()
            .and_then(|point| point.own_rollback.as_ref());
        own.into_iter().flat_map(|own| own.begin.iter().chain(&own.end))
    }
}

fn is_zero(time: &Millis) -> bool {
    *time == Millis::ZERO
}

/// What is watched after a hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoakPlan {
    /// For how long.
    pub duration: Millis,
    /// How long a fault must last before it counts.
    pub lasting: Millis,
    /// What must keep holding.
    pub watch: Vec<PlanProof>,
}

/// A point of no return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoReturnPlan {
    /// What happens.
    pub description: String,
    /// The rollback after it.
    #[serde(alias = "way_back")]
    pub rollback: String,
    /// Window (position in [`Hop::windows`]) that cannot be begun without crossing it sooner or later.
    pub window: u32,
    /// Shows whether it has been crossed.
    pub crossed: Crossed,
    /// Where the claim comes from.
    pub source: Source,
    /// The product's own rollback over it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_rollback: Option<OwnRollbackPlan>,
}

/// What is done around a rollback past the point of no return, where the product itself has one. Both parts are done only where the
/// point was crossed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnRollbackPlan {
    /// Before any server is touched.
    pub begin: Vec<Group>,
    /// Once every server runs the old version.
    pub end: Vec<Group>,
    /// How it is given up where it is stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<String>,
    /// Where the claim comes from.
    pub source: Source,
}

/// What shows that a point of no return was crossed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Crossed {
    /// A look at the servers: `expect` holds once it has. Guards look, too.
    Observed(Box<PlanProof>),
    /// It counts as crossed once one of these steps has done something, and at the latest when the window has ended on the new version.
    /// An operator who has been told so may still roll back.
    Begun(Vec<StepId>),
}

impl Crossed {
    /// The look at the servers, where there is one.
    pub fn observed(&self) -> Option<&PlanProof> {
        match self {
            Crossed::Observed(proof) => Some(proof),
            Crossed::Begun(_) => None,
        }
    }
}

/// Time and disk that a plan needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Expected time, preparation left out.
    pub duration: Millis,
    /// Expected disturbed time per server.
    pub disturbed_per_node: Millis,
    /// The longest that it can take before it is rolled back or held.
    pub at_most: Millis,
    /// Bytes to be sent to each server.
    pub download_per_node: u64,
    /// Free bytes needed on each server.
    pub disk_per_node: u64,
}

/// What is known of the condition that a refusal is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It was judged, and does not hold.
    #[default]
    DoesNotHold,
    /// It could not be judged: unknown, which is neither yes nor no.
    CannotTell,
}

/// A reason why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// A short stable word: `unknown-version`, `blocked`, `no-path`, `unreachable`, `check:NAME`, …
    pub code: String,
    /// The hosts that it is about; all where empty.
    pub hosts: Vec<String>,
    /// What is wrong, with the values seen.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Where the rule comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whether something does not hold, or cannot be told.
    #[serde(default)]
    pub finding: Finding,
    /// Names of the checks that cannot be told because of this, sorted. They are not reported one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<String>,
}

impl Recipe {
    /// The same question, where one look has to hold.
    pub(crate) fn asked_once(&self) -> Self {
        let mut again = self.clone();
        for proof in &mut again.proof {
            proof.stable = 1;
        }
        again.title = format!("again: {}", self.title);
        again
    }

    /// Whether it asks if the cluster can bear what follows.
    pub fn is_gate(&self) -> bool {
        matches!(self.kind, StepKind::Do(Slot::Gate) | StepKind::Undo(Slot::Gate))
    }
}

impl Plan {
    /// The server at an index.
    pub fn node(&self, index: NodeIndex) -> &PlanNode {
        &self.nodes[index.0 as usize]
    }

    /// The recipe at an index.
    pub fn recipe(&self, index: RecipeIndex) -> &Recipe {
        &self.recipes[index.0 as usize]
    }
}
