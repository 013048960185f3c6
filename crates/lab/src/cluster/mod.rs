//! Clusters on this machine, laid out as Upshift takes them over: each member has a state directory with a release store, and
//! its process runs through the store's link with the arguments that the product's profile names.

mod layout;
mod member;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

pub use layout::{Place, put_into_store};
pub use member::Member;

use crate::cleanup::Cleanup;
use crate::client::Client;
use crate::http;
use crate::package::Package;
use crate::processes;

/// A product that a cluster can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Real etcd.
    Etcd,
    /// The lab server.
    Lab,
    /// Real NATS with JetStream.
    Nats,
}

impl Product {
    /// The product's short name in its profile.
    pub fn name(self) -> &'static str {
        match self {
            Product::Etcd => "etcd",
            Product::Lab => "lab",
            Product::Nats => "nats",
        }
    }
}

/// Why a cluster did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Files could not be laid out.
    #[error("the cluster's files: {0}")]
    Files(#[from] io::Error),
    /// A member's process could not be started.
    #[error("the member {0} could not be started: {1}")]
    Start(String, io::Error),
    /// The members did not become healthy.
    #[error("after {seconds} s not every member is healthy; the last lines of the first that is not:\n{log}")]
    Unhealthy {
        /// How long was waited.
        seconds: u64,
        /// The end of a log.
        log: String,
    },
}

/// A running cluster. All its processes end when it is dropped, whoever started them.
pub struct Cluster {
    product: Product,
    directory: PathBuf,
    members: Vec<Member>,
    fleet_file: PathBuf,
    // Last: it is told that all is clean after it is.
    _cleanup: Cleanup,
}

const STARTS_WITHIN: Duration = Duration::from_secs(30);

impl Cluster {
    /// Lays a cluster out under a directory and starts it with a release; returns when every member is healthy.
    ///
    /// # Errors
    /// Where files cannot be written, a process cannot be started, or the members do not become healthy.
    pub fn start(
        product: Product,
        directory: &Path,
        places: Vec<Place>,
        package: &Package,
    ) -> Result<Self, ClusterError> {
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let _cleanup = Cleanup::of_directory(&directory)?;
        let members = layout::members(product, &directory, places)?;
        let fleet_file = directory.join("fleet.yaml");
        let mut cluster = Cluster {
            product,
            directory,
            members,
            fleet_file,
            _cleanup,
        };
        fs::write(&cluster.fleet_file, cluster.fleet_text("lab"))?;
        for position in 0..cluster.members.len() {
            processes::while_nobody_forks(|| layout::install(product, &cluster.members, position, package))?;
            cluster.start_member(position)?;
        }
        cluster.wait_healthy(STARTS_WITHIN)?;
        Ok(cluster)
    }

    /// The fleet file that names the members.
    pub fn fleet_file(&self) -> &Path {
        &self.fleet_file
    }

    /// The text of a fleet file of another name for the same members.
    pub fn fleet_text(&self, name: &str) -> String {
        layout::fleet(self.product, name, &self.members)
    }

    /// The product.
    pub fn product(&self) -> Product {
        self.product
    }

    /// The directory with everything that belongs to the cluster.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The members, in the order of their names.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A client of the cluster.
    pub fn client(&self) -> Client {
        Client::new(
            self.product,
            self.members.iter().map(Member::data_endpoint).collect(),
        )
    }

    /// Starts a member's process with the current release of its store.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start_member(&mut self, position: usize) -> Result<(), ClusterError> {
        let member = &self.members[position];
        member
            .start()
            .map_err(|error| ClusterError::Start(member.name.clone(), error))
    }

    /// Ends a member's process: asked first, then killed.
    pub fn stop_member(&self, position: usize) {
        processes::end_under(&self.members[position].config_file, Duration::from_secs(20));
    }

    /// The process of a member; nothing where none or several run.
    pub fn pid(&self, position: usize) -> Option<u32> {
        match processes::under(&self.members[position].config_file).as_slice() {
            [pid] => Some(*pid),
            _ => None,
        }
    }

    /// Waits until every member says that it is healthy.
    ///
    /// # Errors
    /// Where that takes longer than the limit.
    pub fn wait_healthy(&self, limit: Duration) -> Result<(), ClusterError> {
        if processes::poll(limit, || {
            self.members.iter().all(|member| self.is_healthy(member))
        }) {
            return Ok(());
        }
        let ill = self.members.iter().find(|member| !self.is_healthy(member));
        let log = ill
            .and_then(|member| fs::read_to_string(&member.log_file).ok())
            .unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        Err(ClusterError::Unhealthy {
            seconds: limit.as_secs(),
            log: lines[lines.len().saturating_sub(8)..].join("\n"),
        })
    }

    /// Whether a member says that it is healthy.
    pub fn is_healthy(&self, member: &Member) -> bool {
        let (path, field) = match self.product {
            Product::Etcd => ("/health", Some(("health", "true"))),
            Product::Lab => ("/health", None),
            Product::Nats => ("/healthz", Some(("status", "ok"))),
        };
        let answer = http::get(&member.endpoint(), path, Duration::from_secs(2));
        answer.is_ok_and(|answer| {
            answer.status == 200 && field.is_none_or(|(name, value)| answer.json()[name] == value)
        })
    }

    /// What each member says of its own version; nothing where it does not answer.
    pub fn versions(&self) -> Vec<Option<String>> {
        let key = match self.product {
            Product::Etcd => "etcdserver",
            Product::Lab => "server",
            Product::Nats => "version",
        };
        self.members
            .iter()
            .map(|member| self.version_of(member, key))
            .collect()
    }

    /// What each member says of the cluster version.
    pub fn cluster_versions(&self) -> Vec<Option<String>> {
        let key = match self.product {
            Product::Etcd => "etcdcluster",
            Product::Lab => "cluster",
            Product::Nats => return vec![None; self.members.len()],
        };
        self.members
            .iter()
            .map(|member| self.version_of(member, key))
            .collect()
    }

    fn version_of(&self, member: &Member, key: &str) -> Option<String> {
        let path = match self.product {
            Product::Nats => "/varz",
            Product::Etcd | Product::Lab => "/version",
        };
        let answer = http::get(&member.endpoint(), path, Duration::from_secs(2)).ok()?;
        match &answer.json()[key] {
            Value::String(version) => Some(version.clone()),
            _ => None,
        }
    }

    /// The members' configuration files, byte for byte.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn configurations(&self) -> io::Result<Vec<Vec<u8>>> {
        self.members
            .iter()
            .map(|member| fs::read(&member.config_file))
            .collect()
    }

    /// Processes that have to do with the cluster: its members, and whatever agents and guards are left.
    pub fn processes(&self) -> Vec<u32> {
        processes::under(&self.directory)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        processes::end_under(&self.directory, Duration::from_secs(10));
    }
}
