//! Places for rounds, by primary: however many zones wait for one that is dead or frozen, those of others find room.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many rounds there are at a time, each with a socket or two. More would be sockets for nothing; with fewer, a handful of
/// primaries that hang at once would take all.
pub(super) const ROUNDS_MAX: usize = 128;
/// How many of them ask one primary. One that is 50 ms away answers for 640 zones a second then; more would be a burst that a
/// small primary drops, fewer would make a start with thousands of zones slow.
const ROUNDS_OF_ONE_MAX: usize = 32;
/// The same of a primary that gave no answer when it was asked last: each of them may take half a minute. The first answer
/// makes room for all.
const ROUNDS_OF_SILENT_MAX: usize = 2;
/// How many transfer from one primary at a time, or have what it sent compiled. It serves only so many connections: NSD 100,
/// BIND 150 by default, for all its secondaries.
const TRANSFERS_OF_ONE_MAX: usize = 10;

/// The zones that wait for a round, each with the primary that it waits for.
#[derive(Default)]
pub(super) struct Lanes {
    by_primary: HashMap<SocketAddr, Lane>,
    /// Those that may have both somebody who waits and room, each once: they take turns.
    ready: VecDeque<SocketAddr>,
}

struct Lane {
    waiting: VecDeque<Box<[u8]>>,
    rounds: usize,
    is_silent: bool,
    /// Whether it has become silent, and those who wait for it may have another to wait for.
    is_stranded: bool,
    is_ready: bool,
    transfers: Arc<Semaphore>,
}

impl Default for Lane {
    fn default() -> Lane {
        let transfers = Arc::new(Semaphore::new(TRANSFERS_OF_ONE_MAX));
        Lane {
            waiting: VecDeque::new(),
            rounds: 0,
            is_silent: false,
            is_stranded: false,
            is_ready: false,
            transfers,
        }
    }
}

impl Lane {
    fn has_room(&self) -> bool {
        self.rounds < if self.is_silent { ROUNDS_OF_SILENT_MAX } else { ROUNDS_OF_ONE_MAX }
    }
}

impl Lanes {
    /// How much a zone has before it at a primary: whether that gave no answer when it was asked last, for whichever zone, and how many
    /// ask it or wait for it.
    pub(super) fn burden(&self, primary: SocketAddr) -> (bool, usize) {
        let lane = self.by_primary.get(&primary);
        lane.map_or((false, 0), |lane| (lane.is_silent, lane.rounds + lane.waiting.len()))
    }

    /// The zones that wait for a primary, if it has become silent since this was asked last.
    pub(super) fn take_stranded(&mut self, primary: SocketAddr) -> VecDeque<Box<[u8]>> {
        match self.by_primary.get_mut(&primary) {
            Some(lane) if lane.is_stranded => {
                lane.is_stranded = false;
                std::mem::take(&mut lane.waiting)
            }
            _ => VecDeque::new(),
        }
    }

    /// Whether a primary gave no answer when it was asked last, and as many ask it as may.
    pub(super) fn is_stuck(&self, primary: SocketAddr) -> bool {
        self.by_primary.get(&primary).is_some_and(|lane| lane.is_silent && !lane.has_room())
    }

    /// Lets a zone wait until a primary has room.
    pub(super) fn wait(&mut self, zone: Box<[u8]>, primary: SocketAddr) {
        self.by_primary.entry(primary).or_default().waiting.push_back(zone);
        self.look_at(primary);
    }

    /// The same in front of all others, since somebody waits for it.
    pub(super) fn wait_first(&mut self, zone: Box<[u8]>, primary: SocketAddr) {
        self.by_primary.entry(primary).or_default().waiting.push_front(zone);
        self.look_at(primary);
    }

    /// The next zone whose primary has room. The primaries take turns.
    pub(super) fn next(&mut self) -> Option<Box<[u8]>> {
        while let Some(primary) = self.ready.pop_front() {
            let Some(lane) = self.by_primary.get_mut(&primary) else { continue };
            lane.is_ready = false;
            let zone = lane.has_room().then(|| lane.waiting.pop_front()).flatten();
            if zone.is_some() {
                self.look_at(primary);
                return zone;
            }
        }
        None
    }

    /// Counts a round that asks a primary; gives the places for transfers from it.
    pub(super) fn begin(&mut self, primary: SocketAddr) -> Arc<Semaphore> {
        let lane = self.by_primary.entry(primary).or_default();
        lane.rounds += 1;
        Arc::clone(&lane.transfers)
    }

    /// A round that has asked a primary has ended.
    pub(super) fn end(&mut self, primary: SocketAddr) {
        if let Some(lane) = self.by_primary.get_mut(&primary) {
            lane.rounds = lane.rounds.saturating_sub(1);
        }
        self.look_at(primary);
    }

    /// Notes whether a primary has said anything when it was asked, or by itself.
    pub(super) fn note(&mut self, primary: SocketAddr, is_silent: bool) {
        if let Some(lane) = self.by_primary.get_mut(&primary) {
            lane.is_stranded = is_silent && !lane.is_silent;
            lane.is_silent = is_silent;
        }
        self.look_at(primary);
    }

    /// Forgets the primaries that nobody asks or waits for.
    pub(super) fn forget_idle(&mut self) {
        self.by_primary.retain(|_, lane| lane.rounds > 0 || !lane.waiting.is_empty());
    }

    fn look_at(&mut self, primary: SocketAddr) {
        let Some(lane) = self.by_primary.get_mut(&primary) else { return };
        if !lane.is_ready && lane.has_room() && !lane.waiting.is_empty() {
            lane.is_ready = true;
            self.ready.push_back(primary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 53))
    }

    fn zone(index: usize) -> Box<[u8]> {
        index.to_string().into_bytes().into()
    }

    #[test]
    fn one_primary_takes_no_more_than_its_places_and_the_others_take_turns() {
        let mut lanes = Lanes::default();
        (0..100).for_each(|index| lanes.wait(zone(index), address(1)));
        (100..103).for_each(|index| lanes.wait(zone(index), address(2)));
        let begun: Vec<Box<[u8]>> = std::iter::from_fn(|| {
            let next = lanes.next()?;
            lanes.begin(address(if next.len() == 3 { 2 } else { 1 }));
            Some(next)
        })
        .collect();
        assert_eq!(begun.len(), ROUNDS_OF_ONE_MAX + 3);
        assert_eq!(begun[..4], [zone(0), zone(100), zone(1), zone(101)]);
        lanes.end(address(1));
        assert_eq!(lanes.next(), Some(zone(32)), "in their order");
    }

    #[test]
    fn a_silent_primary_has_few_places_until_it_is_heard() {
        let mut lanes = Lanes::default();
        (0..10).for_each(|index| lanes.wait(zone(index), address(1)));
        let begin =
            |lanes: &mut Lanes| std::iter::from_fn(|| lanes.next().map(|_| lanes.begin(address(1)))).count();
        lanes.note(address(1), true);
        assert_eq!(begin(&mut lanes), ROUNDS_OF_SILENT_MAX);
        assert!(lanes.is_stuck(address(1)));
        lanes.end(address(1));
        assert_eq!(begin(&mut lanes), 1);
        lanes.note(address(1), false);
        assert_eq!(begin(&mut lanes), 10 - 1 - ROUNDS_OF_SILENT_MAX);
        assert!(!lanes.is_stuck(address(1)));
    }
}
