//! `recvmmsg` and `sendmmsg` over one set of preallocated buffers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::batch::{BATCH_LEN, QUERY_MAX_BYTES, REPLY_MAX_BYTES};
use crate::packet_info::{PacketInfo, PacketInfoMessage};
use crate::peer::Peer;
use crate::send_policy::Verdict;

/// The buffers of one datagram and of its reply, and what the kernel said about it.
#[repr(C, align(64))]
pub(crate) struct Slot {
    pub(crate) peer: Peer,
    /// Bytes of `query` that were received, at most [`QUERY_MAX_BYTES`].
    pub(crate) query_len: u16,
    /// Bytes of `reply` to send, at most [`REPLY_MAX_BYTES`]; 0: no reply.
    pub(crate) reply_len: u16,
    packet_info: PacketInfoMessage,
    /// Bytes of `packet_info` to send with the reply; 0: the kernel chooses the source.
    packet_info_len: u16,
    /// The datagram was longer than the buffer.
    pub(crate) truncated: bool,
    pub(crate) query: [u8; QUERY_MAX_BYTES],
    pub(crate) reply: [u8; REPLY_MAX_BYTES],
}

const _: () = {
    // The first-level cache is indexed by the address within a 4 KiB page. Slots a whole number of pages
    // apart would put 32 queries and 32 replies into the same few sets of 8 or 12 ways; these start two lines
    // apart.
    assert!(size_of::<Slot>() % 4096 == 2 * 64);
    assert!(QUERY_MAX_BYTES <= u16::MAX as usize);
    assert!(REPLY_MAX_BYTES <= u16::MAX as usize);
    assert!(align_of::<PacketInfoMessage>() >= align_of::<libc::cmsghdr>());
};

impl Slot {
    const EMPTY: Slot = Slot {
        peer: Peer::UNSPECIFIED,
        query_len: 0,
        reply_len: 0,
        packet_info: PacketInfoMessage::EMPTY,
        packet_info_len: 0,
        truncated: false,
        query: [0; QUERY_MAX_BYTES],
        reply: [0; REPLY_MAX_BYTES],
    };

    /// Takes over what the kernel wrote about the datagram in this slot.
    fn settle(&mut self, header: &libc::mmsghdr) {
        self.query_len = (header.msg_len as usize).min(QUERY_MAX_BYTES) as u16;
        self.reply_len = 0;
        self.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        // The field is a size_t in one libc and a socklen_t in another.
        #[expect(clippy::unnecessary_cast, reason = "needed on musl")]
        let received_len = header.msg_hdr.msg_controllen as usize;
        self.packet_info_len = match self.packet_info.turn_around(received_len) {
            Some(len) => len.min(size_of::<PacketInfoMessage>()) as u16,
            None => 0,
        };
    }
}

/// What became of the replies of a batch.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) replies: u64,
    pub(crate) bytes: u64,
}

/// [`BATCH_LEN`] slots and the headers that describe them to the kernel.
pub(crate) struct MessageRing {
    slots: Box<[Slot]>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
}

impl MessageRing {
    pub(crate) fn new() -> MessageRing {
        // SAFETY: mmsghdr is integers and raw pointers, for all of which zero is a valid value.
        let headers = (0..BATCH_LEN).map(|_| unsafe { std::mem::zeroed() }).collect();
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        MessageRing {
            slots: (0..BATCH_LEN).map(|_| Slot::EMPTY).collect(),
            headers,
            vectors: vec![vector; BATCH_LEN].into_boxed_slice(),
        }
    }

    /// The slots; after [`MessageRing::receive`] the first ones hold what was received.
    pub(crate) fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Receives what is in the socket's queue, up to a full ring, without waiting; gives the number of slots
    /// filled.
    ///
    /// An empty queue is the error EAGAIN.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, packet_info: PacketInfo) -> io::Result<usize> {
        let control_len = match packet_info {
            PacketInfo::Fixed => 0,
            PacketInfo::Carried => size_of::<PacketInfoMessage>(),
        };
        let rows = self.slots.iter_mut().zip(self.headers.iter_mut()).zip(self.vectors.iter_mut());
        for ((slot, header), vector) in rows {
            *vector = libc::iovec { iov_base: (&raw mut slot.query).cast(), iov_len: QUERY_MAX_BYTES };
            header.msg_hdr.msg_name = (&raw mut slot.peer).cast();
            header.msg_hdr.msg_namelen = size_of::<Peer>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut slot.packet_info).cast();
            header.msg_hdr.msg_controllen = control_len as _;
        }
        let received = self.receive_into_headers(fd)?;
        for (slot, header) in self.slots.iter_mut().zip(self.headers.iter()).take(received) {
            slot.settle(header);
        }
        Ok(received)
    }

    /// Takes up to a full ring of datagrams from the socket's queue without looking at them; gives their number.
    ///
    /// An empty queue is the error EAGAIN. A third cheaper than to receive them, since nothing is copied.
    pub(crate) fn discard(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        for header in &mut *self.headers {
            header.msg_hdr.msg_namelen = 0;
            header.msg_hdr.msg_name = std::ptr::null_mut();
            header.msg_hdr.msg_iovlen = 0;
            header.msg_hdr.msg_iov = std::ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
            header.msg_hdr.msg_control = std::ptr::null_mut();
        }
        self.receive_into_headers(fd)
    }

    fn receive_into_headers(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: the pointer and count describe the live headers. Each header was just pointed at fields of
        // its slot and at its own iovec, all owned by `self`, exclusively borrowed for the call, and of
        // the stated lengths, or at nothing, with lengths of 0. Whatever the kernel writes there is valid: Peer,
        // PacketInfoMessage and the query are plain integers and bytes. No timeout is given.
        let returned = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH_LEN as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        super::check(returned)
    }

    /// Sends the replies of the first `received` slots, in order, passing over slots without one.
    ///
    /// `verdict` decides what follows an error, which always concerns the first reply not yet sent; its
    /// second argument says how many replies are left, that one included. Termination is the verdict's
    /// responsibility as far as it asks for retries.
    pub(crate) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        received: usize,
        mut verdict: impl FnMut(io::Error, usize) -> Verdict,
    ) -> Sent {
        let replies = self.address_replies(received);
        let mut next = 0;
        let mut sent = Sent::default();
        while next < replies {
            let pending = &mut self.headers[next..replies];
            // SAFETY: the pointer and count describe live headers, which `address_replies` pointed at fields
            // of slots and at iovecs owned by `self`; since then nothing but the headers' lengths was
            // touched. The kernel reads through them and writes only msg_len.
            let returned = unsafe {
                libc::sendmmsg(
                    fd.as_raw_fd(),
                    pending.as_mut_ptr(),
                    pending.len() as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match super::check(returned) {
                Ok(0) => break, // cannot be: sendmmsg takes at least one message or fails
                // A short count is no error: the next call starts at the first reply not taken and says why.
                Ok(taken) => {
                    let taken = taken.min(pending.len());
                    sent.replies += taken as u64;
                    sent.bytes +=
                        pending[..taken].iter().map(|header| u64::from(header.msg_len)).sum::<u64>();
                    next += taken;
                }
                Err(error) => match verdict(error, replies - next) {
                    Verdict::Retry | Verdict::RetryWhenWritable => {}
                    Verdict::Skip => next += 1,
                    Verdict::DropRest => break,
                },
            }
        }
        sent
    }

    /// Points the first headers, without gaps, at the replies there are; gives their number.
    fn address_replies(&mut self, received: usize) -> usize {
        let mut replies = 0;
        let slots = self.slots.iter_mut().take(received).filter(|slot| slot.reply_len > 0);
        for ((slot, header), vector) in slots.zip(self.headers.iter_mut()).zip(self.vectors.iter_mut()) {
            let reply_len = usize::from(slot.reply_len).min(REPLY_MAX_BYTES);
            *vector = libc::iovec { iov_base: (&raw mut slot.reply).cast(), iov_len: reply_len };
            header.msg_hdr.msg_name = (&raw mut slot.peer).cast();
            header.msg_hdr.msg_namelen = slot.peer.name_len() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            // The kernel takes a null pointer and a zero length as "no control message".
            header.msg_hdr.msg_control = (&raw mut slot.packet_info).cast();
            header.msg_hdr.msg_controllen = slot.packet_info_len as _;
            header.msg_len = 0;
            replies += 1;
        }
        replies
    }
}
