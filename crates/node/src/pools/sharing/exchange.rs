//! What this node sees and what others say, for all threads: the one that asks, those that are asked, and those that
//! show it.

use super::Told;
use super::seal::{Asked, Refusal, Seal, octets, unix_seconds};
use super::sights::{self, NodeId, Seen, Sight, Sighting};
use super::views::{Answer, Views};
use crate::config::{CheckId, SharingConfig};
use crate::status::{PoolStatus, SharingStatus};
use health::Moment;
use pool::{Others, View};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What nodes tell each other.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Mutex<State>>);

struct State {
    node: NodeId,
    /// When time begins, for the moments of sightings.
    start: Instant,
    sightings: Arc<[Sighting]>,
    sharing: Option<Shared>,
    /// How often somebody has asked without the key.
    refused: u64,
}

/// What there is where nodes share.
struct Shared {
    seal: Arc<Seal>,
    views: Views,
    /// Whether it was said that somebody asks without the key.
    stranger_told: bool,
}

impl Exchange {
    /// Nothing is known yet, and nothing shared.
    pub(in crate::pools) fn new() -> Exchange {
        let (node, start, sightings) = (NodeId::random(), Instant::now(), Arc::default());
        Exchange(Arc::new(Mutex::new(State { node, start, sightings, sharing: None, refused: 0 })))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half way through a change that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shares as configured from now on, or no more.
    pub(super) fn configure(&self, sharing: Option<&SharingConfig>, seal: Option<&Arc<Seal>>) {
        let mut state = self.locked();
        let before = state.sharing.take().map(|shared| shared.views);
        let node = state.node;
        state.sharing = sharing.zip(seal).map(|(sharing, seal)| Shared {
            seal: Arc::clone(seal),
            views: Views::new(node, sharing, before, Instant::now()),
            stranger_told: false,
        });
    }

    /// Takes what this node sees; its moments begin at `start`.
    pub(super) fn show(&self, start: Instant, sightings: Vec<Sighting>) {
        let mut state = self.locked();
        (state.start, state.sightings) = (start, sightings.into());
    }

    /// What is answered to who asks so, if anybody may.
    pub(crate) fn told(&self, asked: &Asked) -> Told {
        let (node, start, sightings, seal) = {
            let mut state = self.locked();
            let (node, start, sightings) = (state.node, state.start, Arc::clone(&state.sightings));
            let Some(shared) = &mut state.sharing else { return Told::NotShared };
            match shared.seal.accept(asked, unix_seconds()) {
                Ok(()) => (node, start, sightings, Arc::clone(&shared.seal)),
                Err(Refusal::OtherTime) => return Told::OtherTime,
                Err(Refusal::Stranger) => {
                    shared.tell_of_strangers();
                    state.refused += 1;
                    return Told::Stranger;
                }
            }
        };
        match sights::write(node, &sightings, Moment(start.elapsed())) {
            Ok(body) => Told::Sights { mac: seal.sign(asked, body.as_bytes()), body },
            Err(error) => {
                tracing::error!("what the checks of pools see can't be written: {error}");
                Told::NotShared
            }
        }
    }

    /// Takes a good answer of a peer; whether it says something new. What this node doesn't look at itself is of no
    /// use.
    pub(super) fn hear(
        &self,
        peer: usize,
        at: Instant,
        node: NodeId,
        mut seen: HashMap<Sight, Seen>,
    ) -> bool {
        let mut state = self.locked();
        let own: HashSet<Sight> = state.sightings.iter().map(|sighting| sighting.sight).collect();
        seen.retain(|sight, _| own.contains(sight));
        seen.shrink_to_fit();
        let answer = Answer { at, node, seen };
        state.sharing.as_mut().is_some_and(|shared| shared.views.hear(peer, answer))
    }

    /// Notes why a peer gave no good answer.
    pub(super) fn miss(&self, peer: usize, trouble: String) {
        if let Some(shared) = &mut self.locked().sharing {
            shared.views.miss(peer, trouble);
        }
    }

    /// What others say who count now, whether there is nobody, and when that changes by itself.
    pub(super) fn review(&self) -> (HashMap<Sight, Others>, bool, Option<Instant>) {
        let now = Instant::now();
        match &self.locked().sharing {
            None => (HashMap::new(), false, None),
            Some(Shared { views, .. }) => (views.others(now), views.is_isolated(now), views.expires_at(now)),
        }
    }

    /// When what counts is something else though nothing is heard.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.locked().sharing.as_ref()?.views.expires_at(Instant::now())
    }

    /// Whether there is anything to share.
    pub(super) fn is_shared(&self) -> bool {
        self.locked().sharing.is_some()
    }

    /// How the peers are, if there is anything to share.
    pub(crate) fn status(&self) -> Option<SharingStatus> {
        let state = self.locked();
        let shared = state.sharing.as_ref()?;
        Some(shared.views.status(Instant::now(), state.refused))
    }

    /// Adds to a pool how the peers are, if it goes by them, and what they say of its endpoints.
    pub(crate) fn add_to(&self, pool: &mut PoolStatus) {
        let (now, state) = (Instant::now(), self.locked());
        let (Some(shared), Some(check)) = (&state.sharing, octets(&pool.check).map(CheckId)) else { return };
        if pool.view != View::Local.word() {
            pool.sharing = Some(shared.views.status(now, state.refused));
        }
        for address in &mut pool.addresses {
            if let Ok(at) = address.address.parse() {
                address.peers = shared.views.of(&(at, check), now);
            }
        }
    }
}

impl Shared {
    /// Says, once, that somebody asks without the key.
    fn tell_of_strangers(&mut self) {
        if !std::mem::replace(&mut self.stranger_told, true) {
            tracing::warn!(
                "somebody asks at the management address what the checks of pools see, and has not our key: a peer has another one under \
                 [pool-sharing], or it is none; said once, and counted in starling_pool_sharing_refused_total"
            );
        }
    }
}
