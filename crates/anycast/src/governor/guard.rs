//! The last-site guard: a soft reason does not withdraw the route of a node that may be the last one to answer.
//!
//! Nodes look at each other with a delay, so that several with the same trouble could each see the others healthy and
//! all go. Two rules rule it out. From the moment that a reason stands, a node no longer counts as healthy for its peers,
//! whatever its route. And a soft reason to withdraw *waits* before it acts, at least as long as the peers' state may be
//! old, up to twice as long by lot; only what is seen then counts.
//!
//! What this gives: let all nodes have soft reasons only, and look at the one that stopped being healthy last. When its
//! wait ends, what it sees is at most `peers_age_max` old, thus younger than its own trouble, thus younger than
//! everybody's: it sees no healthy peer and stays. In the same way the last `peers_min` nodes to fall ill all stay. No
//! chance is in this, as long as the peers' state is no older than it says it is; the lot only spreads out the others.
//! The price is that a soft withdrawal comes up to twice `peers_age_max` late; the route is `degraded` meanwhile.

use health::Moment;

use super::LastSite;
use crate::Rung;

/// What is known of the peers, and how long a soft reason to withdraw has stood.
#[derive(Clone, Default, Debug)]
pub(super) struct Guard {
    /// How many peers announced healthily, and of when this is.
    peers: Option<(u32, Moment)>,
    /// When the soft reason may act; none where there is no such reason.
    acts_at: Option<Moment>,
}

impl Guard {
    /// Takes the peers' state, as old as the oldest part of it.
    pub(super) fn peers(&mut self, healthy: u32, as_of: Moment) {
        self.peers = Some((healthy, as_of));
    }

    /// Takes note of whether there is a soft reason to withdraw.
    pub(super) fn note(
        &mut self,
        now: Moment,
        soft_withdraw: bool,
        site: Option<LastSite>,
        rng: &mut fastrand::Rng,
    ) {
        if !soft_withdraw {
            self.acts_at = None;
        } else if self.acts_at.is_none() {
            let wait = site.map(|site| site.peers_age_max.mul_f64(1.0 + rng.f64()));
            self.acts_at = Some(now + wait.unwrap_or_default());
        }
    }

    /// Until when a soft reason to withdraw waits.
    pub(super) fn waits(&self, now: Moment) -> Option<Moment> {
        self.acts_at.filter(|at| now < *at)
    }

    /// How many peers announce healthily, as far as is known now.
    pub(super) fn healthy(&self, now: Moment, site: LastSite) -> u32 {
        let fresh = self.peers.filter(|(_, as_of)| now.since(*as_of) <= site.peers_age_max);
        fresh.map_or(0, |(healthy, _)| healthy)
    }

    /// When the peers' state becomes too old to count: the first moment at which it does.
    pub(super) fn stale_at(&self, site: LastSite) -> Option<Moment> {
        let (_, as_of) = self.peers?;
        Some(as_of + site.peers_age_max + std::time::Duration::from_nanos(1))
    }

    /// The rung that a soft reason to withdraw asks for, on a node that health alone has on another one.
    pub(super) fn rung(&self, now: Moment, site: Option<LastSite>, earned: Rung) -> Rung {
        let Some(site) = site else {
            return Rung::Down;
        };
        if self.waits(now).is_some() {
            return if earned.is_announced() { Rung::Degraded } else { Rung::Down };
        }
        if self.healthy(now, site) >= site.peers_min { Rung::Down } else { Rung::Degraded }
    }
}
