//! Several sets in the place of one, of which every answer has one.
//!
//! They are made when it changes what a name answers with, so that for an answer there is nothing left to do but to take a
//! number and look up where a set stands. Numbers are spread over all of 64 bits. The sets stand in memory of their own, in
//! the form that they have in an image, and the set at the name has the number of the list that leads to them.

use crate::build::{self, BuildError, RrsetSpec};
use crate::node::Rrset;
use crate::places::{Place, Places};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Into how many slots clients are divided. As many as give each of a dozen endpoints its share but for some percent; the list
/// has 16 KiB.
pub const SLOTS: usize = 4096;
const SLOT_SHIFT: u32 = u64::BITS - SLOTS.trailing_zeros();
const _: () = assert!(SLOTS.is_power_of_two());

/// What decides which set an answer has.
#[derive(Clone, Copy, Debug)]
pub enum Pick<'a> {
    /// Whose turn it is: each set has this weight, which is its share of all answers. Some weight is over 0.
    Turns(&'a [u32]),
    /// Who asks: for each slot of clients the index of its set.
    Clients(&'a [u16; SLOTS]),
    /// Where who asks is: the map, and for each place that it has, by number, the index of its set.
    Places(&'a Arc<Places>, &'a [u16]),
    /// Nothing: there are no sets, and no answer has any.
    Withheld(Withheld),
}

/// What is answered where a name has a set that no answer gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Withheld {
    /// That the name has none of the type (RFC 2308 §2.2).
    Nothing,
    /// That the server can't answer now.
    Failure,
}

/// Sets of one type, of which an answer has one.
pub struct Variants {
    octets: Box<[u8]>,
    lead: Lead,
}

/// Where the set of a number stands, in octets from the start.
enum Lead {
    Turns(Box<[Column]>),
    Clients(Box<[u32; SLOTS]>),
    Places(OfPlaces),
    Withheld(Withheld),
}

/// Where the sets of places stand: what the map has, and for each place of it.
pub struct OfPlaces {
    map: Arc<Places>,
    lead: Box<[u32]>,
}

impl OfPlaces {
    /// Where the set stands of clients at an address of IPv4, if the place is known without a search.
    #[inline(always)]
    pub fn known_ipv4(&self, address: Ipv4Addr) -> Option<u32> {
        self.lead.get(usize::from(self.map.known_ipv4(address)?)).copied()
    }

    /// As [`OfPlaces::known_ipv4`], of IPv6. None is known that is one of IPv4.
    #[inline(always)]
    pub fn known_ipv6(&self, address: Ipv6Addr) -> Option<u32> {
        self.lead.get(usize::from(self.map.known_ipv6(address)?)).copied()
    }

    /// Where the set of a place stands; a place that there is none for is as nowhere.
    fn of(&self, place: Place) -> u32 {
        self.lead.get(usize::from(place)).or(self.lead.first()).copied().unwrap_or(0)
    }
}

/// An equal part of all numbers. What of it is not its own set's is all another's, which any weights can be divided up into.
#[derive(Clone, Copy)]
struct Column {
    /// The numbers below this one, of 2³², are for the first of the two.
    below: u32,
    sets: [u32; 2],
}

/// One of the sets.
#[derive(Clone, Copy)]
pub struct Variant<'t>(&'t [u8]);

impl<'t> Variant<'t> {
    /// The set itself. What a function returns of it should be a [`Variant`], for which two registers are enough.
    #[inline(always)]
    pub fn rrset(self) -> Rrset<'t> {
        Rrset::new(self.0, 0)
    }
}

impl Variants {
    /// Puts sets together, at least one where answers have any. Their names stand as they are, without pointers.
    ///
    /// # Errors
    /// A set is larger than a message, or `pick` doesn't fit them.
    pub fn new(sets: &[RrsetSpec<'_>], pick: Pick<'_>) -> Result<Variants, BuildError> {
        let mut octets = Vec::new();
        let mut places = Vec::with_capacity(sets.len());
        for set in sets {
            places.push(u32::try_from(octets.len()).map_err(|_| BuildError::TooLarge)?);
            build::append_unlinked(&mut octets, set).ok_or(BuildError::Variants)?;
        }
        let place = |index: usize| places.get(index).copied().ok_or(BuildError::Variants);
        let lead = match pick {
            Pick::Turns(weights) if weights.len() == sets.len() => Lead::Turns(columns(weights, &places)?),
            Pick::Turns(_) => return Err(BuildError::Variants),
            Pick::Clients(slots) => {
                let mut lead = Box::new([0; SLOTS]);
                for (slot, index) in lead.iter_mut().zip(slots) {
                    *slot = place(usize::from(*index))?;
                }
                Lead::Clients(lead)
            }
            // With one more, the last could not be told from what is not known.
            Pick::Places(_, indexes) if !(1..=Place::MAX.into()).contains(&indexes.len()) => {
                return Err(BuildError::Variants);
            }
            Pick::Places(map, indexes) => {
                let lead = indexes.iter().map(|index| place(usize::from(*index)));
                Lead::Places(OfPlaces { map: Arc::clone(map), lead: lead.collect::<Result<_, _>>()? })
            }
            Pick::Withheld(withheld) if sets.is_empty() => Lead::Withheld(withheld),
            Pick::Withheld(_) => return Err(BuildError::Variants),
        };
        Ok(Variants { octets: octets.into(), lead })
    }

    /// The set whose turn it is at this number; `None` where turns don't decide.
    #[inline(always)]
    pub fn of_turn(&self, number: u64) -> Option<Variant<'_>> {
        let Lead::Turns(columns) = &self.lead else { return None };
        let scaled = (number >> 32) * columns.len() as u64;
        let column = columns.get((scaled >> 32) as usize)?;
        self.at(column.sets[usize::from(scaled as u32 >= column.below)])
    }

    /// The set of clients whose network has this number; `None` where networks don't decide, for which it is not asked.
    #[inline(always)]
    pub fn of_network(&self, number: impl FnOnce() -> u64) -> Option<Variant<'_>> {
        let Lead::Clients(slots) = &self.lead else { return None };
        self.at(slots[(number() >> SLOT_SHIFT) as usize])
    }

    /// What the place of a client leads to, where that decides.
    #[inline(always)]
    pub fn of_places(&self) -> Option<&OfPlaces> {
        match &self.lead {
            Lead::Places(of_places) => Some(of_places),
            Lead::Turns(_) | Lead::Clients(_) | Lead::Withheld(_) => None,
        }
    }

    /// The set of clients at an address, or at one that nobody knows; `None` where their place doesn't decide.
    pub fn of_place(&self, address: Option<IpAddr>) -> Option<Variant<'_>> {
        let of_places = self.of_places()?;
        self.at(of_places.of(address.map_or(0, |address| of_places.map.find(address))))
    }

    /// The set of a client that is somewhere in a network which begins at this address, and of how many bits the network is that
    /// has the same, where it is by places; `None` where it isn't.
    pub fn of_subnet(&self, address: IpAddr) -> Option<(Variant<'_>, u8)> {
        let of_places = self.of_places()?;
        let alike = |one, other| of_places.of(one) == of_places.of(other);
        let (place, len) = of_places.map.find_network(address, alike);
        Some((self.at(of_places.of(place))?, len))
    }

    /// What is answered instead of any of them; `None` where answers have one.
    #[inline]
    pub fn withheld(&self) -> Option<Withheld> {
        match self.lead {
            Lead::Withheld(withheld) => Some(withheld),
            Lead::Turns(_) | Lead::Clients(_) | Lead::Places(_) => None,
        }
    }

    /// The set that stands there.
    #[inline(always)]
    pub fn at(&self, place: u32) -> Option<Variant<'_>> {
        self.octets.get(place as usize..).map(Variant)
    }

    /// All sets, in the order in which they were given.
    pub fn sets(&self) -> impl Iterator<Item = Rrset<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let set = (at < self.octets.len()).then(|| Rrset::new(&self.octets, at))?;
            at = set.end();
            Some(set)
        })
    }
}

/// Divides the numbers up by weight (Walker's alias method): every column that a set does not fill is filled up with one that
/// has more than its column.
fn columns(weights: &[u32], places: &[u32]) -> Result<Box<[Column]>, BuildError> {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if total == 0 {
        return Err(BuildError::Variants);
    }
    // In units of which a column has `total`.
    let mut left: Vec<u128> =
        weights.iter().map(|weight| u128::from(*weight) * weights.len() as u128).collect();
    let mut columns: Vec<Column> =
        places.iter().map(|place| Column { below: u32::MAX, sets: [*place; 2] }).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|index| left[*index] < total);
    while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
        // Below `total`, so less than 2³².
        columns[less].below = ((left[less] << 32) / total) as u32;
        columns[less].sets[1] = places[more];
        left[more] -= total - left[less];
        if left[more] < total {
            large.pop();
            small.push(more);
        }
    }
    Ok(columns.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Fixups;
    use wire::RecordType;

    const RECORD: [u8; 16] = *b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\0";

    fn variants(count: usize, pick: Pick<'_>) -> Result<Variants, BuildError> {
        let records: Vec<[u8; 16]> = (0..count)
            .map(|index| {
                let mut record = RECORD;
                record[15] = index as u8;
                record
            })
            .collect();
        let fixups = Fixups::default();
        let set = |records| RrsetSpec {
            rtype: RecordType::A,
            count: 1,
            records,
            signature_count: 0,
            signatures: &[],
            glue_count: 0,
            glue: &[],
            fixups: &fixups,
        };
        let sets: Vec<RrsetSpec<'_>> = records.iter().map(|record| set(record)).collect();
        Variants::new(&sets, pick)
    }

    fn index(set: Rrset<'_>) -> usize {
        usize::from(*set.records().last().unwrap())
    }

    /// How often each set comes when numbers are evenly spread.
    fn shares(variants: &Variants, count: usize) -> Vec<f64> {
        const NUMBERS: u64 = 1 << 20;
        let mut shares = vec![0.0; count];
        for number in 0..NUMBERS {
            let number = number << 44;
            shares[index(variants.of_turn(number).unwrap().rrset())] += 1.0 / NUMBERS as f64;
        }
        shares
    }

    #[test]
    fn turns_are_in_proportion_to_weights() {
        for weights in
            [&[1][..], &[1, 1], &[1, 2, 3], &[0, 5, 0, 1], &[65_535, 1], &[7; 100], &[1, 1000, 1, 50, 3, 0]]
        {
            let variants = variants(weights.len(), Pick::Turns(weights)).unwrap();
            let total: u32 = weights.iter().sum();
            for (weight, share) in weights.iter().zip(shares(&variants, weights.len())) {
                let wanted = f64::from(*weight) / f64::from(total);
                assert!((share - wanted).abs() < 2e-4, "{weights:?}: {weight} has {share}");
                assert_eq!(share == 0.0, *weight == 0, "{weights:?}");
            }
        }
    }

    #[test]
    fn a_client_has_the_set_of_its_slot() {
        let mut slots = [0u16; SLOTS];
        slots.iter_mut().enumerate().for_each(|(slot, index)| *index = (slot % 3) as u16);
        let variants = variants(3, Pick::Clients(&slots)).unwrap();
        for (slot, wanted) in slots.iter().enumerate() {
            let first = (slot as u64) << SLOT_SHIFT;
            for number in [first, first + 1, first | (u64::MAX >> 12)] {
                assert_eq!(index(variants.of_network(|| number).unwrap().rrset()), usize::from(*wanted));
            }
        }
        assert!(variants.of_turn(0).is_none() && variants.of_place(None).is_none());
        assert_eq!(variants.sets().map(index).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_client_has_the_set_of_its_place() {
        let mut map = crate::places::PlacesBuilder::default();
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        for (address, len, place) in
            [("10.0.0.0", 8, 1), ("10.0.0.0", 9, 2), ("2001:db8::", 32, 2), ("192.0.2.0", 24, 7)]
        {
            map.add(ip(address), len, place).unwrap();
        }
        let map = Arc::new(map.finish());
        let variants = variants(3, Pick::Places(&map, &[0, 1, 2])).unwrap();
        let of = |address| index(variants.of_place(address).unwrap().rrset());
        for (address, set, len) in [
            ("10.200.0.1", 1, 9),
            ("10.0.0.1", 2, 9),
            ("2001:db8::1", 2, 32),
            ("192.0.2.1", 0, 1), // a place that the list has none for is as nowhere
            ("11.0.0.1", 0, 8),
        ] {
            assert_eq!(of(Some(ip(address))), set, "{address}");
            let (found, found_len) = variants.of_subnet(ip(address)).unwrap();
            assert_eq!((index(found.rrset()), found_len), (set, len), "{address}");
        }
        assert_eq!(of(None), 0);
        assert!(variants.of_turn(0).is_none() && variants.of_network(|| 0).is_none());
        let index_at = |place: u32| index(variants.at(place).unwrap().rrset());
        let of_places = variants.of_places().unwrap();
        let known = |text: &str| of_places.known_ipv4(text.parse().unwrap()).map(index_at);
        assert_eq!(known("10.0.0.1"), Some(2));
        let known_ipv6 = of_places.known_ipv6("2001:db8::1".parse().unwrap());
        assert_eq!(known_ipv6.map(index_at), Some(2));
        assert_eq!(known("192.0.2.1"), None, "a place that the list has none for");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let is_refused = |made: Result<Variants, BuildError>| matches!(made, Err(BuildError::Variants));
        assert!(is_refused(variants(2, Pick::Turns(&[1]))));
        assert!(is_refused(variants(2, Pick::Turns(&[0, 0]))));
        assert!(is_refused(variants(0, Pick::Turns(&[]))));
        assert!(is_refused(variants(2, Pick::Clients(&[2; SLOTS]))));
        let map = Arc::new(crate::places::PlacesBuilder::default().finish());
        assert!(is_refused(variants(2, Pick::Places(&map, &[]))));
        assert!(is_refused(variants(2, Pick::Places(&map, &[0, 2]))));
        assert!(is_refused(variants(1, Pick::Withheld(Withheld::Nothing))), "what nobody would get");
    }

    #[test]
    fn what_is_withheld_nobody_gets() {
        for withheld in [Withheld::Nothing, Withheld::Failure] {
            let none = variants(0, Pick::Withheld(withheld)).unwrap();
            assert_eq!(none.withheld(), Some(withheld));
            let any = none.of_turn(7).or(none.of_network(|| 7)).or(none.of_place(None));
            assert!(any.is_none());
            assert_eq!(none.sets().count(), 0);
        }
        assert_eq!(variants(1, Pick::Turns(&[1])).unwrap().withheld(), None);
    }
}
