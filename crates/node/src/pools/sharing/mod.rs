//! Nodes tell each other what the checks of their pools see, so that a pool may go by more than what one node sees.
//!
//! A node is asked at its management address, and answers who has the key ([`seal`]) with what it has seen itself
//! ([`sights`]). It asks its peers in turn ([`asking`]), and goes by what those say that have answered lately
//! ([`views`]); whose view counts, a pool says ([`pool::View`]). All threads that have to do with it have an
//! [`Exchange`].

mod asking;
mod exchange;
mod seal;
mod sights;
mod views;

pub(crate) use asking::MAC_HEADER;
pub(crate) use exchange::Exchange;
pub(crate) use seal::{Asked, NotAsked, PATH};
pub(super) use sights::{Sight, Sighting};

use crate::config::SharingConfig;
use asking::{ASKS_MAX, Heard, ask_on};
use pool::Others;
use seal::Seal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How many answers wait; each is taken at once.
const WAITING_MAX: usize = 16;

/// What is answered to a peer.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    /// What this node sees.
    Sights {
        /// What is said.
        body: String,
        /// Its signature.
        mac: String,
    },
    /// Nothing: who asks has not our key.
    Stranger,
    /// Nothing: he has asked long ago, or the clocks differ.
    OtherTime,
    /// Nothing: this node doesn't share.
    NotShared,
}

/// What other nodes say of what is looked at.
pub(super) type Votes = HashMap<Sight, Others>;

/// Asks the peers.
pub(super) struct Sharing {
    exchange: Exchange,
    configured: watch::Receiver<Option<Arc<SharingConfig>>>,
    asking: JoinSet<()>,
    /// How often the configuration has changed: what comes of older questions is not for the peers of this one.
    epoch: u64,
    heard: mpsc::Sender<Heard>,
    arriving: mpsc::Receiver<Heard>,
    /// For each peer, what has been logged since its last good answer.
    logged: Vec<Logged>,
    votes: Votes,
    is_isolated: bool,
    expires_at: Option<Instant>,
}

/// What has been logged of a peer that does not answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Logged {
    #[default]
    Nothing,
    Trouble,
    Keys,
}

impl Sharing {
    /// Asks the peers that are configured, and those that will be; within a tokio runtime.
    pub(super) fn new(
        exchange: Exchange,
        configured: watch::Receiver<Option<Arc<SharingConfig>>>,
    ) -> Sharing {
        let (heard, arriving) = mpsc::channel(WAITING_MAX);
        let mut sharing = Sharing {
            exchange,
            configured,
            asking: JoinSet::new(),
            epoch: 0,
            heard,
            arriving,
            logged: Vec::new(),
            votes: Votes::new(),
            is_isolated: false,
            expires_at: None,
        };
        sharing.configure();
        sharing
    }

    /// Tells others what this node sees, if it is to; moments begin at `start`.
    pub(super) fn show(&self, start: Instant, sightings: impl FnOnce() -> Vec<Sighting>) {
        if self.exchange.is_shared() {
            self.exchange.show(start, sightings());
        }
    }

    /// Waits until others say something else than before; what they say then. Nothing is lost if it is not waited for
    /// to the end.
    pub(super) async fn changed(&mut self) -> Votes {
        loop {
            let wait =
                self.expires_at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            let is_news = tokio::select! {
                Some(heard) = self.arriving.recv() => self.take(heard),
                Ok(()) = self.configured.changed() => {
                    self.configure();
                    true
                }
                Some(_) = self.asking.join_next() => false,
                () = sleep(wait) => true,
            };
            if is_news && self.review() {
                return self.votes.clone();
            }
        }
    }

    fn configure(&mut self) {
        let sharing = self.configured.borrow_and_update().clone();
        let seal = sharing.as_ref().map(|sharing| Arc::new(Seal::new(&sharing.key)));
        self.exchange.configure(sharing.as_deref(), seal.as_ref());
        self.epoch += 1;
        self.asking.abort_all();
        self.logged.clear();
        if let Some((sharing, seal)) = sharing.zip(seal) {
            self.logged.resize(sharing.peers.len(), Logged::default());
            let room = Arc::new(Semaphore::new(ASKS_MAX));
            for index in 0..sharing.peers.len() {
                let with = (Arc::clone(&seal), Arc::clone(&room));
                let asking = ask_on((self.epoch, index), Arc::clone(&sharing), with, self.heard.clone());
                self.asking.spawn(asking);
            }
        }
        self.expires_at = self.exchange.expires_at();
    }

    /// Takes what has come of a question; whether it says something new.
    fn take(&mut self, heard: Heard) -> bool {
        let Heard { epoch, peer, at, said } = heard;
        if epoch != self.epoch {
            return false;
        }
        let name = || {
            let sharing = self.configured.borrow();
            sharing
                .iter()
                .find_map(|it| it.peers.get(peer))
                .map(|it| format!("{} at {}", it.name, it.address))
        };
        let Some(logged) = self.logged.get_mut(peer) else { return false };
        let trouble = match said {
            Ok((node, seen)) => {
                if std::mem::take(logged) != Logged::Nothing {
                    tracing::info!("peer {} says again what its pool checks see", name().unwrap_or_default());
                }
                // Its next silence may be nearer than what is waited for.
                let is_news = self.exchange.hear(peer, at, node, seen);
                self.expires_at = self.exchange.expires_at();
                return is_news;
            }
            Err(trouble) => trouble,
        };
        let to_log = if trouble.is_of_keys() { Logged::Keys } else { Logged::Trouble };
        if *logged < to_log {
            *logged = to_log;
            let name = name().unwrap_or_default();
            match to_log {
                Logged::Keys => {
                    tracing::error!("peer {name} is not believed what its pool checks see: {trouble}")
                }
                _ => tracing::warn!("peer {name} does not say what its pool checks see: {trouble}"),
            }
        }
        self.exchange.miss(peer, trouble.to_string());
        false
    }

    /// Looks at what counts now; whether that is something else than before.
    fn review(&mut self) -> bool {
        let (votes, is_isolated, expires_at) = self.exchange.review();
        self.expires_at = expires_at;
        let was_isolated = std::mem::replace(&mut self.is_isolated, is_isolated);
        match (was_isolated, is_isolated) {
            (false, true) => tracing::error!(
                "this node is isolated: no peer says what its pool checks see, and pools go by what this node sees itself"
            ),
            (true, false) if self.exchange.is_shared() => {
                tracing::warn!("this node is not isolated any more: peers say what their pool checks see")
            }
            _ => {}
        }
        let is_change = votes != self.votes || was_isolated != is_isolated;
        self.votes = votes;
        is_change
    }
}
