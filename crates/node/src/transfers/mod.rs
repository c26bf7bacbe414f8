//! Transfers of zones to secondaries: who may have them, how many go at a time, and what became of them.
//!
//! The messages are made by [`transfer::outgoing`]; the connection that asked sends them.

mod notifications;
mod signed;

pub(crate) use notifications::{Notifications, notify_secondaries};
pub(crate) use signed::{Keyring, now};

use crate::archive::Index;
use crate::config::{Asker, Config, Identity, Secondary, Sources, ZoneConfig};
use crate::status::OutgoingCounts;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use transfer::tsig::Keys;
use wire::Name;

/// What all threads know of transfers. Locked once a transfer, never for a query.
#[derive(Default)]
pub(crate) struct Transfers {
    rules: RwLock<Rules>,
    /// Grows with each change of the rules.
    version: AtomicU64,
    counters: Counters,
    /// Who is told of which change.
    pub(crate) notifications: Notifications,
    /// What has changed in which zone.
    pub(crate) index: Arc<Index>,
}

/// Who may have what.
#[derive(Default)]
struct Rules {
    everything: Vec<Secondary>,
    zones: HashMap<Box<[u8]>, Vec<Secondary>>,
    /// Of zones that catalogs brought.
    members: HashMap<Box<[u8]>, Vec<Secondary>>,
    outgoing_max: u64,
    keys: Arc<Keys>,
    notify_sources: Sources,
    /// What the node shows over TLS.
    identity: Option<Identity>,
}

#[derive(Default)]
struct Counters {
    running: AtomicU64,
    completed: AtomicU64,
    incremental: AtomicU64,
    current: AtomicU64,
    cut_off: AtomicU64,
    refused: AtomicU64,
    turned_away: AtomicU64,
    octets: AtomicU64,
}

/// Why there is no transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The client is none of the zone's secondaries.
    NotAllowed,
    /// As many as may be are running.
    Busy,
}

/// How a transfer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The whole zone was sent.
    Completed,
    /// What had changed was sent.
    Incremental,
    /// The client had the zone already, and was told so.
    Current,
}

impl Transfers {
    /// Takes in who may have what.
    pub(crate) fn configure(&self, config: &Config) {
        if let Some(concern) = config.node.tls.as_ref().and_then(|tls| tls.identity.concern()) {
            tracing::warn!("{concern}");
        }
        // Each assignment under the lock is whole, or isn't there.
        let mut standing = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *standing = Rules {
            everything: config.transfer.allow.clone(),
            zones: by_zone(&config.zones),
            members: std::mem::take(&mut standing.members),
            outgoing_max: config.transfer.outgoing_max as u64,
            keys: Arc::new(Keys::new(config.keys.clone())),
            notify_sources: config.transfer.notify_sources.clone(),
            identity: config.node.tls.as_ref().map(|tls| tls.identity.clone()),
        };
        drop(standing);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Takes in who may have the zones that catalogs brought.
    pub(crate) fn set_members<'z>(&self, zones: impl IntoIterator<Item = &'z ZoneConfig>) {
        let members = by_zone(zones);
        self.rules.write().unwrap_or_else(PoisonError::into_inner).members = members;
    }

    /// The keys that there are.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner).keys)
    }

    /// What the node shows over TLS, where it has something to show.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).identity.clone()
    }

    /// Whether anybody may have a zone, whose name is in lower case.
    pub(crate) fn has_secondaries(&self, zone: Name<'_>) -> bool {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        !rules.everything.is_empty() || rules.zones.contains_key(zone.as_wire())
    }

    /// Where NOTIFY is sent from.
    fn notify_sources(&self) -> Sources {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).notify_sources.clone()
    }

    /// Lets a client have a zone, whose name is in lower case.
    pub(crate) fn admit(self: &Arc<Transfers>, zone: Name<'_>, asker: Asker<'_>) -> Result<Permit, Refusal> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let of_zone = rules.zones.get(zone.as_wire()).or_else(|| rules.members.get(zone.as_wire()));
        let of_zone = of_zone.into_iter().flatten();
        if !rules.everything.iter().chain(of_zone).any(|secondary| secondary.is(asker)) {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refusal::NotAllowed);
        }
        if self.counters.running.fetch_add(1, Ordering::Relaxed) >= rules.outgoing_max {
            self.counters.running.fetch_sub(1, Ordering::Relaxed);
            self.counters.turned_away.fetch_add(1, Ordering::Relaxed);
            return Err(Refusal::Busy);
        }
        Ok(Permit { transfers: Arc::clone(self), end: None })
    }

    /// What has become of the transfers.
    pub(crate) fn counts(&self) -> OutgoingCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let notified = self.notifications.counts();
        OutgoingCounts {
            running: read(&counters.running),
            completed: read(&counters.completed),
            incremental: read(&counters.incremental),
            current: read(&counters.current),
            cut_off: read(&counters.cut_off),
            refused: read(&counters.refused),
            turned_away: read(&counters.turned_away),
            octets: read(&counters.octets),
            notifies_sent: notified.sent,
            notifies_acknowledged: notified.acknowledged,
            notifies_failed: notified.failed,
        }
    }
}

/// Who may have which zone, where anybody may.
fn by_zone<'z>(zones: impl IntoIterator<Item = &'z ZoneConfig>) -> HashMap<Box<[u8]>, Vec<Secondary>> {
    let zones = zones.into_iter().filter(|zone| !zone.secondaries.is_empty());
    zones.map(|zone| (zone.name.as_name().as_wire().into(), zone.secondaries.clone())).collect()
}

/// The right to one transfer. One that is dropped without an end was cut off.
pub(crate) struct Permit {
    transfers: Arc<Transfers>,
    end: Option<End>,
}

impl Permit {
    /// Counts octets that were sent.
    pub(crate) fn sent(&self, octets: usize) {
        self.transfers.counters.octets.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// The transfer is over.
    pub(crate) fn end(mut self, end: End) {
        self.end = Some(end);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let counters = &self.transfers.counters;
        let counter = match self.end {
            Some(End::Completed) => &counters.completed,
            Some(End::Incremental) => &counters.incremental,
            Some(End::Current) => &counters.current,
            None => &counters.cut_off,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        counters.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rotation;
    use transfer::tsig::Key;
    use wire::NameBuf;

    fn transfers(outgoing_max: usize) -> Arc<Transfers> {
        let secondary =
            |prefix: &str| Secondary { from: Some(prefix.parse().unwrap()), key: None, by_tls: false };
        let mut zone = ZoneConfig::of_file(name("a.example."), "a".into(), Rotation::default());
        zone.secondaries = vec![secondary("192.0.2.7/32"), secondary("2001:db8::/64")];
        let mut config = Config { zones: vec![zone], ..Config::default() };
        config.transfer.allow = vec![secondary("198.51.100.0/24")];
        config.transfer.outgoing_max = outgoing_max;
        let transfers = Arc::<Transfers>::default();
        transfers.configure(&config);
        transfers
    }

    fn asker(address: &str) -> Asker<'static> {
        Asker { address: address.parse().unwrap(), key: None, by_tls: false }
    }

    fn name(text: &str) -> NameBuf {
        NameBuf::from_text(text.as_bytes(), None).unwrap()
    }

    #[test]
    fn nobody_has_a_zone_but_its_secondaries() {
        let transfers = transfers(10);
        let admitted =
            |zone: &str, client: &str| transfers.admit(name(zone).as_name(), asker(client)).is_ok();
        assert!(admitted("a.example.", "192.0.2.7"));
        assert!(admitted("a.example.", "::ffff:192.0.2.7"));
        assert!(admitted("a.example.", "2001:db8::9"));
        assert!(!admitted("a.example.", "192.0.2.8"));
        assert!(!admitted("a.example.", "2001:db8:0:1::9"));
        assert!(!admitted("b.example.", "192.0.2.7"));
        assert!(admitted("a.example.", "198.51.100.200") && admitted("b.example.", "198.51.100.200"));
        assert_eq!((transfers.counts().refused, transfers.counts().cut_off), (3, 5));
        assert!(Arc::<Transfers>::default().admit(name("a.").as_name(), asker("127.0.0.1")).is_err());
    }

    #[test]
    fn no_more_run_than_may() {
        let transfers = transfers(2);
        let admit = || transfers.admit(name("a.example.").as_name(), asker("192.0.2.7"));
        let (first, second) = (admit().ok().unwrap(), admit().ok().unwrap());
        assert_eq!(admit().err(), Some(Refusal::Busy));
        first.end(End::Completed);
        let third = admit().ok().unwrap();
        second.end(End::Current);
        drop(third);
        let counts = transfers.counts();
        assert_eq!((counts.running, counts.turned_away, counts.completed), (0, 1, 1));
        assert_eq!((counts.current, counts.cut_off), (1, 1));
    }

    #[test]
    fn a_key_or_tls_is_needed_where_it_is_named() {
        let key = |secret: &[u8]| {
            let key = Key::new(name("k.").as_name(), transfer::tsig::Algorithm::Sha256, secret);
            Some(Arc::new(key.unwrap()))
        };
        let from = Some("192.0.2.7/32".parse().unwrap());
        let secondary = Secondary { from, key: key(b"a"), by_tls: false };
        let (a, b) = (key(b"a").unwrap(), key(b"b").unwrap());
        let (here, there) = (asker("192.0.2.7"), asker("192.0.2.8"));
        assert!(secondary.is(Asker { key: Some(&a), ..here }));
        assert!(!secondary.is(here) && !secondary.is(Asker { key: Some(&b), ..here }));
        assert!(!secondary.is(Asker { key: Some(&a), ..there }));
        let anywhere = Secondary { from: None, ..secondary.clone() };
        assert!(anywhere.is(Asker { key: Some(&a), ..there }) && !anywhere.is(here));
        let by_tls = Secondary { by_tls: true, ..secondary };
        assert!(!by_tls.is(Asker { key: Some(&a), ..here }) && !by_tls.is(Asker { by_tls: true, ..here }));
        assert!(by_tls.is(Asker { key: Some(&a), by_tls: true, ..here }));
    }
}
