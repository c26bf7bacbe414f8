//! The requests to `/dev/net/tun` and what they carry.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Octets of an interface's name, the closing zero included (`IFNAMSIZ`).
pub(crate) const NAME_LEN: usize = libc::IFNAMSIZ;

/// `struct ifreq` as the TUN driver reads and writes it: of its union only the flags.
#[repr(C)]
pub(crate) struct InterfaceRequest {
    /// Closed by a zero.
    pub(crate) name: [u8; NAME_LEN],
    /// `IFF_TUN` and its like.
    pub(crate) flags: libc::c_short,
    /// The rest of the union, which the kernel copies and does not look at.
    rest: [u8; REST_LEN],
}

/// The union is as long as its longest member, `struct ifmap`.
const REST_LEN: usize = size_of::<libc::ifreq>() - NAME_LEN - size_of::<libc::c_short>();

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

impl InterfaceRequest {
    /// A request with this name and these flags; the caller has checked that the name leaves room for the zero.
    pub(crate) fn new(name: [u8; NAME_LEN], flags: libc::c_int) -> InterfaceRequest {
        // The flags that TUNSETIFF knows are all in the low 16 bits.
        InterfaceRequest { name, flags: flags as libc::c_short, rest: [0; REST_LEN] }
    }
}

/// Makes the descriptor the holder of an interface; the request comes back with the name it got.
pub(crate) fn set_interface(fd: BorrowedFd<'_>, request: &mut InterfaceRequest) -> io::Result<()> {
    // SAFETY: the request is live, exclusively borrowed, and of the size of a struct ifreq, which is what
    // TUNSETIFF reads and writes despite the int in its number. Every bit pattern is valid in its fields.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut *request) }).map(drop)
}

/// The name and the flags of the interface that the descriptor holds.
pub(crate) fn interface(fd: BorrowedFd<'_>) -> io::Result<InterfaceRequest> {
    let mut request = InterfaceRequest::new([0; NAME_LEN], 0);
    // SAFETY: as in `set_interface`; TUNGETIFF only writes.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    Ok(request)
}

/// Sets close-on-exec.
pub(crate) fn close_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_SETFD takes an int and no pointer.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}
