//! A ring that a program in the kernel writes into, as a bell: that something was written is all that matters.

use super::bpf;
use super::packet_ring::Mapping;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bell; its descriptor is readable while it has been rung and not been heard.
#[derive(Debug)]
pub(crate) struct Notices {
    map: OwnedFd,
    /// How far it has been read, which we tell the kernel, in octets since the beginning.
    heard: NonNull<AtomicUsize>,
    /// How far it has been written, which the kernel tells us.
    rung: NonNull<AtomicUsize>,
    /// Kept for the pointers above.
    _mappings: [Mapping; 2],
}

// SAFETY: the pointers lead into the mappings, which are of the process and live as long; all access is atomic.
unsafe impl Send for Notices {}
// SAFETY: as above.
unsafe impl Sync for Notices {}

impl Notices {
    /// A new one, for programs that know its descriptor.
    pub(crate) fn new() -> io::Result<Notices> {
        Notices::of(bpf::ring(page_len()?)?)
    }

    /// That of a ring which exists.
    pub(crate) fn of(map: OwnedFd) -> io::Result<Notices> {
        let page = page_len()?;
        let offset = i64::try_from(page).map_err(io::Error::other)?;
        // The kernel has a page for each of the two, and what is written behind them, which nobody reads.
        let ours = Mapping::of_file(map.as_fd(), 0, page)?;
        let kernels = Mapping::of_file_to_read(map.as_fd(), offset, page)?;
        Ok(Notices { heard: ours.place(0, 1)?, rung: kernels.place(0, 1)?, map, _mappings: [ours, kernels] })
    }

    /// Takes all that was rung until now for heard.
    pub(crate) fn hear(&self) {
        // SAFETY: `place` found room for it, aligned, in a mapping that is still there and readable; all access is atomic.
        let rung = unsafe { self.rung.as_ref() }.load(Ordering::Acquire);
        // SAFETY: as above, and the mapping is writable.
        unsafe { self.heard.as_ref() }.store(rung, Ordering::Release);
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Octets of a page.
fn page_len() -> io::Result<usize> {
    // SAFETY: sysconf takes no pointers.
    let len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(len).ok().filter(|len| *len > 0).ok_or_else(io::Error::last_os_error)
}
