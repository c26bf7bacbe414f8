//! Who asks, and whose turn it is: what decides where a name answers with one of several sets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use table::{Table, Variant, Variants};

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
    fn address(&self) -> Option<IpAddr> {
        *self
    }
}

/// The set that one answer has, of the variants with this number.
///
/// It is a function of its own for the sake of answers that have nothing to choose, and a short one for the sake of those that do:
/// what clients decide is in another, so that here no register has to be kept.
#[cold]
#[inline(never)]
pub(crate) fn chosen<'t>(
    table: &'t Table,
    number: u16,
    rotation: usize,
    client: &dyn Client,
) -> Option<Variant<'t>> {
    let variants = table.variants(number)?;
    match variants.at_turn((rotation as u64).wrapping_mul(GOLDEN)) {
        Some(variant) => Some(variant),
        None => chosen_by(client, variants),
    }
}

#[inline(never)]
fn chosen_by<'t>(client: &dyn Client, variants: &'t Variants) -> Option<Variant<'t>> {
    variants.of_client(number_of(client.address()))
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

/// The number of a client's network. It is the same on every node and after every start, so that clients keep their endpoints.
fn number_of(client: Option<IpAddr>) -> u64 {
    let network = match client.map(|address| address.to_canonical()) {
        None => 0,
        Some(IpAddr::V4(address)) => u64::from(address.to_bits() >> (32 - NETWORK_BITS[0])) | 1 << 63,
        Some(IpAddr::V6(address)) => (address.to_bits() >> (128 - NETWORK_BITS[1])) as u64, // 48 bits
    };
    mixed(network)
}

/// A number that every bit of the given one has a part in: the end of MurmurHash3.
fn mixed(mut number: u64) -> u64 {
    number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> u64 {
        number_of(Some(text.parse().unwrap()))
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
