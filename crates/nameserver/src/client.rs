//! Who asks, and whose turn it is: what decides where a name answers with one of several sets.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use table::{OfPlaces, Table, Variant, Variants};
use wire::ClientSubnet;

/// Which bits of an address say which network a client is in: a /24 of IPv4, a /48 of IPv6. Those of one network mostly are
/// the resolvers of one site, or a site that would not gain from having several answers.
const NETWORK_BITS: [u32; 2] = [24, 48];

/// Of the golden ratio the fraction, of 2⁶⁴. Its multiples are spread over all numbers as evenly as can be, however many there
/// are, and so are those of every second or third query: no share is off by more than a few answers.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Who asks. Most answers are the same for everybody, so that it is found out only where one is not.
pub trait Client {
    /// The address that the query came from; `None` where nobody knows.
    fn address(&self) -> Option<IpAddr>;
}

impl Client for Option<IpAddr> {
    #[inline]
    fn address(&self) -> Option<IpAddr> {
        *self
    }
}

/// As [`chosen_here`], elsewhere.
#[inline(never)]
pub(crate) fn chosen<'t>(
    table: &'t Table,
    number: u16,
    rotation: usize,
    client: &(impl Client + ?Sized),
) -> Option<Variant<'t>> {
    chosen_here(table, number, rotation, client)
}

/// The set that one answer has, of the variants with this number.
///
/// What takes registers is in functions of its own, for the sake of answers that have nothing to choose, with one for each kind of
/// client: the address is read where it is. What takes more of them is in further ones, at their ends, so that none has to be kept.
#[inline(always)]
pub(crate) fn chosen_here<'t>(
    table: &'t Table,
    number: u16,
    rotation: usize,
    client: &(impl Client + ?Sized),
) -> Option<Variant<'t>> {
    let variants = table.variants(number)?;
    if let Some(of_places) = variants.of_places() {
        return chosen_by_place(variants, of_places, client);
    }
    variants.of_turn(turn(rotation)).or_else(|| chosen_by_network(variants, client))
}

/// As [`chosen`], where the client's network decides: of one whose address is what it looks like.
#[inline(never)]
fn chosen_by_network<'t>(variants: &'t Variants, client: &(impl Client + ?Sized)) -> Option<Variant<'t>> {
    match client.address() {
        Some(address @ IpAddr::V4(_)) => variants.of_network(|| number_of(Some(address))),
        Some(IpAddr::V6(address)) if is_apart(address) => {
            variants.of_network(|| number_of(Some(address.into())))
        }
        _ => chosen_at_length(variants, client),
    }
}

/// As [`chosen`], where the client's place decides: of one with an address of IPv4 that needs no more than a look.
#[inline(never)]
fn chosen_by_place<'t>(
    variants: &'t Variants,
    of_places: &'t OfPlaces,
    client: &(impl Client + ?Sized),
) -> Option<Variant<'t>> {
    let Some(IpAddr::V4(address)) = client.address() else {
        return chosen_by_ipv6_place(variants, of_places, client);
    };
    let known = of_places.known_ipv4(address).and_then(|place| variants.at(place));
    known.or_else(|| chosen_at_length(variants, client))
}

/// As [`chosen_by_place`], of one with any other address: none of IPv4 is known in the map of IPv6.
#[inline(never)]
fn chosen_by_ipv6_place<'t>(
    variants: &'t Variants,
    of_places: &'t OfPlaces,
    client: &(impl Client + ?Sized),
) -> Option<Variant<'t>> {
    let Some(IpAddr::V6(address)) = client.address() else { return chosen_at_length(variants, client) };
    let known = of_places.known_ipv6(address).and_then(|place| variants.at(place));
    known.or_else(|| chosen_at_length(variants, client))
}

/// Whether none of IPv4 can be in it: in the upper half that is all zeros.
#[inline(always)]
fn is_apart(address: Ipv6Addr) -> bool {
    address.to_bits() >> 64 != 0
}

/// As [`chosen`], of any client that decides.
#[inline(never)]
fn chosen_at_length<'t>(variants: &'t Variants, client: &(impl Client + ?Sized)) -> Option<Variant<'t>> {
    let address = client.address();
    let network = || number_of(address.map(|address| address.to_canonical()));
    // The map itself takes an address as what it is.
    variants.of_network(network).or_else(|| variants.of_place(address))
}

/// The network that a client is in as far as answers go, and how many bits of the address say so.
pub fn network_of(client: IpAddr) -> (IpAddr, u32) {
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let spare = 32 - NETWORK_BITS[0];
            (Ipv4Addr::from_bits(address.to_bits() >> spare << spare).into(), NETWORK_BITS[0])
        }
        IpAddr::V6(address) => {
            let spare = 128 - NETWORK_BITS[1];
            (Ipv6Addr::from_bits(address.to_bits() >> spare << spare).into(), NETWORK_BITS[1])
        }
    }
}

/// The network that a query says its answer is for (RFC 7871), and for how much of it the answer is the same.
#[derive(Default)]
pub(crate) struct Subnet {
    option: ClientSubnet,
    /// How many bits of its address have decided.
    scope_len: Cell<u8>,
}

impl Subnet {
    /// Of a query with this option; nothing has been decided yet.
    pub(crate) fn new(option: ClientSubnet) -> Subnet {
        Subnet { option, scope_len: Cell::new(0) }
    }

    pub(crate) fn option(&self) -> &ClientSubnet {
        &self.option
    }

    /// How many bits of the address have decided about the sets that were chosen: the most of any of them
    /// (RFC 7871 §7.2.1).
    pub(crate) fn scope_len(&self) -> u8 {
        self.scope_len.get()
    }
}

/// As [`chosen`], for the network that the query names.
#[cold]
#[inline(never)]
pub(crate) fn chosen_for<'t>(
    table: &'t Table,
    number: u16,
    rotation: usize,
    client: &dyn Client,
    subnet: &Subnet,
) -> Option<Variant<'t>> {
    // RFC 7871 §7.1.2: whoever wants nothing said of it is answered as the resolver is.
    let Some(address) = subnet.option.address() else { return chosen(table, number, rotation, client) };
    let variants = table.variants(number)?;
    if let Some(variant) = variants.of_turn(turn(rotation)) {
        return Some(variant);
    }
    let (variant, len) = match variants.of_subnet(address) {
        Some(found) => found,
        None => {
            let len = NETWORK_BITS[usize::from(address.is_ipv6())] as u8; // at most 48
            (variants.of_network(|| number_of(Some(address)))?, len)
        }
    };
    subnet.scope_len.set(subnet.scope_len.get().max(len));
    Some(variant)
}

/// The number of whose turn it is.
#[inline(always)]
fn turn(rotation: usize) -> u64 {
    (rotation as u64).wrapping_mul(GOLDEN)
}

/// The number of a network of clients. It is the same on every node and after every start, so that clients keep their endpoints.
#[inline(always)]
fn number_of(client: Option<IpAddr>) -> u64 {
    let network = match client {
        None => 0,
        Some(IpAddr::V4(address)) => u64::from(address.to_bits() >> (32 - NETWORK_BITS[0])) | 1 << 63,
        Some(IpAddr::V6(address)) => (address.to_bits() >> (128 - NETWORK_BITS[1])) as u64, // 48 bits
    };
    mixed(network)
}

/// A number that every bit of the given one has a part in: both halves of its product with an odd number.
#[inline(always)]
fn mixed(number: u64) -> u64 {
    let product = u128::from(number ^ GOLDEN) * 0xd6e8_feb8_6659_fd93;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> u64 {
        let address: IpAddr = text.parse().unwrap();
        number_of(Some(address.to_canonical()))
    }

    #[test]
    fn a_network_has_one_number() {
        for (one, other, is_one) in [
            ("192.0.2.1", "192.0.2.255", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("192.0.2.1", "::ffff:192.0.2.7", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::9", true),
            ("2001:db8:1:2::1", "2001:db8:2:2::1", false),
            ("0.0.0.1", "::1", false),
        ] {
            assert_eq!(number(one) == number(other), is_one, "{one} {other}");
            let network = |text: &str| network_of(text.parse().unwrap());
            assert_eq!(network(one) == network(other), is_one, "{one} {other}");
        }
    }

    #[test]
    fn networks_are_spread_evenly() {
        const PARTS: usize = 16;
        let mut counts = [0usize; PARTS];
        for network in 0..1 << 16 {
            let [_, _, high, low] = u32::to_be_bytes(network);
            counts[(number(&format!("10.{high}.{low}.1")) >> 60) as usize] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff((1 << 16) / PARTS) < 400), "{counts:?}");
    }
}
