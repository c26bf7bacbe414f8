//! How a server is, in the words of a beat.

use crate::keeper::{Board, Landmarks};
use crate::link::{Beat, CRITICAL_MAX, PROBE_ZONES_MAX, ProbeZone};
use crate::status::ZoneStatus;
use crate::tcp;
use crate::workers::Workers;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What beats are put together from, and what is handed over to another server.
pub(super) struct Pulse {
    /// The UDP workers.
    pub(super) workers: Arc<Workers>,
    /// The TCP service.
    pub(super) tcp: Arc<tcp::Service>,
    /// The state of the zones.
    pub(super) board: Arc<Board>,
    /// Grows while the control loop turns.
    pub(super) control: Arc<AtomicU64>,
    /// The lock of the state folder.
    pub(super) lock: Option<OwnedFd>,
}

impl Pulse {
    /// How many UDP workers and TCP threads there are.
    pub(super) fn threads(&self) -> (u16, u16) {
        (self.workers.count() as u16, self.tcp.beats().len() as u16) // `WORKERS_MAX`
    }

    /// How the server is now.
    pub(super) fn beat(&self) -> Beat {
        let Landmarks { counts, failed, served } = self.board.landmarks(CRITICAL_MAX, PROBE_ZONES_MAX);
        let (generation, generation_served) = self.board.generations();
        let sockets = self.workers.socket_counts();
        Beat {
            workers: self.workers.rounds(),
            tcp_threads: self.tcp.beats(),
            control: self.control.load(Ordering::Relaxed),
            received: sockets.received,
            queue_drops: self.workers.queue_drops() + self.workers.ring_drops().total() + sockets.shed(),
            zones_ok: counts.ok as u64,
            zones_stale: counts.stale as u64,
            zones_failed: (counts.failed + counts.expired) as u64,
            critical_failed: failed.iter().map(|zone| zone.name.clone()).collect(),
            probe_zones: served.iter().filter_map(|zone| probe_zone(zone)).collect(),
            generation,
            generation_served,
            reloading: self.board.is_reloading(),
        }
    }
}

fn probe_zone(zone: &ZoneStatus) -> Option<ProbeZone> {
    let serial = zone.served.as_ref()?.serial;
    Some(ProbeZone { name: zone.name.clone(), serial })
}
