//! The management address: metrics, health and state over HTTP, and what the peers say on theirs.
//!
//! [`Endpoint`] answers `/metrics`, `/healthz`, `/readyz`, `/state`, `/zones` and `/pool-views` from a [`Snapshot`]
//! that is taken for each request. `starling serve` alone takes it of itself; the agent of itself and of its server.
//! [`Peers`] asks the other nodes for their `/state`. Nothing here changes anything: what is to be done goes over the
//! control socket.

mod ask;
mod metrics;
mod pages;
mod peers;
mod server;

pub(crate) use ask::{AskError, fetch, send};
pub(crate) use metrics::ZONES_MAX;
pub(crate) use peers::{Peers, Timing};
pub(crate) use server::Endpoint;

use crate::pools::{Asked, Told};
use crate::status::{AgentStatus, DigestPage, NodeStatus, ZoneStatus};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What can be told at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The server; none while it loads its zones, or where it does not answer its agent.
    pub(crate) server: Option<NodeStatus>,
    /// The server's zones in the order of the configuration; those beyond [`ZONES_MAX`] may be missing.
    pub(crate) zones: Arc<[ZoneStatus]>,
    /// The agent; none where the server runs alone.
    pub(crate) agent: Option<AgentStatus>,
    /// A part of the versions of zones that answer, where that was asked for and the server has said it.
    pub(crate) digests: Option<DigestPage>,
    /// What a peer is answered that asks what the checks of pools see, where the server has said it.
    pub(crate) told: Option<Told>,
}

impl Snapshot {
    /// A server without an agent that can't say anything yet.
    pub(crate) fn loading() -> Snapshot {
        Snapshot { server: None, zones: Arc::default(), agent: None, digests: None, told: None }
    }
}

/// A snapshot to come.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Snapshot>>>;

/// How much of a snapshot is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// What the process knows of itself: it is there at once. Of a server under an agent nothing is needed.
    Own,
    /// Everything; the agent asks its server for the rest.
    All,
    /// The versions of zones that answer, from this index on, as many as a page has; nothing else is needed.
    Digests(usize),
    /// What is answered to a peer that asks what the checks of pools see; nothing else is needed.
    Sights(Asked),
}

/// What takes a snapshot. It gives up on a server that doesn't answer well before [`SNAPSHOT_WITHIN`], and says so by
/// leaving it out.
pub(crate) type Source = Rc<dyn Fn(Extent) -> Pending>;

/// How long a request waits for its snapshot before it is told that there is none. A server tells its state from
/// memory; with 100,000 zones that takes some tenths of a second.
pub(crate) const SNAPSHOT_WITHIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod samples;
