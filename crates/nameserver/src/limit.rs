//! Response rate limiting: how many responses of one kind a network of clients gets over UDP.
//!
//! Whoever floods a victim by way of name servers sends them queries in the victim's name, whose responses are larger. Here a network
//! that has had its share is told to come over TCP, in a response that is no larger than its query: a client does so, and a victim
//! gets no more than the one who floods it has sent.
//!
//! Responses are of one kind that a resolver, which keeps them, would not ask for again: those of one name, of one delegation, all that
//! a zone says of names that it does not have, and all errors of one code. So networks with many clients, who ask for many names,
//! have no less than those with one.
//!
//! A network's responses of a kind are an account, which has nothing but the moment from which on it will owe nothing (the
//! generic cell rate algorithm of ATM). Accounts are in a list of fixed size that all packet threads share; one that owes nothing
//! is as good as none, and where there is no room the one that owes least gives way. Threads that write one at the same
//! time may lose a response of the count, and nothing else.
//!
//! A network that gets far more over the limit than within it is a flood, in its name or of its own. Whoever [hears](RateLimits::hear_floods)
//! of it may keep its queries from the packet threads.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

/// Accounts that fit a line of memory, and are looked through.
const SET_LEN: usize = 8;
/// How many of these there are, a mebibyte: 131,072 accounts owe something at a time, of networks that have just asked.
const SETS: usize = 1 << 14;
const SET_SHIFT: u32 = u64::BITS - SETS.trailing_zeros();
const _: () = assert!(SETS.is_power_of_two());

/// Moments a second.
const MOMENTS_PER_S: u32 = 1 << 20;

/// The most responses a second that can be a limit.
pub const RESPONSES_PER_S_MAX: u32 = 100_000;
/// The longest time that a burst may stand for, in seconds: moments are told apart over twice as long, and longer.
pub const BURST_MAX_S: u32 = 60;
/// The most networks that a limit is not for. They are looked through for those that are over it.
pub const EXEMPT_MAX: usize = 256;

/// With how many times the responses over the limit that it may have within it, for a while, a network is a flood. Less, and those whose
/// clients have lost a resolver for a moment would be kept from the packet threads, who answer them one by one.
const FLOOD_FACTOR: u32 = 10;
/// How many floods may wait to be heard of. One for which there is no room is told again.
const FLOODS_MAX: usize = 64;
/// For how long a packet thread does not tell the same flood again, in moments.
const TOLD_FOR: u32 = MOMENTS_PER_S / 8;

/// A moment, in some millionths of a second, which comes again after an hour and more.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Moment(u32);

impl Moment {
    /// So long after one and the same start, on every thread.
    pub fn after(start: Duration) -> Moment {
        let parts = u64::from(start.subsec_nanos()) * u64::from(MOMENTS_PER_S) / 1_000_000_000;
        // It is meant to wrap.
        Moment((start.as_secs() as u32).wrapping_mul(MOMENTS_PER_S).wrapping_add(parts as u32))
    }
}

/// What a limit is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// How many responses of a kind a network gets in a second, 1 to [`RESPONSES_PER_S_MAX`].
    pub responses_per_s: u32,
    /// And how many of them at once, when it had none for a while; at most as many as in [`BURST_MAX_S`].
    pub burst: u32,
    /// Of the responses over the limit each one of so many is sent, without its records; the others are not. 0: none is.
    pub slip: u32,
    /// How many bits of an address say which network it is in, of IPv4 and of IPv6, of which it is 64 at most.
    pub prefix_lens: [u8; 2],
    /// Networks that are not limited, at most [`EXEMPT_MAX`].
    pub exempt: Vec<(IpAddr, u8)>,
}

impl RateLimit {
    /// The network that an address is in: a number of its own.
    fn network(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(address) => 1 << 63 | u64::from(upper_bits(address.to_bits(), self.prefix_lens[0])),
            IpAddr::V6(address) => {
                let upper = (address.to_bits() >> 64) as u64;
                // No address of the Internet begins with a bit that is set.
                upper
                    & u64::MAX.checked_shl(64 - u32::from(self.prefix_lens[1].min(64))).unwrap_or(0)
                    & !(1 << 63)
            }
        }
    }

    fn exempts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.exempt.iter().any(|(network, len)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                upper_bits(network.to_bits() ^ address.to_bits(), *len) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(128 - u32::from(*len).min(128)).unwrap_or(0) == 0
            }
            _ => false,
        })
    }

    /// Whether an address that is not limited may be in the network of this one.
    pub fn exempts_in_network(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let [of_ipv4, of_ipv6] = self.prefix_lens;
        self.exempt.iter().any(|(network, len)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                upper_bits(network.to_bits() ^ address.to_bits(), *len.min(&of_ipv4)) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(128 - u32::from(*len.min(&of_ipv6)).min(128)).unwrap_or(0) == 0
            }
            _ => false,
        })
    }

    /// How many moments a response takes.
    fn cost(&self) -> u32 {
        (MOMENTS_PER_S / self.responses_per_s.max(1)).max(1)
    }

    /// How many moments may be owed.
    fn credit(&self) -> u32 {
        self.cost().saturating_mul(self.burst.max(1)).min(BURST_MAX_S * MOMENTS_PER_S)
    }
}

/// The upper bits of an IPv4 address, the others being zero.
fn upper_bits(address: u32, len: u8) -> u32 {
    address & u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0)
}

/// The limit and the accounts, for all packet threads of a node.
pub struct RateLimits {
    version: AtomicU64,
    rules: Mutex<Option<Arc<RateLimit>>>,
    accounts: OnceLock<Accounts>,
    floods: ArrayQueue<IpAddr>,
    hearer: OnceLock<Thread>,
}

impl Default for RateLimits {
    /// No limit.
    fn default() -> RateLimits {
        RateLimits {
            version: AtomicU64::new(0),
            rules: Mutex::default(),
            accounts: OnceLock::new(),
            floods: ArrayQueue::new(FLOODS_MAX),
            hearer: OnceLock::new(),
        }
    }
}

impl RateLimits {
    /// Sets the limit, or takes it away. Packet threads go by it from their next batch on.
    pub fn set(&self, rules: Option<RateLimit>) {
        if rules.is_some() {
            self.accounts.get_or_init(Accounts::new);
        }
        // A panic ends the process, so that nobody sees a poisoned lock.
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules.map(Arc::new);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The limit.
    pub fn rules(&self) -> Option<Arc<RateLimit>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the thread that calls this unparked whenever there is a flood to hear of. There is one such thread: the first.
    pub fn hear_floods(&self) {
        self.hearer.get_or_init(thread::current);
    }

    /// An address of the next network that is one, in its name or of its own; it may have been told before.
    pub fn next_flood(&self) -> Option<IpAddr> {
        self.floods.pop()
    }
}

/// What is owed, and by whom.
struct Accounts {
    sets: Box<[Set]>,
    /// So that nobody can say which account a network and a name have.
    secrets: [u64; 2],
}

/// Each account with 32 bits of what it is of above the moment up to which it owes.
#[repr(align(64))]
#[derive(Default)]
struct Set([AtomicU64; SET_LEN]);

impl Accounts {
    fn new() -> Accounts {
        let random = || RandomState::new().hash_one(0) | 1;
        Accounts { sets: (0..SETS).map(|_| Set::default()).collect(), secrets: [random(), random()] }
    }

    /// Which account this is.
    fn hash(&self, network: u64, kind: Kind, name: &[u8]) -> u64 {
        let [first, second] = self.secrets;
        let hash = folded(network ^ first, u64::from(kind.0) << 8 ^ name.len() as u64 ^ second);
        let (chunks, rest) = name.as_chunks::<8>();
        let hash = chunks.iter().fold(hash, |hash, chunk| folded(hash ^ u64::from_le_bytes(*chunk), second));
        // Some of the octets were in it before, which does no harm.
        let rest = match name.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => rest.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)),
        };
        folded(hash ^ rest, first)
    }

    /// Whether one more response can be paid for, which it then is.
    fn pays(&self, hash: u64, now: u32, cost: u32, credit: u32) -> bool {
        let set = &self.sets[(hash >> SET_SHIFT) as usize].0;
        let tag = hash as u32;
        // One that seems to owe more than anybody may is of an hour ago.
        let owed = |account: u64| {
            let owed = (account as u32).wrapping_sub(now);
            if owed <= credit { owed } else { 0 }
        };
        let with = |until: u32| u64::from(tag) << 32 | u64::from(until);
        let is_of_it = |account: &&AtomicU64| (account.load(Ordering::Relaxed) >> 32) as u32 == tag;
        let Some(account) = set.iter().find(is_of_it) else {
            if let Some(account) = set.iter().min_by_key(|account| owed(account.load(Ordering::Relaxed))) {
                account.store(with(now.wrapping_add(cost)), Ordering::Relaxed);
            }
            return true;
        };
        let before = owed(account.load(Ordering::Relaxed));
        let pays = before <= credit - cost;
        if pays {
            account.store(with(now.wrapping_add(before + cost)), Ordering::Relaxed);
        }
        pays
    }
}

/// Both halves of a product.
#[inline(always)]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

/// What else than a name tells responses apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind(pub(crate) u32);

impl Kind {
    /// All that a network gets over the limit; no responses are of this kind.
    const OVER: Kind = Kind(u32::MAX);
}

/// What becomes of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is sent.
    Sent,
    /// It is sent without its records, and says that they are to be had over TCP.
    Shortened,
    /// It is not sent.
    Withheld,
}

/// The limit as one packet thread has it.
pub(crate) struct Limiter {
    limits: Arc<RateLimits>,
    version: u64,
    rules: Option<Arc<RateLimit>>,
    now: Moment,
    /// Responses over the limit.
    over: u32,
    /// The last flood that was told, and when.
    told: Option<(u64, u32)>,
}

impl Limiter {
    pub(crate) fn new(limits: Arc<RateLimits>) -> Limiter {
        Limiter { limits, version: 0, rules: None, now: Moment::default(), over: 0, told: None }
    }

    /// Takes in changes.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        let version = self.limits.version.load(Ordering::Acquire);
        if version != self.version {
            self.rules = self.limits.rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.version = version;
        }
    }

    /// Whether there is a limit.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.rules.is_some()
    }

    /// Says when it is.
    pub(crate) fn expect_moment(&mut self, now: Moment) {
        self.now = now;
    }

    /// Says what becomes of a response to this client.
    pub(crate) fn judge(&mut self, client: IpAddr, kind: Kind, name: &[u8]) -> Verdict {
        let (Some(rules), Some(accounts)) = (&self.rules, self.limits.accounts.get()) else {
            return Verdict::Sent;
        };
        let network = rules.network(client);
        let hash = accounts.hash(network, kind, name);
        if accounts.pays(hash, self.now.0, rules.cost(), rules.credit()) || rules.exempts(client) {
            return Verdict::Sent;
        }
        self.over = self.over.wrapping_add(1);
        if let Some(hearer) = self.limits.hearer.get() {
            let (cost, now) = ((rules.cost() / FLOOD_FACTOR).max(1), self.now.0);
            let is_flood = !accounts.pays(accounts.hash(network, Kind::OVER, &[]), now, cost, rules.credit());
            let is_told = |(other, then): (u64, u32)| other == network && now.wrapping_sub(then) < TOLD_FOR;
            if is_flood && !self.told.is_some_and(is_told) && self.limits.floods.push(client).is_ok() {
                self.told = Some((network, now));
                hearer.unpark();
            }
        }
        if rules.slip != 0 && self.over.is_multiple_of(rules.slip) {
            Verdict::Shortened
        } else {
            Verdict::Withheld
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RateLimit =
        RateLimit { responses_per_s: 100, burst: 10, slip: 1, prefix_lens: [24, 56], exempt: Vec::new() };

    fn limiter(rules: RateLimit) -> Limiter {
        let limits = Arc::new(RateLimits::default());
        let mut limiter = Limiter::new(Arc::clone(&limits));
        limits.set(Some(rules));
        limiter.refresh();
        limiter
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn sent(limiter: &mut Limiter, client: &str, name: &[u8], count: usize) -> usize {
        (0..count).filter(|_| limiter.judge(ip(client), Kind(0), name) == Verdict::Sent).count()
    }

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let mut limiter = limiter(RULES);
        for start_s in [0, 1000, 4000, 4100, 5000, 9000] {
            let mut total = 0;
            for ms in 0..2000 {
                limiter
                    .expect_moment(Moment::after(Duration::from_secs(start_s) + Duration::from_millis(ms)));
                total += sent(&mut limiter, "192.0.2.1", b"\x01a", 3);
            }
            assert!((208..=211).contains(&total), "from {start_s} s on: {total}");
        }
    }

    #[test]
    fn who_asks_less_is_not_limited() {
        let mut limiter = limiter(RULES);
        for ms in (0..60_000).step_by(11) {
            limiter.expect_moment(Moment::after(Duration::from_millis(ms)));
            assert_eq!(sent(&mut limiter, "2001:db8::1", b"\x01a", 1), 1, "{ms}");
        }
    }

    #[test]
    fn networks_names_and_kinds_have_their_own() {
        let mut limiter = limiter(RULES);
        assert_eq!(sent(&mut limiter, "192.0.2.1", b"\x01a", 20), 10);
        for (client, name, count) in [
            ("192.0.2.255", &b"\x01a"[..], 0),
            ("::ffff:192.0.2.7", b"\x01a", 0),
            ("192.0.3.1", b"\x01a", 10),
            ("192.0.2.1", b"\x01b", 10),
            ("192.0.2.1", b"\x09abcdefghi", 10),
            ("192.0.2.1", b"\x09abcdefghj", 10),
            ("2001:db8:0:ff::1", b"\x01a", 10),
            ("2001:db8::1", b"\x01a", 0),
            ("2001:db8:0:100::1", b"\x01a", 10),
        ] {
            assert_eq!(sent(&mut limiter, client, name, 20), count, "{client}");
        }
        assert_eq!(limiter.judge(ip("192.0.2.1"), Kind(1), b"\x01a"), Verdict::Sent);
        let single = RateLimit { prefix_lens: [32, 64], ..RULES };
        assert_ne!(single.network(ip("192.0.2.2")), single.network(ip("192.0.2.3")));
        assert_ne!(single.network(ip("2001:db8::")), single.network(ip("2001:db8:0:1::")));
    }

    #[test]
    fn slips_and_exceptions_and_changes() {
        let exempt = vec![(ip("198.51.100.0"), 24), (ip("2001:db8::"), 32), (ip("::"), 0)];
        let mut limiter = limiter(RateLimit { slip: 3, exempt, ..RULES });
        assert_eq!(sent(&mut limiter, "192.0.2.1", b"", 10), 10);
        let over: Vec<Verdict> = (0..6).map(|_| limiter.judge(ip("192.0.2.1"), Kind(0), b"")).collect();
        let (shortened, withheld) = (Verdict::Shortened, Verdict::Withheld);
        assert_eq!(over, [withheld, withheld, shortened, withheld, withheld, shortened]);
        assert_eq!(sent(&mut limiter, "198.51.100.9", b"", 100), 100);
        assert_eq!(sent(&mut limiter, "2a00::1", b"", 100), 100);
        limiter.limits.set(Some(RateLimit { slip: 0, ..RULES }));
        assert_eq!(limiter.judge(ip("198.51.100.9"), Kind(0), b""), Verdict::Sent, "until it is refreshed");
        limiter.refresh();
        assert_eq!(limiter.judge(ip("192.0.2.1"), Kind(0), b""), Verdict::Withheld);
        limiter.limits.set(None);
        limiter.refresh();
        assert!(!limiter.is_on());
        assert_eq!(sent(&mut limiter, "192.0.2.1", b"", 100), 100);
    }

    #[test]
    fn floods_are_told_to_who_hears() {
        let mut limiter = limiter(RULES);
        let start = Duration::from_secs(7);
        let at_ms = |limiter: &mut Limiter, ms| {
            limiter.expect_moment(Moment::after(start + Duration::from_millis(ms)))
        };
        at_ms(&mut limiter, 0);
        sent(&mut limiter, "192.0.2.1", b"\x01a", 2000);
        assert_eq!(limiter.limits.next_flood(), None, "nobody hears");
        limiter.limits.hear_floods();
        // Ten times as many as within the limit are none yet.
        for ms in 2000..4000 {
            at_ms(&mut limiter, ms);
            sent(&mut limiter, "192.0.2.1", b"\x01a", 1);
            assert_eq!(limiter.limits.next_flood(), None, "{ms}");
        }
        let mut told = Vec::new();
        for ms in 4000..5000 {
            at_ms(&mut limiter, ms);
            sent(&mut limiter, "192.0.2.9", b"\x01a", 3);
            told.extend(limiter.limits.next_flood());
        }
        assert!(
            (6..=9).contains(&told.len()) && told.iter().all(|flood| *flood == ip("192.0.2.9")),
            "{told:?}"
        );
        // There is room for some, and those for which there is none are told later.
        let client = |network: u32| IpAddr::from((10 << 24 | network << 8).to_be_bytes());
        let flood = |limiter: &mut Limiter| {
            for network in 0..100 {
                let judged = (0..200).map(|_| limiter.judge(client(network), Kind(0), b""));
                assert!(judged.filter(|verdict| *verdict != Verdict::Sent).count() >= 190);
            }
            std::iter::from_fn(|| limiter.limits.next_flood()).collect::<Vec<_>>()
        };
        let first = flood(&mut limiter);
        assert_eq!(first, (0..FLOODS_MAX as u32).map(client).collect::<Vec<_>>());
        let second = flood(&mut limiter);
        assert!(second.len() == FLOODS_MAX, "{second:?}");
    }

    #[test]
    fn networks_of_those_who_are_exempt() {
        let exempt = vec![(ip("198.51.100.128"), 25), (ip("203.0.112.0"), 22), (ip("2001:db8:7::1"), 128)];
        let rules = RateLimit { exempt, ..RULES };
        for (address, expected) in [
            ("198.51.100.1", true),
            ("198.51.101.1", false),
            ("203.0.113.9", true),
            ("203.0.116.9", false),
            ("2001:db8:7:ff::", true),
            ("2001:db8:7:100::", false),
            ("::ffff:203.0.113.9", true),
        ] {
            assert_eq!(rules.exempts_in_network(ip(address)), expected, "{address}");
        }
        assert!(!RULES.exempts_in_network(ip("192.0.2.1")));
    }

    #[test]
    fn a_flood_from_everywhere_leaves_those_who_are_over_the_limit() {
        let mut limiter = limiter(RULES);
        assert_eq!(sent(&mut limiter, "192.0.2.1", b"", 20), 10);
        // Ten times as many as there are accounts.
        for network in 0..10 * (SETS * SET_LEN) as u32 {
            let client = IpAddr::from((network << 8 | 7).to_be_bytes());
            assert_eq!(limiter.judge(client, Kind(7), b""), Verdict::Sent);
        }
        assert_eq!(sent(&mut limiter, "192.0.2.1", b"", 20), 0);
    }
}
