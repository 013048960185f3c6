//! Calls about releases, outside of runs.

use serde_json::{Value, json};
use upshift_model::action::Service;
use upshift_model::fleet::Host;
use upshift_model::profile::Profile;
use upshift_model::release::{ReleaseAnswer, ReleaseCall, ReleaseHandler};
use upshift_model::template::{self, TemplateError};
use upshift_wire::client::CallError;
use upshift_wire::protocol::{ReleaseOrder, Request, Response};
use upshift_wire::session::{Session, SessionError};
use upshift_wire::transport::ConnectError;

use crate::gather::Look;

/// Why a host did not answer a call about releases.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The agent answered with an error.
    #[error(transparent)]
    Call(#[from] SessionError),
    /// The profile's texts cannot be filled in for this host.
    #[error("the fleet does not say enough about this host: {0}")]
    Template(#[from] TemplateError),
}

/// A host, as calls about releases need it.
#[derive(Clone, Copy)]
pub struct ReleaseHost<'a> {
    /// Its name in the fleet.
    pub name: &'a String,
    /// Its entry in the fleet.
    pub host: &'a Host,
    /// The way to it.
    pub session: &'a Session,
    /// The product.
    pub profile: &'a Profile,
    /// Name of the fleet.
    pub fleet: &'a str,
}

impl ReleaseHost<'_> {
    /// Asks. `token` is that of the fleet's lease, for what changes something.
    ///
    /// # Errors
    /// Where the host cannot be reached or asked.
    pub async fn ask(&self, call: ReleaseCall, token: Option<u64>) -> Result<ReleaseAnswer, ReleaseError> {
        let names = self.names(&call).await?;
        let handler: Option<ReleaseHandler> = template::render(&self.profile.release_handler, &names)?;
        // The product's own tool starts and stops nothing by way of the service.
        let service: Option<Service> = match (&handler, &call) {
            (None, ReleaseCall::Install { .. }) => Some(template::render(&self.profile.service, &names)?),
            _ => None,
        };
        let order = ReleaseOrder {
            call,
            handler,
            service,
            patience: self.profile.window.patience,
            fleet: self.fleet.to_owned(),
            token,
        };
        match self.session.call(Request::Release(Box::new(order))).await? {
            Response::Release(answer) => Ok(answer),
            _ => Err(SessionError::Call(CallError::Unexpected { asked: "release" }).into()),
        }
    }

    async fn names(&self, call: &ReleaseCall) -> Result<Value, ConnectError> {
        let look = Look {
            profile: self.profile,
            name: self.name,
            host: self.host,
            session: self.session,
        };
        let facts = self.session.connected().await?.host;
        let mut names = look.names(&facts);
        let located = look.locate(&names).await?.unwrap_or_default();
        let places = located
            .into_iter()
            .map(|(name, located)| (name, json!(located.value)));
        names.insert("places".to_owned(), Value::Object(places.collect()));
        let version = match call {
            ReleaseCall::List | ReleaseCall::Root => "",
            ReleaseCall::Unpack { version, .. }
            | ReleaseCall::Install { version, .. }
            | ReleaseCall::Uninstall { version } => version,
        };
        names.insert("version".to_owned(), json!(version));
        Ok(Value::Object(names))
    }
}
