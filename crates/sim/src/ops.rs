//! Actions as the small steps between which an agent or a guard can be killed.

use std::collections::VecDeque;

use upshift_model::action::{Action, Artifact, Command, EditConfig, GuardRecipe, Relink, Service};

use crate::rng::Rng;

/// The smallest thing that a host does.
#[derive(Clone, Debug)]
pub enum Op {
    /// A package arrives.
    AddPackage(Artifact),
    /// A release is unpacked under a temporary name and then given its own.
    AddRelease(Artifact),
    /// The link `current` is replaced.
    SetCurrent(String),
    /// The server is asked to end.
    AskToEnd,
    /// The server's end is waited for; it is killed at this moment.
    AwaitEnd {
        /// When it is killed, once known.
        kill_at: Option<u64>,
        /// How long it is asked for.
        patience: u64,
    },
    /// The server is started.
    StartServer,
    /// A path is copied aside, under a temporary name.
    CopyAside {
        /// Name of the copy.
        name: String,
        /// What is copied.
        path: String,
    },
    /// The copies are given their name.
    FinishSave(String),
    /// The copies are put back.
    PutBack(String),
    /// Lines of a configuration are changed.
    Edit(EditConfig),
    /// A directory is made and a link pointed at it.
    Link(Relink),
    /// A program runs.
    Run(Command),
    /// A release is removed.
    RemoveRelease(String),
    /// Copies are removed.
    RemoveSaved(String),
    /// The guard's record is written and its process started.
    Arm(Box<GuardRecipe>),
    /// The guard's record is closed.
    Disarm,
}

/// The steps of an action.
pub fn ops_of(action: &Action) -> VecDeque<Op> {
    match action {
        Action::Distribute(artifact) => [Op::AddPackage(artifact.clone())].into(),
        Action::Unpack(unpack) => [Op::AddRelease(unpack.artifact.clone())].into(),
        Action::Switch(switch) => [Op::SetCurrent(switch.release.clone())].into(),
        Action::Stop(stop) => [
            Op::AskToEnd,
            Op::AwaitEnd {
                kill_at: None,
                patience: stop.patience.0,
            },
        ]
        .into(),
        Action::Start(Service::Systemd(_) | Service::Supervised(_) | Service::Commands(_)) => {
            [Op::StartServer].into()
        }
        Action::Save(save) => {
            let copy = |path: &String| Op::CopyAside {
                name: save.name.clone(),
                path: path.clone(),
            };
            let copies = save.paths.iter().map(copy);
            copies.chain([Op::FinishSave(save.name.clone())]).collect()
        }
        Action::Restore(restore) => [Op::PutBack(restore.name.clone())].into(),
        Action::EditConfig(edit) => [Op::Edit(edit.clone())].into(),
        Action::Relink(relink) => [Op::Link(relink.clone())].into(),
        // No product of the simulator has a tool that looks for packages, a package manager, a load balancer or a repository.
        Action::CopyPackage(_)
        | Action::Install(_)
        | Action::MergeConfig(_)
        | Action::MoveUnit(_)
        | Action::UnmoveUnit(_)
        | Action::Replace(_)
        | Action::Haproxy(_)
        | Action::Http(_)
        | Action::Snapshot(_) => [].into(),
        Action::Command(command) => [Op::Run(command.clone())].into(),
        Action::RemoveRelease(version) => [Op::RemoveRelease(version.clone())].into(),
        Action::RemoveSaved(name) => [Op::RemoveSaved(name.clone())].into(),
        Action::ArmGuard(recipe) => [Op::Arm(recipe.clone())].into(),
        Action::DisarmGuard => [Op::Disarm].into(),
    }
}

/// How long a step takes, in milliseconds.
pub fn duration_of(op: &Op, rng: &mut Rng) -> u64 {
    match op {
        Op::AddPackage(_) | Op::AddRelease(_) => rng.between(2_000, 6_000),
        Op::AwaitEnd { .. } => 100,
        Op::Run(_) => rng.between(50, 400),
        Op::CopyAside { .. } | Op::PutBack(_) => rng.between(20, 200),
        _ => rng.between(5, 40),
    }
}
