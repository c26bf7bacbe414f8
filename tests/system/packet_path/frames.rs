//! Frames put together octet by octet, good and bad.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The two Ethernet addresses of a frame.
#[derive(Clone, Copy)]
pub(super) struct Ethernet {
    pub(super) source: [u8; 6],
    pub(super) destination: [u8; 6],
}

impl Ethernet {
    /// A frame with this payload, and VLAN tags from the outermost to the innermost.
    pub(super) fn frame(&self, tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination, self.source].concat();
        for tag in tags {
            frame.extend(0x8100u16.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// The frame of an IPv4 packet.
    pub(super) fn v4(&self, packet: &V4) -> Vec<u8> {
        self.frame(&[], 0x0800, &packet.bytes())
    }

    /// The frame of an IPv6 packet.
    pub(super) fn v6(&self, packet: &V6) -> Vec<u8> {
        self.frame(&[], 0x86dd, &packet.bytes())
    }
}

/// The sum of RFC 1071, octet pair by octet pair.
fn checksum(parts: &[&[u8]]) -> u16 {
    let octets = parts.concat();
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP datagram; its checksum is right, plus `damage`.
fn datagram(ports: [u16; 2], payload: &[u8], addresses: &[u8], damage: u16) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let head = [ports[0].to_be_bytes(), ports[1].to_be_bytes(), len.to_be_bytes()].concat();
    let pseudo = [&[0, 17][..], &len.to_be_bytes()].concat();
    let sum = checksum(&[addresses, &pseudo, &head, &[0, 0], payload]);
    [&head[..], &sum.wrapping_add(damage).to_be_bytes(), payload].concat()
}

/// An IPv4 packet with a UDP datagram in it.
#[derive(Clone)]
pub(super) struct V4 {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) ports: [u16; 2],
    pub(super) payload: Vec<u8>,
    /// Octets of options, a multiple of four.
    pub(super) options: Vec<u8>,
    /// What the checksums are off by: of the header, and of the datagram.
    pub(super) damage: [u16; 2],
}

impl V4 {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let addresses = [self.source.octets(), self.destination.octets()].concat();
        let datagram = datagram(self.ports, &self.payload, &addresses, self.damage[1]);
        self.packet(0, &datagram)
    }

    /// The packet in two fragments, the first with 24 octets of the datagram.
    pub(super) fn fragments(&self) -> [Vec<u8>; 2] {
        let addresses = [self.source.octets(), self.destination.octets()].concat();
        let datagram = datagram(self.ports, &self.payload, &addresses, self.damage[1]);
        let (first, rest) = datagram.split_at(24);
        [self.packet(0x2000, first), self.packet(3, rest)]
    }

    /// The packet as a first fragment of more, although the datagram's length says that it is all of it.
    pub(super) fn first_of_more(&self) -> Vec<u8> {
        let addresses = [self.source.octets(), self.destination.octets()].concat();
        self.packet(0x2000, &datagram(self.ports, &self.payload, &addresses, self.damage[1]))
    }

    fn packet(&self, fragment: u16, data: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total = (header_len + data.len()) as u16;
        let first = [0x40 | (header_len / 4) as u8, 0];
        let words = [total, 0x1234, fragment, 0x4011];
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let addresses = [self.source.octets(), self.destination.octets()].concat();
        let sum = checksum(&[&first, &words, &[0, 0], &addresses, &self.options]);
        let sum = sum.wrapping_add(self.damage[0]).to_be_bytes();
        [&first[..], &words, &sum, &addresses, &self.options, data].concat()
    }
}

/// An IPv6 packet with a UDP datagram in it.
#[derive(Clone)]
pub(super) struct V6 {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) ports: [u16; 2],
    pub(super) payload: Vec<u8>,
    /// An empty header of destination options goes before the datagram.
    pub(super) has_extension: bool,
    /// What the datagram's checksum is off by.
    pub(super) damage: u16,
}

impl V6 {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let addresses = [self.source.octets(), self.destination.octets()].concat();
        let datagram = datagram(self.ports, &self.payload, &addresses, self.damage);
        let extension: &[u8] = if self.has_extension { &[17, 0, 1, 4, 0, 0, 0, 0] } else { &[] };
        let next = if self.has_extension { 60 } else { 17 };
        let len = ((extension.len() + datagram.len()) as u16).to_be_bytes();
        [&[0x60, 0, 0, 0, len[0], len[1], next, 64][..], &addresses, extension, &datagram].concat()
    }
}
