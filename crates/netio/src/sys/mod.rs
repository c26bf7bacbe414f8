//! The system calls std and socket2 do not offer, behind a safe API.
//!
//! All of the crate's `unsafe` is here. Nothing in this module keeps a pointer from one call to the next:
//! headers are pointed at their buffers immediately before each call, a dozen stores a datagram, so
//! everything may move freely.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub(crate) mod bpf;
mod frames;
pub(crate) mod interface;
mod message_ring;
mod notices;
mod packet_ring;
mod tun;
mod xsk;

pub(crate) use frames::{Frame, FrameArea};
pub(crate) use interface::HARDWARE_ADDRESS_LEN;
pub(crate) use message_ring::{MessageRing, Slot};
pub(crate) use notices::Notices;
pub(crate) use packet_ring::Descriptor;
pub(crate) use tun::{
    InterfaceRequest, NAME_LEN as INTERFACE_NAME_LEN, close_on_exec, interface as tun_interface,
    set_interface,
};
pub(crate) use xsk::{XskSocket, statistics as xsk_statistics};

/// 64-bit words of a CPU set: 8,192 CPUs, what Linux can be configured for at most on x86.
pub(crate) const CPU_MASK_WORDS: usize = 128;

/// One bit a CPU, lowest first.
pub(crate) type CpuMask = [u64; CPU_MASK_WORDS];

/// Turns the C convention (negative: look at errno) into a result.
fn check(returned: c_int) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// What the clock says that programs in the kernel go by, and that nobody sets.
pub(crate) fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the kernel fills; with this clock there is no error.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    // Neither is negative, and a second has fewer than 2^32 nanoseconds.
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Sets a socket option whose value is an int.
pub(crate) fn set_int_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer is to a live c_int, the length is its size; the kernel only reads it.
    let returned = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    check(returned).map(drop)
}

/// Reads a socket option whose value is an int.
pub(crate) fn int_option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes and `len` is a live socklen_t; the kernel writes at most `len`
    // bytes, and every bit pattern is a valid c_int.
    let returned =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
    check(returned).map(|_| value)
}

/// Attaches a classic BPF program that chooses the socket of a reuseport group for each datagram.
pub(crate) fn attach_reuseport_filter(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    attach(fd, libc::SO_ATTACH_REUSEPORT_CBPF, program)
}

fn attach(fd: BorrowedFd<'_>, option: c_int, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` is a live sock_fprog of the stated size, and its filter points at `len` live
    // instructions. The kernel copies and verifies them; it writes nothing despite the `*mut`.
    let returned = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    check(returned).map(drop)
}

/// Attaches a classic BPF program that decides which datagrams the socket takes in.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    attach(fd, libc::SO_ATTACH_FILTER, program)
}

/// The socket's `SO_MEMINFO` words; words an older kernel does not know stay 0.
pub(crate) fn memory_info(fd: BorrowedFd<'_>) -> io::Result<[u32; MEMORY_INFO_WORDS]> {
    let mut words = [0u32; MEMORY_INFO_WORDS];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: `words` is writable for `len` bytes and `len` is a live socklen_t; the kernel writes at
    // most `len` bytes, and every bit pattern is a valid u32.
    let returned = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    check(returned).map(|_| words)
}

/// `SK_MEMINFO_VARS` of Linux: the last one, drops, came with 4.12.
pub(crate) const MEMORY_INFO_WORDS: usize = 9;

/// Waits until a descriptor is ready or the time is over; gives the number of ready descriptors.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout_ms: c_int) -> io::Result<usize> {
    // SAFETY: the pointer and the count describe one live, exclusively borrowed slice. Descriptors that
    // are not open are reported as POLLNVAL, never followed.
    check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) })
}

/// A new non-blocking event counter, closed on exec.
pub(crate) fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    check(fd)?;
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until every CPU has left the parts of the kernel that it was in (membarrier(2)), programs of ours among them.
pub(crate) fn wait_for_readers() -> io::Result<()> {
    // SAFETY: membarrier takes no pointers.
    let returned = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks all open descriptors from `first` on to be closed when a program is executed.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range takes no pointers, and with this flag it closes nothing: what others hold stays open.
    let returned = unsafe { libc::close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int) };
    check(returned).map(drop)
}

/// A copy of a descriptor that children have too, for tests; it is never closed.
#[cfg(test)]
pub(crate) fn inheritable_copy(fd: BorrowedFd<'_>) -> c_int {
    // SAFETY: dup takes no pointers, and the copy is nobody else's.
    unsafe { libc::dup(fd.as_raw_fd()) }
}

/// The CPUs the calling thread may run on.
pub(crate) fn affinity() -> io::Result<CpuMask> {
    let mut mask: CpuMask = [0; CPU_MASK_WORDS];
    // SAFETY: `mask` is writable for the stated size, and at least as aligned as cpu_set_t (checked
    // below); 0 means the calling thread. Any bit pattern is a valid CpuMask.
    let returned = unsafe { libc::sched_getaffinity(0, size_of::<CpuMask>(), mask.as_mut_ptr().cast()) };
    check(returned).map(|_| mask)
}

/// Restricts the calling thread to these CPUs.
pub(crate) fn set_affinity(mask: &CpuMask) -> io::Result<()> {
    // SAFETY: `mask` is readable for the stated size and at least as aligned as cpu_set_t; the kernel reads
    // the words it knows and ignores the rest.
    let returned = unsafe { libc::sched_setaffinity(0, size_of::<CpuMask>(), mask.as_ptr().cast()) };
    check(returned).map(drop)
}

/// Gives the calling thread the scheduling policy SCHED_IDLE.
pub(crate) fn set_idle_policy() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live sched_param, which the kernel only reads; 0 means the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) }).map(drop)
}

const _: () = assert!(align_of::<CpuMask>() >= align_of::<libc::cpu_set_t>());
