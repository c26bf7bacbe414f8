//! Requests to the kernel's routing socket, each waited for.

use std::io;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// How long an answer may take. The kernel does the work within the call that sends the request and answers in
/// microseconds, so only a lost answer is ever waited for; a second try is cheaper than a longer wait, as a second is
/// all there is for a withdrawal.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// How often a dump is begun again because the table changed meanwhile. It is private and changes with the rung, so
/// once is already rare.
const DUMP_ATTEMPTS_MAX: usize = 4;
/// Messages of a dump. A node has a few prefixes and addresses; more than this is somebody else's table.
const DUMP_MESSAGES_MAX: usize = 4096;
/// Octets of the receive buffer. The kernel fills dumps into pieces of at most 32 KiB.
const RECEIVE_LEN: usize = 64 * 1024;

/// A connection to the kernel's routing socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        set_socket_timeout(&socket, Timeout::Send, Some(ANSWER_TIMEOUT))?;
        // With this the kernel filters dumps: a full table of BGP routes in `main` is never copied to us.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Netlink { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_LEN) })
    }

    /// Sends a request and waits until the kernel has done it; gives what it sent besides.
    pub(super) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let (messages, _) = self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        Ok(messages)
    }

    /// Asks for all of something. Where the thing asked about doesn't exist, that is nothing.
    pub(super) fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS_MAX {
            match self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP) {
                Ok((messages, Consistency::Whole)) => return Ok(messages),
                Ok((_, Consistency::Interrupted)) => {}
                // A table that never had a route is not there.
                Err(error) if is(&error, Errno::NOENT) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("the table changed each time while it was read"))
    }

    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<(Vec<RouteNetlinkMessage>, Consistency)> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut octets = vec![0; request.buffer_len()];
        request.serialize(&mut octets);
        let sent = self.socket.send(&octets, 0)?;
        if sent != octets.len() {
            return Err(io::Error::other("the kernel took a part of a netlink message"));
        }
        self.answer(Instant::now() + ANSWER_TIMEOUT)
    }

    /// Everything up to the end of the answer to the last request.
    fn answer(&mut self, deadline: Instant) -> io::Result<(Vec<RouteNetlinkMessage>, Consistency)> {
        let mut found = Vec::new();
        let mut consistency = Consistency::Whole;
        while Instant::now() < deadline {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let (piece, after) = first(rest)?;
                rest = after;
                let message =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(piece).map_err(unreadable)?;
                // What came too late for a request that was given up.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                if message.header.flags & NLM_F_DUMP_INTR != 0 {
                    consistency = Consistency::Interrupted;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) if found.len() < DUMP_MESSAGES_MAX => {
                        found.push(inner);
                    }
                    NetlinkPayload::InnerMessage(_) => {
                        return Err(io::Error::other(format!(
                            "the kernel has more than {DUMP_MESSAGES_MAX} entries there"
                        )));
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) => return Ok((found, consistency)),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok((found, consistency)),
                    NetlinkPayload::Overrun(_) => return Err(io::Error::other("a netlink answer was lost")),
                    _ => {}
                }
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the kernel did not answer within {} ms", ANSWER_TIMEOUT.as_millis()),
        ))
    }
}

/// Whether what a dump told was there all at one time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Consistency {
    Whole,
    Interrupted,
}

/// Whether the kernel's refusal is this one.
pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// The first message of several, and the rest.
fn first(octets: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let len = octets.first_chunk().map(|len| u32::from_ne_bytes(*len) as usize);
    match len {
        // A header is 16 octets; messages begin at multiples of 4.
        Some(len) if len >= 16 && len <= octets.len() => {
            Ok((&octets[..len], octets.get(len.next_multiple_of(4)..).unwrap_or_default()))
        }
        _ => Err(unreadable("a message is cut off")),
    }
}

fn unreadable(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot read the kernel's netlink answer: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::address::AddressMessage;

    #[test]
    fn loopback_has_an_address() {
        let mut netlink = Netlink::open().unwrap();
        let mut ask = AddressMessage::default();
        ask.header.family = AddressFamily::Inet;
        let found = netlink.dump(&RouteNetlinkMessage::GetAddress(ask)).unwrap();
        assert!(!found.is_empty());
    }

    #[test]
    fn a_refusal_is_the_kernels_error() {
        let mut netlink = Netlink::open().unwrap();
        let nowhere = netlink_packet_route::link::LinkMessage::default();
        let error = netlink.request(RouteNetlinkMessage::GetLink(nowhere), 0).unwrap_err();
        assert!(is(&error, Errno::INVAL), "{error}");
    }

    #[test]
    fn messages_cut_off_are_errors() {
        for octets in [&[][..], &[1, 2, 3], &[4, 0, 0, 0, 0, 0, 0, 0], &[200, 0, 0, 0]] {
            assert!(first(octets).is_err());
        }
        let mut two = vec![0; 36];
        two[0] = 17;
        let (one, rest) = first(&two).unwrap();
        assert_eq!((one.len(), rest.len()), (17, 16));
    }
}
