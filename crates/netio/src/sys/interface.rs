//! What the kernel tells about a network interface.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Octets of an Ethernet address.
pub(crate) const HARDWARE_ADDRESS_LEN: usize = 6;

/// `SIOCETHTOOL`, which the binding lacks.
const ETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_GCHANNELS`: how many queues there are.
const GET_CHANNELS: u32 = 0x3c;

/// `ETHTOOL_GFLAGS`: which offloads are on, of those that had a flag once.
const GET_FLAGS: u32 = 0x25;
/// `ETH_FLAG_RXVLAN`.
const TAKES_TAGS_OFF: u32 = 1 << 8;

/// `struct ethtool_channels`.
#[derive(Default)]
#[repr(C)]
struct Channels {
    command: u32,
    receive_max: u32,
    send_max: u32,
    other_max: u32,
    combined_max: u32,
    receive: u32,
    send: u32,
    other: u32,
    combined: u32,
}

/// A request about the interface of this name, closed by a zero.
fn request(name: &[u8; libc::IFNAMSIZ]) -> libc::ifreq {
    // SAFETY: ifreq is integers, octets and pointers, for all of which zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    request
}

/// Asks; any socket will do for `fd`.
fn ask(fd: BorrowedFd<'_>, code: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the pointer is to a live, exclusively borrowed ifreq, which these requests read and write. Where it
    // has a pointer itself, the caller has made that of a live, exclusively borrowed value of the right size.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), code, std::ptr::from_mut(request)) }).map(drop)
}

/// The number of the interface.
pub(crate) fn index(fd: BorrowedFd<'_>, name: &[u8; libc::IFNAMSIZ]) -> io::Result<u32> {
    let mut request = request(name);
    ask(fd, libc::SIOCGIFINDEX as libc::Ioctl, &mut request)?;
    // SAFETY: SIOCGIFINDEX has written this member; any int is valid.
    let index: c_int = unsafe { request.ifr_ifru.ifru_ifindex };
    Ok(index as u32) // never negative
}

/// The largest packet that the interface sends, in octets, without its Ethernet header.
pub(crate) fn mtu(fd: BorrowedFd<'_>, name: &[u8; libc::IFNAMSIZ]) -> io::Result<usize> {
    let mut request = request(name);
    ask(fd, libc::SIOCGIFMTU as libc::Ioctl, &mut request)?;
    // SAFETY: SIOCGIFMTU has written this member; any int is valid.
    let mtu: c_int = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(usize::try_from(mtu).unwrap_or_default())
}

/// The kind of hardware (`ARPHRD_…`) and its address.
pub(crate) fn hardware(
    fd: BorrowedFd<'_>,
    name: &[u8; libc::IFNAMSIZ],
) -> io::Result<(u16, [u8; HARDWARE_ADDRESS_LEN])> {
    let mut request = request(name);
    ask(fd, libc::SIOCGIFHWADDR as libc::Ioctl, &mut request)?;
    // SAFETY: SIOCGIFHWADDR has written this member; any octets are valid.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let octet = |position: usize| address.sa_data[position] as u8;
    Ok((address.sa_family, std::array::from_fn(octet)))
}

/// How many receive queues the interface uses, where its driver tells.
pub(crate) fn receive_queues(fd: BorrowedFd<'_>, name: &[u8; libc::IFNAMSIZ]) -> io::Result<u32> {
    let mut request = request(name);
    let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    ask(fd, ETHTOOL, &mut request)?;
    Ok(channels.combined + channels.receive)
}

/// Whether the hardware takes VLAN tags off the frames it receives, where its driver tells.
pub(crate) fn takes_tags_off(fd: BorrowedFd<'_>, name: &[u8; libc::IFNAMSIZ]) -> io::Result<bool> {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        value: u32,
    }
    let mut request = request(name);
    let mut flags = Value { command: GET_FLAGS, value: 0 };
    request.ifr_ifru.ifru_data = (&raw mut flags).cast();
    ask(fd, ETHTOOL, &mut request)?;
    Ok(flags.value & TAKES_TAGS_OFF != 0)
}
