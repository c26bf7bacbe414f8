//! EDNS Client Subnet: the network of whoever a resolver asks for (RFC 7871).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets before the address: the family and the two lengths.
const FIXED_LEN: usize = 4;
/// The most octets of the option, without its code and length.
pub const SUBNET_LEN_MAX: usize = FIXED_LEN + 16;

/// Families, by the registry of address family numbers.
const IPV4: u16 = 1;
const IPV6: u16 = 2;

/// The option of a query (RFC 7871 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientSubnet {
    family: u16,
    /// How many bits of the address are given.
    source_len: u8,
    /// With zeros behind what is given.
    address: [u8; 16],
}

impl ClientSubnet {
    /// Reads what follows the option's code and length in a query; `None` where that is malformed (RFC 7871 §6 and §7.2.1).
    ///
    /// A resolver whose client wants nothing said of it has a source length of 0 (§7.1.2), and may then leave out
    /// the family too: BIND's `dig +subnet=0` does, and its server takes that.
    pub fn read(option: &[u8]) -> Option<ClientSubnet> {
        let (fixed, given) = option.split_first_chunk::<FIXED_LEN>()?;
        let [family_high, family_low, source_len, scope_len] = *fixed;
        let family = u16::from_be_bytes([family_high, family_low]);
        let bits_max = match family {
            0 => 0,
            IPV4 => 32,
            IPV6 => 128,
            _ => return None,
        };
        // §6: a query says nothing of the scope, and has as many octets as its bits take.
        if source_len > bits_max || scope_len != 0 || given.len() != usize::from(source_len).div_ceil(8) {
            return None;
        }
        let unused = (8 - source_len % 8) % 8;
        if given.last().is_some_and(|last| last & ((1 << unused) - 1) != 0) {
            return None;
        }
        let mut address = [0; 16];
        address.get_mut(..given.len())?.copy_from_slice(given);
        Some(ClientSubnet { family, source_len, address })
    }

    /// The first address of the network; `None` where nothing is said of it.
    pub fn address(&self) -> Option<IpAddr> {
        let [a, b, c, d, ..] = self.address;
        match self.family {
            _ if self.source_len == 0 => None,
            IPV4 => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            _ => Some(IpAddr::V6(Ipv6Addr::from(self.address))),
        }
    }

    /// Octets of the option of a response, without its code and length.
    pub fn response_len(&self) -> usize {
        FIXED_LEN + self.given_len()
    }

    /// The option of a response, as the octets before the address and the address: all that the query has said, and for how
    /// many bits of the address the answer is the same (§7.2.1). The scope of a network of which nothing is said is 0.
    pub fn response(&self, scope_len: u8) -> ([u8; FIXED_LEN], &[u8]) {
        let [family_high, family_low] = self.family.to_be_bytes();
        let scope_len = if self.source_len == 0 { 0 } else { scope_len };
        ([family_high, family_low, self.source_len, scope_len], &self.address[..self.given_len()])
    }

    /// Octets of the address, at most 16.
    fn given_len(&self) -> usize {
        usize::from(self.source_len).div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(option: &[u8]) -> Option<Option<IpAddr>> {
        ClientSubnet::read(option).map(|subnet| subnet.address())
    }

    #[test]
    fn networks_of_both_families() {
        for (option, wanted) in [
            (&[0, 1, 24, 0, 192, 0, 2][..], "192.0.2.0"),
            (&[0, 1, 32, 0, 192, 0, 2, 1], "192.0.2.1"),
            (&[0, 1, 1, 0, 0x80], "128.0.0.0"),
            (&[0, 1, 20, 0, 10, 1, 0xf0], "10.1.240.0"),
            (&[0, 2, 32, 0, 0x20, 0x01, 0x0d, 0xb8], "2001:db8::"),
            (&[0, 2, 33, 0, 0x20, 0x01, 0x0d, 0xb8, 0x80], "2001:db8:8000::"),
        ] {
            assert_eq!(address(option), Some(Some(wanted.parse().unwrap())), "{option:?}");
        }
        let whole = [&[0, 2, 128, 0][..], &[0xff; 16]].concat();
        assert_eq!(whole.len(), SUBNET_LEN_MAX);
        assert_eq!(address(&whole), Some(Some(Ipv6Addr::from([0xff; 16]).into())));
    }

    #[test]
    fn who_wants_nothing_said_may_leave_out_the_family() {
        for family in [0, 1, 2] {
            let subnet = ClientSubnet::read(&[0, family, 0, 0]).unwrap();
            assert_eq!(subnet.address(), None);
            assert_eq!(subnet.response(24), ([0, family, 0, 0], &[][..]));
        }
    }

    #[test]
    fn malformed_options() {
        for option in [
            &[][..],
            &[0, 1, 24],
            // Families that there are not, and lengths that they don't have.
            &[0, 3, 0, 0],
            &[1, 1, 24, 0, 192, 0, 2],
            &[0, 0, 8, 0, 10],
            &[0, 1, 33, 0, 192, 0, 2, 1, 0],
            &[0, 2, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            // A scope in a query.
            &[0, 1, 24, 24, 192, 0, 2],
            // Too few octets, and too many.
            &[0, 1, 24, 0, 192, 0],
            &[0, 1, 24, 0, 192, 0, 2, 0],
            &[0, 1, 0, 0, 0],
            // Bits behind the prefix.
            &[0, 1, 20, 0, 10, 1, 0xf8],
            &[0, 1, 1, 0, 0xc0],
        ] {
            assert_eq!(ClientSubnet::read(option), None, "{option:?}");
        }
    }

    #[test]
    fn a_response_says_what_the_query_said() {
        let query = [0, 1, 20, 0, 10, 1, 0xf0];
        let subnet = ClientSubnet::read(&query).unwrap();
        let (fixed, given) = subnet.response(17);
        assert_eq!([&fixed[..], given].concat(), [0, 1, 20, 17, 10, 1, 0xf0]);
        assert_eq!(subnet.response_len(), query.len());
    }
}
