//! Frames with a query in them, and the frames of their replies.
//!
//! Everything is checked again that the program in the kernel has looked at, and what it has left out: the two checksums.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;

use crate::peer::Peer;

/// EtherType of IPv4.
pub(super) const ETHERTYPE_V4: u16 = 0x0800;
/// EtherType of IPv6.
pub(super) const ETHERTYPE_V6: u16 = 0x86dd;
/// EtherType of a VLAN tag (IEEE 802.1Q).
pub(super) const ETHERTYPE_VLAN: u16 = 0x8100;
/// The bits of a tag that are the number of its VLAN.
pub(super) const TAG_ID_MASK: u16 = 0x0fff;
/// Octets of an Ethernet header.
pub(super) const UNTAGGED_LEN: usize = 14;
/// Octets of an Ethernet header with a VLAN tag.
pub(super) const TAGGED_LEN: usize = 18;
/// Octets of a DNS header: what is shorter can't be answered, and the kernel may have it.
pub(super) const PAYLOAD_MIN_LEN: usize = 12;

const V4_LEN: usize = 20;
const V6_LEN: usize = 40;
const UDP_LEN: usize = 8;
/// TTL and hop limit of replies, as Linux has them by default.
pub(super) const HOPS: u8 = 64;
const UDP: u8 = libc::IPPROTO_UDP as u8;

/// A family of IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    pub(super) const fn header_len(self) -> usize {
        match self {
            Family::V4 => V4_LEN,
            Family::V6 => V6_LEN,
        }
    }
}

/// Where the parts of a frame stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// Where the IP header begins.
    ip: usize,
    /// Which IP it is.
    pub(super) family: Family,
    /// Octets of the payload.
    payload_len: usize,
}

impl Layout {
    /// Octets before the payload.
    pub(super) fn headers_len(&self) -> usize {
        self.udp() + UDP_LEN
    }

    /// Octets of the packet before the payload.
    pub(super) fn packet_headers_len(&self) -> usize {
        self.family.header_len() + UDP_LEN
    }

    /// Where the payload stands.
    pub(super) fn payload(&self) -> Range<usize> {
        self.headers_len()..self.headers_len() + self.payload_len
    }

    fn udp(&self) -> usize {
        self.ip + self.family.header_len()
    }
}

/// Why a frame is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Lengths or types are not those of a query: the program let something through that it must not, or the frame was cut.
    Malformed,
    /// A checksum is wrong.
    Checksum,
}

/// Looks at a frame; gives also who sent it.
pub(super) fn read(frame: &[u8]) -> Result<(Layout, Peer), Fault> {
    let half = |at: usize| -> Option<u16> { Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?)) };
    let parts = || {
        let (ethertype, ip) = match half(12)? {
            ETHERTYPE_VLAN => (half(16)?, TAGGED_LEN),
            other => (other, UNTAGGED_LEN),
        };
        let (family, packet_len) = match ethertype {
            ETHERTYPE_V4 if frame.get(ip) == Some(&0x45) => (Family::V4, usize::from(half(ip + 2)?)),
            ETHERTYPE_V6 if frame.get(ip)? >> 4 == 6 => (Family::V6, usize::from(half(ip + 4)?) + V6_LEN),
            _ => return None,
        };
        let protocol = *frame.get(ip + if family == Family::V4 { 9 } else { 6 })?;
        let layout =
            Layout { ip, family, payload_len: packet_len.checked_sub(family.header_len() + UDP_LEN)? };
        let udp_len = usize::from(half(layout.udp() + 4)?);
        let whole = protocol == UDP && udp_len == UDP_LEN + layout.payload_len;
        (whole && layout.payload().end <= frame.len()).then_some(layout)
    };
    let layout = parts().ok_or(Fault::Malformed)?;
    if is_damaged(frame, &layout) {
        return Err(Fault::Checksum);
    }
    let peer = sender(frame, &layout).ok_or(Fault::Malformed)?;
    Ok((layout, peer))
}

/// Whether the header's checksum or that of UDP is wrong.
///
/// A packet of this machine, or of a virtual one on it, may not have its UDP checksum yet: the sender's network card was to
/// supply it, and the field holds the sum over the pseudo-header alone. The kernel marks such packets, but not for us. So that
/// sum is taken, too: of 65,536 damaged packets one gets through.
fn is_damaged(frame: &[u8], layout: &Layout) -> bool {
    let (ip, udp) = (layout.ip, layout.udp());
    let end = layout.payload().end;
    if layout.family == Family::V4 && folded(sum(&frame[ip..udp])) != 0xffff {
        return true;
    }
    let claimed = u16::from_ne_bytes([frame[udp + 6], frame[udp + 7]]);
    if claimed == 0 {
        return layout.family == Family::V6; // RFC 8200 §8.1; over IPv4 there is none (RFC 768)
    }
    let pseudo = pseudo_header(frame, layout, end - udp);
    folded(pseudo + sum(&frame[udp..end])) != 0xffff && folded(pseudo) != claimed
}

/// The sum over what the UDP checksum covers beside the datagram (RFC 768, RFC 8200 §8.1).
fn pseudo_header(frame: &[u8], layout: &Layout, udp_len: usize) -> u64 {
    let addresses = match layout.family {
        Family::V4 => &frame[layout.ip + 12..layout.ip + 20],
        Family::V6 => &frame[layout.ip + 8..layout.ip + 40],
    };
    let word = |value: u16| u64::from(u16::from_ne_bytes(value.to_be_bytes()));
    sum(addresses) + word(UDP.into()) + word(udp_len as u16) // the length comes from a field of 16 bits
}

fn sender(frame: &[u8], layout: &Layout) -> Option<Peer> {
    let port = u16::from_be_bytes(*frame.get(layout.udp()..)?.first_chunk()?);
    let address: SocketAddr = match layout.family {
        Family::V4 => {
            let address: [u8; 4] = *frame.get(layout.ip + 12..)?.first_chunk()?;
            SocketAddrV4::new(Ipv4Addr::from(address), port).into()
        }
        Family::V6 => {
            let address: [u8; 16] = *frame.get(layout.ip + 8..)?.first_chunk()?;
            SocketAddrV6::new(Ipv6Addr::from(address), port, 0, 0).into()
        }
    };
    Some(Peer::from(address))
}

/// Makes the frame of a reply: `reply` has its payload of `payload_len` octets in place already, after as many octets as the
/// query has before its own. Gives its length.
///
/// It goes back to where the query came from, from where that was sent. `identification` tells an IPv4 packet from others,
/// should it be cut on its way: as with sockets, a router may do so.
pub(super) fn turn_round(
    query: &[u8],
    layout: &Layout,
    identification: u16,
    payload_len: usize,
    reply: &mut [u8],
) -> usize {
    let (ip, udp) = (layout.ip, layout.udp());
    let udp_len = UDP_LEN + payload_len;
    let end = udp + udp_len;
    reply[..6].copy_from_slice(&query[6..12]);
    reply[6..12].copy_from_slice(&query[..6]);
    reply[12..ip].copy_from_slice(&query[12..ip]);
    match layout.family {
        Family::V4 => {
            let [len_high, len_low] = ((end - ip) as u16).to_be_bytes();
            let [id_high, id_low] = identification.to_be_bytes();
            let header = [0x45, 0, len_high, len_low, id_high, id_low, 0, 0, HOPS, UDP, 0, 0];
            reply[ip..ip + 12].copy_from_slice(&header);
            reply[ip + 12..ip + 16].copy_from_slice(&query[ip + 16..ip + 20]);
            reply[ip + 16..udp].copy_from_slice(&query[ip + 12..ip + 16]);
            let checksum = !folded(sum(&reply[ip..udp]));
            reply[ip + 10..ip + 12].copy_from_slice(&checksum.to_ne_bytes());
        }
        Family::V6 => {
            let [len_high, len_low] = (udp_len as u16).to_be_bytes();
            reply[ip..ip + 8].copy_from_slice(&[0x60, 0, 0, 0, len_high, len_low, UDP, HOPS]);
            reply[ip + 8..ip + 24].copy_from_slice(&query[ip + 24..ip + 40]);
            reply[ip + 24..udp].copy_from_slice(&query[ip + 8..ip + 24]);
        }
    }
    reply[udp..udp + 2].copy_from_slice(&query[udp + 2..udp + 4]);
    reply[udp + 2..udp + 4].copy_from_slice(&query[udp..udp + 2]);
    reply[udp + 4..udp + 6].copy_from_slice(&(udp_len as u16).to_be_bytes());
    reply[udp + 6..udp + 8].copy_from_slice(&[0, 0]);
    let total = pseudo_header(reply, layout, udp_len) + sum(&reply[udp..end]);
    // Zero would say that there is no checksum (RFC 768).
    let checksum = match !folded(total) {
        0 => 0xffff,
        checksum => checksum,
    };
    reply[udp + 6..udp + 8].copy_from_slice(&checksum.to_ne_bytes());
    end
}

/// The sum of the 16-bit words, an odd last octet filled up with zero, in the byte order of the machine: the sums of RFC 1071
/// come out the same in either (§2 B). At most 2¹⁶ octets, so nothing is carried out.
fn sum(octets: &[u8]) -> u64 {
    let mut total = 0u64;
    let mut words = octets.chunks_exact(4);
    for word in words.by_ref() {
        total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    total + u64::from(u32::from_ne_bytes(last))
}

/// A sum, its carries added in, of 16 bits.
fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The frame of a query: for trying out whether everything works.
pub(super) fn query(from: ([u8; 6], SocketAddr), to: ([u8; 6], SocketAddr), payload: &[u8]) -> Vec<u8> {
    // As the reply to a query the other way.
    let (family, ethertype) = match to.1 {
        SocketAddr::V4(_) => (Family::V4, ETHERTYPE_V4),
        SocketAddr::V6(_) => (Family::V6, ETHERTYPE_V6),
    };
    let layout = Layout { ip: UNTAGGED_LEN, family, payload_len: payload.len() };
    let mut reversed = vec![0; layout.headers_len()];
    reversed[..6].copy_from_slice(&from.0);
    reversed[6..12].copy_from_slice(&to.0);
    reversed[12..14].copy_from_slice(&ethertype.to_be_bytes());
    let mut place = |at: usize, address: SocketAddr| match address {
        SocketAddr::V4(v4) => reversed[at..at + 4].copy_from_slice(&v4.ip().octets()),
        SocketAddr::V6(v6) => reversed[at..at + 16].copy_from_slice(&v6.ip().octets()),
    };
    let (source_at, destination_at) = match family {
        Family::V4 => (layout.ip + 12, layout.ip + 16),
        Family::V6 => (layout.ip + 8, layout.ip + 24),
    };
    place(source_at, to.1);
    place(destination_at, from.1);
    let udp = layout.udp();
    reversed[udp..udp + 2].copy_from_slice(&to.1.port().to_be_bytes());
    reversed[udp + 2..udp + 4].copy_from_slice(&from.1.port().to_be_bytes());
    let mut frame = vec![0; layout.payload().end];
    frame[layout.payload()].copy_from_slice(payload);
    turn_round(&reversed, &layout, 0, payload.len(), &mut frame);
    frame
}

#[cfg(test)]
mod tests;
