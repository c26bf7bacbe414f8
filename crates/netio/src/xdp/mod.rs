//! AF_XDP: queries taken from a network card's queue before the kernel's network stack, and replies put there.
//!
//! A small program, written here instruction by instruction, sorts the frames of an interface: queries to the service addresses go to
//! the ring of their queue, everything else on to the kernel, whose sockets stay open as a safety net. The program is
//! attached for as long as [`Attachment`] lives; when the process dies, by whatever means, the kernel detaches it.
//!
//! [`Interface::find`] looks at an interface, [`Interface::attach`] tries the ways there are, the fastest first, and sends a query
//! through each before it is taken: zero-copy, copying in the driver, copying after it. A [`Ring`] is then given to a
//! [`crate::Worker`].

mod answer;
mod attach;
mod backlog;
mod frame;
mod program;
mod ring;

pub use answer::{
    Apexes, Authority, ByFamily, KernelAnswered, KernelAnswers, KernelCounts, LimitRule, Limited,
    wait_for_programs,
};
pub use attach::{AttachError, Attached, Attachment, Interface, InterfaceError, Mode, Refused, Trial};
pub use program::Tag;
pub use ring::{Ring, RingDrops, RingWatch};

/// How many datagrams a ring holds at most.
pub(crate) const RING_LEN: usize = ring::RECEIVE_FRAMES as usize;

/// Where replies go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reply {
    /// To the router that the query came through: nothing is looked up.
    #[default]
    Reflect,
    /// To where the kernel's routes lead. What would leave by another interface, or to a neighbour that is not known yet, is left
    /// to the kernel. Its lookup wants forwarding to be on for the loopback interface
    /// (`net.ipv4.conf.lo.forwarding`, `net.ipv6.conf.lo.forwarding`).
    Route,
}
