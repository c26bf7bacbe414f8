//! AF_XDP sockets: their memory, rings and options.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Weak};

use super::check;
use super::frames::FrameArea;
use super::packet_ring::{ConsumerEnd, Descriptor, Layout, ProducerEnd};

/// An AF_XDP socket with its four rings.
#[derive(Debug)]
pub(crate) struct XskSocket {
    fd: Arc<OwnedFd>,
    /// Frames received.
    pub(crate) received: ConsumerEnd<Descriptor>,
    /// Frames to send.
    pub(crate) to_send: ProducerEnd<Descriptor>,
    /// Frames for the kernel to receive into.
    pub(crate) to_fill: ProducerEnd<u64>,
    /// Frames that were sent.
    pub(crate) sent: ConsumerEnd<u64>,
}

/// What the kernel counts for a socket: `struct xdp_statistics`.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub(crate) struct Statistics {
    /// Received and dropped: too long for a frame, or no memory.
    pub(crate) dropped: u64,
    /// Entries of the ring of frames to fill that were no frames.
    pub(crate) invalid_fill: u64,
    /// Entries of the ring of frames to send that were no frames.
    pub(crate) invalid_send: u64,
    /// Dropped because the ring of received frames was full.
    pub(crate) ring_full: u64,
    /// Dropped because there was no frame to receive into.
    pub(crate) no_frame: u64,
    /// How often there was nothing to send.
    pub(crate) nothing_to_send: u64,
}

/// `struct xdp_umem_reg`. What is zero at its end was padding before Linux 6.8.
#[repr(C)]
struct AreaRegistration {
    address: u64,
    len: u64,
    frame_len: u32,
    headroom: u32,
    flags: u32,
    send_metadata_len: u32,
}

impl XskSocket {
    /// Opens a socket over this memory, with rings of so many entries.
    ///
    /// The memory has to stay until the socket is closed: the caller drops it later. Should it not, the kernel goes on
    /// with the pages, which it holds by itself, and nobody sees what it puts there.
    pub(crate) fn open(area: &FrameArea, ring_len: u32) -> io::Result<XskSocket> {
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        check(fd)?;
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let registration = AreaRegistration {
            address: area.mapping().start().as_ptr().expose_provenance() as u64,
            len: area.mapping().len() as u64,
            frame_len: area.frame_len() as u32,
            headroom: 0,
            flags: 0,
            send_metadata_len: 0,
        };
        set_option(fd.as_fd(), libc::XDP_UMEM_REG, &registration)?;
        for ring in
            [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING]
        {
            set_option(fd.as_fd(), ring, &ring_len)?;
        }
        let offsets = ring_offsets(fd.as_fd())?;
        let layout = |offsets, page_offset| Layout { offsets, page_offset, len: ring_len };
        let page = |offset: libc::c_ulonglong| offset as i64; // constants below 2³³
        Ok(XskSocket {
            received: ConsumerEnd::map(fd.as_fd(), &layout(offsets.rx, libc::XDP_PGOFF_RX_RING))?,
            to_send: ProducerEnd::map(fd.as_fd(), &layout(offsets.tx, libc::XDP_PGOFF_TX_RING))?,
            to_fill: ProducerEnd::map(fd.as_fd(), &layout(offsets.fr, page(libc::XDP_UMEM_PGOFF_FILL_RING)))?,
            sent: ConsumerEnd::map(
                fd.as_fd(),
                &layout(offsets.cr, page(libc::XDP_UMEM_PGOFF_COMPLETION_RING)),
            )?,
            fd: Arc::new(fd),
        })
    }

    /// The descriptor, for somebody who must not keep the socket open.
    pub(crate) fn descriptor(&self) -> Weak<OwnedFd> {
        Arc::downgrade(&self.fd)
    }

    /// Binds the socket to a queue of an interface.
    pub(crate) fn bind(&self, interface: u32, queue: u32, flags: u16) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        // SAFETY: the pointer is to a live sockaddr_xdp of the stated size, which the kernel only reads.
        let returned = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
            )
        };
        check(returned).map(drop)
    }

    /// Has the kernel send what is in the ring.
    pub(crate) fn kick_send(&self) -> io::Result<()> {
        // SAFETY: no octets and no address are given, so no pointer is followed.
        let returned = unsafe {
            libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        c_int::try_from(returned).map_or_else(|_| Ok(0), check).map(drop)
    }

    /// Has the kernel look for frames to receive into.
    pub(crate) fn kick_receive(&self) -> io::Result<()> {
        let none = std::ptr::null_mut();
        // SAFETY: no octets and no address are asked for, so no pointer is followed.
        let returned = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                none,
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        c_int::try_from(returned).map_or_else(|_| Ok(0), check).map(drop)
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the kernel has counted for a socket so far.
pub(crate) fn statistics(fd: BorrowedFd<'_>) -> io::Result<Statistics> {
    let mut statistics = Statistics::default();
    let mut len = size_of::<Statistics>() as libc::socklen_t;
    // SAFETY: `statistics` is writable for `len` octets and `len` is a live socklen_t; the kernel writes at most
    // `len` octets, and every bit pattern is valid.
    let returned = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut len,
        )
    };
    check(returned).map(|_| statistics)
}

fn set_option<T>(fd: BorrowedFd<'_>, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a live value of the stated size, which the kernel only reads. The one option that
    // has an address in it registers memory, which the kernel pins and from then on shares as the rings say.
    let returned = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    check(returned).map(drop)
}

fn ring_offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
    let mut len = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
    // SAFETY: `offsets` is writable for `len` octets and `len` is a live socklen_t; the kernel writes at most `len`
    // octets, and every bit pattern is valid.
    let returned = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            (&raw mut offsets).cast(),
            &raw mut len,
        )
    };
    check(returned).map(|_| offsets)
}
