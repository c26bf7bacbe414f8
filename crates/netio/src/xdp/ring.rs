//! The rings of one queue: frames in, replies out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Weak;
use std::time::Instant;

use super::backlog::Backlog;
use super::frame::{self, Fault, Layout};
use crate::batch::{BATCH_LEN, BatchResponder, Datagram, REPLY_MAX_BYTES, ReplySlot, no_datagram};
use crate::counters::WorkerCounters;
use crate::peer::Peer;
use crate::sys::{self, Descriptor, Frame, FrameArea, XskSocket};
use crate::worker::ListenerIndex;

/// Frames for the kernel to receive into; as many entries has each ring.
///
/// They are what a pause of the worker is bridged with: 4,096 last 25 ms at 160,000 queries a second, 40 % of what a core
/// answers this way. Half as many would lose queries when the scheduler gives the core away for two of its slices.
/// Twice as many cost another 8 MiB for a queue.
pub(super) const RECEIVE_FRAMES: u32 = 4096;
/// Frames for replies. They come back when the network card has sent them: 1,024 are what 10 Gbit/s send in half a millisecond.
pub(super) const SEND_FRAMES: u32 = 1024;
/// Octets that the kernel leaves free before a frame that it receives (`XDP_PACKET_HEADROOM`).
pub(super) const HEADROOM: usize = 256;
/// Octets of a frame where interfaces have the usual MTU of 1,500, and of those with a larger one. The kernel takes powers
/// of two from 2,048 to the size of a page.
pub(super) const FRAME_LENS: [usize; 2] = [2048, 4096];

/// How often sending is asked for before replies are left to the next batch: the kernel takes 32 a call.
const SEND_KICKS_MAX: u32 = 4;

/// One AF_XDP socket: what its queue receives, and the replies to that.
#[derive(Debug)]
pub struct Ring {
    // The socket goes before its memory.
    socket: XskSocket,
    frames: FrameArea,
    /// Frames for replies that are not under way.
    spare: Vec<Frame>,
    /// Frames that the kernel may receive into, but had no room for in its ring.
    to_fill: Vec<Frame>,
    interface: u32,
    queue: u32,
    /// The largest packet of a reply, in octets.
    packet_max_len: usize,
    /// Of the last IPv4 packet.
    identification: u16,
    batch: Vec<Received>,
    backlog: Backlog,
}

/// A query on its way through a batch.
#[derive(Debug)]
struct Received {
    frame: Frame,
    /// Where the packet begins in it, and its length.
    start: usize,
    len: usize,
    layout: Layout,
    peer: Peer,
    /// The frame of its reply, if there was one left.
    reply: Option<Frame>,
    reply_len: usize,
}

/// What the kernel dropped before a ring, since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingDrops {
    /// Frames that came while the ring was full.
    pub ring_full: u64,
    /// Frames that came while there was nothing to receive them into.
    pub no_frame: u64,
    /// Frames that could not be copied.
    pub other: u64,
}

impl RingDrops {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.ring_full + self.no_frame + self.other
    }
}

impl Ring {
    /// Opens a socket with its memory; it is bound to nothing yet.
    ///
    /// # Errors
    /// No CAP_NET_RAW; more locked memory than the process may have; out of memory or descriptors.
    pub(super) fn open(interface: u32, queue: u32, mtu: usize) -> io::Result<Ring> {
        let needed = HEADROOM + frame::TAGGED_LEN + mtu;
        let frame_len = FRAME_LENS.into_iter().find(|len| *len >= needed).unwrap_or(FRAME_LENS[1]);
        let (frames, mut all) = FrameArea::new(RECEIVE_FRAMES + SEND_FRAMES, frame_len)?;
        let socket = XskSocket::open(&frames, RECEIVE_FRAMES)?;
        // Copying sends are charged to the socket's buffer until the card is done; the default has room for 250.
        let send_buffer = libc::c_int::try_from(crate::udp::BUFFER_BYTES).unwrap_or(libc::c_int::MAX);
        let force = |name| sys::set_int_option(socket.as_fd(), libc::SOL_SOCKET, name, send_buffer);
        if force(libc::SO_SNDBUFFORCE).is_err() {
            force(libc::SO_SNDBUF)?;
        }
        let to_fill = all.split_off(SEND_FRAMES as usize);
        let packet_max_len = mtu.min(frame_len - frame::TAGGED_LEN);
        let mut ring = Ring {
            socket,
            frames,
            spare: all,
            to_fill,
            interface,
            queue,
            packet_max_len,
            identification: 0,
            batch: Vec::with_capacity(BATCH_LEN),
            backlog: Backlog::default(),
        };
        ring.fill();
        Ok(ring)
    }

    /// The longest frame that such a ring can receive, in octets.
    pub(super) fn frame_max_len(mtu: usize) -> usize {
        let needed = HEADROOM + frame::TAGGED_LEN + mtu;
        let frame_len = FRAME_LENS.into_iter().find(|len| *len >= needed).unwrap_or(FRAME_LENS[1]);
        frame_len - HEADROOM
    }

    /// Binds the socket to its queue.
    pub(super) fn bind(&self, flags: u16) -> io::Result<()> {
        self.socket.bind(self.interface, self.queue, flags)
    }

    /// The number of the interface.
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// The queue of the interface.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// A look at the ring for other threads.
    pub fn watch(&self) -> RingWatch {
        RingWatch { socket: self.socket.descriptor(), interface: self.interface, queue: self.queue }
    }

    /// Whether the interface is still there.
    ///
    /// # Errors
    /// It is not, and nothing will come through this ring any more.
    pub(crate) fn check(&self) -> io::Result<()> {
        passing(self.socket.kick_receive())
    }

    /// Frames for replies that are under way.
    pub(super) fn sends_pending(&mut self) -> usize {
        self.reap();
        SEND_FRAMES as usize - self.spare.len()
    }

    /// Receives one batch, has it answered and sends the replies; gives the number received, 0 where nothing waits.
    ///
    /// # Errors
    /// The interface is gone, and the ring with it. Errors of single replies are counted.
    pub(crate) fn turn<R: BatchResponder>(
        &mut self,
        index: ListenerIndex,
        counters: &WorkerCounters,
        responder: &mut R,
    ) -> io::Result<usize> {
        self.reap();
        let waiting = self.socket.received.waiting();
        let excess = self.backlog.excess(waiting, Instant::now);
        if excess > 0 {
            self.shed(excess, counters);
        }
        let waiting = (waiting - excess).min(BATCH_LEN as u32);
        if waiting > 0 {
            self.receive(waiting, counters);
            self.respond(index, counters, responder);
            self.queue_replies(counters);
        }
        self.fill();
        if self.socket.to_fill.wants_wake_up() && waiting > 0 {
            passing(self.socket.kick_receive())?;
        }
        self.send(counters)?;
        Ok(waiting as usize)
    }

    /// Drops the oldest frames.
    #[cold]
    fn shed(&mut self, count: u32, counters: &WorkerCounters) {
        for _ in 0..count {
            let Descriptor { address, .. } = self.socket.received.take();
            self.to_fill.extend(self.frames.take_back(address).map(|(frame, _)| frame));
        }
        self.socket.received.release();
        counters.discarded.add(count.into());
    }

    /// Takes back the frames of replies that were sent.
    fn reap(&mut self) {
        let sent = self.socket.sent.waiting();
        for _ in 0..sent {
            let address = self.socket.sent.take();
            self.spare.extend(self.frames.take_back(address).map(|(frame, _)| frame));
        }
        if sent > 0 {
            self.socket.sent.release();
        }
    }

    /// Takes frames out of the ring and looks at them.
    fn receive(&mut self, waiting: u32, counters: &WorkerCounters) {
        let mut bytes = 0;
        let mut faults = [0u64; 2];
        for _ in 0..waiting {
            let Descriptor { address, len, .. } = self.socket.received.take();
            let Some((frame, start)) = self.frames.take_back(address) else { continue };
            let len = len as usize;
            match frame::read(self.frames.read(&frame, start..start + len)) {
                Ok((layout, peer)) => {
                    bytes += layout.payload().len() as u64;
                    let reply = self.spare.pop();
                    self.batch.push(Received { frame, start, len, layout, peer, reply, reply_len: 0 });
                }
                Err(fault) => {
                    faults[usize::from(fault == Fault::Checksum)] += 1;
                    self.to_fill.push(frame);
                }
            }
        }
        self.socket.received.release();
        let [malformed, checksum] = faults;
        counters.batches.add(1);
        counters.received.add(waiting.into());
        counters.ring_received.add(waiting.into());
        counters.received_bytes.add(bytes);
        if malformed + checksum > 0 {
            counters.malformed_frames.add(malformed);
            counters.checksum_errors.add(checksum);
        }
    }

    /// Has the batch answered, a family at a time.
    fn respond<R: BatchResponder>(
        &mut self,
        index: ListenerIndex,
        counters: &WorkerCounters,
        responder: &mut R,
    ) {
        let Ring { frames, batch, packet_max_len, .. } = self;
        let mut lens = [0; BATCH_LEN];
        for family in [frame::Family::V4, frame::Family::V6] {
            let mut len = 0;
            let mut of_family =
                batch.iter_mut().enumerate().filter(|(_, received)| received.layout.family == family);
            let mut datagrams: [Datagram<'_>; BATCH_LEN] = std::array::from_fn(|_| {
                let of_one = of_family.by_ref().find_map(|(position, received)| {
                    datagram(frames, received, position, index, *packet_max_len)
                });
                len += usize::from(of_one.is_some());
                of_one.unwrap_or_else(no_datagram)
            });
            if len > 0 {
                responder.respond(&mut datagrams[..len]);
            }
            for datagram in &datagrams[..len] {
                lens[datagram.reply.slot()] = datagram.reply.len();
            }
        }
        for (received, len) in batch.iter_mut().zip(lens) {
            received.reply_len = len;
        }
        let without = batch.iter().filter(|received| received.reply.is_none()).count();
        if without > 0 {
            counters.dropped_no_room.add(without as u64);
        }
    }

    /// Puts the replies into the ring, and the frames of the queries back to where frames are received.
    fn queue_replies(&mut self, counters: &WorkerCounters) {
        let mut room = self.socket.to_send.room(BATCH_LEN as u32);
        let (mut sent, mut bytes, mut no_room) = (0, 0, 0);
        for received in self.batch.drain(..) {
            let Received { frame, start, len, layout, reply, reply_len, .. } = received;
            if let Some(mut reply) = reply {
                if reply_len > 0 && room > 0 {
                    self.identification = self.identification.wrapping_add(1);
                    let query = self.frames.read(&frame, start..start + len);
                    let frame_len = frame::turn_round(
                        query,
                        &layout,
                        self.identification,
                        reply_len,
                        self.frames.write(&mut reply),
                    );
                    let address = self.frames.lend(reply);
                    self.socket.to_send.put(Descriptor { address, len: frame_len as u32, options: 0 });
                    room -= 1;
                    sent += 1;
                    bytes += reply_len as u64;
                } else {
                    no_room += u64::from(reply_len > 0);
                    self.spare.push(reply);
                }
            }
            self.to_fill.push(frame);
        }
        if sent > 0 {
            self.socket.to_send.submit();
            counters.sent.add(sent);
            counters.sent_bytes.add(bytes);
        }
        if no_room > 0 {
            counters.dropped_no_room.add(no_room);
        }
    }

    /// Lends the kernel frames to receive into.
    fn fill(&mut self) {
        let room = self.socket.to_fill.room(self.to_fill.len() as u32) as usize;
        if room == 0 || self.to_fill.is_empty() {
            return;
        }
        for frame in self.to_fill.drain(self.to_fill.len().saturating_sub(room)..) {
            let address = self.frames.lend(frame);
            self.socket.to_fill.put(address);
        }
        self.socket.to_fill.submit();
    }

    /// Has the kernel send what is in the ring, as far as it will.
    fn send(&mut self, counters: &WorkerCounters) -> io::Result<()> {
        for _ in 0..SEND_KICKS_MAX {
            if self.socket.to_send.pending() == 0 || !self.socket.to_send.wants_wake_up() {
                break;
            }
            match self.socket.kick_send() {
                Ok(()) => {}
                // More than the 32 that it takes a call; no room in the card's queue; being set up anew.
                Err(error) if passes(&error) => {
                    if error.raw_os_error() != Some(libc::EAGAIN) {
                        counters.send_delays.add(1);
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A look at a ring from outside of its worker. Does not keep the socket open.
#[derive(Clone, Debug)]
pub struct RingWatch {
    socket: Weak<OwnedFd>,
    /// The number of the interface.
    pub interface: u32,
    /// The queue of the interface.
    pub queue: u32,
}

impl RingWatch {
    /// Whether the ring is there.
    pub fn is_open(&self) -> bool {
        self.socket.strong_count() > 0
    }

    /// What the kernel dropped before it came to the ring; `None` once that is closed. A system call: for the control plane.
    pub fn drops(&self) -> Option<RingDrops> {
        let socket = self.socket.upgrade()?;
        let counted = sys::xsk_statistics(socket.as_fd()).ok()?;
        // Of those without a frame the kernel keeps a count of their own, and counts them as dropped, too.
        let other = counted.dropped.saturating_sub(counted.no_frame);
        Some(RingDrops { ring_full: counted.ring_full, no_frame: counted.no_frame, other })
    }
}

fn datagram<'a>(
    frames: &'a FrameArea,
    received: &'a mut Received,
    position: usize,
    listener: ListenerIndex,
    packet_max_len: usize,
) -> Option<Datagram<'a>> {
    let Received { frame, start, layout, peer, reply, .. } = received;
    let payload = layout.payload();
    let query = frames.read(frame, *start + payload.start..*start + payload.end);
    let payload_max_len = packet_max_len.saturating_sub(layout.packet_headers_len()).min(REPLY_MAX_BYTES);
    let start = layout.headers_len();
    let buffer = frames.write(reply.as_mut()?).get_mut(start..start + payload_max_len)?;
    Some(Datagram { query, peer, listener, reply: ReplySlot::new(buffer, position) })
}

/// Whether the ring goes on after this error.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::ENOMEM | libc::EINTR | libc::ENETDOWN)
    )
}

/// An error that does not pass.
fn passing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if !passes(&error) => Err(error),
        _ => Ok(()),
    }
}
