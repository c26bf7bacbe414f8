//! Turns Nagle's algorithm (RFC 9293 §3.7.4) off on TCP connections of other programs.
//!
//! A program that leaves it on, as BIRD does for BGP, has a message wait that follows another one until that is
//! acknowledged, which the receiver may delay by up to 200 ms. Nobody can set an option on another program's socket, but
//! the kernel can run a program over all TCP sockets of a network namespace (an iterator), and that may set TCP_NODELAY.
//! What already waits is then sent at once. Listeners are among the sockets, and what they accept inherits the option.
//! Another program, which the kernel calls when the state of a socket changes, says when it is time for that: it can't set
//! options itself.
//!
//! It takes the kernel's types in `/sys/kernel/btf/vmlinux` and Linux 6.1; before, iterators may not set this option.

mod program;
mod types;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::SockRef;

use self::program::{Fields, RESULT_LEN};
use self::types::{Types, TypesError};
use crate::sys::{self, Notices, bpf};

/// Where the kernel tells its types.
const TYPES_PATH: &str = "/sys/kernel/btf/vmlinux";
/// The most octets of types: ten times what kernels have.
const TYPES_MAX_LEN: u64 = 64 << 20;
/// The function that stands for TCP sockets.
const EACH: &str = "bpf_iter_tcp";
/// What the place is called with that the kernel comes by when the state of a TCP socket changes.
const CHANGE: &str = "btf_trace_inet_sock_set_state";

/// Octets read at a time: the results of 1,024 sockets.
const READ_LEN: usize = 1024 * RESULT_LEN;
/// The most reads of a run: a million sockets of the port, or as many calls of the program each that write nothing.
const READS_MAX: usize = 1024;

/// Where programs are called, by numbers among the kernel's types.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// For each TCP socket.
    each: u32,
    /// At each change of a state.
    change: u32,
}

/// How many descriptors stand for a [`NoDelay`].
pub const DESCRIPTORS: usize = 3;

/// Sets TCP_NODELAY on the sockets of a port, again and again.
///
/// It needs no privilege once it is made. Its descriptor is readable when sockets may have come since the last
/// [`apply`](NoDelay::apply).
#[derive(Debug)]
pub struct NoDelay {
    iterator: OwnedFd,
    /// Has the kernel ring when a socket begins to be used, in whatever network namespace.
    ringing: OwnedFd,
    notices: Notices,
}

/// Why TCP_NODELAY can't be set on the sockets of others.
#[derive(Debug)]
pub enum NoDelayError {
    /// The kernel does not tell its types, or in a form that isn't known.
    Types(io::Error),
    /// The kernel has nothing of this name: it is too old.
    Missing(&'static str),
    /// The caller lacks CAP_BPF or CAP_PERFMON.
    Forbidden(io::Error),
    /// The kernel refuses.
    Refused {
        /// What it refuses.
        step: &'static str,
        /// How.
        source: io::Error,
    },
    /// It takes everything, and then doesn't do it for a socket of our own.
    NoEffect,
}

impl NoDelay {
    /// For sockets with this port at their own or at the other end. Nothing is set yet.
    ///
    /// This takes CAP_BPF and CAP_PERFMON. A listener of our own, on a port that the kernel chooses at 127.0.0.1, is there
    /// for a moment to see whether it works.
    ///
    /// # Errors
    /// It can't be done, and what that depends on.
    pub fn for_port(port: u16) -> Result<NoDelay, NoDelayError> {
        let octets = read_types().map_err(NoDelayError::Types)?;
        let types = Types::read(&octets)?;
        let places = Places { each: types.function(EACH)?, change: types.alias(CHANGE)? };
        let [local, remote, state] = types.fields("sock_common", ["skc_num", "skc_dport", "skc_state"])?;
        let fields = Fields { local, remote, state };
        // Where there is no loopback address, the first connection will show.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
            let address = listener.local_addr().map_err(refused("a listener"))?;
            NoDelay::load(places, address.port(), fields)?.apply().map_err(refused("a trial"))?;
            if !SockRef::from(&listener).tcp_nodelay().map_err(refused("a look at the listener"))? {
                return Err(NoDelayError::NoEffect);
            }
        }
        NoDelay::load(places, port, fields)
    }

    fn load(places: Places, port: u16, fields: Fields) -> Result<NoDelay, NoDelayError> {
        let notices = Notices::new().map_err(refused("a ring"))?;
        let ringer = bpf::load(
            "starling_opening",
            bpf::Purpose::Tracepoint { place: places.change },
            &program::ringer(port, fields, notices.as_fd()),
        );
        let ringing = bpf::attach_tracepoint(ringer.map_err(refused("the program at a change"))?.as_fd());
        let setter = bpf::load(
            "starling_nodelay",
            bpf::Purpose::Iterator { function: places.each },
            &program::setter(port, fields),
        );
        // The iterator keeps its program, and so does the other one.
        let iterator = bpf::iterator(setter.map_err(refused("the program"))?.as_fd());
        Ok(NoDelay {
            iterator: iterator.map_err(refused("the iterator"))?,
            ringing: ringing.map_err(refused("to ring at a change"))?,
            notices,
        })
    }

    /// What stands for it, for a program that this process becomes.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; DESCRIPTORS] {
        [self.iterator.as_fd(), self.ringing.as_fd(), self.notices.as_fd()]
    }

    /// Takes over the descriptors from the program that this process was before.
    ///
    /// # Errors
    /// They can't be kept from children, or the last of them is no ring. What the others are shows when they are used.
    pub fn adopt(descriptors: [OwnedFd; DESCRIPTORS]) -> io::Result<NoDelay> {
        for descriptor in &descriptors {
            sys::close_on_exec(descriptor.as_fd())?;
        }
        let [iterator, ringing, map] = descriptors;
        Ok(NoDelay { iterator, ringing, notices: Notices::of(map)? })
    }

    /// Sets it on all sockets of the port that are there now, in the caller's network namespace; gives their number,
    /// listeners included.
    ///
    /// It takes time in proportion to all TCP sockets of the namespace.
    ///
    /// # Errors
    /// The kernel refuses the run, or the option for one of the sockets.
    pub fn apply(&self) -> io::Result<usize> {
        // Before the run: what comes while it is under way may be behind it.
        self.notices.hear();
        let mut run = File::from(bpf::run_of(self.iterator.as_fd())?);
        let mut results = [0; READ_LEN];
        let mut sockets = 0;
        let mut failure = None;
        for _ in 0..READS_MAX {
            let len = match run.read(&mut results) {
                Ok(0) => return failure.map_or(Ok(sockets), Err),
                Ok(len) => len,
                // After a million sockets of other ports the kernel gives the CPU to others.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    0
                }
                Err(error) => return Err(error),
            };
            // The kernel gives what the program wrote, which is whole results, in parts of at most our length.
            let (whole, _) = results[..len].as_chunks::<RESULT_LEN>();
            for result in whole.iter().map(|octets| i32::from_ne_bytes(*octets)) {
                match result {
                    0 => sockets += 1,
                    error => failure = Some(io::Error::from_raw_os_error(error.wrapping_neg())),
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel has more sockets than are looked at"))
    }
}

impl AsFd for NoDelay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

fn read_types() -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(TYPES_PATH)?.take(TYPES_MAX_LEN).read_to_end(&mut octets)?;
    Ok(octets)
}

fn refused(step: &'static str) -> impl Fn(io::Error) -> NoDelayError {
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied => NoDelayError::Forbidden(source),
        _ => NoDelayError::Refused { step, source },
    }
}

impl From<TypesError> for NoDelayError {
    fn from(error: TypesError) -> NoDelayError {
        match error {
            TypesError::Unreadable => NoDelayError::Types(io::ErrorKind::InvalidData.into()),
            TypesError::Missing(name) => NoDelayError::Missing(name),
        }
    }
}

impl fmt::Display for NoDelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoDelayError::Types(source) => {
                write!(f, "the kernel's types can't be read from {TYPES_PATH}: {source}")
            }
            NoDelayError::Missing(name) => write!(f, "this kernel has no {name}; it takes Linux 6.1"),
            NoDelayError::Forbidden(_) => f.write_str("it takes CAP_BPF and CAP_PERFMON at the start"),
            NoDelayError::Refused { step, source } => {
                write!(f, "the kernel refuses {step}: {source}; it takes Linux 6.1")
            }
            NoDelayError::NoEffect => f.write_str("the kernel does not set it on a socket of our own"),
        }
    }
}

impl std::error::Error for NoDelayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NoDelayError::Types(source)
            | NoDelayError::Forbidden(source)
            | NoDelayError::Refused { source, .. } => Some(source),
            NoDelayError::Missing(_) | NoDelayError::NoEffect => None,
        }
    }
}
