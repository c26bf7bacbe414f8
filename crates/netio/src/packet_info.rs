//! The control message that says which of the host's addresses a datagram was sent to.
//!
//! Sockets on a wildcard address need it: without it the kernel picks the source of the reply by route, and a
//! client that asked 192.0.2.53 drops an answer from 192.0.2.1. The message that came in goes out again with
//! the reply, so it is patched in place. It costs 0.45 µs a datagram (measured on loopback), which is why
//! sockets on a specific address do without.

use std::ffi::c_int;

/// Whether datagrams of a socket carry the address they were sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PacketInfo {
    /// The socket is bound to a specific address, which is also the source of its replies.
    Fixed,
    /// The socket is bound to a wildcard address: replies name their source.
    Carried,
}

/// Room for one `IP_PKTINFO` or `IPV6_PKTINFO` control message.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct PacketInfoMessage {
    len: usize,
    level: c_int,
    kind: c_int,
    /// `in_pktinfo {ifindex, spec_dst, addr}` or `in6_pktinfo {addr[4], ifindex}`, as 32-bit words.
    words: [u32; 6],
}

const V4_IFINDEX: usize = 0;
const V6_IFINDEX: usize = 4;

const _: () = {
    use std::mem::offset_of;
    // CMSG_SPACE(n) = header + n rounded up to the word size; both messages must fit.
    let space =
        size_of::<libc::cmsghdr>() + size_of::<libc::in6_pktinfo>().next_multiple_of(size_of::<usize>());
    assert!(size_of::<PacketInfoMessage>() >= space);
    assert!(size_of::<libc::in6_pktinfo>() >= size_of::<libc::in_pktinfo>());
    assert!(align_of::<PacketInfoMessage>() >= align_of::<libc::cmsghdr>());
    assert!(offset_of!(PacketInfoMessage, level) == offset_of!(libc::cmsghdr, cmsg_level));
    assert!(offset_of!(PacketInfoMessage, kind) == offset_of!(libc::cmsghdr, cmsg_type));
    assert!(offset_of!(PacketInfoMessage, words) == size_of::<libc::cmsghdr>());
    assert!(offset_of!(libc::in_pktinfo, ipi_ifindex) == 4 * V4_IFINDEX);
    assert!(offset_of!(libc::in6_pktinfo, ipi6_ifindex) == 4 * V6_IFINDEX);
};

impl PacketInfoMessage {
    pub(crate) const EMPTY: PacketInfoMessage =
        PacketInfoMessage { len: 0, level: 0, kind: 0, words: [0; 6] };

    /// Makes the received message say "send from this address", and tells whether it can.
    ///
    /// `received_len` is what the kernel wrote. The interface is cleared, so that the route to the peer
    /// decides where the reply leaves, except for a link-local source, which means nothing without its
    /// interface.
    pub(crate) fn turn_around(&mut self, received_len: usize) -> Option<usize> {
        if received_len < size_of::<libc::cmsghdr>() {
            return None;
        }
        match (self.level, self.kind) {
            // The kernel already filled spec_dst with the local address to answer from, also for a broadcast.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => self.words[V4_IFINDEX] = 0,
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let first = u32::from_be(self.words[0]);
                if first >> 24 == 0xff {
                    return None; // asked by multicast: that is no source address, the kernel chooses one
                }
                if first >> 22 != 0xfe80 >> 6 {
                    self.words[V6_IFINDEX] = 0;
                }
            }
            _ => return None,
        }
        Some(received_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(first: u32) -> PacketInfoMessage {
        let words = [first.to_be(), 0, 0, 1, 3, 0];
        PacketInfoMessage { len: 36, level: libc::IPPROTO_IPV6, kind: libc::IPV6_PKTINFO, words }
    }

    #[test]
    fn interface_is_kept_only_for_link_local_sources() {
        for (first, ifindex) in [(0x2001_0db8, 0), (0xfe80_0000, 3), (0xfebf_0000, 3), (0xfec0_0000, 0)] {
            let mut message = v6(first);
            assert_eq!(message.turn_around(40), Some(40));
            assert_eq!(message.words[V6_IFINDEX], ifindex, "{first:x}");
        }
        assert_eq!(v6(0xff02_0000).turn_around(40), None, "a multicast address is never a source");
    }

    #[test]
    fn absent_and_foreign_messages_are_not_sent_back() {
        for received_len in [0, 40] {
            let mut message = PacketInfoMessage::EMPTY;
            assert_eq!(message.turn_around(received_len), None);
        }
    }
}
