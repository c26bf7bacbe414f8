//! Every query the client sends, with what became of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::topology::POPS;

/// Sockets of the client, half of them for each family: the even ones IPv4, the odd ones IPv6.
pub const SOCKETS: u64 = 32;
/// An answer that has not come after so long counts as lost; resolvers have asked another server by then.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
/// An answer is late after so long: well over what two busy cores make of a round trip, well under what a resolver
/// waits before it asks again.
pub const LATE_AFTER: Duration = Duration::from_millis(50);
/// Queries remembered: 100 seconds of 5,000 a second, longer than any breakage is watched, in 8 MiB.
const LEN: u64 = 1 << 19;
/// TCP queries remembered.
const TCP_LEN: usize = 1 << 14;

/// A query over UDP: written by the thread that sends, completed by the thread that receives.
#[derive(Default)]
struct Slot {
    /// Microseconds from the start of the ledger to the sending, plus one; 0 where nothing was sent.
    sent: AtomicU64,
    /// 0, or the microseconds to the answer shifted left by 8, with who answered plus one in the low octet.
    answer: AtomicU64,
}

/// A query over TCP.
#[derive(Clone, Copy, Debug)]
pub struct TcpQuery {
    /// When the first connection was begun.
    pub sent: Instant,
    /// When the answer was there, and whose it was.
    pub answer: Option<(Duration, u8)>,
    /// Connections it took.
    pub attempts: u32,
}

/// The ledger.
pub struct Ledger {
    start: Instant,
    slots: Box<[Slot]>,
    next: AtomicU64,
    twice: AtomicU64,
    tcp: Mutex<Vec<TcpQuery>>,
}

/// Who answered, when it was not one of the PoPs.
pub const NOBODY: u8 = 0;

impl Default for Ledger {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            slots: (0..LEN).map(|_| Slot::default()).collect(),
            next: AtomicU64::new(0),
            twice: AtomicU64::new(0),
            tcp: Mutex::new(Vec::new()),
        }
    }
}

impl Ledger {
    /// The number of the query to send next: its socket and its id follow from it.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Notes that the next query is about to be sent.
    pub fn sent(&self, at: Instant) {
        let number = self.next.load(Ordering::Relaxed);
        let slot = self.slot(number);
        slot.answer.store(0, Ordering::Relaxed);
        slot.sent.store(self.micros(at) + 1, Ordering::Relaxed);
        // An answer is only looked for once this is seen.
        self.next.store(number + 1, Ordering::Release);
    }

    /// Notes an answer by the socket it came in on and its id.
    pub fn answered(&self, socket: u64, id: u16, at: Instant, who: u8) {
        let next = self.next.load(Ordering::Acquire);
        // Each socket counts its own queries; the id is the count's low 16 bits, and less than that are under way.
        let count = (next + SOCKETS - 1 - socket) / SOCKETS;
        let Some(last) = count.checked_sub(1) else { return };
        let back = u64::from((last as u16).wrapping_sub(id));
        let Some(number) = last.checked_sub(back).map(|own| own * SOCKETS + socket) else { return };
        if next - number > LEN {
            return;
        }
        let slot = self.slot(number);
        let took = (self.micros(at) + 1).saturating_sub(slot.sent.load(Ordering::Relaxed));
        let answer = (took << 8) | (u64::from(who) + 1);
        if slot.answer.compare_exchange(0, answer, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.twice.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes what came of a query over TCP.
    pub fn tcp(&self, query: TcpQuery) {
        let mut queries = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        if queries.len() >= TCP_LEN {
            queries.drain(..TCP_LEN / 2);
        }
        queries.push(query);
    }

    /// What became of the queries sent from one time to another. What was sent less than [`LOST_AFTER`] ago is not
    /// known yet and counts as lost.
    #[must_use]
    pub fn tally(&self, from: Instant, to: Instant) -> Tally {
        let (from_us, to_us) = (self.micros(from), self.micros(to));
        let next = self.next.load(Ordering::Acquire);
        let mut tally = Tally { twice: self.twice.load(Ordering::Relaxed), ..Tally::default() };
        // The last answered query of each family, to measure gaps.
        let mut last = [from_us; 2];
        for number in self.first_since(from_us, next)..next {
            let slot = self.slot(number);
            let sent = slot.sent.load(Ordering::Relaxed).saturating_sub(1);
            if sent >= to_us {
                break;
            }
            let answer = slot.answer.load(Ordering::Relaxed);
            let family = (number % 2) as usize;
            tally.sent += 1;
            let took = Duration::from_micros(answer >> 8);
            if answer == 0 || took > LOST_AFTER {
                tally.lost += 1;
                tally.lost_by_family[family] += 1;
                continue;
            }
            tally.late += u64::from(took > LATE_AFTER);
            tally.slowest = tally.slowest.max(took);
            *tally.by.entry((answer & 0xff) as u8 - 1).or_default() += 1;
            tally.gap = tally.gap.max(Duration::from_micros(sent.saturating_sub(last[family])));
            last[family] = sent;
        }
        for end in last {
            tally.gap = tally.gap.max(Duration::from_micros(to_us.saturating_sub(end)));
        }
        self.tally_tcp(from, to, &mut tally);
        tally
    }

    fn tally_tcp(&self, from: Instant, to: Instant, tally: &mut Tally) {
        let queries = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        for query in queries.iter().filter(|query| query.sent >= from && query.sent < to) {
            tally.tcp_sent += 1;
            tally.tcp_lost += u64::from(query.answer.is_none());
            tally.tcp_again += u64::from(query.answer.is_some() && query.attempts > 1);
        }
    }

    /// The oldest query sent at or after a time, as far back as the ledger goes.
    fn first_since(&self, from_us: u64, next: u64) -> u64 {
        let (mut low, mut high) = (next.saturating_sub(LEN - 1), next);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.slot(middle).sent.load(Ordering::Relaxed).saturating_sub(1) < from_us {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.slots[(number % LEN) as usize]
    }

    fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_micros() as u64
    }
}

/// What became of the queries of some time.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Queries sent over UDP.
    pub sent: u64,
    /// Those never answered, or after more than [`LOST_AFTER`].
    pub lost: u64,
    /// The same by family, IPv4 first.
    pub lost_by_family: [u64; 2],
    /// Those answered after more than [`LATE_AFTER`].
    pub late: u64,
    /// The longest that an answer took.
    pub slowest: Duration,
    /// The longest time in which no query of a family was answered, by the times of sending.
    pub gap: Duration,
    /// Answers by who gave them.
    pub by: BTreeMap<u8, u64>,
    /// Answers that came twice, since the client began.
    pub twice: u64,
    /// Queries over TCP.
    pub tcp_sent: u64,
    /// Those without an answer.
    pub tcp_lost: u64,
    /// Those that took more than one connection.
    pub tcp_again: u64,
}

impl Tally {
    /// The names of those who answered.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.by.keys().map(|who| name_of(*who)).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(" ") }
    }

    /// Who answered, and how much of it, as people read it.
    #[must_use]
    pub fn who(&self) -> String {
        let all: u64 = self.by.values().sum();
        let shares: Vec<String> = self
            .by
            .iter()
            .map(|(who, count)| match name_of(*who) {
                name if *count == all => name.to_owned(),
                name => format!("{name} {}%", (count * 100 + all / 2) / all),
            })
            .collect();
        if shares.is_empty() { "nobody".to_owned() } else { shares.join(" ") }
    }
}

/// The name of who answered.
#[must_use]
pub fn name_of(who: u8) -> &'static str {
    usize::from(who).checked_sub(1).and_then(|at| POPS.get(at)).copied().unwrap_or("someone")
}

/// The number of who answered, by the name that NSID tells.
#[must_use]
pub fn number_of(name: &[u8]) -> u8 {
    POPS.iter().position(|pop| pop.as_bytes() == name).map_or(NOBODY, |at| at as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `count` queries a millisecond apart and answers those that `who` names somebody for.
    fn filled(count: u64, who: impl Fn(u64) -> Option<u8>) -> (Ledger, Instant) {
        let ledger = Ledger::default();
        let start = ledger.start;
        for number in 0..count {
            assert_eq!(ledger.next(), number);
            let at = start + Duration::from_millis(number);
            ledger.sent(at);
            if let Some(who) = who(number) {
                let id = (number / SOCKETS) as u16;
                ledger.answered(number % SOCKETS, id, at + Duration::from_micros(300), who);
            }
        }
        (ledger, start)
    }

    #[test]
    fn each_query_is_accounted_for_once() {
        let lost = 4_000..4_100;
        let (ledger, start) =
            filled(10_000, |number| (!lost.contains(&number)).then_some(if number < 4_000 { 1 } else { 2 }));
        let tally = ledger.tally(start, start + Duration::from_millis(10_000));
        assert_eq!((tally.sent, tally.lost, tally.lost_by_family), (10_000, 100, [50, 50]));
        assert_eq!(tally.by, BTreeMap::from([(1, 4_000), (2, 5_900)]));
        assert_eq!(tally.gap, Duration::from_millis(102), "from 3,998 to 4,100, or from 3,999 to 4,101");
        let part = ledger.tally(start + Duration::from_millis(4_050), start + Duration::from_millis(4_060));
        assert_eq!((part.sent, part.lost), (10, 10));
    }

    #[test]
    fn an_answer_is_found_after_ids_have_wrapped() {
        // Two and a half times 65,536 queries on one socket are far more than the ledger holds.
        let (ledger, start) = filled(LEN * 10, |_| Some(3));
        let end = start + Duration::from_millis(LEN * 10);
        let tally = ledger.tally(end - Duration::from_secs(100), end);
        assert_eq!((tally.sent, tally.lost), (100_000, 0));
    }

    #[test]
    fn a_second_answer_and_an_answer_to_nothing_change_nothing() {
        let (ledger, start) = filled(100, |number| (number != 7).then_some(1));
        ledger.answered(3, 0, start + Duration::from_secs(1), 2);
        ledger.answered(3, 9, start + Duration::from_secs(1), 2);
        let tally = ledger.tally(start, start + Duration::from_secs(1));
        assert_eq!((tally.sent, tally.lost, tally.twice), (100, 1, 1));
        assert_eq!(tally.by, BTreeMap::from([(1, 99)]));
    }
}
