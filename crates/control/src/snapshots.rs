//! Calls about snapshots, outside of runs.

use upshift_model::snapshot::{Repository, SnapshotAnswer, SnapshotCall};
use upshift_wire::client::CallError;
use upshift_wire::protocol::{Request, Response, SnapshotOrder};
use upshift_wire::session::{Session, SessionError};

/// Whom a call goes to.
#[derive(Clone, Copy)]
pub struct SnapshotHost<'a> {
    /// Name of the host in the fleet.
    pub name: &'a str,
    /// The way to it.
    pub session: &'a Session,
    /// Its repository.
    pub repository: &'a Repository,
    /// Name of the fleet.
    pub fleet: &'a str,
}

impl SnapshotHost<'_> {
    /// Asks. `token` is that of the fleet's lease, for what changes something. There is no limit of time: a repository may be large.
    ///
    /// # Errors
    /// Where the host cannot be reached, or did not do it.
    pub async fn ask(&self, call: SnapshotCall, token: Option<u64>) -> Result<SnapshotAnswer, SessionError> {
        let order = SnapshotOrder {
            call,
            repository: self.repository.clone(),
            host: self.name.to_owned(),
            fleet: self.fleet.to_owned(),
            token,
        };
        match self.session.call(Request::Snapshot(Box::new(order))).await? {
            Response::Snapshot(answer) => Ok(answer),
            _ => Err(SessionError::Call(CallError::Unexpected { asked: "snapshot" })),
        }
    }
}
