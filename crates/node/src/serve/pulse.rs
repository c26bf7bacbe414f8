//! How a server is, in the words of a beat.

use crate::keeper::Board;
use crate::link::{Beat, CRITICAL_MAX, PROBE_ZONES_MAX, ProbeZone};
use crate::status::{ZoneState, ZoneStatus};
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
        let zones = self.board.zones();
        let of = |state| zones.iter().filter(|zone| zone.state == state).count() as u64;
        let (generation, generation_served) = self.board.generations();
        let sockets = self.workers.socket_counts();
        Beat {
            workers: self.workers.rounds(),
            tcp_threads: self.tcp.beats(),
            control: self.control.load(Ordering::Relaxed),
            received: sockets.received,
            queue_drops: self.workers.queue_drops() + self.workers.ring_drops().total() + sockets.shed(),
            zones_ok: of(ZoneState::Ok),
            zones_stale: of(ZoneState::Stale),
            zones_failed: of(ZoneState::Failed) + of(ZoneState::Expired),
            critical_failed: critical_failed(&zones),
            probe_zones: probe_zones(&zones),
            generation,
            generation_served,
            reloading: self.board.is_reloading(),
        }
    }
}

fn critical_failed(zones: &[ZoneStatus]) -> Vec<String> {
    let failed = zones.iter().filter(|zone| zone.critical && zone.served.is_none());
    failed.take(CRITICAL_MAX).map(|zone| zone.name.clone()).collect()
}

/// The critical zones that are served; where none is, the first that is.
fn probe_zones(zones: &[ZoneStatus]) -> Vec<ProbeZone> {
    let served = |zone: &ZoneStatus| {
        zone.served.as_ref().map(|served| ProbeZone { name: zone.name.clone(), serial: served.serial })
    };
    let critical = zones.iter().filter(|zone| zone.critical);
    let critical: Vec<ProbeZone> = critical.filter_map(served).take(PROBE_ZONES_MAX).collect();
    if critical.is_empty() { zones.iter().find_map(served).into_iter().collect() } else { critical }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ServedStatus;

    fn zone(name: &str, critical: bool, serial: Option<u32>) -> ZoneStatus {
        let served = serial.map(|serial| ServedStatus {
            serial,
            records: 1,
            names: 1,
            digest: String::new(),
            content: String::new(),
            table_bytes: 1,
            changed_names: 0,
            loaded_from: "image".to_owned(),
            since: String::new(),
            durable: true,
        });
        let state = if serial.is_some() { ZoneState::Ok } else { ZoneState::Failed };
        ZoneStatus {
            name: name.to_owned(),
            file: String::new(),
            state,
            critical,
            served,
            error: None,
            notified: Vec::new(),
            copy: None,
            journal: None,
            gate: None,
        }
    }

    #[test]
    fn critical_zones_are_probed_and_else_the_first_that_is_served() {
        let names = |zones: &[ZoneStatus]| -> Vec<String> {
            probe_zones(zones).into_iter().map(|zone| format!("{} {}", zone.name, zone.serial)).collect()
        };
        let (plain, failed) = (zone("a.", false, Some(1)), zone("b.", true, None));
        let (first, second) = (zone("c.", true, Some(3)), zone("d.", true, Some(4)));
        assert_eq!(names(&[plain.clone(), failed.clone(), first, second]), ["c. 3", "d. 4"]);
        assert_eq!(names(&[failed.clone(), plain.clone()]), ["a. 1"]);
        assert!(names(std::slice::from_ref(&failed)).is_empty());
        assert_eq!(critical_failed(&[plain, failed]), ["b."]);
    }

    #[test]
    fn a_beat_names_no_more_zones_than_it_has_room_for() {
        let many: Vec<ZoneStatus> = (0..100).map(|i| zone(&format!("{i}."), true, Some(i))).collect();
        assert_eq!(probe_zones(&many).len(), PROBE_ZONES_MAX);
        let many: Vec<ZoneStatus> = (0..100).map(|i| zone(&format!("{i}."), true, None)).collect();
        assert_eq!(critical_failed(&many).len(), CRITICAL_MAX);
    }
}
