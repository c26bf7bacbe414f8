//! Turns Nagle's algorithm (RFC 9293 §3.7.4) off on TCP connections of other programs.
//!
//! A program that leaves it on, as BIRD does for BGP, has a message wait that follows another one until that is
//! acknowledged, which the receiver may delay by up to 200 ms. Nobody can set an option on another program's socket, but
//! the kernel can run a program over all TCP sockets of a network namespace (an iterator), and that may set TCP_NODELAY.
//! What already waits is then sent at once. Listeners are among the sockets, and what they accept inherits the option.
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

use self::program::{Fields, RESULT_LEN, program};
use self::types::{Types, TypesError};
use crate::sys::{self, bpf};

/// Where the kernel tells its types.
const TYPES_PATH: &str = "/sys/kernel/btf/vmlinux";
/// The most octets of types: ten times what kernels have.
const TYPES_MAX_LEN: u64 = 64 << 20;
/// The function that stands for TCP sockets.
const TARGET: &str = "bpf_iter_tcp";

/// Octets read at a time: the results of 1,024 sockets.
const READ_LEN: usize = 1024 * RESULT_LEN;
/// The most reads of a run: a million sockets of the port, or as many calls of the program each that write nothing.
const READS_MAX: usize = 1024;

/// Sets TCP_NODELAY on the sockets of a port, again and again.
///
/// It needs no privilege once it is made.
#[derive(Debug)]
pub struct NoDelay {
    iterator: OwnedFd,
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
        let function = types.function(TARGET)?;
        let [local, remote, state] = types.fields("sock_common", ["skc_num", "skc_dport", "skc_state"])?;
        let fields = Fields { local, remote, state };
        // Where there is no loopback address, the first connection will show.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
            let address = listener.local_addr().map_err(refused("a listener"))?;
            NoDelay::load(function, address.port(), fields)?.apply().map_err(refused("a trial"))?;
            if !SockRef::from(&listener).tcp_nodelay().map_err(refused("a look at the listener"))? {
                return Err(NoDelayError::NoEffect);
            }
        }
        NoDelay::load(function, port, fields)
    }

    fn load(function: u32, port: u16, fields: Fields) -> Result<NoDelay, NoDelayError> {
        let purpose = bpf::Purpose::Iterator { function };
        let program = bpf::load("starling_nodelay", purpose, &program(port, fields));
        let program = program.map_err(refused("the program"))?;
        // The iterator keeps its program.
        let iterator = bpf::iterator(program.as_fd()).map_err(refused("the iterator"))?;
        Ok(NoDelay { iterator })
    }

    /// Takes over the descriptor from the program that this process was before.
    ///
    /// # Errors
    /// It can't be kept from children. Whether it is an iterator shows when it is used.
    pub fn adopt(iterator: OwnedFd) -> io::Result<NoDelay> {
        sys::close_on_exec(iterator.as_fd())?;
        Ok(NoDelay { iterator })
    }

    /// Sets it on all sockets of the port that are there now, in the caller's network namespace; gives their number,
    /// listeners included.
    ///
    /// It takes time in proportion to all TCP sockets of the namespace.
    ///
    /// # Errors
    /// The kernel refuses the run, or the option for one of the sockets.
    pub fn apply(&self) -> io::Result<usize> {
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
        self.iterator.as_fd()
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
