//! Batches of datagrams for the workers of a server that listens with SO_REUSEPORT.
//!
//! The way of a datagram: [`udp::bind_group`] opens one socket a worker for each address; a
//! [`Worker`] waits on its sockets, receives up to [`batch::BATCH_LEN`] datagrams with one
//! `recvmmsg`, hands them to a [`BatchResponder`] in one call, and sends the replies with one `sendmmsg`.
//! A worker may have rings beside its sockets, which get their datagrams from a network card past the kernel's stack:
//! [`xdp`]. One worker is one thread, pinned with [`pin`]. Control threads see a worker through its
//! [`WorkerHandle`]: wake, stop, counters. Apart from all that, [`Tun`] is an interface that lives as long as its
//! holder, and [`NoDelay`] has the kernel send at once on TCP connections of others.
//!
//! This crate must never: look inside a datagram or know DNS, read a clock more than once a batch, allocate or lock per
//! batch, write a log line, or start a thread.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("netio is written for Linux: recvmmsg, sendmmsg, SO_REUSEPORT groups, eventfd");

mod assembler;
pub mod batch;
pub mod counters;
pub mod inherited;
pub mod no_delay;
mod overload;
mod packet_info;
pub mod peer;
pub mod pin;
mod send_policy;
mod socket_source;
#[expect(unsafe_code, reason = "system calls that std and socket2 do not offer; the module's API is safe")]
mod sys;
pub mod tun;
pub mod udp;
pub mod worker;
pub mod xdp;

pub use batch::{BatchResponder, Datagram, ReplySlot};
pub use counters::{CounterSnapshot, WorkerCounters};
pub use no_delay::{NoDelay, NoDelayError};
pub use peer::Peer;
pub use tun::Tun;
pub use udp::{BindError, SocketOptions, UdpGroup, UdpListener, bind_group};
pub use worker::{ListenerIndex, ServeError, Worker, WorkerHandle};
