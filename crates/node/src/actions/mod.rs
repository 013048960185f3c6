//! What a host can be ordered to do. Every action is "make it so": doing it twice ends as doing it once.

mod answers;
mod copy_package;
mod edit_config;
mod merge;
mod relink;
mod replace;
mod unpack;

pub use copy_package::copy as copy_package;
pub use merge::probe as merged_config;
pub use unpack::unpack as unpack_release;

use serde_json::{Value, json};
use upshift_model::action::{Action, Artifact};

use crate::error::Result;
use crate::failpoint;
use crate::guard;
use crate::haproxy;
use crate::host::Host;
use crate::http;
use crate::installation;
use crate::process::command::{Keep, perform as perform_command};
use crate::process::{service, unit_file};
use crate::records::Place;
use crate::{packages, saved, snapshots, store};

/// For whom an action is done.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The host.
    pub host: &'a Host,
    /// The run.
    pub run: &'a str,
    /// Position of the hop.
    pub hop: u32,
    /// Name of the fleet.
    pub fleet: &'a str,
    /// The order's place among those of the run.
    pub place: Place,
    /// Marks the processes of the attempt; see [`crate::process::command::MARK`].
    pub mark: &'a str,
}

/// Does one thing; what it returns is the `output` of the report.
///
/// # Errors
/// Where it was not done.
pub fn perform(request: &Request<'_>, action: &Action) -> Result<Value> {
    failpoint::hit("action-begin");
    let layout = &request.host.layout;
    let done = match action {
        Action::Distribute(artifact) => distribute(request, artifact),
        Action::Unpack(order) => unpack::unpack(layout, order),
        Action::Switch(order) => store::switch(layout, &order.release),
        Action::CopyPackage(order) => copy_package::copy(layout, order),
        Action::Install(order) => installation::install(layout, order, request.mark),
        Action::Stop(order) => service::stop(layout, order, request.mark),
        Action::Start(order) => service::start(layout, order, request.mark),
        Action::Save(order) => saved::save(layout, request.run, order),
        Action::Restore(order) => saved::restore(layout, request.run, &order.name),
        Action::EditConfig(order) => edit_config::check(order).and_then(|()| edit_config::edit(order)),
        Action::MergeConfig(order) => merge::merge(order),
        Action::Relink(order) => relink::relink(order),
        Action::Replace(order) => replace::replace(layout, order),
        Action::Command(order) => perform_command(order, request.mark, Keep::Memory),
        Action::Haproxy(order) => haproxy::order(layout, request.run, order),
        Action::Http(order) => http::order(order),
        Action::RemoveRelease(version) => store::remove(layout, version),
        Action::RemoveSaved(name) => saved::remove(layout, request.run, name),
        Action::Snapshot(order) => snapshots::take(request.host, order, request.mark),
        Action::MoveUnit(order) => unit_file::move_over(order),
        Action::UnmoveUnit(order) => unit_file::take_back(order),
        Action::ArmGuard(recipe) => guard::arm(request, recipe),
        Action::DisarmGuard => guard::disarm_on_order(request).map(|status| json!(status)),
    };
    failpoint::hit("action-end");
    done
}

fn distribute(request: &Request<'_>, artifact: &Artifact) -> Result<Value> {
    match packages::verify(&request.host.layout, artifact)? {
        true => Ok(json!({ "sha256": artifact.sha256, "size": artifact.size })),
        false => Err(unpack::not_sent(artifact)),
    }
}
