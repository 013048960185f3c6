//! What a controller asks of an agent, and what the agent answers.
//!
//! One agent process per host and session; requests carry a number and may be answered in any order. A frame is a
//! length, a JSON header, and for [`Request::PutChunk`] the raw bytes after it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use upshift_model::Millis;
use upshift_model::action::{Action, Artifact, GuardStatus, Report, Service};
use upshift_model::facts::HostFacts;
use upshift_model::probe::{Observation, Probe};
use upshift_model::profile::Place;
use upshift_model::release::{ReleaseAnswer, ReleaseCall, ReleaseHandler};
use upshift_model::runs::{HostRuns, RunNote};
use upshift_model::snapshot::{Repository, SnapshotAnswer, SnapshotCall};

/// Version of this protocol; an agent of another version is replaced.
pub const PROTOCOL: u32 = 3;

/// A request with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestFrame {
    /// Number that the answer carries, too.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// An answer with the number of its request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseFrame {
    /// Number of the request.
    pub id: u64,
    /// The answer; an error is a sentence for the operator.
    pub response: Result<Response, String>,
}

/// What a controller asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First frame of a session; answered by [`Response::Hello`].
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// Do something; answered by [`Response::Report`]. Orders of one run are done one after the other on a host.
    Execute(Box<ExecuteOrder>),
    /// Observe something; answered by [`Response::Observation`].
    Observe {
        /// The run that asks, where one does (for [`Probe::Guard`], [`Probe::Saved`], [`Probe::Log`]).
        run: Option<String>,
        /// The hop whose way forward the answer is to prove: once the host's guard of that hop has fired, there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hop: Option<u32>,
        /// What.
        probe: Box<Probe>,
    },
    /// Find the places of a profile on this host; answered by [`Response::Places`].
    Locate {
        /// The places, by name.
        places: BTreeMap<String, Place>,
        /// The service whose process tells environment and arguments.
        service: Box<Service>,
        /// The context that templates in sources are filled in from.
        context: serde_json::Value,
    },
    /// Do something about releases outside of a run; answered by [`Response::Release`].
    Release(Box<ReleaseOrder>),
    /// Do something about snapshots outside of a run; answered by [`Response::Snapshot`].
    Snapshot(Box<SnapshotOrder>),
    /// Renew the guard of a run; answered by [`Response::Guard`] or [`Response::Fenced`].
    Renew(GuardCall),
    /// Disarm it; answered by [`Response::Guard`].
    Disarm {
        /// Which guard.
        guard: GuardCall,
        /// Number of the run's newest order. Orders to arm this guard that are not newer, and come late, are refused from then
        /// on; a guard that was armed by a newer one stays.
        sequence: u64,
    },
    /// What the host knows of runs; answered by [`Response::Runs`].
    Runs,
    /// From now on refuse every older controller of this fleet; answered by [`Response::Noted`] or [`Response::Fenced`].
    Fence {
        /// Name of the fleet, the scope of tokens.
        fleet: String,
        /// Fencing token.
        token: u64,
    },
    /// Write down how far a run is; answered by [`Response::Noted`] or [`Response::Fenced`]. Refused where another controller
    /// has closed the run.
    Note(Box<RunNote>),
    /// Let the guard roll its host back now, whether it stands or was disarmed; answered by [`Response::Guard`] or
    /// [`Response::Fenced`]. One that has rolled back, or stood down, stays as it is.
    RollBack(GuardCall),
    /// A file is to come; answered by [`Response::Put`].
    PutBegin(Artifact),
    /// A piece of it, in the raw bytes after the header; answered by [`Response::Put`].
    PutChunk {
        /// Digest of the whole file.
        sha256: String,
        /// Where the piece begins.
        offset: u64,
    },
    /// That was all; answered by [`Response::Put`] or an error where the digest is wrong.
    PutEnd {
        /// Digest of the whole file.
        sha256: String,
    },
}

/// An order on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecuteOrder {
    /// The run.
    pub run: String,
    /// Number of the step in its plan.
    pub step: u32,
    /// Which attempt. One (run, step, attempt) is done at most once; asked again, the recorded report is the answer.
    pub attempt: u32,
    /// Fencing token; an older one than the host has seen from this fleet is answered by [`Report::Fenced`].
    pub token: u64,
    /// Grows with every order of a run; an older one than the newest seen (with the same token) is answered by [`Report::Fenced`].
    pub sequence: u64,
    /// Name of the fleet, the scope of tokens.
    pub fleet: String,
    /// Whether the order leads forward: then it is refused with [`Report::GuardFired`] once the guard of this hop has fired.
    pub forward: bool,
    /// Position of the hop; guards are armed per (run, hop).
    pub hop: u32,
    /// What is to be done, templates filled in.
    pub action: Action,
}

/// A call about releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseOrder {
    /// What is asked.
    pub call: ReleaseCall,
    /// The product's own tool, templates filled in; where absent, the host's release store does it.
    pub handler: Option<ReleaseHandler>,
    /// The service that runs the releases of the store, templates filled in; only an installation needs it.
    pub service: Option<Service>,
    /// How long the service may take to stop.
    pub patience: Millis,
    /// Name of the fleet, the scope of tokens.
    pub fleet: String,
    /// Fencing token; absent for what only looks. An older one than the host has seen is answered by an error.
    pub token: Option<u64>,
}

/// A call about snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotOrder {
    /// What is asked.
    pub call: SnapshotCall,
    /// The repository, templates filled in.
    pub repository: Repository,
    /// Name of the host in the fleet.
    pub host: String,
    /// Name of the fleet, the scope of tokens.
    pub fleet: String,
    /// Fencing token; absent for what only looks. An older one than the host has seen is answered by an error.
    pub token: Option<u64>,
}

/// Which guard is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardCall {
    /// The run.
    pub run: String,
    /// The hop.
    pub hop: u32,
    /// Name of the fleet, the scope of tokens.
    pub fleet: String,
    /// Fencing token. An older one than the host has seen is answered by an error.
    pub token: u64,
}

/// What an agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Hello`].
    Hello {
        /// [`PROTOCOL`] of the agent.
        protocol: u32,
        /// The host.
        host: Box<HostFacts>,
        /// The host's clock, milliseconds since 1970.
        clock_ms: u64,
    },
    /// To [`Request::Execute`].
    Report(Report),
    /// To [`Request::Observe`].
    Observation(Observation),
    /// To [`Request::Release`].
    Release(ReleaseAnswer),
    /// To [`Request::Snapshot`].
    Snapshot(SnapshotAnswer),
    /// To [`Request::Locate`].
    Places(BTreeMap<String, Located>),
    /// To [`Request::Renew`] and [`Request::Disarm`].
    Guard(GuardStatus),
    /// To [`Request::Runs`].
    Runs(HostRuns),
    /// To [`Request::Note`] and [`Request::Fence`].
    Noted,
    /// To what carries a fencing token: the host has seen a younger controller of this fleet.
    Fenced {
        /// The token that it has seen.
        token: u64,
    },
    /// To the three requests that carry a file: how many bytes the host has; the whole file where `complete`.
    Put {
        /// Bytes that the host has.
        received: u64,
        /// Whether it has the whole file with the right digest.
        complete: bool,
    },
}

/// Where a place was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The path or value.
    pub value: String,
    /// What said so, in words: `environment variable ETCD_DATA_DIR`.
    pub source: String,
}
