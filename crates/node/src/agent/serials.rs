//! Whether this node serves older zones than its peers do.
//!
//! One peer with a serial that it should not have must not make all the others stale, and least of all at once. So a zone is
//! behind where *more than half* of the peers that serve it have a newer one. That can't be so for all nodes: of those that
//! have a zone, the half with the newest serials always has too few peers that are newer. And it has to be so for a while,
//! in which this node gets no newer version at all: changes take their time to get around.

use crate::link::ProbeZone;
use crate::status::Serials;
use health::{Moment, Outcome};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many zones are told of in a failure; the rest is counted.
const TOLD_MAX: usize = 3;

/// The zones that are behind.
#[derive(Default, Debug)]
pub(super) struct Behind {
    /// Which serial this node has of them, and since when that is too old.
    zones: BTreeMap<String, (u32, Moment)>,
}

impl Behind {
    /// Compares this node's zones with those of its peers; bad where one has been behind for longer than `max`.
    pub(super) fn look(
        &mut self,
        now: Moment,
        own: &[ProbeZone],
        peers: &[Serials],
        max: Duration,
    ) -> Outcome {
        let mut zones = BTreeMap::new();
        let mut told = Vec::new();
        let mut count = 0_usize;
        for zone in own {
            let Some((newer, of)) = newer(zone, peers) else { continue };
            let since = match self.zones.get(&zone.name) {
                Some((serial, since)) if *serial == zone.serial => *since,
                _ => now,
            };
            zones.insert(zone.name.clone(), (zone.serial, since));
            let behind = now.since(since);
            if behind > max {
                count += 1;
                if told.len() < TOLD_MAX {
                    let (name, serial, newest) = (&zone.name, zone.serial, newest(zone, peers));
                    told.push(format!(
                        "{name} has serial {serial}; {newer} of {of} peers have had newer ones, up to {newest}, for {} s",
                        behind.as_secs()
                    ));
                }
            }
        }
        self.zones = zones;
        match count {
            0 => Outcome::Pass,
            _ if count > told.len() => {
                Outcome::Fail(format!("{}; and {} more", told.join("; "), count - told.len()))
            }
            _ => Outcome::Fail(told.join("; ")),
        }
    }
}

/// How many of the peers that serve a zone have a newer one, where that is more than half of them; and how many serve it.
fn newer(zone: &ProbeZone, peers: &[Serials]) -> Option<(usize, usize)> {
    let serials: Vec<u32> = of_peers(zone, peers).collect();
    let newer = serials.iter().filter(|serial| is_newer(**serial, zone.serial)).count();
    (2 * newer > serials.len()).then_some((newer, serials.len()))
}

fn newest(zone: &ProbeZone, peers: &[Serials]) -> u32 {
    let order = |one: &u32, other: &u32| match is_newer(*one, *other) {
        true => Ordering::Greater,
        false => Ordering::Less,
    };
    of_peers(zone, peers).max_by(order).unwrap_or(zone.serial)
}

fn of_peers<'p>(zone: &'p ProbeZone, peers: &'p [Serials]) -> impl Iterator<Item = u32> + 'p {
    peers.iter().filter_map(|serials| serials.get(&zone.name).copied())
}

/// Serial number arithmetic (RFC 1982 §3.2). Two that are half of all numbers apart are not to be compared, and none of them
/// is newer here.
fn is_newer(one: u32, other: u32) -> bool {
    let ahead = one.wrapping_sub(other);
    ahead != 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn zone(name: &str, serial: u32) -> ProbeZone {
        ProbeZone { name: name.to_owned(), serial }
    }

    /// Peers with one zone.
    fn peers(serials: &[u32]) -> Vec<Serials> {
        serials.iter().map(|serial| Serials::from([("a.".to_owned(), *serial)])).collect()
    }

    /// Whether a node with this serial is behind these peers, after more than the time that it may be.
    fn is_behind(own: u32, others: &[u32]) -> bool {
        let mut behind = Behind::default();
        let own = [zone("a.", own)];
        assert_eq!(behind.look(at(0), &own, &peers(others), MAX), Outcome::Pass);
        behind.look(at(61), &own, &peers(others), MAX) != Outcome::Pass
    }

    #[test]
    fn more_than_half_of_the_peers_have_to_be_newer() {
        assert!(is_behind(1, &[2]));
        assert!(is_behind(1, &[2, 1, 3]));
        for (own, others) in
            [(1, &[][..]), (1, &[1]), (2, &[1, 1]), (1, &[2, 1]), (1, &[9, 1, 1]), (1, &[2, 2, 1, 1])]
        {
            assert!(!is_behind(own, others), "{own} {others:?}");
        }
        // Around the end of all numbers, and exactly half of them away.
        assert!(is_behind(u32::MAX, &[0, 1]));
        assert!(!is_behind(0, &[u32::MAX]));
        assert!(!is_behind(0, &[1 << 31]));
    }

    #[test]
    fn a_zone_has_to_be_behind_for_a_while_without_any_progress() {
        let mut behind = Behind::default();
        let mut look = |seconds, own, others: &[u32]| {
            behind.look(at(seconds), &[zone("a.", own)], &peers(others), MAX) == Outcome::Pass
        };
        assert!(look(0, 1, &[2, 2]));
        assert!(look(60, 1, &[3, 3]));
        assert!(!look(61, 1, &[3, 3]));
        // A newer version, though not the newest.
        assert!(look(62, 2, &[3, 3]));
        assert!(look(122, 2, &[3, 3]));
        assert!(!look(123, 2, &[3, 3]));
        // Peers that went away, or back, leave nothing to be behind of.
        assert!(look(124, 2, &[]));
        assert!(look(125, 2, &[3, 3]));
    }

    #[test]
    fn what_is_behind_is_told() {
        let mut behind = Behind::default();
        let own: Vec<ProbeZone> = (0..5).map(|number| zone(&format!("z{number}."), 7)).collect();
        let peer: Serials = own.iter().map(|zone| (zone.name.clone(), 9)).collect();
        let peers = [peer.clone(), Serials::from([("z0.".to_owned(), 8)]), peer, Serials::new()];
        assert_eq!(behind.look(at(0), &own, &peers, MAX), Outcome::Pass);
        let Outcome::Fail(saw) = behind.look(at(90), &own, &peers, MAX) else { panic!("it passes") };
        assert!(
            saw.starts_with("z0. has serial 7; 3 of 3 peers have had newer ones, up to 9, for 90 s; z1. "),
            "{saw}"
        );
        assert!(saw.ends_with("; and 2 more"), "{saw}");
    }

    /// Whatever serials the nodes of a fleet have, those that are behind are never all of them, nor all but a few.
    #[test]
    fn half_of_a_fleet_is_never_behind() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let base = rng.u32(..);
            let nodes = rng.usize(2..9);
            let serials: Vec<u32> = (0..nodes).map(|_| base.wrapping_add(rng.u32(0..4))).collect();
            let behind = (0..nodes).filter(|node| {
                let others: Vec<u32> =
                    (0..nodes).filter(|other| other != node).map(|other| serials[other]).collect();
                is_behind(serials[*node], &others)
            });
            let behind = behind.count();
            assert!(behind <= nodes / 2, "seed {seed}: {behind} of {serials:?}");
        }
    }
}
