//! The connections to a fleet's hosts, shared by everything that a command does with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use upshift_model::fleet::Fleet;
use upshift_wire::binary::AgentBinary;
use upshift_wire::session::Session;
use upshift_wire::transport::{Connect, Reach, Sharing};

/// One session per host. A host is logged in to when it is first needed, once.
#[derive(Clone, Default)]
pub struct Hosts {
    sessions: BTreeMap<String, Arc<Session>>,
}

impl Hosts {
    /// The servers of a product and the load balancers before them; see [`Fleet::servers`] and [`Fleet::load_balancers`]. Their logins
    /// are shared with other commands where `sharing` says how.
    pub fn servers(fleet: &Fleet, group: &str, binary: &Arc<AgentBinary>, sharing: Option<&Sharing>) -> Self {
        let hosts = fleet.servers(group).chain(fleet.load_balancers(group));
        Hosts::reached_by(hosts.map(|(name, host)| {
            let reach = Reach::new(name, host, Arc::clone(binary)).sharing(sharing.cloned());
            Arc::new(reach) as Arc<dyn Connect>
        }))
    }

    /// Hosts that are reached in any other way.
    pub fn reached_by(connectors: impl IntoIterator<Item = Arc<dyn Connect>>) -> Self {
        let sessions = connectors
            .into_iter()
            .map(|connector| (connector.host().to_owned(), Arc::new(Session::new(connector))))
            .collect();
        Hosts { sessions }
    }

    /// The session of a host.
    pub fn get(&self, name: &str) -> Option<&Arc<Session>> {
        self.sessions.get(name)
    }

    /// All sessions, by the names of their hosts.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Arc<Session>)> {
        self.sessions.iter()
    }
}
