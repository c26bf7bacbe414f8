//! Where addresses are: each network has the number of a place.
//!
//! Networks that lie in each other are taken apart when the map is made: what is kept is where each range of addresses of
//! one place begins, in order, and for the upper bits of an address between which of these it has to be looked for. The
//! search takes some lines of a list of 4 octets a range of IPv4 and twice 8 of IPv6; the places are in a list of their own, 2
//! octets each.
//!
//! Most addresses of clients need no search. All that have the same upper bits are divided up into equal leaves, by as many of the
//! bits that follow as take the least memory. A leaf has the place of all its addresses, or is spread out: there is a list of
//! the places of equal parts of it. Of IPv6, it may also lead to where at most two ranges begin. So an answer costs a line for the upper
//! bits, one for the leaf, and mostly no more. All addresses of IPv4 are found so, and those of IPv6 but in parts in which ranges
//! begin: networks of more than 48 bits, say, that lie close together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{BitAnd, BitXor};

/// The number of a place. What is in no network is in place 0.
pub type Place = u16;
/// What is said of the parts of a leaf whose addresses have to be searched for. A place with that number is searched for as well.
const SEARCHED: Place = Place::MAX;

/// How many upper bits of an address lead to where it is searched for: a table of 256 KiB for each family. With 2 bits more it
/// would be of the size of a second-level cache, and the ranges of IPv6, which lie close together, would gain little.
const UPPER_BITS: u32 = 16;
const UPPER_COUNT: usize = 1 << UPPER_BITS;

/// How many bits lead to leaves, or to the parts of one, at most.
const LEAF_BITS_MAX: u32 = 16;
/// How many bits of an address lead to them together, at most.
const LEN_MAX: u32 = u64::BITS;
/// How many ranges may begin in a leaf that leads to them.
const BEGIN_MAX: usize = 2;
/// How many octets it is worth not to have to search for what is in a range. All addresses of IPv4 get what they need: a list of 256
/// leaves, and one of 256 parts for each of these with a range in it, take a kilobyte and half a one a range at most.
const BYTES_FOR_RANGE: usize = 4096;

/// How many ranges to each side are looked at for some that are answered alike. Each costs some instructions, for queries with a
/// subnet alone; with fewer, resolvers would keep more answers that are the same.
const ALIKE_MAX: usize = 64;

/// An address in two parts: what tells ranges apart that clients are in, and the rest.
trait Split: Copy {
    /// All of IPv4, the upper half of IPv6.
    type Head: Copy + Ord;
    /// Zero where a network begins that is not smaller than clients have.
    type Tail: Copy + Ord + Default;
    fn split(self) -> (Self::Head, Self::Tail);
    fn joined(head: Self::Head, tail: Self::Tail) -> Self;
}

impl Split for u32 {
    type Head = u32;
    type Tail = ();
    #[inline(always)]
    fn split(self) -> (u32, ()) {
        (self, ())
    }
    fn joined(head: u32, (): ()) -> u32 {
        head
    }
}

impl Split for u128 {
    type Head = u64;
    type Tail = u64;
    #[inline(always)]
    fn split(self) -> (u64, u64) {
        ((self >> 64) as u64, self as u64)
    }
    fn joined(head: u64, tail: u64) -> u128 {
        u128::from(head) << 64 | u128::from(tail)
    }
}

/// An address as a number.
trait Word: Split + Ord + BitAnd<Output = Self> + BitXor<Output = Self> {
    const BITS: u8;
    /// From which upper bits on addresses are not searched for. Those of IPv6 that begin with zeros are of IPv4, or nobody's.
    const UPPER_MIN: usize;
    /// Whether leaves lead to what begins in them. With IPv4 it takes hardly more memory, and fewer instructions, if none does.
    const HAS_NEAR: bool;
    const ZERO: Self;
    /// Its upper bits.
    fn upper(self) -> usize;
    /// The bits that follow them up to [`LEN_MAX`], the first one uppermost.
    fn lower(self) -> u64;
    /// The first one with these upper bits.
    fn with_upper(upper: usize) -> Self;
    /// The first one of the leaf with this number, of those that have so many bits and begin with this one.
    fn leaf(self, number: usize, len: u32) -> Self;
    fn leading_zeros(self) -> u8;
    /// The first one that has so many bits in common with this one.
    fn with_bits(self, len: u32) -> Self;
    /// How many bits of a network say where it begins, if it begins here.
    fn len_min(self) -> u32;
    fn checked_add_one(self) -> Option<Self>;
    /// The one before, of one that is not the first.
    fn before(self) -> Self;
    /// The last one of the network of so many bits, at most all, that begins here.
    fn last_of(self, len: u8) -> Self;
}

macro_rules! word {
    ($word:ty, $bits:literal, $upper_min:literal, $lower:expr) => {
        impl Word for $word {
            const BITS: u8 = $bits;
            const UPPER_MIN: usize = $upper_min;
            const HAS_NEAR: bool = $bits > u64::BITS;
            const ZERO: Self = 0;
            #[inline(always)]
            fn upper(self) -> usize {
                (self >> ($bits - UPPER_BITS)) as usize
            }
            #[inline(always)]
            fn lower(self) -> u64 {
                $lower(self)
            }
            fn with_upper(upper: usize) -> Self {
                (upper as $word) << ($bits - UPPER_BITS)
            }
            fn leaf(self, number: usize, len: u32) -> Self {
                self | (number as $word) << ($bits - len)
            }
            fn with_bits(self, len: u32) -> Self {
                self & !Self::ZERO.last_of(len as u8) // at most 64
            }
            fn leading_zeros(self) -> u8 {
                <$word>::leading_zeros(self) as u8 // at most 128
            }
            fn len_min(self) -> u32 {
                $bits - self.trailing_zeros()
            }
            fn checked_add_one(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn before(self) -> Self {
                self.wrapping_sub(1)
            }
            fn last_of(self, len: u8) -> Self {
                self | <$word>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }
        }
    };
}

word!(u32, 32, 0, |word| u64::from(word) << (32 + UPPER_BITS));
word!(u128, 128, 1, |word| ((word >> 64) as u64) << UPPER_BITS);

/// A map of addresses to places.
#[derive(PartialEq, Eq)]
pub struct Places {
    ipv4: Ranges<u32>,
    ipv6: Ranges<u128>,
}

/// Ranges of one family, each up to the next.
#[derive(PartialEq, Eq)]
struct Ranges<W: Word> {
    /// For each value of the upper bits, the range that their first address is in; one more for the end.
    upper: Box<[u32]>,
    /// Where each range begins, the first at zero.
    heads: Box<[W::Head]>,
    tails: Box<[W::Tail]>,
    places: Box<[Place]>,
    /// For each value of the upper bits. All of them are divided up, so that nobody has to look.
    branches: Box<[Leaf; UPPER_COUNT]>,
    leaves: Box<[Leaf]>,
    /// The places of all leaves that are spread out.
    spread: Box<[Place]>,
    near: Box<[Near]>,
}

/// What begins in a leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Near {
    /// Where, one after the other, in the bits that follow the upper ones; where it is less, behind all addresses.
    starts: [u64; BEGIN_MAX],
    /// The place before, and from each of these on.
    places: [Place; BEGIN_MAX + 1],
}

/// What all addresses have that begin alike: a place; parts that have a leaf or a place each; or what begins in it. Which it is, the
/// uppermost bits say, so that it takes a look at the sign and, mostly, no more.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Leaf(u32);

impl Leaf {
    /// Of those that are not divided up: the place is in the lowest bits.
    const PLACE: u32 = 2 << 30;
    /// Or, of IPv6 alone, the number of what begins there.
    const NEAR: u32 = 1 << 30;
    /// Of those that are divided up, in so many of the lowest bits, how far what follows in an address is to be shifted so that it is the number
    /// of a part among theirs; above these where the first one stands.
    const SHIFT_BITS: u32 = 6;
    /// Of addresses that are searched for: there is nothing where their parts would stand.
    const SEARCHED: Leaf = Leaf::divided(Leaf::PARTS_MAX - 1, 1);
    /// How many parts there can be.
    const PARTS_MAX: usize = 1 << (30 - Leaf::SHIFT_BITS);

    const fn place(place: Place) -> Leaf {
        Leaf(Leaf::PLACE | place as u32)
    }

    const fn near(number: usize) -> Leaf {
        Leaf(Leaf::NEAR | number as u32)
    }

    /// One that is divided up by so many bits.
    const fn divided(first: usize, bits: u32) -> Leaf {
        Leaf((first as u32) << Leaf::SHIFT_BITS | (u64::BITS - bits))
    }

    #[inline(always)]
    fn is_place(self) -> bool {
        self.0 >= Leaf::PLACE
    }

    /// What that part of it has which these bits lead to.
    #[inline(always)]
    fn below<T: Copy>(self, parts: &[T], lower: u64) -> Option<T> {
        let number = (self.0 >> Leaf::SHIFT_BITS) as usize + (lower >> (self.0 % u64::BITS)) as usize;
        parts.get(number).copied()
    }

    /// What of the bits is left when they have led to a part.
    #[inline(always)]
    fn rest(self, lower: u64) -> u64 {
        lower << (self.0.wrapping_neg() % u64::BITS)
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [ipv4, ipv6] = self.range_counts();
        write!(f, "Places({ipv4} and {ipv6} ranges)")
    }
}

impl Places {
    /// The place of an address. An IPv4 address in the form of an IPv6 one is taken as what it is.
    pub fn find(&self, address: IpAddr) -> Place {
        match address {
            IpAddr::V4(address) => self.ipv4.find(address.to_bits()),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => self.ipv4.find(address.to_bits()),
                None => self.ipv6.find(address.to_bits()),
            },
        }
    }

    /// The place of an address, where it is known without a search: all but [`Place::MAX`], and all of IPv4 but in maps that have
    /// millions of networks.
    #[inline(always)]
    pub fn known_ipv4(&self, address: Ipv4Addr) -> Option<Place> {
        self.ipv4.known(address.to_bits())
    }

    /// As [`Places::known_ipv4`], of an IPv6 address, as of most. None is known that is one of IPv4.
    #[inline(always)]
    pub fn known_ipv6(&self, address: Ipv6Addr) -> Option<Place> {
        self.ipv6.known(address.to_bits())
    }

    /// The place of an address, and the fewest bits of it that make a network all of which is in places that are `alike` to that
    /// one, as far as that is looked for (RFC 7871 §7.2.1): no address of it is in another, so that networks never overlap.
    pub fn find_network(&self, address: IpAddr, alike: impl Fn(Place, Place) -> bool) -> (Place, u8) {
        match address {
            IpAddr::V4(address) => self.ipv4.find_network(address.to_bits(), alike),
            IpAddr::V6(address) => self.ipv6.find_network(address.to_bits(), alike),
        }
    }

    /// How many ranges there are of IPv4 and of IPv6.
    pub fn range_counts(&self) -> [usize; 2] {
        [self.ipv4.count(), self.ipv6.count()]
    }

    /// Octets of memory.
    pub fn memory_bytes(&self) -> usize {
        self.ipv4.memory_bytes() + self.ipv6.memory_bytes()
    }
}

impl<W: Word> Ranges<W> {
    /// How many there are.
    fn count(&self) -> usize {
        self.tails.len()
    }

    fn start(&self, range: usize) -> W {
        W::joined(self.heads[range], self.tails[range])
    }

    /// The range that an address is in.
    fn index(&self, address: W) -> usize {
        let upper = address.upper();
        // There is one more than upper bits have values, and each is one of the ranges.
        let (first, last) = (self.upper[upper] as usize, self.upper[upper + 1] as usize);
        let (head, tail) = address.split();
        let within = &self.heads[first + 1..=last];
        let before = first + within.partition_point(|start| *start < head);
        let upto = first + within.partition_point(|start| *start <= head);
        before + self.tails[before + 1..=upto].partition_point(|start| *start <= tail)
    }

    /// The place of an address, if a leaf leads to it, as for most; [`SEARCHED`] is none.
    #[inline(always)]
    fn known(&self, address: W) -> Option<Place> {
        let (branch, lower) = (self.branches[address.upper()], address.lower());
        let leaf = branch.below(&self.leaves, lower)?;
        if leaf.is_place() {
            return Some(leaf.0 as Place);
        }
        if !W::HAS_NEAR || leaf.0 < Leaf::NEAR {
            return leaf.below(&self.spread, branch.rest(lower));
        }
        let near = self.near.get((leaf.0 - Leaf::NEAR) as usize)?;
        let begun = near.starts.iter().map(|start| usize::from(*start <= lower)).sum::<usize>();
        near.places.get(begun).copied()
    }

    fn find(&self, address: W) -> Place {
        let known = self.known(address).filter(|place| *place != SEARCHED);
        known.unwrap_or_else(|| self.places[self.index(address)])
    }

    fn find_network(&self, address: W, alike: impl Fn(Place, Place) -> bool) -> (Place, u8) {
        let index = self.index(address);
        let place = self.places[index];
        let is_alike = |other: &&Place| alike(place, **other);
        let before = self.places[..index].iter().rev().take(ALIKE_MAX).take_while(is_alike).count();
        let after = self.places[index + 1..].iter().take(ALIKE_MAX).take_while(is_alike).count();
        // The network may have neither the address before the ranges nor that behind them: it differs from each by a bit of
        // its prefix.
        let bits_from = |outside: W| (address ^ outside).leading_zeros() + 1;
        let first = self.start(index - before);
        let from_before = if first == W::ZERO { 0 } else { bits_from(first.before()) };
        let next = index + after + 1;
        let from_after = if next < self.count() { bits_from(self.start(next)) } else { 0 };
        (place, from_before.max(from_after))
    }

    fn memory_bytes(&self) -> usize {
        let Ranges { upper, heads, tails, places, branches, leaves, spread, near } = self;
        let of_ranges = size_of_val(&**upper) + size_of_val(&**heads) + size_of_val(&**tails);
        let of_leaves = size_of_val(&**branches) + size_of_val(&**leaves) + size_of_val(&**spread);
        of_ranges + size_of_val(&**places) + of_leaves + size_of_val(&**near)
    }
}

/// Puts a map together.
#[derive(Default)]
pub struct PlacesBuilder {
    ipv4: Vec<(u32, u8, Place)>,
    ipv6: Vec<(u128, u8, Place)>,
}

/// What can't be in a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlacesError {
    /// The address has bits behind the prefix, or the prefix more than an address.
    NoNetwork,
    /// More networks than there may be.
    TooMany,
}

impl std::fmt::Display for PlacesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PlacesError::NoNetwork => f.write_str("it is no network: the address has bits behind the prefix"),
            PlacesError::TooMany => write!(f, "there are more than {NETWORKS_MAX} networks of a family"),
        }
    }
}

impl std::error::Error for PlacesError {}

/// The most networks of a family: far more than there are routes, or networks in the largest maps there are to be had. While a map
/// is made, they take 8 octets each of IPv4 and 32 of IPv6.
const NETWORKS_MAX: usize = 1 << 26;

impl PlacesBuilder {
    /// Adds that a network is in a place, but for smaller ones in it that are in others, in whichever order they come. Of one
    /// that is there twice the last counts.
    ///
    /// # Errors
    /// It is no network, or one too many.
    pub fn add(&mut self, address: IpAddr, len: u8, place: Place) -> Result<(), PlacesError> {
        match address {
            IpAddr::V4(address) => add(&mut self.ipv4, address.to_bits(), (len, place)),
            IpAddr::V6(address) => add(&mut self.ipv6, address.to_bits(), (len, place)),
        }
    }

    /// Two of the networks that are the same, and in different places; none if there are no such.
    pub fn contradiction(&mut self) -> Option<(IpAddr, u8)> {
        fn first<W: Word>(networks: &mut [(W, u8, Place)]) -> Option<(W, u8)> {
            networks.sort();
            let twice = |two: &&[(W, u8, Place)]| {
                (two[0].0, two[0].1) == (two[1].0, two[1].1) && two[0].2 != two[1].2
            };
            networks.windows(2).find(twice).map(|two| (two[0].0, two[0].1))
        }
        let ipv4 = first(&mut self.ipv4).map(|(bits, len)| (Ipv4Addr::from_bits(bits).into(), len));
        ipv4.or_else(|| first(&mut self.ipv6).map(|(bits, len)| (Ipv6Addr::from_bits(bits).into(), len)))
    }

    /// The map.
    pub fn finish(self) -> Places {
        Places { ipv4: ranges(self.ipv4), ipv6: ranges(self.ipv6) }
    }
}

fn add<W: Word>(
    networks: &mut Vec<(W, u8, Place)>,
    start: W,
    (len, place): (u8, Place),
) -> Result<(), PlacesError> {
    if len > W::BITS || start & W::ZERO.last_of(len) != W::ZERO {
        return Err(PlacesError::NoNetwork);
    }
    if networks.len() == NETWORKS_MAX {
        return Err(PlacesError::TooMany);
    }
    networks.push((start, len, place));
    Ok(())
}

/// Takes networks apart that lie in each other.
fn ranges<W: Word>(mut networks: Vec<(W, u8, Place)>) -> Ranges<W> {
    // The larger of two that begin at one address comes first. The sort keeps the order of what is there twice.
    networks.sort_by_key(|(start, len, _)| (*start, *len));
    let (mut starts, mut places) = (vec![W::ZERO], vec![0]);
    // Networks that the current address is in, the smallest last, each with its last address.
    let mut open: Vec<(W, Place)> = Vec::new();
    let mut begin = |start: W, place: Place| {
        // At one address the last word counts; and a range of the place that goes on is none of its own.
        if starts.last() == Some(&start) {
            starts.pop();
            places.pop();
        }
        if places.last() != Some(&place) {
            starts.push(start);
            places.push(place);
        }
    };
    for (start, len, place) in networks {
        while open.last().is_some_and(|(last, _)| *last < start) {
            if let Some((next, place)) = closed(&mut open) {
                begin(next, place);
            }
        }
        begin(start, place);
        open.push((start.last_of(len), place));
    }
    while !open.is_empty() {
        if let Some((next, place)) = closed(&mut open) {
            begin(next, place);
        }
    }
    let upper = (0..=UPPER_COUNT).map(|upper| match upper {
        UPPER_COUNT => starts.len() - 1,
        // The first begins at zero.
        _ => starts.partition_point(|start| *start <= W::with_upper(upper)) - 1,
    });
    let upper: Box<[u32]> = upper.map(|index| index as u32).collect(); // two for each of `NETWORKS_MAX` at most
    let mut divider = Divider {
        starts: &starts,
        places: &places,
        leaves: Vec::new(),
        spread: Vec::new(),
        near: Vec::new(),
    };
    let mut branches = Box::new([Leaf::SEARCHED; UPPER_COUNT]);
    let mut last = Leaf::SEARCHED;
    for (bits, (branch, first)) in branches.iter_mut().zip(&upper).enumerate().skip(W::UPPER_MIN) {
        last = divider.branch(W::with_upper(bits), *first as usize, last);
        *branch = last;
    }
    let (leaves, spread, near) = (divider.leaves.into(), divider.spread.into(), divider.near.into());
    let (heads, tails): (Vec<_>, Vec<_>) = starts.into_iter().map(W::split).unzip();
    Ranges {
        upper,
        heads: heads.into(),
        tails: tails.into(),
        places: places.into(),
        branches,
        leaves,
        spread,
        near,
    }
}

/// Divides ranges up.
struct Divider<'r, W: Word> {
    starts: &'r [W],
    places: &'r [Place],
    leaves: Vec<Leaf>,
    spread: Vec<Place>,
    near: Vec<Near>,
}

impl<W: Word> Divider<'_, W> {
    /// What all addresses have with the upper bits of this one, which is the first of them and in this range. It may be what those
    /// before have.
    fn branch(&mut self, first: W, mut index: usize, before: Leaf) -> Leaf {
        let within = Within::new(&self.starts[index + 1..], first, UPPER_BITS);
        let (bits, at) = (within.bits(UPPER_BITS), self.leaves.len());
        if at + (1 << bits) >= Leaf::PARTS_MAX {
            return Leaf::SEARCHED;
        }
        for number in 0..1 << bits {
            let leaf = self.leaf(first.leaf(number, UPPER_BITS + bits), UPPER_BITS + bits, &mut index);
            self.leaves.push(leaf);
        }
        let are_those_before = before == Leaf::divided(at.saturating_sub(1 << bits), bits)
            && self.leaves[at..] == self.leaves[at.saturating_sub(1 << bits)..at];
        if are_those_before {
            self.leaves.truncate(at);
            return before;
        }
        Leaf::divided(at, bits)
    }

    /// What all addresses have with the first so many bits of this one. `index` goes on to the range that the last one is in.
    fn leaf(&mut self, first: W, len: u32, index: &mut usize) -> Leaf {
        self.go_on(index, first);
        let within = Within::new(&self.starts[*index + 1..], first, len);
        let (count, at) = (within.starts.len(), self.spread.len());
        if count == 0 {
            return Leaf::place(self.places[*index]);
        }
        if within.are_near() {
            let start = |begun: usize| within.starts.get(begun).map_or(u64::MAX, |start| start.lower());
            let place = |begun: usize| self.places[*index + begun.min(count)];
            self.near.push(Near { starts: std::array::from_fn(start), places: std::array::from_fn(place) });
            *index += count;
            return Leaf::near(self.near.len() - 1);
        }
        let (bits, _) = within.parts(len);
        if bits == 0 || at + (1 << bits) >= Leaf::PARTS_MAX {
            *index += count;
            return Leaf::SEARCHED;
        }
        for number in 0..1 << bits {
            let part = first.leaf(number, len + bits);
            self.go_on(index, part);
            let is_one = Within::new(&self.starts[*index + 1..], part, len + bits).starts.is_empty();
            self.spread.push(if is_one { self.places[*index] } else { SEARCHED });
        }
        Leaf::divided(at, bits)
    }

    /// Goes on to the range that an address is in.
    fn go_on(&self, index: &mut usize, address: W) {
        while self.starts.get(*index + 1).is_some_and(|start| *start <= address) {
            *index += 1;
        }
    }
}

/// The ranges that begin among addresses that begin alike, behind the first of these.
struct Within<'r, W: Word> {
    starts: &'r [W],
}

impl<'r, W: Word> Within<'r, W> {
    /// Those of the starts, all behind this address, that have its first so many bits.
    fn new(starts: &'r [W], first: W, len: u32) -> Within<'r, W> {
        let last = first.last_of(len as u8); // at most 64
        Within { starts: &starts[..starts.partition_point(|start| *start <= last)] }
    }

    /// By how many bits behind the first so many these addresses are divided up into leaves: that takes the least memory.
    fn bits(&self, len: u32) -> u32 {
        match self.starts {
            [] => 1,
            _ => (1..=LEAF_BITS_MAX).min_by_key(|bits| self.bytes(len, *bits)).unwrap_or(1),
        }
    }

    /// About how many octets that takes with so many.
    fn bytes(&self, len: u32, bits: u32) -> usize {
        let leaf = |start: W| start.with_bits(len + bits);
        let of_leaf = |starts: &'r [W]| {
            let first = leaf(starts[0]);
            let begun = usize::from(starts[0] == first);
            let within = Within::new(&starts[begun..], first, len + bits);
            match within.starts.len() {
                0 => 0,
                _ if within.are_near() => size_of::<Near>(),
                _ => within.parts(len + bits).1,
            }
        };
        let of_leaves: usize =
            self.starts.chunk_by(|one, other| leaf(*one) == leaf(*other)).map(of_leaf).sum();
        (size_of::<Leaf>() << bits) + of_leaves
    }

    /// Whether the leaf of these addresses leads to what begins in it.
    fn are_near(&self) -> bool {
        W::HAS_NEAR
            && self.starts.len() <= BEGIN_MAX
            && self.starts.iter().all(|start| start.len_min() <= LEN_MAX)
    }

    /// By how many bits behind the first so many the leaf of these addresses is spread out, if by any, and about how many octets
    /// that takes.
    fn parts(&self, len: u32) -> (u32, usize) {
        // How many begin where so many bits say it.
        let mut begin = [0; LEAF_BITS_MAX as usize + 1];
        for start in self.starts {
            let bits = start.len_min() - len;
            begin.get_mut(bits as usize).into_iter().for_each(|count| *count += 1);
        }
        let mut within = self.starts.len();
        let with_bits = begin.iter().zip(0..).map(|(count, bits)| {
            within -= count;
            (bits, (size_of::<Place>() << bits) + BYTES_FOR_RANGE * within)
        });
        let best = with_bits.take_while(|(bits, _)| len + bits <= LEN_MAX).min_by_key(|(_, bytes)| *bytes);
        best.unwrap_or((0, BYTES_FOR_RANGE * self.starts.len()))
    }
}

/// Ends the smallest network; what begins behind it, if it does not end with the last address.
fn closed<W: Word>(open: &mut Vec<(W, Place)>) -> Option<(W, Place)> {
    let (last, _) = open.pop()?;
    Some((last.checked_add_one()?, open.last().map_or(0, |(_, place)| *place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(networks: &[(&str, u8, Place)]) -> Places {
        let mut builder = PlacesBuilder::default();
        for (address, len, place) in networks {
            builder.add(ip(address), *len, *place).unwrap();
        }
        builder.finish()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// What a map says by the rule alone: the place of the smallest network that has the address.
    fn naive(networks: &[(u32, u8, Place)], address: u32) -> Place {
        let host = |len: u8| u32::MAX.checked_shr(len.into()).unwrap_or(0);
        let has = |it: &&(u32, u8, Place)| (it.0 ^ address) & !host(it.1) == 0;
        // Of the same twice the last counts.
        networks.iter().filter(has).max_by_key(|(_, len, _)| *len).map_or(0, |(.., place)| *place)
    }

    #[test]
    fn the_smallest_network_counts() {
        let places = map(&[
            ("10.0.0.0", 8, 1),
            ("10.1.0.0", 16, 2),
            ("10.1.2.3", 32, 3),
            ("0.0.0.0", 0, 9),
            ("255.255.255.255", 32, 4),
            ("2001:db8::", 32, 5),
            ("2001:db8:1::", 48, 0),
            ("::1", 128, 6),
        ]);
        for (address, place, len) in [
            ("10.0.0.1", 1, 16),
            ("10.1.2.2", 2, 32),
            ("10.1.2.3", 3, 32),
            ("10.1.3.3", 2, 24),
            ("10.2.0.0", 1, 15),
            ("9.255.255.255", 9, 7),
            ("11.0.0.0", 9, 8),
            ("255.255.255.254", 9, 32),
            ("255.255.255.255", 4, 32),
            ("2001:db8::1", 5, 48),
            ("2001:db8:1::1", 0, 48),
            ("2001:db8:8000::", 5, 33),
            ("::1", 6, 128),
            ("::2", 0, 127),
            ("8000::", 0, 1),
        ] {
            assert_eq!(places.find(ip(address)), place, "{address}");
            assert_eq!(places.find_network(ip(address), |_, _| false), (place, len), "{address}");
        }
        assert_eq!(places.find(ip("::ffff:10.1.2.3")), 3);
    }

    #[test]
    fn neighbours_that_are_alike_are_one_network() {
        let places = map(&[("10.0.0.0", 9, 1), ("10.128.0.0", 9, 2), ("11.0.0.0", 8, 3)]);
        assert_eq!(places.find_network(ip("10.1.1.1"), |_, _| false), (1, 9));
        assert_eq!(places.find_network(ip("10.1.1.1"), |_, other| other == 2), (1, 8));
        assert_eq!(places.find_network(ip("10.1.1.1"), |_, other| other != 0), (1, 7));
        assert_eq!(places.find_network(ip("10.1.1.1"), |_, _| true), (1, 0));
        assert_eq!(map(&[]).find_network(ip("10.1.1.1"), |_, _| false), (0, 0));
    }

    #[test]
    fn random_maps_are_those_of_the_rule_and_networks_are_in_one_place() {
        for seed in 0..400u64 {
            let mut random = Random(seed + 1);
            let networks: Vec<(u32, u8, Place)> = (0..random.below(40))
                .map(|_| {
                    let len = random.below(33) as u8;
                    // Few upper bits, so that networks lie in each other.
                    let bits = random.below(4) << 30 | random.below(4) << 14 | random.below(256);
                    let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
                    (bits & !host, len, random.below(4) as Place)
                })
                .collect();
            let mut builder = PlacesBuilder::default();
            for (bits, len, place) in &networks {
                builder.add(Ipv4Addr::from_bits(*bits).into(), *len, *place).unwrap();
                let wide = u128::from(*bits) << 96;
                builder.add(Ipv6Addr::from_bits(wide).into(), *len, *place).unwrap();
            }
            let places = builder.finish();
            let edges = networks.iter().flat_map(|(bits, len, _)| {
                let last = bits | u32::MAX.checked_shr((*len).into()).unwrap_or(0);
                [*bits, last, bits.wrapping_sub(1), last.wrapping_add(1)]
            });
            let edges: Vec<u32> = edges.chain([0, u32::MAX, random.below(u32::MAX)]).collect();
            let class = |place: Place| place / 2;
            for address in &edges {
                let wanted = naive(&networks, *address);
                let ipv4 = Ipv4Addr::from_bits(*address);
                assert_eq!(places.find(ipv4.into()), wanted, "{seed}: {address:x}");
                assert_eq!(places.known_ipv4(ipv4), Some(wanted), "{seed}: {address:x}");
                let wide = Ipv6Addr::from_bits(u128::from(*address) << 96 | 7);
                assert_eq!(places.find(wide.into()), wanted, "{seed}: {address:x}");
                let known = places.known_ipv6(wide).filter(|known| *known != SEARCHED);
                assert!(known.is_none_or(|known| known == wanted), "{seed}: {address:x}");
                for merged in [false, true] {
                    let same = |one, other| if merged { class(one) == class(other) } else { one == other };
                    let found = places.find_network(Ipv4Addr::from_bits(*address).into(), same);
                    assert_eq!(found.0, wanted);
                    let host = u32::MAX.checked_shr(found.1.into()).unwrap_or(0);
                    let is_one = |other: u32| same(naive(&networks, other), wanted);
                    let inside = |at: u32| (at ^ address) & !host == 0;
                    assert!(
                        edges.iter().filter(|at| inside(**at)).all(|at| is_one(*at)),
                        "{seed}: {address:x}/{}",
                        found.1
                    );
                    assert!(is_one(address & !host) && is_one(address | host));
                    // And it is as large as that can be.
                    if found.1 > 0 && networks.len() < ALIKE_MAX / 2 {
                        let larger = host << 1 | 1;
                        let inside = |at: u32| (at ^ address) & !larger == 0;
                        let others = edges.iter().copied().chain([address & !larger, address | larger]);
                        assert!(
                            others.filter(|at| inside(*at)).any(|at| !is_one(at)),
                            "{seed}: {address:x}/{}",
                            found.1
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_begins_in_the_lower_half_is_searched_for() {
        let places = map(&[
            ("2001:db8::", 32, 1),
            ("2001:db8:1::", 80, 2),
            ("2001:db8:2::1", 128, 3),
            ("2001:db8:3::", 64, Place::MAX),
            ("3fff::", 20, 4),
            ("4000::", 2, 5),
        ]);
        for (address, place, is_known) in [
            ("2001:db8::", 1, false),
            ("2001:db8:1:0:0:ffff:ffff:ffff", 2, false),
            ("2001:db8:1:0:1::", 1, false),
            ("2001:db8:1:7::", 1, false),
            ("2001:db8:2::", 1, false),
            ("2001:db8:2::1", 3, false),
            ("2001:db8:2:8000::", 1, false),
            ("2001:db8:3::7", Place::MAX, false),
            ("2001:db8:8000::1", 1, false),
            ("2001:db9::", 0, true),
            ("3fff:fff::1", 4, true),
            ("3fff:1000::", 0, true),
            ("7fff::1", 5, true),
            ("8000::", 0, true),
        ] {
            let known = places.known_ipv6(address.parse().unwrap()).filter(|known| *known != SEARCHED);
            assert_eq!(known, is_known.then_some(place), "{address}");
            assert_eq!(places.find(ip(address)), place, "{address}");
        }
    }

    #[test]
    fn clients_of_large_maps_are_not_searched_for() {
        let mut random = Random(5);
        let mut builder = PlacesBuilder::default();
        let (mut networks, mut all, mut known) = (Vec::new(), 0, 0);
        for _ in 0..20_000 {
            let (bits, len) = (random.below(u32::MAX) >> random.below(4), 8 + random.below(25) as u8);
            let bits = bits & !u32::MAX.checked_shr(len.into()).unwrap_or(0);
            builder.add(Ipv4Addr::from_bits(bits).into(), len, random.below(7) as Place).unwrap();
            builder
                .add(Ipv6Addr::from_bits(u128::from(bits) << 96).into(), len, random.below(7) as Place)
                .unwrap();
            networks.push((bits, len));
        }
        builder.add(ip("255.255.255.255"), 32, 8).unwrap();
        builder.add(ip("ffff:ffff:ffff:ffff::"), 64, 9).unwrap();
        let places = builder.finish();
        for (bits, len) in networks {
            let last = bits | u32::MAX.checked_shr(len.into()).unwrap_or(0);
            for address in [bits, last, bits.wrapping_sub(1), last.wrapping_add(1), random.below(u32::MAX)] {
                let (ipv4, ipv6) =
                    (Ipv4Addr::from_bits(address), Ipv6Addr::from_bits(u128::from(address) << 96 | 9));
                let searched = places.ipv4.places[places.ipv4.index(address)];
                assert_eq!(places.known_ipv4(ipv4), Some(searched), "{ipv4}");
                let searched = places.ipv6.places[places.ipv6.index(ipv6.to_bits())];
                let found = places.known_ipv6(ipv6).filter(|found| *found != SEARCHED);
                assert_eq!(found.unwrap_or(searched), searched, "{ipv6}");
                known += usize::from(found.is_some());
                all += 1;
            }
        }
        assert!(known * 100 > all * 97, "{known} of {all}");
    }

    #[test]
    fn what_is_no_network_is_refused_and_what_contradicts_is_found() {
        let mut builder = PlacesBuilder::default();
        for (address, len) in [("10.0.0.1", 24), ("10.0.0.0", 33), ("2001:db8::1", 64), ("::", 129)] {
            assert_eq!(builder.add(ip(address), len, 1), Err(PlacesError::NoNetwork), "{address}/{len}");
        }
        for (address, len, place) in
            [("10.0.0.0", 8, 1), ("2001:db8::", 32, 1), ("10.0.0.0", 9, 2), ("10.0.0.0", 8, 1)]
        {
            builder.add(ip(address), len, place).unwrap();
        }
        assert_eq!(builder.contradiction(), None);
        builder.add(ip("2001:db8::"), 32, 7).unwrap();
        assert_eq!(builder.contradiction(), Some((ip("2001:db8::"), 32)));
    }

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u32) -> u32 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut number = self.0;
            number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((number ^ number >> 31) % u64::from(end.max(1))) as u32
        }
    }
}
