//! Batches: many datagrams received with one system call, answered together, sent with another.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::counters::WorkerCounters;
use crate::peer::Peer;
use crate::send_policy::{SendPolicy, Verdict, counter_for};
use crate::sys::{self, MessageRing, Slot};
use crate::udp::UdpListener;
use crate::worker::ListenerIndex;

/// Datagrams received and sent with one system call, at most.
///
/// Measured on loopback, reflector CPU for a packet: 3.81 µs one at a time, 3.14 in eights, 3.04 in sixteens,
/// 3.20 in 32s, 3.43 in 64s. Below 8 the system calls show; above 32 the buffers leave the first-level cache
/// and nothing is gained. 32 rather than 16 because it hides more memory latency when a batch is looked up
/// together.
pub const BATCH_LEN: usize = 32;

/// The longest query received, in bytes; longer datagrams are counted and dropped.
///
/// A query is a header, a name of at most 255 bytes and an EDNS record (RFC 1035 §4.1, RFC 6891 §6.1): a few
/// hundred bytes with cookies and padding. 4096 is what clients offer at most in practice for the other
/// direction; a page each costs 128 KiB a worker, of which only the touched lines matter.
pub const QUERY_MAX_BYTES: usize = 4096;

/// The longest reply, in bytes. Longer answers belong to TCP.
pub const REPLY_MAX_BYTES: usize = 4096;

/// How long a worker waits for room in a full send buffer, for one batch, before it drops replies.
///
/// While it waits it receives nothing, and a 4 MiB receive buffer holds 100 ms of 100,000 queries a
/// second; 20 ms leaves a margin of five. At 10 Gbit/s half a send buffer, the amount after which the kernel
/// calls it writable again, drains in 4 ms, so a shorter wait would drop replies a healthy interface takes.
pub const SEND_WAIT_MAX_MS: u32 = 20;

/// The wait above is split, so that a buffer that drains slowly is used as it drains.
const SEND_WAITS_MAX: u32 = 4;

/// Answers datagrams, a batch at a time.
pub trait BatchResponder {
    /// Writes the replies to a batch of 1 to [`BATCH_LEN`] datagrams, all from one listener.
    ///
    /// It gets the batch as a whole so that it can work in phases: parse and hash all, prefetch, then answer.
    /// Datagrams whose reply stays empty are dropped in silence.
    fn respond(&mut self, batch: &mut [Datagram<'_>]);

    /// Does what has to happen now and then even without queries, such as taking up a new table.
    ///
    /// Called at least every [`crate::worker::IDLE_INTERVAL_MS`] while no datagram arrives, and on
    /// [`crate::WorkerHandle::wake`]. A busy worker calls only [`BatchResponder::respond`].
    fn idle(&mut self);
}

/// One received datagram and the place for its reply.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The payload, 0 to [`QUERY_MAX_BYTES`] bytes.
    pub query: &'a [u8],
    /// Who sent it, and where the reply goes.
    pub peer: &'a Peer,
    /// Which of the worker's listeners received it.
    pub listener: ListenerIndex,
    /// The reply, empty at first.
    pub reply: ReplySlot<'a>,
}

/// The place for one reply: a buffer and how much of it to send.
#[derive(Debug)]
pub struct ReplySlot<'a> {
    buffer: &'a mut [u8],
    len: usize,
    slot: usize,
}

impl<'a> ReplySlot<'a> {
    /// A place without a reply; `slot` tells whose it is.
    pub(crate) fn new(buffer: &'a mut [u8], slot: usize) -> ReplySlot<'a> {
        ReplySlot { buffer, len: 0, slot }
    }

    /// Whose place it is.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// The buffer to write to, with remains of earlier replies in it: [`REPLY_MAX_BYTES`] bytes, and on AF_XDP as many as a
    /// packet of the interface can carry.
    pub fn buffer(&mut self) -> &mut [u8] {
        self.buffer
    }

    /// Sends the first `len` bytes of the buffer as the reply; 0, the state at first, sends none.
    ///
    /// # Panics
    ///
    /// When `len` is above the length of the buffer.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.buffer.len(), "a reply is at most as long as its buffer");
        self.len = len;
    }

    /// The length set so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no reply will be sent.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The buffers of one worker.
pub(crate) struct Batch {
    ring: MessageRing,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch { ring: MessageRing::new() }
    }

    /// Receives one batch from a listener, has it answered and sends the replies; gives the number received.
    ///
    /// 0 means the queue was empty. Errors are those of the receive call; errors of single replies are
    /// counted.
    pub(crate) fn turn<R: BatchResponder>(
        &mut self,
        listener: &UdpListener,
        index: ListenerIndex,
        counters: &WorkerCounters,
        responder: &mut R,
    ) -> io::Result<usize> {
        let received = match self.ring.receive(listener.as_fd(), listener.packet_info()) {
            Ok(received) => received,
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Ok(0),
            Err(error) => return Err(error),
        };
        counters.batches.add(1);
        counters.received.add(received as u64);
        self.respond(received, index, counters, responder);
        self.send(received, listener.as_fd(), counters);
        Ok(received)
    }

    /// Takes one batch from a listener's queue and forgets it; gives the number. An empty queue is the error EAGAIN.
    pub(crate) fn discard(&mut self, listener: &UdpListener) -> io::Result<usize> {
        self.ring.discard(listener.as_fd())
    }

    fn respond<R: BatchResponder>(
        &mut self,
        received: usize,
        index: ListenerIndex,
        counters: &WorkerCounters,
        responder: &mut R,
    ) {
        let mut bytes = 0;
        let mut truncated = 0;
        let mut whole = 0;
        let mut slots = self.ring.slots_mut()[..received].iter_mut().enumerate().filter(|(_, slot)| {
            bytes += u64::from(slot.query_len);
            truncated += u64::from(slot.truncated);
            whole += usize::from(!slot.truncated);
            !slot.truncated
        });
        let mut datagrams: [Datagram<'_>; BATCH_LEN] = std::array::from_fn(|_| match slots.next() {
            Some((position, slot)) => datagram(slot, position, index),
            None => no_datagram(),
        });
        if whole > 0 {
            responder.respond(&mut datagrams[..whole]);
        }

        // By slot, not by position: the responder may have reordered the slice.
        let lens = datagrams.map(|datagram| (datagram.reply.slot(), datagram.reply.len()));
        let slots = self.ring.slots_mut();
        for (slot, len) in &lens[..whole] {
            slots[*slot].reply_len = *len as u16;
        }
        counters.received_bytes.add(bytes);
        if truncated > 0 {
            counters.truncated.add(truncated);
        }
    }

    fn send(&mut self, received: usize, fd: BorrowedFd<'_>, counters: &WorkerCounters) {
        let mut policy = SendPolicy::new(SEND_WAITS_MAX);
        let sent = self.ring.send(fd, received, |error, replies_left| {
            let errno = error.raw_os_error().unwrap_or_default();
            let verdict = policy.verdict(errno);
            match verdict {
                Verdict::Retry => {}
                Verdict::RetryWhenWritable => wait_until_writable(fd),
                Verdict::Skip => counter_for(counters, errno).add(1),
                Verdict::DropRest => counter_for(counters, errno).add(replies_left as u64),
            }
            verdict
        });
        counters.sent.add(sent.replies);
        counters.sent_bytes.add(sent.bytes);
    }
}

/// What fills the unused end of a batch.
pub(crate) fn no_datagram<'a>() -> Datagram<'a> {
    Datagram {
        query: &[],
        peer: &Peer::UNSPECIFIED,
        listener: ListenerIndex(0),
        reply: ReplySlot::new(&mut [], 0),
    }
}

fn datagram(slot: &mut Slot, position: usize, listener: ListenerIndex) -> Datagram<'_> {
    Datagram {
        query: &slot.query[..usize::from(slot.query_len)],
        peer: &slot.peer,
        listener,
        reply: ReplySlot::new(&mut slot.reply, position),
    }
}

/// Waits for room in the send buffer, for a bounded time; what poll says is left to the next send to find
/// out.
fn wait_until_writable(fd: BorrowedFd<'_>) {
    let mut fds = [libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
    let _ = sys::poll(&mut fds, (SEND_WAIT_MAX_MS / SEND_WAITS_MAX) as i32);
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use super::*;

    /// Puts a reply of `len` bytes to each peer into the ring, as if their queries had been answered.
    fn addressed(replies: &[(SocketAddr, u16)]) -> Batch {
        let mut batch = Batch::new();
        for ((position, slot), &(peer, len)) in batch.ring.slots_mut().iter_mut().enumerate().zip(replies) {
            slot.peer = Peer::from(peer);
            slot.reply[..2].copy_from_slice(&(position as u16).to_be_bytes());
            slot.reply_len = len;
        }
        batch
    }

    fn received_heads(socket: &UdpSocket) -> Vec<u16> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64];
        std::iter::from_fn(|| {
            socket.recv(&mut buffer).ok().map(|_| u16::from_be_bytes([buffer[0], buffer[1]]))
        })
        .collect()
    }

    #[test]
    fn a_refused_reply_costs_only_itself() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let good = client.local_addr().unwrap();
        let port_zero: SocketAddr = "127.0.0.1:0".parse().unwrap(); // EINVAL
        let broadcast: SocketAddr = "127.255.255.255:53".parse().unwrap(); // EACCES without SO_BROADCAST
        let peers = [port_zero, good, broadcast, port_zero, good, good, port_zero];
        let mut batch = addressed(&peers.map(|peer| (peer, 10)));
        let counters = WorkerCounters::default();

        batch.send(peers.len(), server.as_fd(), &counters);

        assert_eq!(received_heads(&client), [1, 4, 5]);
        let counted = counters.snapshot();
        assert_eq!((counted.sent, counted.sent_bytes), (3, 30));
        assert_eq!((counted.dropped_other, counted.dropped_forbidden), (3, 1));
    }

    #[test]
    fn empty_replies_leave_no_gap() {
        let server = UdpSocket::bind("[::1]:0").unwrap();
        let client = UdpSocket::bind("[::1]:0").unwrap();
        let good = client.local_addr().unwrap();
        let replies: Vec<_> = (0..BATCH_LEN).map(|i| (good, if i % 3 == 1 { 12 } else { 0 })).collect();
        let counters = WorkerCounters::default();

        addressed(&replies).send(BATCH_LEN, server.as_fd(), &counters);

        let expected: Vec<u16> = (0..BATCH_LEN as u16).filter(|i| i % 3 == 1).collect();
        assert_eq!(received_heads(&client), expected);
        assert_eq!(counters.snapshot().sent, expected.len() as u64);
    }

    #[test]
    fn nothing_to_send_is_no_system_call() {
        let not_a_socket = std::fs::File::open("/dev/null").unwrap();
        let counters = WorkerCounters::default();
        let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
        addressed(&[(peer, 0); 5]).send(5, not_a_socket.as_fd(), &counters);
        assert_eq!(counters.snapshot(), WorkerCounters::default().snapshot());
    }

    #[test]
    #[should_panic(expected = "at most as long as its buffer")]
    fn a_reply_beyond_the_buffer_is_a_bug() {
        ReplySlot::new(&mut [0; 512], 0).set_len(513);
    }
}
